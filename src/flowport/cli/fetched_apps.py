"""Read apps from their providers for a command whose list on disk is missing or too old."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from flowport.actions.find_apps import get_known_apps, refresh_catalogues
from flowport.cli.cached_apps import SANDBOX_TITLE, Apps, name_app
from flowport.cli.console import ExitCode, say
from flowport.cli.session import Session, run_session
from flowport.domain.call_errors import AppNotFound


def fetch_apps(
    given: dict[str, Any], show: Callable[[Apps], ExitCode], *, wanted: str = "", is_refreshed: bool = False
) -> int:
    """Show the apps of every account, after the providers were asked.

    Args:
        wanted: An app whose inputs are read first; empty for none.
        is_refreshed: Whether they are asked although a list is on disk.
    """
    return run_session(partial(_fetch, show=show, wanted=wanted, is_refreshed=is_refreshed), given)


async def _fetch(session: Session, *, show: Callable[[Apps], ExitCode], wanted: str, is_refreshed: bool) -> ExitCode:
    workspace = session.workspace
    session.progress.update("asking the provider for its apps")
    await workspace.wait_for_catalogues()
    if is_refreshed:
        await refresh_catalogues(workspace)
    if wanted:
        await session.fetch_app(name_app(workspace.get_listings(), wanted))
    session.progress.pause()
    problem = workspace.get_catalogue_problem()
    currents = [one.catalog.current for one in workspace.catalogs]
    apps = [app for one in workspace.catalogs for app in await get_known_apps(workspace, one)]
    if not workspace.settings.providers:
        apps = [replace(one, provider=SANDBOX_TITLE) for one in apps]
    unusable = tuple((item.app_name or item.app_id, item.reason) for one in currents for item in one.left_out)
    listed_at = [one.listed_at for one in currents if one.listed_at is not None]
    if problem and not apps:
        raise AppNotFound(wanted, (), catalogue_problem=problem)
    if problem:
        say(problem, style="yellow")
    return show(Apps(tuple(apps), unusable, min(listed_at, default=None)))
