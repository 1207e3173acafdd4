"""Webhooks that no provider has sent: none of them causes a read, whatever they look like."""

import base64
import json
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from flowport.web.signing import Purpose, load_signer
from tests.fakes.magnific.webhooks import SecretReading, build_signature
from tests.support.callers import HttpCall
from tests.support.children import CONDITIONS
from tests.support.patience import poll_until
from tests.support.provider_process import ProviderProcess, open_provider
from tests.support.public_server import PublicServer, open_public_server

TOOL: Final = "text_to_picture"
TARGETS: Final = 4
MAX_FOR_TARGET: Final = 40
"""Fewer than a run may have in a minute, so that no attack is refused for its number."""
OK: Final = 200
LARGE: Final = 300_000


@dataclass(frozen=True, slots=True)
class Target:
    """A run that goes on, and a true delivery about it that the attacker has seen."""

    run_id: str
    path: str
    provider_run_id: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Attack:
    """One request."""

    name: str
    path: str
    method: str = "POST"
    headers: "Lines" = ()
    body: bytes = b""
    is_raw: bool = False
    """Whether the headers say how long the body is."""
    is_cut: bool = False
    """Whether the connection ends before the body does."""


@dataclass
class World:
    """The server under attack."""

    provider: ProviderProcess
    server: PublicServer
    secret: str
    is_signed: bool
    calls: list[HttpCall] = field(default_factory=list)

    def count_reads(self) -> int:
        """Return how often the provider was asked for a run."""
        return int(self.provider.ask("counts")["status"])

    def is_over(self, provider_run_id: str) -> bool:
        """Return whether the provider has ended a run."""
        return self.provider.ask("runs")["runs"][provider_run_id]["completed_at"] is not None

    def send(self, attack: Attack) -> int:
        """Send a request byte by byte, and return the status of its answer; 0 where the connection was closed."""
        parts = urlsplit(self.server.doorway.url)
        lines = [f"{attack.method} ".encode() + attack.path.encode() + b" HTTP/1.1", f"Host: {parts.netloc}".encode()]
        lines += [name.encode() + b": " + value for name, value in attack.headers]
        lines += [] if attack.is_raw else [f"Content-Length: {len(attack.body)}".encode()]
        head = b"\r\n".join([*lines, b"Connection: close", b"", b""])
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as connection:
            try:
                connection.sendall(head + attack.body)
                if attack.is_cut:
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it was refused while it was sent
            answer = b""
            try:
                while chunk := connection.recv(65_536):
                    answer += chunk
            except ConnectionResetError:
                pass
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0

    def sign(self, body: bytes, *, secret: str = "", age: float = 0.0, message_id: str = "msg_new") -> dict[str, str]:
        """Return the headers of a body, signed now with the true secret unless it is given another."""
        return build_signature(
            body, secret or self.secret, SecretReading.TEXT, message_id=message_id, now=time.time() - age
        )


@pytest.fixture(scope="module", params=[True, False], ids=["signed", "unsigned"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run a provider and a Flowport, which knows from a first run that webhooks arrive."""
    folder = tmp_path_factory.mktemp("forged")
    with open_provider(folder / "provider", speed=0.02) as provider:
        secret = provider.ask("webhooks")["secret"]
        # Nothing is read by itself, so that each read was caused by an event.
        environment = {**provider.environment, "FLOWPORT_REQUESTS_PER_MINUTE": "0", CONDITIONS: "pace=86400"}
        if request.param:
            environment["MAGNIFIC_WEBHOOK_SECRET"] = secret
        with open_public_server(folder / "flowport", environment) as server:
            call = server.connect().call(TOOL, {"prompt": "the first"})
            assert call.read()[1]["result"]["structuredContent"]["state"] == "succeeded"
            yield World(provider, server, secret, request.param)


def hold_target(world: World, prompt: str) -> Target:
    """Start a run that goes on, and return what an attacker may know of it."""
    seen = len(world.provider.ask("webhooks")["deliveries"])
    world.provider.ask("next_run", {"hold": True})
    world.calls.append(world.server.connect().call(TOOL, {"prompt": prompt}))
    poll_until(lambda: len(world.provider.ask("webhooks")["deliveries"]) > seen)
    delivery = world.provider.ask("webhooks")["deliveries"][seen]
    path = urlsplit(delivery["url"]).path
    return Target(path.split("/")[3], path, delivery["run_id"], delivery["headers"], delivery["body"].encode())


Lines = tuple[tuple[str, bytes], ...]


def to_lines(headers: Mapping[str, str]) -> Lines:
    """Return headers as they are written."""
    return tuple((name, value.encode()) for name, value in headers.items())


def forge_paths(world: World, target: Target, other: Target) -> Iterator[Attack]:
    """Yield a true event at addresses that are not that run's."""
    event = finish(target)
    headers, (_, _, provider, run_id, signature) = to_lines(world.sign(event)), target.path.split("/")
    signer = load_signer(world.server.home)
    others = {purpose: signer.sign(purpose, f"magnific\n{run_id}") for purpose in Purpose if purpose != Purpose.WEBHOOK}
    flipped = ("0" if signature[0] != "0" else "1") + signature[1:]
    paths = {
        "signature changed": f"/webhooks/{provider}/{run_id}/{flipped}",
        "signature cut": f"/webhooks/{provider}/{run_id}/{signature[:-1]}",
        "signature extended": f"/webhooks/{provider}/{run_id}/{signature}0",
        "signature of capitals": f"/webhooks/{provider}/{run_id}/{signature.upper()}A",
        "signature empty": f"/webhooks/{provider}/{run_id}/",
        "signature missing": f"/webhooks/{provider}/{run_id}",
        "signature not ASCII": f"/webhooks/{provider}/{run_id}/%E2%98%83",
        "signature of another run": f"/webhooks/{provider}/{run_id}/{other.path.rpartition('/')[2]}",
        "other provider": f"/webhooks/magica/{run_id}/{signature}",
        "unknown provider": f"/webhooks/acme/{run_id}/{signature}",
        "run unknown": f"/webhooks/{provider}/run_0000000000/{signature}",
        "run of a signed path that is not on record": "/webhooks/magnific/run_gone/"
        + signer.sign(Purpose.WEBHOOK, "magnific\nrun_gone"),
        "run and provider joined": f"/webhooks/magnific%0A{run_id}/x/{signature}",
        "newline in the run": f"/webhooks/{provider}/{run_id}%0A/{signature}",
        "NUL in the run": f"/webhooks/{provider}/{run_id}%00/{signature}",
        "slash in the run": f"/webhooks/{provider}/{run_id}%2F/{signature}",
        "dots": f"/webhooks/{provider}/../{provider}/{run_id}/{signature}",
        "long": f"/webhooks/{provider}/{run_id}/{'0' * 8000}",
        "double slash": f"//webhooks/{provider}/{run_id}/{signature}",
        "path of another run": other.path,
        **{f"signature for {purpose}": f"/webhooks/{provider}/{run_id}/{text}" for purpose, text in others.items()},
    }
    for name, path in paths.items():
        yield Attack(f"path, {name}", path, headers=headers, body=event)
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        yield Attack(f"method {method}", target.path, method, headers, event)


def finish(target: Target) -> bytes:
    """Return the body of an event that announces the end of a run."""
    return json.dumps({"event": "finished", "run_id": target.provider_run_id, "status": "completed"}).encode()


def forge_signatures(world: World, target: Target) -> Iterator[Attack]:
    """Yield an event at its own address that the provider has not signed, or not now."""
    event = finish(target)
    true = world.sign(event)
    signature, sent_at = true["webhook-signature"], true["webhook-timestamp"]
    changed: dict[str, Mapping[str, str | None]] = {
        "no id": {"webhook-id": None},
        "no timestamp": {"webhook-timestamp": None},
        "no signature": {"webhook-signature": None},
        "nothing": dict.fromkeys(true),
        "empty id": {"webhook-id": ""},
        "empty timestamp": {"webhook-timestamp": ""},
        "empty signature": {"webhook-signature": ""},
        "another id": {"webhook-id": "msg_other"},
        "another timestamp": {"webhook-timestamp": str(int(sent_at) + 1)},
        "timestamp 0": {"webhook-timestamp": "0"},
        "negative timestamp": {"webhook-timestamp": f"-{sent_at}"},
        "fraction": {"webhook-timestamp": f"{sent_at}.0"},
        "exponent": {"webhook-timestamp": "1e9"},
        "not a number": {"webhook-timestamp": "nan"},
        "endless": {"webhook-timestamp": "inf"},
        "leading zero": {"webhook-timestamp": f"0{sent_at}"},
        "milliseconds": {"webhook-timestamp": f"{sent_at}000"},
        "huge timestamp": {"webhook-timestamp": "9" * 400},
        "digits of another script": {"webhook-timestamp": "\N{ARABIC-INDIC DIGIT ONE}" * 10},
        "id not ASCII": {"webhook-id": "\N{SNOWMAN}"},
        "long id": {"webhook-id": "m" * 5000},
        "signature not ASCII": {"webhook-signature": "v1,\N{SNOWMAN}"},
        "bad base64": {"webhook-signature": "v1,!!!!"},
        "padding alone": {"webhook-signature": "v1,===="},
        "cut": {"webhook-signature": signature[:-4]},
        "without version": {"webhook-signature": signature.rpartition(",")[2]},
        "another version": {"webhook-signature": signature.replace("v1,", "v2,")},
        "several wrong ones": {"webhook-signature": " ".join(["v1,AAAA"] * 16)},
        "beyond the sixteenth": {"webhook-signature": "v1,AAAA " * 16 + signature},
        "hexadecimal": {"webhook-signature": "v1," + base64.b64decode(signature.rpartition(",")[2]).hex()},
        "seen for another body": dict(target.headers) if world.is_signed else dict.fromkeys(true),
    }
    for name, change in changed.items():
        whole: Mapping[str, str | None] = {**true, **change}
        headers = {name: value for name, value in whole.items() if value is not None}
        yield Attack(f"signature, {name}", target.path, headers=to_lines(headers), body=event)
    made = {
        "wrong secret": world.sign(event, secret="whsec_AAAA"),
        "empty secret": world.sign(event, secret=" "),
        "stale": world.sign(event, age=301 + 5),
        "from the future": world.sign(event, age=-306),
        "a year old": world.sign(event, age=365 * 86_400),
        "of another body": world.sign(event + b" "),
        "under another provider's headers": {f"svix-{name[8:]}": value for name, value in true.items()},
    }
    for name, headers in made.items():
        yield Attack(f"signature, {name}", target.path, headers=to_lines(headers), body=event)
    doubled: Lines = (*to_lines(true), ("webhook-id", b"msg_other"))
    yield Attack("signature, two ids", target.path, headers=doubled, body=event)
    doubled = (*to_lines(true), ("Webhook-Timestamp", b"1"))
    yield Attack("signature, two timestamps", target.path, headers=doubled, body=event)


def forge_bodies(world: World, target: Target, other: Target) -> Iterator[Attack]:
    """Yield bodies that are no event of the run, signed as far as the server asks for it."""
    run_id = json.dumps(target.provider_run_id)[1:-1]
    bodies = {
        "empty": b"",
        "text": b"finished",
        "null": b"null",
        "number": b"5",
        "array": b"[]",
        "object without run": b"{}",
        "run null": b'{"event": "finished", "run_id": null}',
        "run true": b'{"event": "finished", "run_id": true}',
        "run a list": b'{"event": "finished", "run_id": ["%s"]}' % run_id.encode(),
        "run an object": b'{"event": "finished", "run_id": {"id": "%s"}}' % run_id.encode(),
        "run of another": finish(other),
        "run with a suffix": b'{"event": "finished", "run_id": "%sx"}' % run_id.encode(),
        "run too long": b'{"event": "finished", "run_id": "%s"}' % (b"x" * 5000),
        "run twice": b'{"run_id": "zzzz", "event": "finished", "run_id": "%s"}' % run_id.encode(),
        "name twice inside": b'{"run_id": "%s", "result": {"a": 1, "a": 2}}' % run_id.encode(),
        "NaN": b'{"run_id": "%s", "cost": NaN}' % run_id.encode(),
        "Infinity": b'{"run_id": "%s", "cost": -Infinity}' % run_id.encode(),
        "deep": b'{"run_id": "%s", "x": %s}' % (run_id.encode(), b"[" * 50_000 + b"]" * 50_000),
        "deep and open": b"[" * 100_000,
        "half": finish(target)[:-2],
        "two documents": finish(target) * 2,
        "not UTF-8": b'{"run_id": "%s", "x": "\xff\xfe"}' % run_id.encode(),
        "UTF-16": finish(target).decode().encode("utf-16"),
        "byte order mark": b"\xef\xbb\xbf" + finish(target),
        "form": b"run_id=" + run_id.encode(),
        "too large": b'{"run_id": "%s", "x": "%s"}' % (run_id.encode(), b"x" * LARGE),
    }
    for name, body in bodies.items():
        signed = world.sign(body.decode(errors="replace").encode(), message_id=f"msg_{len(body)}")
        yield Attack(f"body, {name}", target.path, headers=to_lines(signed), body=body)
    large = b"%x\r\n%s\r\n0\r\n\r\n" % (LARGE, b"x" * LARGE)
    drops = b"".join(b"800\r\n%s\r\n" % (b" " * 2048) for _ in range(200)) + b"0\r\n\r\n"
    own = to_lines(world.sign(finish(target)))
    chunked: Lines = (*own, ("Transfer-Encoding", b"chunked"))
    yield Attack("body, one chunk too large", target.path, headers=chunked, body=large, is_raw=True)
    yield Attack("body, chunks too many", target.path, headers=chunked, body=drops, is_raw=True)
    for name, length in {"longer": b"5000", "negative": b"-1", "endless": b"9" * 30, "word": b"many"}.items():
        stated: Lines = (*own, ("Content-Length", length))
        yield Attack(f"body, length {name} than it is", target.path, headers=stated, body=finish(target), is_raw=True)
    both: Lines = (*chunked, ("Content-Length", b"3"))
    yield Attack("body, both lengths", target.path, headers=both, body=large, is_raw=True)


def test_no_forged_webhook_has_an_effect(world: World) -> None:
    """Each is refused, none causes a read at the provider, and the runs are read when their true events come."""
    world.provider.ask("webhooks", {"signed": world.is_signed, "lost": ["finished"]})
    targets = [hold_target(world, f"target {number}") for number in range(TARGETS)]
    attacks = [*forge_paths(world, targets[0], targets[1])]
    if world.is_signed:
        attacks += forge_signatures(world, targets[2])
    attacks += forge_bodies(world, targets[3], targets[1])
    before = world.count_reads()
    statuses = {attack.name: world.send(attack) for attack in attacks}
    accepted = {name: status for name, status in statuses.items() if OK <= status < 300}
    assert accepted == {}
    # Whether the last one gets an answer before its connection ends is left open.
    answered = {status for name, status in statuses.items() if name != "body, length longer than it is"}
    assert answered == {400, 401, 404, 405, 413} - ({401} if not world.is_signed else set()), statuses
    assert world.count_reads() == before
    # A true delivery about a run that goes on, repeated as it is: it has had its effect, and has none again.
    repeated = [
        world.send(Attack("replay", one.path, headers=to_lines(one.headers), body=one.body)) for one in targets * 2
    ]
    assert set(repeated) == {OK}
    assert world.count_reads() == before
    kind = "signed" if world.is_signed else "unsigned"
    counted = f"{len(attacks)} forged or malformed and {len(repeated)} replayed / {len(accepted)} accepted"
    sys.stdout.write(f"\nwebhooks, {kind}: {counted}\n")
    assert len(attacks) >= (60 if world.is_signed else 40)

    world.provider.ask("webhooks", {"signed": world.is_signed})
    for one in targets:
        world.provider.ask(f"runs/{one.provider_run_id}", {"release": True})
        poll_until(partial(world.is_over, one.provider_run_id))
        event = finish(one)
        true = to_lines(world.sign(event, message_id=f"msg_{one.run_id}"))
        assert world.send(Attack("true", one.path, headers=true, body=event)) == OK
    states = {call.read()[1]["result"]["structuredContent"]["state"] for call in world.calls}
    assert states == {"succeeded"}


def test_no_other_run_settles_an_unknown_start(world: World) -> None:
    """Neither an id that the provider does not know nor the id of another of our runs is taken for the lost one."""
    client = world.server.connect()
    other = client.call(TOOL, {"prompt": "another run"}).read()[1]["result"]["structuredContent"]
    assert other["state"] == "succeeded"
    named = [one["run_id"] for one in world.provider.ask("webhooks")["deliveries"]][-1]
    world.provider.ask("faults", {"operation": "run", "fault": "reset"})
    facts = client.call(TOOL, {"prompt": "lost on the way"}).read()[1]["result"]["structuredContent"]
    assert facts["state"] == "unknown"
    signature = load_signer(world.server.home).sign(Purpose.WEBHOOK, f"magnific\n{facts['run_id']}")
    path = f"/webhooks/magnific/{facts['run_id']}/{signature}"
    for number, run_id in enumerate(("unknownRun", named)):
        body = json.dumps({"event": "finished", "run_id": run_id}).encode()
        headers = to_lines(world.sign(body, message_id=f"msg_{number}_{facts['run_id']}"))
        # It should be delivered again: an id may not be readable at once.
        assert world.send(Attack(run_id, path, headers=headers, body=body)) == 503
    shown = client.call("get_run", {"run_id": facts["run_id"]}).read()[1]["result"]["structuredContent"]
    assert (shown["state"], "outputs" in shown) == ("unknown", False)


def test_many_deliveries_of_one_run_are_refused(world: World) -> None:
    """A sender that repeats itself takes no part of the server from others."""
    world.provider.ask("webhooks", {"signed": world.is_signed})
    call = world.server.connect().call(TOOL, {"prompt": "many"})
    run = call.read()[1]["result"]["structuredContent"]
    assert run["state"] == "succeeded"
    delivery = world.provider.ask("webhooks")["deliveries"][-1]
    attack = Attack(
        "many", urlsplit(delivery["url"]).path, headers=to_lines(delivery["headers"]), body=delivery["body"].encode()
    )
    statuses = [world.send(attack) for _ in range(70)]
    assert set(statuses) == {200, 429}
    assert statuses[-1] == 429


def test_paths_of_a_home_stay_after_its_secret_was_replaced(world: World, tmp_path: Path) -> None:
    """A new secret stands above the older one, which verifies the addresses of runs that were started before."""
    signer = load_signer(tmp_path)
    signature = signer.sign(Purpose.WEBHOOK, "magnific\nrun_1")
    file = tmp_path / "web-secrets"
    file.write_text("f" * 64 + "\n" + file.read_text())
    replaced = load_signer(tmp_path)
    assert replaced.is_valid(Purpose.WEBHOOK, "magnific\nrun_1", signature)
    assert replaced.sign(Purpose.WEBHOOK, "magnific\nrun_1") != signature
