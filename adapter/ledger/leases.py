"""Who of several adapters does what: `adapter.ports.ledger.Leases`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from adapter.ledger.database import Database, insert_once, whole
from adapter.ledger.tables import leases

_FARTHEST: Final = timedelta(minutes=1)  # that one lease may end after another which is taken now

_ONE: Final = (leases.c.account == sa.bindparam("of"), leases.c.name == sa.bindparam("named"))
_TAKE: Final = sa.update(leases).where(
    *_ONE,
    sa.or_(
        leases.c.holder == sa.bindparam("by"),
        leases.c.until <= sa.bindparam("now", type_=leases.c.until.type),
        leases.c.until > sa.bindparam("farthest", type_=leases.c.until.type),
    ),
)
_LEAVE: Final = sa.delete(leases).where(*_ONE, leases.c.holder == sa.bindparam("by"))


class Leases:
    """The leases of one account. Names are gone through in order, so that no two wait for each other."""

    _database: Database
    _account: str

    @whole
    async def take(self, holder: str, *names: str, now: datetime, seconds: float) -> bool:
        """Takes or keeps the leases of those names for the holder, all or none; `False` while another has one.

        One that would last much longer was taken before the clock was set back: it has ended, too.
        """
        until = now + timedelta(seconds=seconds)
        lease, between = {"holder": holder, "until": until}, {"now": now, "farthest": until + _FARTHEST}
        async with self._database.writing() as connection:
            for name in sorted({*names}):
                # Not an upsert: that would lock the row of who has it, also where it changes nothing.
                given = {"of": self._account, "named": name, "by": holder, **between}
                if (await connection.execute(_TAKE, {**lease, **given})).rowcount == 1:
                    continue
                new = {"account": self._account, "name": name, **lease}
                if await insert_once(connection, leases, new) is None:
                    await connection.rollback()
                    return False
            return True

    @whole
    async def leave(self, holder: str, *names: str) -> None:
        """Gives them back."""
        async with self._database.writing() as connection:
            for name in sorted({*names}):
                await connection.execute(_LEAVE, {"of": self._account, "named": name, "by": holder})

    @whole
    async def end_leases(self) -> None:
        """Ends whatever there are: for a ledger that is known to be nobody else's."""
        async with self._database.writing() as connection:
            await connection.execute(sa.delete(leases).where(leases.c.account == self._account))
