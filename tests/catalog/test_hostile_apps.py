"""The laws of the published tools, against a Magnific that describes its apps in any way at all."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flowport.catalog.names import RESERVED_NAMES
from flowport.domain.errors import Operation
from flowport.providers.interface import ApiRequest
from tests.catalog.benches import build_bench
from tests.catalog.samples import Store
from tests.support.app_builders import JSON_VALUES, WILD_TEXT
from tests.support.scripted import FaultyStore, build_answer

WILD_INPUTS = st.fixed_dictionaries(
    {"id": WILD_TEXT | st.sampled_from(["in-1", "in-2"])},
    optional={
        "api_key": WILD_TEXT | JSON_VALUES,
        "key": WILD_TEXT,
        "type": WILD_TEXT | st.sampled_from(["text", "number", "select", "creation", "list", "boolean"]),
        "label": WILD_TEXT | JSON_VALUES,
        "config": st.fixed_dictionaries({}, optional={"options": JSON_VALUES, "mediaType": WILD_TEXT}) | JSON_VALUES,
        "default": JSON_VALUES,
        "required": st.booleans() | JSON_VALUES,
    },
)
WILD_FLOWS = st.lists(
    st.fixed_dictionaries(
        {"sqid": WILD_TEXT | st.sampled_from(["a1", "a2", "a/../b", ".."])},
        optional={"name": WILD_TEXT | JSON_VALUES, "tool_metadata": st.none() | JSON_VALUES},
    ),
    max_size=4,
)
WILD_DEFINITIONS = st.lists(st.lists(WILD_INPUTS, max_size=4) | JSON_VALUES, max_size=4)


def iterate_schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a schema and all that it holds."""
    yield schema
    for part in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        yield from iterate_schemas(part)


def check_tool(tool: dict[str, Any]) -> None:
    """Hold a tool against the laws that clients count on."""
    schema = tool["inputSchema"]
    Draft202012Validator.check_schema(schema)
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,39}", tool["name"])
    assert tool["name"] not in RESERVED_NAMES
    assert (schema["type"], "additionalProperties" in schema) == ("object", False)
    for part in iterate_schemas(schema):
        assert not {"$ref", "anyOf", "oneOf", "allOf"} & set(part)
        assert part["type"] != "array" or "items" in part
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name) for name in schema["properties"])
    assert set(schema.get("required", [])) <= set(schema["properties"])
    assert len(json.dumps(tool["description"]).encode()) < 2048


@given(own=WILD_FLOWS, published=WILD_FLOWS, definitions=WILD_DEFINITIONS)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_builders_make_the_published_tools_keep_the_laws(
    *, tmp_path_factory: pytest.TempPathFactory, own: Any, published: Any, definitions: Any
) -> None:
    """Some clients reject the whole list for one odd tool, so no flow on earth may make one."""
    folder = tmp_path_factory.mktemp("wild")
    store = FaultyStore(folder / "store.sqlite3")
    cache_store = Wild(own, published, definitions)
    bench = build_bench(store, folder, cache_store)
    for _ in range(2):
        assert await bench.catalog.refresh(), bench.catalog.problem
    for tool in bench.tools:
        check_tool(dict(tool))
    later = build_bench(store, folder, cache_store)
    assert await later.catalog.load()
    assert repr(later.tools) == repr(bench.tools)
    await store.close()


class Wild(Store):
    """A Magnific that describes its apps in any way at all."""

    def __init__(self, own: Any, published: Any, definitions: Any) -> None:
        super().__init__(*published, own=tuple(own))
        self.definitions = definitions

    def __call__(self, request: ApiRequest) -> Any:
        """Answer lists as they are and definitions with whatever comes next."""
        if request.operation is Operation.LIST_APPS:
            return super().__call__(request)
        app_id = unquote(request.path.removeprefix("/v1/ai/flows/"), errors="surrogatepass")
        n = sum(map(ord, app_id))
        inputs = self.definitions[n % len(self.definitions)] if self.definitions else []
        return build_answer({"data": {"sqid": app_id, "inputs": inputs}})
