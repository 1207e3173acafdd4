"""Names that are given once."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pytest

from flowport.store.interface import Store
from flowport.store.records import BuildPropertyNames
from tests.store.samples import finish_child, start_child

SCOPE = "magnific:api.example"


def build_name(app_name: str, app_key: str, taken: Collection[str]) -> str:
    """Return the app's name, with the first free number behind it."""
    return next(name for n in range(1000) if (name := f"{app_name}_{n}") not in taken)


def build_from(*input_ids: str) -> BuildPropertyNames:
    """Return a function that names inputs by their ids."""
    return lambda frozen: {input_id: f"{input_id}_name" for input_id in input_ids}


async def assign(store: Store, *app_ids: str, scope: str = SCOPE) -> dict[str, str]:
    """Name apps that are all called alike."""
    return await store.assign_tool_names(scope, apps=[(app_id, "cat") for app_id in app_ids], build_name=build_name)


async def test_names_are_given_in_order(store: Store) -> None:
    """The provider's order decides which of two namesakes gets the plain name."""
    assert await assign(store, "x", "a") == {"x": "cat_0", "a": "cat_1"}


async def test_a_name_stays_with_its_app(store: Store) -> None:
    """A name that passed to another app would run, and bill, what was not meant."""
    await assign(store, "x")
    assert await assign(store, "y") == {"y": "cat_1"}
    assert await assign(store, "y", "x") == {"y": "cat_1", "x": "cat_0"}


async def test_a_name_outlives_the_process(store: Store, open_store: Callable[[], Store]) -> None:
    """People have prompts that say it."""
    await assign(store, "x")
    later = open_store()
    assert await assign(later, "y", "x") == {"y": "cat_1", "x": "cat_0"}


async def test_two_scopes_share_the_names(store: Store) -> None:
    """All of them stand in one list of tools, so the same id elsewhere is another app with another name."""
    await assign(store, "x")
    assert await assign(store, "x", scope="magica:api.example") == {"x": "cat_1"}


async def test_an_app_that_is_listed_twice_has_one_name(store: Store) -> None:
    """A provider's pages may overlap."""
    assert await assign(store, "x", "x") == {"x": "cat_0"}


async def test_the_namer_is_told_the_key_and_the_names_given(store: Store) -> None:
    """It tells namesakes apart by the key, in the same way on every machine."""
    told: list[tuple[str, str, list[str]]] = []

    def note(app_name: str, app_key: str, taken: Collection[str]) -> str:
        """Remember what was told."""
        told.append((app_name, app_key, sorted(taken)))
        return app_key[-1]

    await store.assign_tool_names(SCOPE, apps=[("x", "Cat"), ("y", "Dog")], build_name=note)
    assert told == [("Cat", f"{SCOPE}/x", []), ("Dog", f"{SCOPE}/y", ["x"])]


async def test_a_taken_name_is_refused_and_none_is_given(store: Store) -> None:
    """Better no list than one where two tools are one."""
    with pytest.raises(ValueError, match="the name 'same' is taken"):
        await store.assign_tool_names(SCOPE, apps=[("x", ""), ("y", "")], build_name=lambda *_: "same")
    assert await store.assign_tool_names(SCOPE, apps=[("y", "")], build_name=lambda *_: "same") == {"y": "same"}


async def test_inputs_are_named_app_by_app(store: Store) -> None:
    """Two apps may have the same property names, and no app has to have any."""
    named = await store.assign_property_names(
        SCOPE, apps=[("x", build_from("i", "j")), ("y", build_from("i")), ("z", build_from())]
    )
    assert named == {"x": {"i": "i_name", "j": "j_name"}, "y": {"i": "i_name"}, "z": {}}


async def test_a_property_keeps_its_first_name(store: Store) -> None:
    """A builder who renames a label must not break the prompts that people have saved."""
    await store.assign_property_names(SCOPE, apps=[("x", build_from("i"))])
    named = await store.assign_property_names(SCOPE, apps=[("x", lambda _: {"j": "new", "i": "renamed"})])
    assert list(named["x"].items()) == [("j", "new"), ("i", "i_name")]


async def test_the_namer_is_told_the_names_of_inputs_that_are_gone(store: Store) -> None:
    """Their names must not pass to other inputs."""
    told: list[Mapping[str, str]] = []

    def note(frozen: Mapping[str, str]) -> Mapping[str, str]:
        """Remember what was told."""
        told.append(frozen)
        return {"k": "k_name"}

    await store.assign_property_names(SCOPE, apps=[("x", build_from("i", "j"))])
    named = await store.assign_property_names(SCOPE, apps=[("x", note)])
    assert (told, named) == ([{"i": "i_name", "j": "j_name"}], {"x": {"k": "k_name"}})


async def test_a_taken_property_name_is_refused(store: Store) -> None:
    """Two inputs under one name could not both be given."""
    await store.assign_property_names(SCOPE, apps=[("x", build_from("i"))])
    with pytest.raises(ValueError, match="the name 'i_name' is taken"):
        await store.assign_property_names(SCOPE, apps=[("x", lambda _: {"j": "i_name"})])


NAME_APPS = """
import asyncio, json, sys
from pathlib import Path
from store.contract.factories import FACTORIES
from store.contract.test_names import SCOPE, build_name

async def main(kind, folder, app_ids):
    store = FACTORIES[kind](Path(folder))
    print("open", flush=True)
    sys.stdin.readline()
    apps = [(app_id, "cat") for app_id in app_ids]
    named = await store.assign_tool_names(SCOPE, apps=apps, build_name=build_name)
    await store.close()
    print(json.dumps(named, sort_keys=True))

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3].split(",")))
"""


def test_two_processes_that_name_at_once_agree(store_kind: str, tmp_path: Path) -> None:
    """Claude Desktop and Cursor start together; the same tool must have the same name in both."""
    app_ids = [f"app{n}" for n in range(50)]
    children = [
        start_child(NAME_APPS, store_kind, tmp_path, ",".join(app_ids)),
        start_child(NAME_APPS, store_kind, tmp_path, ",".join(reversed(app_ids))),
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    first, second = map(finish_child, children)
    assert first == second
    assert first.count("cat_") == 50
