"""When Magica's face is loaded."""

import subprocess
import sys

from .client import KEY, open_sandbox


def test_a_sandbox_starts_without_magica_s_face() -> None:
    """The first list of a Flowport without a key waits for its start."""
    code = "import sys, flowport.cli.sandbox; print('flowport.sandbox.magica.face' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


async def test_the_first_request_and_those_after_it_are_answered() -> None:
    """By one and the same face, which keeps what it was told."""
    async with open_sandbox() as client:
        headers = {"authorization": f"Bearer gx_{KEY}"}
        changed = await client.http.post("/magica/_sandbox/magica", headers=headers, json={"balance": 5})
        balance = await client.http.get("/magica/v1/credits/balance", headers=headers)
    assert (changed.status_code, balance.json()["availableBalance"]) == (200, 5)
