"""Signatures and bodies of webhooks. Pure.

Both providers sign as the Standard Webhooks specification and Svix do (docs.svix.com/receiving/verifying-payloads/how-manual):
HMAC-SHA256 over `id.timestamp.body`, in a list of `version,signature` pairs of which one has to match. Their documentation
disagrees about the key: samples use the text of the secret, and its base64-decoded bytes. Either is accepted.

The signature is made by standardwebhooks, of the extra `team`. Its own check is not used: it reads the clock of the process,
and a malformed list of signatures makes it raise several kinds of errors.
"""

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from flowport.providers.interface import ApiAnswer, WebhookEvent
from flowport.providers.parsing import clean_word, parse_json, read_run_id

TOLERANCE_SECONDS: Final = 300.0
"""The age, and the lead of the sender's clock, up to which an event is accepted; an older one may be a replay."""

_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the prefix of a secret
_VERSION: Final = "v1"
_MAX_ID_LENGTH: Final = 500
_MAX_TIMESTAMP_LENGTH: Final = 12
_MAX_SIGNATURES: Final = 16
"""In one header; a sender that rotates its secret signs with two or three."""

ParseEvent = Callable[[Mapping[str, Any]], tuple[Any, Any, Any]]
"""Returns where an event has its run id, its name and its metadata, unchecked."""


@dataclass(frozen=True, slots=True)
class SignedWebhooks:
    """Webhooks of one provider."""

    prefix: str
    """Of the three headers `id`, `timestamp` and `signature`."""
    parse_event: ParseEvent
    beginnings: AbstractSet[str] = frozenset()
    """The names of events after which the run goes on."""

    def get_id(self, headers: Mapping[str, str]) -> str:
        """Return the id of a delivery; empty when it has none that could be signed."""
        event_id = headers.get(f"{self.prefix}id", "")
        return event_id if event_id.isascii() and event_id.isprintable() and len(event_id) <= _MAX_ID_LENGTH else ""

    def is_authentic(self, headers: Mapping[str, str], body: bytes, secret: str, *, now: float) -> bool:
        """Check that the secret signed the body not long ago."""
        event_id, sent_at = self.get_id(headers), _parse_timestamp(headers.get(f"{self.prefix}timestamp", ""))
        if not event_id or sent_at is None or not secret or abs(now - sent_at) > TOLERANCE_SECONDS:
            return False
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return False
        given = [part.partition(",") for part in headers.get(f"{self.prefix}signature", "").split()[:_MAX_SIGNATURES]]
        signatures = [signature.encode() for version, _, signature in given if version == _VERSION]
        wanted = [_sign(key, event_id, sent_at, text) for key in _iterate_keys(secret)]
        # Every pair is compared, so that the time shows nothing of which one matched.
        return any([hmac.compare_digest(one, other) for one in signatures for other in wanted])  # noqa: C419

    def parse(self, body: bytes) -> WebhookEvent:
        """Return what an event says.

        Raises:
            ValueError: It names no run, or is not plain JSON: a name twice in one object, or a NaN.
        """
        _check_json(body)
        event = parse_json(ApiAnswer(200, {}, body))
        run_id, name, metadata = self.parse_event(event) if isinstance(event, Mapping) else (None, None, None)
        run_id = read_run_id(run_id) if isinstance(run_id, str | int) and not isinstance(run_id, bool) else ""
        if not 0 < len(run_id) <= _MAX_ID_LENGTH:
            raise ValueError("the event names no run")
        metadata = metadata if isinstance(metadata, Mapping) else {}
        name = clean_word(name) if isinstance(name, str) else ""
        return WebhookEvent(run_id, name, metadata, is_beginning=name.lower() in self.beginnings)


def _sign(key: bytes, event_id: str, sent_at: int, text: str) -> bytes:
    """Return the signature in base64."""
    from standardwebhooks.webhooks import Webhook  # noqa: PLC0415 - of the extra `team`, and only a web server needs it

    signature = Webhook(key).sign(event_id, datetime.fromtimestamp(sent_at, UTC), text)
    return signature.removeprefix(f"{_VERSION},").encode()


def _parse_timestamp(text: str) -> int | None:
    """Return whole seconds as the sender has signed them; None for any other text, such as one with leading zeros."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MAX_TIMESTAMP_LENGTH
    return int(text) if is_number and str(int(text)) == text else None


def _iterate_keys(secret: str) -> Iterator[bytes]:
    yield secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return
    if key:
        yield key


def _check_json(body: bytes) -> None:
    """Refuse JSON that two readers understand differently.

    Raises:
        ValueError: It is such a text, or not JSON at all.
    """
    try:
        json.loads(body.decode(), object_pairs_hook=_refuse_repeats, parse_constant=_refuse_constant)
    except RecursionError as exc:
        raise ValueError("the event is nested too deeply") from exc


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("the event has a name twice")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"the event holds {name}")
