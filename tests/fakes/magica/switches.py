"""The switch by which tests change Magica's face: the form of its API, its balances, its keys."""

from dataclasses import asdict, fields, replace
from functools import partial

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.magica.dialect import (
    Case,
    DefaultKey,
    ErrorBody,
    FieldKey,
    GraphShape,
    ListShape,
    MagicaDialect,
    NodeError,
    OutputKey,
    RunListForm,
    RunShape,
    TypeKey,
)
from tests.fakes.magnific.access import check_either_key
from tests.fakes.magnific.state import SandboxState
from tests.fakes.magnific.switch_bodies import Switch, read_switch

_MAX_LIMIT = 1_000_000


class _MagicaSwitch(Switch):
    """The fields of `MagicaDialect`, and what else can be changed; what is left out stays."""

    graph: GraphShape | None = None
    type_key: TypeKey | None = None
    field_key: FieldKey | None = None
    default_key: DefaultKey | None = None
    has_details: bool | None = None
    has_all_types: bool | None = None
    lists: ListShape | None = None
    runs: RunShape | None = None
    case: Case | None = None
    cancelled: str | None = Field(None, pattern="^CANCELL?ED$")
    failed: str | None = Field(None, pattern="^(FAILED|ERROR)$")
    queued: str | None = Field(None, pattern="^(QUEUED|RUNNING|PENDING)$")
    output_key: OutputKey | None = None
    has_response: bool | None = None
    is_text: bool | None = None
    node_error: NodeError | None = None
    error_body: ErrorBody | None = None
    insufficient_status: int | None = Field(None, ge=402, le=403)
    has_cancel: bool | None = None
    has_batch: bool | None = None
    has_mcp: bool | None = None
    has_dry_run: bool | None = None
    missing_tools: tuple[str, ...] | None = None
    run_list: RunListForm | None = None

    balance: int | None = Field(None, ge=0)
    """In microcredits, for every key, whatever it has spent before."""
    keys: tuple[str, ...] = ()
    """More keys to accept, each an account of its own."""
    requests_per_minute: int | None = Field(None, ge=0, le=_MAX_LIMIT)
    requests_per_day: int | None = Field(None, ge=0, le=_MAX_LIMIT)


def build_magica_switch_routes(state: SandboxState) -> list[Route]:
    """Build the route of this switch. It needs a key; it is neither counted nor limited nor subject to faults."""
    return [
        Route("/_sandbox/magica", partial(_show, state)),
        Route("/_sandbox/magica", partial(_change, state), methods=["POST"]),
    ]


async def _show(state: SandboxState, request: Request) -> Response:
    """Return the form that is spoken now."""
    check_either_key(request, state.options.key, state.options.magica_key)
    return JSONResponse(asdict(state.magica.dialect))


async def _change(state: SandboxState, request: Request) -> Response:
    """Change what is named and leave the rest."""
    check_either_key(request, state.options.key, state.options.magica_key)
    switch = await read_switch(request, _MagicaSwitch)
    reported = {field.name: getattr(switch, field.name) for field in fields(MagicaDialect)}
    magica = state.magica
    magica.dialect = replace(magica.dialect, **{name: value for name, value in reported.items() if value is not None})
    magica.accounts.add(switch.keys)
    if switch.balance is not None:
        magica.set_balance(switch.balance)
    magica.limits.set_limits(switch.requests_per_minute, switch.requests_per_day)
    return JSONResponse(asdict(magica.dialect))
