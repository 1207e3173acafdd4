"""The official TypeScript SDK signs in at the issuer of a server; the Python one does in `tests/web/test_oauth_http.py`."""

import json
import subprocess
from pathlib import Path

import anyio
import pytest

from tests.support.oauth_issuer import open_issuer
from tests.verify.test_clients import MODULES, find_node
from tests.web.test_oauth_http import start_server

SCRIPT = MODULES.parent / "sign_in.mjs"

pytestmark = pytest.mark.verify


@pytest.mark.parametrize("kind", ["v1", "v2-legacy", "v2-modern"])
async def test_the_typescript_client_signs_in_and_runs_an_app(tmp_path: Path, kind: str) -> None:
    """It knows the server's address alone, as a person types it into a client."""
    async with open_issuer() as issuer:
        settings = {"FLOWPORT_OAUTH_ISSUER": issuer.url, "FLOWPORT_OAUTH_SCOPES": "flowport"}
        async with start_server(tmp_path / "f", **settings) as (_, url):
            command = [str(find_node()), str(SCRIPT), kind, url, "sandbox_text_to_picture"]
            done = await anyio.run_process(command, check=False, stderr=subprocess.STDOUT)

    assert done.returncode == 0, done.stdout.decode()
    assert json.loads(done.stdout) == {"refused": "UnauthorizedError", "state": "succeeded"}
    assert (issuer.requests["/register"], issuer.requests["/token"]) == (1, 1)
