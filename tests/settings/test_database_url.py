"""The address of a team's database: it is obeyed, and shown nowhere."""

import pytest

from flowport.settings.values import describe_database, find_passwords
from flowport.settings.variables import get_secret_names
from tests.support.configuring import load, refuse


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://flowport:secret-word@db.example.com:5432/flowport",
        "postgres://db/flowport?sslmode=require&password=secret-word",
        "postgresql:///flowport?host=/var/run/postgresql",
    ],
)
def test_the_address_of_a_database_is_obeyed_and_not_shown(url: str) -> None:
    """It may hold a password, and settings end up in reports."""
    settings = load({"FLOWPORT_DATABASE_URL": f" {url} "})

    assert settings.database_url == url
    assert url not in repr(settings)
    assert "FLOWPORT_DATABASE_URL" in get_secret_names()
    assert "secret-word" not in describe_database(url)
    assert find_passwords(url) >= {url} | ({"secret-word"} if "secret-word" in url else set())


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:secret-word@h/d",
        "secret-word",
        "postgresql://u:secret-word@h",
        "postgresql:///",
        "postgresql://[secret-word",
    ],
)
def test_an_address_that_names_no_database_is_refused_without_quoting_it(url: str) -> None:
    """A password is quoted nowhere."""
    error = refuse({"FLOWPORT_DATABASE_URL": url})

    assert error.setting == "FLOWPORT_DATABASE_URL"
    assert "secret-word" not in str(error)
