"""What both origins of a running sandbox share."""

from dataclasses import dataclass, field

import anyio

from tests.fakes.magica.state import MagicaState
from tests.fakes.magnific.creations import Creations
from tests.fakes.magnific.dialect import PLAIN, Dialect
from tests.fakes.magnific.faults import FaultQueue
from tests.fakes.magnific.files import FileStore
from tests.fakes.magnific.plans import PlanQueue
from tests.fakes.magnific.runs import RunStore
from tests.fakes.magnific.shelf import Shelf
from tests.fakes.magnific.traffic import Traffic
from tests.fakes.magnific.uploads import UploadStore
from tests.fakes.magnific.webhooks import WebhookSender


@dataclass(frozen=True, slots=True)
class FakeOptions:
    """How a fake runs."""

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
    """How long that minute is; less for a client whose clock runs as much faster. Delays are reported in such seconds."""
    magica_requests_per_minute: int = 0
    magica_requests_per_day: int = 0
    """Requests allowed to each key at Magica's face; 0: no limit."""
    speed: float = 1.0
    """Multiplies the time that runs take; 0: no longer than the work itself."""
    is_quick: bool = False
    """Whether every run makes a picture of one pixel, which costs this process nothing."""
    dialect: Dialect = PLAIN
    """The form of the API at the start and after a reset."""

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

    options: FakeOptions
    files: FileStore
    runs: RunStore
    limiter: anyio.CapacityLimiter
    """The threads in which pictures are decoded and made."""
    traffic: Traffic
    speech: Speech
    uploads: UploadStore
    webhooks: WebhookSender
    magica: MagicaState
    shelf: Shelf = field(default_factory=Shelf)
    faults: FaultQueue = field(default_factory=FaultQueue)
    plans: PlanQueue = field(default_factory=PlanQueue)
    prompts: list[str] = field(default_factory=list)
    """Of every accepted run that has one, in their order: a prompt that stands twice was paid twice."""
    prompt_runs: dict[str, str] = field(default_factory=dict)
    """The last run of each prompt."""

    @property
    def creations(self) -> Creations:
        """Everything that a run's inputs may name."""
        return Creations(self.files, self.uploads, self.magica.library)

    def reset(self) -> None:
        """Make everything as it was at the start, but for the addresses and the secrets."""
        for part in (self.runs, self.traffic, self.speech, self.webhooks, self.shelf, self.magica):
            part.reset()
        for store in (self.files, self.uploads, self.faults, self.plans, self.prompts, self.prompt_runs):
            store.clear()
