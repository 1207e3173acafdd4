"""Check the request checker that all tests use."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.client import IDS
from tests.fakes.client import Client as SandboxClient
from tests.support.harness import open_harness
from tests.support.official_requests import RequestChecker, find_problem

RUN = f"/v1/ai/flows/{IDS['Retro Poster']}/run"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (RUN, {"inputs": {"photo": "abc", "title": True}}),
        (RUN, {"inputs": {"photo": "abc", "title": 3}}),
        (RUN, {"inputs": {"photo": {"url": "https://a.example/b"}}}),
        (RUN, {"inputs": {"photo": ["abc"]}}),
        (RUN, {"inputs": {"other": None}}),
        (RUN, {"inputs": {"other": [1]}}),
        (RUN, {"values": {}}),
        (RUN, {"inputs": {}, "webhook_url": "https://a.example"}),
        ("/v1/ai/uploads/request-url", {"files": []}),
        ("/v1/ai/uploads/request-url", {"files": [{"content_type": "image/gif"}]}),
        ("/v1/ai/uploads/request-url", {"files": [{"content_type": "image/png"}] * 15}),
        ("/v1/runs", {"values": {}}),
        ("/v1/runs", {"workflowId": "wf", "values": {"node": "text"}}),
        ("/v1/runs/batch", {"ids": "run_1"}),
        ("/v1/somewhere/else", {}),
    ],
)
def test_what_no_document_allows_is_found(path: str, body: dict[str, Any]) -> None:
    """A value of another type, an unknown member and an invented path are found."""
    assert find_problem("POST", path, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (RUN, {"inputs": {"photo": "abc", "title": "Summer"}}),
        (RUN, {"inputs": {"other": 2.5, "more": ["a", "b"]}, "webhook": "https://a.example"}),
        ("/v1/ai/uploads/request-url", {"files": [{"content_type": "audio/ogg"}]}),
        ("/v1/runs", {"workflowId": "wf", "values": {"node_1": {"text": "a llama"}}}),
    ],
)
def test_what_the_documents_show_passes(path: str, body: dict[str, Any]) -> None:
    """The documentation's own examples pass."""
    assert find_problem("POST", path, json.dumps(body).encode()) == ""


async def test_the_check_sees_the_requests_of_a_whole_flowport(
    sandbox: SandboxClient, tmp_path: Path, request_checker: RequestChecker
) -> None:
    """A checker that sees no request would accept everything."""
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        assert (await flowport.ask("text_to_picture", prompt="a lake"))["state"] == "succeeded"
    assert {"/v1/ai/flows", f"/v1/ai/flows/{IDS['Text to Picture']}/run"} <= request_checker.paths
