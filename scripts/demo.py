"""Do the main job once, as a client would: list the tools, run two apps in the sandbox, show what came of it."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import anyio
import mcp.types as t
from mcp import Client, StdioServerParameters

ROOT = Path(__file__).resolve().parent.parent
PHOTOGRAPH = ROOT / "examples" / "photos" / "coffee.jpg"
OUTPUTS = ROOT / "demo-output"


def main() -> int:
    """Run the demonstration; the exit code is 0 when both apps gave a file."""
    parser = argparse.ArgumentParser(description="Run two apps of the sandbox through Flowport.")
    parser.add_argument("--image", type=Path, default=PHOTOGRAPH, help="your own picture")
    image = parser.parse_args().image.expanduser().resolve()
    if not image.is_file():
        print(f"There is no file {image}.")
        return 2
    with tempfile.TemporaryDirectory(prefix="flowport-demo-") as home:
        return anyio.run(demonstrate, image, Path(home))


async def demonstrate(image: Path, home: Path) -> int:
    """Connect to a fresh Flowport over stdio and use it."""
    async with Client(build_server_parameters(image, home)) as client:
        tools = (await client.list_tools()).tools
        print(f"Flowport speaks MCP {client.protocol_version} and lists {len(tools)} tools:")
        for tool in tools:
            arguments = ", ".join(tool.input_schema.get("properties", {}))
            print(f"  {tool.name}({arguments})")
        is_done = [
            await run_app(client, "sandbox_retro_poster", {"photo": str(image), "title": "Good morning"}),
            await run_app(client, "sandbox_text_to_picture", {"prompt": "a quiet harbour at dawn"}),
        ]
    return 0 if all(is_done) else 1


def build_server_parameters(image: Path, home: Path) -> StdioServerParameters:
    """Return how to start Flowport: without any key, so that it brings its sandbox."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("FLOWPORT_", "MAGNIFIC_", "MAGICA_"))
    }
    ours = {
        "FLOWPORT_HOME": str(home),
        "FLOWPORT_OUTPUT_DIR": str(OUTPUTS),
        "FLOWPORT_FILE_ROOTS": str(image.parent),
    }
    return StdioServerParameters(command=sys.executable, args=["-m", "flowport"], env={**kept, **ours})


async def run_app(client: Client, tool: str, arguments: dict[str, str]) -> bool:
    """Call one tool, show its progress and its results; False when it gave no file."""

    async def show_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        print(f"  … {message}")

    print(f"\n{tool} {arguments}")
    result = await client.call_tool(tool, arguments, progress_callback=show_progress)
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
