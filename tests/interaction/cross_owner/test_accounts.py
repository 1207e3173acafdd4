"""A token opens the accounts that it names; whatever else the server has is not there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp.shared.exceptions import MCPError

from tests.interaction.cross_owner.world import TOOL
from tests.support.harness import MODES, Mode
from tests.support.tenants import OWN_KEY, SHARED_KEY, Tenancy, get_facts, open_provider, open_tenancy


@pytest.fixture
async def tenancy(tmp_path: Path) -> AsyncIterator[Tenancy]:
    """Serve people with a shared key and a key of one's own."""
    async with (
        open_provider(SHARED_KEY, OWN_KEY) as (keyed, address),
        open_tenancy(keyed, address, tmp_path / "server") as opened,
    ):
        yield opened


@pytest.mark.parametrize("mode", MODES)
async def test_a_token_without_a_usable_account_offers_the_built_in_tools(tenancy: Tenancy, mode: Mode) -> None:
    """An app of an account that is not theirs answers like one that does not exist, and nothing fails for want of one."""
    await tenancy.get_headers("anna", account_ids=frozenset({"magica"}))
    anna, bert = await tenancy.connect("anna", mode), await tenancy.connect("bert", mode)
    names = {tool.name for tool in (await anna.list_tools()).tools}
    everything = {tool.name for tool in (await bert.list_tools()).tools}
    found = get_facts(await anna.call_tool("find_apps", {"query": "picture"}))
    balance = await anna.call_tool("get_balance", {})
    for tool in (TOOL, "no_such_tool"):
        with pytest.raises(MCPError, match=f"Unknown tool: .*{tool}"):
            await anna.call_tool(tool, {"prompt": "a lake"})
    refused = [await anna.call_tool("run_app", {"app": app}) for app in (TOOL, "no_such_tool")]

    assert names < everything
    assert TOOL in everything - names
    assert found["apps"] == []
    assert not balance.is_error
    texts = {str(one.structured_content or one.content).replace(TOOL, "no_such_tool") for one in refused}
    assert len(texts) == 1


@pytest.mark.parametrize("named", ["a provider", "an id"])
async def test_a_token_that_names_an_account_offers_its_apps(tenancy: Tenancy, named: str) -> None:
    """A token may name a provider, whichever key the server has for it later."""
    (shared,) = tenancy.assembly.tenants.account_ids
    await tenancy.get_headers("anna", account_ids=frozenset({"magnific" if named == "a provider" else shared}))
    client = await tenancy.connect("anna")
    facts = get_facts(await client.call_tool(TOOL, {"prompt": "a lake"}))

    assert facts["state"] == "succeeded"


async def test_a_token_never_opens_the_account_of_another_persons_key(tenancy: Tenancy) -> None:
    """It is there while that person works, and its provider's name is that of a shared account."""
    own = await tenancy.assembly.tenants.open_own_account("magnific", OWN_KEY, "anna")
    tenancy.provider.seen.clear()
    await tenancy.get_headers("anna", account_ids=frozenset({own}))
    await tenancy.get_headers("bert", account_ids=frozenset({"magnific"}))
    anna, bert = await tenancy.connect("anna"), await tenancy.connect("bert")
    tools = {tool.name for tool in (await anna.list_tools()).tools}
    await bert.call_tool(TOOL, {"prompt": "a lake"})
    workspaces = [one.catalogs for one in tenancy.assembly.tenants._by_accounts.values()]

    assert TOOL not in tools
    assert all(one.account.account.id != own for catalogs in workspaces for one in catalogs)
