"""What an account teaches of its limit: the pure rules, by examples and for all histories."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.network.ratelimit.learned_limit import (
    CLIMB_SECONDS,
    NOTHING_LEARNED,
    PATIENCE_SECONDS,
    RETRY_SECONDS,
    RETRY_SECONDS_ELSEWHERE,
    LearnedLimit,
    Limits,
    Mark,
    can_rise,
    get_extra_at,
    get_limit,
    get_settled,
    move_instants,
    note_accepted,
    note_extra,
    note_refused,
    note_waiting,
)
from flowport.network.ratelimit.record import AccountRecord, note_answered_probe, note_refusal, refresh
from flowport.network.ratelimit.window import Demand, TokenRequest, admit

LIMITS = Limits(50, ceiling=500)
START, POLL = TokenRequest(0), TokenRequest(1, may_probe=True)


def learn(proven: int, marks: tuple[Mark, ...] = (), **changes: int) -> LearnedLimit:
    """Return what an account has taught that accepts so many."""
    return NOTHING_LEARNED._replace(proven=proven, marks=marks, **changes)


def accept(learned: LearnedLimit, limits: Limits, *, proof: int, now: float) -> LearnedLimit:
    """Return what is learned when a probe is accepted that proves so many."""
    return note_accepted(learned, limits, probed_at=now, used=proof, proof=proof, now=now)


@pytest.mark.parametrize(
    ("limits", "proven", "limit"),
    [
        (LIMITS, 0, 50),
        (LIMITS, 280, 280),
        (LIMITS, 900, 500),
        (Limits(20, ceiling=20), 0, 20),
        (Limits(20, ceiling=20), 280, 20),
        (Limits(50), 280, 50),
        (Limits(50, ceiling=500, parts=2), 280, 140),
        (Limits(1, ceiling=500, parts=2), 0, 1),
    ],
)
def test_the_limit_is_the_documented_one_then_the_learned_one_and_never_above_the_ceiling(
    limits: Limits, proven: int, limit: int
) -> None:
    """A setting holds whatever was learned before it was made."""
    assert get_limit(learn(proven), limits) == limit


def test_a_request_above_the_limit_needs_work_that_has_waited() -> None:
    """A single burst needs no higher limit, and an idle account none at all."""
    idle = note_waiting(NOTHING_LEARNED, now=100.0)
    assert get_extra_at(idle, LIMITS, used=50, now=100.0) == 100.0 + PATIENCE_SECONDS
    waiting = note_waiting(idle, now=115.0)
    assert get_extra_at(waiting, LIMITS, used=50, now=115.0) == 115.0
    assert note_waiting(waiting, now=200.0).waiting_since == 200.0


def test_an_account_climbs_for_half_of_the_time() -> None:
    """The other half belongs to starts that wait."""
    waiting = note_waiting(NOTHING_LEARNED, now=0.0)
    begins = PATIENCE_SECONDS
    asked = [begins, begins + CLIMB_SECONDS - 1.0, begins + CLIMB_SECONDS, begins + 2 * CLIMB_SECONDS]
    reported = [get_extra_at(waiting, LIMITS, used=50, now=now) for now in asked]
    assert reported == [asked[0], asked[1], asked[3], asked[3]]


def test_one_probe_at_a_time_and_none_below_what_was_accepted() -> None:
    """A rate that is refused must not be refused ten times."""
    waiting = note_waiting(NOTHING_LEARNED, now=0.0)
    sent = note_extra(waiting, LIMITS, used=50, now=16.0)
    assert get_extra_at(sent, LIMITS, used=51, now=17.0) == 17.5
    answered = note_accepted(sent, LIMITS, probed_at=16.0, used=51, proof=50, now=16.5)
    assert get_extra_at(answered, LIMITS, used=51, now=17.0) == 17.0
    assert get_extra_at(answered, LIMITS, used=50, now=16.6) == 16.6
    assert get_extra_at(answered, LIMITS, used=51, now=16.6) == 17.0


def test_a_slow_answer_proves_what_it_proves_unless_something_was_refused_since() -> None:
    """A provider that takes four seconds is still learned about."""
    first = note_extra(note_waiting(learn(60), now=0.0), LIMITS, used=60, now=16.0)
    second = note_extra(first, LIMITS, used=61, now=18.0)
    answered = note_accepted(second, LIMITS, probed_at=16.0, used=61, proof=61, now=20.0)
    assert (answered.proven, answered.trial, answered.probe_until) == (61, 61, second.probe_until)
    refused = note_refused(second, LIMITS, accepted=60, is_probe=True, now=19.0)
    assert note_accepted(refused, LIMITS, probed_at=18.0, used=62, proof=62, now=20.0) == refused


@pytest.mark.parametrize("limits", [Limits(50), Limits(20, ceiling=20), Limits(50, ceiling=500, parts=2)])
def test_a_limit_at_its_ceiling_is_not_tried(limits: Limits) -> None:
    """Nor half of one, while the file that all programs share cannot be used."""
    assert not can_rise(NOTHING_LEARNED, limits, now=1e6)
    assert get_extra_at(note_waiting(NOTHING_LEARNED, now=0.0), limits, used=20, now=16.0) == inf


def test_the_window_never_holds_more_than_the_ceiling() -> None:
    """Not for a probe either."""
    learned = note_waiting(learn(98), now=0.0)
    assert get_extra_at(learned, Limits(50, ceiling=100), used=99, now=16.0) == 16.0
    assert get_extra_at(learned, Limits(50, ceiling=100), used=100, now=16.0) == inf


def test_the_limit_rises_to_what_was_proven_and_not_beyond_the_ceiling() -> None:
    """The answer to a probe that proves nothing new changes nothing."""
    assert accept(learn(60), LIMITS, proof=63, now=9.0).proven == 63
    assert accept(learn(60), LIMITS, proof=60, now=9.0).proven == 60
    assert accept(learn(60), Limits(50, ceiling=61), proof=63, now=9.0).proven == 61


def test_a_refused_probe_lowers_nothing_but_is_remembered() -> None:
    """The limit was right; above it nothing is tried for twenty minutes, then for forty, an hour at most."""
    learned, delays = learn(50), []
    for _ in range(4):
        now = learned.retry_at
        learned = note_refused(learned, LIMITS, accepted=50, is_probe=True, now=now)
        assert (learned.proven, learned.ceiling, can_rise(learned, LIMITS, now=now + 1.0)) == (50, 50, False)
        delays.append(learned.retry_at - now)
        assert can_rise(learned, LIMITS, now=learned.retry_at)
    first, most = RETRY_SECONDS
    assert delays == [first, 2 * first, most, most]


def test_a_refusal_that_nothing_explains_takes_a_quarter() -> None:
    """The provider lowered its limit, or other programs use the key."""
    learned = note_refused(learn(300), LIMITS, accepted=280, is_probe=False, now=1000.0)
    assert (learned.proven, learned.ceiling, learned.retry_at) == (210, 280, 1000.0 + RETRY_SECONDS_ELSEWHERE[0])
    again = note_refused(learned, LIMITS, accepted=200, is_probe=False, now=1030.0)
    assert (again.proven, again.ceiling) == (150, 150)


def test_a_refusal_far_below_the_limit_leaves_something() -> None:
    """Another program that takes all of the key for a minute must not stop this one for good."""
    assert note_refused(learn(300), LIMITS, accepted=3, is_probe=False, now=1000.0).proven == 6
    assert note_refused(learn(4), LIMITS, accepted=0, is_probe=False, now=1000.0).proven == 4


def test_a_refusal_while_the_limit_rose_takes_back_half_of_the_rise_then_all_of_it() -> None:
    """A fixed window refuses any request, a minute late. A long rise is taken back by halves."""
    rising = learn(80, (Mark(5.0, 50), Mark(100.0, 60)))
    assert get_settled(rising, LIMITS, now=150.0) == 60
    first = note_refused(rising, LIMITS, accepted=78, is_probe=False, now=150.0)
    assert (first.proven, first.ceiling, first.fallback) == (70, 78, 60)
    second = note_refused(first, LIMITS, accepted=68, is_probe=False, now=200.0)
    assert (second.proven, second.ceiling) == (60, 60)
    risen = note_refused(learn(100, (Mark(5.0, 60),)), LIMITS, accepted=98, is_probe=True, now=50.0)
    assert (risen.proven, risen.fallback) == (100, 60)
    assert note_refused(risen, LIMITS, accepted=98, is_probe=False, now=200.0).proven == 80


def test_a_limit_that_was_raised_there_is_found_again() -> None:
    """What went well beyond the ceiling makes it void."""
    learned = learn(60, ceiling=60, retry_seconds=2400, retry_at=5000)
    assert not can_rise(learned, LIMITS, now=4999.0)
    assert can_rise(learned, LIMITS, now=5000.0)
    assert accept(learned, LIMITS, proof=70, now=5100.0).ceiling == 60
    risen = accept(learned, LIMITS, proof=76, now=5200.0)
    assert (risen.ceiling, risen.retry_seconds) == (0, 0.0)


def test_what_was_learned_outlives_a_boot_of_the_machine() -> None:
    """Its clock begins at zero again; a refusal of ten minutes ago is still one of ten minutes ago."""
    learned = learn(280, ceiling=300, refused_at=9400, retry_at=10600, retry_seconds=1200, probe_until=10002)
    record = AccountRecord(boot_id="before", seen_at=10_000.0, paused_until=10_300.0, learned=learned)
    kept = refresh(record, boot_id="after", now=50.0)
    assert (kept.learned.proven, kept.learned.ceiling, kept.learned.retry_at) == (280, 300, 650.0)
    assert (kept.paused_until, kept.learned.probe_until) == (0.0, 0.0)
    assert move_instants(NOTHING_LEARNED, written_at=0.0, now=9.0).retry_at == 0.0


EVENTS = st.lists(
    st.tuples(
        st.floats(0.0, 30.0),
        st.one_of(
            st.lists(st.sampled_from([START, POLL]), min_size=1, max_size=9),
            st.sampled_from(["accepted", "refused"]),
        ),
    ),
    max_size=60,
)


@given(documented=st.integers(1, 12), ceiling=st.integers(1, 16), events=EVENTS)
def test_whatever_happens_starts_stay_within_the_limit_and_everything_within_the_ceiling(
    documented: int, ceiling: int, events: list[tuple[float, list[TokenRequest] | str]]
) -> None:
    """A refusal never raises the limit, and an accepted probe never lowers it."""
    limits = Limits(min(documented, ceiling), ceiling=ceiling)
    record, now = refresh(AccountRecord(), boot_id="b", now=0.0), 0.0
    for seconds, event in events:
        now += seconds
        record = refresh(record, boot_id="b", now=now)
        limit = get_limit(record.learned, limits)
        if event == "accepted":
            record = note_answered_probe(record, limits, probed_at=record.learned.probed_at, used=record.used)
            assert limit <= get_limit(record.learned, limits) <= ceiling
        elif event == "refused":
            record = note_refusal(record, limits, seconds=15.0)
            assert 1 <= get_limit(record.learned, limits) <= limit
        else:
            used = record.used
            tokens = [request for request in event if isinstance(request, TokenRequest)]
            record, grant = admit(record, Demand("p", limits, tokens))
            assert used + grant.granted <= max(used, limit)
            assert record.used == used + grant.granted + grant.extra <= max(used, ceiling)
            assert grant.extra <= sum(request.may_probe for request in tokens[grant.granted :])
