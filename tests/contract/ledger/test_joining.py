"""A final status may come before the message id that it is about is recorded."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.domain.mark import Mark
from adapter.domain.message import MessageState
from adapter.domain.reasons import reason
from adapter.domain.transmission import State, Transmission
from adapter.ledger.changes import join
from adapter.ledger.store import Store, open_ledger
from adapter.ports.ledger import FinalStatus
from tests.contract.ledger.ledgers import NOW, ROUTINE, after, on_ledger, row_in


def final(state: MessageState = MessageState.COMPLETED, **facts: object) -> FinalStatus:
    """A final status of `m1`."""
    return FinalStatus(**{"message": "m1", "state": state, **facts})  # type: ignore[arg-type]


@on_ledger
async def test_an_early_completed_joins_in_the_same_change(ledger: Store) -> None:
    await ledger.keep_status(final(at=after(-1)), now=NOW)
    row = await row_in(ledger, State.INTENT, reason=reason("outcome-unknown", why="a time-out"))

    sent = await ledger.change(
        row, State.SENT, now=after(2), event="sent", message="m1", sent_at=after(2), due_at=after(60)
    )

    assert sent is not None
    assert sent == await ledger.by_message("m1")
    assert (sent.state, sent.ended_at, sent.due_at, sent.write_at) == (
        State.COMPLETED,
        after(-1),
        None,
        after(2),
    )
    assert (sent.sent_at, sent.reason, sent.generation) == (after(2), None, row.generation + 2)
    assert [event.what for event in await ledger.timeline("c1")][-2:] == ["sent", "completed"]


@on_ledger
async def test_an_early_failed_joins_with_its_reason(ledger: Store) -> None:
    await ledger.keep_status(final(MessageState.FAILED, detail="No such mailbox."), now=NOW)
    row = await row_in(ledger, State.INTENT)

    sent = await ledger.change(row, State.SENT, now=after(2), event="sent", message="m1")

    assert sent is not None
    assert (sent.state, sent.ended_at, sent.write_at) == (State.FAILED, after(2), after(2))
    assert sent.reason == reason("delivery-failed", detail="No such mailbox.")
    assert (await ledger.timeline("c1"))[-1].note == "delivery-failed"


@on_ledger
async def test_a_failure_without_a_reason_has_a_whole_sentence(ledger: Store) -> None:
    await ledger.keep_status(final(MessageState.FAILED), now=NOW)
    row = await row_in(ledger, State.INTENT)

    sent = await ledger.change(row, State.SENT, now=NOW, event="sent", message="m1")

    assert sent is not None
    assert sent.reason == reason("delivery-failed", detail="no reason was given.")


@on_ledger
async def test_statuses_that_contradict_end_nothing_and_are_looked_into_at_once(ledger: Store) -> None:
    await ledger.keep_status(final(MessageState.FAILED), now=NOW)
    await ledger.keep_status(final(MessageState.COMPLETED), now=NOW)
    row = await row_in(ledger, State.INTENT)

    sent = await ledger.change(row, State.SENT, now=after(2), event="sent", message="m1", due_at=after(60))

    assert sent is not None
    assert (sent.state, sent.due_at, sent.ended_at) == (State.SENT, after(2), None)
    assert (await ledger.timeline("c1"))[-1].what == "statuses-contradict"


@on_ledger
async def test_the_first_of_equal_statuses_is_kept(ledger: Store) -> None:
    await ledger.keep_status(final(at=after(1)), now=NOW)
    await ledger.keep_status(final(at=after(9)), now=NOW)
    row = await row_in(ledger, State.INTENT)

    sent = await ledger.change(row, State.SENT, now=NOW, event="sent", message="m1")

    assert sent is not None
    assert (sent.state, sent.ended_at) == (State.COMPLETED, after(1))


@on_ledger
async def test_a_status_that_is_not_final_joins_nothing(ledger: Store) -> None:
    await ledger.keep_status(final(MessageState.PROCESSING), now=NOW)
    row = await row_in(ledger, State.INTENT)

    sent = await ledger.change(row, State.SENT, now=NOW, event="sent", message="m1")

    assert sent is not None
    assert sent.state is State.SENT


@on_ledger
async def test_a_status_of_another_message_joins_nothing(ledger: Store) -> None:
    await ledger.keep_status(final(message="m2"), now=NOW)
    row = await row_in(ledger, State.INTENT)

    sent = await ledger.change(row, State.SENT, now=NOW, event="sent", message="m1")

    assert sent is not None
    assert sent.state is State.SENT


@on_ledger
async def test_an_end_given_with_the_message_id_stays(ledger: Store) -> None:
    await ledger.keep_status(final(MessageState.FAILED), now=NOW)
    row = await row_in(ledger, State.SENT)

    ended = await ledger.change(row, State.COMPLETED, now=NOW, event="completed", message="m1")

    assert ended is not None
    assert ended.state is State.COMPLETED


@on_ledger
async def test_a_restored_message_joins_as_well(ledger: Store) -> None:
    await ledger.keep_status(final(at=after(-1)), now=NOW)

    row = await ledger.restore("c1", Mark(round=1, token="t", message="m1"), rank=ROUTINE, now=NOW)

    assert row is not None
    assert (row.state, row.ended_at, row.due_at, row.write_at) == (State.COMPLETED, after(-1), None, NOW)


async def _status_arrives(ledger: Store, message: str) -> None:
    await ledger.keep_status(final(message=message), now=NOW)
    row = await ledger.by_message(message)
    if row is not None and row.state is State.SENT:
        await ledger.change(row, State.COMPLETED, now=NOW, event="completed")


def test_a_status_and_its_id_at_the_same_moment_on_two_replicas_meet(postgresql_database: str) -> None:
    async def story() -> None:
        async with (
            open_ledger(postgresql_database, now=NOW) as one,
            open_ledger(postgresql_database, now=NOW) as other,
        ):
            for n in range(40):
                row = await row_in(one, State.INTENT, f"c{n}")
                await asyncio.gather(
                    one.change(row, State.SENT, now=NOW, event="sent", message=f"m{n}"),
                    _status_arrives(other, f"m{n}"),
                )
            assert await one.in_states(frozenset({State.SENT})) == []

    asyncio.run(story())


def test_a_status_that_comes_between_the_look_and_the_commit_is_not_missed(
    postgresql_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        looked, go_on = asyncio.Event(), asyncio.Event()

        async def look_and_pause(
            connection: AsyncConnection, row: Transmission, *, now: datetime
        ) -> Transmission | None:
            found = await join(connection, row, now=now)
            looked.set()
            await go_on.wait()
            return found

        async with (
            open_ledger(postgresql_database, now=NOW) as one,
            open_ledger(postgresql_database, now=NOW) as other,
        ):
            row = await row_in(one, State.INTENT)
            monkeypatch.setattr("adapter.ledger.transmissions.join", look_and_pause)
            recording = asyncio.create_task(one.change(row, State.SENT, now=NOW, event="sent", message="m1"))
            await looked.wait()
            arriving = asyncio.create_task(_status_arrives(other, "m1"))
            while not (arriving.done() or await _somebody_waits(one)):
                pass
            go_on.set()
            await asyncio.gather(recording, arriving)
            joined = await one.by_message("m1")
            assert joined is not None
            assert joined.state is State.COMPLETED

    asyncio.run(story())


async def _somebody_waits(ledger: Store) -> bool:
    waiting = sa.text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    async with ledger._database.reading() as connection:
        return bool((await connection.execute(waiting)).scalar_one())
