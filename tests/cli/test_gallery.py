"""`flowport gallery` as a process, beside a server of the same home."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.support.children import Child, open_child
from tests.support.patience import PATIENCE_SECONDS
from tests.support.provider_process import open_provider

ADDRESS = re.compile(r"http://127\.0\.0\.1:[0-9]+/[A-Za-z0-9_-]{32}/")


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run a sandbox as a process and return how to reach it."""
    with open_provider(tmp_path_factory.mktemp("sandbox"), speed=0.2) as opened:
        yield opened.environment


@contextmanager
def open_gallery(folder: Path, *flags: str, **environment: str) -> Iterator[tuple[Child, str]]:
    """Start `flowport gallery` on the home of a server that was started in the same folder, and return its first line."""
    ours = {"FLOWPORT_HOME": str(folder / "home"), "FLOWPORT_OUTPUT_DIR": str(folder / "outputs"), **environment}
    logs = folder / "gallery"
    logs.mkdir(parents=True)
    with open_child(logs, *flags, command="gallery", environment=ours) as child:
        assert child.process.stdout is not None
        yield child, child.process.stdout.readline().decode().rstrip("\n")


def test_a_run_of_a_server_shows_in_the_gallery_beside_it(tmp_path: Path, provider: dict[str, str]) -> None:
    """Both processes use one home at the same time; the saved file comes through the gallery."""
    folder = tmp_path / "person"
    with open_child(folder, environment=provider) as server, open_gallery(folder, "--no-open", **provider) as (_, url):
        server.greet()
        facts = server.call("text_to_picture", prompt="a lake")
        runs = httpx2.get(f"{url}api/runs", trust_env=False, timeout=PATIENCE_SECONDS).json()["runs"]
        file = httpx2.get(f"{url}{runs[0]['outputs'][0]['file']}", trust_env=False, timeout=PATIENCE_SECONDS)

    assert ADDRESS.fullmatch(url)
    assert [run["run_id"] for run in runs] == [facts["run_id"]]
    assert file.content == Path(facts["outputs"][0]["saved_path"]).read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_gallery_with_an_open_connection(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C in the terminal, while the browser keeps its connection."""
    with (
        open_gallery(tmp_path / "person", "--no-open", "--json") as (child, line),
        httpx2.Client(base_url=json.loads(line)["url"], trust_env=False, timeout=PATIENCE_SECONDS) as browser,
    ):
        assert browser.get("api/runs").json() == {"runs": [], "next": None}
        child.process.send_signal(number)
        assert child.wait() == 0


def test_each_gallery_has_a_token_of_its_own(tmp_path: Path) -> None:
    """An address that was seen once is of no use later."""
    with open_gallery(tmp_path / "a", "--no-open") as (_, one), open_gallery(tmp_path / "b", "--no-open") as (_, other):
        assert one.split("/")[3] != other.split("/")[3]


def test_the_browser_gets_the_address(tmp_path: Path) -> None:
    """Python opens the program that BROWSER names."""
    note = tmp_path / "opened"
    browser = tmp_path / "browser.sh"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {note}.part && mv {note}.part {note}\n')
    browser.chmod(0o755)
    with open_gallery(tmp_path / "person", BROWSER=f"{browser} %s") as (child, url):
        child.process.send_signal(signal.SIGINT)
        child.wait()

    assert note.read_text() == url


def test_a_port_in_use_is_a_sentence(tmp_path: Path) -> None:
    """The flag is named, and what to do."""
    with open_gallery(tmp_path / "a", "--no-open") as (_, url):
        port = url.split(":")[2].split("/")[0]
        with open_gallery(tmp_path / "b", "--no-open", "--port", port) as (child, line):
            assert (child.wait(), line) == (2, "")

    assert f"--port names port {port}" in (tmp_path / "b" / "gallery" / "stderr.txt").read_text()


def test_a_gallery_of_an_unusable_record_does_not_open(tmp_path: Path) -> None:
    """One sentence, and no address of a page that could show nothing."""
    tmp_path.joinpath("person").mkdir()
    tmp_path.joinpath("person", "home").write_text("not a folder")
    with open_gallery(tmp_path / "person", "--no-open") as (child, line):
        assert (child.wait(), line) == (1, "")

    (said,) = (tmp_path / "person" / "gallery" / "stderr.txt").read_text().splitlines()
    assert said.startswith("Flowport's record of runs cannot be used: the folder ")
