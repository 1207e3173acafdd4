"""Calls that are rebuilt from the record of their run."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.catalog.listing import Listing
from flowport.domain.call_errors import AppNotFound
from flowport.domain.errors import Breakage, DayUsedUp, Operation, ProviderRefused, ProviderUnreachable
from flowport.domain.models import Input, InputKind, Run
from flowport.media.input_files import MediaRules
from flowport.providers.magica.api import Magica
from flowport.runs.call_rebuilder import CallRebuilder
from flowport.runs.delivery import DeliveredRuns
from flowport.runs.prepare import CallPreparer, PreparedCall
from flowport.runs.references import OutputFinder
from flowport.runs.submit import RunRequest
from tests.fakes.client import build_photo, write
from tests.runs.benches import OneApp
from tests.runs.samples import APP, PROMPT, RUN, get_instant
from tests.support.fake_clock import FakeClock
from tests.support.scripted import ACCOUNT, FaultyStore, ScriptedAccount, build_breakage, in_turn

PHOTO = Input("in-2", "photo_key", InputKind.IMAGE, "Photo", is_required=False)
LISTING = Listing(replace(APP, inputs=(PROMPT, PHOTO)), "sketch", {"in-1": "prompt", "in-2": "photo"})
PNG = write(build_photo())
LOST = build_breakage(Breakage.NO_CONNECTION, Operation.DESCRIBE_APP)


class Bench:
    """The rebuilding of calls, with a folder that files may be read from."""

    def __init__(self, store: FaultyStore, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.clock = FakeClock()
        self.account = ScriptedAccount(in_turn(), self.clock)
        self.preparer = CallPreparer(
            MediaRules((folder,)), anyio.CapacityLimiter(2), OutputFinder(store, DeliveredRuns())
        )

    async def accept(self, **arguments: Any) -> tuple[Run, PreparedCall]:
        """Return the run that a call was accepted as, and the call."""
        call = await self.preparer.prepare(self.account, LISTING, arguments, RunRequest("local"))
        run = replace(RUN, arguments_json=call.arguments_json, canonical_digest=call.canonical_digest)
        return run, call

    def estimate_prices(self) -> None:
        """Use a provider that estimates a price on request, another one each time."""
        self.account.provider = Magica()

    async def restore(
        self,
        run: Run,
        found: Sequence[Listing | Exception] = (LISTING,),
        *,
        is_cached: bool = True,
        is_listed: bool = True,
    ) -> PreparedCall | None:
        """Rebuild the call of a run with a catalogue that returns this."""
        catalog = OneApp(self.store, self.clock, self.folder, *found)
        catalog._is_cached = is_cached
        catalog.current = replace(catalog.current, listed_at=1.0 if is_listed else None)
        call_rebuilder = CallRebuilder(self.preparer, {ACCOUNT.id: catalog}, self.clock)
        restored = await call_rebuilder.restore(run, self.account)
        assert catalog.waited == ([] if is_cached or not found else [60.0])
        return restored


@pytest.fixture
def bench(store: FaultyStore, tmp_path: Path) -> Bench:
    """Give a test a bench."""
    return Bench(store, tmp_path)


@pytest.mark.parametrize("is_cached", [True, False], ids=["cached", "first-start"])
async def test_a_call_is_rebuilt_unchanged(bench: Bench, tmp_path: Path, *, is_cached: bool) -> None:
    """The caller has the run's id, so the run is started."""
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    run, call = await bench.accept(prompt="a lake", photo=str(path))
    restored = await bench.restore(run, is_cached=is_cached)

    assert restored is not None
    assert (restored.inputs, restored.canonical_digest) == (call.inputs, call.canonical_digest)


URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


@pytest.mark.parametrize(
    "arguments",
    [{"prompt": "long " * 100}, {"prompt": "two\nlines"}, {"prompt": "a", "photo": URI}],
    ids=["long", "lines", "inline"],
)
async def test_a_shortened_record_is_not_rebuilt(bench: Bench, arguments: dict[str, str]) -> None:
    """Half a prompt would be paid like a whole one."""
    run, _ = await bench.accept(**arguments)
    assert await bench.restore(run) is None


async def test_a_changed_or_missing_file_is_not_sent(bench: Bench, tmp_path: Path) -> None:
    """The user requested a picture from the original file."""
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    run, _ = await bench.accept(prompt="a lake", photo=str(path))
    path.write_bytes(write(build_photo(9, 9)))
    changed = await bench.restore(run)
    path.unlink()

    assert (changed, await bench.restore(run)) == (None, None)


CHANGED = replace(LISTING, app=replace(LISTING.app, inputs=(replace(PROMPT, run_key="other"), PHOTO)))


DEARER = replace(LISTING, app=replace(LISTING.app, price_credits=6.0))

GONE = AppNotFound("sketch", ())


@pytest.mark.parametrize("found", [CHANGED, DEARER, GONE], ids=["changed", "dearer", "gone"])
async def test_a_changed_or_missing_app_is_not_started(bench: Bench, found: Listing | Exception) -> None:
    """It may now cost more, or make something else."""
    run, _ = await bench.accept(prompt="a lake")
    assert await bench.restore(run, [found]) is None


async def test_a_different_price_estimate_changes_nothing(bench: Bench) -> None:
    """The run was accepted at its own estimate, which the list does not have."""
    bench.estimate_prices()
    run, _ = await bench.accept(prompt="a lake")
    assert await bench.restore(run, [DEARER]) is not None


async def test_a_short_network_outage_is_awaited(bench: Bench) -> None:
    """A laptop that wakes up has no network for some seconds."""
    run, call = await bench.accept(prompt="a lake")
    restored = await bench.restore(run, [LOST, LOST, LISTING])
    assert restored is not None
    assert (restored.inputs, get_instant(bench.clock)) == (call.inputs, 25)


async def test_a_long_network_outage_is_reported(bench: Bench) -> None:
    """A caller waits for this run, and a new call costs no more."""
    run, _ = await bench.accept(prompt="a lake")
    with pytest.raises(ProviderUnreachable):
        await bench.restore(run, [LOST] * 5)
    assert get_instant(bench.clock) == 385.0


async def test_a_row_waits_for_the_network_without_limit(bench: Bench) -> None:
    """No caller waits for it, and nothing of it has changed."""
    run, call = await bench.accept(prompt="a lake")
    restored = await bench.restore(replace(run, batch_id="batch_1"), [*[LOST] * 50, LISTING])
    assert restored is not None
    assert restored.inputs == call.inputs


@pytest.mark.parametrize(
    "error",
    [
        DayUsedUp("Magnific", Operation.DESCRIBE_APP, 36_000.0),
        ProviderRefused("Magnific", Operation.DESCRIBE_APP, 401),
    ],
    ids=["day", "key"],
)
async def test_a_lasting_fault_is_reported_at_once(bench: Bench, error: Exception) -> None:
    """The time of a quota's reset is known, and a refused key needs the user."""
    run, _ = await bench.accept(prompt="a lake")
    with pytest.raises(type(error)):
        await bench.restore(replace(run, batch_id="batch_1"), [error])
    assert get_instant(bench.clock) == 0.0


async def test_an_app_is_not_missing_while_no_list_was_read(bench: Bench) -> None:
    """The provider is down and the home has no earlier catalogue, so the list of apps is unknown."""
    run, call = await bench.accept(prompt="a lake")
    restored = await bench.restore(run, [GONE, LISTING], is_listed=False)
    assert restored is not None
    assert (restored.inputs, get_instant(bench.clock)) == (call.inputs, 5.0)


async def test_without_the_account_no_call_is_rebuilt(bench: Bench) -> None:
    """For example, after the sandbox was replaced by a real key."""
    run, _ = await bench.accept(prompt="a lake")
    assert await bench.restore(replace(run, account_id="magnific:elsewhere:f2"), []) is None
