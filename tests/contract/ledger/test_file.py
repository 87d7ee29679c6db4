"""The SQLite file: one process, the same file all along, and a corrupt one moved aside."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from adapter.domain.transmission import State
from adapter.errors import ConfigError
from adapter.ledger.database import Database, create_engine, parse_url
from adapter.ledger.file import LedgerFile
from adapter.ledger.store import open_ledger
from tests.contract.ledger.ledgers import NOW, opened, row_in

HOLDER = """
import asyncio, sys
from datetime import UTC, datetime
from adapter.ledger.store import open_ledger
async def hold():
    async with open_ledger(sys.argv[1], now=datetime.now(UTC)) as ledger:
        await ledger.note("c1", round=1, what="kept", now=datetime.now(UTC))
        print("ready", flush=True)
        await asyncio.sleep(60)
asyncio.run(hold())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "led ger.db"


def open_once(path: Path, *, communication: str = "c1") -> None:
    """Opens the ledger there and makes a row."""

    async def story() -> None:
        async with open_ledger(f"sqlite:///{path}", now=NOW) as ledger:
            await opened(ledger, communication)

    asyncio.run(story())


def test_every_connection_is_asked_for_full_synchronisation(path: Path) -> None:
    async def story() -> list[tuple[object, ...]]:
        engine = create_engine(parse_url(f"sqlite:///{path}"), pool_size=3)
        found: list[tuple[object, ...]] = []
        database = Database(engine)
        async with database.reading() as one, database.reading() as two, database.reading() as three:
            for connection in (one, two, three):
                pragmas = ("synchronous", "journal_mode", "foreign_keys", "busy_timeout")
                answers = [await connection.exec_driver_sql(f"PRAGMA {pragma}") for pragma in pragmas]
                found.append(tuple(answer.scalar_one() for answer in answers))
        await engine.dispose()
        return found

    assert asyncio.run(story()) == [(2, "wal", 1, 5000)] * 3


def test_a_transaction_that_writes_has_the_write_lock_from_its_beginning(path: Path) -> None:
    async def story() -> None:
        async with open_ledger(f"sqlite:///{path}", now=NOW) as ledger:
            with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
                async with ledger._database.reading():
                    other.execute("BEGIN IMMEDIATE")
                    other.execute("ROLLBACK")
                async with ledger._database.writing():
                    with pytest.raises(sqlite3.OperationalError, match="locked"):
                        other.execute("BEGIN IMMEDIATE")

    asyncio.run(story())


def test_a_file_system_without_shared_memory_is_refused(path: Path) -> None:
    async def story() -> None:
        engine = create_engine(
            sa.make_url(f"sqlite+aiosqlite:///file:{path.parent}/x?vfs=unix-none&uri=true")
        )
        with pytest.raises(ConfigError, match=r"journal_mode=.*delete.*local disk"):
            async with engine.connect():
                pass
        await engine.dispose()

    asyncio.run(story())


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    open_once(path)

    assert path.stat().st_mode & 0o777 == 0o600


def test_a_second_process_is_told_which_file_and_waits_for_nobody(path: Path) -> None:
    url = f"sqlite:///{path}"
    with subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        with pytest.raises(ConfigError, match="in use by another process") as refused:
            open_once(path)
        holder.kill()

    assert str(path) in str(refused.value)
    assert f"{path}.lock" in str(refused.value)


def test_what_was_committed_outlives_the_process(path: Path) -> None:
    url = f"sqlite:///{path}"
    with subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        holder.kill()

    async def story() -> None:
        async with open_ledger(url, now=NOW) as ledger:
            assert [event.what for event in await ledger.timeline("c1")] == ["kept"]

    asyncio.run(story())


def _delete(path: Path) -> None:
    path.unlink()


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


@pytest.mark.parametrize(("change", "word"), [(_delete, "deleted"), (_replace, "replaced")])
def test_no_intent_goes_into_a_file_that_is_no_longer_there(
    path: Path, change: Callable[[Path], None], word: str
) -> None:
    async def story() -> None:
        async with open_ledger(f"sqlite:///{path}", now=NOW) as ledger:
            row = await row_in(ledger, State.CLAIMED)
            change(path)
            with pytest.raises(ConfigError, match=f"{word} while the adapter ran"):
                await ledger.intend(row, after=None, now=NOW, event="intent")
            assert await ledger.newest("c1") == row

    asyncio.run(story())


def test_a_new_connection_does_not_open_a_file_that_was_replaced(path: Path) -> None:
    async def story() -> None:
        async with open_ledger(f"sqlite:///{path}", now=NOW) as ledger:
            async with ledger._database.reading() as connection:
                await connection.invalidate()
            assert await ledger.newest("c1") is None
            async with ledger._database.reading() as connection:
                await connection.invalidate()
            _delete(path)
            with pytest.raises(ConfigError, match="deleted"):
                await ledger.newest("c1")

    asyncio.run(story())
    assert not path.exists()


def test_a_file_that_stayed_is_recognised(path: Path) -> None:
    path.touch()
    found = path.stat()

    LedgerFile(path=path, device=found.st_dev, inode=found.st_ino).check()


def _overwrite(path: Path) -> None:
    path.write_text("SECRET-NAME is not a database, though it is long enough to look like one. " * 20)


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 12] = b"SECRET-NAME!" * (4096 * 11 // 12)
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


@pytest.mark.parametrize("spoil", [_overwrite, _damage, _truncate])
def test_a_corrupt_file_is_moved_aside_and_rebuilt(path: Path, spoil: Callable[[Path], None]) -> None:
    open_once(path)
    spoil(path)
    spoilt = path.read_bytes()

    with capture_logs() as logs:
        open_once(path, communication="c2")

    aside = path.with_name(f"{path.name}.corrupt-20260301T120000Z")
    assert aside.read_bytes() == spoilt
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT communication FROM transmissions").fetchall() == [("c2",)]
    assert [(log["event"], log["moved_to"]) for log in logs] == [("ledger-corrupt", str(aside))]
    assert "SECRET" not in str(logs)


def test_what_belongs_to_a_corrupt_file_moves_with_it(path: Path) -> None:
    _overwrite(path)
    path.with_name(f"{path.name}-wal").write_bytes(b"log")

    open_once(path)

    assert path.with_name(f"{path.name}.corrupt-20260301T120000Z-wal").read_bytes() == b"log"


def test_a_file_that_becomes_corrupt_ends_the_process(path: Path) -> None:
    async def story() -> None:
        async with open_ledger(f"sqlite:///{path}", now=NOW) as ledger:
            async with ledger._database.reading() as connection:
                await connection.invalidate()
            _overwrite(path)
            with pytest.raises(ConfigError, match="corrupt: start `run` again"):
                await ledger.newest("c1")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing/ledger.db", "there is no directory {}/missing"),
        ("directory", "{}/directory cannot be opened"),
        ("locked.db", "{}/locked.db.lock cannot be opened"),
        (f"{'long' * 100}/ledger.db", "cannot be looked at: File name too long"),
    ],
)
def test_a_place_that_cannot_be_used_is_named(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "locked.db.lock").mkdir()

    with pytest.raises(ConfigError, match=said.format(tmp_path)):
        open_once(tmp_path / name)
