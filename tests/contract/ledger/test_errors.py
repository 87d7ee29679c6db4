"""What becomes of the databases' errors: temporary ones are told apart, and none carries content."""

from __future__ import annotations

import asyncio
import sqlite3
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection

from adapter.domain.transmission import State
from adapter.errors import AdapterError, ConfigError, Temporary
from adapter.ledger.database import create_engine, parse_url
from adapter.ledger.insights import open_insights
from adapter.ledger.store import Store, open_ledger
from tests.contract.ledger.ledgers import NOW, on_ledger, opened

if TYPE_CHECKING:
    from tests.neighbours.postgresql import Postgresql

SECRET = "Distinctive-Name-Xyzzy"


@on_ledger
async def test_no_error_carries_what_was_to_be_written(ledger: Store) -> None:
    row = await opened(ledger)
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    for wrong in ({"token": None}, {"due_at": naive}, {"checks": 2**70}):
        with pytest.raises(Exception) as failed:  # noqa: PT011
            await ledger.change(row, State.READY, now=NOW, event="x", note=SECRET, **wrong)

        assert SECRET not in "".join(traceback.format_exception(failed.value))
    assert await ledger.newest("c1") == row


def test_the_databases_own_errors_carry_no_parameters_either(ledger_url: str) -> None:
    async def story() -> None:
        engine = create_engine(parse_url(ledger_url))
        async with engine.connect() as connection:
            with pytest.raises(sa.exc.DBAPIError) as failed:
                await connection.execute(sa.text("SELECT * FROM missing WHERE x = :x"), {"x": SECRET})
        await engine.dispose()
        assert SECRET not in "".join(traceback.format_exception(failed.value))

    asyncio.run(story())


@on_ledger
async def test_a_change_whose_caller_is_cancelled_is_carried_through(ledger: Store) -> None:
    for turns in range(1, 30):
        row = await opened(ledger, f"c{turns}")
        task = asyncio.create_task(ledger.change(row, State.CLAIMED, now=NOW, event="claimed"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await ledger.settle()

    found = await ledger.in_states(frozenset(State))
    assert [(row.state, row.generation) for row in found] == [(State.CLAIMED, 1)] * 29


def test_a_cancelled_call_is_over_before_the_ledger_is_closed(ledger_url: str) -> None:
    async def story() -> None:
        async with open_ledger(ledger_url, now=NOW) as ledger, open_insights(ledger_url) as insights:
            for call in (ledger.note("c1", round=1, what="seen", now=NOW), insights.latest()):
                task = asyncio.create_task(call)
                await asyncio.sleep(0)
                task.cancel()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        async with open_ledger(ledger_url, now=NOW) as ledger:
            assert [event.what for event in await ledger.timeline("c1")] == ["seen"]

    asyncio.run(story())


@asynccontextmanager
async def impatient(path: Path) -> AsyncIterator[Store]:
    """A ledger that waits a millisecond only."""

    def hurry(connection: DBAPIConnection, _record: object) -> None:
        connection.cursor().execute("PRAGMA busy_timeout=1")

    engine = create_engine(parse_url(f"sqlite:///{path}"))
    event.listen(engine.sync_engine, "connect", hurry)
    try:
        yield Store(engine)
    finally:
        await engine.dispose()


def test_a_locked_file_is_temporary(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"

    async def story() -> None:
        async with impatient(path) as ledger:
            await ledger.migrate()
            row = await opened(ledger)
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                assert await ledger.newest("c1") == row
                with pytest.raises(Temporary, match="database is locked"):
                    await ledger.note("c1", round=1, what="x", now=NOW)
                other.execute("ROLLBACK")
            await ledger.note("c1", round=1, what="x", now=NOW)

    asyncio.run(story())


def test_a_database_that_went_away_is_temporary(postgresql_server: Postgresql) -> None:
    async def story() -> None:
        with postgresql_server.database() as url:
            dropped = open_ledger(url, now=NOW)
            ledger = await dropped.__aenter__()
            row = await opened(ledger)
        with pytest.raises(Temporary, match="does not answer"):
            await ledger.change(row, State.CLAIMED, now=NOW, event="claimed")
        with pytest.raises(Temporary, match="does not exist"):
            await ledger.newest("c1")
        await dropped.__aexit__(None, None, None)

    asyncio.run(story())


def test_after_its_connections_were_cut_the_ledger_goes_on(postgresql_database: str) -> None:
    cut = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    async def story() -> None:
        engine = create_engine(parse_url(postgresql_database))
        async with open_ledger(postgresql_database, now=NOW) as ledger:
            row = await opened(ledger)
            async with engine.begin() as connection:
                await connection.execute(cut)
            with pytest.raises(Temporary):
                await ledger.newest("c1")
            assert await ledger.newest("c1") == row
        await engine.dispose()

    asyncio.run(story())


def test_a_server_that_is_not_there_is_temporary(tmp_path: Path) -> None:
    async def story() -> None:
        with pytest.raises(Temporary, match="does not answer"):
            async with open_ledger(f"postgresql://postgres@/x?host={tmp_path}", now=NOW):
                pass

    asyncio.run(story())


def test_a_server_that_only_reads_is_temporary(postgresql_database: str) -> None:
    async def story() -> None:
        async with open_ledger(postgresql_database, now=NOW) as ledger:
            await opened(ledger)
        async with open_ledger(
            f"{postgresql_database}&options=-cdefault_transaction_read_only=on", now=NOW
        ) as ledger:
            with pytest.raises(Temporary, match="read-only"):
                await ledger.note("c1", round=1, what="x", now=NOW)

    asyncio.run(story())


def test_a_statement_that_the_database_refuses_is_an_error_of_ours(postgresql_database: str) -> None:
    async def story() -> None:
        engine = create_engine(parse_url(postgresql_database))
        with pytest.raises(AdapterError, match=r"UndefinedTable \(42P01\)"):
            await Store(engine).newest("c1")
        await engine.dispose()

    asyncio.run(story())


def test_every_connection_to_a_server_commits_for_good(postgresql_database: str) -> None:
    async def story() -> list[tuple[object, ...]]:
        engine = create_engine(
            parse_url(f"{postgresql_database}&options=-csynchronous_commit=off%20-ctimezone=Asia/Tokyo")
        )
        found: list[tuple[object, ...]] = []
        async with engine.connect() as one, engine.connect() as two:
            for connection in (one, two):
                # What was set in a transaction that is taken back would be gone now.
                await connection.exec_driver_sql("SELECT 1")
                await connection.rollback()
                names = ("synchronous_commit", "timezone", "transaction_isolation", "lock_timeout")
                answers = [await connection.exec_driver_sql(f"SHOW {name}") for name in names]
                found.append(tuple(answer.scalar_one() for answer in answers))
        await engine.dispose()
        return found

    assert asyncio.run(story()) == [("on", "UTC", "read committed", "10s")] * 2


def test_a_server_that_will_not_commit_for_good_is_refused(postgresql_database: str) -> None:
    async def story() -> None:
        # A server (or a pooler before it) that ignores the setting.
        ignoring = sa.text(
            "CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT $2'"
        )
        engine = create_engine(parse_url(postgresql_database))
        async with engine.begin() as connection:
            await connection.execute(ignoring)
        await engine.dispose()
        options = "options=-csearch_path=public,pg_catalog%20-csynchronous_commit=off"
        with pytest.raises(ConfigError, match=r"synchronous_commit=.*off"):
            async with open_ledger(f"{postgresql_database}&{options}", now=NOW):
                pass

    asyncio.run(story())
