"""Run the steps of the Dockerfile in a temporary folder, without a container engine.

The folder replaces the root of the image, and a Python of this machine the base image: one of the same minor version if there is
one, otherwise the Python that runs this script. Then the entry point is started, as an unprivileged user if possible: on
standard input and output, where it is asked for its tools, and as the server, whose health check is run. Neither writes
anything outside /data and /tmp.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

CONTEXT: Final = Path(__file__).resolve().parent.parent
UNPRIVILEGED_ID: Final = 65534
BUILT_IN_TOOLS: Final = {"find_apps", "run_app", "get_run", "list_runs", "cancel_run", "get_balance"}
MAX_SECONDS: Final = 60
PORT: Final = 8765

_INSIDE: Final = re.compile(r"(?<![\w./])/(?=(?:opt|build|data)\b)")
"""Where a path of the image begins; other absolute paths belong to this machine."""


@dataclass
class Image:
    """The state of the image after some steps."""

    root: Path
    work: Path
    environment: dict[str, str] = field(default_factory=dict)
    python: str = ""
    user: str = ""
    entry_point: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health_check: tuple[str, ...] = ()

    def relocate(self, text: str) -> str:
        """Return the text with the image's paths moved below the folder."""
        return _INSIDE.sub(f"{self.root}/", text)


def main() -> int:
    """Build, start both images and use them; return 0 if all steps succeed."""
    with tempfile.TemporaryDirectory(prefix="flowport-image-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        stages = build(root)
        image, server = stages["stdio"], stages["server"]
        if {image.user, server.user} & {"", "root", "0"}:
            print("The image would run as root.")
            return 1
        before = list_files(root)
        names, who = list_tools(image)
        health = check_health(server)
        changed = list_files(root) ^ before
    if not names >= BUILT_IN_TOOLS:
        print(f"The entry point lists {sorted(names)}.")
        return 1
    if health or changed:
        print(health or f"Files outside /data were written: {sorted(changed)[:5]}")
        return 1
    print(f"The Dockerfile's steps give a server that lists {len(names)} tools, {who}, {image.python}.")
    print("The server's image answers its health check, and no file outside /data was written.")
    return 0


def list_files(root: Path) -> set[tuple[str, int]]:
    """Return every file of the image outside /data, with the instant of its last change."""
    files = (path for path in root.rglob("*") if not path.is_relative_to(root / "data") and path.is_file())
    return {(str(path.relative_to(root)), path.stat().st_mtime_ns) for path in files}


def read_instructions() -> list[tuple[str, str]]:
    """Return the words and arguments of the Dockerfile, continued lines joined, without EXPOSE, which only documents."""
    text = (CONTEXT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("#", "EXPOSE "))]
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def build(root: Path) -> dict[str, Image]:
    """Run every stage in the same folder, so copies from an earlier stage are there already; return the stages by name."""
    image, stages = Image(root, root), dict[str, Image]()
    tools = root / "tools"
    tools.mkdir()
    for word, rest in read_instructions():
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            if base in stages:
                image = replace(stages[base], environment=dict(stages[base].environment))
            else:
                image = Image(root, root, python=provide_python(tools, *get_pin(rest)))
            stages[name] = image
        else:
            follow(image, word, rest, tools)
    return stages


def follow(image: Image, word: str, rest: str, tools: Path) -> None:
    """Follow one instruction of a stage."""
    match word:
        case "WORKDIR":
            image.work = Path(image.relocate(rest))
            image.work.mkdir(parents=True, exist_ok=True)
        case "COPY":
            copy(image, rest)
        case "RUN":
            run(image, rest, tools)
        case "ENV":
            image.environment |= dict(pair.split("=", 1) for pair in image.relocate(rest).split())
        case "USER":
            image.user = rest
        case "ENTRYPOINT":
            image.entry_point = tuple(image.relocate(part) for part in json.loads(rest))
        case "CMD":
            image.command = tuple(json.loads(rest))
        case "HEALTHCHECK":
            image.health_check = tuple(json.loads(image.relocate(rest.partition(" CMD ")[2])))
        case "VOLUME":
            Path(image.relocate(rest)).mkdir(exist_ok=True)
        case _:
            raise RuntimeError(f"{word} is not supported; extend this script or remove the instruction")


def get_pin(rest: str) -> tuple[str, str]:
    """Return the minor and the full version of the base image; raise an error if it is not pinned."""
    pinned = re.fullmatch(r"python:((\d+\.\d+)\.\d+)-\S+( AS \w+)?", rest)
    if pinned is None:
        raise RuntimeError(f"the base image {rest} is not a Python pinned to a version")
    return pinned[2], pinned[1]


def provide_python(tools: Path, minor: str, version: str) -> str:
    """Replace the base image's Python by one of this machine; return a description of it."""
    own = Path(str(getattr(sys, "_base_executable", sys.executable)))
    python = next((found for found in list_pythons(minor) if get_version(found).startswith(f"{minor}.")), own)
    (tools / "python").unlink(missing_ok=True)
    (tools / "python").symlink_to(python)
    return f"with Python {get_version(python)} instead of {version}"


def list_pythons(minor: str) -> Iterator[Path]:
    """Yield where a Python of that minor version may be: on the search path, or in pyenv's folder."""
    named = shutil.which(f"python{minor}")
    yield from [Path(named)] if named else []
    yield from (Path(os.environ.get("PYENV_ROOT", "")) / "versions").glob(f"{minor}.*/bin/python{minor}")


def get_version(python: Path) -> str:
    """Return the version of a Python; empty if it does not start."""
    asked = [str(python), "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(asked, check=False, capture_output=True, encoding="utf-8").stdout.strip()


def copy(image: Image, rest: str) -> None:
    """Copy from the context; copies from another stage are there already."""
    if rest.startswith("--from="):
        return
    *sources, target = rest.split()
    for source in sources:
        there, here = CONTEXT / source, image.work / target
        if there.is_dir():
            shutil.copytree(there, here, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(there, here)


def run(image: Image, rest: str, tools: Path) -> None:
    """Run a command of the build, except for the creation of accounts."""
    if rest.startswith("useradd "):
        return
    command = re.sub(r"-o \w+ ", "", image.relocate(rest))
    environment = {**build_environment(image), "PATH": f"{tools}:/usr/bin:/bin", **get_pip_settings()}
    subprocess.run(["/bin/sh", "-euc", command], cwd=image.work, env=environment, check=True, stdout=subprocess.DEVNULL)


def build_environment(image: Image) -> dict[str, str]:
    """Return a container's environment, without this process's variables."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(image.root), "LANG": "C.UTF-8", **image.environment}


def get_pip_settings() -> Mapping[str, str]:
    """Return this machine's settings for pip."""
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}


def list_tools(image: Image) -> tuple[set[str], str]:
    """Return the names of the listed tools, and a description of the user that ran the entry point."""
    user = choose_user(image)
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "proof", "version": "1"}}
    messages = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}},
    ]
    with subprocess.Popen(
        image.entry_point,
        env=build_environment(image),
        user=user,
        group=user,
        cwd=image.root / "data",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the entry point has no pipes")
        process.stdin.write("".join(json.dumps(message) + "\n" for message in messages))
        process.stdin.flush()
        answers = (json.loads(line) for line in process.stdout)
        listed = next(answer["result"]["tools"] for answer in answers if answer.get("id") == 2)  # noqa: PLR2004
        process.stdin.close()
        process.wait(timeout=MAX_SECONDS)
    return {tool["name"] for tool in listed}, "as an unprivileged user" if user else "as this user"


def check_health(image: Image) -> str:
    """Start the server's image, and run its health check while it serves and afterwards; return the first problem."""
    user = choose_user(image)
    # The port may be taken on this machine.
    command = [*image.entry_point, *(part.replace(f":{PORT}", ":0") for part in image.command)]
    options = {"env": build_environment(image), "cwd": image.root / "data", "user": user, "group": user}
    add = [*image.entry_point, "token", "add", "proof"]
    subprocess.run(add, check=True, stdout=subprocess.DEVNULL, **options)  # type: ignore[call-overload] # as given
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as process:  # type: ignore[call-overload]
        line = process.stdout.readline()
        found = re.search(r":(\d+)/", line)
        if found is None:
            return f"The server did not begin to listen: {line}"
        check = [part.replace(f":{PORT}/", f":{found[1]}/") for part in image.health_check]
        healthy = subprocess.run(check, check=False, **options).returncode  # type: ignore[call-overload]
        process.terminate()
        code = process.wait(timeout=MAX_SECONDS)
    gone = subprocess.run(check, check=False, stderr=subprocess.DEVNULL, **options).returncode  # type: ignore[call-overload]
    if healthy != 0 or gone == 0:
        return f"The health check gives {healthy} while the server runs and {gone} after its end."
    return f"The server ends with code {code}." if code else ""


def choose_user(image: Image) -> int | None:
    """Return the unprivileged user that runs the image, to whom its data belong; None for this user."""
    if sys.platform == "win32" or not can_drop_privileges(image):
        return None
    os.chown(image.root / "data", UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    return UNPRIVILEGED_ID


def can_drop_privileges(image: Image) -> bool:
    """Return whether this process may become another user that can run this machine's Python."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return False
    python = str(Path(image.entry_point[0]).with_name("python"))
    try:
        asked = subprocess.run(
            [python, "-c", "import encodings"], user=UNPRIVILEGED_ID, group=UNPRIVILEGED_ID, check=False, env={}
        )
    except PermissionError:
        return False
    return asked.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
