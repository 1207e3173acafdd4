"""The upload page and the links to results, in a real Chromium."""

import base64
import json
import sys
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from tests.support.people import open_team
from tests.support.uploading import PICTURE
from tests.verify.clones import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from gallery_tools import build_environment, find_missing, install, run_node


async def test_the_upload_page_passes_its_checks(tmp_path: Path) -> None:
    """Each check says what it shows; its output is part of the failure."""
    if missing := find_missing():
        pytest.skip(missing)
    await anyio.to_thread.run_sync(install)
    picture = tmp_path / "cup.png"
    picture.write_bytes(PICTURE)
    async with open_team(tmp_path) as team:
        purpose = "the cup <img src=x onerror=alert(1)>"
        links = [(await team.ask("ann", "request_upload", purpose=purpose))["link"] for _ in range(4)]
        clip = await team.ask("ann", "clip_and_jingle", mood="calm")
        video = next(output["url"] for output in clip["outputs"] if output["kind"] == "video")
        given = {
            "UPLOADS": json.dumps(links),
            "PICTURE": str(picture),
            "PICTURE_BASE64": base64.b64encode(PICTURE).decode(),
            "VIDEO_LINK": video,
        }
        environment = {**build_environment(tmp_path), **given}
        check = ("--test", "--test-reporter=tap", "checks/upload.test.mjs")
        await anyio.to_thread.run_sync(partial(run_node, *check, env=environment))
