"""The JSON documents of the doctor and of auth, against their documentation."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from flowport.providers.contract import describe_shape
from tests.support.provider_process import open_provider
from tests.support.terminal import Terminal

PAGE = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"


def read_examples() -> dict[str, Any]:
    """Return the documented documents by their command lines."""
    text = PAGE.read_text(encoding="utf-8").partition("\n## JSON\n")[2]
    found = re.findall(r"^`flowport ([^`]*)`.*?```json\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    return {command: json.loads(body) for command, body in found}


EXAMPLES = read_examples()


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a user with a key that the provider accepts."""
    folder = tmp_path_factory.mktemp("user")
    with open_provider(folder / "provider") as provider:
        yield Terminal(folder, provider.environment)


def describe(value: Any) -> str:
    """Return the shape of a document; of lists that of the first item, since an example has one."""
    if isinstance(value, list):
        return f"[{describe(value[0])}]" if value else "[]"
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{name}: {describe(one)}" for name, one in sorted(value.items()) if not name.isdigit())
            + "}"
        )
    return describe_shape(value)


def test_every_command_is_documented() -> None:
    """Scripts are written from this page."""
    assert list(EXAMPLES) == [
        "doctor --json",
        "doctor --contract --json",
        "auth --status --json",
        "auth magnific --stdin --json",
    ]


@pytest.mark.parametrize("command", EXAMPLES)
def test_a_document_has_the_documented_form(terminal: Terminal, command: str) -> None:
    """Each member and its type; standard output holds nothing else."""
    ran = terminal.run(*command.split(), text=terminal.variables["MAGNIFIC_API_KEY"])

    found = ran.read_json()
    if "answers" in str(found):
        found["providers"][0]["answers"] = found["providers"][0]["answers"][2:]
    assert (ran.code, describe(found)) == (0, describe(EXAMPLES[command]))


def test_an_error_is_a_document_too(terminal: Terminal) -> None:
    """With its kind and its sentence."""
    ran = terminal.run("auth", "magnific", "--stdin", "--json", text="your-key")

    assert (ran.code, sorted(ran.read_json()["error"])) == (1, ["kind", "message"])
