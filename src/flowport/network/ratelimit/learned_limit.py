"""How many requests a minute an account has proven to accept, and when more are tried. Pure.

Additive increase, multiplicative decrease. While work waits for the rate limiter and nothing was refused for a while, the
account climbs: some requests are sent above the limit, none of which starts a run. One at a time goes higher than any
before it, the probe. Its answer proves how many requests the provider has accepted within a minute, and the limit rises
to that number. The proof is strict: it leaves out what may not have arrived, while the window counts what may not have
left it. So the window must hold a few requests more than the limit before anything is proven, and starts must wait until
it holds fewer. That is why an account climbs for half of the time only: starts have the other half.

A refusal lowers the limit, and is remembered as a ceiling. Below the ceiling the limit rises again; above it nothing is
tried until `retry_at`, and each refusal doubles that delay. How far the limit falls depends on what explains the refusal:

- It was the probe: the limit was right, and stays.
- The account climbed: providers that count in fixed windows, or fill a bucket, notice a rate late, and refuse any request.
  The limit falls halfway to what it was a minute and a half before, and at the next refusal all the way, if that is near.
- Nothing does: the provider lowered its limit, or other programs use the key. The limit falls to three quarters of what
  was accepted in the last minute.
"""

from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

WINDOW_SECONDS: Final = 60.0

DEFAULT_CEILING: Final = 500
"""The highest limit that is learned without a setting: providers limit addresses too, at about 600 a minute."""

GROWTH_PER_MINUTE: Final = 30
"""How fast the limit rises, in requests a minute each minute: 300 is reached in 9 minutes of waiting work."""

GROWTH_PARTS: Final = 20
"""A higher ceiling is reached in about so many minutes, too."""

FINE_PARTS: Final = 4
"""Near the last refusal the limit rises so many times more slowly, so that a fixed window overshoots by less."""

NEAR_CEILING: Final = (0.8, 1.25)
"""What counts as near, as parts of the ceiling."""

ENOUGH_OF_CEILING: Final = 0.95
"""A limit so close to the ceiling is not raised before `retry_at`: the rest is not worth a refusal."""

PATIENCE_SECONDS: Final = 15.0
"""How long work waits before the account climbs: a single burst needs no higher limit."""

CLIMB_SECONDS: Final = 12.0
REST_SECONDS: Final = 12.0
"""An account climbs and rests in turn; starts that wait are sent while it rests."""

SLACK_PARTS: Final = 8
MIN_SLACK: Final = 4
"""The window holds more than the limit by this part of it at most, or by so many."""

ABOVE_SECONDS: Final = 5.0
"""A refusal so soon after a request above the limit is put down to it."""

WAITING_SECONDS: Final = 20.0
"""Work that waits asks at least this often; after a longer silence nothing waits."""

PROBE_SECONDS: Final = 1.5
"""How long a probe has for its answer before another one is sent, unless the answer comes before."""

RECHECK_SECONDS: Final = 1.0
"""How soon to check again whether the provider has reported more."""

SETTLED_SECONDS: Final = 90.0
"""A level that was held so long ago filled a fixed window of a minute since, on average, whenever that began."""

AGAIN_SECONDS: Final = 600.0
"""A refusal so soon after another means that the first answer to it was not enough."""

RETRY_SECONDS: Final = (1200.0, 3600.0)
"""How long after a refusal a rate above the ceiling is tried again: at first, and at most. Each refusal doubles it."""

RETRY_SECONDS_ELSEWHERE: Final = (120.0, 900.0)
"""The same after a refusal that nothing explains: other programs may use the key for a while."""

FLOOR_PARTS: Final = 8
"""No refusal lowers the limit below this part of the documented one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is known of an account before anything is learned; 0 for no limit."""

    per_minute: int
    """Where learning starts: the documented limit, or the setting where that is lower."""
    per_day: int = 0
    ceiling: int = 0
    """The highest limit that may be learned; 0 for `per_minute`, and then nothing is."""
    parts: int = 1
    """Into how many equal parts the limit is divided; this process has one."""

    @property
    def most(self) -> int:
        """Requests a minute that are never exceeded, whatever is learned."""
        return max(self.per_minute, self.ceiling)


class Mark(NamedTuple):
    """A limit that was raised, and when."""

    until: float
    limit: int


class LearnedLimit(NamedTuple):
    """What is learned of an account. Instants are those of the window's record."""

    proven: int = 0
    """Requests in a minute that were accepted, or to which a refusal lowered the limit; 0 for nothing learned yet."""
    marks: tuple[Mark, ...] = ()
    """The lower limits of the last `SETTLED_SECONDS`, oldest first."""
    ceiling: int = 0
    """At about so many requests in a minute the next one was refused; 0 for never."""
    refused_at: float = 0.0
    retry_at: float = 0.0
    """When a rate above the ceiling is tried again."""
    retry_seconds: float = 0.0
    """How long that was after the refusal; 0 when there was none."""
    fallback: int = 0
    """The settled limit at the last refusal, in case that the higher one does not hold; 0 for none."""
    trial: int = 0
    """The most requests that the window held when a probe was accepted."""
    probed_at: float = 0.0
    probe_until: float = 0.0
    """Until then no other probe is sent, unless its answer comes before."""
    above_until: float = 0.0
    """Until then a refusal is put down to a request that was sent above the limit."""
    waiting_since: float = 0.0
    waiting_until: float = 0.0
    """How long work is taken to wait for the limiter if it does not ask again."""


NOTHING_LEARNED: Final = LearnedLimit()


def get_limit(learned: LearnedLimit, limits: Limits) -> int:
    """Return the requests a minute that are sent without a probe; at least 1."""
    return max(1, min(learned.proven or limits.per_minute, limits.most) // limits.parts)


def can_rise(learned: LearnedLimit, limits: Limits, *, now: float) -> bool:
    """Return whether a higher limit would be tried if work waited."""
    limit = get_limit(learned, limits)
    if limits.parts > 1 or limit >= limits.most:
        return False
    return now >= learned.retry_at or limit < learned.ceiling * ENOUGH_OF_CEILING


def get_settled(learned: LearnedLimit, limits: Limits, *, now: float) -> int:
    """Return the limit of `SETTLED_SECONDS` ago, or the present one where that is lower."""
    limit = get_limit(learned, limits)
    held = next((mark.limit for mark in learned.marks if mark.until > now - SETTLED_SECONDS), limit)
    return min(held, limit)


def get_extra_at(learned: LearnedLimit, limits: Limits, *, used: int, now: float) -> float:
    """Return when a request above the limit may be sent, if work waits until then; infinity when none may.

    Args:
        used: Requests that the window holds.
    """
    if not can_rise(learned, limits, now=now) or used >= limits.most:
        return inf
    climbs_at = learned.waiting_since + PATIENCE_SECONDS
    extra_at = max(now, climbs_at)
    if learned.ceiling and used >= learned.ceiling:
        extra_at = max(extra_at, learned.retry_at)
    if is_probe(learned, limits, used=used):
        extra_at = max(extra_at, learned.probed_at + _get_spacing(learned, limits), learned.probe_until)
    phase = (extra_at - climbs_at) % (CLIMB_SECONDS + REST_SECONDS)
    return extra_at if phase < CLIMB_SECONDS else extra_at - phase + CLIMB_SECONDS + REST_SECONDS


def is_probe(learned: LearnedLimit, limits: Limits, *, used: int) -> bool:
    """Return whether a request above the limit goes higher than any that was accepted."""
    limit = get_limit(learned, limits)
    return used >= min(max(learned.trial, limit), limit + max(MIN_SLACK, limit // SLACK_PARTS))


def note_waiting(learned: LearnedLimit, *, now: float) -> LearnedLimit:
    """Record that work waits, for no other reason than the limit."""
    since = learned.waiting_since if now < learned.waiting_until else now
    return learned._replace(waiting_since=since, waiting_until=now + WAITING_SECONDS)


def note_extra(learned: LearnedLimit, limits: Limits, *, used: int, now: float) -> LearnedLimit:
    """Record that a request is sent above the limit.

    Args:
        used: Requests that the window held before it.
    """
    above = learned._replace(above_until=now + ABOVE_SECONDS)
    if not is_probe(learned, limits, used=used):
        return above
    return above._replace(probed_at=now, probe_until=now + PROBE_SECONDS)


def note_accepted(
    learned: LearnedLimit, limits: Limits, *, probed_at: float, used: int, proof: int, now: float
) -> LearnedLimit:
    """Raise the limit to what an accepted probe proves. One that was sent before the last refusal proves nothing any more.

    Args:
        probed_at: When the probe was granted.
        used: How many requests the window held then, the probe included.
        proof: How many requests the provider has certainly accepted within one minute.
    """
    if learned.retry_seconds and probed_at <= learned.refused_at:
        return learned
    is_last = probed_at >= learned.probed_at
    learned = learned._replace(trial=max(learned.trial, used), probe_until=0.0 if is_last else learned.probe_until)
    limit, raised = get_limit(learned, limits), min(proof, limits.most)
    if raised <= limit:
        return learned
    marks = tuple(mark for mark in learned.marks if mark.until > now - SETTLED_SECONDS)
    if not marks or now - marks[-1].until >= 1.0:
        marks = (*marks, Mark(now, limit))
    learned = learned._replace(proven=raised, marks=marks)
    if raised > learned.ceiling * NEAR_CEILING[1]:
        learned = learned._replace(ceiling=0, fallback=0, retry_at=0.0, retry_seconds=0.0)
    return learned


def note_refused(learned: LearnedLimit, limits: Limits, *, accepted: int, is_probe: bool, now: float) -> LearnedLimit:
    """Lower the limit after a refusal; several refusals of one burst are one.

    Args:
        accepted: Requests that the provider has accepted in the last minute.
        is_probe: Whether the refused request was the probe.
    """
    limit, settled = get_limit(learned, limits), get_settled(learned, limits, now=now)
    is_again = bool(learned.retry_seconds) and now - learned.refused_at < AGAIN_SECONDS
    is_explained = is_probe or settled < limit or now < learned.above_until
    if is_probe:
        lowered, fallback = limit, settled
    elif is_explained:
        lowered, fallback = _step_back(settled, limit, is_again=is_again), settled
    elif is_again and 0 < learned.fallback < limit:
        lowered, fallback = _step_back(learned.fallback, limit, is_again=True), learned.fallback
    else:
        lowered, fallback = min(limit, accepted) * 3 // 4, 0
    lowered = min(limit, max(lowered, 1, limits.per_minute // FLOOR_PARTS))
    first_seconds, most_seconds = RETRY_SECONDS if is_explained or fallback else RETRY_SECONDS_ELSEWHERE
    retry_seconds = min(most_seconds, max(first_seconds, learned.retry_seconds * 2))
    return learned._replace(
        proven=lowered,
        marks=(),
        ceiling=lowered if is_again else max(lowered, min(accepted, limits.most)),
        refused_at=now,
        retry_at=now + retry_seconds,
        retry_seconds=retry_seconds,
        fallback=fallback,
        trial=0,
        probe_until=0.0,
        above_until=0.0,
    )


def move_instants(learned: LearnedLimit, *, written_at: float, now: float) -> LearnedLimit:
    """Return what was learned in an earlier boot of the machine, with its instants on the present clock.

    The time between the two counts as none. Nothing waits any more, and no probe is under way.
    """
    shift = now - written_at
    return learned._replace(
        marks=(),
        refused_at=learned.refused_at + shift,
        retry_at=learned.retry_at + shift if learned.retry_seconds else 0.0,
        probed_at=now,
        probe_until=0.0,
        above_until=0.0,
        waiting_since=now,
        waiting_until=now,
    )


def _step_back(settled: int, limit: int, *, is_again: bool) -> int:
    """Return what to fall back to from a limit that rose too far."""
    return settled if is_again and settled >= limit * NEAR_CEILING[0] else (settled + limit) // 2


def _get_spacing(learned: LearnedLimit, limits: Limits) -> float:
    """Return the seconds between two probes."""
    growth = max(GROWTH_PER_MINUTE, limits.most / GROWTH_PARTS)
    low, high = (learned.ceiling * part for part in NEAR_CEILING)
    if learned.ceiling and low <= get_limit(learned, limits) <= high:
        growth /= FINE_PARTS
    return WINDOW_SECONDS / growth * CLIMB_SECONDS / (CLIMB_SECONDS + REST_SECONDS)
