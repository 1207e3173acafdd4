"""Count the modules of Flowport that one call with a picture enters, from the protocol to the start request to the answer.

    .venv/bin/python scripts/count_modules.py            prints the number
    .venv/bin/python scripts/count_modules.py --names    prints the modules too, those with most functions first

A whole Flowport runs in this process, on the built-in sandbox as a child process, with a client in memory. It is warmed
up first: the tools are listed and an app is called without a picture. Then an app is called with the path of a picture,
and every function that starts until the answer arrives is recorded. A module counts when one of its functions, methods or
comprehensions was entered, in any thread; a module that is only imported does not, nor do the methods that the standard
library generates for dataclasses.
"""

import argparse
import logging
import sys
import threading
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType

import anyio
from mcp import Client
from PIL import Image

import flowport
from flowport.bootstrap import open_assembly
from flowport.server.handlers import build_server
from flowport.settings.settings import load_settings

ROOT = Path(flowport.__file__).parent


class Tracer:
    """Records which functions of the package start while it counts."""

    def __init__(self) -> None:
        self.entered: Counter[str] = Counter()
        """By module, the number of its functions that were entered."""
        self.is_counting = False
        self._seen: set[CodeType] = set()

    def install(self) -> None:
        """Trace this thread and all that start from now on."""
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if self.is_counting and event == "call" and code not in self._seen:
            self._seen.add(code)
            path = Path(code.co_filename)
            if path.is_relative_to(ROOT) and code.co_name != "<module>":
                self.entered[".".join(path.relative_to(ROOT).with_suffix("").parts)] += 1


async def trace_call(folder: Path, tracer: Tracer) -> None:
    """Call an app without a picture, then record what a call with one enters."""
    Image.new("RGB", (640, 480), "teal").save(folder / "room.png")
    given = {"FLOWPORT_HOME": str(folder / "home"), "FLOWPORT_OUTPUT_DIR": str(folder / "outputs")}
    settings = load_settings({**given, "FLOWPORT_FILE_ROOTS": str(folder)}, {})
    async with open_assembly(settings) as assembly:
        server = build_server(assembly.tenants, assembly.file_threads, assembly.first_list)
        async with Client(server) as client:
            await client.list_tools()
            await call(client, "sandbox_text_to_picture", prompt="a lake")
            tracer.is_counting = True
            await call(client, "sandbox_photo_to_pencil_sketch", photo=str(folder / "room.png"))
            tracer.is_counting = False


async def call(client: Client, tool: str, **arguments: str) -> None:
    """Call a tool, which has to succeed."""
    answer = await client.call_tool(tool, arguments)
    if answer.is_error or (answer.structured_content or {}).get("state") != "succeeded":
        raise SystemExit(f"the call of {tool} failed: {answer.structured_content}")


def main() -> None:
    """Trace a call and print what it entered."""
    parser = argparse.ArgumentParser(description="Count the modules that one call with a picture enters.")
    parser.add_argument("--names", action="store_true", help="print the modules too")
    flags = parser.parse_args()
    logging.disable(logging.CRITICAL)
    tracer = Tracer()
    tracer.install()
    with TemporaryDirectory() as folder:
        anyio.run(trace_call, Path(folder), tracer)
    if flags.names:
        sys.stdout.writelines(f"{count:4} {name}\n" for name, count in tracer.entered.most_common())
    sys.stdout.write(f"{len(tracer.entered)} modules\n")


if __name__ == "__main__":
    main()
