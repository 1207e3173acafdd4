"""The JSON of each command against its reviewed snapshot and its documentation."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.person import Person
from tests.support.provider_process import ProviderProcess, open_provider
from tests.test_snapshots import ACCEPT, FOLDER

SNAPSHOTS = FOLDER / "commands"
PAGE = (FOLDER.parent.parent / "docs/commands.md").read_text(encoding="utf-8")
CHANGING = {
    r"run_[a-z0-9]{10}": "run_0000000000",
    r"batch_[a-z0-9]{10}": "batch_0000000000",
    r"tok_[a-z0-9]{10}": "tok_0000000000",
    r"(?<=\"provider_run_id\": \")[^\"]+": "0000000000",
    r"\bfp_[A-Za-z0-9_-]{43}": "fp_0000000000000000000000000000000000000000000",
    r"(?<=-)[a-z0-9]{10}(?=\.(?:png|csv))": "0000000000",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ": "2026-01-31T12:00:00Z",
    r"\d{4}-\d\d-\d\d(?=/)": "2026-01-31",
    # Whether a poll finds a short run running depends on the machine.
    r"\{\s+\"state\": \"running\",\s+\"at\": \"[^\"]+\"\s+\},\s+(?=\{)": "",
    r"https?://[^\"\s]+": "https://example.com/render.png",
    r"\(\d+ s": "(7 s",
    r"\d{8}-\d{6}(?=\.bak)": "20260131-120000",
    r"[^\" ]*/bin/flowport\b": "/opt/bin/flowport",
    r"(?<=\"seconds\": )[0-9.]+": "7",
    r"(?<=\"size_bytes\": )\d+": "12345",
    r"(?<=\"saved_bytes\": )\d+": "12345",
    r"(?<=\"record_bytes\": )\d+": "12345",
    r"(?<=\"oldest_at\": )[0-9.]+": "1769860800.0",
    r"(?<=\"requests_last_minute\": )\d+": "7",
}
"""What differs from run to run, and what the snapshots have instead."""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """Run a provider whose runs take no time."""
    with open_provider(tmp_path_factory.mktemp("quick")) as provider:
        yield provider


COMMANDS: dict[str, tuple[str, ...]] = {
    "apps": ("apps", "poster"),
    "show_app": ("show", "retro_poster"),
    "run": ("run", "text_to_picture", "prompt=a lake", "shape=wide"),
    "show_run": ("show", "last"),
    "run_failed": ("run", "always_fails", "note=x"),
    "run_refused": ("run", "text_to_picture", "promt=a lake"),
    "run_over_cap": ("run", "text_to_picture", "prompt=a lake"),
    "run_unknown_app": ("run", "text_to_pictures"),
    "batch": ("batch", "text_to_picture", "rows.csv"),
    "runs": ("runs",),
    "cancel": ("cancel", "run_0000000000"),
    "balance": ("balance",),
    "history": ("history",),
    "token_add": ("token", "add", "anna", "--max-credits-per-day", "200", "--account", "magnific", "--expires", "90d"),
    "token_exists": ("token", "add", "anna"),
    "token_list": ("token", "list"),
    "token_revoke": ("token", "revoke", "anna"),
    "token_unknown": ("token", "revoke", "tom"),
    "erase_dry_run": ("erase", "--all", "--dry-run"),
    "erase": ("erase", "--all", "--yes"),
    "install": ("install", "cursor", "--yes"),
    "install_dry_run": ("install", "codex", "--dry-run"),
    "install_print": ("install", "zed"),
    "uninstall": ("uninstall", "cursor", "--yes"),
    "usage_error": ("erase",),
}


def test_each_command_prints_its_documented_json(tmp_path: Path, quick: ProviderProcess) -> None:
    """`ACCEPT_SNAPSHOTS=1 pytest tests/cli/test_json.py` accepts a difference, which then shows in review."""
    person = Person(tmp_path, quick.environment)
    (tmp_path / "rows.csv").write_text("prompt\na lake\na hill\n", encoding="utf-8")
    texts = {}
    for name, words in COMMANDS.items():
        cap = {"FLOWPORT_MAX_CREDITS_PER_RUN": "1"} if name == "run_over_cap" else {}
        done = person.run(*words, "--json", environment=cap)
        assert json.loads(done.stdout) is not None, done.stderr
        texts[f"{name}.json"] = normalize(done.stdout, tmp_path)
    if os.environ.get(ACCEPT):
        SNAPSHOTS.mkdir(exist_ok=True)
        for path in SNAPSHOTS.glob("*.json"):
            path.unlink()
        for file, text in texts.items():
            (SNAPSHOTS / file).write_text(text, encoding="utf-8")

    assert {path.name: path.read_text(encoding="utf-8") for path in SNAPSHOTS.glob("*.json")} == texts


def normalize(text: str, folder: Path) -> str:
    """Return a document without what differs from run to run."""
    text = text.replace(str(folder), "/home/me")
    for pattern, constant in CHANGING.items():
        text = re.sub(pattern, constant, text)
    return text


@pytest.mark.parametrize("name", sorted(path.stem for path in SNAPSHOTS.glob("*.json")))
def test_each_field_of_the_json_is_documented(name: str) -> None:
    """A field that scripts find is a promise."""
    document = json.loads((SNAPSHOTS / f"{name}.json").read_text(encoding="utf-8"))
    section = PAGE.partition("## JSON")[2].partition("<!-- begin commands -->")[0]
    for key, kept in FREE.items():
        if key in document:
            document[key] = kept

    assert [field for field in sorted(find_fields(document)) if f"`{field}`" not in section] == []


FREE: dict[str, Any] = {"error": {}, "accounts": [{"provider": "", "provider_balance": ""}], "arguments": {}}
"""Fields that differ from case to case: those of an error, the limits of an account, the arguments of an app."""


def find_fields(value: Any) -> set[str]:
    """Return the names of all fields of a document."""
    if isinstance(value, dict):
        return set(value).union(*map(find_fields, value.values()))
    if isinstance(value, list):
        return set().union(*map(find_fields, value))
    return set()
