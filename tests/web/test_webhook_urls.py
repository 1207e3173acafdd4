"""The addresses that start requests name, and the secrets that sign what comes to them."""

from pathlib import Path

import pytest

from flowport.domain.errors import ConfigurationError
from flowport.domain.models import App
from flowport.providers.interface import WebhookTarget
from flowport.providers.magica.api import Magica
from flowport.providers.magnific.api import Magnific
from flowport.web import webhooks
from flowport.web.signing import Purpose, load_signer
from flowport.web.webhooks import build_signed_text, build_webhook_urls
from tests.runs.samples import RUN
from tests.support.configuring import KEY, load

SKETCH = App("magnific", "uqzQLDr2Aw", "Sketch", is_own=True, price_credits=1.0, inputs=())
SECRET = "whsec_abcdefghijkl"


def test_each_run_has_an_address_of_its_own(tmp_path: Path) -> None:
    """Its last part is our signature over the provider and the run, below the public address."""
    settings = load({"FLOWPORT_HOME": str(tmp_path), "FLOWPORT_PUBLIC_URL": "https://flowport.example.com/team/"})
    build = build_webhook_urls(settings)
    assert build is not None
    url = build(RUN)
    assert url is not None
    head, provider, run_id, signature = url.rsplit("/", 3)
    assert (head, provider, run_id) == ("https://flowport.example.com/team/webhooks", RUN.provider, RUN.id)
    text = build_signed_text(RUN.provider, RUN.id)
    assert load_signer(tmp_path).is_valid(Purpose.WEBHOOK, text, signature)


def test_without_a_public_address_no_webhook_is_asked_for(tmp_path: Path) -> None:
    """A provider could not reach the address that the server listens at."""
    assert build_webhook_urls(load({"FLOWPORT_HOME": str(tmp_path)})) is None


def test_a_secret_needs_the_library_that_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server refuses to start rather than accept what it cannot verify."""
    monkeypatch.setattr(webhooks, "find_spec", lambda _: None)
    settings = load({"MAGNIFIC_API_KEY": KEY, "MAGNIFIC_WEBHOOK_SECRET": SECRET, "FLOWPORT_HOME": str(tmp_path)})
    with pytest.raises(ConfigurationError, match="MAGNIFIC_WEBHOOK_SECRET"):
        build_webhook_urls(settings)


def test_a_secret_is_not_part_of_what_is_printed(tmp_path: Path) -> None:
    """Nor is the address of a run."""
    settings = load({"MAGNIFIC_API_KEY": KEY, "MAGNIFIC_WEBHOOK_SECRET": SECRET, "FLOWPORT_HOME": str(tmp_path)})
    assert settings.providers[0].webhook_secrets == (SECRET,)
    assert SECRET not in repr(settings)
    assert "example" not in repr(WebhookTarget("https://flowport.example.com/webhooks/x"))


def test_start_requests_name_the_address_as_each_provider_takes_it() -> None:
    """Magnific takes one address; Magica takes the events too, and repeats what it is given in each."""
    target = WebhookTarget("https://flowport.example.com/w", {"flowport_run_id": "run_1"})
    magnific = Magnific().build_start_request(SKETCH, {}, target).body
    magica = Magica().build_start_request(SKETCH, {}, target).body
    assert magnific is not None
    assert magica is not None
    assert magnific["webhook"] == "https://flowport.example.com/w"
    assert magica["webhook"] == {
        "url": "https://flowport.example.com/w",
        "events": ["run.started", "run.completed", "run.failed", "run.canceled"],
        "metadata": {"flowport_run_id": "run_1"},
    }
    assert "webhook" not in (Magnific().build_start_request(SKETCH, {}).body or {})
