"""What `flowport run` and `flowport batch` do: start runs by the same actions as an assistant, and print their files."""

from dataclasses import replace
from functools import partial
from typing import Any, Final

from flowport.actions.run_app import run_app
from flowport.actions.run_batch import start_batch
from flowport.actions.views.view import View
from flowport.actions.workspace import OpenCatalog
from flowport.catalog.listing import Listing
from flowport.cli.cached_apps import name_app
from flowport.cli.console import ExitCode
from flowport.cli.inputs import build_arguments
from flowport.cli.results import open_outputs, say_summary, show_result
from flowport.cli.session import Session, run_session
from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.text import clean_line
from flowport.media.input_files import MediaRules
from flowport.runs.batch.prepare import CSV, BatchRequest, InputRow, read_rows

_MAX_PATH: Final = 300


def run(given: dict[str, Any]) -> int:
    """Run an app, once or in variations."""
    return run_session(partial(_run, given=given), given)


def run_table(given: dict[str, Any]) -> int:
    """Run an app for each row of a table."""
    return run_session(partial(_run_table, given=given), given)


async def _run(session: Session, *, given: dict[str, Any]) -> ExitCode:
    view = await _start(session, given)
    code, outputs = await show_result(session, view, say_summary)
    if given["is_opened"]:
        open_outputs(str(view.facts["run_id"]), outputs)
    return code


async def _start(session: Session, given: dict[str, Any]) -> View:
    """Start a run, or a batch of variations, and return its answer at the end."""
    account, listing = await _fetch_app(session, given["app"])
    arguments = build_arguments(given["words"], listing, input_json=given["input_json"])
    if given["variations"] == 1:
        return await run_app(
            session.workspace, session, account, listing, arguments, is_new_wanted=given["is_new"], watcher=session
        )
    order = BatchRequest((InputRow("each", {}),), arguments, given["variations"])
    return await start_batch(
        session.workspace, session, account, listing, order, is_new_wanted=given["is_new"], watcher=session
    )


async def _fetch_app(session: Session, wanted: str) -> tuple[OpenCatalog, Listing]:
    """Return the app that is meant; in the demo the prefix of its tool may be left out."""
    workspace = session.workspace
    if not workspace.settings.providers:
        await workspace.wait_for_catalogues()
        wanted = name_app(workspace.get_listings(), wanted)
    return await session.fetch_app(wanted)


async def _run_table(session: Session, *, given: dict[str, Any]) -> ExitCode:
    workspace = session.workspace
    account, listing = await _fetch_app(session, given["app"])
    shared = build_arguments(given["words"], listing, input_json=None)
    table = {CSV: str(given["table"].expanduser().absolute())}
    try:
        rows, note = await read_rows(table, listing, MediaRules(workspace.settings.file_roots))
    except ArgumentsInvalid as exc:
        path = clean_line(str(given["table"]), limit=_MAX_PATH)
        named = (replace(one, argument=path) if one.argument == CSV else one for one in exc.problems)
        raise replace(exc, problems=tuple(named)) from exc
    order = BatchRequest(rows, shared, given["variations"], given["stop_after_failures"] or 0, CSV, note)
    view = await start_batch(
        workspace, session, account, listing, order, is_new_wanted=given["is_new"], watcher=session
    )
    code, _ = await show_result(session, view, say_summary)
    return code
