"""`flowport worker` and `serve --worker`: what they refuse before they begin."""

from pathlib import Path

import pytest

from tests.support.odd_system import run_flowport

WORKERS = (("worker",), ("serve", "--http", "127.0.0.1:0", "--worker"))
SECRET = "secret-word"


@pytest.mark.parametrize("words", WORKERS, ids=lambda words: words[0])
def test_a_worker_belongs_to_a_team(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Without a database it would wait for work that no other process could give it."""
    done = run_flowport(*words, environment={"FLOWPORT_HOME": str(tmp_path)})

    assert done.returncode == 2
    assert done.stderr.startswith("FLOWPORT_DATABASE_URL is not set, and a worker carries out the runs")


def test_a_server_on_standard_input_and_output_cannot_be_a_worker(tmp_path: Path) -> None:
    """It serves one person, and ends with the client."""
    done = run_flowport("serve", "--worker", environment={"FLOWPORT_HOME": str(tmp_path)})

    assert done.returncode == 2
    assert done.stderr.startswith("--worker belongs to --http.")


def test_a_worker_with_a_wrong_setting_says_so_and_ends(tmp_path: Path) -> None:
    """No client asks it, so no answer could say it."""
    environment = {"FLOWPORT_HOME": str(tmp_path), "FLOWPORT_DATABASE_URL": f"mysql://flowport:{SECRET}@db/flowport"}
    done = run_flowport("worker", environment=environment)

    assert done.returncode == 2
    assert "is not the address of a PostgreSQL database" in done.stderr
    assert SECRET not in done.stderr


def test_a_worker_whose_database_is_down_ends_with_a_sentence(tmp_path: Path) -> None:
    """What runs containers starts it again."""
    url = f"postgresql://flowport:{SECRET}@/flowport?host={tmp_path}"
    done = run_flowport("worker", environment={"FLOWPORT_HOME": str(tmp_path / "home"), "FLOWPORT_DATABASE_URL": url})

    assert done.returncode == 1
    assert "the database cannot be reached" in done.stderr
    assert SECRET not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_without_its_libraries_says_what_to_install(tmp_path: Path) -> None:
    """They come with an extra, because one person needs none of them."""
    (tmp_path / "psycopg.py").write_text("raise ImportError('no pq wrapper available')")
    url = f"postgresql://flowport@/flowport?host={tmp_path}"
    environment = {
        "FLOWPORT_HOME": str(tmp_path / "home"),
        "FLOWPORT_DATABASE_URL": url,
        "PYTHONPATH": str(tmp_path),
    }
    done = run_flowport("worker", environment=environment)

    assert done.returncode == 2
    assert "pip install '.[team]'" in done.stderr


@pytest.mark.parametrize("words", [("worker",), ("token", "list"), ("doctor",)], ids=lambda words: words[0])
def test_an_import_that_the_extra_would_not_correct_is_not_blamed_on_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    """With the libraries there, a module that is missing is a fault of the installation, and its name is the news."""
    hide = "import sys; sys.modules['flowport.store.postgres.problems'] = None"
    (tmp_path / "sitecustomize.py").write_text(hide)
    environment = {
        "FLOWPORT_HOME": str(tmp_path / "home"),
        "FLOWPORT_DATABASE_URL": f"postgresql://flowport@/flowport?host={tmp_path}",
        "PYTHONPATH": str(tmp_path),
    }
    done = run_flowport(*words, environment=environment)

    assert done.returncode != 0
    assert "pip install '.[team]'" not in done.stdout + done.stderr
    # The doctor says that a part of it has failed, and examines the rest.
    assert words == ("doctor",) or "flowport.store.postgres.problems" in done.stderr
