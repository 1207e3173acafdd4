"""What no operation has answered."""

import json

import pytest
from starlette.requests import Request

from tests.fakes.client import KEY
from tests.fakes.magica.answering import build_exception_handlers
from tests.fakes.magica.client import MagicaClient
from tests.fakes.magica.dialect import FIRST
from tests.fakes.magnific.state import SandboxState


class State:
    """As much of a sandbox as a refusal needs."""

    class magica:  # noqa: N801 - an attribute
        """Its Magica face."""

        dialect = FIRST


@pytest.mark.parametrize(("error", "status"), [(ValueError("secret"), 500)])
async def test_a_mistake_of_ours_says_nothing_of_itself(error: Exception, status: int) -> None:
    """Anything not raised on purpose is a 500 in the face's own shape."""
    state: SandboxState = State()  # type: ignore[assignment]  # one attribute is enough
    answer = await build_exception_handlers(state)[Exception](Request({"type": "http"}), error)
    reported = json.loads(bytes(answer.body))
    assert (answer.status_code, reported["code"], "secret" in str(reported)) == (status, "INTERNAL_SERVER_ERROR", False)


async def test_a_key_of_the_other_provider_is_not_a_key_here(magica: MagicaClient) -> None:
    """Each face has its own way of being asked."""
    answer = await magica.sandbox.http.get("/magica/v1/workflows", headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 401
