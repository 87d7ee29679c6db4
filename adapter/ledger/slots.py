"""The account's pace: `adapter.ports.ledger.Slots`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.domain.transmission import State, Transmission, check_move
from adapter.errors import Conflict
from adapter.ledger import rows
from adapter.ledger.changes import alone_with, move
from adapter.ledger.database import Database, whole
from adapter.ledger.tables import slots
from adapter.ports.ledger import StoredSlot

ACCOUNT: Final = "metriport"


class Slots:
    """Slots of one account."""

    _database: Database
    _account: str
    _before_intent: Callable[[], None]

    @whole
    async def latest(self, count: int) -> Sequence[StoredSlot]:
        """The last slots, oldest first."""
        query = (
            sa.select(slots).where(slots.c.account == self._account).order_by(slots.c.id.desc()).limit(count)
        )
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).all()
        return [rows.slot(row) for row in reversed(found)]

    @whole
    async def intend(
        self, row: Transmission, *, after: int | None, now: datetime, event: str
    ) -> tuple[Transmission, StoredSlot] | None:
        """The intent and its slot, in one transaction (protocol §4.5); `None` when the row is not as given.

        Raises:
            Conflict: `after` is not the id of the account's last slot. Somebody else sends as well, and the pace has
                to be reckoned anew.
            ConfigError: the ledger file was replaced or deleted; the process has to end.
            IllegalTransition: the row is neither claimed nor waiting.
        """
        check_move(row.state, State.INTENT)
        new = {"account": self._account, "transmission": row.id, "started_at": now}
        async with self._database.writing() as connection:
            self._before_intent()
            await alone_with(connection, f"slots of {self._account}")
            if await self._last(connection) != after:
                raise Conflict("the account's last slot is another one; read the slots again")
            moved = await move(connection, row, State.INTENT, now=now, event=event, facts={"intent_at": now})
            if moved is None:
                return None
            inserted = await connection.execute(sa.insert(slots).values(new).returning(*slots.c))
            return moved, rows.slot(inserted.one())

    async def _last(self, connection: AsyncConnection) -> int | None:
        newest = sa.select(sa.func.max(slots.c.id)).where(slots.c.account == self._account)
        found: int | None = (await connection.execute(newest)).scalar_one()
        return found

    @whole
    async def end(self, slot: StoredSlot, *, now: datetime) -> None:
        """The answer was received. The first one counts."""
        first = sa.update(slots).where(slots.c.id == slot.id, slots.c.ended_at.is_(None))
        async with self._database.writing() as connection:
            await connection.execute(first.values(ended_at=now))
