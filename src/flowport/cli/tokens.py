"""`flowport token`: add, list and revoke the tokens of a server for several people, also while it runs."""

import secrets
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from flowport.actions.views.view import format_instant, plain
from flowport.cli.console import Column, ExitCode, print_json, print_table, say
from flowport.cli.flags import (
    RECORD_VARIABLES,
    CommandGroup,
    add_common_flags,
    parse_age,
    parse_credits,
)
from flowport.cli.run_records import run_on_record
from flowport.domain.access_tokens import AccessToken, TokenState, create_token, hash_token, is_token
from flowport.domain.call_errors import count_credits
from flowport.domain.models import LOCAL_OWNER
from flowport.domain.spending import SpendingLimits
from flowport.domain.text import clean_line
from flowport.providers.registry import get_plugins
from flowport.store.interface import Store

_MAX_NAME: Final = 80
_MAX_OWNER: Final = 300
_ID_LETTERS: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_OAUTH: Final = "oauth|"
"""How the owner of a token of an OAuth issuer begins."""

_LIMITS: Final = {
    "max_credits_per_run": "No run above this price.",
    "max_credits_per_day": "No more than this in the last 24 hours, at one provider.",
    "max_credits_per_month": "No more than this in the last 30 days, at one provider.",
    "confirm_above_credits": "Ask before each run above this price.",
}
_COLUMNS: Final = (
    Column("ID"),
    Column("NAME", is_flexible=True),
    Column("OWNER", is_flexible=True),
    Column("ACCOUNTS", is_flexible=True),
    Column("CAPS", is_flexible=True),
    Column("EXPIRES"),
    Column("STATE"),
)


@click.group(
    "token",
    cls=CommandGroup,
    examples=("flowport token add anna", "flowport token list", "flowport token revoke anna"),
)
def command() -> None:
    """Add, list and revoke the tokens with which people use `flowport serve --http`."""


def _add_limit_flags(function: Any) -> Any:
    for name, meaning in reversed(_LIMITS.items()):
        flag, says = f"--{name.replace('_', '-')}", f"{meaning} Replaces the setting."
        function = click.option(flag, type=parse_credits, metavar="NUMBER", help=says)(function)
    return function


def _parse_account(_: click.Context, param: click.Parameter, given: tuple[str, ...]) -> frozenset[str] | None:
    """Return the accounts that the flags name; None without one."""
    for account in given:
        if account.partition(":")[0] not in {one.name for one in get_plugins()} or account.count(":") not in {0, 2}:
            providers = ", ".join(one.name for one in get_plugins())
            raise click.BadParameter(
                f"{account!r} is not one of {providers}, and not the id of an account", param=param
            )
    return frozenset(given) or None


@command.command(
    "add",
    inputs={"NAME": "What the token is called, such as the person; also its owner unless --owner is given."},
    examples=(
        "flowport token add anna --max-credits-per-day 200 --expires 90d",
        f"flowport token add build --owner ci --account {next(iter(get_plugins())).name} --json",
    ),
    variables=RECORD_VARIABLES,
)
@click.argument("name")
@click.option("--owner", metavar="OWNER", help="Whose runs and files it shows; several tokens may share an owner.")
@click.option(
    "--account",
    "account_ids",
    metavar="PROVIDER",
    multiple=True,
    callback=_parse_account,
    help="A provider, or the id of an account, that it may use; may be repeated. All without it.",
)
@_add_limit_flags
@click.option(
    "--expires", type=parse_age, metavar="AGE", help="How long it is accepted: 90d, 12h, 4w. Forever without it."
)
@add_common_flags
def add(config: Path | None, home: str | None, **given: Any) -> int:
    """Make a token, store its hash, and print the token. It is shown this once.

    Limits of the token replace those of the settings; what it does not limit, the settings do. Caps of an account always hold.
    """
    name = _check_name(given["name"], "NAME", _MAX_NAME)
    if given["owner"] is None and (name == LOCAL_OWNER or name.startswith(_OAUTH)):
        raise click.UsageError(
            f"the token would belong to another kind of owner: name it otherwise, or add --owner {name}"
        )
    owner = name if given["owner"] is None else _check_name(given["owner"], "--owner", _MAX_OWNER)
    limits = SpendingLimits(**{one: given[one] for one in _LIMITS})
    token, now = create_token(), time.time()
    record = AccessToken(
        id=f"tok_{''.join(secrets.choice(_ID_LETTERS) for _ in range(10))}",
        name=name,
        sha256=hash_token(token),
        owner=owner,
        account_ids=given["account_ids"],
        spending_limits=None if limits == SpendingLimits() else limits,
        created_at=now,
        expires_at=None if given["expires"] is None else now + given["expires"],
    )
    work = partial(_add, token=token, record=record, is_json=given["is_json"])
    return run_on_record(config, home, work, is_json=given["is_json"], empty=None)


@command.command("list", examples=("flowport token list", "flowport token list --json"), variables=RECORD_VARIABLES)
@add_common_flags
def list_tokens(config: Path | None, home: str | None, *, is_json: bool) -> int:
    """List the tokens with their owners, accounts, limits and expiry. No token is shown."""
    return run_on_record(config, home, partial(_list, is_json=is_json), is_json=is_json, empty={"tokens": []})


@command.command(
    "revoke",
    inputs={"TOKEN": "The id or the name of a token, as `flowport token list` shows it."},
    examples=("flowport token revoke anna", "flowport token revoke tok_7f3kq2m9xa"),
    variables=RECORD_VARIABLES,
)
@click.argument("wanted", metavar="TOKEN")
@add_common_flags
def revoke(config: Path | None, home: str | None, *, wanted: str, is_json: bool) -> int:
    """Revoke a token. A running server refuses it from the next request on; the owner's runs stay."""
    work = partial(_revoke, wanted=wanted, is_json=is_json)
    return run_on_record(
        config, home, work, is_json=is_json, empty=_build_not_found(wanted), code_if_empty=ExitCode.NOT_FOUND
    )


def _check_name(text: str, what: str, limit: int) -> str:
    name = text.strip()
    if not name or clean_line(name, limit=limit) != name:
        raise click.UsageError(f"{what} must be one line of 1 to {limit} visible characters")
    if is_token(name):
        raise click.UsageError(f"{what} looks like a token, which is not to be shown in lists")
    return name


async def _add(store: Store, _: Path, *, token: str, record: AccessToken, is_json: bool) -> ExitCode:
    if not await store.add_token(record):
        sentence = f"A token named {record.name!r} exists. Revoke it first, or choose another name."
        return _fail(sentence, "TokenExists", ExitCode.REFUSED, is_json=is_json)
    if is_json:
        print_json({"token": token, **_build_facts(record, record.created_at)})
        return ExitCode.DONE
    sys.stdout.write(f"{token}\n")
    sys.stdout.flush()
    until = "" if record.expires_at is None else f", accepted until {format_instant(record.expires_at)}"
    say(
        f"The token {record.id} of the owner {record.owner!r} was stored{until}. Copy it now: only its hash was kept. "
        f"`flowport token revoke {record.id}` revokes it."
    )
    return ExitCode.DONE


async def _list(store: Store, _: Path, *, is_json: bool) -> ExitCode:
    now = time.time()
    tokens = await store.get_tokens()
    if is_json:
        print_json({"tokens": [_build_facts(one, now) for one in tokens]})
    elif tokens:
        print_table(_COLUMNS, [_build_row(one, now) for one in tokens])
    else:
        say("There are no tokens. `flowport token add NAME` makes one.")
    return ExitCode.DONE


async def _revoke(store: Store, _: Path, *, wanted: str, is_json: bool) -> ExitCode:
    tokens = await store.get_tokens()
    sha256 = hash_token(wanted)
    found = next((one for one in tokens if one.id == wanted or one.sha256 == sha256), None)
    # A name may have been used before; the one that is not revoked is meant, else the last.
    found = found or next((one for one in tokens if one.name == wanted and one.revoked_at is None), None)
    found = found or next((one for one in reversed(tokens) if one.name == wanted), None)
    now = time.time()
    revoked = await store.revoke_token(found.id, at=now) if found else None
    if found is None or revoked is None:
        error = _build_not_found(wanted)["error"]
        return _fail(error["message"], error["kind"], ExitCode.NOT_FOUND, is_json=is_json)
    if is_json:
        print_json(_build_facts(revoked, now))
    elif found.revoked_at is None:
        sys.stdout.write(f"The token {found.id} ({clean_line(found.name)}) is revoked.\n")
    else:
        sys.stdout.write(f"The token {found.id} was revoked before, on {format_instant(found.revoked_at)}.\n")
    return ExitCode.DONE


def _build_not_found(wanted: str) -> dict[str, Any]:
    named = "this" if is_token(wanted) else repr(clean_line(wanted))
    sentence = f"There is no token {named}. `flowport token list` lists them."
    return {"error": {"kind": "TokenNotFound", "message": sentence}}


def _fail(sentence: str, kind: str, code: ExitCode, *, is_json: bool) -> ExitCode:
    if is_json:
        print_json({"error": {"kind": kind, "message": sentence}})
    else:
        say(sentence, style="red")
    return code


def _get_caps(token: AccessToken) -> dict[str, float | int | None]:
    """Return the limits that the token sets, by name."""
    limits = token.spending_limits
    caps = {} if limits is None else {name: plain(getattr(limits, name)) for name in _LIMITS}
    return {name: cap for name, cap in caps.items() if cap is not None}


def _build_facts(token: AccessToken, now: float) -> dict[str, Any]:
    facts = {
        "id": token.id,
        "name": token.name,
        "owner": token.owner,
        "accounts": None if token.account_ids is None else sorted(token.account_ids),
        **_get_caps(token),
        "created_at": format_instant(token.created_at),
        "expires_at": format_instant(token.expires_at) or None,
        "revoked_at": format_instant(token.revoked_at) or None,
        "state": token.get_state(now),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _build_row(token: AccessToken, now: float) -> list[str]:
    shown = {
        "max_credits_per_run": "per run",
        "max_credits_per_day": "per day",
        "max_credits_per_month": "per month",
        "confirm_above_credits": "asked above",
    }
    caps = ", ".join(f"{count_credits(cap)} {shown[name]}" for name, cap in _get_caps(token).items() if cap is not None)
    state = token.get_state(now)
    return [
        token.id,
        token.name,
        token.owner,
        "all" if token.account_ids is None else ", ".join(sorted(token.account_ids)),
        caps or "of the settings",
        format_instant(token.expires_at) or "never",
        state.value if state is not TokenState.REVOKED else f"revoked {format_instant(token.revoked_at)}",
    ]
