"""Measure the gallery's page in Chromium: its size, the first paint of 200 runs, the memory with 1,000.

`python scripts/gallery_figures.py` makes a home with so many runs, each with a picture of its own.
"""

import gzip
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import anyio
from gallery_tools import PAGE, build_environment, find_missing, install, run_node
from PIL import Image

from flowport.bootstrap import open_home
from flowport.domain.models import Output, OutputKind, Run, RunState

PICTURES: Final = 40
SIZE: Final = (1536, 1024)
STARTED_AT: Final = time.time() - 100_000


def build_picture(path: Path, seed: int) -> None:
    """Write a picture whose file has about the size of a real one."""
    noise = Image.effect_noise((SIZE[0] // 8, SIZE[1] // 8), 80).resize(SIZE)
    tint = Image.new("RGB", SIZE, (seed * 37 % 256, seed * 91 % 256, seed * 53 % 256))
    Image.blend(noise.convert("RGB"), tint, 0.5).save(path, quality=90)


async def make_runs(home: Path, count: int) -> None:
    """Put finished runs on record."""
    outputs = home / "outputs"
    outputs.mkdir(parents=True)
    for seed in range(PICTURES):
        build_picture(outputs / f"picture-{seed}.jpg", seed)
    opened = open_home(home / "home")
    try:
        for number in range(count):
            path = outputs / f"run-{number}.jpg"
            os.link(outputs / f"picture-{number % PICTURES}.jpg", path)
            await opened.store.accept(build_run(number, path))
    finally:
        await opened.store.close()
        opened.process.release()


def build_run(number: int, path: Path) -> Run:
    """Return a run that succeeded with one picture."""
    at = STARTED_AT + 60 * number
    output = Output(
        1, OutputKind.IMAGE, "https://cdn.example/1.jpg", mime_type="image/jpeg", saved_path=str(path),
        size_bytes=path.stat().st_size, width=SIZE[0], height=SIZE[1],
    )  # fmt: skip
    return Run(
        id=f"run_{number:06d}{secrets.token_hex(2)}", account_id="magnific:api.example:f1", owner="local", provider="magnific",
        app_id=f"app{number % 12}", app_name=f"App number {number % 12}", tool_name=f"app_{number % 12}",
        arguments_json=json.dumps({"prompt": f"A landscape, number {number}, with hills and a lake in the evening"}),
        raw_digest=secrets.token_hex(32), canonical_digest=secrets.token_hex(32), state=RunState.SUCCEEDED, accepted_at=at,
        process_id="p1", price_credits=4.0, spent_credits=4.0, provider_run_id=f"remote{number}", starting_at=at, started_at=at,
        finished_at=at + 40, delivered_at=at + 41, outputs=(output,),
    )  # fmt: skip


@contextmanager
def open_gallery(env: Mapping[str, str]) -> Iterator[str]:
    """Start `flowport gallery` and return its address."""
    command = [sys.executable, "-m", "flowport", "gallery", "--no-open"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


def main() -> int:
    """Print the figures, one a line."""
    if missing := find_missing():
        sys.stderr.write(f"{missing}\n")
        return 1
    install()
    page = PAGE.read_bytes()
    figures = {"page_kb": len(page) / 1000, "page_gzip_kb": len(gzip.compress(page, 9)) / 1000}
    with TemporaryDirectory() as folder:
        home = Path(folder)
        anyio.run(make_runs, home, 1000)
        env = {
            **build_environment(home),
            "MAGNIFIC_API_KEY": "mk-0123456789abcdef",
            "MAGNIFIC_BASE_URL": "http://127.0.0.1:9",
        }
        with open_gallery(env) as url:
            figures |= json.loads(run_node("checks/figures.mjs", env={**env, "GALLERY_URL": url}))
    for name, value in figures.items():
        print(f"{name:28} {value:g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
