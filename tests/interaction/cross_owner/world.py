"""The people of the probes: owners who have runs, batches and sessions, and one who asks for what is theirs."""

import re
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.lowlevel
import httpx2
import mcp.types as t
from mcp import Client
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from tests.fakes.client import build_photo, write
from tests.support.harness import Mode
from tests.support.patience import PATIENCE_SECONDS
from tests.support.tenants import SHARED_KEY, Tenancy, get_facts

TOOL: Final = "text_to_picture"
COSTLY: Final = "slow_cinema_still"
"""Costs more than the server lets anyone spend unasked."""

PHOTO_TOOL: Final = "photo_to_pencil_sketch"
ACCEPTED: Final = {"accept": "application/json, text/event-stream"}


@dataclass(frozen=True)
class Names:
    """What a person's things are called. Some are secret, and all of them are random but the word of the prompt."""

    run_id: str
    batch_id: str
    row_id: str
    live_batch_id: str
    live_row_id: str
    url: str
    """Where the provider has the run's output."""
    link: str
    """Our signed link to the same output."""
    upload_id: str
    """Of a file that the person has uploaded."""
    prompt: str
    session_id: str

    def invent(self) -> "Names":
        """Return names of the same form that nothing has."""
        ids = {name: rotate_id(getattr(self, name)) for name in RUN_NAMES}
        return Names(
            **ids,
            url=rotate_path(self.url),
            link=rotate_path(self.link)
            .replace(rotate(self.run_id), ids["run_id"])
            .replace(rotate("outputs"), "outputs"),
            upload_id=rotate(self.upload_id),
            prompt=self.prompt.replace("secret", "unheard"),
            session_id=rotate(self.session_id),
        )

    def hide(self, text: str) -> str:
        """Return a text in which a probe's own words do not show which names were asked for."""
        # An error shows the beginning of a long address.
        for url in (self.link, self.url):
            text = re.sub(re.escape(url[: url.index("/", len("https://"))]) + r"/[^\s'\"\\]*", "NAME", text)
        for name in (
            self.prompt,
            self.session_id,
            self.upload_id,
            *(getattr(self, one).rpartition("_")[2] for one in RUN_NAMES),
        ):
            text = re.sub(re.escape(name), "NAME", text, flags=re.IGNORECASE)
        return text

    def find_in(self, text: str) -> list[str]:
        """Return which of the names a text holds."""
        cores = {name: getattr(self, name).rpartition("_")[2] for name in RUN_NAMES}
        cores |= {"url": self.url.partition("?")[0], "prompt": self.prompt}
        cores |= {"session_id": self.session_id, "upload_id": self.upload_id}
        return [name for name, core in cores.items() if core.lower() in text.lower()]


RUN_NAMES: Final = ("run_id", "batch_id", "row_id", "live_batch_id", "live_row_id")
_NEXT: Final = str.maketrans("0123456789abcdefghijklmnopqrstuvwxyz", "1234567890bcdefghijklmnopqrstuvwxyza")


def rotate(text: str) -> str:
    """Return a text of the same form: each letter and digit is the next one."""
    return text.translate(_NEXT)


def rotate_id(text: str) -> str:
    """Return an id of the same form."""
    head, _, tail = text.rpartition("_")
    return f"{head}_{rotate(tail)}"


def rotate_path(url: str) -> str:
    """Return a URL of the same form at the same origin."""
    start = url.index("/", len("https://"))
    return url[:start] + rotate(url[start:])


@dataclass
class Victim:
    """A person whose things others ask for."""

    names: Names
    client: Client
    """Of the older era: it has a session."""
    sealed: t.InputRequiredResult
    """A question that this person was asked."""


@dataclass
class Intruder:
    """A person who asks for another one's things."""

    tenancy: Tenancy
    mode: Mode
    client: Client
    http: httpx2.AsyncClient

    async def ask(self, tool: str, /, **arguments: Any) -> str:
        """Call a tool and return the whole answer."""
        try:
            return (await self.client.session.call_tool(tool, arguments, allow_input_required=True)).model_dump_json()
        except MCPError as exc:
            return show_error(exc)

    async def send(self, request: Any, answer: Any) -> str:
        """Send any request and return the whole answer."""
        try:
            return str((await self.client.session.send_request(request, answer)).model_dump_json())
        except MCPError as exc:
            return show_error(exc)
        except ValidationError as exc:
            return f"another kind of answer: {exc}"

    async def fetch(self, method: str, path: str, **options: Any) -> str:
        """Send a request to another part of the server; return status, headers and body."""
        return show_answer(await self.http.request(method, path, **options))

    async def post(self, message: dict[str, Any], session_id: str, method: str = "POST") -> str:
        """Send a message to a session as a program without a library does; return status, headers and body."""
        headers = {**ACCEPTED, "mcp-session-id": session_id, "mcp-protocol-version": "2025-11-25"}
        body = None if method != "POST" else {"jsonrpc": "2.0", **message}
        with anyio.fail_after(PATIENCE_SECONDS):
            return show_answer(await self.http.request(method, self.tenancy.url, json=body, headers=headers))


def show_answer(answer: httpx2.Response) -> str:
    """Return all that a program learns by an answer."""
    kept = {name: value for name, value in answer.headers.items() if name not in {"date", "x-request-id"}}
    return f"{answer.status_code} {sorted(kept.items())} {answer.text}"


def show_error(error: MCPError) -> str:
    """Return all that a client learns by an error."""
    return f"{error.error.code} {error.error.message} {error.error.data}"


async def settle_victim(tenancy: Tenancy, owner: str, key: str) -> Victim:
    """Let a person make everything that others may ask for."""
    sandbox = tenancy.provider.accounts[key or SHARED_KEY]
    prompt = f"the secret garden of {owner}"
    client = await tenancy.connect(owner, "legacy", key=key)
    run = get_facts(await client.call_tool(TOOL, {"prompt": prompt}))
    rows = [{"prompt": f"{prompt} {n}"} for n in (1, 2)]
    batch = get_facts(await client.call_tool("run_batch", {"app": TOOL, "rows": rows}))
    await sandbox.switch("next_run", hold=True)
    live = get_facts(
        await client.call_tool("run_batch", {"app": TOOL, "rows": [{"prompt": f"{prompt} 3"}], "wait": False})
    )
    place = get_facts(await client.call_tool("request_upload", {}))
    sent = await (await tenancy.open_http(owner)).put(place["link"], content=write(build_photo()))
    assert sent.status_code < 300, sent.text
    modern = await tenancy.connect(owner, key=key, ask_person=refuse_to_answer)
    sealed = await modern.session.call_tool(COSTLY, {"prompt": prompt}, allow_input_required=True)
    assert isinstance(sealed, t.InputRequiredResult), sealed
    return Victim(
        Names(
            run_id=run["run_id"],
            batch_id=batch["run_id"],
            row_id=await find_row(tenancy, batch["run_id"]),
            live_batch_id=live["run_id"],
            live_row_id=await find_row(tenancy, live["run_id"]),
            url=str(
                (await tenancy.assembly.workspace.store.get_run(run["run_id"], account_id=None, owner=owner))
                .outputs[0]
                .url
            ),
            link=run["outputs"][0]["url"],
            upload_id=place["use_as"].removeprefix("upload:"),
            prompt=prompt,
            session_id=tenancy.session_ids[owner],
        ),
        client,
        sealed,
    )


async def find_row(tenancy: Tenancy, batch_id: str) -> str:
    """Return the run of a batch's first row once it was sent."""
    store = tenancy.assembly.workspace.store
    with anyio.fail_after(60):
        while True:
            rows = await store.get_rows(batch_id)
            if rows[0].run is not None and rows[0].run.provider_run_id:
                return rows[0].run.id
            await anyio.lowlevel.checkpoint()


async def refuse_to_answer(context: Any, params: t.ElicitRequestParams) -> t.ElicitResult:
    """Stand for a person who is asked and says nothing yet."""
    return t.ElicitResult(action="cancel")
