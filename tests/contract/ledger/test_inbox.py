"""Deliveries are kept before they are answered, and a known one is never skipped."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from adapter.ledger.store import Store
from adapter.ports.ledger import Arrival, ArrivalState, Delivery
from tests.contract.ledger.ledgers import NOW, after, on_ledger


def delivery(delivery_id: str = "d1", *, seconds: float = 0, body: bytes = b"{}") -> Delivery:
    """A delivery."""
    return Delivery(delivery_id=delivery_id, kind="message.received", received_at=after(seconds), body=body)


@on_ledger
async def test_a_kept_delivery_waits_byte_for_byte(ledger: Store) -> None:
    kept = delivery(body=b'{"text": "\xff\x00 caf\xc3\xa9"}')

    await ledger.keep(kept)

    assert await ledger.waiting(now=NOW, limit=5) == [kept]


@on_ledger
async def test_the_oldest_waiting_come_first(ledger: Store) -> None:
    young, old, middle = delivery("young", seconds=9), delivery("old"), delivery("middle", seconds=5)
    for kept in (young, old, middle):
        await ledger.keep(kept)

    assert await ledger.waiting(now=NOW, limit=5) == [old, middle, young]
    assert await ledger.waiting(now=NOW, limit=1) == [old]


@on_ledger
async def test_what_is_done_waits_no_longer(ledger: Store) -> None:
    first, second = delivery("first"), delivery("second")
    await ledger.keep(first)
    await ledger.keep(second)

    await ledger.done(first, note="joined")

    assert await ledger.waiting(now=NOW, limit=5) == [second]


@on_ledger
async def test_a_known_delivery_is_opened_again_with_its_newest_body(ledger: Store) -> None:
    first, again = delivery(body=b"old link"), delivery(seconds=60, body=b"new link")
    await ledger.keep(first)
    await ledger.done(first, note="done")

    await ledger.keep(again)

    assert await ledger.waiting(now=NOW, limit=5) == [replace(again, received_at=first.received_at)]


@on_ledger
async def test_what_comes_again_while_it_is_worked_on_has_its_links_kept_beside_the_first(
    ledger: Store,
) -> None:
    first, again = delivery(body=b"a link"), delivery(seconds=60, body=b"another link")
    assert await ledger.keep(first) == "d1"
    await ledger.later(replace(first, tries=3), due_at=after(1), note="the link is dead")

    ids = [await ledger.keep(again), await ledger.keep(again), await ledger.keep(replace(first, tries=1))]

    beside = replace(again, delivery_id=ids[0], received_at=first.received_at, tries=3, call="d1")
    assert ids == [ids[0], ids[0], "d1"]
    assert ids[0] != "d1"
    assert await ledger.waiting(now=NOW, limit=5) == [replace(first, tries=3), beside]
    assert await ledger.of_call("d1") == [replace(first, tries=3), beside]

    await ledger.done(replace(first, tries=3), note="done")
    assert await ledger.waiting(now=NOW, limit=5) == [beside]


@on_ledger
async def test_what_was_made_anew_and_comes_again_is_known_by_the_same_call(ledger: Store) -> None:
    await ledger.keep(replace(delivery("d2", body=b"a link"), call="d1"))

    beside = await ledger.keep(delivery("d2", body=b"another link"))

    assert [one.delivery_id for one in await ledger.of_call("d1")] == ["d2", beside]


@on_ledger
async def test_deliveries_are_asked_for_by_kind(ledger: Store) -> None:
    received, status = delivery("received"), replace(delivery("status"), kind="message.status")
    await ledger.keep(received)
    await ledger.keep(status)

    assert await ledger.waiting(now=NOW, limit=5, kind="message.received") == [received]
    assert await ledger.waiting(now=NOW, limit=5, but="message.received") == [status]


@on_ledger
async def test_what_is_not_done_is_found_by_when_it_came_whenever_it_is_due(ledger: Store) -> None:
    early, first, last, late = (delivery(f"at {seconds}", seconds=seconds) for seconds in (9, 10, 20, 21))
    done, status = (
        delivery("done", seconds=15),
        replace(delivery("status", seconds=15), kind="message.status"),
    )
    for one in (early, first, last, late, done, status):
        await ledger.keep(one)
    await ledger.done(done, note="done")
    await ledger.later(last, due_at=after(6000), note="Temporary")

    found = await ledger.unfinished(kind="message.received", first=after(10), last=after(20))

    assert list(found) == [first, last]


@on_ledger
async def test_what_was_made_anew_is_known_by_the_call_that_it_was_made_from(ledger: Store) -> None:
    made = replace(delivery("d2"), call="d1")
    await ledger.keep(delivery("d1"))
    await ledger.keep(made)
    await ledger.done(made, note="done")

    await ledger.keep(delivery("d2", body=b"the push of the same"))

    assert await ledger.of_call("d1") == [delivery("d1"), replace(made, body=b"the push of the same")]
    assert await ledger.of_call("d2") == [replace(made, body=b"the push of the same")]
    assert await ledger.of_call("d3") == []


@on_ledger
async def test_what_could_not_be_done_now_waits_for_its_time(ledger: Store) -> None:
    await ledger.keep(delivery())

    await ledger.later(replace(delivery(), tries=1), due_at=after(30), note="the link does not answer")

    assert await ledger.waiting(now=after(29), limit=5) == []
    assert await ledger.waiting(now=after(30), limit=5) == [replace(delivery(), tries=1)]


@on_ledger
async def test_what_came_again_meanwhile_is_due_at_once(ledger: Store) -> None:
    first = delivery(body=b"old link")
    await ledger.keep(first)
    await ledger.later(replace(first, tries=1), due_at=after(600), note="the link is dead")

    await ledger.keep(delivery(seconds=5, body=b"old link"))

    assert await ledger.waiting(now=after(5), limit=5) == [replace(first, tries=1)]


@on_ledger
async def test_what_was_done_and_came_again_is_not_put_off_by_who_saw_it_before(ledger: Store) -> None:
    first, again = delivery(body=b"old link"), delivery(seconds=5, body=b"new link")
    await ledger.keep(first)
    await ledger.done(first, note="done")
    await ledger.keep(again)

    await ledger.later(first, due_at=after(600), note="the link is dead")
    await ledger.done(first, note="done")

    assert await ledger.waiting(now=after(5), limit=5) == [replace(again, received_at=first.received_at)]


@on_ledger
async def test_what_became_of_a_message_is_kept_with_its_delivery(ledger: Store) -> None:
    arrival = Arrival(
        message="m-1", communication="c-1", state=ArrivalState.WRITTEN, at=after(2), patient="p-1"
    )
    await ledger.keep(delivery())
    await ledger.done(delivery(), note="written", arrival=arrival)
    await ledger.keep(delivery(seconds=60))

    assert await ledger.arrival("m-1") == arrival
    assert await ledger.arrival("m-2") is None
    assert [one.message for one in await ledger.waiting(now=after(60), limit=5)] == ["m-1"]
    assert [line.what for line in await ledger.timeline("c-1")] == ["written"]


@on_ledger
async def test_a_message_is_recorded_once_until_its_state_changes(ledger: Store) -> None:
    written = Arrival(message="m-1", communication="c-1", state=ArrivalState.WRITTEN, at=NOW, patient="p-1")
    deleted = replace(written, state=ArrivalState.DELETED, at=after(9), patient=None)
    for name, arrival in (("one", written), ("two", replace(written, at=after(5))), ("three", deleted)):
        await ledger.keep(delivery(name))
        await ledger.done(delivery(name), note=arrival.state.value, arrival=arrival)

    assert await ledger.arrival("m-1") == replace(deleted, patient="p-1")
    assert [line.what for line in await ledger.timeline("c-1")] == ["written", "deleted"]


@on_ledger
async def test_the_same_delivery_many_times_at_once_is_one(ledger: Store) -> None:
    await asyncio.gather(*(ledger.keep(delivery()) for _ in range(8)))

    assert await ledger.waiting(now=NOW, limit=5) == [delivery()]
