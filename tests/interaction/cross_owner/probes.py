"""The probes: each asks for something of another owner's, once by its real names and once by names that nothing has.

The two answers must be equal but for the names that were asked for, and hold nothing else of the other owner's. To add one,
add a `Probe` to a list, or a function that yields some.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import mcp.types as t

from flowport.domain.models import RunState
from tests.interaction.cross_owner.world import COSTLY, PHOTO_TOOL, TOOL, Intruder, Names, Victim, rotate

Send: TypeAlias = Callable[[Intruder, Names, Victim], Awaitable[str]]


@dataclass(frozen=True)
class Probe:
    """One way to ask."""

    name: str
    send: Send
    """Asks, and returns all that the intruder learns."""
    asks_by_name: bool = True
    """Whether it names what it asks for, so that an answer for invented names is there to compare with."""


RUN_FORMS: Final[dict[str, Callable[[Names], str]]] = {
    "id": lambda names: names.run_id,
    "id in capitals": lambda names: names.run_id.upper(),
    "quoted id": lambda names: f'"{names.run_id}"',
    "sentence": lambda names: f"please show the run {names.run_id} again",
    "bare id": lambda names: names.run_id.rpartition("_")[2],
    "run:": lambda names: f"run:{names.run_id}",
    "run:#": lambda names: f"run:{names.run_id}#1",
    "uri": lambda names: f"flowport://runs/{names.run_id}",
    "page": lambda names: f"flowport://runs/{names.run_id}?from=2",
    "output": lambda names: f"flowport://runs/{names.run_id}/outputs/1",
    "url": lambda names: names.url,
    "url without query": lambda names: names.url.partition("?")[0],
    "link": lambda names: names.link,
    "batch": lambda names: names.batch_id,
    "batch uri": lambda names: f"flowport://batches/{names.batch_id}",
    "batch:": lambda names: f"batch:{names.batch_id}",
    "row": lambda names: names.row_id,
    "live batch": lambda names: names.live_batch_id,
    "live row": lambda names: names.live_row_id,
}
"""The spellings in which a tool takes a run."""

OTHER_MEDIA: Final[dict[str, Callable[[Names], str]]] = {"upload": lambda names: f"upload:{names.upload_id}"}
"""What an input takes beside results."""

MEDIA_FORMS: Final = ("id", "run:#", "uri", "output", "link", "row", "live row", "batch")
"""Those in which an input takes a result; the provider's own link opens its file to everyone who has it."""

RESOURCES: Final[dict[str, Callable[[Names], str]]] = {
    "run": RUN_FORMS["uri"],
    "page of a run": RUN_FORMS["page"],
    "output": RUN_FORMS["output"],
    "output that is not there": lambda names: f"flowport://runs/{names.run_id}/outputs/9",
    "batch": RUN_FORMS["batch uri"],
    "page of a batch": lambda names: f"flowport://batches/{names.batch_id}?from=2",
    "row": lambda names: f"flowport://runs/{names.row_id}",
    "output of a row": lambda names: f"flowport://runs/{names.row_id}/outputs/1",
    "live batch": lambda names: f"flowport://batches/{names.live_batch_id}",
    "live row": lambda names: f"flowport://runs/{names.live_row_id}",
    "run as a batch": lambda names: f"flowport://batches/{names.run_id}",
    "batch as a run": lambda names: f"flowport://runs/{names.batch_id}",
    "url": RUN_FORMS["url"],
    "url without query": RUN_FORMS["url without query"],
    "link": RUN_FORMS["link"],
}


def build_tool_probes() -> Iterator[Probe]:
    """Yield the probes by arguments of tools."""
    for name, form in RUN_FORMS.items():
        yield Probe(f"get_run, {name}", partial(_call, "get_run", lambda text: {"run_id": text, "wait": False}, form))
        yield Probe(f"cancel_run, {name}", partial(_call, "cancel_run", lambda text: {"run_id": text}, form))
        yield Probe(
            f"cancel_run, {name}, no longer followed",
            partial(_call, "cancel_run", lambda text: {"run_id": text, "stop_following": True}, form),
        )
    for name, form in ({one: RUN_FORMS[one] for one in MEDIA_FORMS} | OTHER_MEDIA).items():
        yield Probe(f"{PHOTO_TOOL}, {name}", partial(_call, PHOTO_TOOL, lambda text: {"photo": text}, form))
        yield Probe(
            f"run_app, {name}",
            partial(_call, "run_app", lambda text: {"app": PHOTO_TOOL, "arguments": {"photo": text}}, form),
        )
        yield Probe(
            f"run_batch, {name}",
            partial(_call, "run_batch", lambda text: {"app": PHOTO_TOOL, "rows": [{"photo": text}]}, form),
        )


async def _call(
    tool: str,
    build: Callable[[str], dict[str, Any]],
    form: Callable[[Names], str],
    who: Intruder,
    names: Names,
    _: Victim,
) -> str:
    return await who.ask(tool, **build(form(names)))


def build_resource_probes() -> Iterator[Probe]:
    """Yield the probes by URIs."""
    for name, form in RESOURCES.items():
        yield Probe(f"resources/read, {name}", partial(_read, form))
        yield Probe(f"resources/subscribe, {name}", partial(_subscribe, form))
    for name in ("run", "batch", "live row"):
        yield Probe(f"resources/list, cursor {name}", partial(_list_from, RESOURCES[name]))


async def _read(form: Callable[[Names], str], who: Intruder, names: Names, _: Victim) -> str:
    request = t.ReadResourceRequest(params=t.ReadResourceRequestParams(uri=form(names)))
    return await who.send(request, t.ReadResourceResult)


async def _subscribe(form: Callable[[Names], str], who: Intruder, names: Names, _: Victim) -> str:
    if who.mode == "legacy":
        request = t.SubscribeRequest(params=t.SubscribeRequestParams(uri=form(names)))
        return await who.send(request, t.EmptyResult)
    async with who.client.listen(resource_subscriptions=[form(names)]) as events:
        return str(events.honored)


async def _list_from(form: Callable[[Names], str], who: Intruder, names: Names, _: Victim) -> str:
    request = t.ListResourcesRequest(params=t.PaginatedRequestParams(cursor=form(names)))
    return await who.send(request, t.ListResourcesResult)


def build_completion_probes() -> Iterator[Probe]:
    """Yield the probes by completion and prompts."""
    begun: list[tuple[str, str, Callable[[Names], str]]] = [
        ("run_id", "a run", lambda names: names.run_id),
        ("run_id", "the beginning of a run", lambda names: names.run_id[:8]),
        ("run_id", "a live row", lambda names: names.live_row_id),
        ("batch_id", "a batch", lambda names: names.batch_id),
        ("batch_id", "the beginning of a batch", lambda names: names.live_batch_id[:10]),
    ]
    for argument, name, form in begun:
        yield Probe(f"completion/complete, {argument}, {name}", partial(_complete, argument, form, None))
    for name in ("run_id", "row_id"):
        yield Probe(
            f"completion/complete, outputs of {name}",
            partial(_complete, "n", lambda _: "", partial(getattr_of, name)),
        )
    for name in ("run_id", "batch_id"):
        yield Probe(f"prompts/get show_run, {name}", partial(_get_prompt, partial(getattr_of, name)))


def getattr_of(name: str, names: Names) -> str:
    """Return one of the names."""
    return str(getattr(names, name))


async def _complete(
    argument: str,
    form: Callable[[Names], str],
    given: Callable[[Names], str] | None,
    who: Intruder,
    names: Names,
    _: Victim,
) -> str:
    context = None if given is None else t.CompletionContext(arguments={"run_id": given(names)})
    params = t.CompleteRequestParams(
        ref=t.ResourceTemplateReference(uri="flowport://runs/{run_id}"),
        argument=t.CompletionArgument(name=argument, value=form(names)),
        context=context,
    )
    return await who.send(t.CompleteRequest(params=params), t.CompleteResult)


async def _get_prompt(form: Callable[[Names], str], who: Intruder, names: Names, _: Victim) -> str:
    params = t.GetPromptRequestParams(name="show_run", arguments={"run_id": form(names)})
    return await who.send(t.GetPromptRequest(params=params), t.GetPromptResult)


def build_list_probes() -> Iterator[Probe]:
    """Yield the probes that name nothing: lists, and the newest."""
    lists: list[tuple[str, dict[str, Any]]] = [
        ("list_runs", {}),
        ("list_runs", {"limit": 50}),
        *(("list_runs", {"state": state.value}) for state in RunState),
        ("get_balance", {}),
        ("find_apps", {}),
        ("find_apps", {"query": "retro poster"}),
        ("find_apps", {"makes": "image"}),
        ("get_run", {"run_id": "last"}),
        ("get_run", {"run_id": "last#1"}),
        ("cancel_run", {"run_id": "last"}),
        (PHOTO_TOOL, {"photo": "last"}),
        (PHOTO_TOOL, {"photo": "last#1"}),
        (PHOTO_TOOL, {"photo": "no such file"}),
        ("run_app", {"app": "no such app"}),
        ("no_such_tool", {}),
    ]
    for tool, arguments in lists:
        yield Probe(f"{tool} {arguments or ''}", partial(_ask_plainly, tool, arguments), asks_by_name=False)
    requests: list[tuple[Any, Any]] = [
        (t.ListResourcesRequest(), t.ListResourcesResult),
        (t.ListResourceTemplatesRequest(), t.ListResourceTemplatesResult),
        (t.ListToolsRequest(), t.ListToolsResult),
        (t.ListPromptsRequest(), t.ListPromptsResult),
    ]
    for request, answer in requests:
        yield Probe(str(request.method), partial(_send_plainly, request, answer), asks_by_name=False)
    for argument in ("run_id", "batch_id", "n", "app"):
        send = partial(_complete, argument, lambda _: "", None)
        yield Probe(f"completion/complete, every {argument}", send, asks_by_name=False)


async def _ask_plainly(tool: str, arguments: dict[str, Any], who: Intruder, _: Names, __: Victim) -> str:
    return await who.ask(tool, **arguments)


async def _send_plainly(request: Any, answer: Any, who: Intruder, _: Names, __: Victim) -> str:
    return await who.send(request, answer)


async def _repeat_call(who: Intruder, names: Names, _: Victim) -> str:
    """Make the other owner's call; the prompt is the intruder's own words now."""
    return (await who.ask(TOOL, prompt=names.prompt)).replace(names.prompt, "")


async def _repeat_batch(who: Intruder, names: Names, _: Victim) -> str:
    rows = [{"prompt": f"{names.prompt} {n}"} for n in (1, 2)]
    return (await who.ask("run_batch", app=TOOL, rows=rows)).replace(names.prompt, "")


def build_session_probes() -> Iterator[Probe]:
    """Yield the probes by the session of another owner."""
    messages: dict[str, Callable[[Names], dict[str, Any]]] = {
        "ping": lambda _: {"id": 1, "method": "ping"},
        "tools/list": lambda _: {"id": 2, "method": "tools/list"},
        "resources/list": lambda _: {"id": 3, "method": "resources/list"},
        "get_run": lambda names: _build_call(4, "get_run", {"run_id": names.run_id}),
        "list_runs": lambda _: _build_call(5, "list_runs", {}),
        "an app": lambda _: _build_call(6, TOOL, {"prompt": "a lake"}),
        "resources/subscribe": lambda names: {
            "id": 7,
            "method": "resources/subscribe",
            "params": {"uri": f"flowport://runs/{names.run_id}"},
        },
        "initialized": lambda _: {"method": "notifications/initialized"},
        "cancelled": lambda _: {"method": "notifications/cancelled", "params": {"requestId": 1}},
        "cancelled, as text": lambda _: {"method": "notifications/cancelled", "params": {"requestId": "1"}},
        "an answer to the server": lambda _: {"id": 1, "result": {"action": "accept", "content": {}}},
    }
    for name, build in messages.items():
        yield Probe(f"session, {name}", partial(_post, build))
    for method in ("GET", "DELETE"):
        yield Probe(f"session, {method}", partial(_request, method))


def _build_call(request_id: int, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": request_id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


async def _post(build: Callable[[Names], dict[str, Any]], who: Intruder, names: Names, _: Victim) -> str:
    return await who.post(build(names), names.session_id)


async def _request(method: str, who: Intruder, names: Names, _: Victim) -> str:
    return await who.post({}, names.session_id, method)


RUN_FIELDS: Final = ("run_id", "batch_id", "row_id", "live_batch_id", "live_row_id")


def build_page_probes() -> Iterator[Probe]:
    """Yield the probes by the gallery, by addresses that carry a proof, and by the addresses of webhooks."""
    for name in RUN_FIELDS:
        get = partial(getattr_of, name)
        yield Probe(f"gallery, record of {name}", partial(_fetch, "GET", partial(_fill, "/gallery/api/runs/{}", get)))
        yield Probe(
            f"gallery, list before {name}", partial(_fetch, "GET", partial(_fill, "/gallery/api/runs?before={}", get))
        )
        cancel = partial(_fill, "/gallery/api/runs/{}/cancel", get)
        yield Probe(f"gallery, cancel {name}", partial(_fetch, "POST", cancel))
        for place in ("files/{}/1", "files/{}/1/preview"):
            file = partial(_fill, f"/gallery/{place}", get)
            yield Probe(f"gallery, {place.replace('{}', name)}", partial(_fetch, "GET", file))
        forged = partial(_fill, "/outputs/{}/1?e=4102444800&s=" + "0" * 32, get)
        yield Probe(f"output of {name}, forged link", partial(_fetch, "GET", forged))
        event = partial(_fill, "/webhooks/magnific/{}/" + "0" * 32, get)
        yield Probe(f"webhook of {name}, forged address", partial(_fetch, "POST", event))
    for place in ("/metrics", "/healthz", "/readyz"):
        path = partial(_fill, place, partial(getattr_of, "run_id"))
        yield Probe(place, partial(_fetch, "GET", path), asks_by_name=False)
    upload = partial(_fill, "/uploads/{}." + "0" * 32, partial(getattr_of, "upload_id"))
    for method in ("GET", "PUT", "POST"):
        yield Probe(f"upload, forged link, {method}", partial(_fetch, method, upload))
    for query in ("", "?state=live", "?text=secret+garden", "?app=picture", "?limit=200", "?since=0"):
        path = partial(_fill, f"/gallery/api/runs{query}", partial(getattr_of, "run_id"))
        yield Probe(f"gallery, list {query}", partial(_fetch, "GET", path), asks_by_name=False)


def _fill(form: str, get: Callable[[Names], str], names: Names) -> str:
    return form.format(get(names))


async def _fetch(method: str, path: Callable[[Names], str], who: Intruder, names: Names, _: Victim) -> str:
    # As the page itself sends it.
    return await who.fetch(method, path(names), headers={"origin": who.tenancy.origin})


def build_seal_probes() -> Iterator[Probe]:
    """Yield the probes by a question that another owner was asked."""
    for action in ("accept", "decline"):
        yield Probe(f"the question of another owner, {action}", partial(_answer_question, action))


async def _answer_question(action: Any, who: Intruder, names: Names, victim: Victim) -> str:
    """Answer the other owner's question; beside invented names, one with a seal that was not made here."""
    sealed = victim.sealed.request_state or ""
    params = t.CallToolRequestParams(
        name=COSTLY,
        arguments={"prompt": victim.names.prompt},
        input_responses={"confirm": t.ElicitResult(action=action, content={})},
        request_state=sealed if names is victim.names else rotate(sealed),
    )
    return await who.send(t.CallToolRequest(params=params), t.CallToolResult)


def build_probes() -> list[Probe]:
    """Return every probe."""
    return [
        *build_tool_probes(),
        *build_resource_probes(),
        *build_completion_probes(),
        *build_list_probes(),
        *build_session_probes(),
        *build_seal_probes(),
        *build_page_probes(),
        # Last, because the other owner's words are the intruder's own from here on.
        Probe("an equal call", _repeat_call, asks_by_name=False),
        Probe("an equal batch", _repeat_batch, asks_by_name=False),
    ]
