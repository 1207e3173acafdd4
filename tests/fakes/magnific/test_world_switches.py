"""The switches that change the provider itself."""

from typing import Any

import pytest

from flowport.sandbox.apps import APPS
from tests.fakes.client import IDS, Client, open_sandbox
from tests.fakes.magnific.dialect import Dialect, Style

PICTURE = IDS["Text to Picture"]
FAMILIES = ("flows", "apps")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "dialect"),
        ("GET", "catalogue"),
        ("POST", "catalogue"),
        ("POST", "limit"),
        ("GET", "webhooks"),
        ("POST", "webhooks"),
        ("POST", "uploads/x"),
    ],
)
async def test_every_switch_needs_the_key(sandbox: Client, method: str, path: str) -> None:
    """A page in a browser must not be able to turn one."""
    answer = await sandbox.http.request(method, f"/_sandbox/{path}", headers={"x-magnific-api-key": ""})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("dialect", {"style": "spaces"}),
        ("catalogue", {"apps": -1}),
        ("catalogue", {"remove": ["x"]}),
        ("catalogue", {"apps": 3, "delete": ["x"]}),
        ("limit", {}),
        ("webhooks", {"copies": 0}),
    ],
)
async def test_a_malformed_switch_changes_nothing(sandbox: Client, path: str, body: dict[str, Any]) -> None:
    """A test with a misspelt switch must not pass by accident."""
    assert (await sandbox.http.post(f"/_sandbox/{path}", json=body)).status_code == 400
    assert len((await sandbox.http.get("/_sandbox/catalogue")).json()["apps"]) == len(APPS)


@pytest.mark.parametrize("style", ["flows", "apps", "both"])
async def test_a_style_decides_which_paths_exist(sandbox: Client, style: str) -> None:
    """Over one store, and after a reset as at the start."""
    await sandbox.switch("dialect", style=style)
    for family in FAMILIES:
        expected = 200 if style in {family, "both"} else 404
        paths = (family, f"me/{family}", f"{family}/{PICTURE}")
        answers = [await sandbox.http.get(f"/v1/ai/{path}") for path in paths]
        assert [answer.status_code for answer in answers] == [expected] * 3
    await sandbox.switch("reset")
    assert [(await sandbox.http.get(f"/v1/ai/{family}")).status_code for family in FAMILIES] == [200, 200]


async def test_a_sandbox_begins_in_the_style_that_it_is_given() -> None:
    """The command line has a flag for it."""
    async with open_sandbox(dialect=Dialect(style=Style.APPS)) as client:
        await client.switch("reset")
        assert [(await client.http.get(f"/v1/ai/{family}")).status_code for family in FAMILIES] == [404, 200]


async def test_a_run_of_one_family_is_seen_in_the_other(sandbox: Client) -> None:
    """Both are views of one store."""
    run_id = await sandbox.start("Text to Picture", prompt="hills")
    await sandbox.end(run_id)
    older = (await sandbox.http.get(f"/v1/ai/apps/runs/{run_id}")).json()["data"]
    assert older == await sandbox.read(run_id)


@pytest.mark.parametrize(("by_id", "status"), [(True, 202), (False, 422)])
async def test_the_older_family_takes_ids_alone(sandbox: Client, by_id: bool, status: int) -> None:
    """run-app of the "Freepik API" knows no other key."""
    app = next(app for app in APPS if app.id == PICTURE)
    key = app.build_input_id(app.inputs[0]) if by_id else app.inputs[0].key
    answer = await sandbox.http.post(f"/v1/ai/apps/{PICTURE}/run", json={"inputs": {key: "hills"}})
    assert answer.status_code == status


@pytest.mark.parametrize(("bodies", "length"), [("json", 1), ("empty", 0)])
async def test_404_and_422_come_with_and_without_a_body(sandbox: Client, bodies: str, length: int) -> None:
    """The specification gives no schema for either; other refusals keep theirs."""
    await sandbox.switch("dialect", error_bodies=bodies)
    unknown = await sandbox.http.get("/v1/ai/flows/nosuchapp1")
    invalid = await sandbox.run("Text to Picture", colour="red")
    search = await sandbox.http.get("/v1/ai/flows", params={"search": "x" * 201})
    assert [(a.status_code, min(len(a.content), 1)) for a in (unknown, invalid)] == [(404, length), (422, length)]
    assert search.json() == {"message": "Parameter 'search' is not valid"}


async def test_a_switch_changes_what_it_names_and_leaves_the_rest(sandbox: Client) -> None:
    """Two tests' worth of oddities can be put together."""
    await sandbox.switch("dialect", tool_metadata=False)
    answer = (await sandbox.switch("dialect", key=False)).json()
    assert (answer["has_tool_metadata"], answer["has_key"], answer["style"]) == (False, False, "both")
    assert set((await sandbox.http.get("/v1/ai/flows")).json()["data"][0]) == {"sqid", "name"}


async def test_the_catalogue_changes_under_a_client(sandbox: Client) -> None:
    """Others rename, price, extend, sort and delete their apps at any time."""
    upscale, sketch, poster = IDS["Upscale Photo"], IDS["Photo to Pencil Sketch"], IDS["Retro Poster"]
    changes: dict[str, Any] = {
        "apps": 3,
        "rename": {sketch: "Etching"},
        "prices": {sketch: 77},
        "require": {sketch: "colour"},
        "delete": [upscale],
        "order": [poster, sketch],
    }
    apps = (await sandbox.switch("catalogue", **changes)).json()["apps"]
    assert (await sandbox.http.get("/_sandbox/catalogue")).json() == {"apps": apps}
    assert [app["id"] for app in apps][:2] == [poster, sketch]
    assert len(apps) == len(APPS) + 2

    listed = (await sandbox.http.get("/v1/ai/flows")).json()["data"]
    assert (listed[1]["name"], listed[1]["tool_metadata"]["total_cost"]) == ("Etching", 77)
    definition = (await sandbox.http.get(f"/v1/ai/flows/{sketch}")).json()["data"]
    assert definition["inputs"][-1]["api_key"] == "colour"
    assert (await sandbox.http.get(f"/v1/ai/flows/{upscale}")).status_code == 404
    assert (await sandbox.run("Upscale Photo", factor="2")).status_code == 404


@pytest.mark.parametrize("reports", [True, False])
async def test_the_limit_refuses_with_and_without_a_delay(sandbox: Client, reports: bool) -> None:
    """Whether the provider sends Retry-After is not known."""
    await sandbox.switch("limit", requests_per_minute=1, retry_after=reports)
    await sandbox.http.get("/v1/ai/flows")
    refused = await sandbox.http.get("/v1/ai/flows")
    assert (refused.status_code, refused.json()) == (429, {"message": "Too many requests"})
    assert ("retry-after" in refused.headers) is reports
    if reports:
        assert 1 <= int(refused.headers["retry-after"]) <= 60
