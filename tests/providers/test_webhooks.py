"""Webhooks: which are signed by the secret, and which run they are about."""

from typing import Any

import pytest

from flowport.providers.interface import Provider, WebhookEvent
from flowport.providers.magica.api import Magica
from flowport.providers.magnific.api import Magnific

NOW = 1731705121.0

SVIX = b'{"event_type":"ping","data":{"success":true}}'
SVIX_SECRET = "whsec_plJ3nmyCDGBKInavdOK15jsl"
SVIX_HEADERS = {
    "svix-id": "msg_loFOjxBNrRLzqYUf",
    "svix-timestamp": "1731705121",
    "svix-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
}
"""The example of docs.svix.com."""

FLOW = b'{"event": "finished", "run_id": "vCrK3Aa47y", "status": "completed"}'
FLOW_HEADERS = {
    "webhook-id": "evt_1",
    "webhook-timestamp": "1731705121",
    "webhook-signature": "v2,aaaa v1,fU3+HcLVo/ggjWsUqxomsImjAq+QouUsV7P35Lc5smE=",
}
"""Signed by `openssl dgst -sha256 -hmac 'the secret text'`."""


def is_authentic(provider: Provider, headers: dict[str, str], body: bytes, secret: str, *, now: float = NOW) -> bool:
    """Check a webhook of a provider."""
    webhooks = provider.capabilities.webhooks
    assert webhooks is not None
    return webhooks.is_authentic(headers, body, secret, now=now)


def test_a_signature_with_the_decoded_secret_is_accepted() -> None:
    """Svix, which sends one provider's webhooks, decodes the secret behind its prefix."""
    assert is_authentic(Magica(), SVIX_HEADERS, SVIX, SVIX_SECRET)


def test_a_signature_with_the_text_of_the_secret_is_accepted() -> None:
    """The samples in Python and JavaScript use it so, and one match in the list is enough."""
    assert is_authentic(Magnific(), FLOW_HEADERS, FLOW, "the secret text")


@pytest.mark.parametrize(
    ("changes", "body", "secret", "now"),
    [
        ({}, SVIX + b" ", SVIX_SECRET, NOW),
        ({}, SVIX, "whsec_plJ3nmyCDGBKInavdOK15jsm", NOW),
        ({}, SVIX, "", NOW),
        ({}, SVIX, SVIX_SECRET, NOW + 301),
        ({}, SVIX, SVIX_SECRET, NOW - 301),
        ({"svix-id": "msg_other"}, SVIX, SVIX_SECRET, NOW),
        ({"svix-id": ""}, SVIX, SVIX_SECRET, NOW),
        ({"svix-timestamp": "1731705122"}, SVIX, SVIX_SECRET, NOW),
        ({"svix-timestamp": "soon"}, SVIX, SVIX_SECRET, NOW),
        ({"svix-timestamp": "\N{SUPERSCRIPT TWO}"}, SVIX, SVIX_SECRET, NOW),
        ({"svix-timestamp": "9" * 5000}, SVIX, SVIX_SECRET, NOW),
        ({"svix-signature": "v2,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="}, SVIX, SVIX_SECRET, NOW),
        ({"svix-signature": "rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="}, SVIX, SVIX_SECRET, NOW),
        ({"svix-signature": "v1,\N{SNOWMAN}"}, SVIX, SVIX_SECRET, NOW),
        ({"svix-signature": ""}, SVIX, SVIX_SECRET, NOW),
        ({"svix-signature": "v1"}, SVIX, SVIX_SECRET, NOW),
        ({"svix-signature": "v1,!!!! v1,====, v1,v1,v1"}, SVIX, SVIX_SECRET, NOW),
        ({"svix-signature": "v1," * 20 + SVIX_HEADERS["svix-signature"]}, SVIX, SVIX_SECRET, NOW),
        ({"svix-signature": "v1,x " * 16 + SVIX_HEADERS["svix-signature"]}, SVIX, SVIX_SECRET, NOW),
        ({"svix-timestamp": "01731705121"}, SVIX, SVIX_SECRET, NOW),
        ({"svix-timestamp": "1731705121.0"}, SVIX, SVIX_SECRET, NOW),
        ({"svix-timestamp": "-1731705121"}, SVIX, SVIX_SECRET, NOW),
        ({"svix-timestamp": "nan"}, SVIX, SVIX_SECRET, NOW),
        ({}, b"\xff", SVIX_SECRET, NOW),
        ({}, SVIX, "whsec_", NOW),
    ],
)
def test_any_other_webhook_is_not_authentic(changes: dict[str, str], body: bytes, secret: str, now: float) -> None:
    """A changed body, another secret, a replay or a missing header could come from any sender."""
    assert not is_authentic(Magica(), {**SVIX_HEADERS, **changes}, body, secret, now=now)


def test_the_signature_may_stand_among_others() -> None:
    """A sender that replaces its secret signs with both, and later versions of the scheme stand beside it."""
    several = {**SVIX_HEADERS, "svix-signature": f"v1a,abc v1,AAAA {SVIX_HEADERS['svix-signature']}"}
    assert is_authentic(Magica(), several, SVIX, SVIX_SECRET)


def test_headers_of_another_provider_are_not_authentic() -> None:
    """Each provider has its own names for them."""
    assert not is_authentic(Magnific(), SVIX_HEADERS, SVIX, SVIX_SECRET)
    assert not is_authentic(Magica(), {}, SVIX, SVIX_SECRET)


@pytest.mark.parametrize(
    ("provider", "body", "event"),
    [
        (Magnific(), FLOW, WebhookEvent("vCrK3Aa47y", "finished")),
        (
            Magnific(),
            b'{"workflow_run_identifier": "r1", "type": "initialized"}',
            WebhookEvent("r1", "initialized", is_beginning=True),
        ),
        (Magnific(), b'{"data": {"run_id": 7}, "status": "failed"}', WebhookEvent("7", "failed")),
        (
            Magica(),
            b'{"type": "run.completed", "runId": "r1", "data": {"status": "COMPLETED"}, "metadata": {"myJob": "42"}}',
            WebhookEvent("r1", "run.completed", {"myJob": "42"}),
        ),
        (
            Magica(),
            b'{"type": "node.failed", "runId": "r1", "metadata": null}',
            WebhookEvent("r1", "node.failed", is_beginning=True),
        ),
        (Magica(), b'{"type": "run.exploded", "runId": "r1"}', WebhookEvent("r1", "run.exploded")),
        (Magica(), b'{"type": {}, "runId": "r1", "metadata": 5}', WebhookEvent("r1", "")),
    ],
)
def test_an_event_names_its_run(provider: Any, body: bytes, event: WebhookEvent) -> None:
    """It is only a reason to poll that run."""
    assert provider.capabilities.webhooks.parse(body) == event


@pytest.mark.parametrize("provider", [Magnific(), Magica()], ids=lambda one: one.name)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"{}",
        b'{"runId": null, "run_id": ""}',
        b'{"runId": {}, "run_id": []}',
        b'{"runId": true, "run_id": true}',
        b'{"runId": "r1", "run_id": "r1", "runId": "r2", "run_id": "r2"}',
        b'{"runId": "r1", "run_id": "r1", "cost": NaN}',
        b'{"runId": "r1", "run_id": "r1", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"runId": "r1", "run_id": "r1", "name": "\xff"}',
    ],
)
def test_an_event_without_a_run_is_refused(provider: Any, body: bytes) -> None:
    """Nothing could be polled."""
    with pytest.raises(ValueError):  # noqa: PT011 - the message is for a log
        provider.capabilities.webhooks.parse(body)
