"""Several of Magica's runs in one request. Pure.

Source: the page "Batch get runs" of the API reference (magica.com/docs/api-reference/runs/batch-get) has the path alone. What
goes there and what comes back is told by the same page under Magica's earlier name, Galaxy.ai
(galaxy.ai/docs/api-reference/runs/batch-get): `ids`, at least one, lead to `runs`, each with `nodeRuns`. How many ids are
taken, and what becomes of one that is not found, no page tells.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from flowport.domain.errors import Operation, ProviderBroken
from flowport.domain.models import RunState
from flowport.providers.interface import ApiAnswer, ApiRequest, RunStatus
from flowport.providers.magica.answers import parse_body
from flowport.providers.magica.outputs import parse_run

MAX_TOLD: Final = 1000
"""An answer with more runs is about something else than what was asked."""


class MagicaBulkStatus:
    """Magica's `POST /v1/runs/batch`."""

    most = 20  # no figure is published; each run comes with all that its nodes took and made

    def __init__(self, title: str) -> None:
        self._title = title

    def build_request(self, provider_run_ids: Sequence[str]) -> ApiRequest:
        """Return the request that names the runs."""
        return ApiRequest(Operation.READ_RUNS, "POST", "/v1/runs/batch", {"ids": [*provider_run_ids]})

    def parse(self, answer: ApiAnswer, provider_run_ids: Sequence[str], *, now: float) -> Mapping[str, RunStatus]:
        """Return the runs that go on, and those that ended well with what they made.

        Any other end is left out: a run's own address has its `response` and its reason, which are not listed here. So is a
        state that nobody has heard of; it may say that there is no such run.
        """
        body = parse_body(self._title, Operation.READ_RUNS, answer)
        runs = body.get("runs") if isinstance(body, dict) else None
        if not isinstance(runs, list) or len(runs) > MAX_TOLD:
            raise self._build_broken(answer, "its answer is no list of the runs")
        looks = {
            run_id: parse_run(run, now=now) for run_id, run in _find_runs(runs, frozenset(provider_run_ids)).items()
        }
        told = {run_id: look for run_id, look in looks.items() if look is not None}
        if not told:
            raise self._build_broken(answer, "its answer describes none of the runs")
        return {run_id: look for run_id, look in told.items() if _is_whole(look)}

    def _build_broken(self, answer: ApiAnswer, problem: str) -> ProviderBroken:
        return ProviderBroken(self._title, Operation.READ_RUNS, answer.status, problem)


def _find_runs(runs: Sequence[Any], wanted: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """Return the runs that were asked for; of one that is told twice nobody can say which account of it holds."""
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


def _is_whole(look: RunStatus) -> bool:
    is_good = look.state is RunState.SUCCEEDED and bool(look.outputs)
    return is_good or not (look.state.is_final or look.unheard_status)
