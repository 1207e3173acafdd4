"""Results of earlier runs as inputs of a new one: which output an argument means."""

from dataclasses import dataclass
from typing import Final, TypeAlias

import anyio

from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentsInvalid, RunNotFound
from flowport.domain.models import InputKind, Output, Run
from flowport.domain.uris import (
    ResultName,
    format_output_uri,
    names_last,
    parse_result_name,
    parse_run_ids,
    strip_quotes,
)
from flowport.media.input_files import KIND_NAMES, WANTED_KINDS, Media, format_wanted
from flowport.media.source_kinds import SourceKind, get_source_kind
from flowport.runs.delivery import DeliveredRuns
from flowport.runs.file_links import FileLinks
from flowport.runs.news import RunNews
from flowport.runs.submit import RunRequest
from flowport.store.interface import Store

DELIVERY_SECONDS: Final = 0.5
"""How long the delivery of an answer that is on its way is waited for."""

MAX_ANSWERS: Final = 5
"""How many of them are looked at."""

_FORMS: Final = 'Write run:ID#1 with the id of a run, flowport://runs/ID/outputs/1, or "last" for the newest result.'


@dataclass(frozen=True, slots=True)
class OutputMedia:
    """An output of an earlier run of the same owner."""

    run: Run
    output: Output

    @property
    def uri(self) -> str:
        """Its `flowport://` URI."""
        return format_output_uri(self.run.id, self.output.n)


@dataclass(frozen=True, slots=True)
class CreationMedia:
    """A file that the provider has already, under an id of its own."""

    id: str


InputMedia: TypeAlias = Media | OutputMedia | CreationMedia
"""What a media argument of a call may name."""


class OutputFinder:
    """Finds the output that an argument names, among those of the caller's owner and no other."""

    def __init__(
        self, store: Store, delivered: DeliveredRuns, links: FileLinks | None = None, news: RunNews | None = None
    ) -> None:
        """Prepare.

        Args:
            delivered: What was delivered over the connections of this process.
            news: From other replicas, which answer the same clients; None where there are none.
        """
        self._news = news or RunNews()
        self._links = links or FileLinks()
        self._store = store
        self._delivered = delivered

    async def find(self, value: str, *, argument: str, kind: InputKind, call: RunRequest) -> OutputMedia | None:
        """Return the output, or None when the text names a file of another sort.

        Raises:
            ArgumentsInvalid: There is no such output, or it is of a kind that the input does not take.
            StoreError: The store cannot be read.
        """
        match get_source_kind(value):
            case SourceKind.RESULT:
                name = parse_result_name(value)
                if name is None:
                    raise build_refusal(argument, "does not name a result of a run as Flowport does", _FORMS)
                run = await self._find_run(name, argument, call)
                return OutputMedia(run, _pick(run, name.n, argument, kind))
            case SourceKind.URL:
                return await self._find_by_url(value.strip(), argument, kind, call)
            case _:
                return None

    async def find_run(self, text: str, *, argument: str, call: RunRequest) -> Run:
        """Return the run or batch that a text names: by its id, or in any spelling that a media argument takes.

        "last" is also a run whose result was not delivered yet, or that is under way, if no result was delivered.

        Raises:
            RunNotFound: It names no run of this owner, or several.
            ArgumentsInvalid: It is "last", and there is no such run.
            StoreError: The store cannot be read.
        """
        written = strip_quotes(text)
        if names_last(text):
            last = await self._find_last_delivered(call) or await self._find_last_undelivered(call)
            if last is None:
                raise build_refusal(
                    argument,
                    'is "last", no result has been seen yet, and no run is under way',
                    "Give the id of a run; list_runs shows them.",
                    is_for_run=False,
                )
            return last
        found = {run.id: run for run_id in parse_run_ids(text) for run in await self._get_all(run_id, call)}
        if not found and get_source_kind(written) is SourceKind.URL:
            if named := self._links.parse_output_link(written):
                return await self._store.get_run(named[0], account_id=None, owner=call.owner)
            try:
                return await self._store.get_run_by_output_url(written, owner=call.owner)
            except ValueError as exc:  # a malformed address
                raise RunNotFound(text.strip()) from exc
        if len(found) != 1:
            raise RunNotFound(text.strip())
        return next(iter(found.values()))

    async def _get_all(self, run_id: str, call: RunRequest) -> tuple[Run, ...]:
        try:
            return (await self._store.get_run(run_id, account_id=None, owner=call.owner),)
        except RunNotFound:
            return ()

    async def _find_run(self, name: ResultName, argument: str, call: RunRequest) -> Run:
        if not name.run_id:
            last = await self._find_last_delivered(call)
            if last is None:
                raise build_refusal(argument, 'is "last", and no result has been seen yet', "Name a file instead.")
            return last
        try:
            return await self._store.get_run(name.run_id, account_id=None, owner=call.owner)
        except RunNotFound as exc:
            raise build_refusal(argument, f"names a run that is not there ({exc.run_id[:60]})", _FORMS) from exc

    async def _find_last_delivered(self, call: RunRequest) -> Run | None:
        """Return the newest run with outputs that was delivered over this connection, else to this owner.

        A replica that has delivered nothing newer goes by what another one delivered to a client of the same name.
        """
        newest = None
        if self._news.is_shared:
            await self._wait_for_deliveries(call.owner)
            newest = await self._store.get_last_delivered(owner=call.owner)
        for run_id in self._delivered.get(owner=call.owner, connection=call.connection):
            try:
                run = await self._store.get_run(run_id, account_id=None, owner=call.owner)
            except RunNotFound:  # erased since
                continue
            if run.outputs:
                return newest if newest is not None and self._is_later(newest, run, call) else run
        return newest or await self._store.get_last_delivered(owner=call.owner)

    async def _wait_for_deliveries(self, owner: str) -> None:
        """Wait a moment for what another replica is just answering: a client has the answer before that is on record."""
        newest = await self._store.get_runs(account_id=None, owner=owner, limit=MAX_ANSWERS, undelivered_first=True)
        with anyio.move_on_after(DELIVERY_SECONDS):
            for run in newest:
                is_over = run.state.is_final and run.delivered_at is None
                changed = self._news.get_event(run.id)
                while is_over and await self._store.is_waited_for(run.id):
                    await changed.wait()
                    changed = self._news.get_event(run.id)

    def _is_later(self, newest: Run, run: Run, call: RunRequest) -> bool:
        """Return whether another replica has delivered a run to the client of a call after this one."""
        is_later = (newest.delivered_at or 0.0) > (run.delivered_at or 0.0)
        # Without a session a connection is known by its owner, its address and the name of the client.
        is_same_client = call.connection.endswith(f" {newest.delivered_to}")
        return is_later and is_same_client and not self._delivered.has(newest.id)

    async def _find_last_undelivered(self, call: RunRequest) -> Run | None:
        """Return the newest run or batch that is over and undelivered, else the newest that is under way."""
        newest = await self._store.get_runs(account_id=None, owner=call.owner, limit=1, undelivered_first=True)
        undelivered = [run for run in newest if run.state.is_final and run.delivered_at is None]
        return next(iter(undelivered or await self._store.get_runs_under_way(owner=call.owner, limit=1)), None)

    async def _find_by_url(self, url: str, argument: str, kind: InputKind, call: RunRequest) -> OutputMedia | None:
        """Return the output whose link the text is: it is better known here than by a link that expires."""
        named = self._links.parse_output_link(url)
        try:
            run = (
                await self._store.get_run_by_output_url(url, owner=call.owner)
                if named is None
                else await self._store.get_run(named[0], account_id=None, owner=call.owner)
            )
        except (RunNotFound, ValueError):  # a malformed address is refused where addresses are
            return None
        n = _find_by_link(run, url) if named is None else named[1]
        return None if n is None else OutputMedia(run, _pick(run, n, argument, kind))


def _find_by_link(run: Run, url: str) -> int | None:
    """Return which output a link is of; an old one differs behind the question mark."""
    exact = [output.n for output in run.outputs if output.url == url]
    place = url.partition("?")[0]
    near = [output.n for output in run.outputs if output.url and output.url.partition("?")[0] == place]
    return next(iter(exact or near), None)


def _pick(run: Run, n: int | None, argument: str, kind: InputKind) -> Output:
    if not run.outputs:
        raise _build_without(run, argument)
    fitting = [output for output in run.outputs if output.kind in WANTED_KINDS[kind]]
    if n is None:
        if fitting:
            return fitting[0]
        raise _build_invalid_value(run.outputs[0], argument, kind)
    output = next((output for output in run.outputs if output.n == n), None)
    if output is None:
        last = max(output.n for output in run.outputs)
        raise build_refusal(argument, f"names output {n} of {run.id}, which has {last}", f"Give #1 to #{last}.")
    if output not in fitting:
        raise _build_invalid_value(output, argument, kind)
    return output


def _build_without(run: Run, argument: str) -> ArgumentsInvalid:
    if run.state.is_final:
        return build_refusal(argument, f"names {run.id}, which made nothing ({run.state.value})", "Name another.")
    expected = f'get_run with run_id "{run.id}" waits for it.'
    return build_refusal(argument, f"names {run.id}, which is not finished", expected)


def _build_invalid_value(output: Output, argument: str, kind: InputKind) -> ArgumentsInvalid:
    takes = format_wanted(kind)
    made = KIND_NAMES.get(output.kind, "a text or file")
    return build_refusal(argument, f"takes {takes}, and this result is {made}", f"Give {takes}.")
