"""Whether the doorbell rings for what the sweeps find."""

from __future__ import annotations

import pickle

from adapter.domain.bell import LATE_SECONDS, Bell


def _listening() -> Bell:
    """A bell whose Subscription was seen to long ago."""
    bell = Bell()
    bell.was_seen_to(now=-1000.0)
    bell.rang("an earlier one", now=-900.0)
    return bell


def test_what_a_sweep_found_and_no_bell_rang_for_is_missed_at_the_next_sweep() -> None:
    bell = _listening()

    assert bell.swept(["m"], now=0.0) == 0
    assert bell.swept([], now=LATE_SECONDS) == 1
    assert bell.is_silent


def test_what_rang_long_ago_is_forgotten_though_nobody_sees_to_the_subscription() -> None:
    bell = Bell()
    for second in range(10_000):
        bell.rang(f"message-{second}", now=float(second))
        bell.swept([], now=float(second))

    assert len(pickle.dumps(bell)) < 50_000


def test_it_is_missed_once_however_often_it_is_found() -> None:
    bell = _listening()

    assert [bell.swept(["m"], now=30.0 * sweep) for sweep in range(5)] == [0, 1, 0, 0, 0]


def test_a_bell_before_or_a_little_after_is_none_missed() -> None:
    bell = _listening()

    bell.rang("before", now=-1.0)
    bell.swept(["before", "after"], now=0.0)
    bell.rang("after", now=5.0)

    assert bell.swept([], now=30.0) == 0


def test_a_bell_that_names_nobody_is_for_all() -> None:
    bell = _listening()

    bell.swept(["m", "n"], now=0.0)
    bell.rang(None, now=5.0)
    bell.swept(["o"], now=10.0)

    assert bell.swept([], now=60.0) == 0


def test_nothing_is_expected_of_a_subscription_that_nobody_has_seen_to() -> None:
    bell = Bell()

    assert [bell.swept([f"m-{sweep}"], now=30.0 * sweep) for sweep in range(5)] == [0] * 5
    assert not bell.listens


def test_what_was_there_before_it_listened_is_not_waited_for() -> None:
    bell = Bell()
    bell.was_seen_to(now=0.0)

    assert [bell.swept(["old"], now=at) for at in (1.0, 31.0, 61.0)] == [0, 0, 0]


def test_each_repair_in_vain_is_given_longer() -> None:
    bell, misses, now = _listening(), 0, 0.0
    for sweep in range(200):
        now = 30.0 * sweep
        if bell.swept([f"m-{sweep}"], now=now):
            misses += 1
            bell.was_seen_to(now=now)

    assert 3 <= misses <= 10
    bell.rang("m-199", now=now)
    bell.was_seen_to(now=now)
    assert [bell.swept([f"n-{sweep}"], now=now + 30.0 * sweep) for sweep in range(1, 4)] == [0, 1, 1]
