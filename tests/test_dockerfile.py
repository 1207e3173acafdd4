"""Check the Dockerfile's base image."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

DOCKERFILE = (Path(__file__).resolve().parent.parent / "Dockerfile").read_text(encoding="utf-8")
BASES = re.findall(r"^FROM python:((\d+\.\d+)\.\d+)-\S+", DOCKERFILE, re.MULTILINE)


def test_both_stages_have_the_same_base() -> None:
    """An environment works only with the Python that made it."""
    assert len(BASES) == 2
    assert len(set(BASES)) == 1


def test_the_base_is_the_newest_patch_release_that_the_locked_tools_know() -> None:
    """uv contains a list of Python's releases, so an upgrade of the locks requires an upgrade of the image."""
    uv = Path(sys.executable).with_name("uv")
    command = [
        uv,
        "python",
        "list",
        "--offline",
        "--no-config",
        "--only-downloads",
        "--output-format",
        "json",
        BASES[0][1],
    ]
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    listed = json.loads(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)

    assert BASES[0][0] == listed[0]["version"]
