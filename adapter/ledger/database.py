"""Connections that keep what they acknowledge, transactions, and what the databases' errors mean."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from adapter.domain.episode import Hear, heard_by, nobody_hears
from adapter.errors import AdapterError, ConfigError, Temporary

_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
_READS: Final = "ledger_reads"
_BUSY_MILLISECONDS: Final = 5000
_SQLITE_FULL: Final = 2
_INSERTS: Final[dict[str, Callable[[sa.Table], sqlite.Insert | postgresql.Insert]]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}

_SESSION: Final = {
    "synchronous_commit": "on",
    "timezone": "UTC",
    # A statement has to see what was committed while it waited for a lock: `change` and `keep_status` rely on it.
    "default_transaction_isolation": "read committed",
    # A replica that is stopped in the middle of a transaction must not stop the others.
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "10s",
}

_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    # One connection: SQLite has one writer anyway, and waiting in the pool is fair where its busy handler is not.
    "sqlite": {"poolclass": sa.AsyncAdaptedQueuePool, "pool_size": 1, "max_overflow": 0},
    "postgresql": {
        "pool_size": 5,
        "max_overflow": 5,
        "pool_timeout": 10,
        # A network that swallows packets shows itself within these seconds, too.
        "connect_args": {"connect_timeout": 5, "tcp_user_timeout": 15_000},
    },
}

# InternalError is PostgreSQL's for a transaction that it ended (idle too long) or a server that only reads (standby).
_TEMPORARY: Final = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError)
_CORRUPT: Final = ("malformed", "not a database")


_T = TypeVar("_T")
_Method = TypeVar("_Method", bound=Callable[..., Coroutine[Any, Any, Any]])


class Taken(Exception):
    """A value that must be unique is another row's."""


def parse_url(url: str) -> sa.URL:
    """The setting `ledger.url` with the drivers that the adapter comes with.

    Raises:
        ConfigError: it is not a URL, or of neither SQLite nor PostgreSQL.
    """
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        # The text itself may hold a password.
        raise ConfigError("ledger.url is not a database URL; an example: sqlite:///ledger.db") from None
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise ConfigError(f"ledger.url: {backend} is not supported, use sqlite:///… or postgresql://…")
    if (parsed.database or "").startswith("file:"):
        raise ConfigError("ledger.url: give the path itself (sqlite:///ledger.db), not a file: URI")
    return parsed.set(drivername=_DRIVERS[backend])


def file_of(url: sa.URL) -> Path | None:
    """Where the database is; `None` on a server or in memory."""
    if url.get_backend_name() != "sqlite" or url.database in {None, "", ":memory:"}:
        return None
    return Path(str(url.database))


def create_engine(url: sa.URL, **options: Any) -> AsyncEngine:
    """An engine that keeps what it acknowledges; `options` go to SQLAlchemy and win over the usual ones."""
    backend = url.get_backend_name()
    settings = {**_OPTIONS[backend], **options}
    if backend == "postgresql":
        from adapter.ledger.bounded import BoundedConnection  # noqa: PLC0415  # a process with a file needs no psycopg

        settings["connect_args"] = {"async_creator_fn": BoundedConnection.connect, **settings["connect_args"]}
    # Parameters are patient data: SQLAlchemy would print them with each error.
    engine = create_async_engine(url, hide_parameters=True, **settings)
    if backend == "sqlite":
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    else:
        event.listen(engine.sync_engine, "connect", _prepare_postgresql)
    return engine


def whole(method: _Method) -> _Method:
    """A method over `self._database` that, once begun, is carried through, also when its caller is cancelled.

    A driver that is interrupted in the middle of a statement loses its connection, and SQLite's may keep the write
    lock for as long as anything refers to that statement.
    """

    @functools.wraps(method)
    async def carried(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await self._database.carry(method(self, *args, **kwargs))

    return cast("_Method", carried)


class Database:
    """Transactions whose errors are the adapter's own."""

    def __init__(self, engine: AsyncEngine, *, hear: Hear = nobody_hears) -> None:
        self.hear = hear
        self._writer = engine
        self._reader = engine.execution_options(**{_READS: True})
        self._running: set[asyncio.Task[Any]] = set()

    async def carry(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What the work returns; it goes on by itself when the caller is cancelled."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def settle(self) -> None:
        """Waits for work whose callers were cancelled."""
        await asyncio.gather(*self._running, return_exceptions=True)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A look that changes nothing.

        Raises:
            Temporary: the database cannot be reached or is busy.
        """
        with heard_by(self.hear), _translated():
            async with self._reader.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end.

        Raises:
            Temporary: the database cannot be reached or is busy; the transaction may be committed all the same.
            Taken: a unique value is another row's.
        """
        with heard_by(self.hear), _translated():
            async with self._writer.begin() as connection:
                yield connection


async def insert_once(
    connection: AsyncConnection, table: sa.Table, values: Mapping[str, Any]
) -> sa.Row[Any] | None:
    """The new row; `None` when one of its unique values is there already, also when it came this very moment."""
    result = await connection.execute(_insert_once(connection.dialect.name, table), values)
    return result.one_or_none()


@functools.cache
def _insert_once(dialect: str, table: sa.Table) -> sa.Executable:
    return _INSERTS[dialect](table).on_conflict_do_nothing().returning(*table.c)


@contextmanager
def _translated() -> Iterator[None]:
    # `from None`: PostgreSQL puts whole rows into the text of some errors, and a chained error gets printed.
    try:
        yield
    except exc.IntegrityError:
        raise Taken("a unique value is another row's") from None
    except _TEMPORARY as error:
        raise Temporary(f"the ledger's database does not answer: {_first_line(error)}") from None
    except exc.DBAPIError as error:
        if any(sign in str(error.orig) for sign in _CORRUPT):
            raise ConfigError(
                "the ledger file is corrupt: start `run` again, which moves it aside and rebuilds it from the FHIR server"
            ) from None
        code = getattr(error.orig, "sqlstate", None) or "no code"
        raise AdapterError(f"the ledger's database refused: {type(error.orig).__name__} ({code})") from None


def _first_line(error: Exception) -> str:
    lines = str(getattr(error, "orig", None) or error).splitlines()
    return lines[0] if lines else type(error).__name__


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    # The driver would open transactions by itself, and only before a write; `_begin_sqlite` does it instead. See
    # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#serializable-isolation-savepoints-transactional-ddl
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        journal = cursor.fetchone()
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous")
        synchronous = cursor.fetchone()
    finally:
        cursor.close()
    if journal not in {("wal",), ("memory",)} or synchronous != (_SQLITE_FULL,):
        raise ConfigError(
            f"ledger.url: SQLite answers journal_mode={journal} and synchronous={synchronous}, so that a commit could "
            "be lost. Put the file on a local disk."
        )


def _begin_sqlite(connection: sa.Connection) -> None:
    # Immediate: a transaction that reads first and then writes cannot fail half-way because another one wrote.
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _prepare_postgresql(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    try:
        for name, value in _SESSION.items():
            cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
        cursor.execute("SHOW synchronous_commit")
        synchronous = cursor.fetchone()
    finally:
        cursor.close()
    # Without it the settings would end with the transaction that the driver began.
    connection.commit()
    if synchronous != (_SESSION["synchronous_commit"],):
        raise ConfigError(
            f"ledger.url: PostgreSQL answers synchronous_commit={synchronous}, so that a commit could be lost. "
            "Let the adapter's role set it to on."
        )
