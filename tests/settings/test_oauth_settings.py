"""The settings that decide which access tokens of an issuer count."""

import pytest

from tests.support.configuring import load, refuse


def test_rules_for_access_tokens_without_an_issuer_are_refused() -> None:
    """A person who sets them believes that tokens are checked."""
    found = refuse({"FLOWPORT_OAUTH_AUDIENCE": "flowport", "FLOWPORT_OAUTH_SCOPES": "runs"})
    names = [one.setting for one in (found, *found.others)]
    assert names == ["FLOWPORT_OAUTH_AUDIENCE", "FLOWPORT_OAUTH_SCOPES"]
    assert "has no effect without FLOWPORT_OAUTH_ISSUER" in str(found)
    alone = refuse({"FLOWPORT_OAUTH_ISSUER": "auth.example.com", "FLOWPORT_OAUTH_SCOPES": "runs"})
    assert (alone.setting, alone.others) == ("FLOWPORT_OAUTH_ISSUER", ())


@pytest.mark.parametrize("text", ["runs,files:read", "runs files:read", "runs, files:read runs"])
def test_scopes_are_separated_by_commas_or_spaces(text: str) -> None:
    """OAuth itself writes them with spaces."""
    settings = load({"FLOWPORT_OAUTH_ISSUER": "https://auth.example.com", "FLOWPORT_OAUTH_SCOPES": text})
    assert settings.http.oauth_scopes == ("runs", "files:read")


@pytest.mark.parametrize("text", ['ru"ns', "ru\\ns", "lauf\u00fc"])
def test_what_is_not_a_scope_is_refused(text: str) -> None:
    """A header repeats the scopes between quotation marks."""
    found = refuse({"FLOWPORT_OAUTH_ISSUER": "https://auth.example.com", "FLOWPORT_OAUTH_SCOPES": text})
    assert (found.setting, "is not a scope" in found.problem) == ("FLOWPORT_OAUTH_SCOPES", True)
