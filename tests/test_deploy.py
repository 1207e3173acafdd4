"""Check the files of `deploy/` against the image, the settings, and each other."""

import json
import re
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import pytest

from flowport.settings.variables import get_variables

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
FILES = {name: (ROOT / "deploy" / f"{name}.yaml").read_text(encoding="utf-8") for name in ("compose", "compose-single")}
CADDY = (ROOT / "deploy/Caddyfile").read_text(encoding="utf-8")
NGINX = (ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "deploy/flowport.env.example").read_text(encoding="utf-8")


def get_services(text: str) -> dict[str, str]:
    """Return the text of each service of a compose file, with what it takes from the common part."""
    common = text.partition("\nx-flowport:")[2].partition("\nservices:\n")[0]
    services = text.partition("\nservices:\n")[2].partition("\nnetworks:\n")[0]
    parts = re.split(r"^  (\w+):\n", services, flags=re.MULTILINE)[1:]
    return {
        name: f"{common}{own}" if "<<: *flowport" in own else own
        for name, own in zip(parts[::2], parts[1::2], strict=True)
    }


SERVICES = {name: get_services(text) for name, text in FILES.items()}
OURS = [
    (name, service) for name, found in SERVICES.items() for service in found if service not in {"caddy", "postgres"}
]


def remove_comments(text: str) -> str:
    """Return a configuration without its comments."""
    return re.sub(r"(?m)^\s*#.*$", "", text)


@pytest.mark.parametrize(("name", "service"), [(name, one) for name, found in SERVICES.items() for one in found])
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
def test_no_container_has_more_rights_than_it_needs(name: str, service: str, line: str) -> None:
    """Roots are read-only, capabilities are dropped, and nothing can gain privileges."""
    assert line in SERVICES[name][service]


def test_a_team_on_a_database_has_two_replicas_and_a_worker() -> None:
    """Commands are run in a container of the first replica, whose name is the same in both files."""
    assert set(SERVICES["compose"]) == {"postgres", "flowport", "flowport2", "worker", "caddy"}
    assert set(SERVICES["compose-single"]) == {"flowport", "caddy"}
    assert "FLOWPORT_DATABASE_URL" not in FILES["compose-single"]


def test_a_worker_is_healthy_while_it_takes_jobs() -> None:
    """Its check is that of the image, but asks whether the worker is ready, at the address of its command."""
    worker = SERVICES["compose"]["worker"]
    port = re.findall(r'command: \["worker", "--http", "0\.0\.0\.0:(\d+)"\]', worker)[0]
    check = re.findall(r"test: (\[.+\])", worker)[0]
    image = re.findall(r"HEALTHCHECK .* CMD (\[.+\])", DOCKERFILE)[0]

    assert json.loads(check) == ["CMD", *json.loads(image.replace("/healthz", "/readyz"))]
    assert f"http://127.0.0.1:{port}/readyz" in check
    for option in ("interval=15s", "timeout=5s", "start-period=30s", "retries=3"):
        assert f"--{option}" in DOCKERFILE
        assert option.replace("=", ": ").replace("-", "_") in worker


@pytest.mark.parametrize("name", FILES)
def test_only_the_proxy_is_reached_from_outside_and_may_bind_low_ports(name: str) -> None:
    """Neither Flowport nor the database publishes a port or gets a capability."""
    for service, text in SERVICES[name].items():
        assert ("ports:" in text) is (service == "caddy")
        assert ("cap_add" in text) is (service == "caddy")
    assert "cap_add: [NET_BIND_SERVICE]" in SERVICES[name]["caddy"]
    assert "privileged: true" not in FILES[name]


@pytest.mark.parametrize(("name", "service"), OURS)
def test_the_server_trusts_the_proxy_of_its_network_alone(name: str, service: str) -> None:
    """Its address is fixed, so that no other container can forge who asks."""
    trusted = re.findall(r"FLOWPORT_TRUSTED_PROXIES: (\S+)", SERVICES[name][service])

    assert trusted == re.findall(r"ipv4_address: (\S+)", SERVICES[name]["caddy"])


@pytest.mark.parametrize("name", FILES)
def test_a_command_in_a_container_of_its_own_starts_beside_the_server(name: str) -> None:
    """A fixed address is refused to the second container (docker/compose#3497), and one given out is never the proxy's."""
    address = ip_address(re.findall(r"ipv4_address: (\S+)", SERVICES[name]["caddy"])[0])
    subnet, given_out = (IPv4Network(re.findall(rf"{key}: (\S+)", FILES[name])[0]) for key in ("subnet", "ip_range"))

    assert "ipv4_address" not in SERVICES[name]["flowport"]
    assert address in subnet
    assert given_out.subnet_of(subnet)
    assert address not in given_out


@pytest.mark.parametrize("name", FILES)
def test_the_proxy_waits_until_each_server_is_healthy_and_finds_it_at_its_port(name: str) -> None:
    """Image, health check, compose file and proxy agree on the port."""
    port = re.findall(r"EXPOSE (\d+)", DOCKERFILE)[0]
    caddy = SERVICES[name]["caddy"]
    replicas = [service for file, service in OURS if file == name and service != "worker"]

    assert re.findall(r"(\w+):\n        condition: service_healthy", caddy) == replicas
    assert f"SERVER_UPSTREAM: {' '.join(f'{one}:{port}' for one in replicas)}\n" in caddy
    assert f"http://127.0.0.1:{port}/healthz" in DOCKERFILE
    assert f'CMD ["serve", "--http", "0.0.0.0:{port}"]' in DOCKERFILE
    assert f"server 127.0.0.1:{port} max_fails=0;" in NGINX


@pytest.mark.parametrize(("name", "service"), OURS)
def test_the_stage_and_the_volume_of_the_compose_file_exist(name: str, service: str) -> None:
    """The server's image keeps everything that changes in one folder, which replicas and workers share."""
    target = re.findall(r"target: (\w+)", SERVICES[name][service])[0]
    volume = re.findall(r"VOLUME (\S+)", DOCKERFILE)[0]

    assert f" AS {target}\n" in DOCKERFILE
    assert f"flowport-data:{volume}\n" in SERVICES[name][service]
    assert [path for path in re.findall(r"FLOWPORT_[A-Z_]+=(\S+)", DOCKERFILE) if not path.startswith(volume)] == []


def test_every_setting_of_the_deployment_exists() -> None:
    """Flowport refuses names that it does not know."""
    known = {variable.name for variable in get_variables()}
    named = set(re.findall(r"\bFLOWPORT_[A-Z_]+", "".join(FILES.values()) + DOCKERFILE + EXAMPLE + CADDY + NGINX))

    assert named - known == set()


@pytest.mark.parametrize("name", FILES)
def test_every_variable_of_the_compose_file_is_in_the_example(name: str) -> None:
    """A missing one is named before anything starts."""
    wanted = set(re.findall(r"\$\{(\w+)", FILES[name]))
    given = set(re.findall(r"^(\w+)=", EXAMPLE, re.MULTILINE))
    caddy = SERVICES[name]["caddy"]

    assert wanted == given if name == "compose" else wanted < given
    assert re.findall(r"\$\{\w+(?!\w|:\?)", FILES[name]) == []
    assert set(re.findall(r"\{\$(\w+)", CADDY)) <= set(re.findall(r"^      (\w+):", caddy, re.MULTILINE))


def test_no_secret_and_no_key_is_part_of_the_deployment() -> None:
    """Keys are given when the server is set up; the file of settings is never committed."""
    texts = "".join(FILES.values()) + DOCKERFILE + EXAMPLE + CADDY + NGINX

    assert "_API_KEY=" not in texts
    assert "deploy/flowport.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").startswith("*\n")


@pytest.mark.parametrize("forbidden", ["flush_interval", "encode", "trusted_proxies"])
def test_caddy_neither_hides_clients_that_left_nor_holds_events_back(forbidden: str) -> None:
    """With `flush_interval -1` it goes on without the client (caddyserver/caddy#4952); `encode` delays events (#6293)."""
    assert forbidden not in remove_comments(CADDY)


def test_caddy_sends_each_token_to_one_replica_and_leaves_out_one_that_ends() -> None:
    """Sessions of the protocol before 2026-07-28 live in one process; a call is repeated only where no connection was made."""
    assert "lb_policy header Authorization" in CADDY
    assert "health_uri /healthz" in CADDY
    assert "lb_retry_match" not in CADDY


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
        "proxy_next_upstream error;",
        "hash $http_authorization consistent;",
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
