"""Answer whether the process lives, and whether it can do its work: `/healthz` and `/readyz`."""

import json
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowport.domain.errors import StoreError
from flowport.web.site import SAFE_HEADERS, Site

HEALTH_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Served to the end of the process, and under any Host: programs ask there that know no name of the server."""

_NOT_READY: Final = 503


def build_health_routes(site: Site) -> list[Route]:
    """Return the routes of both questions. The answers name no person, run, path or key."""

    async def answer_health(_: Request) -> Response:
        return _answer({"status": "ok"})

    async def answer_readiness(_: Request) -> Response:
        problems = await find_problems(site)
        if problems:
            return _answer({"status": "not ready", "problems": problems}, _NOT_READY)
        return _answer({"status": "ready"})

    return [Route("/healthz", answer_health), Route("/readyz", answer_readiness)]


async def find_problems(site: Site) -> list[str]:
    """Return why the server cannot do its work, each as a sentence; empty when it can."""
    problems = []
    if site.end.begun.is_set():
        problems.append("Flowport is shutting down.")
    workspace = site.tenants.shared
    try:
        await workspace.store.check_writable()
    except StoreError:
        # The error names paths of this computer.
        problems.append("The store of runs cannot be written. The log says why.")
    unknown = sum(not one.catalog.is_ready for one in workspace.catalogs)
    if unknown:
        problems.append(f"The catalogue of {unknown} of {len(workspace.catalogs)} accounts is not known yet.")
    return problems


def _answer(facts: object, status: int = 200) -> Response:
    return Response(json.dumps(facts), status, media_type="application/json", headers=SAFE_HEADERS)
