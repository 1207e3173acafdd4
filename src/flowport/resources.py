"""Read what answers link to: runs, their outputs, and the provider's own links to outputs of our runs; and apps.

It is no proxy: a URL that no run of the owner produced is not fetched.
"""

import io
import json
import logging
import re
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from flowport.answers import build_run_facts, format_instant, plain
from flowport.desk import Desk
from flowport.errors import FetchError, LedgerError, ProviderError, ResourceNotFound, RunNotFound
from flowport.fetch import FetchRules
from flowport.labels import clean_line, clean_text
from flowport.media.sniffing import MAX_HEAD_BYTES, sniff
from flowport.model import Output, Run, get_url_place
from flowport.waiting import get_standing

logger = logging.getLogger(__name__)

MAX_BYTES: Final = 8 * 1024 * 1024
"""The largest output whose bytes are handed to a client."""

MAX_TEXT_LENGTH: Final = 100_000
"""Characters of a text result that are handed to a client."""

MAX_LISTED: Final = 20

_RUN = re.compile(r"flowport://runs/([a-z0-9_]+)")
_APP = re.compile(r"flowport://apps/([A-Za-z0-9_-]+)")
_OUTPUT = re.compile(r"flowport://runs/([a-z0-9_]+)/outputs/([1-9][0-9]{0,5})")
_NEVER_SHOWN: Final = frozenset({"text/html", "image/svg+xml"})
"""Types that carry programs; a client that shows them would run a stranger's."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a resource holds: text, or bytes."""

    mime_type: str
    text: str = ""
    data: bytes | None = None
    """None for text."""


class Resources:
    """Reads resources of one owner."""

    def __init__(self, desk: Desk, threads: anyio.CapacityLimiter) -> None:
        self._desk = desk
        self._threads = threads

    async def list_runs(self, owner: str) -> tuple[Run, ...]:
        """Return the newest runs, which are what the resource list shows."""
        return await self._desk.ledger.get_runs(account_id=None, owner=owner, limit=MAX_LISTED, unseen_first=False)

    async def read(self, uri: str, owner: str) -> Content:
        """Return what a URI names.

        Raises:
            ResourceNotFound: It names nothing of this owner's.
            LedgerError: The ledger cannot be read.
        """
        try:
            if found := _RUN.fullmatch(uri):
                return await self._read_run(await self._get_run(found[1], owner))
            if found := _APP.fullmatch(uri):
                return self._read_app(uri, found[1])
            if found := _OUTPUT.fullmatch(uri):
                run = await self._get_run(found[1], owner)
                return await self._read_output(run, _get_output(run, uri, n=int(found[2])))
            run = await self._desk.ledger.get_run_by_output_url(uri, owner=owner)
        except RunNotFound as exc:
            raise ResourceNotFound(uri) from exc
        return await self._read_output(run, _get_output_at(run, uri))

    def _read_app(self, uri: str, tool_name: str) -> Content:
        """Return an app with its tool as the catalogue knows it now; nothing is asked of the provider."""
        listings = (item for one in self._desk.catalogs for item in one.catalog.current.listings)
        listing = next((item for item in listings if item.tool_name == tool_name), None)
        if listing is None:
            raise ResourceNotFound(uri)
        facts = {
            "app": clean_line(listing.app.name),
            "tool_name": listing.tool_name,
            "price_credits": plain(listing.app.price_credits),
            "left_out_because": listing.left_out or None,
            "tool": listing.tool,
        }
        known = {key: value for key, value in facts.items() if value is not None}
        return Content("application/json", json.dumps(known, ensure_ascii=False, indent=1))

    async def _get_run(self, run_id: str, owner: str) -> Run:
        return await self._desk.ledger.get_run(run_id, account_id=None, owner=owner)

    async def _read_run(self, run: Run) -> Content:
        standing = await get_standing(self._desk, run)
        facts = build_run_facts(standing, max_outputs=len(standing.run.outputs))
        facts["arguments"] = json.loads(run.arguments_json)
        return Content("application/json", json.dumps(facts, ensure_ascii=False, indent=1))

    async def _read_output(self, run: Run, output: Output) -> Content:
        if output.text:
            content = Content("text/plain", clean_text(output.text, limit=MAX_TEXT_LENGTH))
        else:
            content = await self._read_file(run, output)
        if run.seen_at is None:
            await self._note_seen(run)
        return content

    async def _note_seen(self, run: Run) -> None:
        try:
            await self._desk.ledger.note_seen(run.id, at=self._desk.clock.now())
        except LedgerError as exc:
            # The bytes are in hand: they are delivered although the note that they were cannot be made.
            logger.warning("that run %s was seen could not be noted: %s", run.id, exc)

    async def _read_file(self, run: Run, output: Output) -> Content:
        if output.mime_type in _NEVER_SHOWN:
            return _build_sentence(output, "is of a kind that is not shown")
        if output.saved_path:
            content = await anyio.to_thread.run_sync(_read_saved, output, limiter=self._threads)
            if content is not None:
                return content
        # A saved copy that is gone must not be named.
        return await self._fetch(run, replace(output, saved_path=""))

    async def _fetch(self, run: Run, output: Output) -> Content:
        try:
            return await self._fetch_link(run, output)
        except FetchError as exc:
            is_over = output.expires_at is not None and output.expires_at <= self._desk.clock.now()
            if exc.is_expired or is_over:
                return await self._fetch_renewed(run, output, exc)
            return _build_sentence(output, f"could not be fetched: {exc.problem}")

    async def _fetch_renewed(self, run: Run, output: Output, error: FetchError) -> Content:
        """Return what lies at a fresh link of an output whose own has expired, or the sentence that there is none."""
        try:
            renewed = await self._desk.inheritor.renew_link(run, output.n)
        except ProviderError as exc:
            return _build_sentence(output, f"could not be fetched: its link has expired. {exc.cause.rstrip('.')}")
        if renewed is None:
            return _build_sentence(output, f"could not be fetched: {error.problem}")
        fresh = next(one for one in renewed.outputs if one.n == output.n)
        if fresh.url == output.url:
            return Content("text/plain", "This output is gone: its link has expired, and there is no fresh one.")
        try:
            return await self._fetch_link(run, replace(fresh, saved_path=""))
        except FetchError as exc:
            return _build_sentence(replace(fresh, saved_path=""), f"could not be fetched: {exc.problem}")

    async def _fetch_link(self, run: Run, output: Output) -> Content:
        account = self._desk.get_account(run.account_id)
        origins = await account.fetch_file_origins() if account else frozenset[str]()
        rules = FetchRules(max_bytes=MAX_BYTES, trusted_origins=origins)
        buffer = io.BytesIO()
        fetched = await self._desk.fetcher.fetch_to_file(output.url or "", buffer, rules=rules)
        sniffed = sniff(fetched.head)
        if sniffed is None or not sniffed.is_media:
            return _build_sentence(output, "is of a kind that is not shown")
        return Content(sniffed.mime_type, data=buffer.getvalue())


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


def _read_saved(output: Output) -> Content | None:
    """Return the saved copy, a sentence when it is too large, or None when it is gone."""
    path = Path(output.saved_path)
    try:
        if path.stat().st_size > MAX_BYTES:
            return _build_sentence(output, "is too large to be handed over here")
        data = path.read_bytes()
    except OSError:
        return None
    sniffed = sniff(data[:MAX_HEAD_BYTES])
    return Content(sniffed.mime_type, data=data) if sniffed is not None and sniffed.is_media else None


def _build_sentence(output: Output, problem: str) -> Content:
    where = f" It is saved as {output.saved_path}." if output.saved_path else ""
    until = f", until {format_instant(output.expires_at)}" if output.expires_at is not None else ""
    link = f" Its link is {output.url}{until}." if output.url else ""
    return Content("text/plain", f"This output {problem}.{where}{link}")
