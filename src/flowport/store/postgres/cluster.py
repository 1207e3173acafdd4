"""Open the database of a team: the store and the port of each thing that its processes share, over one pool of connections."""

from flowport import __version__
from flowport.store.cluster import Cluster, ClusterFigures
from flowport.store.postgres.database import Database
from flowport.store.postgres.jobs import PostgresJobs
from flowport.store.postgres.migrate import migrate
from flowport.store.postgres.news import PostgresMarks, PostgresNews
from flowport.store.postgres.rate_windows import RateWindowTable
from flowport.store.postgres.store import PostgresStore
from flowport.store.postgres.workers import PostgresWorkers


def open_cluster(url: str, *, kind: str, should_save: bool, home_id: str = "") -> Cluster:
    """Return the database of a team; it is connected, and its tables are brought up to date, by the first operation.

    Args:
        kind: What this process is to the others, such as a worker.
        should_save: Whether outputs are saved, or only linked.
        home_id: The folders that this process uses.
    """
    database = Database(url, prepare=migrate)
    store = PostgresStore(database)

    def get_figures() -> ClusterFigures:
        counts = database.pool.get_stats()
        return ClusterFigures(
            connections=counts.get("pool_size", 0),
            idle_connections=counts.get("pool_available", 0),
            max_connections=counts.get("pool_max", 0),
            waiting=counts.get("requests_waiting", 0),
            stale_writes=store.stale_writes,
        )

    return Cluster(
        store=store,
        workers=PostgresWorkers(database, kind=kind, version=__version__, home_id=home_id),
        news=PostgresNews(database),
        jobs=PostgresJobs(database, should_save=should_save),
        rate_windows=RateWindowTable(url),
        used_marks=PostgresMarks(database),
        get_figures=get_figures,
    )
