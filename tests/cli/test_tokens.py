"""The tokens of a server for several people, as an administrator makes and revokes them."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from flowport.cli.main import main
from flowport.domain.access_tokens import AccessToken, hash_token, is_token
from flowport.domain.spending import SpendingLimits
from flowport.store.interface import Store
from flowport.store.opening import open_home_store

T = TypeVar("T")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the configured home, without a store yet."""
    monkeypatch.setenv("FLOWPORT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def ask(home: Path, work: Callable[[Store], Awaitable[T]]) -> T:
    """Return what another process finds in the store."""

    async def perform() -> T:
        """Open, ask and close."""
        store = open_home_store(home)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(perform())


def find(home: Path, token: str) -> AccessToken | None:
    """Return what the server would find for a token."""
    return ask(home, lambda store: store.get_token(hash_token(token)))


def test_the_token_alone_is_printed_and_works(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script takes it from standard output; the explanation goes to a person."""
    assert main(["token", "add", "anna"]) == 0
    printed = capsys.readouterr()
    token = printed.out.removesuffix("\n")
    found = find(home, token)
    assert is_token(token)
    assert token not in printed.err
    assert found is not None
    assert (found.name, found.owner, found.account_ids, found.spending_limits) == ("anna", "anna", None, None)
    assert found.expires_at is None
    assert f"`flowport token revoke {found.id}`" in printed.err


def test_each_flag_is_what_the_server_finds(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Owner, accounts, limits and expiry are stored as they were typed."""
    words = ["--owner", "ci", "--account", "magica", "--account", "magnific:api.magnific.com:abc", "--expires", "12h"]
    caps = ["run", "day", "month"]
    limits = [word for n, one in enumerate(caps) for word in (f"--max-credits-per-{one}", str(n))]
    assert main(["token", "add", "build", *words, *limits, "--confirm-above-credits", "0.5", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    found = find(home, shown["token"])
    assert found is not None
    assert (found.owner, found.account_ids) == ("ci", frozenset({"magica", "magnific:api.magnific.com:abc"}))
    assert found.spending_limits == SpendingLimits(0.0, 1.0, 0.5, max_credits_per_month=2.0)
    assert found.expires_at == found.created_at + 12 * 3600
    assert (shown["max_credits_per_run"], shown["max_credits_per_month"], shown["state"]) == (0, 2, "valid")


@pytest.mark.parametrize(
    "words",
    [
        ["local"],
        ["oauth|anna"],
        [""],
        ["   "],
        ["an\nna"],
        ["anna\x1b[31m"],
        ["a\u202enna"],
        ["a\ud800"],
        ["x" * 81],
        ["anna", "--owner", ""],
        ["anna", "--owner", "a\tb"],
        [f"fp_{'a' * 43}"],
        ["anna", "--account", "other"],
        ["anna", "--account", "magnific:x"],
        ["anna", "--account", ""],
        *(["anna", "--max-credits-per-day", bad] for bad in ("nan", "inf", "-1", "1e10", "ten", "")),
        *(["anna", "--expires", bad] for bad in ("soon", "-1d", "90 days", "")),
        ["anna", "tom"],
        [],
    ],
    ids=repr,
)
def test_what_would_be_another_token_than_meant_is_refused(home: Path, words: list[str]) -> None:
    """Nothing is stored: not for the owner of the terminal, not with a cap that caps nothing."""
    assert main(["token", "add", *words]) == 2
    assert ask(home, lambda store: store.get_tokens()) == ()


def test_a_token_for_the_owner_of_the_terminal_is_made_on_purpose_only(home: Path) -> None:
    """It shows everything that was ever run here."""
    assert main(["token", "add", "me", "--owner", "local"]) == 0
    [found] = ask(home, lambda store: store.get_tokens())
    assert found.owner == "local"


def test_the_list_shows_everything_but_a_token(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the token nor its hash leaves the record."""
    secrets = []
    for words in (["anna", "--max-credits-per-day", "5"], ["tom", "--account", "magica"], ["ida", "--expires", "0d"]):
        assert main(["token", "add", *words]) == 0
        secrets.append(capsys.readouterr().out.strip())
    assert main(["token", "revoke", "tom"]) == 0
    capsys.readouterr()
    assert main(["token", "list"]) == 0
    lines = capsys.readouterr().out
    assert main(["token", "list", "--json"]) == 0
    document = capsys.readouterr().out
    for text in (lines, document):
        assert not [one for one in secrets if one in text or one[-4:] in text or hash_token(one) in text]
    rows = [line.split("\t") for line in lines.splitlines()]
    assert [row[1:5] for row in rows] == [
        ["anna", "anna", "all", "5 credits per day"],
        ["tom", "tom", "magica", "of the settings"],
        ["ida", "ida", "all", "of the settings"],
    ]
    assert [re.sub(r"\d{4}-.*", "", row[6]) for row in rows] == ["valid", "revoked ", "expired"]
    assert [one["state"] for one in json.loads(document)["tokens"]] == ["valid", "revoked", "expired"]


@pytest.mark.parametrize("how", ["id", "name", "token"])
def test_a_token_is_revoked_by_any_of_its_names(home: Path, capsys: pytest.CaptureFixture[str], how: str) -> None:
    """Who finds a token in a log has nothing else to name it by; it is not printed again."""
    main(["token", "add", "anna", "--json"])
    shown = json.loads(capsys.readouterr().out)
    wanted = shown[how] if how != "name" else "anna"
    assert main(["token", "revoke", wanted]) == 0
    assert shown["token"] not in str(capsys.readouterr())
    found = find(home, shown["token"])
    assert found is not None
    assert found.revoked_at is not None
    assert main(["token", "revoke", wanted]) == 0
    assert "was revoked before" in capsys.readouterr().out
    assert find(home, shown["token"]) == found


def test_a_name_that_was_used_again_means_the_present_token(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The earlier one is revoked already."""
    tokens: list[Any] = []
    for _ in range(2):
        assert main(["token", "add", "anna"]) == 0
        tokens.append(capsys.readouterr().out.strip())
        assert main(["token", "add", "anna"]) == 3
        assert "exists" in capsys.readouterr().err
        if len(tokens) == 1:
            main(["token", "revoke", "anna"])
            capsys.readouterr()
    assert main(["token", "revoke", "anna"]) == 0
    found = [find(home, one) for one in tokens]
    assert all(one is not None and one.revoked_at is not None for one in found)


@pytest.mark.parametrize("is_stored", [False, True])
def test_an_unknown_token_is_refused_without_repeating_it(
    home: Path, capsys: pytest.CaptureFixture[str], is_stored: bool
) -> None:
    """It may be a token that was mistyped."""
    if is_stored:
        main(["token", "add", "anna"])
    capsys.readouterr()
    assert main(["token", "revoke", f"fp_{'a' * 43}", "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["kind"] == "TokenNotFound"
    assert "aaaa" not in document["error"]["message"]
    assert (home / "store.sqlite3").exists() is is_stored
