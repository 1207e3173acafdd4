"""A package index on this machine: the locked releases, and a newer, unwanted one beside each."""

import base64
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

NEWER = "9999.0"


def fill_index(simple: Path, files: Path) -> list[str]:
    """List the files under their names, with a newer release of each name and of its requirements; return the names."""
    required: set[str] = set()
    for file in files.iterdir():
        name: str = parse_wheel_filename(file.name)[0] if file.suffix == ".whl" else parse_sdist_filename(file.name)[0]
        (simple / name).mkdir(parents=True, exist_ok=True)
        file.rename(simple / name / file.name)
        required |= {name, *(list_required(simple / name / file.name) if file.suffix == ".whl" else [])}
    for name in sorted(required):
        (simple / name).mkdir(exist_ok=True)
        write_newer_wheel(simple / name, name)
    for page in simple.iterdir():
        links = [f'<a href="{file.name}">{file.name}</a><br>' for file in sorted(page.iterdir())]
        (page / "index.html").write_text("<!DOCTYPE html><html><body>" + "".join(links) + "</body></html>")
    return sorted(required)


def list_required(wheel: Path) -> list[str]:
    """Return the names that a wheel requires, under any condition."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(
            name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1
        )
        metadata = Metadata.from_email(archive.read(name), validate=False)
    return [canonicalize_name(requirement.name) for requirement in metadata.requires_dist or []]


def write_newer_wheel(folder: Path, name: str) -> None:
    """Write a release that could be installed, with every extra that may be requested, and is locked nowhere."""
    module = name.replace("-", "_")
    info = f"{module}-{NEWER}.dist-info"
    extras = "".join(f"Provides-Extra: {extra}\n" for extra in ("toml", "crypto", "socks"))
    texts = {
        f"{module}_newer.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {NEWER}\n{extras}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={digest(text)},{len(text)}\n" for path, text in texts.items())
    with zipfile.ZipFile(folder / f"{module}-{NEWER}-py3-none-any.whl", "w") as archive:
        for path, text in {**texts, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)


def digest(text: str) -> str:
    """Return the hash of a file as written in a wheel's list of files."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Print no line for each request."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP on the loopback; yield the URL of its index."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple"
        finally:
            server.shutdown()
            thread.join()


def strip_extras(lock: str) -> str:
    """Return a lock as written by tools that omit extras."""
    lines = []
    for line in lock.splitlines(keepends=True):
        pin, separator, rest = line.partition(" ")
        if pin and "==" in pin and "[" in pin:
            requirement = Requirement(pin)
            pin = f"{requirement.name}{requirement.specifier}"
        lines.append(f"{pin}{separator}{rest}")
    return "".join(lines)
