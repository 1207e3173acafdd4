"""Do the main job once, as a client would: list the tools, run two apps in the sandbox, show what came of it.

With `--provider magica` the sandbox runs beside Flowport and is spoken to as Magica, keys, limits and all.
"""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import anyio.streams.text
import mcp.types as t
from mcp import Client, StdioServerParameters

ROOT = Path(__file__).resolve().parent.parent
PHOTOGRAPH = ROOT / "examples" / "photos" / "coffee.jpg"
OUTPUTS = ROOT / "demo-output"

RUNS: Final[Mapping[str, tuple[tuple[str, str, dict[str, str]], ...]]] = {
    "magnific": (
        ("sandbox_retro_poster", "photo", {"title": "Good morning"}),
        ("sandbox_text_to_picture", "", {"prompt": "a mountain lake"}),
    ),
    "magica": (
        ("retro_poster", "your_photo", {"title": "Good morning"}),
        ("text_to_picture", "", {"prompt": "a mountain lake"}),
    ),
}
"""By provider: each tool, its argument for the picture, and the others."""


def main() -> int:
    """Run the demonstration; the exit code is 0 when both apps gave a file."""
    parser = argparse.ArgumentParser(description="Run two apps of the sandbox through Flowport.")
    parser.add_argument("--image", type=Path, default=PHOTOGRAPH, help="your own picture")
    parser.add_argument("--provider", choices=[*RUNS], default="magnific", help="whose API the sandbox speaks")
    flags = parser.parse_args()
    image = flags.image.expanduser().resolve()
    if not image.is_file():
        print(f"There is no file {image}.")
        return 2
    with tempfile.TemporaryDirectory(prefix="flowport-demo-") as home:
        return anyio.run(demonstrate, image, Path(home), flags.provider)


async def demonstrate(image: Path, home: Path, provider: str) -> int:
    """Connect to a fresh Flowport over stdio and use it."""
    async with provide(provider) as settings, Client(build_server_parameters(image, home, settings)) as client:
        tools = (await client.list_tools()).tools
        print(f"Flowport speaks MCP {client.protocol_version} and lists {len(tools)} tools:")
        for tool in tools:
            arguments = ", ".join(tool.input_schema.get("properties", {}))
            print(f"  {tool.name}({arguments})")
        is_done = [
            await run_app(client, tool, {**({photo: str(image)} if photo else {}), **arguments})
            for tool, photo, arguments in RUNS[provider]
        ]
        if provider == "magica":
            facts = (await client.call_tool("get_balance", {})).structured_content or {}
            print(f"\nget_balance\n  {facts['accounts'][0]['provider_balance']}")
    return 0 if all(is_done) else 1


@asynccontextmanager
async def provide(provider: str) -> AsyncIterator[dict[str, str]]:
    """Give the variables that Flowport needs: none for its own sandbox, else those of one that runs beside it."""
    if provider != "magica":
        yield {}
        return
    process = await anyio.open_process([sys.executable, "-m", "flowport", "sandbox"], stderr=None)
    try:
        said = ""
        if process.stdout is not None:
            async for text in anyio.streams.text.TextReceiveStream(process.stdout):
                said += text
                if "Ctrl-C" in said:
                    break
        yield dict(re.findall(r"(MAGICA_BASE_URL|MAGICA_API_KEY)=(\S+)", said))
    finally:
        process.terminate()
        await process.aclose()


def build_server_parameters(image: Path, home: Path, settings: Mapping[str, str]) -> StdioServerParameters:
    """Return how to start Flowport: with these variables and no other key; without any it brings its sandbox."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("FLOWPORT_", "MAGNIFIC_", "MAGICA_"))
    }
    ours = {
        "FLOWPORT_HOME": str(home),
        "FLOWPORT_OUTPUT_DIR": str(OUTPUTS),
        "FLOWPORT_FILE_ROOTS": str(image.parent),
    }
    return StdioServerParameters(command=sys.executable, args=["-m", "flowport"], env={**kept, **ours, **settings})


async def run_app(client: Client, tool: str, arguments: dict[str, str]) -> bool:
    """Call one tool, show its progress and its results; False when it gave no file."""

    async def show_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        print(f"\n  … {message} ", end="", flush=True)

    async def show_time() -> None:
        """Show a dot for each second: Flowport tells how it goes every five, and sooner only what is new."""
        while True:
            await anyio.sleep(1)
            print(".", end="", flush=True)

    print(f"\n{tool} {arguments}", end="")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(show_time)
        result = await client.call_tool(tool, arguments, progress_callback=show_progress)
        tasks.cancel_scope.cancel()
    print()
    facts = result.structured_content or {}
    print(f"  {facts.get('summary') or facts.get('message')}")
    outputs = facts.get("outputs", [])
    if facts.get("failure"):
        print(f"  {facts['failure']}")
    if not outputs:
        return False
    for output in outputs:
        print(f"  {output['kind']} {output.get('width')} x {output.get('height')}, {output.get('mime_type')}")
        print(f"    URL   {output.get('url')}")
        print(f"    file  {output.get('saved_path') or output.get('save_problem')}")
    links = [block for block in result.content if isinstance(block, t.ResourceLink)]
    print(f"  {len(links)} resource link{'s' * (len(links) != 1)}, {facts.get('credits')} credits of play money")
    return all(output.get("saved_path") for output in outputs)


if __name__ == "__main__":
    sys.exit(main())
