"""A client whose requests go to one replica after the other, and a person whose browser does, with real processes."""

import html
import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import httpx2
import mcp.types as t
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.cluster import Team, open_team
from tests.support.postgres import PostgresServer
from tests.support.provider_process import ProviderProcess, open_provider
from tests.support.team import wait_for
from tests.support.uploading import PICTURE

TOOL: Final = "text_to_picture"
COSTLY: Final = "slow_cinema_still"
PHOTO_TOOL: Final = "photo_to_pencil_sketch"
LEGACY_VERSION: Final = "2025-11-25"
SETTINGS: Final = {
    "FLOWPORT_REQUESTS_PER_MINUTE": "0",
    "FLOWPORT_PREVIEWS": "false",
    "FLOWPORT_CONFIRM_ABOVE_CREDITS": "11",
}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """Run a provider whose runs take no time."""
    with open_provider(tmp_path_factory.mktemp("provider"), "--quick") as found:
        yield found


@pytest.fixture(scope="module")
def team(
    provider: ProviderProcess, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Team]:
    """Run two replicas and a worker, with nothing in front."""
    folder: Path = tmp_path_factory.mktemp("team")
    with open_team(folder, provider, replicas=2, workers=1, proxy="", postgres=postgres, settings=SETTINGS) as found:
        yield found


class Alternating(httpx2.AsyncBaseTransport):
    """Sends each request to the next replica, as a proxy does that knows nothing of clients."""

    def __init__(self, team: Team) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self._places = itertools.cycle(urlsplit(one.url) for one in team.replicas)
        self.counts: Counter[int] = Counter()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request."""
        place = next(self._places)
        assert place.port is not None
        self.counts[place.port] += 1
        request.url = request.url.copy_with(host=place.hostname, port=place.port)
        request.headers["host"] = place.netloc
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


async def agree(context: Any, params: t.ElicitRequestParams) -> t.ElicitResult:
    """Stand for a person who agrees to a price."""
    return t.ElicitResult(action="accept", content={})


@asynccontextmanager
async def connect(team: Team) -> AsyncIterator[tuple[Client, Alternating]]:
    """Connect a client of 2026-07-28 to all replicas at once."""
    transport = Alternating(team)
    headers = {"authorization": f"Bearer {team.tokens['anna']}"}
    async with (
        httpx2.AsyncClient(transport=transport, headers=headers, timeout=90) as http,
        Client(
            streamable_http_client(f"{team.replicas[0].url}/mcp", http_client=http), elicitation_callback=agree
        ) as client,
    ):
        yield client, transport


async def ask(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """Call a tool and return the facts of its answer."""
    result = await client.call_tool(tool, arguments)
    facts = result.structured_content
    assert not result.is_error, result
    assert isinstance(facts, dict)
    return facts


async def test_each_request_of_a_newer_client_may_go_to_another_replica(team: Team, provider: ProviderProcess) -> None:
    """No proxy has to know which client sends a request: lists, runs, the newest result, batches and uploads are shared."""
    async with connect(team) as (client, transport):
        assert TOOL in {tool.name for tool in (await client.list_tools()).tools}
        for prompt in ("one", "two", "three"):
            made = await ask(client, TOOL, prompt=f"a lake, {prompt}")
            # Of the two, one replica has not answered the call.
            last = [await ask(client, "get_run", run_id="last") for _ in range(2)]
            assert [one["run_id"] for one in last] == [made["run_id"]] * 2
        for _ in range(2):
            uris = {str(one.uri) for one in (await client.list_resources()).resources}
            assert f"flowport://runs/{made['run_id']}" in uris
            assert (await client.read_resource(f"flowport://runs/{made['run_id']}")).contents
        batch = await ask(client, "run_batch", app=TOOL, rows=[{"prompt": f"row {n}"} for n in range(3)])
        assert batch["state"] == "succeeded"
        place = await ask(client, "request_upload")
        sent = await httpx2.AsyncClient(transport=transport).put(place["link"], content=PICTURE)
        assert sent.is_success, sent.text
        sketch = await ask(client, PHOTO_TOOL, your_photo=place["use_as"])
        assert sketch["state"] == "succeeded"
        listed = await ask(client, "list_runs")
        assert {made["run_id"], batch["run_id"], sketch["run_id"]} <= {one["run_id"] for one in listed["runs"]}
        assert not listed.get("undelivered")

    assert min(transport.counts.values()) > 3
    assert len(transport.counts) == 2


def find_runs(team: Team, prompt: str) -> list[str]:
    """Return the provider's ids of the runs of a prompt, oldest first."""
    ids = "SELECT provider_run_id FROM runs WHERE arguments_json LIKE %s AND provider_run_id <> '' ORDER BY accepted_at"
    return [row[0] for row in team.query(ids, [f"%{prompt}%"])]


def count_callers(team: Team, prompt: str) -> int:
    """Return how many calls wait for the runs of a prompt."""
    calls = "SELECT count(*) FROM waiting_calls JOIN runs ON runs.id = run_id WHERE arguments_json LIKE %s"
    return int(team.query(calls, [f"%{prompt}%"])[0][0])


@pytest.mark.parametrize(
    ("place", "more", "runs"),
    [(1, {}, 1), (1, {"new_run": True}, 2), (0, {}, 2)],
    ids=["elsewhere", "new run", "beside"],
)
async def test_an_equal_call_while_the_first_one_waits(
    team: Team, provider: ProviderProcess, place: int, more: dict[str, Any], runs: int
) -> None:
    """At another replica it is the repetition of a client whose replica was killed, unless it asks for a run of its own."""
    prompt, answers = f"a lake {place} {len(more)}", list[dict[str, Any]]()

    async def call(client: Client, **more: Any) -> None:
        """Call the tool."""
        answers.append(await ask(client, TOOL, prompt=prompt, **more))

    async def is_started() -> bool:
        """Return whether the provider has the first run."""
        return bool(find_runs(team, prompt))

    async def is_accepted() -> bool:
        """Return whether the second call waits for a run, or was answered already."""
        return bool(answers) or count_callers(team, prompt) == 2

    provider.ask("next_run", {"hold": True})
    token, (first, second) = team.tokens["anna"], team.replicas
    async with (
        team.connect(token, url=first.url, context=False) as here,
        team.connect(token, url=second.url, context=False) as elsewhere,
        anyio.create_task_group() as group,
    ):
        group.start_soon(call, here)
        await wait_for(is_started)
        group.start_soon(partial(call, elsewhere if place else here, **more))
        await wait_for(is_accepted)
        provider.ask(f"runs/{find_runs(team, prompt)[0]}", {"release": True})

    assert len({one["run_id"] for one in answers}) == len(find_runs(team, prompt)) == runs
    assert sum("new_run true makes another" in str(one) for one in answers) == 2 - runs


async def test_the_answer_to_a_question_may_reach_another_replica(team: Team, provider: ProviderProcess) -> None:
    """One asks the person for the price, the other one gets the yes, and the run is started once."""
    before = provider.ask("counts")["runs_accepted"]
    async with connect(team) as (client, transport):
        facts = await ask(client, COSTLY, prompt="a castle")

    assert facts["run_id"]
    assert provider.ask("counts")["runs_accepted"] == before + 1
    assert len(transport.counts) == 2


async def test_one_yes_counts_once_over_all_replicas(team: Team, provider: ProviderProcess) -> None:
    """The same answer, sent again to each replica, starts nothing more."""
    arguments = {"prompt": "a second castle", "new_run": True}
    before = provider.ask("counts")["runs_accepted"]
    async with connect(team) as (client, _):
        question = await client.session.call_tool(COSTLY, arguments, allow_input_required=True)
        assert isinstance(question, t.InputRequiredResult)
        yes: Any = {"confirm": t.ElicitResult(action="accept", content={})}
        answers = [
            await client.session.call_tool(
                COSTLY,
                arguments,
                allow_input_required=True,
                input_responses=yes,
                request_state=question.request_state,
            )
            for _ in range(3)
        ]

    assert [isinstance(one, t.InputRequiredResult) for one in answers] == [False, True, True]
    assert provider.ask("counts")["runs_accepted"] == before + 1


async def test_a_session_of_another_replica_is_not_known(team: Team) -> None:
    """The specified status lets an older client begin a new session; a proxy has to keep its requests at one replica."""
    hello = {
        "protocolVersion": LEGACY_VERSION,
        "capabilities": {},
        "clientInfo": {"name": "an older client", "version": "1"},
    }
    headers = {
        "authorization": f"Bearer {team.tokens['anna']}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": LEGACY_VERSION,
    }
    first, second = (f"{one.url}/mcp" for one in team.replicas)
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        begun = await http.post(first, json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
        session = {"mcp-session-id": begun.headers["mcp-session-id"]}
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        answers = [await http.post(url, json=ping, headers=session) for url in (first, second)]

    assert [one.status_code for one in answers] == [200, 404]


async def test_the_gallery_is_one_over_all_replicas(team: Team) -> None:
    """A link of one signs in at another, once; the session counts at both, and its end too; so do files and their links."""
    first, second = (one.url for one in team.replicas)
    async with team.connect(team.tokens["anna"], url=first, context=False) as client:
        made = await ask(client, TOOL, prompt="a lake in the gallery")
        link = (await ask(client, "list_runs"))["gallery"]["url"]
    ticket = link.partition("?")[2]
    async with httpx2.AsyncClient(timeout=60) as browser:
        page = await browser.get(f"{second}/gallery/sign-in?{ticket}")
        found = re.search(r'name="link" value="([^"]+)"', page.text)
        assert found, page.text
        form = {"link": html.unescape(found[1])}
        signed = await browser.post(f"{second}/gallery/sign-in", data=form, headers={"origin": second})
        again = await browser.post(f"{first}/gallery/sign-in", data=form, headers={"origin": first})
        assert (signed.status_code, again.status_code) == (303, 403)
        name, _, value = signed.headers["set-cookie"].partition(";")[0].partition("=")
        cookie = {"cookie": f"{name}={value}"}
        for url in (first, second):
            listed = await browser.get(f"{url}/gallery/api/runs", headers=cookie)
            assert made["run_id"] in {run["run_id"] for run in listed.json()["runs"]}
            file = await browser.get(f"{url}/gallery/files/{made['run_id']}/1", headers=cookie)
            linked = await browser.get(made["outputs"][0]["url"].replace(first, url))
            assert (file.status_code, linked.status_code, file.content) == (200, 200, linked.content)
        out = await browser.post(f"{first}/gallery/sign-out", headers={**cookie, "origin": first})
        ended = [await browser.get(f"{url}/gallery/api/runs", headers=cookie) for url in (first, second)]

    assert (out.status_code, [one.status_code for one in ended]) == (303, [401, 401])
