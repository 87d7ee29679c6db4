"""The account's pace: intents with their slots, and the lane's lease."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from adapter.domain.transmission import State
from adapter.errors import Conflict, IllegalTransition
from adapter.ledger.store import Store, open_ledger
from adapter.ports.ledger import LANE, StoredSlot
from tests.contract.ledger.ledgers import NOW, after, on_ledger, opened, row_in


@on_ledger
async def test_an_intent_and_its_slot_come_together(ledger: Store) -> None:
    row = await row_in(ledger, State.CLAIMED, token="t")

    intended = await ledger.intend(row, after=None, now=after(3), event="intent")

    assert intended is not None
    moved, slot = intended
    assert moved == replace(row, state=State.INTENT, generation=row.generation + 1, intent_at=after(3))
    assert slot == StoredSlot(id=slot.id, started_at=after(3))
    assert await ledger.newest("c1") == moved
    assert await ledger.latest(5) == [slot]
    assert (await ledger.timeline("c1"))[-1].what == "intent"


@on_ledger
async def test_a_waiting_row_can_be_intended_again(ledger: Store) -> None:
    row = await row_in(ledger, State.WAITING)

    assert await ledger.intend(row, after=None, now=NOW, event="intent") is not None


@on_ledger
async def test_an_old_row_gets_neither_intent_nor_slot(ledger: Store) -> None:
    row = await row_in(ledger, State.CLAIMED)
    moved = await ledger.change(row, State.WITHDRAWN, now=NOW, event="withdrawn")

    assert await ledger.intend(row, after=None, now=NOW, event="intent") is None
    assert await ledger.newest("c1") == moved
    assert await ledger.latest(5) == []


@on_ledger
async def test_of_many_intents_one_gets_the_slot(ledger: Store) -> None:
    row = await row_in(ledger, State.CLAIMED)

    results = await asyncio.gather(
        *(ledger.intend(row, after=None, now=NOW, event="intent") for _ in range(6)), return_exceptions=True
    )

    assert [isinstance(result, tuple) for result in results].count(True) == 1
    assert len(await ledger.latest(5)) == 1


@on_ledger
async def test_of_many_that_know_the_same_last_slot_one_gets_the_next(ledger: Store) -> None:
    claimed = [await row_in(ledger, State.CLAIMED, f"c{n}") for n in range(6)]

    results = await asyncio.gather(
        *(ledger.intend(row, after=None, now=NOW, event="intent") for row in claimed), return_exceptions=True
    )

    losers = [row for row, result in zip(claimed, results, strict=True) if isinstance(result, Conflict)]
    (slot,) = await ledger.latest(9)
    assert len(losers) == 5
    assert await ledger.newest(losers[0].communication) == losers[0]
    assert await ledger.intend(losers[0], after=slot.id, now=NOW, event="intent") is not None


@on_ledger
async def test_what_is_not_claimed_cannot_be_intended(ledger: Store) -> None:
    row = await opened(ledger)

    with pytest.raises(IllegalTransition):
        await ledger.intend(row, after=None, now=NOW, event="intent")

    assert await ledger.latest(5) == []


@on_ledger
async def test_the_latest_slots_come_oldest_first(ledger: Store) -> None:
    slots: list[StoredSlot] = []
    for n in range(4):
        row = await row_in(ledger, State.CLAIMED, f"c{n}")
        last = slots[-1].id if slots else None
        intended = await ledger.intend(row, after=last, now=after(n), event="intent")
        assert intended is not None
        slots.append(intended[1])

    assert await ledger.latest(3) == slots[1:]
    assert await ledger.latest(10) == slots


@on_ledger
async def test_the_first_answer_ends_a_slot(ledger: Store) -> None:
    row = await row_in(ledger, State.CLAIMED)
    intended = await ledger.intend(row, after=None, now=NOW, event="intent")
    assert intended is not None

    await ledger.end(intended[1], now=after(1))
    await ledger.end(intended[1], now=after(9))

    assert [slot.ended_at for slot in await ledger.latest(1)] == [after(1)]


@on_ledger
async def test_one_holds_the_lane_until_the_lease_ends(ledger: Store) -> None:
    assert await ledger.take("a", LANE, now=NOW, seconds=10)
    assert not await ledger.take("b", LANE, now=after(9.9), seconds=10)
    assert await ledger.take("a", LANE, now=after(5), seconds=10)
    assert not await ledger.take("b", LANE, now=after(14.9), seconds=10)
    assert await ledger.take("b", LANE, now=after(15), seconds=10)
    assert not await ledger.take("a", LANE, now=after(16), seconds=10)


@on_ledger
async def test_after_the_clock_was_set_back_nobody_waits_for_the_lease_of_one_who_died(ledger: Store) -> None:
    assert await ledger.take("a", LANE, now=after(3600), seconds=10)

    assert not await ledger.take("b", LANE, now=after(3540.1), seconds=10)
    assert await ledger.take("b", LANE, now=after(3539.9), seconds=10)
    assert not await ledger.take("a", LANE, now=after(3541), seconds=10)


@on_ledger
async def test_a_lane_that_is_left_is_free(ledger: Store) -> None:
    await ledger.take("a", LANE, now=NOW, seconds=10)

    await ledger.leave("b", LANE)
    assert not await ledger.take("b", LANE, now=NOW, seconds=10)
    await ledger.leave("a", LANE)
    assert await ledger.take("b", LANE, now=NOW, seconds=10)


@on_ledger
async def test_of_many_that_want_the_lane_one_gets_it(ledger: Store) -> None:
    names = [str(n) for n in range(8)]

    first = await asyncio.gather(*(ledger.take(name, LANE, now=NOW, seconds=10) for name in names))
    later = await asyncio.gather(*(ledger.take(name, LANE, now=after(10), seconds=10) for name in names))

    assert first.count(True) == 1
    assert later.count(True) == 1


def test_of_two_replicas_one_gets_the_lane(postgresql_database: str) -> None:
    async def story() -> None:
        async with (
            open_ledger(postgresql_database, now=NOW) as one,
            open_ledger(postgresql_database, now=NOW) as other,
        ):
            for n in range(20):
                held = await asyncio.gather(
                    one.take("a", LANE, now=after(10 * n), seconds=10),
                    other.take("b", LANE, now=after(10 * n), seconds=10),
                )
                assert held.count(True) == 1

    asyncio.run(story())


def test_accounts_have_lanes_and_slots_of_their_own(ledger_url: str) -> None:
    async def story(account: str) -> None:
        async with open_ledger(ledger_url, now=NOW, account=account) as ledger:
            assert await ledger.latest(5) == []
            assert await ledger.take(account, LANE, now=NOW, seconds=10)
            row = await row_in(ledger, State.CLAIMED, account)
            assert await ledger.intend(row, after=None, now=NOW, event="intent") is not None

    asyncio.run(story("one"))
    asyncio.run(story("other"))
