"""Ask for uploads as a person of a team, and find what was uploaded."""

import io
from pathlib import Path
from typing import Any, Final

from PIL import Image

from tests.support.people import Team


def build_picture(size: tuple[int, int] = (64, 48), colour: str = "red") -> bytes:
    """Return a PNG."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


PICTURE: Final = build_picture()


async def request_link(team: Team, owner: str = "ann", **arguments: Any) -> tuple[str, str]:
    """Ask for an upload; return the path of the link and the name of the file."""
    answer = await team.ask(owner, "request_upload", **arguments)
    return answer["link"].removeprefix(team.origin), answer["use_as"]


def find_uploads(team: Team) -> list[Path]:
    """Return every file in the folder for uploads."""
    folder = team.site.settings.home / "uploads"
    return [path for path in folder.rglob("*") if path.is_file()]
