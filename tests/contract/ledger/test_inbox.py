"""Deliveries are kept before they are answered, and a known one is never skipped."""

from __future__ import annotations

import asyncio

from adapter.ledger.store import Store
from adapter.ports.ledger import Delivery
from tests.contract.ledger.ledgers import after, on_ledger


def delivery(delivery_id: str = "d1", *, seconds: float = 0, body: bytes = b"{}") -> Delivery:
    """A delivery."""
    return Delivery(delivery_id=delivery_id, kind="message.received", received_at=after(seconds), body=body)


@on_ledger
async def test_a_kept_delivery_waits_byte_for_byte(ledger: Store) -> None:
    kept = delivery(body=b'{"text": "\xff\x00 caf\xc3\xa9"}')

    await ledger.keep(kept)

    assert await ledger.waiting(limit=5) == [kept]


@on_ledger
async def test_the_oldest_waiting_come_first(ledger: Store) -> None:
    young, old, middle = delivery("young", seconds=9), delivery("old"), delivery("middle", seconds=5)
    for kept in (young, old, middle):
        await ledger.keep(kept)

    assert await ledger.waiting(limit=5) == [old, middle, young]
    assert await ledger.waiting(limit=1) == [old]


@on_ledger
async def test_what_is_done_waits_no_longer(ledger: Store) -> None:
    first, second = delivery("first"), delivery("second")
    await ledger.keep(first)
    await ledger.keep(second)

    await ledger.done(first, note="joined")

    assert await ledger.waiting(limit=5) == [second]


@on_ledger
async def test_a_known_delivery_is_opened_again_with_its_newest_body(ledger: Store) -> None:
    first, again = delivery(body=b"old link"), delivery(seconds=60, body=b"new link")
    await ledger.keep(first)
    await ledger.done(first, note="done")

    await ledger.keep(again)

    assert await ledger.waiting(limit=5) == [again]


@on_ledger
async def test_what_came_again_while_it_was_worked_on_stays_open(ledger: Store) -> None:
    first, again = delivery(body=b"old link"), delivery(body=b"new link")
    await ledger.keep(first)
    await ledger.keep(again)

    await ledger.done(first, note="done")

    assert await ledger.waiting(limit=5) == [again]


@on_ledger
async def test_the_same_delivery_many_times_at_once_is_one(ledger: Store) -> None:
    await asyncio.gather(*(ledger.keep(delivery()) for _ in range(8)))

    assert await ledger.waiting(limit=5) == [delivery()]
