"""A provider that refuses single inputs: the answer names each by the argument that the caller gave."""

import json
from pathlib import Path

import pytest

from tests.fakes.client import Client as SandboxClient
from tests.support.harness import open_harness


@pytest.mark.parametrize("status", [400, 422])
async def test_the_answer_names_the_argument_at_fault(sandbox: SandboxClient, tmp_path: Path, status: int) -> None:
    """The answer uses the tool's argument names: the provider's own names are in no schema that the caller has."""
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        await flowport.client.list_tools()
        (catalog,) = flowport.assembly.workspace.catalogs
        await catalog.catalog.wait_until_attempted(10)
        listing = catalog.catalog.get_listing("text_to_picture")
        ids = {name: input_id for input_id, name in listing.property_names.items()}
        flaws = [
            {"name": f"inputs.{ids['prompt']}", "reason": "is not allowed"},
            {"field": f"inputs.{ids['shape']}", "reason": "Unknown"},
        ]
        body = json.dumps({"message": "Validation error", "invalid_params": flaws})
        await sandbox.switch("faults", operation="run", fault="status", status=status, body=body)
        facts = await flowport.ask("text_to_picture", prompt="a lake")
    assert facts["state"] == "failed"
    assert 'says: "Validation error; prompt is not allowed; shape: Unknown"' in facts["failure"]
