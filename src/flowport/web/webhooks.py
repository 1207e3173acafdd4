"""Take webhooks of providers: `/webhooks/{provider}/{run_id}/{signature}`, one unguessable address for each run.

The signature in the address is ours, so only who was sent the start request of a run knows it. Where a secret of the provider is
configured for the account that pays the run, the delivery has to be signed by it as well; without one the address alone
authorises. Either way an event only causes a read: see `runs.announcements`.

An answer says no more than its status: 404 for an address that is not ours, 401 for a signature, 400 for a body that is not an event
of this run, 413, 429. 503 asks for another delivery: whether the start arrived could not be confirmed yet.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Final

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from flowport.domain.errors import ConfigurationError, StoreError
from flowport.domain.models import Run
from flowport.providers.interface import Webhooks
from flowport.runs.announcements import Reception
from flowport.runs.witness import BuildWebhookUrl
from flowport.settings.settings import Settings
from flowport.web.signing import Purpose, Signer, load_signer
from flowport.web.site import SAFE_HEADERS, Site

logger = logging.getLogger(__name__)

PATH: Final = "/webhooks/{provider}/{run_id}/{signature}"
MAX_BODY_BYTES: Final = 256 * 1024
BODY_SECONDS: Final = 10.0
"""In which a body has to arrive."""
SETTLE_SECONDS: Final = 10.0
"""How long a delivery is held until its effect is certain; senders wait fifteen seconds."""
MAX_DELIVERIES_PER_MINUTE: Final = 60
"""Of one run."""
MAX_REMEMBERED: Final = 20_000
"""Deliveries, and runs with deliveries, that are remembered."""
_MINUTE_SECONDS: Final = 60.0


def build_signed_text(provider: str, run_id: str) -> str:
    """Return what the signature in the address of a run covers."""
    return f"{provider}\n{run_id}"


def build_webhook_urls(settings: Settings) -> BuildWebhookUrl | None:
    """Return what builds the address of each run; None without a public address, or a home that keeps its secret.

    Raises:
        ConfigurationError: Signatures are to be verified, and the library for that is missing.
    """
    secrets = [one for one in settings.providers if one.webhook_secrets]
    if secrets and find_spec("standardwebhooks") is None:
        name = f"{secrets[0].provider.upper()}_WEBHOOK_SECRET"
        problem = "is set, and the library that verifies signatures is not installed"
        raise ConfigurationError(name, problem, "Install the extra `team`.")
    public_url = settings.http.public_url
    if not public_url:
        return None
    try:
        signer = load_signer(settings.home)
    except ConfigurationError as exc:
        logger.warning("%s Until then providers send no webhooks.", exc)
        return None

    def build(run: Run) -> str:
        signature = signer.sign(Purpose.WEBHOOK, build_signed_text(run.provider, run.id))
        return f"{public_url}/webhooks/{run.provider}/{run.id}/{signature}"

    return build


class Deliveries:
    """Remembers deliveries, so that one has its effect once, and how many came for each run in the last minute.

    Each replica of a team remembers its own. That is harmless: an event that is taken twice causes one more read, and a start
    that it proves is recorded once.
    """

    def __init__(self, get_now: Callable[[], float]) -> None:
        self._get_now = get_now
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """By run: the begin of its minute, and the deliveries since."""

    def is_too_many(self, run_id: str) -> bool:
        """Count a delivery of a run, and return whether it is above what one run may have."""
        now = self._get_now()
        began_at, count = self._counts.pop(run_id, (now, 0))
        if not 0 <= now - began_at < _MINUTE_SECONDS:
            began_at, count = now, 0
        self._counts[run_id] = (began_at, count + 1)
        if len(self._counts) > MAX_REMEMBERED:
            self._counts.popitem(last=False)
        return count >= MAX_DELIVERIES_PER_MINUTE

    def remember(self, run_id: str, delivery_id: str) -> bool:
        """Remember a delivery, and return whether it is new."""
        key = (run_id, delivery_id)
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def forget(self, run_id: str, delivery_id: str) -> None:
        """Let a delivery that had no effect come again."""
        self._seen.pop((run_id, delivery_id), None)


class WebhookReceiver:
    """Verifies deliveries and hands their events on."""

    def __init__(self, site: Site) -> None:
        self._signer: Signer = site.signer
        self._get_now = site.get_now
        self._announcements = site.tenants.shared.announcements
        self._secrets = {one.account.id: one.webhook_secrets for one in site.settings.providers}
        self._deliveries = Deliveries(site.get_now)

    async def receive(self, request: Request) -> Response:
        """Answer one delivery."""
        try:
            status, outcome = await self._receive(request)
        except StoreError as exc:
            logger.warning("a webhook could not be taken: %s", exc)
            status, outcome = 503, "unsettled"
        self._announcements.counts[outcome] += 1
        return Response(status_code=status, headers=SAFE_HEADERS)

    async def _receive(self, request: Request) -> tuple[int, str]:
        provider, run_id, signature = (request.path_params[name] for name in ("provider", "run_id", "signature"))
        is_ours = self._signer.is_valid(Purpose.WEBHOOK, build_signed_text(provider, run_id), signature)
        run = await self._announcements.find_run(run_id) if is_ours else None
        webhooks = None if run is None else self._announcements.get_webhooks(run)
        if run is None or webhooks is None or run.provider != provider:
            return 404, "not found"
        if self._deliveries.is_too_many(run_id):
            return 429, "too many"
        body = await _read_body(request)
        if body is None:
            return 413, "too large"
        headers = _join_headers(request)
        secrets = self._secrets.get(run.account_id, ())
        now = self._get_now()
        if secrets and not any([webhooks.is_authentic(headers, body, one, now=now) for one in secrets]):  # noqa: C419 - all are tried
            return 401, "not authentic"
        return await self._take(run_id, webhooks, headers, body)

    async def _take(self, run_id: str, webhooks: Webhooks, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        try:
            event = webhooks.parse(body)
        except ValueError as exc:
            logger.info("a webhook of run %s is not an event: %s", run_id, type(exc).__name__)
            return 400, "malformed"
        delivery_id = webhooks.get_id(headers) or hashlib.sha256(body).hexdigest()
        if not self._deliveries.remember(run_id, delivery_id):
            return 200, "duplicate"
        reception: Reception | None = None
        try:
            with anyio.move_on_after(SETTLE_SECONDS):
                reception = await self._announcements.take(run_id, event)
        finally:
            if reception in {None, Reception.UNSETTLED}:
                self._deliveries.forget(run_id, delivery_id)
        if reception is Reception.FOREIGN:
            return 400, "foreign"
        return (200, "accepted") if reception is Reception.TAKEN else (503, "unsettled")


def build_webhook_routes(site: Site) -> list[Route]:
    """Return the route of the webhooks."""
    return [Route(PATH, WebhookReceiver(site).receive, methods=["POST"])]


async def _read_body(request: Request) -> bytes | None:
    """Return the body; None when it is too long, is cut off or does not arrive."""
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()) or len(length) > len(str(MAX_BODY_BYTES)):
        return None
    body, is_whole = bytearray(), False
    with anyio.move_on_after(BODY_SECONDS):
        try:
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    return None
        except ClientDisconnect:
            return None
        is_whole = True
    return bytes(body) if is_whole else None


def _join_headers(request: Request) -> dict[str, str]:
    """Return the headers by their names in lower case; a repeated one is joined, so that it fits no signature."""
    joined: dict[str, str] = {}
    for name, value in request.headers.items():
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
