"""The work list: `adapter.ports.ledger.Transmissions`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Unpack

import sqlalchemy as sa

from adapter.domain.mark import Mark
from adapter.domain.ranking import Rank
from adapter.domain.transmission import STATE_OF, State, Transmission, check_move
from adapter.ledger import rows
from adapter.ledger.changes import alone_with, join, move, write_line
from adapter.ledger.database import Database, Taken, insert_once, whole
from adapter.ledger.tables import transmissions as table
from adapter.ports.ledger import Facts

_EARLIER = sa.case(
    (table.c.write_at.is_(None), table.c.due_at),
    (table.c.due_at < table.c.write_at, table.c.due_at),
    else_=table.c.write_at,
)
_NOW = sa.bindparam("now", type_=table.c.due_at.type)
# What is asked all the time is made once: to make a statement takes longer than to carry it out.
_DUE = (
    sa.select(table)
    .where(sa.or_(table.c.due_at <= _NOW, table.c.write_at <= _NOW))
    .order_by(_EARLIER, table.c.id)
    .limit(sa.bindparam("most"))
)
_ALL_OF = (
    sa.select(table)
    .where(table.c.communication == sa.bindparam("communication"))
    .order_by(table.c.round.desc())
)
_NEWEST = _ALL_OF.limit(1)
_BY_MESSAGE = sa.select(table).where(table.c.message == sa.bindparam("message"))
_IN_STATES = (
    sa.select(table)
    .where(table.c.state.in_(sa.bindparam("states", expanding=True)))
    .order_by(table.c.rank_since, table.c.id)
    .limit(sa.bindparam("most"))
)


class Transmissions:
    """Rows of transmissions; every change is compare-and-set."""

    _database: Database

    @whole
    async def open(self, communication: str, *, round: int, rank: Rank, now: datetime) -> Transmission | None:
        """A new row in `ready`, or the one that is still there in `ready`; `None` when the round is further."""
        new = rows.new_row(communication, round=round, rank=rank, state=State.READY, opened_at=now, facts={})
        async with self._database.writing() as connection:
            row = await insert_once(connection, table, new)
            if row is not None:
                await write_line(connection, communication, round=round, what="opened", now=now)
            else:
                same = sa.select(table).where(
                    table.c.communication == communication,
                    table.c.round == round,
                    table.c.state == State.READY,
                )
                row = (await connection.execute(same)).one_or_none()
            return rows.transmission(row) if row is not None else None

    @whole
    async def discard(self, row: Transmission, *, now: datetime) -> bool:
        """Takes back the opening of a round that was never claimed; `False` when the row is no longer as given."""
        as_given = (
            sa.delete(table)
            .where(table.c.id == row.id, table.c.state == State.READY, table.c.generation == row.generation)
            .returning(table.c.id)
        )
        async with self._database.writing() as connection:
            gone = (await connection.execute(as_given)).first() is not None
            if gone:
                await write_line(connection, row.communication, round=row.round, what="withdrawn", now=now)
            return gone

    @whole
    async def restore(
        self, communication: str, mark: Mark, *, rank: Rank, now: datetime
    ) -> Transmission | None:
        """A row rebuilt from a mark that the ledger does not know; `None` when somebody else was first."""
        state, facts = _of_mark(mark, now=now)
        new = rows.new_row(
            communication, round=mark.round, rank=rank, state=state, opened_at=now, facts=facts
        )
        async with self._database.writing() as connection:
            if mark.message is not None:
                await alone_with(connection, mark.message)
            row = await insert_once(connection, table, new)
            if row is None:
                return None
            await write_line(connection, communication, round=mark.round, what="restored", now=now)
            restored = rows.transmission(row)
            return await join(connection, restored, now=now) if state is State.SENT else restored

    @whole
    async def change(
        self, row: Transmission, state: State, *, now: datetime, event: str, **facts: Unpack[Facts]
    ) -> Transmission | None:
        """Moves the row; `None` when it is no longer as given, or when another row holds the message id.

        To the state that it has, a change only brings facts. Recording a message id in `sent` joins a final status
        that arrived before it, in the same transaction.

        Raises:
            IllegalTransition: the table of moves does not have it.
        """
        if state is not row.state:
            check_move(row.state, state)
        message = facts.get("message")
        try:
            async with self._database.writing() as connection:
                if message is not None:
                    await alone_with(connection, message)
                moved = await move(connection, row, state, now=now, event=event, facts=facts)
                if moved is None or message is None or state is not State.SENT:
                    return moved
                return await join(connection, moved, now=now)
        except Taken:
            if message is None:
                raise
            return None

    @whole
    async def newest(self, communication: str) -> Transmission | None:
        """The row of the Communication's latest round."""
        found = await self._select(_NEWEST, communication=communication)
        return found[0] if found else None

    @whole
    async def is_as_given(self, row: Transmission) -> bool:
        """Whether nobody changed the row meanwhile."""
        query = sa.select(table.c.id).where(
            table.c.id == row.id, table.c.state == row.state, table.c.generation == row.generation
        )
        async with self._database.reading() as connection:
            return (await connection.execute(query)).first() is not None

    @whole
    async def by_message(self, message_id: str) -> Transmission | None:
        """The row that holds Metriport's id."""
        found = await self._select(_BY_MESSAGE, message=message_id)
        return found[0] if found else None

    @whole
    async def due(self, now: datetime, *, limit: int) -> Sequence[Transmission]:
        """Rows with a step or a write-back whose time has come, the longest due first."""
        return await self._select(_DUE, now=now, most=limit)

    @whole
    async def in_states(self, states: frozenset[State], *, limit: int = 1000) -> Sequence[Transmission]:
        """Rows in any of the states, oldest first."""
        return await self._select(_IN_STATES, states=sorted(states), most=limit)

    @whole
    async def further(self, *, since: datetime) -> Sequence[Transmission]:
        """Rounds after the first whose message is known and which had not ended by then, oldest first."""
        open_then = sa.or_(table.c.ended_at.is_(None), table.c.ended_at >= since)
        query = sa.select(table).where(table.c.round > 1, table.c.message.is_not(None), open_then)
        return await self._select(query.order_by(table.c.rank_since, table.c.id))

    @whole
    async def of_patient(self, patient: str) -> Sequence[Transmission]:
        """All rows of Metriport's patient, oldest first."""
        return await self._select(
            sa.select(table).where(table.c.patient == patient).order_by(table.c.rank_since, table.c.id)
        )

    @whole
    async def all_of(self, communication: str) -> Sequence[Transmission]:
        """All rounds, newest first."""
        return await self._select(_ALL_OF, communication=communication)

    async def _select(self, query: sa.Select[Any], **values: object) -> Sequence[Transmission]:
        async with self._database.reading() as connection:
            return [rows.transmission(row) for row in await connection.execute(query, values)]


def _of_mark(mark: Mark, *, now: datetime) -> tuple[State, Facts]:
    facts: Facts = {
        "attempt": mark.attempt,
        "token": mark.token,
        "destination": mark.destination,
        "attachments": mark.attachments,
        "digest": mark.digest,
        "message": mark.message,
    }
    if mark.end is not None:
        return STATE_OF[mark.end], {**facts, "ended_at": now}
    if mark.message is not None:
        return State.SENT, {**facts, "due_at": now}
    # What we see first now may have been sent a moment ago: `settle` counts from here (protocol §6).
    return State.UNKNOWN, {**facts, "intent_at": now, "due_at": now}
