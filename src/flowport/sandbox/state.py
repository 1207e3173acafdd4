"""What both origins of a running sandbox share."""

from dataclasses import dataclass, field

import anyio

from flowport.sandbox.creations import Creations
from flowport.sandbox.dialect import PLAIN, Dialect
from flowport.sandbox.faults import FaultQueue
from flowport.sandbox.files import FileStore
from flowport.sandbox.magica.state import MagicaState
from flowport.sandbox.plans import PlanQueue
from flowport.sandbox.runs import RunStore
from flowport.sandbox.shelf import Shelf
from flowport.sandbox.storage import MemoryStorage, Storage
from flowport.sandbox.traffic import Traffic
from flowport.sandbox.uploads import UploadStore
from flowport.sandbox.webhooks import WebhookSender


@dataclass(frozen=True, slots=True)
class Retention:
    """What a sandbox with a folder keeps of runs that are over and of uploads."""

    kept_seconds: float = 7 * 86_400.0
    max_bytes: int = 200_000_000
    """Of results and uploads together."""
    max_runs: int = 2000


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """How a sandbox is to be."""

    key: str = field(repr=False)
    """The only API key that it accepts."""
    port: int = 0
    files_port: int = 0
    """0: any free port."""
    link_seconds: float = 43_200.0
    """How long a result link works; the real provider's are good for 12 hours."""
    requests_per_minute: int = 0
    """Requests allowed in any minute, the switches not counted; 0: no limit."""
    minute_seconds: float = 60.0
    """How long that minute is; less for a client whose clock runs as much faster. Delays are told in such seconds."""
    magica_requests_per_minute: int = 0
    magica_requests_per_day: int = 0
    """Requests allowed to each key at Magica's face; 0: no limit."""
    speed: float = 1.0
    """Multiplies the time that runs take; 0: no longer than the work itself."""
    dialect: Dialect = PLAIN
    """The form of the API at the start and after a reset."""
    retention: Retention = Retention()
    tidies_by_itself: bool = False
    """Whether it forgets old runs at its start; otherwise its client says when, and what it still needs."""

    @property
    def magica_key(self) -> str:
        """The key that Magica's face accepts: the same, as Magica's keys begin."""
        return f"gx_{self.key}"


class Speech:
    """The form of the API that is spoken at present; tests change it under a running client."""

    def __init__(self, dialect: Dialect) -> None:
        """Begin with a form, to which `reset` returns."""
        self._first = dialect
        self.dialect = dialect

    def reset(self) -> None:
        """Go back to the first form."""
        self.dialect = self._first


@dataclass(frozen=True, slots=True)
class SandboxState:
    """The live parts of one sandbox."""

    options: SandboxOptions
    files: FileStore
    runs: RunStore
    limiter: anyio.CapacityLimiter
    """The threads in which pictures are decoded and made."""
    traffic: Traffic
    speech: Speech
    uploads: UploadStore
    webhooks: WebhookSender
    magica: MagicaState
    storage: Storage = field(default_factory=MemoryStorage)
    shelf: Shelf = field(default_factory=Shelf)
    faults: FaultQueue = field(default_factory=FaultQueue)
    plans: PlanQueue = field(default_factory=PlanQueue)

    @property
    def creations(self) -> Creations:
        """Everything that a run's inputs may name."""
        return Creations(self.files, self.uploads, self.magica.library)

    def reset(self) -> None:
        """Make everything as it was at the start, but for the addresses and the secrets."""
        for part in (self.runs, self.traffic, self.speech, self.webhooks, self.shelf, self.magica):
            part.reset()
        for store in (self.files, self.uploads, self.faults, self.plans, self.storage):
            store.clear()
