"""Magica's face as one application; `late_face.py` loads it."""

from starlette.applications import Starlette

from tests.fakes.magica.answering import build_exception_handlers
from tests.fakes.magica.api import build_api_routes
from tests.fakes.magica.mcp import build_mcp_routes
from tests.fakes.magica.models import build_model_routes
from tests.fakes.magica.switches import build_magica_switch_routes
from tests.fakes.magnific.state import SandboxState
from tests.fakes.magnific.switches import build_switch_routes
from tests.fakes.magnific.world_switches import build_world_routes


def build_face(state: SandboxState) -> Starlette:
    """Build everything that lies under the face's path: the API, and the sandbox's switches once more."""
    routes = [
        *build_api_routes(state),
        *build_model_routes(state),
        *build_mcp_routes(state),
        *build_switch_routes(state),
        *build_world_routes(state),
        *build_magica_switch_routes(state),
    ]
    return Starlette(routes=routes, exception_handlers=build_exception_handlers(state))
