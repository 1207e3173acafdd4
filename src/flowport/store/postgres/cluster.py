"""Open the database of a team: the store and the port of each thing that its processes share, over one pool of connections."""

from flowport import __version__
from flowport.store.cluster import Cluster
from flowport.store.postgres.database import Database
from flowport.store.postgres.jobs import PostgresJobs
from flowport.store.postgres.migrate import migrate
from flowport.store.postgres.news import PostgresMarks, PostgresNews
from flowport.store.postgres.rate_windows import RateWindowTable
from flowport.store.postgres.store import PostgresStore
from flowport.store.postgres.workers import PostgresWorkers


def open_cluster(url: str, *, kind: str, should_save: bool) -> Cluster:
    """Return the database of a team; it is connected, and its tables are brought up to date, by the first operation.

    Args:
        kind: What this process is to the others, such as a worker.
        should_save: Whether outputs are saved, or only linked.
    """
    database = Database(url, prepare=migrate)
    return Cluster(
        store=PostgresStore(database),
        workers=PostgresWorkers(database, kind=kind, version=__version__),
        news=PostgresNews(database),
        jobs=PostgresJobs(database, should_save=should_save),
        rate_windows=RateWindowTable(url),
        used_marks=PostgresMarks(database),
    )
