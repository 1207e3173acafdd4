"""Take the pictures of docs/gallery.md in Chromium, from real runs of the built-in sandbox: python scripts/gallery_pictures.py."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from gallery_tools import ROOT, build_environment, find_missing, install, run_node
from PIL import Image

FOLDER: Final = ROOT / "docs" / "pictures"
_QUALITY: Final = 72


def main() -> int:
    """Write each picture as WebP."""
    if missing := find_missing():
        sys.stderr.write(f"{missing}\n")
        return 1
    install()
    with TemporaryDirectory() as home:
        taken = Path(home) / "pictures"
        run_node("checks/pictures.mjs", taken, env=build_environment(Path(home)))
        FOLDER.mkdir(exist_ok=True)
        for path in sorted(taken.glob("*.png")):
            target = FOLDER / f"{path.stem}.webp"
            Image.open(path).convert("RGB").save(target, quality=_QUALITY, method=6)
            print(f"{target.relative_to(ROOT)}  {target.stat().st_size / 1000:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
