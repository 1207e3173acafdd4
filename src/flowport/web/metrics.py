"""Answer `/metrics` in the text format of Prometheus. Nothing in it names a person, a run, an app or a key.

Programs of this computer may ask without a token, because a scraper beside the server has none; everyone else authenticates. A
request that a proxy passed on never counts as one of this computer, nor does one under another name than this computer's: the
name of a web page can resolve to it (DNS rebinding).
"""

import importlib.util
import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from flowport.domain.errors import Operation, StoreError
from flowport.store.cluster import QueueState
from flowport.web.access_log import BUCKETS_SECONDS, Durations
from flowport.web.auth import Authentication
from flowport.web.proxies import FORWARDED_KEY, parse_ip
from flowport.web.site import SAFE_HEADERS, Site
from flowport.web.team import Team

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PATH: Final = "/metrics"
_LOCALHOST: Final = "localhost"
_LIBRARY: Final = "prometheus_client"
_NOT_BUILT: Final = 501
_POLLS: Final = frozenset({one.name.lower() for one in (Operation.READ_RUN, Operation.READ_RUNS)})


def build_metrics_routes(site: Site) -> list[Route]:
    """Return the route of the metrics."""

    async def answer(_: Request) -> Response:
        if importlib.util.find_spec(_LIBRARY) is None:
            text = "Metrics need the extra `team`, which is not installed.\n"
            return PlainTextResponse(text, _NOT_BUILT, SAFE_HEADERS)
        store_seconds = await _time_store(site)
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - an extra, and only here
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest  # noqa: PLC0415 - likewise

        registry = CollectorRegistry(auto_describe=False)
        queue = None if site.team is None else await site.team.find_state()
        registry.register(_Collector(site, store_seconds, queue))
        text = generate_latest(registry).decode()
        return Response(text, headers={**SAFE_HEADERS, "Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    route = Route(PATH, answer)
    route.app = _LocalDoor(route.app, Authentication(route.app, site), urlsplit(site.public_url).netloc)
    return [route]


class _LocalDoor:
    """ASGI middleware: programs of this computer come in by themselves, the others by authentication."""

    def __init__(self, app: ASGIApp, guarded: ASGIApp, authority: str) -> None:
        """Wrap an application; `authority` is how the public address names the server."""
        self._app = app
        self._guarded = guarded
        self._authority = authority.lower()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        peer = scope.get("client")
        address = parse_ip(peer[0]) if peer else None
        is_here = address is not None and address.is_loopback and not scope.get(FORWARDED_KEY)
        is_meant = is_here and self._is_name_ours(Headers(scope=scope).getlist("host"))
        return (self._app if is_meant else self._guarded)(scope, receive, send)

    def _is_name_ours(self, hosts: Sequence[str]) -> bool:
        if len(hosts) != 1:
            return False
        name = urlsplit(f"//{hosts[0]}").hostname or ""
        return name == _LOCALHOST or parse_ip(name) is not None or hosts[0].lower() == self._authority


async def _time_store(site: Site) -> float | None:
    """Return the seconds that a small read of the store takes; None when it fails."""
    began = time.perf_counter()
    try:
        await site.tenants.shared.store.is_waited_for("")
    except StoreError:
        return None
    return time.perf_counter() - began


class _Collector:
    """Turns the state of the server into metrics, each time it is asked."""

    def __init__(self, site: Site, store_seconds: float | None, queue: QueueState | None) -> None:
        self._site = site
        self._store_seconds = store_seconds
        self._queue = queue

    def collect(self) -> "Iterator[Metric]":
        """Return every metric."""
        yield from self._collect_traffic()
        yield from self._collect_work()
        if self._site.team is not None:
            yield from self._collect_team(self._site.team)

    def _collect_traffic(self) -> "Iterator[Metric]":
        from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415 - an extra

        traffic = self._site.traffic
        yield _count("http_requests", "Requests that were answered.", ("method", "route", "status"), traffic.requests)
        durations = HistogramMetricFamily(
            "flowport_http_request_duration_seconds", "From a request to the end of its answer.", labels=["route"]
        )
        for route, found in traffic.durations.items():
            durations.add_metric([route], _build_buckets(found), found.total_seconds)
        yield durations
        yield _gauge("http_requests_open", "Requests that are being served.", ("method",), traffic.open)
        yield _count("http_refused", "Requests that a limit refused.", ("reason",), traffic.refused)
        for name, (meaning, read) in traffic.gauges.items():
            yield _gauge(name, meaning, (), {(): read()})
        lag, traffic.lag_seconds = traffic.lag_seconds, 0.0
        yield _gauge(
            "event_loop_lag_seconds", "The longest delay of the event loop since the last scrape.", (), {(): lag}
        )
        if self._store_seconds is not None:
            yield _gauge("store_read_seconds", "A small read of the store, just now.", (), {(): self._store_seconds})

    def _collect_work(self) -> "Iterator[Metric]":
        workspace = self._site.tenants.shared
        live_runs = workspace.waiter.live_runs
        yield _gauge("runs_live", "Runs that this process follows.", ("state",), live_runs.count_states())
        yield _count("starts", "Start requests by outcome.", ("outcome",), live_runs.start_outcomes)
        requests: Counter[tuple[str, str, str]] = Counter()
        queued: Counter[str] = Counter()
        for account in workspace.waiter.accounts.values():
            provider = account.account.provider
            queued[provider] += account.limiter.count_queued()
            for (operation, status), count in account.limiter.answers.items():
                requests[provider, operation.name.lower(), status] += count
        yield _gauge("limiter_queue", "Requests that wait for the request limit of a provider.", ("provider",), queued)
        names = ("provider", "operation", "status")
        yield _count("provider_requests", "Requests to providers by their answer.", names, requests)
        polls: Counter[str] = Counter()
        for (provider, name, _), count in requests.items():
            polls[provider] += count if name in _POLLS else 0
        yield _count("polls", "Reads of runs at providers.", ("provider",), polls)
        counts = workspace.announcements.counts
        yield _count("webhooks", "Webhooks of providers by outcome.", ("outcome",), counts)

    def _collect_team(self, team: Team) -> "Iterator[Metric]":
        from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415 - an extra

        queue, figures = self._queue, team.get_figures()
        if queue is not None:
            jobs = {"waiting": queue.waiting, "running": queue.running, "stalled": queue.stalled}
            yield _gauge("queue_jobs", "Jobs of runs, of the whole team.", ("state",), jobs)
            oldest = {(): queue.oldest_seconds}
            yield _gauge("queue_oldest_seconds", "How long the oldest job that is due has waited.", (), oldest)
            yield _gauge("workers_alive", "Workers of the team that are alive.", (), {(): queue.workers})
        delays = HistogramMetricFamily(
            "flowport_step_delay_seconds", "From when a job was due until this process executed it."
        )
        delays.add_metric([], _build_buckets(team.delays), team.delays.total_seconds)
        yield delays
        stale = Counter({(): figures.stale_writes})
        yield _count("stale_leases", "Writes refused, because another process had claimed the run.", (), stale)
        finds = Counter({kind: team.finds[kind] for kind in ("stalled", "missing", "needless")})
        yield _count("reconciled_jobs", "Jobs that the reconciler of this process put right.", ("kind",), finds)
        connections = {"idle": figures.idle_connections, "used": figures.connections - figures.idle_connections}
        yield _gauge("database_connections", "Connections of the pool of this process.", ("state",), connections)
        yield _gauge("database_connections_max", "The most connections of the pool.", (), {(): figures.max_connections})
        yield _gauge("database_waiting", "Operations that wait for a connection.", (), {(): figures.waiting})
        is_connected = {(): int(team.cluster.news.is_connected)}
        yield _gauge("news_connected", "Whether the news of other replicas arrive.", (), is_connected)


def _build_buckets(durations: Durations) -> list[tuple[str, float]]:
    below, buckets = 0, []
    for bound, count in zip((*map(str, BUCKETS_SECONDS), "+Inf"), durations.counts, strict=True):
        below += count
        buckets.append((bound, float(below)))
    return buckets


def _count(name: str, meaning: str, labels: tuple[str, ...], counts: Counter[Any]) -> "Metric":
    from prometheus_client.core import CounterMetricFamily  # noqa: PLC0415 - an extra

    family = CounterMetricFamily(f"flowport_{name}", meaning, labels=list(labels))
    for key, count in sorted(counts.items()):
        family.add_metric(_format_key(key), count)
    return family


def _gauge(name: str, meaning: str, labels: tuple[str, ...], values: Any) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - an extra

    family = GaugeMetricFamily(f"flowport_{name}", meaning, labels=list(labels))
    for key, value in sorted(values.items()):
        family.add_metric(_format_key(key), value)
    return family


def _format_key(key: Any) -> list[str]:
    return [str(one) for one in key] if isinstance(key, tuple) else [str(key)]
