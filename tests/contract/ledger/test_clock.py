"""The time that replicas share: that of the ledger's database, whatever their own clocks say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from adapter.errors import Temporary
from adapter.ledger.clock import SharedClock
from adapter.ledger.database import create_engine, parse_url
from adapter.ledger.store import Store, open_ledger
from tests.contract.ledger.ledgers import NOW

_MINUTE = timedelta(minutes=1)


@dataclass(kw_only=True)
class _Machine:
    """Its clocks stand still until somebody waits; `waited` is called then."""

    wall: datetime = NOW
    seconds: float = 1000.0
    waited: Callable[[float], Awaitable[None]] | None = None

    def now(self) -> datetime:
        return self.wall

    def boot(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        if self.waited:
            await self.waited(seconds)


async def _set_clock(url: str, time: datetime) -> None:
    """From now on the database's clock stands at that time."""
    engine = create_engine(parse_url(url))
    stands = f"SELECT timestamptz '{time.isoformat()}'"
    async with engine.begin() as connection:
        await connection.execute(
            sa.text(
                "CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
                f"AS $$ {stands} $$"
            )
        )
    await engine.dispose()


def _with_own_clock(url: str) -> str:
    return f"{url}&options=-csearch_path=public,pg_catalog"


def test_a_server_tells_its_time_and_a_file_has_none(ledger_url: str) -> None:
    async def story() -> datetime | None:
        async with open_ledger(ledger_url, now=NOW) as ledger:
            return await ledger.time()

    time = asyncio.run(story())

    if ledger_url.startswith("sqlite"):
        assert time is None
    else:
        assert time is not None
        assert abs(time - datetime.now(UTC)) < _MINUTE


def test_replicas_whose_clocks_differ_have_the_same_time(postgresql_database: str) -> None:
    async def story() -> list[tuple[datetime, datetime]]:
        await _set_clock(postgresql_database, NOW)
        found = []
        async with open_ledger(_with_own_clock(postgresql_database), now=NOW) as ledger:
            for wall in (NOW - 5 * _MINUTE, NOW + 5 * _MINUTE):
                machine = _Machine(wall=wall)
                clock = SharedClock(machine)
                await clock.look(ledger)
                before = clock.now()
                machine.wall += timedelta(days=1)
                machine.seconds += 7
                found.append((before, clock.now()))
        return found

    assert asyncio.run(story()) == [(NOW, NOW + timedelta(seconds=7))] * 2


def test_on_a_file_the_time_is_the_machine_s(tmp_path: Path) -> None:
    async def story() -> datetime:
        async with open_ledger(f"sqlite:///{tmp_path}/ledger.db", now=NOW) as ledger:
            clock = SharedClock(_Machine(wall=NOW - _MINUTE))
            await clock.look(ledger)
            return clock.now()

    assert asyncio.run(story()) == NOW - _MINUTE


class _Slow(Store):
    """A ledger that takes its time to tell the time."""

    machine: _Machine
    takes: float = 0.0

    async def time(self) -> datetime | None:
        self.machine.seconds += self.takes
        return await super().time()


def test_a_look_that_took_too_long_counts_for_nothing(postgresql_database: str) -> None:
    async def story() -> datetime:
        engine = create_engine(parse_url(postgresql_database))
        ledger = _Slow(engine)
        ledger.machine, ledger.takes = _Machine(), 2.5
        clock = SharedClock(ledger.machine)
        with pytest.raises(Temporary, match=r"took 2\.5 s to tell its time, 5 times in a row"):
            await clock.look(ledger)
        await engine.dispose()
        return clock.now()

    assert asyncio.run(story()) == NOW


def test_the_time_is_looked_at_again_and_trouble_leaves_it_as_it_was(postgresql_database: str) -> None:
    async def story() -> list[datetime]:
        await _set_clock(postgresql_database, NOW)
        engine = create_engine(parse_url(_with_own_clock(postgresql_database)))
        ledger, seen = _Slow(engine), list[datetime]()
        ledger.machine = _Machine()
        clock = SharedClock(ledger.machine)
        await clock.look(ledger)

        async def waited(_seconds: float) -> None:
            seen.append(clock.now())
            await _set_clock(postgresql_database, NOW + len(seen) * 10 * _MINUTE)
            ledger.takes = 3.0 if len(seen) == 2 else 0.0
            if len(seen) == 4:
                raise KeyboardInterrupt

        ledger.machine.waited = waited
        with pytest.raises(KeyboardInterrupt):
            await clock.keep(ledger)
        await engine.dispose()
        return seen

    # Looked at after each minute; the five second looks, at 20, took three seconds each.
    times = [NOW + minutes * _MINUTE for minutes in (1, 11, 12, 31)]
    assert asyncio.run(story()) == [*times[:2], times[2] + timedelta(seconds=15), times[3]]
