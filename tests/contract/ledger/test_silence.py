"""A PostgreSQL that can be reached and says nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from adapter.errors import Temporary
from adapter.ledger.database import Database, create_engine, parse_url
from tests.e2e.hurried import HurriedClock, HurriedLoop
from tests.neighbours.postgresql import Postgresql
from tests.neighbours.tunnel import Tunnel, tunnel

SPEED = 40.0


async def _asked(database: Database) -> object:
    async with database.reading() as connection:
        return await connection.scalar(sa.text("SELECT 1"))


async def _through_a_silence(way: Tunnel) -> tuple[object, float, object]:
    engine = create_engine(parse_url(way.url))
    database = Database(engine)
    first = await _asked(database)
    with way.swallowing():
        began = asyncio.get_running_loop().time()
        with pytest.raises(Temporary, match="does not answer"):
            await _asked(database)
        took = asyncio.get_running_loop().time() - began
    again = await _asked(database)
    await engine.dispose()
    return first, took, again


def test_an_exchange_without_an_answer_ends_and_the_next_one_goes_by_another_connection(
    postgresql_server: Postgresql,
) -> None:
    clock = HurriedClock(start=datetime.now(UTC), speed=SPEED)
    with (
        postgresql_server.database() as url,
        tunnel(url) as way,
        asyncio.Runner(loop_factory=lambda: HurriedLoop(clock)) as runner,
    ):
        first, took, again = runner.run(_through_a_silence(way))

    assert (first, again) == (1, 1)
    assert took >= 20.0
