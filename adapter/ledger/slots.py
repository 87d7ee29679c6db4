"""The account's pace: `adapter.ports.ledger.Slots`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.domain.transmission import State, Transmission, check_move
from adapter.errors import Conflict
from adapter.ledger import rows
from adapter.ledger.changes import alone_with, move
from adapter.ledger.database import Database, insert_once, whole
from adapter.ledger.tables import lane, slots
from adapter.ports.ledger import StoredSlot

ACCOUNT: Final = "metriport"

_TAKE: Final = sa.update(lane).where(
    lane.c.account == sa.bindparam("of"),
    sa.or_(
        lane.c.holder == sa.bindparam("by"),
        lane.c.holder.is_(None),
        lane.c.until <= sa.bindparam("now", type_=lane.c.until.type),
    ),
)


class Slots:
    """Slots of one account and the lease on its lane."""

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

    @whole
    async def hold_lane(self, holder: str, *, now: datetime, seconds: float) -> bool:
        """Takes or keeps the lane's lease for the holder; `False` while another one has it."""
        lease = {"holder": holder, "until": now + timedelta(seconds=seconds)}
        given = {"of": self._account, "by": holder, "now": now}
        async with self._database.writing() as connection:
            if (await connection.execute(_TAKE, {**lease, **given})).rowcount == 1:
                return True
            return await insert_once(connection, lane, {"account": self._account, **lease}) is not None

    @whole
    async def leave_lane(self, holder: str) -> None:
        """Gives the lease back."""
        mine = sa.update(lane).where(lane.c.account == self._account, lane.c.holder == holder)
        async with self._database.writing() as connection:
            await connection.execute(mine.values(holder=None, until=None))

    @whole
    async def free_lane(self) -> None:
        """Ends whatever lease there is: for a ledger that is known to be nobody else's."""
        async with self._database.writing() as connection:
            await connection.execute(
                sa.update(lane).where(lane.c.account == self._account).values(holder=None, until=None)
            )
