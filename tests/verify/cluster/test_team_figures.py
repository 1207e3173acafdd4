"""What replicas share: one request limit, one spending cap, and news of what a webhook has announced to another of them."""

import http.client
import json
import statistics
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import pytest

from tests.fakes.magnific.webhooks import SecretReading, build_signature
from tests.support.callers import MODERN, HttpCall, HttpCaller
from tests.support.cluster import Member, Team, open_team
from tests.support.provider_process import ProviderProcess, open_provider
from tests.verify.cluster.load import report

LATENCY_RUNS: Final = 15
MAX_LATENCY_SECONDS: Final = 0.1
CAP_CREDITS: Final = 101
PARALLEL_CALLS: Final = 50
"""At each replica."""
PRICES: Final = {"text_to_picture": 2, "always_fails": 1}
TEXTS: Final = {"text_to_picture": "prompt", "always_fails": "note"}
IDS: Final = {"text_to_picture": "t2P6yGfJ0x", "always_fails": "aF8oHb5ErK"}
LIMIT: Final = 50
"""The documented one; above it a limit is learned."""
MINUTE_SECONDS: Final = 60.0
MIN_SHARE: Final = 0.9
"""The aim is 95 %, which the printed figure reaches on a machine without other work; a busy one delays requests."""
SETTINGS: Final = {
    "FLOWPORT_REQUESTS_PER_MINUTE": "0",
    "FLOWPORT_PERSON_REQUESTS_PER_MINUTE": "1000000",
    "FLOWPORT_PERSON_MAX_WAITING_CALLS": "1000",
    "FLOWPORT_PREVIEWS": "false",
}


def wait_for_event(provider: ProviderProcess, seen: int) -> dict[str, Any]:
    """Return the next delivery of a webhook."""
    while len(deliveries := provider.ask("webhooks")["deliveries"]) == seen:
        time.sleep(0.01)
    found: dict[str, Any] = deliveries[seen]
    return found


def post_event(replica: Member, delivery: dict[str, Any], secret: str) -> int:
    """Announce to a replica that a run is over, as the provider does, and return the status of the answer."""
    event = {"event": "finished", "run_id": delivery["run_id"], "status": "completed"}
    body = json.dumps(event).encode()
    message_id = f"msg_{delivery['run_id']}"
    headers = build_signature(body, secret, SecretReading.TEXT, message_id=message_id, now=time.time())
    connection = http.client.HTTPConnection(urlsplit(replica.url).netloc, timeout=60)
    try:
        connection.request(
            "POST", urlsplit(delivery["url"]).path, body, {**headers, "content-type": "application/json"}
        )
        return connection.getresponse().status
    finally:
        connection.close()


def measure_latency(team: Team, provider: ProviderProcess, secret: str, number: int, stack: ExitStack) -> float:
    """Return the seconds from the event of an end at one replica to the answer at a client that waits at another."""
    waiting, reached = team.replicas[number % 3], team.replicas[(number + 1) % 3]
    seen = len(provider.ask("webhooks")["deliveries"])
    provider.ask("next_run", {"hold": True})
    caller = HttpCaller(f"{waiting.url}/mcp", MODERN, stack, team.tokens["anna"])
    call: HttpCall = caller.call("text_to_picture", {"prompt": f"a lake, {number}"})
    delivery = wait_for_event(provider, seen)
    provider.ask(f"runs/{delivery['run_id']}", {"release": True})
    while provider.ask("runs")["runs"][delivery["run_id"]]["completed_at"] is None:
        time.sleep(0.01)
    began = time.perf_counter()
    assert post_event(reached, delivery, secret) == http.client.OK
    answer = call.read()[1]
    ended = time.perf_counter()
    assert answer["result"]["structuredContent"]["state"] == "succeeded", answer
    return ended - began


def test_a_webhook_at_one_replica_answers_a_call_at_another(tmp_path: Path) -> None:
    """A worker gets the news at once, reads the run and saves its file, and the replica answers; the median is printed."""
    with open_provider(tmp_path / "provider", "--quick") as provider, ExitStack() as stack:
        secret = provider.ask("webhooks")["secret"]
        settings = {**SETTINGS, "MAGNIFIC_WEBHOOK_SECRET": secret}
        team = stack.enter_context(open_team(tmp_path / "team", provider, settings=settings))
        provider.ask("webhooks", {"lost": ["finished"]})
        seconds = sorted(measure_latency(team, provider, secret, n, stack) for n in range(LATENCY_RUNS))
    found = (statistics.median(seconds) * 1000, seconds[0] * 1000, seconds[-1] * 1000)
    text = "median {:.0f} ms, best {:.0f} ms, worst {:.0f} ms".format(*found)
    report(f"webhook at one replica to the result at a client of another: {text} of {LATENCY_RUNS}")
    assert statistics.median(seconds) <= MAX_LATENCY_SECONDS


async def call_together(team: Team, name: str) -> Counter[str]:
    """Send so many calls to each replica at once, and return how they ended."""
    ends: Counter[str] = Counter()

    async def call(client: Any, app: str, text: str) -> None:
        """Make one call."""
        result = await client.call_tool("run_app", {"app": app, "arguments": {TEXTS[app]: text}})
        ends["refused" if result.is_error else str(result.structured_content["state"])] += 1

    async def call_one(replica: Member) -> None:
        """Make all calls to a replica."""
        async with team.connect(team.tokens[name], url=replica.url) as client, anyio.create_task_group() as tasks:
            for number in range(PARALLEL_CALLS):
                tasks.start_soon(call, client, [*PRICES][number % 2], f"{replica.name} {number}")

    async with anyio.create_task_group() as tasks:
        for replica in team.replicas:
            tasks.start_soon(call_one, replica)
    return ends


@pytest.mark.parametrize("setting", ["FLOWPORT_MAX_CREDITS_PER_DAY", "FLOWPORT_ACCOUNT_MAX_CREDITS_PER_MONTH"])
async def test_a_cap_holds_over_replicas(setting: str, tmp_path: Path) -> None:
    """Calls for more than twice as much at the same time spend the cap, and not one credit above."""
    with open_provider(tmp_path / "provider", "--quick") as provider:
        settings = {**SETTINGS, setting: str(CAP_CREDITS)}
        with open_team(tmp_path / "team", provider, proxy="", settings=settings) as team:
            ends = await call_together(team, "anna")
            started = provider.ask("counts")["runs_accepted_by_app"]
    spent = sum(price * started.get(IDS[app], 0) for app, price in PRICES.items())
    report(
        f"{setting}={CAP_CREDITS} over 3 replicas x {PARALLEL_CALLS} calls: {spent} credits spent, calls ended {dict(ends)}"
    )
    assert CAP_CREDITS - 1 <= spent <= CAP_CREDITS
    assert set(ends) == {"succeeded", "refused"}


def count_limited(counts: dict[str, Any]) -> int:
    """Return the number of requests that the provider's limit counts."""
    return sum(value for name, value in counts.items() if isinstance(value, int) and name not in _NOT_LIMITED)


_NOT_LIMITED: Final = {"files", "upload", "runs_accepted", "refused_429"}


@pytest.mark.parametrize("is_working", [True, False], ids=["replicas that work", "two workers"])
async def test_one_request_limit_is_used_and_kept_by_all(tmp_path: Path, *, is_working: bool) -> None:
    """The provider refuses nothing, and in a minute under load gets nearly all requests that it allows."""
    with open_provider(tmp_path / "provider", "--quick", requests_per_minute=LIMIT) as provider:
        settings = {**SETTINGS, "FLOWPORT_REQUESTS_PER_MINUTE": str(LIMIT)}
        workers = 0 if is_working else 2
        with open_team(
            tmp_path / "team", provider, proxy="", settings=settings, workers=workers, is_working=is_working
        ) as team:
            samples: list[tuple[float, int]] = []
            async with anyio.create_task_group() as tasks:
                for replica in team.replicas:
                    tasks.start_soon(run_rows, team, replica)
                began = time.monotonic()
                while time.monotonic() < began + 2 * MINUTE_SECONDS + 5:
                    counts = await anyio.to_thread.run_sync(provider.ask, "counts")
                    samples.append((time.monotonic(), count_limited(counts)))
                    await anyio.sleep(0.2)
                tasks.cancel_scope.cancel()
            counts = provider.ask("counts")
    used = count_second_minute(samples)
    kind = "three replicas that work" if is_working else "three replicas and two workers"
    report(
        f"a limit of {LIMIT} over {kind}: {counts['refused_429']} refused with 429, {used / LIMIT:.1%} of the allowed used, "
        f"{counts['run']} starts, {counts['status']} reads, {counts['runs_accepted']} accepted"
    )
    assert counts["refused_429"] == 0
    assert used / LIMIT >= MIN_SHARE


async def run_rows(team: Team, replica: Member) -> None:
    """Ask a replica for more runs than two minutes have requests for."""
    async with team.connect(team.tokens["anna"], url=replica.url) as client:
        rows = [{"prompt": f"{replica.name} {n}"} for n in range(2 * LIMIT)]
        await client.call_tool("run_batch", {"app": "text_to_picture", "rows": rows})
        await anyio.sleep_forever()


def count_second_minute(samples: list[tuple[float, int]]) -> int:
    """Return how many requests were sent in the second minute."""
    first_at = next(at for at, count in samples if count)
    before = max(count for at, count in samples if at <= first_at + MINUTE_SECONDS)
    after = max(count for at, count in samples if at <= first_at + 2 * MINUTE_SECONDS)
    return after - before
