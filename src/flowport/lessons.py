"""What a provider's refusals and numbers teach of its limits. Pure, like `allowance`; the record was refreshed.

A 429 within our own limit means that somebody else uses the key: the limit is lowered by a quarter, comes back step by
step, and for two minutes requests are spread, so that none is refused by a burst.

A request that took a second to arrive counts there for a second longer than for us, and the next may be faster: so the
window is longer by what answers take.
"""

from dataclasses import replace
from typing import Final

from flowport.allowance import SPAN_SECONDS, AccountRecord, Limits, Quota, get_believed_limit, get_step

PACED_SECONDS: Final = 120.0
"""For how long after a pause requests are spread."""

MIN_PAUSE_SECONDS: Final = 1.0
"""The shortest pause: several requests that were refused together teach one lesson."""

FAR_SECONDS: Final = 120.0
"""A reset that is further away is the day's and not the minute's."""

MAX_DELAY_SECONDS: Final = 2.0
"""What takes longer than that was slow at the provider, and not on its way."""

DELAY_KEPT_SECONDS: Final = 2 * SPAN_SECONDS

TRUST_SECONDS: Final = 3600.0
"""How long a day is believed to be used up before one request asks again: the person may have raised its limit there."""


def note_refusal(record: AccountRecord, limits: Limits, *, seconds: float) -> AccountRecord:
    """Rest for so long, because the provider answered 429; go on more slowly.

    Not after a refusal of which the provider says that the day is used up: whoever may wait, waits for that.
    """
    now = record.seen_at
    if now < record.told_day.until and not record.told_day.left:
        return record
    paused_until = max(record.paused_until, now + max(seconds, MIN_PAUSE_SECONDS))
    if now < record.paused_until:
        return replace(record, paused_until=paused_until, paced_until=paused_until + PACED_SECONDS)
    lowered = min(get_believed_limit(record, limits), max(record.used, 1)) * 3 // 4
    return replace(
        record,
        paused_until=paused_until,
        paced_until=paused_until + PACED_SECONDS,
        lowered_to=max(lowered, get_step(limits)),
        lowered_at=paused_until,
    )


def note_delay(record: AccountRecord, *, seconds: float) -> AccountRecord:
    """Keep how long an answer took, for as long as requests like it count, unless another took longer."""
    seconds = min(seconds, MAX_DELAY_SECONDS)
    if seconds < record.delay and record.seen_at < record.delay_until:
        return record
    return replace(record, delay=seconds, delay_until=record.seen_at + DELAY_KEPT_SECONDS)


def note_quota(record: AccountRecord, *, left: int, reset_seconds: float) -> AccountRecord:
    """Keep what an answer told: the newest word counts, until its reset."""
    reset_at = record.seen_at + reset_seconds
    if reset_seconds <= FAR_SECONDS:
        return replace(record, told_minute=Quota(left, reset_at, reset_at))
    return replace(record, told_day=Quota(left, reset_at, min(reset_at, record.seen_at + TRUST_SECONDS)))
