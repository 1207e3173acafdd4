"""A fresh clone installs itself years later, when each of its dependencies has newer releases."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.verify.clones import ROOT, build_environment, copy_clone, run
from tests.verify.indexes import NEWER, fill_index, serve, strip_extras

LOCKS = ("requirements.lock", "requirements-dev.lock")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve every release of both locks, and newer ones beside them; return the URL."""
    folder = tmp_path_factory.mktemp("index")
    env = build_environment(folder)
    run(sys.executable, "-m", "venv", "stock", cwd=folder, env=env)
    for lock in LOCKS:
        run(
            *(folder / "stock/bin/python", "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--require-hashes", "--dest", folder / "files", "-r", ROOT / lock),
            cwd=folder,
            env=env,
        )
    names = fill_index(folder / "simple", folder / "files")
    assert {"pyjwt", "coverage", "cryptography", "socksio", "httpx2"} <= set(names)
    with serve(folder) as address:
        yield address


@pytest.fixture
def env(tmp_path: Path, index: str) -> Mapping[str, str]:
    """Return an environment that inherits only the search path, and uses only that index."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PIP_INDEX_URL": index,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_the_pip_of_a_new_environment_installs_a_lock_beside_newer_releases(
    lock: str, env: Mapping[str, str], tmp_path: Path
) -> None:
    """pip installs exactly the locked releases, and the installation is complete."""
    run(sys.executable, "-m", "venv", "stock", cwd=tmp_path, env=env)
    pip = (tmp_path / "stock/bin/python", "-m", "pip")

    run(*pip, "install", "--quiet", "--require-hashes", "-r", ROOT / lock, cwd=tmp_path, env=env)

    run(*pip, "check", cwd=tmp_path, env=env)
    assert NEWER not in run(*pip, "list", cwd=tmp_path, env=env)


def test_a_lock_without_extras_fails_at_such_an_index(env: Mapping[str, str], tmp_path: Path) -> None:
    """The index above offers releases that break an incomplete lock; otherwise these tests would prove nothing."""
    lock = tmp_path / "stripped.lock"
    lock.write_text(strip_extras((ROOT / "requirements.lock").read_text(encoding="utf-8")), encoding="utf-8")
    run(sys.executable, "-m", "venv", "stock", cwd=tmp_path, env=env)
    install = (tmp_path / "stock/bin/python", "-m", "pip", "install", "--require-hashes", "-r", lock)

    done = subprocess.run(install, cwd=tmp_path, env=env, check=False, capture_output=True, text=True)

    assert done.returncode != 0
    assert "--require-hashes" in done.stderr


def test_make_demo_and_the_development_tools_set_themselves_up(env: Mapping[str, str], tmp_path: Path) -> None:
    """`make demo` in a fresh clone installs what running needs, at most 120 MB, and runs; `make dev` adds the tools."""
    clone = copy_clone(tmp_path / "a clone")

    printed = run("make", f"PYTHON={sys.executable}", "demo", cwd=clone, env=env)
    size = int(run("du", "-sm", ".venv", cwd=clone, env=env).split()[0])

    assert "[4/4]" in printed
    assert size <= 120
    assert not (clone / ".venv/bin/pytest").exists()
    assert list((clone / "demo-output").rglob("*.png"))

    assert "[4/4]" in run("make", f"PYTHON={sys.executable}", "dev", cwd=clone, env=env)
    assert (clone / ".venv/bin/pytest").exists()
    assert "up to date" in run("make", f"PYTHON={sys.executable}", "setup", cwd=clone, env=env)
