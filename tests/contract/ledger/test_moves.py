"""Every move of the table and no other; whoever starts from an old row changes nothing."""

from __future__ import annotations

import asyncio

import pytest

from adapter.domain.transmission import MOVES, State
from adapter.errors import IllegalTransition
from adapter.ledger.store import Store, open_ledger
from tests.contract.ledger.ledgers import NOW, after, on_ledger, opened, row_in


@pytest.mark.parametrize("start", State)
def test_the_table_of_moves_is_what_the_ledger_allows(ledger_url: str, start: State) -> None:
    async def story() -> None:
        async with open_ledger(ledger_url, now=NOW) as ledger:
            for to in State:
                row = await row_in(ledger, start, f"to-{to}")
                if to in MOVES[start] or to is start:
                    moved = await ledger.change(row, to, now=after(1), event="moved")
                    assert moved is not None
                    assert (moved.state, moved.generation) == (to, row.generation + 1)
                    assert await ledger.newest(f"to-{to}") == moved
                else:
                    with pytest.raises(IllegalTransition):
                        await ledger.change(row, to, now=after(1), event="moved")
                    assert await ledger.newest(f"to-{to}") == row

    asyncio.run(story())


@on_ledger
async def test_a_change_to_the_same_state_brings_facts(ledger: Store) -> None:
    row = await row_in(ledger, State.REFUSED)

    changed = await ledger.change(row, State.REFUSED, now=NOW, event="write-back", write_at=None, checks=3)

    assert changed is not None
    assert (changed.state, changed.checks, changed.generation) == (State.REFUSED, 3, row.generation + 1)


@on_ledger
async def test_who_starts_from_an_old_row_changes_nothing(ledger: Store) -> None:
    row = await opened(ledger)
    won = await ledger.change(row, State.CLAIMED, now=NOW, event="claimed", token="winner")

    lost = await ledger.change(row, State.REFUSED, now=NOW, event="refused", token="loser")

    assert lost is None
    assert await ledger.newest("c1") == won
    assert [event.what for event in await ledger.timeline("c1")] == ["opened", "claimed"]


@on_ledger
async def test_an_old_generation_of_the_same_state_changes_nothing(ledger: Store) -> None:
    row = await opened(ledger)
    newer = await ledger.change(row, State.READY, now=NOW, event="looked", checks=1)

    assert await ledger.change(row, State.READY, now=NOW, event="looked", checks=9) is None
    assert await ledger.newest("c1") == newer


@on_ledger
async def test_of_many_at_once_one_wins(ledger: Store) -> None:
    row = await opened(ledger)

    results = await asyncio.gather(
        *(ledger.change(row, State.CLAIMED, now=NOW, event="claimed", token=str(n)) for n in range(8))
    )

    won = [result for result in results if result is not None]
    assert len(won) == 1
    assert await ledger.newest("c1") == won[0]


def test_of_two_replicas_one_wins(postgresql_database: str) -> None:
    async def story() -> None:
        async with (
            open_ledger(postgresql_database, now=NOW) as one,
            open_ledger(postgresql_database, now=NOW) as other,
        ):
            for n in range(20):
                row = await opened(one, f"c{n}")
                results = await asyncio.gather(
                    one.change(row, State.CLAIMED, now=NOW, event="claimed"),
                    other.change(row, State.REFUSED, now=NOW, event="refused"),
                )
                assert [result is None for result in results].count(True) == 1

    asyncio.run(story())
