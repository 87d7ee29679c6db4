"""What the ledger's tests share: fixed times, ways into every state, and running a story on an open ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from adapter.domain.ranking import Rank
from adapter.domain.transmission import MOVES, State, Transmission
from adapter.ledger.store import Store, open_ledger

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ROUTINE = Rank(priority=3, since=NOW)


def after(seconds: float) -> datetime:
    """So many seconds after `NOW`."""
    return NOW + timedelta(seconds=seconds)


def on_ledger(story: Callable[[Store], Awaitable[None]]) -> Callable[[str], None]:
    """A test of the story on each database."""

    def test(ledger_url: str) -> None:
        async def run() -> None:
            async with open_ledger(ledger_url, now=NOW) as ledger:
                await story(ledger)

        asyncio.run(run())

    # Not functools.wraps: pytest would look for the story's parameters.
    test.__name__ = story.__name__
    test.__doc__ = story.__doc__
    return test


def way_to(state: State) -> list[State]:
    """The shortest way of moves from `ready`."""
    ways = [[State.READY]]
    for way in ways:
        if way[-1] is state:
            return way[1:]
        ways += [[*way, after_it] for after_it in MOVES[way[-1]] if after_it not in way]
    raise AssertionError(f"no way leads to {state}")


async def opened(
    ledger: Store, communication: str = "c1", *, round: int = 1, rank: Rank = ROUTINE
) -> Transmission:
    """A row in `ready`."""
    row = await ledger.open(communication, round=round, rank=rank, now=NOW)
    assert row is not None
    return row


async def row_in(ledger: Store, state: State, communication: str = "c1", **facts: Any) -> Transmission:
    """A row that went its way to the state, with the facts."""
    row: Transmission | None = await opened(ledger, communication)
    for step in way_to(state):
        assert row is not None
        row = await ledger.change(row, step, now=NOW, event=str(step))
    if facts:
        assert row is not None
        row = await ledger.change(row, state, now=NOW, event="facts", **facts)
    assert row is not None
    return row
