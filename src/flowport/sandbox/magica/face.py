"""Magica's face as one application, under a path of its own on the sandbox's port."""

from typing import Final

from starlette.applications import Starlette
from starlette.routing import Mount

from flowport.sandbox.magica.answering import build_exception_handlers
from flowport.sandbox.magica.api import build_api_routes
from flowport.sandbox.magica.mcp import build_mcp_routes
from flowport.sandbox.magica.models import build_model_routes
from flowport.sandbox.magica.switches import build_magica_switch_routes
from flowport.sandbox.state import SandboxState
from flowport.sandbox.switches import build_switch_routes
from flowport.sandbox.world_switches import build_world_routes

PREFIX: Final = "/magica"


def build_magica_mount(state: SandboxState) -> Mount:
    """Build everything that lies under the prefix: the API, and the sandbox's switches once more."""
    routes = [
        *build_api_routes(state),
        *build_model_routes(state),
        *build_mcp_routes(state),
        *build_switch_routes(state),
        *build_world_routes(state),
        *build_magica_switch_routes(state),
    ]
    return Mount(PREFIX, app=Starlette(routes=routes, exception_handlers=build_exception_handlers(state)))
