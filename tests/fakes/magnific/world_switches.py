"""The switches under `/_sandbox` by which tests change the provider itself: its form, its apps, its limit, its habits."""

from dataclasses import asdict, replace
from functools import partial
from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowport.sandbox.apps import OptionShape
from flowport.sandbox.web import Refused, get_message
from tests.fakes.magica.workflows import build_name
from tests.fakes.magnific.access import check_either_key
from tests.fakes.magnific.dialect import ErrorBodies, Style
from tests.fakes.magnific.state import SandboxState
from tests.fakes.magnific.switch_bodies import Switch, read_switch
from tests.fakes.magnific.webhooks import SecretReading, WebhookRules

MAX_APPS_AT_ONCE = 5000
_MAX_COPIES = 10
_MAX_LIMIT = 1_000_000


class _DialectSwitch(Switch):
    style: Style | None = None
    tool_metadata: bool | None = None
    key: bool | None = None
    api_key: bool | None = None
    options: OptionShape | None = None
    error_bodies: ErrorBodies | None = None


class _CatalogueSwitch(Switch):
    apps: int = Field(0, ge=0, le=MAX_APPS_AT_ONCE)
    rename: dict[str, str] = Field({})
    prices: dict[str, int] = Field({})
    require: dict[str, str] = Field({})
    delete: list[str] = Field([])
    order: list[str] = Field([])


class _LimitSwitch(Switch):
    requests_per_minute: int = Field(ge=0, le=_MAX_LIMIT)
    retry_after: bool = False


class _WebhookSwitch(Switch):
    secret_reading: SecretReading = SecretReading.TEXT
    copies: int = Field(1, ge=1, le=_MAX_COPIES)
    out_of_order: bool = False
    signed: bool = True
    lost: list[str] = Field([])
    delay_seconds: float = Field(0.0, ge=0, le=60)
    retry_seconds: list[float] = Field([])


class _UploadSwitch(Switch):
    expire_place: bool = False
    expire_asset: bool = False


def build_world_routes(state: SandboxState) -> list[Route]:
    """Build the routes of these switches. All need the key; none is counted, limited or subject to faults."""
    return [
        Route("/_sandbox/dialect", partial(_change_dialect, state), methods=["POST"]),
        Route("/_sandbox/catalogue", partial(_show_catalogue, state)),
        Route("/_sandbox/catalogue", partial(_change_catalogue, state), methods=["POST"]),
        Route("/_sandbox/limit", partial(_change_limit, state), methods=["POST"]),
        Route("/_sandbox/webhooks", partial(_show_webhooks, state)),
        Route("/_sandbox/webhooks", partial(_change_webhooks, state), methods=["POST"]),
        Route("/_sandbox/uploads/{upload_id}", partial(_show_upload, state)),
        Route("/_sandbox/uploads/{upload_id}", partial(_change_upload, state), methods=["POST"]),
    ]


async def _change_dialect(state: SandboxState, request: Request) -> Response:
    """Change what is named and leave the rest."""
    check_either_key(request, state.options.key, state.options.magica_key)
    switch = await read_switch(request, _DialectSwitch)
    fields = {
        "style": switch.style,
        "has_tool_metadata": switch.tool_metadata,
        "has_key": switch.key,
        "has_api_key": switch.api_key,
        "option_shape": switch.options,
        "error_bodies": switch.error_bodies,
    }
    changes: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    state.speech.dialect = replace(state.speech.dialect, **changes)
    return JSONResponse(asdict(state.speech.dialect))


async def _show_catalogue(state: SandboxState, request: Request) -> Response:
    check_either_key(request, state.options.key, state.options.magica_key)
    return JSONResponse(_build_catalogue(state))


async def _change_catalogue(state: SandboxState, request: Request) -> Response:
    """Make all changes that one body names, in the order in which they stand in `_CatalogueSwitch`."""
    check_either_key(request, state.options.key, state.options.magica_key)
    switch = await read_switch(request, _CatalogueSwitch)
    shelf = state.shelf
    # Before anything is changed: an unknown id must not leave half of the changes behind.
    for app_id in (*switch.rename, *switch.prices, *switch.require, *switch.delete, *switch.order):
        shelf.find(app_id)
    shelf.add_generated(switch.apps)
    shelf.rename(switch.rename)
    shelf.price(switch.prices)
    shelf.require(switch.require)
    shelf.delete(switch.delete)
    shelf.reorder([app_id for app_id in switch.order if app_id not in switch.delete])
    return JSONResponse(_build_catalogue(state))


def _build_catalogue(state: SandboxState) -> dict[str, Any]:
    apps = [
        {
            "id": app.id,
            "name": app.name,
            "cost_credits": app.cost_credits,
            "is_published": app.is_published,
            "is_own": app.is_own,
            "workflow": build_name(app),
        }
        for app in state.shelf.apps
    ]
    return {"apps": apps}


async def _change_limit(state: SandboxState, request: Request) -> Response:
    check_either_key(request, state.options.key, state.options.magica_key)
    switch = await read_switch(request, _LimitSwitch)
    state.traffic.set_limit(switch.requests_per_minute, reports_delay=switch.retry_after)
    state.magica.limits.set_limits(switch.requests_per_minute, None)
    return JSONResponse({})


async def _show_webhooks(state: SandboxState, request: Request) -> Response:
    """Return the secret, which the real provider shows in its dashboard, and what was delivered."""
    check_either_key(request, state.options.key, state.options.magica_key)
    deliveries = [asdict(delivery) for delivery in state.webhooks.deliveries]
    return JSONResponse({"secret": state.webhooks.secret, "deliveries": deliveries})


async def _change_webhooks(state: SandboxState, request: Request) -> Response:
    """Set how the runs that start from now on are reported of."""
    check_either_key(request, state.options.key, state.options.magica_key)
    switch = await read_switch(request, _WebhookSwitch)
    state.webhooks.rules = WebhookRules(
        switch.secret_reading,
        switch.copies,
        is_reversed=switch.out_of_order,
        is_signed=switch.signed,
        lost=frozenset(switch.lost),
        delay_seconds=switch.delay_seconds,
        retry_seconds=tuple(switch.retry_seconds),
    )
    return JSONResponse({})


async def _show_upload(state: SandboxState, request: Request) -> Response:
    """Check whether an upload's link still works."""
    check_either_key(request, state.options.key, state.options.magica_key)
    if not state.uploads.has(request.path_params["upload_id"]):
        raise Refused(404, get_message(404))
    return JSONResponse({})


async def _change_upload(state: SandboxState, request: Request) -> Response:
    check_either_key(request, state.options.key, state.options.magica_key)
    switch = await read_switch(request, _UploadSwitch)
    upload_id = request.path_params["upload_id"]
    if switch.expire_place:
        state.uploads.expire(upload_id, is_place=True)
    if switch.expire_asset:
        state.uploads.expire(upload_id, is_place=False)
    return JSONResponse({})
