"""Accepting a run: its values checked, its price taken, its record kept."""

from typing import Any

import anyio.to_thread

from flowport.sandbox.apps import SandboxApp, Values
from tests.fakes.magica.credits import check_balance, get_price
from tests.fakes.magica.records import RunRecord, build_run_id
from tests.fakes.magica.values import parse_values
from tests.fakes.magica.webhooks import parse_webhook, watch
from tests.fakes.magica.workflows import Workflow
from tests.fakes.magnific.generated import find_texts
from tests.fakes.magnific.plans import build_plan
from tests.fakes.magnific.state import SandboxState


async def start_workflow(state: SandboxState, key: str, workflow: Workflow, values: Any, webhook: Any) -> str:
    """Start the run of a workflow and return its id; raises `Denied` for what is wrong with it."""
    parsed = await anyio.to_thread.run_sync(
        parse_values, workflow, values, state.creations, state.magica.dialect, limiter=state.limiter
    )
    return accept(state, key, workflow.app, parsed, workflow=workflow, webhook=webhook, given=values)


def accept(
    state: SandboxState,
    key: str,
    app: SandboxApp,
    values: Values,
    *,
    workflow: Workflow | None = None,
    node_type: str = "",
    webhook: Any = None,
    given: Any = None,
) -> str:
    """Take the price of a run and start it; raises `Denied` for a balance that is too small."""
    receiver = parse_webhook(webhook)
    price = get_price(app)
    check_balance(price, state.magica.get_balance(key), state.magica.dialect.insufficient_status)
    plan = build_plan(app, state.plans.take(app.id), state.options.speed)
    state.traffic.count_accepted(app.id)
    run = state.runs.accept(app, values, plan, build_run_id())
    text = _write_text(app, values)
    record = RunRecord(run.id, key, app, workflow, node_type, price, text, state.magica.clock(), given)
    state.magica.records.add(record)
    if receiver is not None:
        watch(state, record, receiver)
    return run.id


def _write_text(app: SandboxApp, values: Values) -> str:
    """Write what a node that writes makes of a run's texts, links that stand in them included."""
    said = find_texts(values)
    return "\n\n".join([f"{app.name}: a short synopsis.", *said])
