"""Webhook calls, kept before they are answered: `adapter.ports.ledger.Inbox`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from adapter.ledger import rows
from adapter.ledger.changes import FINAL, alone_with
from adapter.ledger.database import Database, insert_once, whole
from adapter.ledger.tables import deliveries, statuses
from adapter.ports.ledger import Delivery, FinalStatus


class Inbox:
    """Deliveries, and final statuses by message id."""

    _database: Database

    @whole
    async def keep(self, delivery: Delivery) -> None:
        """Commits the delivery. A known one is opened again with its newest body, never skipped."""
        values = {
            "kind": delivery.kind,
            "received_at": delivery.received_at,
            "body": delivery.body,
            "done": False,
            "note": None,
        }
        again = sa.update(deliveries).where(deliveries.c.delivery_id == delivery.delivery_id).values(values)
        new = {"delivery_id": delivery.delivery_id, **values}
        async with self._database.writing() as connection:
            if await insert_once(connection, deliveries, new) is None:
                await connection.execute(again)

    @whole
    async def waiting(self, *, limit: int) -> Sequence[Delivery]:
        """Deliveries that still want work, oldest first."""
        query = (
            sa.select(deliveries)
            .where(deliveries.c.done.is_(False))
            .order_by(deliveries.c.received_at, deliveries.c.id)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            return [rows.delivery(row) for row in await connection.execute(query)]

    @whole
    async def done(self, delivery: Delivery, *, note: str) -> None:
        """The work of the delivery is done, unless it came again meanwhile: then it stays open."""
        # Its body is part of the condition: what came again may carry fresh links (protocol §8).
        same = sa.update(deliveries).where(
            deliveries.c.delivery_id == delivery.delivery_id,
            deliveries.c.received_at == delivery.received_at,
            deliveries.c.body == delivery.body,
        )
        async with self._database.writing() as connection:
            await connection.execute(same.values(done=True, note=note))

    @whole
    async def keep_status(self, status: FinalStatus, *, now: datetime) -> None:
        """Keeps a final status by message id, once; one that is not final says nothing about an end."""
        if status.state not in FINAL:
            return
        values = {
            "message": status.message,
            "state": status.state,
            "at": status.at,
            "detail": status.detail,
            "kept_at": now,
        }
        async with self._database.writing() as connection:
            await alone_with(connection, status.message)
            await insert_once(connection, statuses, values)
