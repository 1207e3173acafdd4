"""What the store keeps of uploads, and of results that were delivered."""

from dataclasses import replace

from flowport.domain.models import Output, OutputKind, RunState
from flowport.domain.run_events import Delivered, InputsPrepared
from flowport.store.interface import Store
from flowport.store.records import BeingUploaded, ToUpload, Upload, UploadClaim
from tests.runs.samples import NOW, RUN

UPLOAD = Upload("magnific:a:1", "abc", "https://storage.example/asset", NOW + 86400, "f1", "was made smaller")
MINE = UploadClaim(UPLOAD.account_id, UPLOAD.sha256, "p1", NOW)
THEIRS = replace(MINE, process_id="p2")


async def test_one_process_uploads_and_the_others_wait(store: Store) -> None:
    """Until it is done; then everybody has it."""
    assert await store.claim_upload(MINE) == ToUpload()
    assert await store.claim_upload(MINE) == ToUpload()
    assert await store.claim_upload(THEIRS) == BeingUploaded("p1")
    await store.note_upload(UPLOAD)
    assert await store.claim_upload(MINE) == await store.claim_upload(THEIRS) == UPLOAD


async def test_the_claim_of_a_dead_process_passes_on(store: Store) -> None:
    """As does one that was given up."""
    await store.claim_upload(MINE)
    assert await store.claim_upload(replace(THEIRS, dead_process_id="p1")) == ToUpload()
    assert await store.claim_upload(MINE) == BeingUploaded("p2")
    await store.forget_upload(account_id=UPLOAD.account_id, sha256=UPLOAD.sha256)
    assert await store.claim_upload(MINE) == ToUpload()


async def test_a_process_gives_up_its_own_claim_alone(store: Store) -> None:
    """One that was paused, and counted as dead, takes nothing away from the one that uploads the file now."""
    await store.claim_upload(MINE)
    await store.claim_upload(replace(THEIRS, dead_process_id="p1"))
    await store.forget_upload(account_id=UPLOAD.account_id, sha256=UPLOAD.sha256, process_id="p1")
    assert await store.claim_upload(MINE) == BeingUploaded("p2")
    await store.note_upload(UPLOAD)
    await store.forget_upload(account_id=UPLOAD.account_id, sha256=UPLOAD.sha256, process_id="p2")
    assert await store.claim_upload(MINE) == UPLOAD


async def test_an_upload_that_does_not_live_long_enough_is_made_again(store: Store) -> None:
    """It would be gone when the provider looks for it."""
    await store.note_upload(UPLOAD)
    assert await store.claim_upload(replace(MINE, usable_until=UPLOAD.expires_at + 1)) == ToUpload()


async def test_an_upload_belongs_to_its_account(store: Store) -> None:
    """Another key may not see it."""
    await store.note_upload(UPLOAD)
    assert await store.claim_upload(replace(MINE, account_id="magnific:a:2")) == ToUpload()


async def test_what_has_long_expired_is_cleared_away(store: Store) -> None:
    """The record stays as small as a week is."""
    await store.note_upload(UPLOAD)
    await store.note_upload(replace(UPLOAD, sha256="new", expires_at=UPLOAD.expires_at + 8 * 86400))
    assert await store.claim_upload(MINE) == ToUpload()


async def test_notes_stay_with_the_run(store: Store) -> None:
    """They are as true next week."""
    await store.accept(RUN)
    await store.record(RUN.id, InputsPrepared("photo was made smaller."))
    assert (await store.get_run(RUN.id, account_id=None, owner="local")).notes == "photo was made smaller."


async def test_the_last_result_is_the_one_that_was_delivered_last(store: Store) -> None:
    """Not the one that was started last, and not one that made nothing or is another owner's."""
    output = Output(1, OutputKind.IMAGE, "https://cdn.example/1.png")
    for n in range(5):
        run = replace(
            RUN,
            id=f"run_{n}",
            accepted_at=NOW + n,
            owner="other" if n == 4 else "local",
            state=RunState.SUCCEEDED,
            outputs=() if n == 3 else (output,),
        )
        await store.accept(run)
    for n, at in ((1, 30.0), (0, 40.0), (3, 50.0), (4, 60.0)):
        await store.record(f"run_{n}", Delivered(at))

    last = await store.get_last_delivered(owner="local")
    assert last is not None
    assert (last.id, last.outputs) == ("run_0", (output,))
    assert await store.get_last_delivered(owner="without runs") is None
    await store.record("run_1", Delivered(70.0))
    again = await store.get_last_delivered(owner="local")
    assert again is not None
    assert again.id == "run_1"
