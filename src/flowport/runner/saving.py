"""Keep a run's outputs: fetch each before its link expires and put it where the person will find it."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import anyio

from flowport.accounts import OpenAccount
from flowport.clock import Clock
from flowport.errors import ArgumentsInvalid, LedgerError, RunNotFound
from flowport.fetch import Fetcher, FetchRules
from flowport.ledger.interface import Ledger
from flowport.media.data_uris import parse_data_uri
from flowport.model import DATA_SCHEME, Output, Run
from flowport.network.errors import FetchError
from flowport.receiving import Receiver
from flowport.runner.board import Board
from flowport.runner.output_file import Outcome, OutputFile, SavingRules, note_problem, tell_folder_problem

logger = logging.getLogger(__name__)

MAX_FETCHES: Final = 4
"""Outputs of one run, or of all rows of one batch, that are fetched side by side. Another run's slow files hold up none."""

T = TypeVar("T")

MISTAKE: Final = "Flowport made a mistake, and its log has the details"


@dataclass(frozen=True, slots=True)
class Saved:
    """What came of trying to save outputs."""

    run: Run
    """With what was saved, or why it was not, noted on each output."""
    failed: frozenset[int]
    """The outputs that are worth another try."""
    expired: frozenset[int]
    """Those of them whose links are no longer good, by their server's word or by the clock."""
    unfit: frozenset[int]
    """Those of them that are worth a few tries only: nothing came, or something of another kind, or Flowport made a mistake."""


async def bring_output(fetcher: Fetcher, url: str, receiver: Receiver[T], *, rules: FetchRules) -> T:
    """Bring an output to the receiver from where it lies: at an address, or inside its data URI.

    Raises:
        FetchError: It cannot or may not be fetched, or its data is broken.
        OSError: The receiver cannot write.
    """
    if not url.startswith(DATA_SCHEME):
        return await fetcher.fetch(url, receiver, rules=rules)
    try:
        read = partial(parse_data_uri, url, argument="result", max_bytes=rules.max_bytes)
        return await fetcher.hand_over(read, receiver)
    except ArgumentsInvalid as exc:
        problem = "its data stood in the provider's answer, and is broken or too large"
        raise FetchError("the provider", problem, is_refused=True) from exc


class OutputSaver:
    """Saves the outputs of finished runs."""

    def __init__(
        self,
        ledger: Ledger,
        board: Board,
        clock: Clock,
        fetcher: Fetcher,
        *,
        rules: SavingRules,
    ) -> None:
        self._ledger = ledger
        self._board = board
        self._clock = clock
        self._fetcher = fetcher
        self._rules = rules
        self._places: WeakValueDictionary[str, anyio.Semaphore] = WeakValueDictionary()
        """By run or batch, for as long as anything of it is fetched."""

    def is_wanted(self, run: Run) -> bool:
        """Tell whether the run has outputs that are to be saved and are not.

        A link that should have expired is tried all the same: the clock may be wrong, here or there.
        """
        return bool(self.find_missing(run))

    def find_missing(self, run: Run) -> frozenset[int]:
        """Return the outputs that are to be saved and are not, by their numbers."""
        if not self._rules.is_wanted:
            return frozenset()
        return frozenset(output.n for output in run.outputs if output.url and not output.saved_path)

    async def save_all(self, run: Run, account: OpenAccount, *, only: Collection[int]) -> Saved:
        """Try to save these outputs of a run, all at once, and write down what came of each."""
        origins = await account.fetch_file_origins()
        saved: dict[int, Output] = {}
        outcomes: dict[Outcome, set[int]] = {outcome: set() for outcome in Outcome}

        places = self._places.setdefault(run.batch_id or run.id, anyio.Semaphore(MAX_FETCHES))

        async def save(output: Output) -> None:
            """Save one output and write down what came of it."""
            async with places:
                url = await account.localize(output.url or "")
                saved[output.n], outcome = await self._save(run, output, url, FetchRules(trusted_origins=origins))
            outcomes[outcome].add(output.n)
            await self._note(run, saved[output.n])

        wanted = [output for output in run.outputs if output.n in only]
        async with anyio.create_task_group() as group:
            for output in wanted[1:]:
                group.start_soon(save, output)
            for output in wanted[:1]:
                await save(output)
        expired, unfit = frozenset(outcomes[Outcome.EXPIRED]), frozenset(outcomes[Outcome.UNFIT])
        outputs = tuple(saved.get(output.n, output) for output in run.outputs)
        return Saved(replace(run, outputs=outputs), expired | unfit | outcomes[Outcome.FAILED], expired, unfit)

    async def _note(self, run: Run, output: Output) -> None:
        try:
            await self._ledger.note_output(run.id, output)
        # The ledger lacks the output when it could not take the end of the run.
        except (LedgerError, RunNotFound) as exc:
            logger.warning("output %d of run %s is saved, which could not be written down: %s", output.n, run.id, exc)

    async def _save(self, run: Run, output: Output, url: str, rules: FetchRules) -> tuple[Output, Outcome]:
        """Return the output with its path, or with the reason why there is none."""
        try:
            # Whatever an earlier attempt failed of is not true of this one.
            with OutputFile(run, replace(output, save_problem=""), self._rules) as file:
                kept, outcome = await bring_output(self._fetcher, url, file, rules=rules)
                # A file that came inside the answer is not kept twice.
                return (replace(kept, url=kept.link) if outcome is Outcome.KEPT else kept), outcome
        except FetchError as exc:
            return note_problem(output, exc.problem), self._judge(output, exc)
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            return note_problem(output, tell_folder_problem(self._rules.folder, reason)), Outcome.FAILED
        except (
            Exception
        ):  # the boundary of one output: a bug that it meets must cost no other, nor its own next attempt
            logger.exception("output %d of run %s could not be saved for a mistake of Flowport", output.n, run.id)
            return note_problem(output, MISTAKE), Outcome.UNFIT

    def _judge(self, output: Output, error: FetchError) -> Outcome:
        if error.is_refused:
            return Outcome.USELESS
        is_over = output.expires_at is not None and output.expires_at <= self._clock.now()
        return Outcome.EXPIRED if error.is_expired or is_over else Outcome.FAILED
