"""The pace: never 21 arrivals in any minute, and yet nearly 20 a minute."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapter.domain.pacing import ANSWER_SECONDS, Pace, Slot

PACE = Pace()
LATENCIES = st.floats(0, ANSWER_SECONDS)
TOLERANCE = 1e-6


def begin(slots: list[Slot], now: float, *, pace: Pace = PACE) -> float:
    """The start that a lane arrives at which asks again each time it has waited."""
    while (start := pace.next_start(slots, now=now)) > now:
        now = start
    return now


@given(st.lists(st.tuples(LATENCIES, st.floats(0, 1)), min_size=21, max_size=90), st.randoms())
def test_never_more_than_twenty_arrivals_in_any_minute(
    posts: list[tuple[float, float]], chance: random.Random
) -> None:
    slots = [Slot(started=0.0, ended=0.0)]
    arrivals = [0.0]
    now = 0.0
    for latency, share in posts:
        start = begin(slots, now)
        arrivals.append(start + share * latency)
        now = start + latency
        crashed = chance.random() < 0.1  # the answer was never recorded, and the post may still be under way
        slots.append(Slot(started=start, ended=None if crashed else now))
        now = start + chance.random() * 5 if crashed else now

    arrivals.sort()
    windows = zip(arrivals, arrivals[20:], strict=False)
    assert all(later - earlier >= 60 - TOLERANCE for earlier, later in windows)
    starts = [slot.started for slot in slots]
    assert all(b - a >= 3 - TOLERANCE for a, b in pairwise(starts))


@given(st.lists(st.floats(0.02, 0.4), min_size=200, max_size=200))
@example([0.4] * 200)
def test_small_latencies_leave_nearly_twenty_a_minute(latencies: list[float]) -> None:
    slots = [Slot(started=0.0, ended=0.1)]
    now = 0.1
    for latency in latencies:
        start = begin(slots, now)
        now = start + latency
        slots.append(Slot(started=start, ended=now))

    assert len(latencies) / (slots[-1].started / 60) >= 19.8


def test_sends_are_three_seconds_apart() -> None:
    assert PACE.next_start([Slot(started=100.0, ended=100.2)], now=100.3) == 103.0


def test_a_slot_that_is_long_past_holds_nobody_up() -> None:
    assert PACE.next_start([Slot(started=0.0, ended=0.2)], now=500.0) <= 500.0


def test_a_fresh_ledger_waits_one_interval() -> None:
    assert PACE.next_start([], now=100.0) == 103.0


@pytest.mark.parametrize("known", [0, 1, 19, 20])
def test_what_others_sent_last_may_still_arrive_whatever_is_known_of_it(known: int) -> None:
    slots = PACE.followed_by(100.0, [0.2] * known)

    assert len(slots) == max(known, 1)
    assert [slot.latest_arrival for slot in slots[-1:]] == [100.0 + ANSWER_SECONDS]
    assert all(slot.ended is not None for slot in slots[:-1])


def test_the_twentieth_before_holds_up_for_a_minute_after_its_answer() -> None:
    slots = [Slot(started=3.0 * count, ended=3.0 * count + 2.5) for count in range(20)]

    assert PACE.next_start(slots, now=60.0) == 62.5
    assert PACE.next_start(slots[1:], now=60.0) == 60.0


def test_without_an_answer_the_twentieth_before_may_have_arrived_twenty_seconds_later() -> None:
    slots = [Slot(started=3.0 * count, ended=3.0 * count) for count in range(20)]
    slots[0] = replace(slots[0], ended=None)

    assert PACE.next_start(slots, now=60.0) == 80.0


@given(st.floats(0, 1e7), st.integers(1, 40))
def test_stored_times_ahead_of_a_clock_that_stepped_back_count_as_now(step: float, count: int) -> None:
    now = 1000.0
    slots = [Slot(started=now + step + 3.0 * n, ended=now + step + 3.0 * n) for n in range(count)]

    assert PACE.next_start(slots, now=now) == now + (60.0 if count >= 20 else 3.0)


@pytest.mark.parametrize(("sends", "interval"), [(20, 3.0), (10, 6.0), (1, 60.0)])
def test_a_site_may_be_slower(sends: int, interval: float) -> None:
    pace = Pace(sends_per_minute=sends)

    assert pace.interval_seconds == interval
    assert begin([Slot(started=0.0, ended=0.0)], 0.0, pace=pace) == interval


def test_the_latest_arrival_is_the_answer_or_twenty_seconds_on() -> None:
    assert Slot(started=1.0, ended=2.0).latest_arrival == 2.0
    assert Slot(started=1.0).latest_arrival == 21.0
