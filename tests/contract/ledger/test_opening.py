"""Opening: where the ledger is, and that its tables are this version's."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from adapter.domain.transmission import State
from adapter.errors import AdapterError, ConfigError
from adapter.ledger.database import create_engine, parse_url
from adapter.ledger.insights import open_insights
from adapter.ledger.store import Store, open_ledger
from adapter.ledger.tables import metadata
from adapter.ports.ledger import LANE, Delivery, Ledger
from tests.contract.ledger.ledgers import NOW, after, on_ledger, opened, row_in


@on_ledger
async def test_the_store_is_a_ledger(ledger: Ledger) -> None:
    assert await ledger.newest("c1") is None


def test_what_was_kept_is_there_after_opening_again(ledger_url: str) -> None:
    delivery = Delivery(delivery_id="d1", kind="k", received_at=NOW, body=b"body")

    async def story() -> None:
        async with open_ledger(ledger_url, now=NOW) as ledger:
            row = await row_in(ledger, State.CLAIMED, attachments=("a",), due_at=NOW)
            intended = await ledger.intend(row, after=None, now=NOW, event="intent")
            assert intended is not None
            await ledger.keep(delivery)
            await ledger.take("a", LANE, now=NOW, seconds=10)
            lines = await ledger.timeline("c1")
        async with open_ledger(ledger_url, now=after(1)) as ledger:
            assert await ledger.all_of("c1") == [intended[0]]
            assert await ledger.latest(5) == [intended[1]]
            assert await ledger.waiting(now=NOW, limit=5) == [delivery]
            assert await ledger.timeline("c1") == lines
            # The lock on a SQLite file proves that the lane's holder is gone; a PostgreSQL may have others on it.
            assert await ledger.take("b", LANE, now=after(1), seconds=10) is ledger_url.startswith("sqlite")

    asyncio.run(story())


def test_migrations_make_the_tables_that_the_code_uses(ledger_url: str) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async def story() -> None:
        async with open_ledger(ledger_url, now=NOW):
            pass
        engine = create_engine(parse_url(ledger_url))
        async with engine.connect() as connection:
            found = await connection.run_sync(differences)
        await engine.dispose()
        assert found == []

    asyncio.run(story())


def test_replicas_that_start_together_make_the_tables_once(postgresql_database: str) -> None:
    async def replica(name: str) -> bool:
        async with open_ledger(postgresql_database, now=NOW) as ledger:
            return await ledger.take(name, LANE, now=NOW, seconds=10)

    async def story() -> list[bool]:
        return await asyncio.gather(*(replica(str(n)) for n in range(4)))

    assert asyncio.run(story()).count(True) == 1


def test_a_migration_that_fails_half_way_leaves_nothing(ledger_url: str) -> None:
    async def story() -> None:
        engine = create_engine(parse_url(ledger_url))
        async with engine.begin() as connection:
            # The last of the tables, as somebody else's.
            await connection.execute(sa.text("CREATE TABLE timeline (x INTEGER)"))
        with pytest.raises(AdapterError):
            async with open_ledger(ledger_url, now=NOW):
                pass
        async with engine.connect() as connection:
            tables = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
        await engine.dispose()
        assert tables == ["timeline"]

    asyncio.run(story())


def test_a_ledger_of_a_newer_version_is_refused(ledger_url: str) -> None:
    async def story() -> None:
        async with open_ledger(ledger_url, now=NOW):
            pass
        engine = create_engine(parse_url(ledger_url))
        async with engine.begin() as connection:
            await connection.execute(sa.text("UPDATE alembic_version SET version_num = 'from-the-future'"))
        await engine.dispose()
        with pytest.raises(ConfigError, match="newer version"):
            async with open_ledger(ledger_url, now=NOW):
                pass
        with pytest.raises(ConfigError, match="from-the-future"):
            async with open_insights(ledger_url):
                pass

    asyncio.run(story())


def test_a_ledger_in_memory_works() -> None:
    async def story() -> None:
        async with open_ledger("sqlite://", now=NOW) as ledger:
            row = await row_in(ledger, State.SENT, message="m1")
            assert await ledger.by_message("m1") == row

    asyncio.run(story())


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("hunter2 is no url", "not a database URL"),
        ("postgresql://user:hunter2@host:port/name", "not a database URL"),
        ("mysql://user:hunter2@host/name", "mysql is not supported"),
        ("sqlite:///file:hunter2?mode=ro&uri=true", "give the path itself"),
    ],
)
def test_a_wrong_url_is_refused_without_printing_it(url: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        parse_url(url)

    assert "hunter2" not in str(refused.value)


@on_ledger
async def test_an_opening_is_taken_back_as_if_it_had_never_been(ledger: Store) -> None:
    row = await opened(ledger, "c1")

    assert await ledger.discard(row, now=after(1))
    assert not await ledger.discard(row, now=after(2))

    assert await ledger.newest("c1") is None
    again = await ledger.open("c1", round=1, rank=row.rank, now=after(3))
    assert again is not None
    assert (again.round, again.state) == (1, State.READY)
    assert [event.what for event in await ledger.timeline("c1")] == ["opened", "withdrawn", "opened"]


@on_ledger
async def test_what_was_claimed_is_not_taken_back(ledger: Store) -> None:
    row = await opened(ledger, "c1")
    claimed = await ledger.change(row, State.CLAIMED, now=after(1), event="claimed", token="t")
    assert claimed is not None

    assert not await ledger.discard(row, now=after(2))
    assert not await ledger.discard(claimed, now=after(2))
    assert await ledger.newest("c1") == claimed
