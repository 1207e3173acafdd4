"""The server as clients start it: a process on pipes, and its graceful end."""

import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.server.subscriptions import ResourcesListChanged

from flowport.cli.flags import build_flag
from flowport.cli.serve import _find_first, command
from flowport.settings.values import get_default_config_path
from flowport.settings.variables import get_variables
from tests.support.children import Child, open_child
from tests.support.harness import MODES, Mode
from tests.support.odd_system import run_flowport
from tests.support.provider_process import open_provider

ENDS = {
    "end of input": Child.close_input,
    "SIGTERM": lambda child: child.process.send_signal(signal.SIGTERM),
    "SIGINT": lambda child: child.process.send_signal(signal.SIGINT),
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run a sandbox as a process and return how to reach it."""
    with open_provider(tmp_path_factory.mktemp("sandbox"), speed=0.2) as provider:
        yield provider.environment


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_of_each_era_runs_an_app(tmp_path: Path, sandbox: dict[str, str], mode: Mode) -> None:
    """The whole path: a client's process, our process, the provider's process."""
    environment = {
        **os.environ,
        **sandbox,
        "FLOWPORT_HOME": str(tmp_path / "home"),
        "FLOWPORT_OUTPUT_DIR": str(tmp_path / "outputs"),
    }
    server = StdioServerParameters(command=sys.executable, args=["-m", "flowport"], env=environment)
    async with Client(server, mode=mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("text_to_picture", {"prompt": "a lake"})

    assert "text_to_picture" in tools
    assert isinstance(result.structured_content, dict)
    assert await anyio.Path(result.structured_content["outputs"][0]["saved_path"]).is_file()


def test_an_older_client_on_standard_input_is_notified_of_a_new_run(tmp_path: Path, sandbox: dict[str, str]) -> None:
    """Its list of runs is outdated from then on, and the server has declared the notification."""
    with open_child(tmp_path / "f", environment=sandbox) as child:
        child.greet()
        child.ask("tools/list")
        child.send("tools/call", {"name": "text_to_picture", "arguments": {"prompt": "a lake"}})
        while child.read().get("method") != "notifications/resources/list_changed":
            pass


async def test_a_newer_client_on_standard_input_is_notified_of_a_new_run(
    tmp_path: Path, sandbox: dict[str, str]
) -> None:
    """The notification comes on the same pipe as the answers."""
    environment = {**os.environ, **sandbox, "FLOWPORT_HOME": str(tmp_path / "home"), "FLOWPORT_SAVE_OUTPUTS": "false"}
    server = StdioServerParameters(command=sys.executable, args=["-m", "flowport"], env=environment)
    async with Client(server) as client, client.listen(resources_list_changed=True) as events:
        await client.call_tool("text_to_picture", {"prompt": "a lake"})
        with anyio.fail_after(60):
            async for event in events:
                assert isinstance(event, ResourcesListChanged)
                break


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_each_end_is_graceful_and_quick_while_a_run_is_live(tmp_path: Path, sandbox: dict[str, str], end: Any) -> None:
    """Clients kill a process that does not end, and an unclosed store leaves its journal behind."""
    with open_child(tmp_path / "f", environment={**sandbox, "FLOWPORT_WAIT_SECONDS": "600"}) as child:
        child.greet()
        child.ask("tools/list")
        child.send(
            "tools/call", {"name": "slow_cinema_still", "arguments": {"prompt": "x"}, "_meta": {"progressToken": 1}}
        )
        while child.read().get("method") != "notifications/progress":
            pass
        end(child)
        code = child.wait()

    assert (code, (tmp_path / "f/home/store.sqlite3-wal").exists()) == (0, False)


def test_a_client_that_closes_our_output_ends_the_process(tmp_path: Path) -> None:
    """Without a reader no work is of use, although our input stays open; the log has one line about it."""
    environment = {"MAGNIFIC_API_KEY": "k", "MAGNIFIC_BASE_URL": "http://127.0.0.1:9"}
    with open_child(tmp_path / "f", environment=environment) as child:
        child.greet()
        assert child.process.stdout is not None
        child.process.stdout.close()
        code = child.wait()

    log = (tmp_path / "f/stderr.txt").read_text()
    assert (code, log.count("the client has closed our standard output"), "Traceback" in log) == (0, 1, False)


def test_an_end_before_the_first_request_is_graceful(tmp_path: Path) -> None:
    """Clients probe servers and disconnect again."""
    with open_child(
        tmp_path / "f", environment={"MAGNIFIC_API_KEY": "k", "MAGNIFIC_BASE_URL": "http://127.0.0.1:9"}
    ) as child:
        child.greet()
        child.close_input()

        assert child.wait() == 0


def test_a_signal_ends_a_server_without_requests(tmp_path: Path) -> None:
    """The thread that reads standard input must not delay the end."""
    with open_child(
        tmp_path / "f", environment={"MAGNIFIC_API_KEY": "k", "MAGNIFIC_BASE_URL": "http://127.0.0.1:9"}
    ) as child:
        child.greet()
        child.process.send_signal(signal.SIGTERM)

        assert child.wait() == 0


def test_nothing_but_protocol_is_on_standard_output(tmp_path: Path) -> None:
    """One stray line breaks several clients permanently."""
    with open_child(tmp_path / "f") as child:
        child.greet()
        child.ask("tools/list")
        child.call("sandbox_text_to_picture", prompt="a lake")
        child.call("sandbox_always_fails", note="x")

    assert {json.loads(line)["jsonrpc"] for line in child.lines} == {"2.0"}


def test_without_a_key_the_sandbox_runs_and_ends_with_the_server(tmp_path: Path) -> None:
    """The first run needs no account, and leaves no process behind even when the server is killed."""
    with open_child(tmp_path / "f") as child:
        child.greet()
        tools = [tool["name"] for tool in child.ask("tools/list")["tools"]]
        sandbox_id = int(Path(f"/proc/{child.process.pid}/task/{child.process.pid}/children").read_text().split()[0])
        watch = open_watch(sandbox_id)
        child.process.kill()
        child.process.wait()

    assert "sandbox_text_to_picture" in tools
    assert has_ended(watch)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_sandbox_ends_with_each_of_our_ends(tmp_path: Path, end: Any) -> None:
    """A disconnected client must not leave our child process running."""
    with open_child(tmp_path / "f") as child:
        child.greet()
        child.ask("tools/list")
        sandbox_id = int(Path(f"/proc/{child.process.pid}/task/{child.process.pid}/children").read_text().split()[0])
        watch = open_watch(sandbox_id)
        end(child)
        code = child.wait()

    assert (code, has_ended(watch)) == (0, True)


BAD = [
    ({"FLOWPORT_MAX_TOOL": "3"}, "Did you mean FLOWPORT_MAX_TOOLS?"),
    ({"FLOWPORT_DATABASE_URL": "postgresql://u@db/x"}, "a server on standard input and output serves one person"),
    ({"FLOWPORT_MAX_CREDITS_PER_DAY": "much"}, "It takes a number"),
    ({"MAGNIFIC_API_KEY": "k", "MAGNIFIC_BASE_URL": "http://example.com"}, "is not https"),
    ({"FLOWPORT_WAIT_SECONDS": "soon"}, "It takes a number"),
    ({"MAGNIFIC_API_KEY": "${MAGNIFIC_API_KEY}"}, 'is the placeholder "${MAGNIFIC_API_KEY}" and no key'),
    ({"MAGICA_API_KEY": "FPSX0123456789abcdef"}, "Set MAGNIFIC_API_KEY to it instead."),
    (
        {"FLOWPORT_PREVIEWS": "perhaps", "FLOWPORT_SOURCE": "mine"},
        "FLOWPORT_PREVIEWS is 'perhaps'. It takes true or false.",
    ),
]


@pytest.mark.parametrize(("environment", "words"), BAD, ids=[next(iter(row[0])) for row in BAD])
def test_a_bad_setting_is_answered_by_every_call(tmp_path: Path, environment: dict[str, str], words: str) -> None:
    """A process that exits shows only "server disconnected", without the reason."""
    with open_child(tmp_path / "f", environment=environment) as child:
        child.greet()
        assert len(child.ask("tools/list")["tools"]) == 7
        facts = child.call("get_balance")

    assert words in facts["message"]
    # The operator reads the same, a placeholder included, because it is not a secret.
    assert words in (tmp_path / "f/stderr.txt").read_text().replace("\n  ", "\n")
    assert "0123456789abcdef" not in (tmp_path / "f/stderr.txt").read_text()


def test_an_unusable_home_is_answered_by_every_call(tmp_path: Path) -> None:
    """A full or foreign disk must not look like a crash."""
    (tmp_path / "file").write_text("not a folder")
    with open_child(tmp_path / "f", environment={"FLOWPORT_HOME": str(tmp_path / "file" / "home")}) as child:
        child.greet()
        facts = child.call("list_runs")

    assert "Set FLOWPORT_HOME to a folder that you may write to." in facts["message"]


def test_flags_override_the_environment(tmp_path: Path) -> None:
    """The command line is the user's most specific setting."""
    with open_child(tmp_path / "f", "--max-tools", "0", environment={"FLOWPORT_MAX_TOOLS": "5"}) as child:
        child.greet()

        assert len(child.ask("tools/list")["tools"]) == 7


def test_every_variable_has_a_flag_and_keys_have_none() -> None:
    """Every user of the machine can see flags, so no secret may be one."""
    flags = {option for one in command.params for option in one.opts}

    built = {build_flag(item.name) for item in get_variables() if item.name.startswith("FLOWPORT_")}
    assert flags == (built - {"--database-url"}) | {"--config", "--http", "--no-auth", "--worker"}


def test_the_help_names_the_path_of_the_configuration() -> None:
    """The folder differs between platforms."""
    wanted, text = str(get_default_config_path()), run_flowport("serve", "--help", environment={}).stdout

    # The help is broken into lines, at hyphens too.
    assert "".join(wanted.split()) in "".join(text.split())


def test_a_failed_start_says_why(tmp_path: Path) -> None:
    """A client shows standard error, and an exit code alone explains nothing."""
    with open_child(tmp_path / "f", prefix=["sh", "-c", 'ulimit -n 8; exec "$@"', "sh"]) as child:
        code = child.process.wait(timeout=60)
    first, _, trace = (tmp_path / "f/stderr.txt").read_text().partition("\n")
    assert (code, "Traceback" in trace) == (1, True)
    assert first.endswith("ERROR flowport.cli.serve: Flowport ends: OSError: [Errno 24] Too many open files")


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_start_without_a_pipe_to_the_client_says_so(tmp_path: Path, closed: str) -> None:
    """In one line: a traceback would not help."""
    with open_child(tmp_path / "f", prefix=["sh", "-c", f'exec "$@" {closed}', "sh"]) as child:
        code = child.process.wait(timeout=60)
    (line,) = (tmp_path / "f/stderr.txt").read_text().splitlines()
    assert (code, "standard input or output is closed" in line) == (1, True)


@pytest.mark.parametrize("problem", [OSError(5, "Sad"), ExceptionGroup("", [ExceptionGroup("", [OSError(5, "Sad")])])])
def test_the_cause_of_the_end_is_named_without_its_exception_groups(problem: Exception) -> None:
    """The message of an exception group does not name a cause."""
    assert str(_find_first(problem)) == "[Errno 5] Sad"


def open_watch(process_id: int) -> int:
    """Return a descriptor that reports the end of a process, even if its number is used again."""
    if sys.platform != "linux":
        pytest.skip("only Linux lets a process be limited or watched from outside")
    return os.pidfd_open(process_id)


def has_ended(watch: int) -> bool:
    """Return whether a process has ended, giving it a moment."""
    ready, _, _ = select.select([watch], [], [], 2.0)
    os.close(watch)
    return bool(ready)
