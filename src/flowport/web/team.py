"""How the database of a team and its queue stand, for `/readyz` and `/metrics`. Nothing in it names a person or a run."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from flowport.domain.errors import StoreError
from flowport.store.cluster import Cluster, ClusterFigures, QueueState, Reconciled
from flowport.web.access_log import Durations

LOOK_SECONDS: Final = 1.8
"""How long a look at the queue may take: a load balancer waits two seconds, or little more, for its answer."""

STUCK_SECONDS: Final = 30.0
"""How long a job that is due waits at a queue that its workers do not keep up with."""

NO_DATABASE: Final = "The database cannot be reached. The log says why."
NO_WORKER: Final = "No worker is running. Runs are accepted, and wait until one is."
NOT_WORKING: Final = "This worker takes no jobs just now. The log says why."
NO_NEWS: Final = "The news of other replicas do not arrive just now. Callers see results about a second later."
FULL_QUEUE: Final = "Runs have waited for a worker for more than 30 seconds."

DIVIDED: Final = (
    "Another process uses other folders. Uploads and results of one are missing at the other. The log says more."
)


@dataclass(slots=True)
class Team:
    """Watches the queue of this process, and looks at that of all."""

    cluster: Cluster
    delays: Durations = field(default_factory=Durations)
    """From when a job of a run was due until a worker of this process executed it."""
    finds: Counter[str] = field(default_factory=Counter)
    """What the reconciler of this process has put right, by kind."""
    _look: "asyncio.Task[QueueState] | None" = None

    async def find_state(self) -> QueueState | None:
        """Return how the queue stands, within two seconds; None while the database cannot be reached."""
        # A driver that is cancelled waits for the server too, so the look goes on, and the next caller takes it over.
        if self._look is None:
            self._look = asyncio.create_task(self.cluster.jobs.get_state())
        look = self._look
        await asyncio.wait([look], timeout=LOOK_SECONDS)
        if not look.done():
            return None
        if self._look is look:
            self._look = None
        try:
            return look.result()
        except StoreError:
            return None

    def find_warnings(self, state: QueueState) -> Iterator[str]:
        """Yield what is wrong with the team and hinders no request to this replica, each as a sentence.

        Without a worker a run is accepted and waits. To take every replica out of the balance while workers are replaced
        would refuse these runs.
        """
        if not state.workers:
            yield NO_WORKER
        elif state.oldest_seconds > STUCK_SECONDS:
            yield FULL_QUEUE
        if not self.cluster.news.is_connected:
            yield NO_NEWS
        if self.cluster.workers.is_divided:
            yield DIVIDED

    def get_figures(self) -> ClusterFigures:
        """Return what this process counts of its database."""
        return self.cluster.get_figures()

    def count(self, found: Reconciled) -> None:
        """Count what a look of the reconciler has put right."""
        self.finds.update({"stalled": found.stalled, "missing": found.missing, "needless": found.needless})


def watch_team(cluster: Cluster) -> Team:
    """Return the state of a team, and count from now on."""
    team = Team(cluster)
    cluster.jobs.latency_listeners.append(team.delays.add)
    cluster.jobs.reconciled_listeners.append(team.count)
    return team
