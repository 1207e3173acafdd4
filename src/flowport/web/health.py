"""Answer whether the process lives, and whether it can do its work: `/healthz` and `/readyz`."""

import json
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowport.domain.errors import StoreError
from flowport.web.site import SAFE_HEADERS, Site
from flowport.web.team import NO_DATABASE, NOT_WORKING

HEALTH_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Served to the end of the process, and under any Host: programs ask there that know no name of the server."""

_NOT_READY: Final = 503


def build_health_routes(site: Site) -> list[Route]:
    """Return the routes of both questions. The answers name no person, run, path or key."""

    async def answer_health(_: Request) -> Response:
        return _answer({"status": "ok"})

    async def answer_readiness(_: Request) -> Response:
        found = await find_problems(site)
        if found.problems:
            return _answer({"status": "not ready", **found.build_facts()}, _NOT_READY)
        return _answer({"status": "ready", **found.build_facts()})

    return [Route("/healthz", answer_health), Route("/readyz", answer_readiness)]


@dataclass(slots=True)
class Readiness:
    """What was found wrong, each as a sentence, by the part that it is about."""

    problems: dict[str, str] = field(default_factory=dict)
    """Why the server cannot do its work."""
    warnings: list[str] = field(default_factory=list)
    """What is wrong beside it, while it can accept and answer."""

    def build_facts(self) -> dict[str, object]:
        """Return what the answer says of it."""
        problems, parts = list(self.problems.values()), list(self.problems)
        facts: dict[str, object] = {"problems": problems, "parts": parts, "warnings": self.warnings}
        return {name: found for name, found in facts.items() if found}


async def find_problems(site: Site) -> Readiness:
    """Return why the server cannot do its work, and what else is wrong."""
    found = Readiness()
    if site.end.begun.is_set():
        found.problems["process"] = "Flowport is shutting down."
    workspace = site.tenants.shared
    if site.team is None:
        try:
            await workspace.store.check_writable()
        except StoreError:
            # The error names paths of this computer.
            found.problems["store"] = "The store of runs cannot be written. The log says why."
    elif (state := await site.team.find_state()) is None:
        found.problems["database"] = NO_DATABASE
    else:
        found.warnings += site.team.find_warnings(state)
        if site.is_worker and not site.team.cluster.jobs.is_taking_jobs:
            found.problems["worker"] = NOT_WORKING
    unknown = sum(not one.catalog.is_ready for one in workspace.catalogs)
    if unknown:
        sentence = f"The catalogue of {unknown} of {len(workspace.catalogs)} accounts is not known yet."
        found.problems["catalogue"] = sentence
    return found


def _answer(facts: object, status: int = 200) -> Response:
    return Response(json.dumps(facts), status, media_type="application/json", headers=SAFE_HEADERS)
