"""A transmission's states, every move between them, and the mark that it stands for."""

from __future__ import annotations

from itertools import product

import pytest

from adapter.domain.mark import End, Mark
from adapter.domain.reasons import reason
from adapter.domain.transmission import END_OF, ENDED, MOVES, STATE_OF, State, check_move
from adapter.errors import IllegalTransition
from tests.builders import transmission

MOVES_ALLOWED = {
    *((State.READY, to) for to in (State.CLAIMED, State.REFUSED, State.HELD, State.WITHDRAWN, State.UNKNOWN)),
    *((State.CLAIMED, to) for to in (State.INTENT, State.UNKNOWN, State.WITHDRAWN)),
    *(
        (State.INTENT, to)
        for to in (
            State.SENT,
            State.WAITING,
            State.REFUSED,
            State.HELD,
            State.UNKNOWN,
            State.CLAIMED,
        )
    ),
    *((State.WAITING, to) for to in (State.INTENT, State.SENT, State.UNKNOWN, State.WITHDRAWN)),
    *((State.UNKNOWN, to) for to in (State.SENT, State.CLAIMED, State.REFUSED, State.HELD, State.WITHDRAWN)),
    *((State.SENT, to) for to in (State.COMPLETED, State.FAILED)),
    (State.COMPLETED, State.FAILED),
    (State.FAILED, State.COMPLETED),
}


@pytest.mark.parametrize(("now", "to"), list(product(State, State)))
def test_only_the_moves_of_the_table_are_allowed(now: State, to: State) -> None:
    if (now, to) in MOVES_ALLOWED:
        check_move(now, to)
    else:
        with pytest.raises(IllegalTransition, match=f"from {now} to {to}"):
            check_move(now, to)


def test_every_state_has_its_row() -> None:
    assert set(MOVES) == set(State)


def test_a_post_is_only_begun_from_a_claim() -> None:
    assert {state for state in State if State.INTENT in MOVES[state]} == {State.CLAIMED, State.WAITING}


def test_no_end_is_replaced_by_an_earlier_state() -> None:
    for ended in ENDED:
        assert MOVES[ended] <= {State.COMPLETED, State.FAILED}


def test_what_was_sent_is_never_refused_held_withdrawn_or_sent_again() -> None:
    reached = {State.SENT}
    while more := {to for state in reached for to in MOVES[state]} - reached:
        reached |= more

    assert reached == {State.SENT, State.COMPLETED, State.FAILED}


def test_every_state_that_has_not_ended_leads_to_an_end() -> None:
    for state in State:
        reached = {state}
        while more := {to for one in reached for to in MOVES[one]} - reached:
            reached |= more
        assert reached & ENDED


def test_each_end_has_its_state() -> None:
    assert set(END_OF.values()) == set(End)
    assert {STATE_OF[end] for end in End} == ENDED
    assert all(STATE_OF[end] is state for state, end in END_OF.items())


def test_the_mark_is_the_plan_and_what_became_of_it() -> None:
    row = transmission(
        round=2,
        state=State.COMPLETED,
        token="a.b.c",
        attempt=2,
        destination="2.16.840",
        attachments=("d1",),
        digest="ab",
        message="m1",
    )

    assert row.mark == Mark(
        round=2,
        token="a.b.c",
        attempt=2,
        destination="2.16.840",
        attachments=("d1",),
        digest="ab",
        message="m1",
        end=End.COMPLETED,
    )


@pytest.mark.parametrize("state", sorted(set(State) - ENDED))
def test_before_the_end_the_mark_has_none(state: State) -> None:
    assert transmission(state=state).mark.end is None


def test_sentences_stay_out_of_the_repr() -> None:
    row = transmission(reason=reason("delivery-failed", detail="Quillfeather moved"), note="Quillfeather")

    assert "Quillfeather" not in repr(row)
