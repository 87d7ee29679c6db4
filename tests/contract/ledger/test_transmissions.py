"""The work list: opening, restoring, finding."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy.exc import StatementError

from adapter.domain.mark import End, Mark
from adapter.domain.ranking import Rank
from adapter.domain.reasons import reason
from adapter.domain.transmission import STATE_OF, State, Transmission
from adapter.ledger.database import Taken
from adapter.ledger.store import Store, open_ledger
from tests.contract.ledger.ledgers import NOW, ROUTINE, after, on_ledger, opened, row_in

PLAN = Mark(
    round=2,
    token="life.nonce.seal",
    attempt=2,
    destination="1.2.3",
    attachments=("d1", "d2"),
    digest="ab" * 32,
)


@on_ledger
async def test_a_new_row_is_ready(ledger: Store) -> None:
    rank = Rank(priority=1, since=after(-60))

    row = await ledger.open("c1", round=1, rank=rank, now=NOW)

    assert row is not None
    assert row == Transmission(
        id=row.id, communication="c1", round=1, state=State.READY, generation=0, rank=rank, opened_at=NOW
    )


@on_ledger
async def test_opening_again_gives_the_row_while_it_is_ready(ledger: Store) -> None:
    first = await opened(ledger)

    again = await ledger.open("c1", round=1, rank=Rank(priority=0, since=after(5)), now=after(5))

    assert again == first
    assert len(await ledger.timeline("c1")) == 1


@on_ledger
async def test_opening_a_round_that_is_further_gives_nothing(ledger: Store) -> None:
    await row_in(ledger, State.REFUSED)

    assert await ledger.open("c1", round=1, rank=ROUTINE, now=NOW) is None


@on_ledger
async def test_opening_in_parallel_makes_one_row(ledger: Store) -> None:
    found = await asyncio.gather(*(ledger.open("c1", round=1, rank=ROUTINE, now=NOW) for _ in range(10)))

    assert len({row.id for row in found if row}) == 1
    assert None not in found
    assert len(await ledger.timeline("c1")) == 1


def test_two_replicas_open_one_row(postgresql_database: str) -> None:
    async def story() -> None:
        async with (
            open_ledger(postgresql_database, now=NOW) as one,
            open_ledger(postgresql_database, now=NOW) as other,
        ):
            for n in range(20):
                mine, theirs = await asyncio.gather(opened(one, f"c{n}"), opened(other, f"c{n}"))
                assert mine == theirs
                assert len(await one.all_of(f"c{n}")) == 1

    asyncio.run(story())


@on_ledger
async def test_every_fact_is_kept(ledger: Store) -> None:
    row = await opened(ledger)
    held = reason("held-restricted", where="payload[0]", label="R")

    changed = await ledger.change(
        row,
        State.HELD,
        now=NOW,
        event="held",
        attempt=3,
        token="t",
        patient="p",
        destination="x@y.example",
        attachments=("a", "b"),
        digest="d",
        message="m",
        reason=held,
        note="n",
        version="7",
        claimed_at=after(1),
        intent_at=after(2),
        sent_at=after(3),
        ended_at=after(4),
        due_at=after(5),
        write_at=after(6),
        checks=8,
    )

    assert changed == replace(
        row,
        state=State.HELD,
        generation=1,
        attempt=3,
        token="t",
        patient="p",
        destination="x@y.example",
        attachments=("a", "b"),
        digest="d",
        message="m",
        reason=held,
        note="n",
        version="7",
        claimed_at=after(1),
        intent_at=after(2),
        sent_at=after(3),
        ended_at=after(4),
        due_at=after(5),
        write_at=after(6),
        checks=8,
    )
    assert await ledger.newest("c1") == changed


@on_ledger
async def test_facts_can_be_taken_back(ledger: Store) -> None:
    row = await row_in(
        ledger,
        State.READY,
        reason=reason("outcome-unknown", why="a time-out"),
        due_at=NOW,
        attachments=("a",),
    )

    changed = await ledger.change(
        row, State.READY, now=NOW, event="facts", reason=None, due_at=None, attachments=()
    )

    assert changed is not None
    assert (changed.reason, changed.due_at, changed.attachments) == (None, None, ())


@on_ledger
async def test_times_come_back_in_utc_to_the_microsecond(ledger: Store) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-5)))

    row = await row_in(ledger, State.READY, due_at=elsewhere)

    assert row.due_at == NOW
    assert row.due_at is not None
    assert row.due_at.utcoffset() == timedelta(0)


@on_ledger
async def test_a_time_without_zone_is_refused(ledger: Store) -> None:
    row = await opened(ledger)

    with pytest.raises(StatementError, match="without a zone"):
        await ledger.change(row, State.READY, now=NOW, event="facts", due_at=datetime(2026, 1, 1))  # noqa: DTZ001

    assert await ledger.newest("c1") == row


@on_ledger
async def test_text_that_a_database_cannot_hold_stops_nothing(ledger: Store) -> None:
    row = await row_in(ledger, State.READY, note="a\x00b\ud800c 🙂", attachments=("d\x00\ud800🙂",))

    assert row.note == "a\ufffdb?c 🙂"
    assert row.attachments == ("d\x00\ud800🙂",)
    assert await ledger.newest("c1") == row


@on_ledger
async def test_a_message_id_belongs_to_one_row(ledger: Store) -> None:
    owner = await row_in(ledger, State.SENT, "c1", message="m1")
    other = await row_in(ledger, State.UNKNOWN, "c2")

    assert await ledger.change(other, State.SENT, now=NOW, event="sent", message="m1") is None
    assert await ledger.by_message("m1") == owner
    assert await ledger.newest("c2") == other
    assert await ledger.by_message("m2") is None


@on_ledger
async def test_of_many_that_record_one_message_id_one_wins(ledger: Store) -> None:
    rows = [await row_in(ledger, State.UNKNOWN, f"c{n}") for n in range(6)]

    results = await asyncio.gather(
        *(ledger.change(row, State.SENT, now=NOW, event="sent", message="m1") for row in rows)
    )

    assert [result is None for result in results].count(False) == 1


@on_ledger
async def test_what_must_be_there_cannot_be_taken_away(ledger: Store) -> None:
    row = await opened(ledger)

    with pytest.raises(Taken):
        await ledger.change(row, State.READY, now=NOW, event="facts", token=None)  # type: ignore[arg-type]


@on_ledger
async def test_newest_and_all_rounds(ledger: Store) -> None:
    first, third = await opened(ledger, round=1), await opened(ledger, round=3)
    second = await opened(ledger, round=2)

    assert await ledger.newest("c1") == third
    assert await ledger.all_of("c1") == [third, second, first]
    assert await ledger.newest("c2") is None
    assert await ledger.all_of("c2") == []


@on_ledger
async def test_due_are_steps_and_write_backs_the_longest_due_first(ledger: Store) -> None:
    async def due(name: str, *, step: float | None, write: float | None) -> Transmission:
        return await row_in(
            ledger,
            State.READY,
            name,
            due_at=None if step is None else after(step),
            write_at=None if write is None else after(write),
        )

    step = await due("step", step=-2, write=None)
    write = await due("write", step=None, write=-3)
    both = await due("both", step=-1, write=-4)
    one = await due("one", step=-5, write=60)
    just = await due("just", step=0, write=None)
    await due("later", step=1, write=60)
    await due("never", step=None, write=None)

    assert await ledger.due(NOW, limit=10) == [one, both, write, step, just]
    assert await ledger.due(NOW, limit=2) == [one, both]


@on_ledger
async def test_further_rounds_are_those_that_went_and_had_not_ended_by_then(ledger: Store) -> None:
    async def restored(id: str, *, seconds: float = 0, **facts: Any) -> Transmission | None:
        return await ledger.restore(id, replace(PLAN, **facts), rank=ROUTINE, now=after(seconds))

    under_way = await restored("under-way", round=2, message="m1")
    ended_late = await restored("ended-late", round=3, message="m2", end=End.FAILED, seconds=60)
    await restored("ended-early", round=2, message="m3", end=End.COMPLETED)
    await restored("first", round=1, message="m4")
    await restored("doubtful", round=2)

    assert await ledger.further(since=after(30)) == [under_way, ended_late]


@on_ledger
async def test_rows_in_states_are_the_oldest_first(ledger: Store) -> None:
    younger = await opened(ledger, "younger", rank=Rank(priority=0, since=after(5)))
    older = await opened(ledger, "older", rank=Rank(priority=3, since=after(-5)))
    claimed = await row_in(ledger, State.CLAIMED, "claimed")

    assert await ledger.in_states(frozenset({State.READY})) == [older, younger]
    assert await ledger.in_states(frozenset({State.READY, State.CLAIMED})) == [older, claimed, younger]
    assert await ledger.in_states(frozenset({State.READY}), limit=1) == [older]
    assert await ledger.in_states(frozenset()) == []


@on_ledger
async def test_a_mark_without_end_or_message_becomes_unknown(ledger: Store) -> None:
    rank = Rank(priority=2, since=after(-9))

    row = await ledger.restore("c1", PLAN, rank=rank, now=NOW)

    assert row is not None
    assert row.mark == PLAN
    assert (row.state, row.rank, row.intent_at, row.due_at) == (State.UNKNOWN, rank, NOW, NOW)
    assert [(event.what, event.round) for event in await ledger.timeline("c1")] == [("restored", 2)]


@on_ledger
async def test_a_mark_with_a_message_becomes_sent(ledger: Store) -> None:
    mark = replace(PLAN, message="m1")

    row = await ledger.restore("c1", mark, rank=ROUTINE, now=NOW)

    assert row is not None
    assert row.mark == mark
    assert (row.state, row.due_at, row.intent_at) == (State.SENT, NOW, None)


@on_ledger
async def test_an_ended_mark_becomes_that_end(ledger: Store) -> None:
    for end in End:
        mark = replace(PLAN, end=end, message=f"m-{end}")
        row = await ledger.restore(f"c-{end}", mark, rank=ROUTINE, now=NOW)
        assert row is not None
        assert (row.state, row.mark, row.ended_at, row.due_at) == (STATE_OF[end], mark, NOW, None)


@on_ledger
async def test_nothing_is_restored_over_a_row_or_a_taken_message(ledger: Store) -> None:
    known = await row_in(ledger, State.SENT, "c1", message="m1")

    assert await ledger.restore("c1", replace(PLAN, round=1), rank=ROUTINE, now=NOW) is None
    assert await ledger.restore("c2", replace(PLAN, message="m1"), rank=ROUTINE, now=NOW) is None
    assert await ledger.all_of("c1") == [known]
    assert await ledger.all_of("c2") == []


@on_ledger
async def test_restoring_in_parallel_makes_one_row(ledger: Store) -> None:
    results = await asyncio.gather(
        *(ledger.restore("c1", PLAN, rank=ROUTINE, now=NOW) for _ in range(6)),
    )

    assert [result is None for result in results].count(False) == 1
    assert len(await ledger.all_of("c1")) == 1
