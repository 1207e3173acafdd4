"""`flowport doctor --contract` against providers that speak in odd forms."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.provider_process import ProviderProcess, open_provider
from tests.support.terminal import Terminal


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """Run both providers for the module."""
    with open_provider(tmp_path_factory.mktemp("provider")) as process:
        yield process


@pytest.fixture
def provider(running: ProviderProcess) -> ProviderProcess:
    """Return the providers as they began."""
    running.ask("reset", {})
    return running


def compare(folder: Path, provider: ProviderProcess, name: str = "magnific") -> dict[str, Any]:
    """Return the differences of each kind of answer of a provider, by place."""
    variables = {key: value for key, value in provider.variables.items() if key.startswith(name.upper())}
    ran = Terminal(folder, variables).run("doctor", "--contract", "--json")
    assert "Traceback" not in ran.everything
    [facts] = ran.read_json()["providers"]
    assert (ran.code, facts["provider"], facts["stopped"]) == (0, name, "")
    return {
        answer["request"]: {one["path"]: (one["kind"], one["seen"]) for one in answer["differences"]}
        for answer in facts["answers"]
    }


def change_magica(provider: ProviderProcess, switch: dict[str, str]) -> None:
    """Let Magica speak in another form."""
    request = urllib.request.Request(
        f"{provider.variables['MAGICA_BASE_URL']}/_sandbox/magica",
        data=json.dumps(switch).encode(),
        headers={"authorization": f"Bearer {provider.variables['MAGICA_API_KEY']}", "content-type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=60).close()


def test_what_the_documentation_leaves_open_is_reported(tmp_path: Path, provider: ProviderProcess) -> None:
    """The shape of options is published nowhere; nothing is started to find out."""
    found = compare(tmp_path, provider)

    assert found["own list"] == found["published list"] == {}
    assert found["definition"] == {
        "data.inputs[].config.choices": ("not documented", "list of text"),
        "data.inputs[].config.options": ("not documented", "list of {label: text, value: text}"),
        "data.inputs[].type": ("unknown value", "list"),
    }
    counts = provider.ask("counts")
    assert (counts["runs_accepted"], counts["run"]) == (0, 0)


def test_another_form_is_reported_by_its_shape(tmp_path: Path, provider: ProviderProcess) -> None:
    """Also in the older path family, which is found by itself."""
    provider.ask("dialect", {"style": "apps", "options": "choices", "tool_metadata": False})

    found = compare(tmp_path, provider)

    assert "data.inputs[].config.choices" in found["definition"]
    assert "data.inputs[].config.options" not in found["definition"]


@pytest.mark.parametrize(
    ("switch", "request_name", "difference"),
    [
        ({"lists": "array"}, "own list", ("", "another type")),
        ({"lists": "cursor"}, "own list", ("nextCursor", "not documented")),
        ({"graph": "fields"}, "definition", ("nodes[].fields", "not documented")),
        ({"graph": "data.requestFields"}, "definition", ("nodes[].data.requestFields", "not documented")),
        ({"type_key": "nodeType"}, "definition", ("nodes[].type", "missing")),
        ({"field_key": "name"}, "definition", ("nodes[].data.fields[].id", "missing")),
        ({"default_key": "default"}, "definition", ("nodes[].data.fields[].default", "not documented")),
    ],
)
def test_each_form_of_magica_is_recognised(
    tmp_path: Path, provider: ProviderProcess, switch: dict[str, str], request_name: str, difference: tuple[str, str]
) -> None:
    """Its graph is not published, so this is what a first user can find out."""
    change_magica(provider, switch)

    path, kind = difference
    assert compare(tmp_path, provider, "magica")[request_name][path][0] == kind


def test_the_comparison_reads_and_starts_nothing(tmp_path: Path, provider: ProviderProcess) -> None:
    """Magica's start_run and its estimates are not asked, although a definition may come from them."""
    found = compare(tmp_path, provider, "magica")

    assert found["own list"] == {}
    assert provider.ask("counts")["runs_accepted"] == 0


def test_a_comparison_that_is_sent_holds_no_value(tmp_path: Path, provider: ProviderProcess) -> None:
    """Neither names of apps nor ids nor the key."""
    path = tmp_path / "contract.json"
    ran = Terminal(tmp_path, provider.environment).run("doctor", "--contract", "--report", str(path))

    text = path.read_text()
    assert ran.code == 0
    assert [answer["request"] for answer in json.loads(text)["providers"][0]["answers"]] == [
        "own list",
        "published list",
        "definition",
    ]
    catalogue = json.dumps(provider.ask("catalogue"))
    names = [word for word in ("Retro poster", "Upscale", provider.variables["MAGNIFIC_API_KEY"]) if word in text]
    assert names == []
    assert catalogue


def test_a_refused_key_stops_the_comparison(tmp_path: Path, provider: ProviderProcess) -> None:
    """It says why, in a word."""
    variables = {**provider.environment, "MAGNIFIC_API_KEY": "FPSX0123456789abcdef"}
    ran = Terminal(tmp_path, variables).run("doctor", "--contract")

    assert (ran.code, "It stopped early (ProviderRefused)." in ran.out) == (1, True)


def test_without_a_key_there_is_nothing_to_compare(tmp_path: Path) -> None:
    """It says how to store one."""
    ran = Terminal(tmp_path, {}).run("doctor", "--contract")

    assert (ran.code, "flowport auth" in ran.out) == (4, True)
