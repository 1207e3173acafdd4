"""Judge the facts: each function returns lines. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, assert_never

from flowport.cli.clients import Client
from flowport.cli.doctor.facts import AccountFacts, Answered, ClientFacts, Failed, FolderFacts, ServerFacts
from flowport.cli.doctor.findings import Finding, Level, Public, build_finding, fault, ok, warn
from flowport.domain.errors import ConfigurationError, DayUsedUp, ProviderBusy, ProviderRefused
from flowport.network.connections import Proxy
from flowport.network.ratelimit.limiter import LimiterStatus
from flowport.settings.settings import Origin, SettingsReport
from flowport.settings.variables import get_key_names, get_secret_names, get_variables
from flowport.store.maintenance import StoreHealth

MAX_SKEW_SECONDS: Final = 60.0
LITTLE_BYTES: Final = 1_000_000_000
TOO_LITTLE_BYTES: Final = 50_000_000
_UNAUTHORIZED: Final = 401
_LIMIT: Final = re.compile("credit", re.IGNORECASE)
"""Occurs in the names of spending limits alone, also in most misspelt ones."""
_SHOWABLE: Final = re.compile(
    r"[0-9]{1,12}(\.[0-9]{1,6})?|true|false|yes|no|on|off|own|published|all|keep|stop|resource|text|allow|confirm|refuse"
    r"|flows|apps|auto",
    re.IGNORECASE,
)
"""Values of settings that say nothing of their user."""


def check_settings(report: SettingsReport) -> Iterator[Finding]:
    """Yield what is set and where, and what of it cannot be used."""
    known = {variable.name for variable in get_variables()}
    for problem in report.problems:
        is_known = problem.setting in known
        yield _build_problem(problem.setting if is_known else "configuration", problem, is_public=is_known)
    wrong = {problem.setting for problem in report.problems}
    for name in sorted(report.origins.keys() - wrong):
        text, origin = report.values[name], Public(report.origins[name])
        if name in get_secret_names():
            yield ok(name, "Set by the {origin}.", origin=origin)
        else:
            value = Public(text) if _SHOWABLE.fullmatch(text) else text
            yield ok(name, "{value}, set by the {origin}.", value=value, origin=origin)
    if report.settings.providers or wrong & {*get_key_names()}:
        return
    if report.unread:
        yield warn("API keys", "Whether a key is set is not known: {unread}.", unread=Public(name_unread(report)))
    else:
        yield warn("API keys", "No API key is set, so only the demo apps are listed.", "flowport auth")


def name_unread(report: SettingsReport) -> str:
    """Return that files could not be read, as the end of a sentence."""
    return f"the {' and the '.join(report.unread)} cannot be read"


def _build_problem(name: str, error: ConfigurationError, *, is_public: bool = False) -> Finding:
    setting = Public(error.setting) if is_public else error.setting
    return fault(name, "{setting} {problem}.", "{remedy}", setting=setting, problem=error.problem, remedy=error.remedy)


def check_key_file(path: Path, *, is_exposed: bool) -> Iterator[Finding]:
    """Yield a warning for a file of keys that other users may read."""
    if is_exposed:
        template = "Other users of this computer may read the API keys in {path}."
        yield warn("key file", template, "chmod 600 {path}", path=str(path))


def check_account(facts: AccountFacts) -> Iterator[Finding]:
    """Yield whether a key is accepted, the clock, and the request limit."""
    words = {"title": facts.title, "provider": facts.provider, "setting": facts.key_setting, "origin": facts.origin}
    values: dict[str, Any] = {"host": facts.host, **{name: Public(word) for name, word in words.items()}}
    match facts.outcome:
        case Answered(apps, style, skew_seconds):
            template = (
                "The key from the {origin} is accepted by {title} at {host} (API {style}, {apps} apps of your own)."
            )
            yield ok(facts.title, template, apps=apps, style=Public(style), **values)
            if skew_seconds is not None:
                yield _check_clock(skew_seconds, values["title"])
        case Failed(ProviderRefused() as error, cause, advice):
            correct = "flowport auth {provider}" if facts.origin == "key file" else "Correct {setting} in the {origin}."
            fix = correct if error.status == _UNAUTHORIZED else "{advice}"
            template = "The key from the {origin} is refused by {title} at {host} ({status}). {cause}"
            yield fault(facts.title, template, fix, status=error.status, cause=cause, advice=advice, **values)
        case Failed(error, cause, advice):
            level = Level.WARNING if isinstance(error, DayUsedUp | ProviderBusy) else Level.FAULT
            kind = getattr(error, "breakage", type(error).__name__ if error else "no answer")
            yield build_finding(level, facts.title, "{cause}", "{advice}", kind=f"{kind}", cause=cause, advice=advice)
        case _:
            assert_never(facts.outcome)
    if facts.limit is not None:
        yield from _check_limit(facts.limit, values["title"])


def _check_clock(skew_seconds: float, title: str) -> Finding:
    seconds = max(1, round(abs(skew_seconds)))
    if seconds <= MAX_SKEW_SECONDS:
        return ok("clock", "It agrees with that of {title} within {seconds} s.", title=title, seconds=seconds)
    way = Public("ahead of" if skew_seconds > 0 else "behind")
    template = "This computer's clock is {seconds} s {way} that of {title}."
    fix = "Let the system set its clock from the network."
    return warn("clock", template, fix, seconds=seconds, way=way, title=title)


def _check_limit(limit: LimiterStatus, title: str) -> Iterator[Finding]:
    name = f"requests to {title}"
    if limit.paused_seconds:
        template = "{title} asks for a pause of {seconds} s, for all programs together."
        yield warn(name, template, title=title, seconds=round(limit.paused_seconds))
    source = Public("learned" if limit.is_learned else "documented, or set")
    template = "Sent in the last minute: {used} of {limit} ({source}), which may rise to {ceiling}."
    if limit.refused_above:
        template += " Refused once: the next after {refused}."
    values: dict[str, Any] = {
        "used": limit.used,
        "limit": limit.limit,
        "ceiling": limit.ceiling,
        "refused": limit.refused_above,
    }
    yield ok(name, template if limit.limit else "There is no limit.", source=source, **values)
    if limit.day_left is not None:
        level = Level.OK if limit.day_left > 0 else Level.WARNING
        yield build_finding(level, name, "Left of the day: {left}.", left=limit.day_left)


def check_routes(
    routes: Mapping[str, Proxy | ConfigurationError | None], trust: ConfigurationError | None, trusted_by: str
) -> Iterator[Finding]:
    """Yield the proxy of each kind of address, and who decides which servers are trusted."""
    for purpose, route in routes.items():
        name = f"way to {purpose}"
        match route:
            case None:
                yield ok(name, "Directly, without a proxy.")
            case Proxy():
                yield ok(name, "By {proxy}.", proxy=str(route))
            case ConfigurationError():
                yield _build_problem(name, route)
            case _:
                assert_never(route)
    source = Public(trusted_by or "the system")
    is_usable = ok("certificates", "The authorities of {source} are trusted.", source=source)
    yield is_usable if trust is None else _build_problem("certificates", trust, is_public=True)


def check_folder(facts: FolderFacts) -> Finding:
    """Return whether a folder can be written to, and whether its disk has space."""
    name = f"folder of {facts.purpose}"
    values: dict[str, Any] = {"path": str(facts.path), "setting": Public(facts.setting)}
    if facts.problem:
        fix = "Make it writable, or set {setting} to another folder." if facts.setting else "Make it writable."
        level = Level.FAULT if facts.is_needed else Level.WARNING
        template = "Nothing can be written to {path}: {problem}."
        return build_finding(level, name, template, fix, problem=facts.problem, **values)
    free = facts.free_bytes
    if free is None or free >= LITTLE_BYTES:
        return ok(name, "{path} can be written to.", **values)
    level = Level.WARNING if free >= TOO_LITTLE_BYTES else Level.FAULT
    template = "{path} can be written to, but only {megabytes} MB are free on its disk."
    return build_finding(level, name, template, "Free some space.", megabytes=free // 1_000_000, **values)


def check_store(health: StoreHealth) -> Iterator[Finding]:
    """Yield the state of the record, and the runs that wait for their user."""
    name, history = "record of runs", health.history
    if health.problem is not None:
        # Only a sentence that names a folder holds something of this computer.
        is_private = {"/", "\\"} & set(health.problem.problem)
        problem = health.problem.problem if is_private else Public(health.problem.problem)
        yield fault(name, "It cannot be used: {problem}.", "{remedy}", problem=problem, remedy=health.problem.remedy)
    elif not health.layout:
        yield ok(name, "It is empty: no run was started yet.")
    elif health.is_older:
        template = "An older Flowport wrote it (layout {layout}). The next start renames it and begins a new one."
        fix = "If runs in it are not over, let the older version finish them first."
        yield warn(name, template, fix, layout=health.layout)
    elif not health.is_writable:
        fix = "Make FLOWPORT_HOME and the files in it writable."
        yield fault(name, "It can only be read, so no run can be started.", fix)
    if history is None:
        return
    yield ok(name, "It is sound: {runs} runs, {live} of them not over.", runs=history.runs, live=history.live)
    if history.unseen:
        template = "Finished runs that were not delivered yet: {count}."
        yield warn(name, template, "flowport runs --unseen", count=history.unseen)
    if history.unknown:
        template = "Runs whose start has an unknown outcome, so they may have been charged: {count}."
        fix = "Look for them on the provider's website; `flowport runs` lists them."
        yield warn(name, template, fix, count=history.unknown)
    if health.people and (people := health.people_history) is not None:
        template = "People with runs: {people}. Their runs: {runs}, not over: {live}, unknown: {unknown}."
        who, runs, live, unknown = health.people, people.runs, people.live, people.unknown
        yield ok("people of a server", template, people=who, runs=runs, live=live, unknown=unknown)


def check_caps(report: SettingsReport) -> Finding:
    """Return the spending limits, as far as no fault hides them."""
    limits = report.settings.spending_limits
    faulty = ", ".join(one.setting for one in report.problems if _LIMIT.search(one.setting))
    if Origin.CONFIG_FILE in report.unread:
        return warn("spending limits", "They are not known: the configuration file cannot be read.")
    if faulty:
        return warn("spending limits", "They are not known: {faulty} cannot be used.", faulty=faulty)
    given = {
        "a run": limits.max_credits_per_run,
        "24 hours": limits.max_credits_per_day,
        "30 days": limits.max_credits_per_month,
        "24 hours of an account": limits.max_account_credits_per_day,
        "30 days of an account": limits.max_account_credits_per_month,
        "a run without asking": limits.confirm_above_credits,
    }
    caps = "; ".join(f"{cap:g} for {what}" for what, cap in given.items() if cap is not None)
    if not caps:
        return ok("spending limits", "None is set (FLOWPORT_MAX_CREDITS_PER_DAY sets one).")
    return ok("spending limits", "At most, in credits: {caps}.", caps=Public(caps))


def check_own_server(facts: ServerFacts, clients: Sequence[Client], server: str) -> Iterator[Finding]:
    """Yield whether this installation serves, writes nothing else, and lists what each client takes."""
    yield from _check_noise("standard output", facts)
    if facts.problem:
        fix = "Run `flowport serve` in a terminal: standard error has the reason."
        yield fault("server", "`flowport serve` {problem}.", fix, problem=facts.problem)
        return
    kilobytes = round(facts.size_bytes / 1000)
    yield ok(
        "tool list",
        "{count} tools in {kilobytes} KB, by the apps that were read last.",
        count=len(facts.tools),
        kilobytes=kilobytes,
    )
    fitting = []
    for client in clients:
        excess = list(_find_excess(facts.tools, client, server))
        fitting += [] if excess else [client.title]
        for template, number, most in excess:
            fix = "Set FLOWPORT_MAX_TOOLS to a smaller number, or choose with FLOWPORT_APPS."
            yield warn(f"tool list in {client.title}", template, fix, number=number, most=most)
    yield ok("tool list", "It is within the limits of {clients}.", clients=Public(", ".join(fitting) or "no client"))


def _find_excess(tools: Sequence[Mapping[str, Any]], client: Client, server: str) -> Iterator[tuple[str, int, int]]:
    """Yield what a client does not take, as a template with a number and the client's limit."""
    # Clients write the server's name before the tool's, with a mark such as `mcp_`.
    longest = max((len(f"mcp_{server}_{tool.get('name', '')}") for tool in tools), default=0)
    described = max((len(str(tool.get("description", "")).encode()) for tool in tools), default=0)
    found = (
        (len(tools), client.max_tools, "{number} tools are listed, and it takes {most} of all servers together."),
        (longest, client.max_name, "A tool's name with the server's has {number} characters, and it takes {most}."),
        (described, client.max_description, "A description has {number} bytes, and it shows {most}."),
    )
    yield from ((template, number, most) for number, most, template in found if most is not None and number > most)


def _check_noise(name: str, facts: ServerFacts) -> Iterator[Finding]:
    if facts.noise:
        template = "Something besides the protocol's messages is written there: {line}"
        fix = "Start Flowport without a wrapper that prints, and remove print calls from plug-ins."
        yield fault(name, template, fix, line=facts.noise)
    elif not facts.problem:
        yield ok(name, "Only the protocol's messages are written there.")


def check_client(facts: ClientFacts, *, has_key: bool) -> Iterator[Finding]:
    """Yield whether a client's file can be read, and whether its entry starts and lists."""
    values = {"path": str(facts.path), "server": facts.server, "client": Public(facts.client), "command": facts.command}
    repair, outcome = "flowport install {client}", facts.outcome
    if facts.problem:
        yield fault(facts.title, "{path} {problem}.", "Correct it by hand.", problem=facts.problem, **values)
    elif not facts.server:
        yield ok(facts.title, "It is here, without Flowport.", repair, **values)
    elif facts.not_tried:
        yield ok(facts.title, "Its entry {server} is not tried: {reason}.", reason=facts.not_tried, **values)
    elif outcome.problem:
        template = "The command of its entry {server} ({command}) {problem}."
        yield fault(facts.title, template, repair, problem=outcome.problem, **values)
    elif facts.refusal is not None:
        problem, remedy = f"{facts.refusal.setting} {facts.refusal.problem}", facts.refusal.remedy
        template = "Its entry {server} starts, but refuses every call: {problem}."
        yield fault(facts.title, template, "{remedy}", problem=problem, remedy=remedy, **values)
    elif has_key and any(str(tool.get("name", "")).startswith("sandbox_") for tool in outcome.tools):
        template = "Its entry {server} starts, but no API key reaches it: it lists the demo apps."
        yield warn(facts.title, template, "flowport auth", **values)
    else:
        yield ok(facts.title, "Its entry {server} starts and lists {count} tools.", count=len(outcome.tools), **values)
    if outcome.noise:
        yield from _check_noise(f"standard output of {facts.title}'s entry", outcome)
