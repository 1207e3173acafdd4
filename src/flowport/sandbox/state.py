"""What both origins of a running sandbox share."""

from dataclasses import dataclass, field

import anyio

from flowport.sandbox.faults import FaultQueue
from flowport.sandbox.files import FileStore
from flowport.sandbox.plans import PlanQueue
from flowport.sandbox.runs import RunStore
from flowport.sandbox.traffic import Traffic


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
    """Requests allowed in any 60 seconds, the switches not counted; 0: no limit."""
    speed: float = 1.0
    """Multiplies the time that runs take; 0: no longer than the work itself."""


@dataclass(frozen=True, slots=True)
class SandboxState:
    """The live parts of one sandbox."""

    options: SandboxOptions
    files: FileStore
    runs: RunStore
    limiter: anyio.CapacityLimiter
    """The threads in which pictures are decoded and made."""
    traffic: Traffic
    faults: FaultQueue = field(default_factory=FaultQueue)
    plans: PlanQueue = field(default_factory=PlanQueue)
