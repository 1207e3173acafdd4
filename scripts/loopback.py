"""Run the team server on this computer as `deploy/compose.yaml` does, without containers, until Ctrl-C.

It starts PostgreSQL from the system's programs, two replicas and a worker of Flowport on the sandbox, makes a token, and puts a
real reverse proxy with TLS in front: nginx or Caddy with the configuration of `deploy/`, of which only addresses and the
certificate are replaced. With `--single` it is one process with the store in its folder, as `deploy/compose-single.yaml` runs.
The certificate is self-signed. What it starts, it ends.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local_postgres import MISSING, find_programs, run_postgres

ROOT: Final = Path(__file__).resolve().parent.parent
DEPLOY: Final = ROOT / "deploy"
FLOWPORT: Final = Path(sys.executable).with_name("flowport")
PROXIES: Final = ("nginx", "caddy")
HOST: Final = "localhost"
START_SECONDS: Final = 60.0
_STEP_SECONDS: Final = 0.02
_SECRETS: Final = ("_API_KEY", "_WEBHOOK_SECRET")


@dataclass(frozen=True, slots=True)
class Server:
    """A running team server."""

    url: str
    """Where its clients reach it, without a slash at the end."""
    direct_urls: tuple[str, ...]
    """Where the proxy reaches each replica."""
    certificate: Path
    token: str
    home: Path
    processes: tuple[subprocess.Popen[str], ...]
    """The replicas, then the worker where there is one."""
    proxy: subprocess.Popen[str]
    settings: Mapping[str, str]

    @property
    def direct_url(self) -> str:
        """Where the proxy reaches the first replica."""
        return self.direct_urls[0]

    @property
    def process(self) -> subprocess.Popen[str]:
        """The first replica."""
        return self.processes[0]

    def add_token(self, name: str, *flags: str) -> str:
        """Return a new token."""
        return add_token(self.home, name, *flags, settings=self.settings)


def find_proxy(name: str) -> str | None:
    """Return the path of a proxy's program; Debian keeps nginx where only administrators look."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def run_process(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process, with its errors in a file, and end it: by SIGTERM, and by SIGKILL if it stays."""
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def reserve_port(port: int = 0) -> socket.socket:
    """Return a socket that holds a port without listening there, so that a proxy with SO_REUSEPORT can.

    Raises:
        RuntimeError: Another program has the port. Two proxies with SO_REUSEPORT would share its connections.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            raise RuntimeError(f"Port {port} cannot be used ({exc.strerror}). Give another one with --port.") from exc
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if sys.platform != "win32":
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", port))
    return held


def write_certificate(folder: Path) -> Path:
    """Write a self-signed certificate for this computer and its key, by OpenSSL's program; return the certificate."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "30",
    ]
    names = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST},IP:127.0.0.1"]
    usage = ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    written = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *names, *usage, *written], check=True, capture_output=True)
    return certificate


def replace_all(text: str, replacements: Mapping[str, str]) -> str:
    """Return a configuration with parts replaced.

    Raises:
        ValueError: A part is not there, so the file in `deploy/` has changed.
    """
    for old, new in replacements.items():
        if old not in text:
            raise ValueError(f"the configuration does not contain {old!r}")
        text = text.replace(old, new)
    return text


def build_nginx_config(folder: Path, port: int, upstreams: Sequence[str], changes: Mapping[str, str]) -> str:
    """Return a whole configuration of nginx around the one in `deploy/`."""
    site = replace_all(
        (DEPLOY / "nginx.conf").read_text(encoding="utf-8"),
        {
            "server 127.0.0.1:8765 max_fails=0;": " ".join(f"server {one} max_fails=0;" for one in upstreams),
            "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2 reuseport;",
            "flowport.example.com": HOST,
            "/etc/ssl/flowport/fullchain.pem": str(folder / "certificate.pem"),
            "/etc/ssl/flowport/privkey.pem": str(folder / "key.pem"),
            **changes,
        },
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    # Workers of a master that runs as root would have no right to the folder.
    user = "user root;" if sys.platform != "win32" and os.geteuid() == 0 else ""
    return f"""{user} daemon off; pid {folder}/nginx.pid; error_log stderr warn; worker_processes 1;
events {{ worker_connections 4096; }}
http {{ access_log off; {paths}
{site}
}}
"""


def build_caddy_config(folder: Path, port: int, upstreams: Sequence[str], changes: Mapping[str, str]) -> str:
    """Return the configuration of Caddy in `deploy/` for this computer."""
    # Debian 12 has Caddy 2.6, in which the option had another name.
    version = subprocess.run([find_proxy("caddy") or "caddy", "version"], check=True, capture_output=True, text=True)
    is_old = version.stdout.lstrip("v").startswith("2.6")
    old_option = {"request_buffers unlimited": "buffer_requests"} if is_old else {}
    tls = f"https://{HOST}:{port} {{\n\tbind 127.0.0.1\n\ttls {folder}/certificate.pem {folder}/key.pem\n"
    return replace_all(
        (DEPLOY / "Caddyfile").read_text(encoding="utf-8"),
        {
            "admin off": "admin off\n\tauto_https off",
            "{$SERVER_DOMAIN} {": tls,
            "{$SERVER_UPSTREAM}": " ".join(upstreams),
            **old_option,
            **changes,
        },
    )


@contextmanager
def run_proxy(
    kind: str, folder: Path, port: int, *upstreams: str, changes: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a proxy in front of one or more addresses.

    Args:
        changes: Parts of its configuration in `deploy/`, and what they are replaced by.
    """
    program = find_proxy(kind)
    if program is None:
        raise FileNotFoundError(kind)
    if kind == "nginx":
        config = folder / "nginx.conf"
        config.write_text(build_nginx_config(folder, port, upstreams, changes or {}), encoding="utf-8")
        command = [program, "-p", str(folder), "-c", str(config), "-e", "stderr"]
    else:
        config = folder / "Caddyfile"
        config.write_text(build_caddy_config(folder, port, upstreams, changes or {}), encoding="utf-8")
        command = [program, "run", "--config", str(config), "--adapter", "caddyfile"]
    environment = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    log = folder / f"{kind}.log"
    with run_process(command, environment, log) as process:
        wait_for_port(port, process, log)
        yield process


def wait_for_port(port: int, process: subprocess.Popen[str], log: Path) -> None:
    """Wait until a process accepts connections.

    Raises:
        RuntimeError: It ended, or takes too long.
    """
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_STEP_SECONDS)
    raise RuntimeError(f"the proxy did not begin to listen:\n{log.read_text(encoding='utf-8', errors='replace')}")


def build_environment(home: Path, **changes: str) -> dict[str, str]:
    """Return the environment of Flowport: this one without its settings and keys."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("FLOWPORT_") and not name.endswith(_SECRETS)
    }
    ours = {"FLOWPORT_HOME": str(home), "FLOWPORT_OUTPUT_DIR": str(home.with_name("outputs"))}
    return {**inherited, **ours, "XDG_CONFIG_HOME": str(home.with_name("config")), **changes}


def add_token(home: Path, name: str, *flags: str, settings: Mapping[str, str] | None = None) -> str:
    """Return a new token for the server of a home."""
    command = [str(FLOWPORT), "token", "add", name, "--json", *flags]
    environment = build_environment(home, **(settings or {}))
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return str(json.loads(done.stdout)["token"])


@contextmanager
def run_replica(environment: Mapping[str, str], log: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run one replica, and give its process and its address.

    Raises:
        RuntimeError: It did not start; the message has its log.
    """
    with run_process([str(FLOWPORT), "serve", "--http", "127.0.0.1:0"], environment, log) as process:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise RuntimeError(f"Flowport did not start:\n{log.read_text(encoding='utf-8')}")
        yield process, line.split("//")[1].partition("/")[0]


@contextmanager
def run_server(
    folder: Path,
    *,
    kind: str = "nginx",
    port: int = 0,
    changes: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    database_url: str = "",
) -> Iterator[Server]:
    """Run Flowport and a proxy in front of it.

    Args:
        port: Of the proxy; 0 for any free one.
        changes: Parts of the proxy's configuration, and what they are replaced by.
        settings: Further variables of Flowport.
        database_url: Of two replicas and a worker; empty for one process with the store in its home.
    """
    home = folder / "home"
    folder.mkdir(parents=True, exist_ok=True)
    certificate = write_certificate(folder)
    settings = {**(settings or {}), **({"FLOWPORT_DATABASE_URL": database_url} if database_url else {})}
    # A kept folder has the token of the last time, whose text is not on record.
    revoke = [str(FLOWPORT), "token", "revoke", "you"]
    subprocess.run(revoke, env=build_environment(home, **settings), check=False, capture_output=True)
    token = add_token(home, "you", settings=settings)
    with ExitStack() as stack:
        held = stack.enter_context(reserve_port(port))
        port = held.getsockname()[1]
        url = f"https://{HOST}:{port}"
        proxied = {"FLOWPORT_PUBLIC_URL": url, "FLOWPORT_TRUSTED_PROXIES": "127.0.0.1", "PYTHONUNBUFFERED": "1"}
        environment = build_environment(home, **proxied, **settings)
        logs = ("flowport", "flowport2") if database_url else ("flowport",)
        replicas = [stack.enter_context(run_replica(environment, folder / f"{name}.log")) for name in logs]
        processes = [process for process, _ in replicas]
        if database_url:
            worker = run_process([str(FLOWPORT), "worker"], environment, folder / "worker.log")
            processes.append(stack.enter_context(worker))
        upstreams = [upstream for _, upstream in replicas]
        proxy = stack.enter_context(run_proxy(kind, folder, port, *upstreams, changes=changes))
        addresses = tuple(f"http://{one}" for one in upstreams)
        yield Server(url, addresses, certificate, token, home, tuple(processes), proxy, settings)


def build_context(certificate: Path) -> ssl.SSLContext:
    """Return what trusts the self-signed certificate alone."""
    return ssl.create_default_context(cafile=str(certificate))


def main() -> int:
    """Run until a signal, or until one of the two processes ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    found = [name for name in PROXIES if find_proxy(name)]
    parser.add_argument("--proxy", choices=PROXIES, default=found[0] if found else PROXIES[0])
    parser.add_argument("--port", type=int, default=8443, help="The port of the proxy; 8443 by default, 0 for any.")
    parser.add_argument(
        "--folder", type=Path, help="Keep home, results and certificate there; a temporary folder otherwise."
    )
    parser.add_argument(
        "--single", action="store_true", help="One process with the store in its folder, without PostgreSQL."
    )
    given = parser.parse_args()
    if not given.single and find_programs() is None:
        print(f"{MISSING}; or try one process with --single.", file=sys.stderr)
        return 1
    for program in (given.proxy, "openssl"):
        if find_proxy(program) is None:
            print(f"{program} is not installed. On Debian: sudo apt install {program}", file=sys.stderr)
            return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as stack:
        kept = given.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="flowport-loopback-"))
        try:
            folder = Path(kept).resolve()
            url = "" if given.single else stack.enter_context(run_database(folder))
            server = stack.enter_context(run_server(folder, kind=given.proxy, port=given.port, database_url=url))
            show(server, given.proxy)
            while all(one.poll() is None for one in (*server.processes, server.proxy)):
                time.sleep(1)
            print("One of the processes has ended; the logs in the folder say why.", file=sys.stderr)
        except KeyboardInterrupt:
            return 0
        except (OSError, RuntimeError) as exc:
            print(exc, file=sys.stderr)
    return 1


@contextmanager
def run_database(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL whose files are in a folder, and give the address of its database."""
    folder.mkdir(parents=True, exist_ok=True)
    # Its user has no right to our folder, and the path of its socket is short.
    with tempfile.TemporaryDirectory(prefix="flowport-pg-", ignore_cleanup_errors=True) as short:
        data, kept = Path(short) / "data", folder / "postgres"
        if kept.exists():
            shutil.move(kept, data)
        try:
            with run_postgres(Path(short)) as server:
                yield server.ensure_database("flowport")
        finally:
            if data.exists():
                shutil.move(data, kept)


def show(server: Server, proxy: str) -> None:
    """Print how to use a server."""
    what = "Two replicas and a worker run" if len(server.processes) > 1 else "The team server runs"
    print(f"{what} on the sandbox behind {proxy} until Ctrl-C.")
    print(f"  MCP endpoint  {server.url}/mcp")
    print(f"  gallery       {server.url}/gallery/")
    print(f"  token         {server.token}")
    print(f"  certificate   {server.certificate}")
    print(f"  try it        curl --cacert {server.certificate} {server.url}/healthz", flush=True)


if __name__ == "__main__":
    sys.exit(main())
