"""Read what answers link to: runs, their outputs, and the provider's own links to outputs of our runs; and apps.

A URL that no run of the owner produced is not fetched.
"""

import base64
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final

import anyio
import anyio.to_thread
import mcp.types as t

from flowport.actions.views.app import build_options
from flowport.actions.views.batch import build_batch_facts, build_batch_page
from flowport.actions.views.run import build_output_facts, build_receipt, build_record, build_run_facts
from flowport.actions.views.view import UNKNOWN_COST, Facts, format_instant, plain
from flowport.actions.workspace import Workspace
from flowport.domain.call_errors import ResourceNotFound
from flowport.domain.errors import ProviderError, RunNotFound
from flowport.domain.models import BATCH_PREFIX, Output, OutputKind, Run, get_url_place
from flowport.domain.principal import Principal
from flowport.domain.text import choose_forms, clean_line, clean_text, count_bytes
from flowport.domain.uris import Uri, format_app_uri, format_output_uri, format_run_uri, parse_uri
from flowport.media.decode import trim_after_large_image
from flowport.media.formats import FileFormat
from flowport.media.identify import identify
from flowport.media.previews import Preview
from flowport.network.causes import FetchError
from flowport.network.file_transfer import FetchRules, FileSink
from flowport.runs.delivery import Caller
from flowport.runs.downloads import bring_output
from flowport.server.prompts import BATCH_ID

MAX_BYTES: Final = 8 * 1024 * 1024
"""The largest output whose bytes are handed to a client."""

MAX_SCALED_BYTES: Final = 64 * 1024 * 1024
"""The largest picture that is fetched to hand over a smaller copy of it."""

MAX_TEXT_LENGTH: Final = 100_000
"""Characters of a text result that are handed to a client."""

MAX_LISTED: Final = 20

MAX_PAGE_BYTES: Final = 100_000
"""Of the outputs on one page of a run's resource, which names the next page."""

_NEVER_SHOWN: Final = frozenset({"text/html", "image/svg+xml"})
"""Types that carry programs; a client that shows them would run untrusted code."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a resource holds: text, or bytes."""

    mime_type: str
    text: str = ""
    """The text, or what is to be said of the bytes; empty when they speak for themselves."""
    data: bytes | None = None
    """None for text."""


TEMPLATES: Final = [
    t.ResourceTemplate(
        uri_template=format_run_uri("{run_id}"), name="run", title="A run", mime_type="application/json"
    ),
    t.ResourceTemplate(uri_template=format_output_uri("{run_id}", "{n}"), name="output", title="An output of a run"),
    t.ResourceTemplate(
        uri_template=format_run_uri(f"{BATCH_PREFIX}x").replace(f"{BATCH_PREFIX}x", f"{{{BATCH_ID}}}"),
        name="batch",
        title="A batch",
        mime_type="application/json",
    ),
    t.ResourceTemplate(uri_template=format_app_uri("{app}"), name="app", title="An app", mime_type="application/json"),
]
"""The forms of our URIs."""


def build_list(runs: Iterable[Run]) -> t.ListResourcesResult:
    """Return the list of runs as resources, without their states, which would change the list several times a run."""
    return t.ListResourcesResult(
        resources=[
            t.Resource(
                uri=format_run_uri(run.id),
                name=run.id,
                title=f"{run.app_name}, {format_instant(run.accepted_at)}",
                mime_type="application/json",
            )
            for run in runs
        ]
    )


def build_contents(uri: str, content: Content) -> list[t.TextResourceContents | t.BlobResourceContents]:
    """Return what a resource holds as the protocol carries it."""
    if content.data is None:
        return [t.TextResourceContents(uri=uri, mime_type=content.mime_type, text=content.text)]
    blob = base64.b64encode(content.data).decode("ascii")
    whole = t.BlobResourceContents(uri=uri, mime_type=content.mime_type, blob=blob)
    note = t.TextResourceContents(uri=uri, mime_type="text/plain", text=content.text)
    return [whole, note] if content.text else [whole]


class Resources:
    """Reads resources of one owner."""

    def __init__(self, workspace: Workspace, threads: anyio.CapacityLimiter) -> None:
        self._workspace = workspace
        self._threads = threads

    async def list_runs(self, owner: str) -> tuple[Run, ...]:
        """Return the newest runs, which are what the resource list shows."""
        return await self._workspace.store.get_runs(
            account_id=None, owner=owner, limit=MAX_LISTED, undelivered_first=False
        )

    async def read(self, uri: str, reader: Caller) -> Content:
        """Return what a URI names.

        Raises:
            ResourceNotFound: It names nothing of this owner's.
            StoreError: The store cannot be read.
        """
        try:
            named = parse_uri(uri)
            if named is None and (output := self._workspace.file_links.parse_output_link(uri)):
                named = Uri(output[0], n=output[1])
            if named is None:
                run = await self._workspace.store.get_run_by_output_url(uri, owner=reader.owner)
                return await self._read_output(run, _get_output_at(run, uri), reader)
            if named.tool_name:
                return self._read_app(uri, named.tool_name)
            run = await self._workspace.store.get_run(named.run_id, account_id=None, owner=reader.owner)
            if named.n is not None:
                return await self._read_output(run, _get_output(run, uri, n=named.n), reader)
            if run.is_batch != named.is_batch:
                raise ResourceNotFound(uri)
            read = self._read_batch if run.is_batch else self._read_run
            return await read(run, uri, reader, start=named.start)
        except RunNotFound as exc:
            raise ResourceNotFound(uri) from exc

    def _read_app(self, uri: str, tool_name: str) -> Content:
        """Return an app with its tool as the catalogue knows it now; nothing is asked of the provider."""
        listing = next((item for item in self._workspace.get_listings() if item.tool_name == tool_name), None)
        if listing is None:
            raise ResourceNotFound(uri)
        facts = {
            "app": clean_line(listing.app.name),
            "tool_name": listing.tool_name,
            "price_credits": UNKNOWN_COST if listing.app.price_credits is None else plain(listing.app.price_credits),
            "left_out_because": listing.left_out or None,
            "tool": listing.tool,
            **build_options(listing),
        }
        known = {key: value for key, value in facts.items() if value is not None}
        return Content("application/json", json.dumps(known, ensure_ascii=False, indent=1))

    async def _read_run(self, run: Run, uri: str, reader: Caller, *, start: int) -> Content:
        view = await self._workspace.waiter.get_run_view(run)
        if start > max(1, len(view.run.outputs)):
            raise ResourceNotFound(uri)
        facts = build_record(view.run, build_run_facts(view)) | {"receipt": build_receipt(view.run)}
        there = await self._workspace.previewer.drop_gone(view.run)
        facts |= _build_page(self._workspace.file_links.show_run(there, reader.principal), start)
        return Content("application/json", json.dumps(facts, ensure_ascii=False, indent=1))

    async def _read_batch(self, batch: Run, uri: str, reader: Caller, *, start: int) -> Content:
        if start > batch.row_count:
            raise ResourceNotFound(uri)
        links, principal = self._workspace.file_links, reader.principal
        view = await self._workspace.waiter.get_batch_view(batch)
        view = replace(view, batch_progress=links.show_progress(batch, view.batch_progress, principal))
        there = await self._workspace.previewer.drop_gone_of_rows(
            await self._workspace.store.get_rows(batch.id, start=start)
        )
        rows = links.show_rows(there, principal)
        facts = build_record(view.run, build_batch_facts(view))
        facts |= build_batch_page(batch, rows, view.batch_progress, limit_bytes=MAX_PAGE_BYTES)
        return Content("application/json", json.dumps(facts, ensure_ascii=False, indent=1))

    async def _read_output(self, run: Run, output: Output, reader: Caller) -> Content:
        if output.kind is OutputKind.TEXT:
            content = Content("text/plain", clean_text(output.text, limit=MAX_TEXT_LENGTH))
        else:
            content = await self._read_file(run, output, reader.principal)
        holds_output = output.kind is OutputKind.TEXT or content.data is not None
        # What was delivered before is often only drawn again, which makes it no newer.
        if holds_output and run.delivered_at is None and run.state.is_final:
            await self._workspace.deliveries.record_answer(run, reader, shown=(run.id,))
        return content

    async def _read_file(self, run: Run, output: Output, principal: Principal) -> Content:
        if output.mime_type in _NEVER_SHOWN:
            is_gone = bool(await self._workspace.previewer.find_gone([output]))
            named = replace(output, saved_path="") if is_gone else output
            return _build_sentence(self._show(run, named, principal), "is of a kind that is not shown")
        try:
            file = await self._in_thread(Path(output.saved_path).open, "rb") if output.saved_path else None
        except OSError:
            file = None
        if file is None:
            # A saved copy that is gone must not be named.
            return await self._fetch(run, replace(output, saved_path=""))
        with file:
            return await self._hand_over(file, self._show(run, output, principal))

    def _show(self, run: Run, output: Output, principal: Principal) -> Output:
        """Return an output with what a person may know of where it is."""
        return self._workspace.file_links.show_run(replace(run, outputs=(output,)), principal).outputs[0]

    async def _fetch(self, run: Run, output: Output) -> Content:
        try:
            return await self._fetch_link(run, output)
        except FetchError as exc:
            is_over = output.expires_at is not None and output.expires_at <= self._workspace.clock.now()
            if exc.is_expired or is_over:
                return await self._fetch_refreshed(run, output, exc)
            return _build_sentence(output, f"could not be fetched: {exc.problem}")

    async def _fetch_refreshed(self, run: Run, output: Output, error: FetchError) -> Content:
        """Fetch an output through a fresh link because its own has expired; return the reason if that fails."""
        try:
            refreshed = await self._workspace.recovery.refresh_link(run, output.n)
        except ProviderError as exc:
            return _build_sentence(output, f"could not be fetched: its link has expired. {exc.cause.rstrip('.')}")
        if refreshed is None:
            return _build_sentence(output, f"could not be fetched: {error.problem}")
        fresh = next(one for one in refreshed.outputs if one.n == output.n)
        if fresh.url == output.url:
            return Content("text/plain", "This output is gone: its link has expired, and there is no fresh one.")
        try:
            return await self._fetch_link(run, replace(fresh, saved_path=""))
        except FetchError as exc:
            return _build_sentence(replace(fresh, saved_path=""), f"could not be fetched: {exc.problem}")

    async def _fetch_link(self, run: Run, output: Output) -> Content:
        account = self._workspace.get_account(run.account_id)
        origins = await account.fetch_file_origins() if account else frozenset[str]()
        max_bytes = MAX_SCALED_BYTES if output.kind is OutputKind.IMAGE else MAX_BYTES
        rules = FetchRules(max_bytes=max_bytes, trusted_origins=origins)
        url = output.url or ""
        url = await account.localize(url) if account else url
        with await self._in_thread(TemporaryFile) as file:
            await bring_output(self._workspace.fetcher, url, FileSink(file), rules=rules)
            return await self._hand_over(file, output)

    async def _hand_over(self, file: BinaryIO, output: Output) -> Content:
        """Return the bytes of a file, a copy when it is a larger picture, or a sentence."""
        size_bytes, sniffed = await self._in_thread(_look_at, file)
        if sniffed is None or not sniffed.is_media:
            return _build_sentence(output, "is of a kind that is not shown")
        if size_bytes <= MAX_BYTES:
            return Content(sniffed.mime_type, data=await self._in_thread(_read_whole, file))
        copy = await self._workspace.previewer.build_copy(file) if sniffed.kind is OutputKind.IMAGE else None
        if not isinstance(copy, Preview):
            return _build_sentence(output, "is too large for this answer")
        note = _build_sentence(output, f"has {size_bytes / 1024**2:.1f} MB, so this is a smaller copy")
        return Content(copy.mime_type, note.text, copy.data)

    async def _in_thread(self, work: Any, *args: Any) -> Any:
        return await anyio.to_thread.run_sync(work, *args, limiter=self._threads)


def _build_page(run: Run, start: int) -> Facts:
    """Return the outputs from one on, as many as a page holds, and where the next page is."""
    outputs = [build_output_facts(run, output) for output in run.outputs[start - 1 :]]
    # One alone is shorter than a page, so each page has some.
    shown = len(choose_forms([[count_bytes(facts)] for facts in outputs], MAX_PAGE_BYTES))
    rest = len(outputs) - shown
    more = {"outputs_not_shown": rest, "next_page": format_run_uri(run.id, start=start + shown)} if rest else {}
    return {"outputs": outputs[:shown], **more}


def _get_output(run: Run, uri: str, *, n: int) -> Output:
    for output in run.outputs:
        if output.n == n:
            return output
    raise ResourceNotFound(uri)


def _get_output_at(run: Run, url: str) -> Output:
    """Return the output at a link of the provider's, or at one that was replaced by a fresh one since."""
    exact = (output for output in run.outputs if output.url == url)
    same = (output for output in run.outputs if get_url_place(output.url or "") == get_url_place(url))
    return next(chain(exact, same))


def _look_at(file: BinaryIO) -> tuple[int, FileFormat | None]:
    size_bytes = file.seek(0, io.SEEK_END)
    return size_bytes, identify(file)


def _read_whole(file: BinaryIO) -> bytes:
    trim_after_large_image()
    file.seek(0)
    return file.read(MAX_BYTES)


def _build_sentence(output: Output, problem: str) -> Content:
    where = f" It is saved as {output.saved_path}." if output.saved_path else ""
    until = f", until {format_instant(output.expires_at)}" if output.expires_at is not None else ""
    link = f" Its link is {output.link}{until}." if output.link else ""
    return Content("text/plain", f"This output {problem}.{where}{link}")
