"""The queries about runs that a store answers: a part of the contract in `store.interface`, with the same rules."""

from collections.abc import Sequence
from typing import Protocol

from flowport.domain.models import Run, RunState
from flowport.store.records import AppHistory, RunSearch


class RunQueries(Protocol):
    """Queries about runs."""

    async def get_run(self, run_id: str, *, account_id: str | None, owner: str) -> Run:
        """Return one run of an owner.

        Args:
            account_id: None for a run of any account.

        Raises:
            RunNotFound: The owner, or the owner on this account, has no such run.
        """

    async def find_run_at_provider(self, provider_run_id: str, *, account_id: str) -> Run | None:
        """Return the run of an account that has a provider's id, of any owner; None if none has it."""

    async def get_run_of_any_owner(self, run_id: str) -> Run:
        """Return one run of any owner; the caller must hold other proof that it may be read, such as a signature.

        Raises:
            RunNotFound: There is no such run.
        """

    async def get_runs(
        self,
        *,
        account_id: str | None,
        owner: str,
        limit: int,
        before: str | None = None,
        undelivered_first: bool,
        state: RunState | None = None,
        search: RunSearch | None = None,
    ) -> tuple[Run, ...]:
        """Return one page of an owner's runs, newest first.

        Args:
            account_id: None for the runs of all accounts.
            before: The last run of the previous page, at its present position; None for the first page.
            undelivered_first: List the runs that are over and undelivered before all others.
            state: None for runs in any state.
            search: None for all runs. The text of a batch includes that of its rows.

        Raises:
            RunNotFound: The owner has no run `before`.
        """

    async def count_undelivered(self, *, owner: str) -> int:
        """Return how many of an owner's runs are over and undelivered."""

    async def get_runs_under_way(self, *, owner: str, limit: int) -> tuple[Run, ...]:
        """Return an owner's newest runs and batches that are not over, without the batches' rows; newest first.

        They are read in one snapshot: a run that changes its state meanwhile is returned once.
        """

    async def get_live_runs(self, *, account_id: str) -> tuple[Run, ...]:
        """Return every run of an account, of all owners, that is not over; oldest first."""

    async def get_unknown_runs(self, *, account_id: str, since: float, limit: int) -> tuple[Run, ...]:
        """Return the runs of an account, of all owners, that became unknown since an instant; oldest first."""

    async def get_known_urls(self, urls: Sequence[str]) -> frozenset[str]:
        """Return which of these addresses belong to outputs on record, of any owner; their queries may differ."""

    async def get_unsaved_runs(self, *, account_id: str, now: float, since: float) -> tuple[Run, ...]:
        """Return every run of an account that is over and has outputs that should still be fetched; oldest first.

        Args:
            now: A link that expires later may still work.
            since: An expired link is tried once if its run ended after this instant, because the clocks may differ.
        """

    async def get_stranded_runs(self, *, scope: str, account_id: str, limit: int) -> tuple[Run, ...]:
        """Return runs of a scope's other accounts that are live, or over and undelivered, and that this account has not tried.

        Runs that ended without a provider's id are left out, because they cannot be requested.
        """

    async def get_needed_provider_ids(self, *, account_id: str) -> frozenset[str]:
        """Return the provider's ids of an account's runs that are live, or over and not delivered; of all owners."""

    async def get_run_by_output_url(self, url: str, *, owner: str) -> Run:
        """Return the owner's newest run that has an output at exactly this URL.

        A replaced link is recognised by the part before its query, if that belongs to one output alone.

        Raises:
            RunNotFound: No run has; the error shows the URL instead of an id, without its query, which may contain a token.
        """

    async def get_last_delivered(self, *, owner: str) -> Run | None:
        """Return the owner's run with outputs that was delivered last; None if nothing was found."""

    async def get_durations(self, *, account_id: str, app_id: str, limit: int = 20) -> tuple[float, ...]:
        """Return how many seconds the app's latest successful runs took at the provider, newest first."""

    async def get_histories(self, *, account_id: str, app_ids: Sequence[str], limit: int = 20) -> dict[str, AppHistory]:
        """Return the history of each app, by app id, from its latest successful or partial runs; apps without runs are left out."""

    async def get_used_apps(self, *, account_id: str, since: float) -> frozenset[str]:
        """Return the ids of the apps that were run on an account since an instant, by any owner."""
