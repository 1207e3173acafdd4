"""Webhooks: a POST when a run starts and another when it ends, signed, to receivers on this machine alone.

Magnific API 1.0.0, run-flow, and the page webhooks. The shape of the body is not published; this one is the run as
get-run reports it, with the event's name.
"""

import base64
import hashlib
import hmac
import http.client
import json
import secrets
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, assert_never
from urllib.parse import SplitResult, urlsplit

import anyio
import anyio.abc
import anyio.to_thread

from flowport.sandbox.web import Refused
from tests.fakes.magnific.files import FileStore
from tests.fakes.magnific.runs import Run, RunStatus, RunStore, build_run

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_PREFIX: Final = "whsec_"
TIMEOUT_SECONDS: Final = 15.0
_REFUSED: Final = 300
THREADS: Final = 8
"""Deliveries at the same time; apart from the threads that make pictures, since a receiver may be slow."""


class SecretReading(StrEnum):
    """How the secret becomes the key: the provider's samples do not agree."""

    TEXT = "text"
    """The secret's letters, as most samples have it."""
    BASE64 = "base64"
    """The bytes that the part behind the prefix stands for, as one sample has it."""


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """How deliveries go."""

    reading: SecretReading = SecretReading.TEXT
    copies: int = 1
    """How often each event is delivered, under one id."""
    is_reversed: bool = False
    """Whether the start of a run is reported after its end."""
    is_signed: bool = True
    lost: frozenset[str] = frozenset()
    """The names of events that are recorded and not sent."""
    delay_seconds: float = 0.0
    """Before each event."""
    retry_seconds: tuple[float, ...] = ()
    """Before each further attempt after an answer that is not 2xx; the magica sender's service makes such attempts."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt."""

    run_id: str
    event: str
    status: int | None
    """The receiver's answer; None when there was none, or nothing was sent."""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


def parse_webhook(value: Any) -> str | None:
    """Return the receiver of a run request, or None when it names none.

    Raises:
        Refused: 400 for what is not a URL, 422 for a receiver that is not on this machine.
    """
    if value is None:
        return None
    parts = _split(value) if isinstance(value, str) else None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Refused(400, "Parameter 'webhook' is not valid")
    if parts.hostname not in _LOOPBACK:
        raise Refused(422, "The sandbox calls webhooks on this machine only")
    return str(value)


class WebhookSender:
    """Reports receivers of their runs. It owns the secret, the rules and what was delivered."""

    def __init__(
        self,
        runs: RunStore,
        files: FileStore,
        tasks: anyio.abc.TaskGroup,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start with a fresh secret; deliveries live in `tasks`."""
        self._runs = runs
        self._files = files
        self._tasks = tasks
        self._clock = clock
        self._limiter = anyio.CapacityLimiter(THREADS)
        self.secret = _PREFIX + base64.b64encode(secrets.token_bytes(24)).decode()
        self.rules = WebhookRules()
        self.deliveries: list[Delivery] = []

    def watch(self, run: Run, url: str) -> None:
        """Return this receiver when the run starts and when it ends."""
        self._tasks.start_soon(self._follow, run.id, url)

    def reset(self) -> None:
        """Forget the deliveries and go back to the usual rules."""
        self.rules = WebhookRules()
        self.deliveries.clear()

    async def _follow(self, run_id: str, url: str) -> None:
        await self._runs.wait_until_started(run_id)
        rules, run = self.rules, self._runs.get(run_id)
        if run is None:
            return  # a reset has forgotten it
        # The run may be over by now; this event reports how it was at its start.
        started = replace(run, status=RunStatus.RUNNING, completed_at=None, error_message=None, files=())
        if not rules.is_reversed:
            await self._deliver(url, "initialized", started, rules)
        await self._runs.wait_until_over(run_id)
        over = self._runs.get(run_id)
        if over is None:
            return
        is_good = over.status in {RunStatus.COMPLETED, RunStatus.COMPLETED_WITH_ERRORS}
        await self._deliver(url, "finished" if is_good else "failed", over, rules)
        if rules.is_reversed:
            await self._deliver(url, "initialized", started, rules)

    async def _deliver(self, url: str, event: str, run: Run, rules: WebhookRules) -> None:
        body = json.dumps({"event": event, **build_run(run, self._files)}).encode()
        await self.send(Delivery(run.id, event, None), url, body, rules)

    def start_soon(self, report: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let another provider's sender follow a run beside this one's."""
        self._tasks.start_soon(report)

    async def send(
        self,
        delivery: Delivery,
        url: str,
        body: bytes,
        rules: WebhookRules,
        *,
        prefix: str = "webhook",
        extra_headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Deliver a body as the rules have it, its signature in headers with this prefix; keep what came of it."""
        await anyio.sleep(rules.delay_seconds)
        message_id, delivery = f"msg_{secrets.token_hex(8)}", replace(delivery, url=url, body=body.decode())
        for pause in (*[0.0] * rules.copies, *rules.retry_seconds):
            await anyio.sleep(pause)
            headers = {**extra_headers, "content-type": "application/json"}
            if rules.is_signed:
                signed = build_signature(body, self.secret, rules.reading, message_id=message_id, now=self._clock())
                headers |= {f"{prefix}{name.removeprefix('webhook')}": value for name, value in signed.items()}
            if delivery.event in rules.lost:
                self.deliveries.append(replace(delivery, headers=headers))
                return
            if pause and delivery.status is not None and delivery.status < _REFUSED:
                return
            status = await anyio.to_thread.run_sync(
                _post, url, body, headers, limiter=self._limiter, abandon_on_cancel=True
            )
            delivery = replace(delivery, status=status, headers=headers)
            self.deliveries.append(delivery)


def build_signature(body: bytes, secret: str, reading: SecretReading, *, message_id: str, now: float) -> dict[str, str]:
    """Build the three headers of the page webhooks: HMAC-SHA256 over id, instant and body, in base64."""
    timestamp = str(int(now))
    signed = b".".join([message_id.encode(), timestamp.encode(), body])
    digest = hmac.new(_build_key(secret, reading), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        # A list, of which one match is enough; the first is of a scheme that no one knows.
        "webhook-signature": f"v0,{base64.b64encode(bytes(32)).decode()} v1,{base64.b64encode(digest).decode()}",
    }


def _build_key(secret: str, reading: SecretReading) -> bytes:
    match reading:
        case SecretReading.TEXT:
            return secret.encode()
        case SecretReading.BASE64:
            return base64.b64decode(secret.removeprefix(_PREFIX))
        case _:
            assert_never(reading)


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> int | None:
    """Deliver once and return the answer's status, or None. Neither proxies nor redirects are followed."""
    parts = urlsplit(url)
    connection = _connect(parts)
    try:
        connection.request(
            "POST", parts._replace(scheme="", netloc="", fragment="").geturl() or "/", body, dict(headers)
        )
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _connect(parts: SplitResult) -> http.client.HTTPConnection:
    """Return a connection to a receiver on this machine, whose certificate is its own."""
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_SECONDS)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_SECONDS, context=context)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if url.isascii() and url.isprintable() and " " not in url else None
