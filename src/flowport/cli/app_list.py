"""What `flowport apps` and `flowport show APP` do: from the catalogue on disk, else from the providers."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from flowport.actions.views.app import KnownApp, build_app_row
from flowport.actions.views.view import UNKNOWN_COST, format_instant
from flowport.catalog.readings import build_choices
from flowport.catalog.search import Candidate, Search, get_listing, search_apps
from flowport.cli.cached_apps import Apps, load_apps, name_app
from flowport.cli.console import Column, ExitCode, print_facts, print_json, print_table, report_error, say
from flowport.domain.call_errors import AppAmbiguous, AppNotFound
from flowport.domain.errors import ConfigurationError
from flowport.domain.models import Input
from flowport.domain.text import clean_line, format_duration
from flowport.settings.settings import Settings, get_environment, load_settings

OLD_SECONDS: Final = 24 * 3600.0
"""From this age on it is said how old the list is."""

_COLUMNS: Final = (
    Column("TOOL"),
    Column("APP", is_flexible=True, is_optional=True),
    Column("PROVIDER"),
    Column("CREDITS", is_number=True),
    Column("USUALLY", is_number=True),
    Column("INPUTS", is_flexible=True),
)
_INPUT_COLUMNS: Final = (
    Column("INPUT"),
    Column("TAKES", is_flexible=True),
    Column("DEFAULT", is_flexible=True),
    Column("MEANING", is_flexible=True),
)

Print = Callable[[Apps], ExitCode]


def list_apps(given: dict[str, Any]) -> int:
    """List the apps that match."""
    return _with_apps(given, lambda apps: _list(apps, given), is_refreshed=given["is_refreshed"])


def show_app(given: dict[str, Any]) -> int:
    """Show one app; the provider is asked when it is not in the catalogue, or its inputs were not read yet."""
    try:
        return _with_apps(given, lambda apps: _show(apps, given), is_refreshed=False)
    except (AppNotFound, _InputsUnread):
        return _fetch(given, lambda apps: _show(apps, given), wanted=given["name"])
    except AppAmbiguous as exc:
        return report_error(exc, is_json=given["is_json"])


class _InputsUnread(Exception):
    """The app's inputs are not in the catalogue."""


def _with_apps(given: dict[str, Any], show: Print, *, is_refreshed: bool) -> int:
    try:
        settings = _load(given)
    except ConfigurationError as exc:
        return report_error(exc, is_json=given["is_json"])
    apps = None if is_refreshed else load_apps(settings)
    return _fetch(given, show, is_refreshed=is_refreshed) if apps is None else show(apps)


def _load(given: dict[str, Any]) -> Settings:
    home = {"FLOWPORT_HOME": given["home"]} if given["home"] else {}
    return load_settings(home, get_environment(), config_path=given["config"])


def _fetch(given: dict[str, Any], show: Print, *, wanted: str = "", is_refreshed: bool = False) -> int:
    """Show what the providers say. What speaks to them is imported here alone: a cached list needs none of it."""
    fetch: Callable[..., int] = importlib.import_module("flowport.cli.fetched_apps").fetch_apps
    return fetch(given, show, wanted=wanted, is_refreshed=is_refreshed)


def _list(apps: Apps, given: dict[str, Any]) -> ExitCode:
    left_out = [(one.listing.tool_name, one.listing.left_out) for one in apps.apps if one.listing.left_out]
    usable = [one for one in apps.apps if not one.listing.left_out]
    left_out += apps.unusable
    search = Search(" ".join(given["words"]), max_credits=given["max_credits"])
    found = search_apps([Candidate(one.listing, one.history.kinds) for one in usable], search)
    shown = [usable[place] for place in found.places]
    if given["is_json"]:
        facts: dict[str, Any] = {
            "apps": [_build_facts(one) for one in shown],
            "is_exact": found.is_exact,
            "total": len(usable),
            "left_out": [{"app": clean_line(name), "reason": clean_line(why, limit=300)} for name, why in left_out],
            "listed_at": format_instant(apps.listed_at),
        }
        print_json(facts)
        return ExitCode.DONE
    if given["is_left_out"]:
        print_table((Column("APP"), Column("LEFT OUT BECAUSE", is_flexible=True)), left_out)
        if not left_out:
            say("No app is left out.")
        return ExitCode.DONE
    print_table(_COLUMNS, [_build_row(one) for one in shown])
    if not found.is_exact:
        say(
            f"No app has all of that; these are the nearest of {len(usable)}." if usable else "The account has no apps."
        )
    if left_out:
        say(f"{len(left_out)} left out: `flowport apps --left-out`.")
    if apps.age_seconds > OLD_SECONDS:
        say(f"Read {round(apps.age_seconds / OLD_SECONDS)} days ago; --refresh asks again.")
    return ExitCode.DONE


def _build_facts(app: KnownApp) -> dict[str, Any]:
    row = build_app_row(app, provider=app.provider, is_listed=True, is_kind_wanted=False)
    row.pop("call_it_by", None)
    return {**row, "inputs": _build_inputs(app)}


def _build_row(app: KnownApp) -> tuple[object, ...]:
    row = build_app_row(app, provider=app.provider, is_listed=True, is_kind_wanted=False)
    price = row["price_credits"]
    usual = "" if app.usual_seconds is None else format_duration(app.usual_seconds)
    cost = "?" if price == UNKNOWN_COST else price
    return row["tool"], row["app"], row["provider"], cost, usual, _format_inputs(app)


def _format_inputs(app: KnownApp) -> str:
    """Return the inputs as in a line of usage: those in brackets may be left out."""
    if app.listing.app.inputs is None:
        return "read when the app is first run"
    names = [(app.listing.property_names.get(one.id, "?"), one) for one in app.listing.app.inputs]
    return " ".join(name if one.is_required else f"[{name}]" for name, one in names)


def _build_inputs(app: KnownApp) -> list[dict[str, Any]] | None:
    """Return each input with what it takes; None when they were not read yet."""
    if app.listing.app.inputs is None:
        return None
    return [_build_input(app, one) for one in app.listing.app.inputs]


def _build_input(app: KnownApp, item: Input) -> dict[str, Any]:
    facts = {
        "name": app.listing.property_names.get(item.id, "?"),
        "kind": item.kind.value,
        "is_required": item.is_required,
        "is_list": item.is_list,
        "label": clean_line(item.label),
        "description": clean_line(item.description, limit=300),
        "default": clean_line(item.default, limit=200) if isinstance(item.default, str) else item.default,
        "choices": [choice.shown for choice in build_choices(item)],
        "minimum": item.minimum,
        "maximum": item.maximum,
    }
    return {name: value for name, value in facts.items() if value not in ("", None, [])}


def _show(apps: Apps, given: dict[str, Any]) -> ExitCode:
    listings = [one.listing for one in apps.apps]
    listing = get_listing(listings, name_app(listings, given["name"]))
    app = next(one for one in apps.apps if one.listing is listing)
    if listing.app.inputs is None and not listing.left_out:
        raise _InputsUnread
    facts = _build_facts(app)
    if given["is_json"]:
        print_json(facts)
        return ExitCode.DONE
    inputs = facts.pop("inputs") or []
    usual = facts.pop("usual_seconds", None)
    took = {} if usual is None else {"usually": format_duration(usual)}
    print_facts({name.replace("_", " "): value for name, value in (facts | took).items()})
    if inputs:
        print_table(_INPUT_COLUMNS, [_build_input_row(one) for one in inputs])
    if not listing.left_out:
        say(f"flowport run {listing.tool_name} {_format_example(inputs)}".rstrip())
    return ExitCode.DONE


def _build_input_row(facts: dict[str, Any]) -> tuple[object, ...]:
    takes = ", ".join(map(str, facts.get("choices", ()))) or facts["kind"]
    low, high = facts.get("minimum"), facts.get("maximum")
    bounds = (
        f" {low if low is not None else ''}..{high if high is not None else ''}" if (low, high) != (None, None) else ""
    )
    default = "required" if facts["is_required"] else facts.get("default", "")
    meaning = facts.get("description") or facts.get("label", "")
    return facts["name"], f"{takes}{bounds}{' (several)' * facts['is_list']}", default, meaning


def _format_example(inputs: Sequence[dict[str, Any]]) -> str:
    return " ".join(
        f"{one['name']}={'@FILE' if one['kind'] in {'image', 'video', 'audio', 'media'} else '…'}"
        for one in inputs
        if one["is_required"]
    )
