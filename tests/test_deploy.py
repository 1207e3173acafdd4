"""Check the files of `deploy/` against the image, the settings, and each other."""

import re
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import pytest

from flowport.settings.variables import get_variables

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (ROOT / "deploy/compose.yaml").read_text(encoding="utf-8")
CADDY = (ROOT / "deploy/Caddyfile").read_text(encoding="utf-8")
NGINX = (ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "deploy/flowport.env.example").read_text(encoding="utf-8")


def get_services() -> dict[str, str]:
    """Return the text of each service of the compose file."""
    services = COMPOSE.partition("\nservices:\n")[2].partition("\nnetworks:\n")[0]
    parts = re.split(r"^  (\w+):\n", services, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


SERVICES = get_services()


def remove_comments(text: str) -> str:
    """Return a configuration without its comments."""
    return re.sub(r"(?m)^\s*#.*$", "", text)


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(
    "line",
    [
        "read_only: true",
        "cap_drop: [ALL]",
        '"no-new-privileges:true"',
        "restart: unless-stopped",
        "noexec,nosuid,nodev",
    ],
)
def test_no_container_has_more_rights_than_it_needs(name: str, line: str) -> None:
    """Roots are read-only, capabilities are dropped, and nothing can gain privileges."""
    assert line in SERVICES[name]


def test_only_the_proxy_is_reached_from_outside_and_may_bind_low_ports() -> None:
    """Flowport publishes no port and gets no capability."""
    assert set(SERVICES) == {"flowport", "caddy"}
    assert "ports:" not in SERVICES["flowport"]
    assert "cap_add" not in SERVICES["flowport"]
    assert "cap_add: [NET_BIND_SERVICE]" in SERVICES["caddy"]
    assert "privileged: true" not in COMPOSE


def test_the_server_trusts_the_proxy_of_its_network_alone() -> None:
    """Its address is fixed, so that no other container can forge who asks."""
    trusted = re.findall(r"FLOWPORT_TRUSTED_PROXIES: (\S+)", SERVICES["flowport"])

    assert trusted == re.findall(r"ipv4_address: (\S+)", SERVICES["caddy"])


def test_a_command_in_a_container_of_its_own_starts_beside_the_server() -> None:
    """A fixed address is refused to the second container (docker/compose#3497), and one given out is never the proxy's."""
    address = ip_address(re.findall(r"ipv4_address: (\S+)", SERVICES["caddy"])[0])
    subnet, given_out = (IPv4Network(re.findall(rf"{name}: (\S+)", COMPOSE)[0]) for name in ("subnet", "ip_range"))

    assert "ipv4_address" not in SERVICES["flowport"]
    assert address in subnet
    assert given_out.subnet_of(subnet)
    assert address not in given_out


def test_the_proxy_waits_until_the_server_is_healthy_and_finds_it_at_its_port() -> None:
    """Image, health check, compose file and proxy agree on the port."""
    port = re.findall(r"EXPOSE (\d+)", DOCKERFILE)[0]

    assert "condition: service_healthy" in SERVICES["caddy"]
    assert f"SERVER_UPSTREAM: flowport:{port}" in SERVICES["caddy"]
    assert f"http://127.0.0.1:{port}/healthz" in DOCKERFILE
    assert f'CMD ["serve", "--http", "0.0.0.0:{port}"]' in DOCKERFILE
    assert f"127.0.0.1:{port};" in NGINX


def test_the_stage_and_the_volume_of_the_compose_file_exist() -> None:
    """The server's image keeps everything that changes in one folder."""
    target = re.findall(r"target: (\w+)", SERVICES["flowport"])[0]
    volume = re.findall(r"VOLUME (\S+)", DOCKERFILE)[0]

    assert f" AS {target}\n" in DOCKERFILE
    assert f"flowport-data:{volume}\n" in SERVICES["flowport"]
    assert [path for path in re.findall(r"FLOWPORT_[A-Z_]+=(\S+)", DOCKERFILE) if not path.startswith(volume)] == []


def test_every_setting_of_the_deployment_exists() -> None:
    """Flowport refuses names that it does not know."""
    known = {variable.name for variable in get_variables()}
    named = set(re.findall(r"\bFLOWPORT_[A-Z_]+", COMPOSE + DOCKERFILE + EXAMPLE + CADDY + NGINX))

    assert named - known == set()


def test_every_variable_of_the_compose_file_is_in_the_example() -> None:
    """A missing one is named before anything starts."""
    wanted = set(re.findall(r"\$\{(\w+)", COMPOSE))
    given = set(re.findall(r"^(\w+)=", EXAMPLE, re.MULTILINE))

    assert wanted == given
    assert re.findall(r"\$\{\w+(?!\w|:\?)", COMPOSE) == []
    assert set(re.findall(r"\{\$(\w+)", CADDY)) <= set(re.findall(r"^      (\w+):", SERVICES["caddy"], re.MULTILINE))


def test_no_secret_and_no_key_is_part_of_the_deployment() -> None:
    """Keys are given when the server is set up; the file of settings is never committed."""
    texts = COMPOSE + DOCKERFILE + EXAMPLE + CADDY + NGINX

    assert "_API_KEY=" not in texts
    assert "deploy/flowport.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").startswith("*\n")


@pytest.mark.parametrize("forbidden", ["flush_interval", "encode", "trusted_proxies"])
def test_caddy_neither_hides_clients_that_left_nor_holds_events_back(forbidden: str) -> None:
    """With `flush_interval -1` it goes on without the client (caddyserver/caddy#4952); `encode` delays events (#6293)."""
    assert forbidden not in remove_comments(CADDY)


def test_caddy_reads_a_message_before_it_passes_it_on() -> None:
    """Otherwise it loses some answers over HTTP/1 (caddyserver/caddy#5431); files are passed on as they come."""
    uploads, rest = remove_comments(CADDY).split("handle {")

    assert "request_buffers" not in uploads
    assert "request_buffers unlimited" in rest
    assert "max_size 20MB" in rest


@pytest.mark.parametrize(
    "line",
    [
        "proxy_buffering off;",
        "proxy_request_buffering off;",
        "proxy_http_version 1.1;",
        "proxy_read_timeout 1h;",
        "proxy_next_upstream off;",
        "access_log off;",
        "proxy_ignore_client_abort off;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_set_header X-Forwarded-Proto $scheme;",
        "proxy_set_header Host $http_host;",
        'proxy_set_header Forwarded "";',
    ],
)
def test_nginx_passes_events_on_and_what_clients_claim_not(line: str) -> None:
    """Each of these is needed; the verify suite runs the file in a real nginx."""
    assert line in remove_comments(NGINX)
