"""Several of Magica's runs in one request. Pure.

Source: the page "Batch get runs" of the API reference (magica.com/docs/api-reference/runs/batch-get) has the path alone. What
is sent and returned is on the same page under Magica's earlier name, Galaxy.ai
(galaxy.ai/docs/api-reference/runs/batch-get): `ids`, at least one, lead to `runs`, each with `nodeRuns`. How many ids are
taken, and what happens to one that is not found, is not documented.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from flowport.domain.errors import Operation
from flowport.domain.models import RunState
from flowport.providers.interface import ApiAnswer, ApiRequest, RunStatus
from flowport.providers.magica.answers import READER
from flowport.providers.magica.outputs import parse_run

MAX_LISTED_RUNS: Final = 1000
"""An answer with more runs is about something else than what was asked."""


class MagicaBulkStatus:
    """Magica's `POST /v1/runs/batch`."""

    most = 20  # no figure is published; each run comes with all that its nodes took and made

    def build_request(self, provider_run_ids: Sequence[str]) -> ApiRequest:
        """Return the request that names the runs."""
        return ApiRequest(Operation.READ_RUNS, "POST", "/v1/runs/batch", {"ids": [*provider_run_ids]})

    def parse(self, answer: ApiAnswer, provider_run_ids: Sequence[str], *, now: float) -> Mapping[str, RunStatus]:
        """Return the runs that go on, and those that ended well with what they made.

        Any other end is left out: a run's own address has its `response` and its reason, which are not listed here. So is a
        state that is not known; it may say that there is no such run.
        """
        body = READER.parse_body(answer, Operation.READ_RUNS)
        runs = body.get("runs") if isinstance(body, dict) else None
        if not isinstance(runs, list) or len(runs) > MAX_LISTED_RUNS:
            raise READER.build_broken(answer, Operation.READ_RUNS, "its answer is not a list of the runs")
        statuses = {
            run_id: parse_run(run, now=now) for run_id, run in _find_runs(runs, frozenset(provider_run_ids)).items()
        }
        described = {run_id: status for run_id, status in statuses.items() if status is not None}
        if not described:
            raise READER.build_broken(answer, Operation.READ_RUNS, "its answer describes none of the runs")
        return {run_id: status for run_id, status in described.items() if _is_whole(status)}


def _find_runs(runs: Sequence[Any], wanted: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """Return the runs that were asked for; one that is listed twice is left out, since either entry may be wrong."""
    found: dict[str, Mapping[str, Any]] = {}
    repeated: set[str] = set()
    for run in runs:
        run_id = _find_id(run) if isinstance(run, dict) else ""
        if run_id not in wanted:
            continue
        if run_id in found:
            repeated.add(run_id)
        found[run_id] = run
    return {run_id: run for run_id, run in found.items() if run_id not in repeated}


def _find_id(run: Mapping[str, Any]) -> str:
    """Return the run's only id; empty when it has none, or two that differ, of which one is another run's."""
    named = [one for one in (run.get("id"), run.get("runId")) if one is not None]
    return named[0] if named and isinstance(named[0], str) and named == named[:1] * len(named) else ""


def _is_whole(status: RunStatus) -> bool:
    is_good = status.state is RunState.SUCCEEDED and bool(status.outputs)
    return is_good or not (status.state.is_final or status.unknown_status)
