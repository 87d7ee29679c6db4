"""Compare-and-set, the joining of early statuses, and the timeline's lines: what every transaction is made of."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.domain.message import MessageState
from adapter.domain.reasons import reason
from adapter.domain.transmission import State, Transmission
from adapter.ledger import rows
from adapter.ledger.tables import statuses, timeline, transmissions
from adapter.ports.ledger import Facts, FinalStatus

_MOVE: Final = (
    sa.update(transmissions)
    .where(
        transmissions.c.id == sa.bindparam("moved"),
        transmissions.c.state == sa.bindparam("as_given"),
        transmissions.c.generation == sa.bindparam("since"),
    )
    .returning(*transmissions.c)
)
_LINE: Final = sa.insert(timeline)
FINAL: Final = {MessageState.COMPLETED: State.COMPLETED, MessageState.FAILED: State.FAILED}


async def move(
    connection: AsyncConnection, row: Transmission, state: State, *, now: datetime, event: str, facts: Facts
) -> Transmission | None:
    """The row in its new state, and a line about it; `None` when it is no longer as given."""
    values = {"state": state, "generation": row.generation + 1, **rows.columns_of(facts)}
    given = {"moved": row.id, "as_given": row.state, "since": row.generation}
    changed = (await connection.execute(_MOVE, {**values, **given})).one_or_none()
    if changed is None:
        return None
    said = facts.get("reason")
    await write_line(
        connection,
        row.communication,
        round=row.round,
        what=event,
        now=now,
        note=said.code if said else None,
    )
    return rows.transmission(changed)


async def join(connection: AsyncConnection, row: Transmission, *, now: datetime) -> Transmission | None:
    """A sent row, taken on to the final status that arrived before its message id was recorded.

    Statuses that contradict each other end nothing: the row is due at once, and Metriport's record decides.
    """
    query = sa.select(statuses).where(statuses.c.message == row.message)
    kept = [
        FinalStatus(message=found.message, state=MessageState(found.state), at=found.at, detail=found.detail)
        for found in await connection.execute(query)
    ]
    if not kept:
        return row
    if len(kept) > 1:
        return await move(
            connection, row, row.state, now=now, event="statuses-contradict", facts={"due_at": now}
        )
    status = kept[0]
    facts: Facts = {
        "reason": None,
        "ended_at": status.at or now,
        "due_at": None,
        "write_at": now,
    }
    if status.state is MessageState.FAILED:
        facts["reason"] = reason("delivery-failed", detail=status.detail or "no reason was given.")
    return await move(connection, row, FINAL[status.state], now=now, event=status.state.value, facts=facts)


async def alone_with(connection: AsyncConnection, name: str) -> None:
    """Until the transaction ends, nobody else has what goes by that name: a message id, the slots of an account.

    SQLite has one writer. On PostgreSQL two transactions that cannot see each other yet would both find nothing: no
    status to join, which then stays where nobody looks again; no slot after the last one that they know.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))


async def write_line(
    connection: AsyncConnection,
    communication: str,
    *,
    round: int,
    what: str,
    now: datetime,
    note: str | None = None,
) -> None:
    """Adds a line to the Communication's timeline."""
    values = {"communication": communication, "round": round, "at": now, "what": what, "note": note}
    await connection.execute(_LINE, values)
