"""Who of several adapters does what: `adapter.ports.ledger.Leases`."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from adapter.ledger.database import INSERTS, Database, whole
from adapter.ledger.tables import leases

_FORGOTTEN: Final = timedelta(hours=1)  # what a killed process had, and nobody took again


class Leases:
    """The leases of one account, all of which end by themselves."""

    _database: Database
    _account: str

    @whole
    async def take(self, holder: str, *names: str, now: datetime, seconds: float) -> bool:
        """Takes or keeps the leases of those names for the holder, all or none; `False` while another has one."""
        until = now + timedelta(seconds=seconds)
        # In order: two that want the same wait for each other in one direction only.
        new = [
            {"account": self._account, "name": name, "holder": holder, "until": until}
            for name in sorted({*names})
        ]
        async with self._database.writing() as connection:
            take = _take(connection.dialect.name)
            for values in new:
                if (await connection.execute(take, {**values, "now": now})).first() is None:
                    await connection.rollback()
                    return False
            return True

    @whole
    async def renew(self, holder: str, *, now: datetime, seconds: float) -> None:
        """All leases that the holder has, and nobody took meanwhile, last so long from now."""
        mine = sa.update(leases).where(leases.c.account == self._account, leases.c.holder == holder)
        old = sa.delete(leases).where(
            leases.c.account == self._account, leases.c.until <= now - _FORGOTTEN, leases.c.holder != holder
        )
        async with self._database.writing() as connection:
            await connection.execute(mine.values(until=now + timedelta(seconds=seconds)))
            await connection.execute(old)

    @whole
    async def leave(self, holder: str, *names: str) -> None:
        """Gives them back."""
        mine = sa.delete(leases).where(
            leases.c.account == self._account, leases.c.holder == holder, leases.c.name.in_(names)
        )
        async with self._database.writing() as connection:
            await connection.execute(mine)

    @whole
    async def end_leases(self) -> None:
        """Ends whatever there are: for a ledger that is known to be nobody else's."""
        async with self._database.writing() as connection:
            await connection.execute(sa.delete(leases).where(leases.c.account == self._account))


@cache
def _take(dialect: str) -> sa.Executable:
    """One row, new or no longer another's."""
    insert: Any = INSERTS[dialect](leases)
    taken: sa.Executable = insert.on_conflict_do_update(
        index_elements=[leases.c.account, leases.c.name],
        set_={"holder": insert.excluded.holder, "until": insert.excluded.until},
        where=sa.or_(
            leases.c.holder == insert.excluded.holder,
            leases.c.until <= sa.bindparam("now", type_=leases.c.until.type),
        ),
    ).returning(leases.c.name)
    return taken
