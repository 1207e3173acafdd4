"""Magica's face, loaded when the first request asks for it: a Flowport that has no key waits for the other face alone."""

import importlib
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from flowport.sandbox.state import SandboxState

MAGICA_PREFIX: Final = "/magica"
"""Under which the face lies, on the sandbox's own port."""

_FACE: Final = "flowport.sandbox.magica.face"


class LateFace:
    """The application that answers under the prefix."""

    def __init__(self, state: SandboxState) -> None:
        """Load nothing yet."""
        self._state = state
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, loading the face for the first one."""
        if self._app is None:
            self._app = importlib.import_module(_FACE).build_face(self._state)
        await self._app(scope, receive, send)
