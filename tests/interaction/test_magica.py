"""Flowport on the fake of Magica, in every variant that its API may have."""

from pathlib import Path
from typing import Any

import pytest

from flowport.domain.spending import SpendingLimits, UnknownPrice
from tests.fakes.client import build_photo, write
from tests.fakes.magica.client import MagicaClient
from tests.support.magica_face import MAGICA, PROMPT


async def run_picture(face: MagicaClient, folder: Path, **changes: Any) -> dict[str, Any]:
    """Run one app on Flowport and return the facts of the answer."""
    async with MAGICA.open(face.sandbox, folder / "person", **changes) as flowport:
        return await flowport.ask("text_to_picture", **PROMPT)


@pytest.mark.parametrize(
    "form",
    [
        *({"graph": graph} for graph in ("data.requestFields", "fields")),
        {"type_key": "nodeType"},
        {"field_key": "fieldId", "default_key": "default"},
        {"field_key": "name"},
        {"has_details": True},
        *({"lists": lists} for lists in ("items", "array", "cursor")),
        *({"runs": runs, "has_response": has} for runs in ("documented", "detailed") for has in (True, False)),
        *({"output_key": key, "has_response": False} for key in ("model", "output", "text", "content", "response")),
        *({"case": case} for case in ("lower", "capital")),
        {"queued": "PENDING"},
        {"graph": "missing"},
        {"graph": "none"},
    ],
    ids=str,
)
async def test_a_run_succeeds_in_every_api_variant(face: MagicaClient, tmp_path: Path, form: dict[str, Any]) -> None:
    """A run succeeds in each variant, because it is not documented which one is used."""
    await face.switch(**form)
    facts = await run_picture(face, tmp_path)
    assert (facts["state"], [output["kind"] for output in facts["outputs"]]) == ("succeeded", ["image"])
    assert (await face.count())["run"] == 1


@pytest.mark.parametrize("lists", ["paged", "cursor"])
async def test_every_page_of_a_list_is_read(face: MagicaClient, tmp_path: Path, lists: str) -> None:
    """Every page of a list is read, so no workflow is missing."""
    await face.switch(lists=lists)
    await face.sandbox.switch("catalogue", apps=130)
    async with MAGICA.open(face.sandbox, tmp_path / "person", max_tools=3) as flowport:
        found = await flowport.ask("find_apps")
    assert found["catalogues"][0]["apps"] >= 130


@pytest.mark.parametrize("word", ["CANCELED", "CANCELLED"])
async def test_both_spellings_of_a_cancelled_run_are_accepted(face: MagicaClient, tmp_path: Path, word: str) -> None:
    """Both spellings are accepted: the documentation has one, the provider's own interface the other."""
    await face.switch(cancelled=word)
    await face.sandbox.switch("next_run", status="cancelled")
    assert (await run_picture(face, tmp_path))["state"] == "cancelled"


@pytest.mark.parametrize("node_error", ["string", "object", "none"])
@pytest.mark.parametrize("failed", ["FAILED", "ERROR"])
async def test_a_failed_node_is_named(face: MagicaClient, tmp_path: Path, failed: str, node_error: str) -> None:
    """The failed node is named, because the user has to find it in the editor."""
    await face.switch(failed=failed, node_error=node_error)
    await face.sandbox.switch("next_run", status="failed", error_message="Node 'text_to_image' failed: too dark")
    facts = await run_picture(face, tmp_path)
    assert facts["state"] == "failed"
    assert "node text_to_image failed" in facts["failure"]
    assert ("too dark" in facts["failure"]) is (node_error != "none")


async def test_a_text_output_is_shown_and_no_link_in_it_is_fetched(face: MagicaClient, tmp_path: Path) -> None:
    """Links in a text output are not fetched, or its author would choose what we fetch."""
    await face.switch(is_text=True)
    facts = await run_picture(face, tmp_path)
    assert [output["kind"] for output in facts["outputs"]] == ["text"]
    assert (await face.count())["files"] == 0


async def test_a_file_is_uploaded_once_and_reused(face: MagicaClient, tmp_path: Path) -> None:
    """A file is uploaded once: `upload_file` returns a permanent address."""
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        photo = tmp_path / "person" / "cup.png"
        photo.write_bytes(write(build_photo()))
        for app in ("photo_to_pencil_sketch", "product_shots_half_of_them"):
            assert (await flowport.ask(app, your_photo=str(photo)))["outputs"]
    assert (await face.count())["upload"] == 1


@pytest.mark.parametrize("form", [{"missing_tools": ["upload_file"]}, {"has_mcp": False}], ids=str)
async def test_a_file_that_cannot_be_uploaded_is_refused_before_the_start(
    face: MagicaClient, tmp_path: Path, form: dict[str, Any]
) -> None:
    """Without uploads a run accepts only web addresses, and the refusal says so."""
    await face.switch(**form)
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        photo = tmp_path / "person" / "cup.png"
        photo.write_bytes(write(build_photo()))
        facts = await flowport.ask("photo_to_pencil_sketch", your_photo=str(photo))
        again = await flowport.ask("product_shots_half_of_them", your_photo=str(photo))
        linked = await flowport.ask("photo_to_pencil_sketch", your_photo="https://example.com/cup.png")
    assert (facts["state"], facts["credits"]) == ("failed", 0)
    server = "Magica's MCP server, by which files are uploaded,"
    why = f"{server} {'has no tool for it that could be used' if 'missing_tools' in form else 'does not answer'}"
    assert f"Magica takes web addresses alone, and it could not be uploaded there ({why}). " in facts["failure"]
    assert f"could not be uploaded there (not tried, within a day of an earlier refusal: {why}). " in again["failure"]
    assert "Give an https URL of it." in facts["failure"]
    assert linked["state"] in {"succeeded", "failed"}
    assert (await face.count())["run"] == 1


@pytest.mark.parametrize("status", [402, 403])
async def test_missing_credits_are_distinguished_from_a_wrong_key(
    face: MagicaClient, tmp_path: Path, status: int
) -> None:
    """The message asks for credits, because a new key would not help."""
    await face.switch(balance=1_000_000, insufficient_status=status)
    facts = await run_picture(face, tmp_path)
    assert (facts["state"], facts["credits"]) == ("failed", 0)
    assert (
        "Magica says that the account does not have enough credits. Add credits there and try again."
        in facts["failure"]
    )


@pytest.mark.parametrize("shape", ["full", "message", "nested", "error", "code", "raw", "empty"])
async def test_a_refusal_is_reported_in_every_error_format(face: MagicaClient, tmp_path: Path, shape: str) -> None:
    """Each error format is parsed, because the documented table is incomplete."""
    await face.switch(error_body=shape)
    await face.sandbox.switch("faults", operation="run", fault="status", status=404)
    facts = await run_picture(face, tmp_path)
    assert facts["failure"].startswith("Magica knows no such app.")
    assert ("Magica says:" in facts["failure"]) is (shape != "empty")


async def test_the_price_is_estimated_before_each_run(face: MagicaClient, tmp_path: Path) -> None:
    """The price is estimated before each run, because the listed price may be a day old."""
    async with MAGICA.open(
        face.sandbox, tmp_path / "person", spending_limits=SpendingLimits(max_credits_per_run=3)
    ) as flowport:
        await flowport.client.list_tools()
        await flowport.assembly.workspace.catalogs[0].catalog.wait_until_attempted(10)
        await face.sandbox.switch("catalogue", prices={"t2P6yGfJ0x": 9})
        refused = await flowport.ask("text_to_picture", **PROMPT)
    assert (refused["error"], (await face.count())["run"]) == ("RunCapReached", 0)
    assert "9 credits" in refused["message"]


@pytest.mark.parametrize("rule", UnknownPrice)
async def test_a_failed_estimate_is_an_unknown_price(face: MagicaClient, tmp_path: Path, rule: UnknownPrice) -> None:
    """A failed estimate falls under the user's rule for unknown prices."""
    await face.sandbox.switch("faults", operation="estimate", fault="status", times=1000)
    facts = await run_picture(face, tmp_path, spending_limits=SpendingLimits(unknown_price=rule))
    starts = (await face.count())["run"]
    if rule is UnknownPrice.ALLOW:
        assert (facts["state"], starts) == ("succeeded", 1)
    else:
        assert (facts["error"], starts) == (
            "PriceUnconfirmed" if rule is UnknownPrice.CONFIRM else "PriceUnknown",
            0,
        )


async def test_a_start_refused_for_its_inputs_refreshes_the_definition(face: MagicaClient, tmp_path: Path) -> None:
    """A 400 here means what other APIs report with 422."""
    await face.sandbox.switch("faults", operation="run", fault="status", status=400)
    facts = await run_picture(face, tmp_path)
    assert "Magica does not accept these inputs." in facts["failure"]
    assert "Flowport reads its definition again" in facts["failure"]


async def test_an_unavailable_balance_is_reported(face: MagicaClient, tmp_path: Path) -> None:
    """Flowport's own spending is reported without the provider's balance."""
    await face.sandbox.switch("faults", operation="balance", fault="status")
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        (account,) = (await flowport.ask("get_balance"))["accounts"]
    assert account["provider_balance"].startswith("Magica could not report the balance")
    assert account["spent_credits_24_hours"] == 0
