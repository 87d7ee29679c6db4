"""Who goes next."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.ranking import OLDEST_EVERY, PRIORITIES, Rank, goes_next, priority_of
from tests.builders import NOW, communication
from tests.unit.domain.json_values import any_json

RANKS = st.lists(
    st.builds(
        Rank,
        priority=st.integers(0, 3),
        since=st.integers(0, 50).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    ),
    min_size=1,
    max_size=12,
)


def rank(priority: int, seconds: float) -> Rank:
    return Rank(priority=priority, since=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("stated", "priority"), [("stat", 0), ("asap", 1), ("urgent", 2), ("routine", 3), (None, 3), ("soon", 3)]
)
def test_priority_goes_from_stat_to_routine(stated: object, priority: int) -> None:
    assert priority_of(communication(priority=stated)) == priority


@given(any_json)
def test_any_other_priority_is_routine(stated: Any) -> None:
    assert priority_of({"priority": stated}) == len(PRIORITIES) - 1 or stated in PRIORITIES


@given(RANKS, st.integers(0, 200))
def test_every_fourth_slot_goes_to_the_oldest_and_the_others_by_priority_then_age(
    ranks: list[Rank], turn: int
) -> None:
    chosen = ranks[goes_next(ranks, turn=turn)]

    if turn % 4 == 3:
        assert all(chosen.since <= other.since for other in ranks)
    else:
        assert all((chosen.priority, chosen.since) <= (other.priority, other.since) for other in ranks)


@given(st.integers(0, 8), st.integers(0, 3), st.integers(1, 3))
def test_nobody_starves_under_a_stream_of_urgent_messages(
    older: int, first_turn: int, arrivals_a_turn: int
) -> None:
    waiting = [rank(0, -second) for second in range(1, older + 1)]
    routine = rank(3, 0)
    waiting.append(routine)

    for turns in range(OLDEST_EVERY * (older + 1)):
        waiting.extend(rank(0, turns + 1) for _ in range(arrivals_a_turn))
        if waiting.pop(goes_next(waiting, turn=first_turn + turns)) is routine:
            return
    pytest.fail("the routine message was never served")


def test_of_equals_the_first_goes() -> None:
    assert goes_next([rank(3, 0), rank(3, 0)], turn=0) == 0
    assert goes_next([rank(3, 0), rank(0, 0)], turn=3) == 0


def test_nobody_waiting_is_an_error() -> None:
    for turn in range(OLDEST_EVERY):
        with pytest.raises(ValueError, match="empty"):
            goes_next([], turn=turn)
