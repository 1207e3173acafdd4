"""The store's table of names: what an app's tool and an input's property are called, given once and for good."""

import sqlite3
from collections.abc import Collection, Sequence

from flowport.store.records import BuildPropertyNames, BuildToolName


def assign_tool_names(
    connection: sqlite3.Connection, scope: str, *, apps: Sequence[tuple[str, str]], build_name: BuildToolName
) -> dict[str, str]:
    """Return each app's name by app id, and write those that are new.

    Raises:
        ValueError: `build_name` returned a name that is taken.
    """
    taken = {row["name"]: row["scope"] for row in connection.execute("SELECT name, scope FROM tool_names")}
    rows = connection.execute("SELECT app_id, name FROM tool_names WHERE scope = ?", (scope,))
    named = {row["app_id"]: row["name"] for row in rows}
    for app_id, app_name in apps:
        if app_id in named:
            continue
        name = build_name(app_name, f"{scope}/{app_id}", taken)
        _require_free(name, taken)
        connection.execute("INSERT INTO tool_names (name, scope, app_id) VALUES (?, ?, ?)", (name, scope, app_id))
        taken[name] = scope
        named[app_id] = name
    return {app_id: named[app_id] for app_id, _ in apps}


def assign_property_names(
    connection: sqlite3.Connection, scope: str, *, apps: Sequence[tuple[str, BuildPropertyNames]]
) -> dict[str, dict[str, str]]:
    """Return each app's property names by app id and input id, and write those that are new.

    Raises:
        ValueError: A new name belongs to another input of the same app.
    """
    return {app_id: _assign_for_app(connection, scope, app_id, build_names) for app_id, build_names in apps}


def _assign_for_app(
    connection: sqlite3.Connection, scope: str, app_id: str, build_names: BuildPropertyNames
) -> dict[str, str]:
    rows = connection.execute(
        "SELECT input_id, name FROM property_names WHERE scope = ? AND app_id = ?", (scope, app_id)
    )
    frozen: dict[str, str] = {row["input_id"]: row["name"] for row in rows}
    taken = set(frozen.values())
    names: dict[str, str] = {}
    for input_id, built in build_names(dict(frozen)).items():
        names[input_id] = frozen.get(input_id, built)
        if input_id not in frozen:
            _require_free(built, taken)
            taken.add(built)
            connection.execute(
                "INSERT INTO property_names (scope, app_id, input_id, name) VALUES (?, ?, ?, ?)",
                (scope, app_id, input_id, built),
            )
    return names


def _require_free(name: str, taken: Collection[str]) -> None:
    if name in taken:
        message = f"the name {name!r} is taken"
        raise ValueError(message)
