"""Whether a server says that it lives and that it can work."""

import sqlite3
from pathlib import Path

import httpx2

from tests.support.patience import poll_until
from tests.web.test_http import open_http_child


def get(url: str, path: str) -> httpx2.Response:
    """Ask a server beside its MCP endpoint."""
    return httpx2.get(url.removesuffix("/mcp") + path, trust_env=False, timeout=60)


def test_a_new_server_lives_and_becomes_ready(tmp_path: Path) -> None:
    """A container is replaced by the first answer, and gets requests by the second."""
    with open_http_child(tmp_path / "f") as (_, url):
        health = get(url, "/healthz")
        while (ready := get(url, "/readyz")).status_code != 200:
            assert "is not known yet" in ready.text

    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert ready.json() == {"status": "ready"}
    assert ready.headers["cache-control"] == "no-store"


def test_a_server_whose_store_is_held_by_another_program_is_alive_and_not_ready(tmp_path: Path) -> None:
    """It cannot accept a run, and to restart it would not help."""
    with open_http_child(tmp_path / "f") as (_, url):
        path = tmp_path / "f/home/store.sqlite3"
        poll_until(lambda: get(url, "/readyz").status_code == 200)
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        held = get(url, "/readyz")
        health = get(url, "/healthz")
        holder.close()
        freed = get(url, "/readyz")

    assert (held.status_code, health.status_code, freed.status_code) == (503, 200, 200)
    assert held.json()["problems"] == ["The store of runs cannot be written. The log says why."]
    assert str(tmp_path) not in held.text
