"""Both path families, older definitions and other sources, as a client sees them."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.domain.models import Source
from flowport.providers.registry import ProviderSettings
from tests.fakes.client import IDS, KEY, build_photo
from tests.fakes.client import Client as SandboxClient
from tests.providers.contract.worlds import wait_until_there
from tests.support.harness import Harness, open_harness

PICTURE = IDS["Text to Picture"]
STYLES = ("auto", "flows", "apps")


def choose(sandbox: SandboxClient, style: str) -> dict[str, Any]:
    """Return the setting of a path family."""
    return {
        "providers": (
            ProviderSettings(
                "magnific",
                sandbox.addresses.api_url,
                KEY,
                {"file_origins": frozenset({sandbox.addresses.files_url}), "api_style": style},
            ),
        )
    }


async def list_apps(flowport: Harness) -> set[str]:
    """Return the names of the app tools after the first refresh."""
    await flowport.assembly.workspace.catalogs[0].catalog.wait_until_attempted(10)
    view = {"find_apps", "run_app", "run_batch", "get_run", "list_runs", "cancel_run", "get_balance"}
    return {tool.name for tool in (await flowport.client.list_tools()).tools} - view


async def count_families(sandbox: SandboxClient) -> dict[str, int]:
    """Return the number of requests in each family."""
    families: dict[str, int] = (await sandbox.http.get("/_sandbox/counts")).json()["families"]
    return families


@pytest.mark.parametrize("paths", ["flows", "apps", "both"])
async def test_an_app_runs_with_each_available_path_family(sandbox: SandboxClient, tmp_path: Path, paths: str) -> None:
    """The list, the definition, the start and the poll use the same family, with its run keys."""
    await sandbox.switch("dialect", style=paths)
    (tmp_path / "person").mkdir()
    build_photo().save(tmp_path / "person" / "photo.png")
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        assert len(await list_apps(flowport)) == len(IDS)
        facts = await flowport.ask("retro_poster", photo=str(tmp_path / "person" / "photo.png"), title="Hello")

    assert (facts["state"], len(facts["outputs"])) == ("succeeded", 1)


async def test_a_restart_uses_the_known_family(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A restart does not probe again: three processes would spend six of fifty requests a minute on it."""
    await sandbox.switch("dialect", style="apps")
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        await list_apps(flowport)
    assert (await count_families(sandbox))["flows"] == 2

    async with open_harness(sandbox, tmp_path / "person") as flowport:
        await list_apps(flowport)
        assert (await flowport.ask("text_to_picture", prompt="a lake"))["state"] == "succeeded"
    assert (await count_families(sandbox))["flows"] == 2


async def test_a_404_on_a_start_means_an_unknown_app(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A 404 never makes a start try the other family: starting again on other paths could pay twice."""
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        await list_apps(flowport)
        await sandbox.switch("faults", operation="run", fault="status", status=404)
        facts = await flowport.ask("text_to_picture", prompt="a lake")

    assert facts["state"] == "failed"
    assert "apps" not in await count_families(sandbox)
    assert await flowport.count("runs_accepted") == 0


async def test_a_404_on_a_definition_or_a_poll_keeps_the_family(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A 404 there means that the app or the run does not exist."""
    await sandbox.switch("faults", operation="get", fault="status", status=404, app=PICTURE, times=2)
    await sandbox.switch("faults", operation="status", fault="status", status=404, times=2)
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        assert len(await list_apps(flowport)) == len(IDS) - 1
        facts = await flowport.ask("variations_on_a_theme", prompt="a lake", count=1)

    assert facts["state"] == "succeeded"
    assert "apps" not in await count_families(sandbox)


async def test_a_run_is_polled_in_the_current_family(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A run started on the older paths must not be lost when the account moves to the newer ones."""
    await sandbox.switch("next_run", hold=True, pending_seconds=0)
    async with open_harness(sandbox, tmp_path / "person", wait_seconds=0.0, **choose(sandbox, "auto")) as flowport:
        flowport.assembly.workspace.catalogs[0].account.use_path_family("apps")
        await list_apps(flowport)
        facts = await flowport.ask("text_to_picture", prompt="a lake")
        with anyio.fail_after(60):
            while await flowport.count("status") == 0:
                await anyio.lowlevel.checkpoint()
            flowport.assembly.workspace.catalogs[0].account.use_path_family("flows")
            await sandbox.switch("dialect", style="flows")
            run = await wait_until_there(flowport, facts["run_id"])
            await sandbox.switch(f"runs/{run.provider_run_id}", release=True)
            while facts["state"] in {"accepted", "starting", "queued", "running"}:
                facts = await flowport.ask("get_run", run_id=facts["run_id"])

    assert facts["state"] == "succeeded"
    assert (await count_families(sandbox))["flows"] > 0


@pytest.mark.parametrize("style", STYLES)
async def test_a_configured_family_is_used(sandbox: SandboxClient, tmp_path: Path, style: str) -> None:
    """The setting decides where both families exist; `auto` takes the newer one."""
    async with open_harness(sandbox, tmp_path / "person", **choose(sandbox, style)) as flowport:
        await list_apps(flowport)
        assert (await flowport.ask("text_to_picture", prompt="a lake"))["state"] == "succeeded"
    assert set(await count_families(sandbox)) == {"apps" if style == "apps" else "flows"}


@pytest.mark.parametrize(
    ("source", "operation", "missing"),
    [("own", "list", "retro_poster"), ("published", "list_own", "always_fails")],
)
async def test_only_the_configured_source_is_read_and_shown(
    sandbox: SandboxClient, tmp_path: Path, source: str, operation: str, missing: str
) -> None:
    """The setting limits the list: a user with three flows does not want a hundred public ones."""
    async with open_harness(sandbox, tmp_path / "person", source=Source(source)) as flowport:
        names = await list_apps(flowport)
        found = await flowport.ask("find_apps", query="")
        assert await flowport.count(operation) == 0

    assert "text_to_picture" in names
    assert missing not in names
    assert {app["tool"] for app in found["apps"]} <= names


@pytest.mark.parametrize(
    "dialect",
    [
        {"tool_metadata": False},
        {"key": False},
        {"api_key": False},
        {"key": False, "api_key": False},
        {"options": "none"},
        {"tool_metadata": False, "key": False, "style": "apps", "options": "labelled", "error_bodies": "empty"},
    ],
    ids=str,
)
async def test_incomplete_responses_lose_no_app(
    sandbox: SandboxClient, tmp_path: Path, dialect: dict[str, Any]
) -> None:
    """Fields that were missing on the live service, or that the specification makes optional, may be missing."""
    await sandbox.switch("dialect", **dialect)
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        assert len(await list_apps(flowport)) == len(IDS)
        schema = next(t for t in (await flowport.client.list_tools()).tools if t.name == "text_to_picture").input_schema
        facts = await flowport.ask("text_to_picture", **{schema["required"][0]: "a lake"})

    assert facts["state"] == "succeeded"


@pytest.mark.parametrize(("dialect", "argument"), [({"api_key": False}, "prompt"), ({"style": "apps"}, "prompt")])
async def test_an_older_definition_has_readable_argument_names(
    sandbox: SandboxClient, tmp_path: Path, dialect: dict[str, Any], argument: str
) -> None:
    """The deprecated `key` is used for the name where the run key is not readable."""
    await sandbox.switch("dialect", **dialect)
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        await list_apps(flowport)
        tools = {tool.name: tool for tool in (await flowport.client.list_tools()).tools}
    assert tools["text_to_picture"].input_schema["required"] == [argument]


@pytest.mark.parametrize(("style", "status"), [("flows", 422), ("apps", 404)])
async def test_a_refusal_without_a_body_is_a_sentence(
    sandbox: SandboxClient, tmp_path: Path, style: str, status: int
) -> None:
    """Both statuses are reported as a sentence; the specification gives no body for either."""
    await sandbox.switch("dialect", style=style, error_bodies="empty")
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        await list_apps(flowport)
        change = {"require": {PICTURE: "colour"}} if status == 422 else {"delete": [PICTURE]}
        await sandbox.switch("catalogue", **change)
        result = await flowport.call("text_to_picture", prompt="a lake")

    assert result.is_error
    assert isinstance(result.structured_content, dict)
    assert result.structured_content["state"] == "failed"
    assert await flowport.count("runs_accepted") == 0


async def test_hundreds_of_public_apps_are_found_and_run(sandbox: SandboxClient, tmp_path: Path) -> None:
    """Apps beyond the tool list are found and run: real accounts have many, with names of every kind."""
    apps = (await sandbox.switch("catalogue", apps=120)).json()["apps"]
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        names = await list_apps(flowport)
        facts = await flowport.ask("run_app", app=apps[-3]["id"], arguments={})

    assert len(names) == 40
    assert len(apps) == len(IDS) + 120
    assert facts["state"] == "succeeded", facts
