"""Signatures and bodies of webhooks. Pure.

Both providers sign as the Standard Webhooks specification and Svix do (docs.svix.com/receiving/verifying-payloads/how-manual):
HMAC-SHA256 over `id.timestamp.body`, in a list of `version,signature` pairs of which one has to match. Their documentation
disagrees about the key: samples use the text of the secret, and its base64-decoded bytes. Either is accepted.
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowport.providers.interface import ApiAnswer, WebhookEvent
from flowport.providers.parsing import clean_word, parse_json, read_run_id

TOLERANCE_SECONDS: Final = 300.0
"""The age, and the lead of the sender's clock, up to which an event is accepted; an older one may be a replay."""

_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the prefix of a secret
_MAX_ID_LENGTH: Final = 500

ParseEvent = Callable[[Mapping[str, Any]], tuple[Any, Any, Any]]
"""Returns where an event has its run id, its name and its metadata, unchecked."""


@dataclass(frozen=True, slots=True)
class SignedWebhooks:
    """Webhooks of one provider."""

    prefix: str
    """Of the three headers `id`, `timestamp` and `signature`."""
    parse_event: ParseEvent

    def is_authentic(self, headers: Mapping[str, str], body: bytes, secret: str, *, now: float) -> bool:
        """Check that the secret signed the body not long ago."""
        event_id, sent_at = headers.get(f"{self.prefix}id", ""), headers.get(f"{self.prefix}timestamp", "")
        is_recent = sent_at.isascii() and sent_at.isdecimal() and abs(now - int(sent_at[:12])) <= TOLERANCE_SECONDS
        if not event_id or not is_recent or not secret:
            return False
        signed = b".".join((event_id.encode(), sent_at.encode(), body))
        given = [part.partition(",") for part in headers.get(f"{self.prefix}signature", "").split()]
        signatures = [signature.encode() for version, _, signature in given if version == "v1"]
        wanted = [base64.b64encode(hmac.digest(key, signed, "sha256")) for key in _iterate_keys(secret)]
        return any(hmac.compare_digest(one, other) for one in signatures for other in wanted)

    def parse(self, body: bytes) -> WebhookEvent:
        """Return what an event says.

        Raises:
            ValueError: It names no run.
        """
        event = parse_json(ApiAnswer(200, {}, body))
        run_id, name, metadata = self.parse_event(event) if isinstance(event, Mapping) else (None, None, None)
        run_id = read_run_id(run_id) if isinstance(run_id, str | int) and not isinstance(run_id, bool) else ""
        if not 0 < len(run_id) <= _MAX_ID_LENGTH:
            raise ValueError("the event names no run")
        metadata = metadata if isinstance(metadata, Mapping) else {}
        return WebhookEvent(run_id, clean_word(name) if isinstance(name, str) else "", metadata)


def _iterate_keys(secret: str) -> Iterator[bytes]:
    yield secret.encode()
    try:
        yield base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        return
