"""The ledger in a database: `adapter.ports.ledger.Ledger`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from adapter.domain.episode import Hear, nobody_hears
from adapter.ledger.database import Database, create_engine, file_of, parse_url, whole
from adapter.ledger.file import owned
from adapter.ledger.inbox import Inbox
from adapter.ledger.leases import Leases
from adapter.ledger.migrate import migrate
from adapter.ledger.slots import ACCOUNT, Slots
from adapter.ledger.tables import UtcTime
from adapter.ledger.timeline import Timeline
from adapter.ledger.transmissions import Transmissions


class Store(Transmissions, Slots, Leases, Inbox, Timeline):
    """All of the ledger, over an engine of `adapter.ledger.database.create_engine`.

    Every method raises `Temporary` while the database cannot be reached or is busy; a change may have been made all
    the same. A call whose caller is cancelled is carried through. `account` names the Metriport account whose lane and slots these are; `before_intent` may stop a send.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        account: str = ACCOUNT,
        before_intent: Callable[[], None] = lambda: None,
        hear: Hear = nobody_hears,
    ) -> None:
        self._database = Database(engine, hear=hear)
        self._account = account
        self._before_intent = before_intent

    async def migrate(self) -> None:
        """Brings the tables to the newest revision."""
        await migrate(self._database)

    @whole
    async def time(self) -> datetime | None:
        """The wall clock of the database's server; `None` for a file, which has no other than this machine's."""
        async with self._database.reading() as connection:
            if connection.dialect.name == "sqlite":
                return None
            clock = sa.select(sa.func.clock_timestamp(type_=UtcTime))
            return (await connection.execute(clock)).scalar_one()

    async def settle(self) -> None:
        """Waits for calls whose callers were cancelled; to be done before the engine is disposed of."""
        await self._database.settle()


@asynccontextmanager
async def open_ledger(
    url: str, *, now: datetime, account: str = ACCOUNT, hear: Hear = nobody_hears
) -> AsyncIterator[Store]:
    """The ledger at the URL, checked and with its tables up to date; closed at the end.

    `now` goes into the name of a corrupt file that has to be moved aside; `hear` is told of each transaction.

    Raises:
        ConfigError: the URL is wrong, another process has the file, or a newer version of the adapter wrote it.
        Temporary: the database cannot be reached.
    """
    parsed = parse_url(url)
    path = file_of(parsed)
    async with AsyncExitStack() as stack:
        engine = create_engine(parsed)
        stack.push_async_callback(engine.dispose)
        if path is None:
            store = Store(engine, account=account, hear=hear)
        else:
            file = stack.enter_context(owned(path, now=now))
            event.listen(engine.sync_engine, "do_connect", lambda *_: file.check())
            store = Store(engine, account=account, before_intent=file.check, hear=hear)
        stack.push_async_callback(store.settle)
        await store.migrate()
        if path is not None:
            # The lock on the file proves that whoever worked on it is gone: nobody has to wait for a lease to end.
            await store.end_leases()
        yield store
