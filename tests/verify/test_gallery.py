"""The gallery's page: built from its sources, and in a real Chromium, as an MCP App and as the local gallery."""

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.verify.clones import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from gallery_tools import GALLERY, PAGE, build_environment, find_missing, install, run_node

MAX_GZIP_BYTES = 60_000


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    """Install the locked packages of npm."""
    if missing := find_missing():
        pytest.skip(missing)
    install()


def test_the_page_in_the_package_is_the_one_that_its_sources_make(tmp_path: Path) -> None:
    """`make gallery` writes the same bytes again, anywhere."""
    for name in ("index.html", "package.json", "tsconfig.json", "vite.config.js"):
        (tmp_path / "gallery").mkdir(exist_ok=True)
        shutil.copy(GALLERY / name, tmp_path / "gallery" / name)
    shutil.copytree(GALLERY / "src", tmp_path / "gallery" / "src")
    (tmp_path / "gallery" / "node_modules").symlink_to(GALLERY / "node_modules")
    built = tmp_path / PAGE.relative_to(ROOT)
    built.parent.mkdir(parents=True)
    subprocess.run(["npm", "run", "build"], cwd=tmp_path / "gallery", check=True, capture_output=True)

    assert built.read_bytes() == PAGE.read_bytes()


def test_the_page_is_small_and_holds_no_address() -> None:
    """Hosts read it whole for each view, and it loads nothing."""
    page = PAGE.read_bytes()
    assert len(gzip.compress(page, 9)) <= MAX_GZIP_BYTES
    assert b"http://" not in page
    assert b"https://" not in page
    assert b"innerHTML" not in page
    assert b"eval(" not in page


def test_the_lock_file_holds_no_address_of_a_registry() -> None:
    """Each package comes from the registry of the machine that installs it."""
    assert '"resolved"' not in (GALLERY / "package-lock.json").read_text()


@pytest.mark.parametrize("check", ["app", "format", "local"])
def test_the_page_passes_its_checks(tmp_path: Path, check: str) -> None:
    """Each file of checks says what it shows; its output is part of the failure."""
    run_node("--test", "--test-reporter=tap", f"checks/{check}.test.mjs", env=build_environment(tmp_path))
