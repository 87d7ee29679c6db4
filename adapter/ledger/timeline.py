"""What happened, for people: `adapter.ports.ledger.Timeline`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from adapter.ledger import rows
from adapter.ledger.changes import write_line
from adapter.ledger.database import Database, whole
from adapter.ledger.tables import timeline as table
from adapter.ports.ledger import Event


class Timeline:
    """Lines of codes, ids and times."""

    _database: Database

    @whole
    async def note(
        self, communication: str, *, round: int, what: str, now: datetime, note: str | None = None
    ) -> None:
        """Adds one line."""
        async with self._database.writing() as connection:
            await write_line(connection, communication, round=round, what=what, now=now, note=note)

    @whole
    async def timeline(self, communication: str) -> Sequence[Event]:
        """The Communication's lines in order."""
        query = sa.select(table).where(table.c.communication == communication).order_by(table.c.id)
        async with self._database.reading() as connection:
            return [rows.line(row) for row in await connection.execute(query)]
