"""Do the main job once, as a client would: list the tools, run two apps in the sandbox, show the results."""

import argparse
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.streams.text
from mcp import Client, StdioServerParameters

ROOT = Path(__file__).resolve().parent.parent
PHOTOGRAPH = ROOT / "examples" / "photos" / "coffee.jpg"
OUTPUTS = ROOT / "demo-output"


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the demonstration."""

    tool: str
    photo: str
    """The name of its argument for the picture; empty for none."""
    arguments: Mapping[str, str]


STEPS: Final = (
    Step("sandbox_retro_poster", "photo", {"title": "Good morning"}),
    Step("sandbox_text_to_picture", "", {"prompt": "a mountain lake"}),
)


@dataclass(slots=True)
class Report:
    """The results."""

    files: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; the exit code is 0 when both apps gave a file."""
    if hasattr(sys.stdout, "reconfigure"):
        # A file may have any name, and a terminal may support few letters.
        sys.stdout.reconfigure(errors="backslashreplace")
    flags = parse_flags(sys.argv[1:] if arguments is None else arguments)
    image = find_image(flags.image or os.environ.get("IMAGE") or str(PHOTOGRAPH))
    if problem := find_problem(image):
        print(problem)
        return 1
    report = Report()
    try:
        with tempfile.TemporaryDirectory(prefix="flowport-demo-", ignore_cleanup_errors=True) as folder:
            anyio.run(demonstrate, image, Path(folder), flags, report)
    except KeyboardInterrupt:
        print("\nThe demonstration was interrupted.")
        return 130
    except Exception as exc:  # noqa: BLE001 - any error is shown to the user
        report.problems.append(f"The demonstration failed: {describe(exc)}")
    for problem in report.problems:
        print(problem)
    if report.files:
        print(build_last_line(report.files))
    return 1 if report.problems or not report.files else 0


def parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the flags; the value of `--image` may begin with a dash."""
    parser = argparse.ArgumentParser(description="Run two apps of the sandbox through Flowport.", allow_abbrev=False)
    parser.add_argument("--image", help="your own picture; the variable IMAGE does the same")
    parser.add_argument("--output-dir", type=Path, default=OUTPUTS, help="where the results go")
    given = list(arguments)
    for place in reversed(range(len(given) - 1)):
        if given[place] == "--image":
            given[place : place + 2] = [f"--image={given[place + 1]}"]
    return parser.parse_args(given)


def find_image(name: str) -> Path:
    """Return the path of a picture; a name that begins with `~` means the home folder, unless there is such a file."""
    path = Path(name)
    try:
        return (path if os.path.lexists(path) else path.expanduser()).absolute()
    except RuntimeError:
        return path.absolute()


def find_problem(image: Path) -> str:
    """Return why a picture cannot be used, as a sentence; empty when no fault is found at once."""
    name = printable(str(image))
    try:
        with image.open("rb") as file:
            is_empty = not file.read(1)
    except FileNotFoundError:
        return f"There is no file {name}. Give the path of a picture: make demo IMAGE=path"
    except IsADirectoryError:
        return f"{name} is a folder. Give the path of a picture in it: make demo IMAGE=path"
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        return f"{name} cannot be read ({reason}). Give the path of a picture: make demo IMAGE=path"
    return f"{name} is empty. Give the path of a picture: make demo IMAGE=path" if is_empty else ""


def build_last_line(files: Sequence[Path]) -> str:
    """Return the line that names the files and says how to open them."""
    paths = [str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path) for path in files]
    match sys.platform:
        case "win32":
            commands = " & ".join(f'start "" "{path}"' for path in paths)
        case "darwin":
            commands = shlex.join(["open", *paths])
        case _:
            commands = "; ".join(shlex.join(["xdg-open", path]) for path in paths)
    return f"Saved {len(paths)} files. Open them with: {commands}"


async def demonstrate(image: Path, folder: Path, flags: argparse.Namespace, report: Report) -> None:
    """Connect to a fresh Flowport over stdio and use it."""
    given = make_nameable(image, folder)
    places = {
        "FLOWPORT_HOME": str(folder / "home"),
        "FLOWPORT_OUTPUT_DIR": str(flags.output_dir),
        "FLOWPORT_FILE_ROOTS": str(given.parent),
    }
    async with Client(build_server_parameters(places)) as client:
        tools = (await client.list_tools()).tools
        print(f"Flowport speaks MCP {client.protocol_version} and lists {len(tools)} tools:")
        for tool in tools:
            arguments = ", ".join(tool.input_schema.get("properties", {}))
            print(f"  {tool.name}({arguments})")
        for step in STEPS:
            shown = ", ".join([*([printable(image.name)] if step.photo else []), *step.arguments.values()])
            print(f"\n{step.tool}: {shown}")
            facts = await run_app(client, step, given)
            show(facts, report)
            if report.problems:
                return
    print()


def show(facts: Mapping[str, Any], report: Report) -> None:
    """Show the result of a run."""
    if facts.get("error") or facts.get("failure"):
        report.problems.append(str(facts.get("message") or facts.get("failure")))
        return
    print(f"  {facts.get('summary')}")
    for output in facts.get("outputs", []):
        size = f", {output['width']} x {output['height']} pixels" if output.get("width") else ""
        if output.get("saved_path"):
            report.files.append(Path(output["saved_path"]))
            print(f"  {output['kind']}{size}: {output['saved_path']}")
        else:
            report.problems.append(output.get("save_problem") or "An output was not saved, and no reason is known.")
    if not facts.get("outputs"):
        report.problems.append(f"{facts.get('summary') or 'The run'} made nothing that could be saved.")


def make_nameable(image: Path, folder: Path) -> Path:
    """Return the picture, or a copy of it where its path cannot be sent: it has control characters or invalid bytes.

    A list of folders is separated by a character that a folder's name may contain, too.
    """
    resolved = image.resolve()
    text = str(resolved)
    is_plain = text.isprintable() and text == text.strip() and os.pathsep not in str(resolved.parent)
    if is_plain and text.encode("utf-8", "replace") == os.fsencode(resolved):
        return resolved
    copy = folder / "picture" / f"picture{resolved.suffix if resolved.suffix[1:].isalnum() else ''}"
    copy.parent.mkdir()
    shutil.copyfile(resolved, copy)
    return copy


def build_server_parameters(settings: Mapping[str, str]) -> StdioServerParameters:
    """Return how to start Flowport: with these variables and no other key; without any it starts its sandbox."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("FLOWPORT_", "MAGNIFIC_", "MAGICA_"))
    }
    return StdioServerParameters(command=sys.executable, args=["-m", "flowport"], env={**kept, **settings})


async def run_app(client: Client, step: Step, image: Path) -> dict[str, Any]:
    """Call one tool, show its progress, and return the facts of its answer."""

    async def show_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        print(f"  {message}", flush=True)

    photo = {step.photo: str(image)} if step.photo else {}
    result = await client.call_tool(step.tool, {**photo, **step.arguments}, progress_callback=show_progress)
    return dict(result.structured_content or {})


def printable(text: str) -> str:
    """Return a name for a line of a terminal, with invisible characters escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def describe(problem: BaseException) -> str:
    """Return the first cause out of nested exception groups."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return f"{type(problem).__name__}: {problem}"


if __name__ == "__main__":
    sys.exit(main())
