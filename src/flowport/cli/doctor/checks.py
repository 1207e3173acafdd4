"""Judge the facts: each function returns lines. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, assert_never

from flowport.cli.clients import Client
from flowport.cli.doctor.facts import (
    AccountFacts,
    Answered,
    ClientFacts,
    Failed,
    FolderFacts,
    Listed,
    NotListed,
    RouteFacts,
)
from flowport.cli.doctor.findings import Finding, Level, Public, build_finding
from flowport.domain.errors import ConfigurationError, DayUsedUp, ProviderBusy, ProviderRefused
from flowport.domain.spending import SpendingLimits
from flowport.network.connections import Proxy
from flowport.settings.settings import SettingsReport
from flowport.settings.variables import get_key_names, get_variables
from flowport.store.records import StoreHealth

MAX_SKEW_SECONDS: Final = 60.0
LITTLE_BYTES: Final = 1_000_000_000
TOO_LITTLE_BYTES: Final = 50_000_000
_SHOWABLE: Final = re.compile(
    r"[0-9]{1,12}(\.[0-9]{1,6})?|true|false|yes|no|on|off|own|published|all|keep|stop|resource|text|allow|confirm|refuse|flows|apps|auto",
    re.IGNORECASE,
)
"""Values of settings that say nothing of their user."""


def check_settings(report: SettingsReport) -> Iterator[Finding]:
    """Yield what was set and where, and what of it cannot be used."""
    known = {variable.name for variable in get_variables()}
    for problem in report.problems:
        setting = Public(problem.setting) if problem.setting in known else problem.setting
        name = setting if isinstance(setting, Public) else "configuration"
        yield build_finding(
            Level.FAULT,
            name,
            "{setting} {problem}.",
            "{remedy}",
            setting=setting,
            problem=problem.problem,
            remedy=problem.remedy,
        )
    wrong = {problem.setting for problem in report.problems}
    for name in sorted(report.origins.keys() - wrong):
        text, origin = report.values[name], Public(report.origins[name])
        if name in get_key_names():
            yield build_finding(Level.OK, name, "Set by the {origin}.", origin=origin)
        else:
            value = Public(text) if _SHOWABLE.fullmatch(text) else text
            yield build_finding(Level.OK, name, "{value}, set by the {origin}.", value=value, origin=origin)
    if not report.settings.providers and not wrong & {*get_key_names()}:
        template = "No API key is set, so only the demo apps are listed."
        yield build_finding(Level.WARNING, "API keys", template, "flowport auth")


def check_key_file(path: Path, *, is_exposed: bool) -> Iterator[Finding]:
    """Yield a warning for a file of keys that other users may read."""
    if is_exposed:
        template = "Other users of this computer may read the API keys in {path}."
        yield build_finding(Level.WARNING, "key file", template, "chmod 600 {path}", path=str(path))


def check_account(facts: AccountFacts) -> Iterator[Finding]:
    """Yield whether a key is accepted, the clock, and the request limit."""
    common = {"host": facts.host, "title": Public(facts.title), "provider": Public(facts.provider)}
    common |= {"setting": Public(facts.key_setting), "origin": Public(facts.origin)}
    match facts.outcome:
        case Answered(apps, style, skew_seconds):
            template = (
                "{title} at {host} accepts the key from the {origin} (API {style}; its first list has {apps} apps)."
            )
            yield build_finding(Level.OK, facts.title, template, **common, apps=apps, style=Public(style))
            yield from _check_clock(skew_seconds, facts.title)
        case Failed(error, sentence):
            level = Level.WARNING if isinstance(error, DayUsedUp | ProviderBusy) else Level.FAULT
            fix = "flowport auth {provider}" if facts.origin == "key file" else "Correct {setting} in the {origin}."
            fix = fix if isinstance(error, ProviderRefused) and error.status == 401 else ""  # noqa: PLR2004
            template = (
                "{sentence}"
                if not isinstance(error, ProviderRefused)
                else "{title} at {host} refuses the key ({status}): {sentence}"
            )
            status = error.status if isinstance(error, ProviderRefused) else 0
            yield build_finding(level, facts.title, template, fix, **common, sentence=sentence, status=status)
        case _:
            assert_never(facts.outcome)
    if (limit := facts.limit) is None:
        return
    name = f"requests to {facts.title}"
    if limit.paused_seconds:
        template = "{title} asks for a pause of {seconds} s, for all programs together."
        yield build_finding(Level.WARNING, name, template, title=common["title"], seconds=round(limit.paused_seconds))
    source = Public("learned" if limit.is_learned else "documented, or set")
    template = "{used} of {limit} a minute were sent lately ({source}; at most {ceiling} may be learned)."
    if not limit.limit:
        template = "There is no limit."
    yield build_finding(
        Level.OK, name, template, used=limit.used, limit=limit.limit, source=source, ceiling=limit.ceiling
    )
    if limit.day_left is not None:
        level = Level.OK if limit.day_left > 0 else Level.WARNING
        yield build_finding(level, name, "{left} are left of the day.", left=limit.day_left)


def _check_clock(skew_seconds: float | None, title: str) -> Iterator[Finding]:
    if skew_seconds is None:
        return
    seconds = round(abs(skew_seconds))
    if seconds <= MAX_SKEW_SECONDS:
        yield build_finding(
            Level.OK,
            "clock",
            "It agrees with {title} within {seconds} s.",
            title=Public(title),
            seconds=max(1, seconds),
        )
        return
    template = "This computer's clock is {seconds} s {way} that of {title}."
    way = Public("ahead of" if skew_seconds > 0 else "behind")
    fix = "Let the system set its clock from the network."
    yield build_finding(Level.WARNING, "clock", template, fix, seconds=seconds, way=way, title=Public(title))


def check_routes(routes: Iterable[RouteFacts], trust: ConfigurationError | None, trusted_by: str) -> Iterator[Finding]:
    """Yield the proxy of each kind of address, and who decides which servers are trusted."""
    for one in routes:
        name = f"way to {one.purpose}"
        match one.route:
            case None:
                yield build_finding(Level.OK, name, "Directly, without a proxy.")
            case Proxy(setting):
                yield build_finding(Level.OK, name, "By {proxy}.", proxy=str(one.route), setting=Public(setting))
            case ConfigurationError() as problem:
                yield _build_problem(name, problem)
            case _:
                assert_never(one.route)
    if trust is not None:
        yield _build_problem("certificates", trust)
    else:
        source = Public(trusted_by or "the system")
        yield build_finding(Level.OK, "certificates", "The authorities of {source} are trusted.", source=source)


def _build_problem(name: str, problem: ConfigurationError) -> Finding:
    values = {"setting": problem.setting, "problem": problem.problem, "remedy": problem.remedy}
    return build_finding(Level.FAULT, name, "{setting} {problem}.", "{remedy}", **values)


def check_folder(facts: FolderFacts) -> Iterator[Finding]:
    """Yield whether a folder can be written to, and the free space of its disk."""
    name = f"folder of {facts.purpose}"
    values = {"path": str(facts.path), "setting": Public(facts.setting)}
    if facts.problem:
        level = Level.FAULT if facts.is_needed else Level.WARNING
        fix = "Make it writable{or_set}."
        or_set = Public(f", or set {facts.setting} to another folder" if facts.setting else "")
        template = "Nothing can be written to {path}: {problem}."
        yield build_finding(level, name, template, fix, **values, problem=facts.problem, or_set=or_set)
        return
    free = facts.free_bytes
    if free is None or free >= LITTLE_BYTES:
        yield build_finding(Level.OK, name, "{path} can be written to.", **values)
        return
    level = Level.WARNING if free >= TOO_LITTLE_BYTES else Level.FAULT
    template = "{path} can be written to, but only {megabytes} MB are free on its disk."
    yield build_finding(level, name, template, "Free some space.", **values, megabytes=free // 1_000_000)


def check_store(health: StoreHealth) -> Iterator[Finding]:
    """Yield the state of the record, and the runs that wait for their user."""
    name = "record of runs"
    if health.problem is not None:
        values = {"problem": health.problem.problem, "remedy": health.problem.remedy}
        yield build_finding(Level.FAULT, name, "It cannot be used: {problem}.", "{remedy}", **values)
        return
    if health.layout is None or not health.layout:
        yield build_finding(Level.OK, name, "It is empty: no run was started yet.")
        return
    if health.is_older:
        template = "An older Flowport wrote it (layout {layout}). The next start renames it and begins a new one."
        fix = "If runs in it are not over, let the older version finish them first."
        yield build_finding(Level.WARNING, name, template, fix, layout=health.layout)
        return
    if not health.is_writable:
        template, fix = (
            "It can only be read, so no run can be started.",
            "Make FLOWPORT_HOME and the files in it writable.",
        )
        yield build_finding(Level.FAULT, name, template, fix)
    if (history := health.history) is None:
        return
    template = "It is sound: {runs} runs, {live} of them not over."
    yield build_finding(Level.OK, name, template, runs=history.runs, live=history.live)
    if history.unseen:
        template = "{count} finished runs were not delivered yet."
        yield build_finding(Level.WARNING, name, template, "flowport runs --unseen", count=history.unseen)
    if history.unknown:
        template = "The start of {count} runs has an unknown outcome: they may have been charged."
        fix = "Look for them on the provider's website; `flowport runs` lists them."
        yield build_finding(Level.WARNING, name, template, fix, count=history.unknown)


def check_caps(limits: SpendingLimits) -> Finding:
    """Return the spending limits."""
    given = {
        "a run": limits.max_credits_per_run,
        "24 hours": limits.max_credits_per_day,
        "a run without asking": limits.confirm_above_credits,
    }
    caps = "; ".join(f"{cap:g} for {what}" for what, cap in given.items() if cap is not None)
    if not caps:
        return build_finding(Level.OK, "spending limits", "None is set (FLOWPORT_MAX_CREDITS_PER_DAY sets one).")
    return build_finding(Level.OK, "spending limits", "At most {caps}, in credits.", caps=Public(caps))


def check_own_server(outcome: Listed | NotListed, clients: Sequence[Client], server: str) -> Iterator[Finding]:
    """Yield whether this installation serves, writes nothing else, and lists what each client takes."""
    yield from _check_noise("standard output", outcome)
    if isinstance(outcome, NotListed):
        fix = "Run `flowport serve` in a terminal: standard error has the reason."
        yield build_finding(Level.FAULT, "server", "`flowport serve` {problem}.", fix, problem=outcome.problem)
        return
    kilobytes = round(outcome.size_bytes / 1000)
    yield build_finding(
        Level.OK, "tool list", "{count} tools in {kilobytes} KB.", count=len(outcome.tools), kilobytes=kilobytes
    )
    for client in clients:
        problems = list(_find_excess(outcome, client, server))
        for template, number, most in problems:
            fix = "Set FLOWPORT_MAX_TOOLS to a smaller number, or choose with FLOWPORT_APPS."
            yield build_finding(Level.WARNING, f"tool list in {client.title}", template, fix, number=number, most=most)
    fitting = [client.title for client in clients if not any(_find_excess(outcome, client, server))]
    yield build_finding(
        Level.OK, "tool list", "It is within the limits of {clients}.", clients=Public(", ".join(fitting))
    )


def _find_excess(outcome: Listed, client: Client, server: str) -> Iterator[tuple[str, int, int]]:
    """Yield what a client does not take, as a template with a number and the client's limit."""
    if client.max_tools is not None and len(outcome.tools) > client.max_tools:
        yield (
            "{number} tools are listed, and it takes {most} of all servers together.",
            len(outcome.tools),
            client.max_tools,
        )
    # Clients write the server's name before the tool's, with a mark such as `mcp_`.
    longest = max((len(f"mcp_{server}_{tool.get('name', '')}") for tool in outcome.tools), default=0)
    if client.max_name is not None and longest > client.max_name:
        yield "A tool's name with the server's has {number} characters, and it takes {most}.", longest, client.max_name
    described = max((len(str(tool.get("description", "")).encode()) for tool in outcome.tools), default=0)
    if client.max_description is not None and described > client.max_description:
        yield "A description has {number} bytes, and it shows {most}.", described, client.max_description


def _check_noise(name: str, outcome: Listed | NotListed) -> Iterator[Finding]:
    if outcome.noise:
        template = "Something besides the protocol's messages is written there: {line}"
        fix = "Start Flowport without a wrapper that prints, and remove print calls from plug-ins."
        yield build_finding(Level.FAULT, name, template, fix, line=outcome.noise)
    elif isinstance(outcome, Listed):
        yield build_finding(Level.OK, name, "Only the protocol's messages are written there.")


def check_client(facts: ClientFacts, *, has_key: bool) -> Iterator[Finding]:
    """Yield whether a client's file can be read, and whether its entry starts and lists."""
    values = {"path": str(facts.path), "server": facts.server, "client": Public(facts.client), "command": facts.command}
    repair = "flowport install {client}"
    if facts.problem:
        yield build_finding(
            Level.FAULT, facts.title, "{path} {problem}.", "Correct it by hand.", **values, problem=facts.problem
        )
        return
    if not facts.server:
        yield build_finding(Level.OK, facts.title, "It is here, without Flowport.", repair, **values)
        return
    if facts.not_tried:
        yield build_finding(
            Level.OK, facts.title, "{server} is not started here: {reason}.", **values, reason=facts.not_tried
        )
        return
    match facts.outcome:
        case Listed(tools):
            names = [str(tool.get("name", "")) for tool in tools]
            if has_key and any(name.startswith("sandbox_") for name in names):
                template = "Its entry {server} starts, but no API key reaches it: it lists the demo apps."
                yield build_finding(Level.WARNING, facts.title, template, "flowport auth", **values)
            else:
                template = "Its entry {server} starts and lists {count} tools."
                yield build_finding(Level.OK, facts.title, template, **values, count=len(tools))
        case NotListed(problem):
            template = "The command of its entry {server} ({command}) {problem}."
            yield build_finding(Level.FAULT, facts.title, template, repair, **values, problem=problem)
        case None:
            return
        case _:
            assert_never(facts.outcome)
    if facts.outcome.noise:
        yield from _check_noise(f"standard output of {facts.title}'s entry", facts.outcome)
