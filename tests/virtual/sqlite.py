"""SQLite in the loop's own thread: the adapter's store, without the threads of its driver."""

from __future__ import annotations

import asyncio
import sqlite3
import types
from collections.abc import Callable, Generator, Sequence
from typing import Any

from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_dbapi
from sqlalchemy.ext.asyncio import AsyncEngine

from adapter.ledger.database import create_engine, parse_url
from adapter.ledger.store import Store


class _Cursor:
    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> _Cursor:
        self._cursor.execute(statement, parameters)
        return self

    async def executemany(self, statement: str, parameters: Any) -> _Cursor:
        self._cursor.executemany(statement, parameters)
        return self

    async def fetchall(self) -> list[Any]:
        return self._cursor.fetchall()

    async def close(self) -> None:
        self._cursor.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


class _Inline:
    """The queue to the driver's thread, without the thread."""

    def put_nowait(self, item: tuple[asyncio.Future[Any], Callable[[], Any]]) -> None:
        future, function = item
        future.set_result(function())


class _Connection:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._conn = connection
        self._connection = connection
        self.daemon = True
        self._tx = _Inline()
        self._thread = types.SimpleNamespace(daemon=True)

    def __await__(self) -> Generator[None, None, _Connection]:
        return self._itself().__await__()

    async def _itself(self) -> _Connection:
        return self

    def cursor(self) -> Any:
        return _CursorOnDemand(self._conn)

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> _Cursor:
        return _Cursor(self._conn.execute(statement, parameters))

    async def create_function(self, *arguments: Any, **options: Any) -> None:
        self._conn.create_function(*arguments, **options)

    async def commit(self) -> None:
        self._conn.commit()

    async def rollback(self) -> None:
        self._conn.rollback()

    async def close(self) -> None:
        self._conn.close()

    def serialize(self) -> bytes:
        return self._conn.serialize()

    @property
    def isolation_level(self) -> Any:
        return self._conn.isolation_level

    @isolation_level.setter
    def isolation_level(self, level: Any) -> None:
        self._conn.isolation_level = level


class _CursorOnDemand(_Cursor):
    """What `connection.cursor()` gives: an awaitable that is the cursor as well."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection.cursor())

    def __await__(self) -> Generator[None, None, _Cursor]:
        return self._itself().__await__()

    async def _itself(self) -> _Cursor:
        return self

    async def __aenter__(self) -> _Cursor:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._cursor.close()


def _driver(image: Callable[[], bytes] | None) -> Any:
    module: Any = types.ModuleType("aiosqlite_in_thread")
    for name in (
        "Error", "DatabaseError", "IntegrityError", "NotSupportedError", "OperationalError",
        "ProgrammingError", "sqlite_version", "sqlite_version_info",
    ):  # fmt: skip
        setattr(module, name, getattr(sqlite3, name))
    module.Connection = _Connection

    def connect(database: str, **options: Any) -> _Connection:
        options.pop("loop", None)
        connection = sqlite3.connect(database, **options)
        if image is not None:
            connection.deserialize(image())
        return _Connection(connection)

    module.connect = connect
    return AsyncAdapt_aiosqlite_dbapi(module, sqlite3)


def in_thread_engine(
    url: str = "sqlite+aiosqlite://", *, image: Callable[[], bytes] | None = None
) -> AsyncEngine:
    """The store's own engine, over a driver that never leaves the thread; `image` gives what it starts from."""
    return create_engine(parse_url(url), module=_driver(image))


async def migrated_engine() -> AsyncEngine:
    """An engine over an empty ledger."""
    empty = await empty_image()
    return in_thread_engine(image=lambda: empty)


async def empty_image() -> bytes:
    """A ledger as it begins. Migrating takes longer than most tests, so it is done once."""
    if not _MIGRATED:
        engine = in_thread_engine()
        await Store(engine).migrate()
        _MIGRATED.append(await image_of(engine))
        await engine.dispose()
    return _MIGRATED[0]


async def image_of(engine: AsyncEngine) -> bytes:
    """The whole database, as of now."""
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        found: bytes = driver.serialize()
        return found


_MIGRATED: list[bytes] = []
