"""Fresh links for calls whose links are dead, and calls that nobody took: Metriport makes them anew (protocol §8)."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from adapter.errors import Rejected, Temporary
from adapter.pipelines.inbound.arrivals import MOST_TRIES, is_fresh, later, pause
from adapter.pipelines.inbound.context import RECEIVED, Context
from adapter.ports.ledger import Delivery

_log = structlog.get_logger(__name__)

_BEFORE: Final = timedelta(minutes=5)  # a call was made some time before it came in here, by another clock
_SPAN: Final = timedelta(hours=1)  # calls from so long around a dead one are asked for together
_LONGEST_SPAN: Final = timedelta(days=1)
_LIVES: Final = timedelta(minutes=2)  # so long at least, a call's own links may bring it yet
MEANWHILE: Final = timedelta(minutes=2)  # so long nobody looks at a call that is being asked for
_PATIENCE: Final = timedelta(days=1)  # so long, Metriport's trouble gives no message up
_AWAY: Final = 3  # failures in a row after which no other call is asked for
_ACCOUNT: Final = frozenset({401, 403})
_ASKED_AGAIN: Final = "asked again"
_REFUSED: Final = "not made anew"


@dataclass(frozen=True, kw_only=True)
class _Call:
    """A call as Metriport is asked for it: by its id there. `at` is when it was first made.

    Should its new links die, too, it is looked for under that time.
    """

    id: str
    at: datetime
    tries: int = 0


async def renew(context: Context, dead: Sequence[Delivery]) -> None:
    """Asks Metriport to make the calls anew whose links are dead. The new ones are worked on like any other.

    Each by its own id, and after an outage those that wait beside them, whose links are dead, too. Where Metriport
    does not know one by that, all from about the same time are asked for.

    Raises:
        Temporary: the ledger does not answer.
    """
    waiting = await _waiting(context, dead)
    # What is gone was asked for together with another meanwhile, or came again by itself.
    dead = [delivery for delivery in dead if delivery in waiting]
    if not dead:
        return
    ended = context.clock.now() - _LIVES
    beside = [
        one
        for one in waiting
        if one not in dead and one.message is None and is_fresh(one) and one.received_at < ended
    ]
    lasting = [one for one in [*dead, *beside] if one.tries < MOST_TRIES]
    for delivery in lasting:
        due = context.clock.now() + MEANWHILE
        await context.ledger.later(delivery, due_at=due, note="asking again")
    # What only the list told of was no call.
    listed = [one for one in lasting if one.message is not None]
    unknown = await _ask_by_id(context, [one for one in lasting if one.message is None])
    if listed or unknown:
        await _ask_around(context, [*listed, *unknown])


async def _ask_by_id(context: Context, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Has each made anew by its own id; gives those that Metriport does not know by that."""
    by_call: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        by_call.setdefault(delivery.call or delivery.delivery_id, []).append(delivery)
    calls = [_Call(id=id, at=one.received_at, tries=one.tries + 1) for id, [one, *_] in by_call.items()]
    unknown = []
    async for call, made in _made_anew(context, calls):
        for delivery in by_call[call.id]:
            if made is None:
                unknown.append(delivery)
            elif not isinstance(made, str):
                await _refused(context, delivery, made)
            elif made == delivery.delivery_id:
                await pause(context, delivery, "links-dead")  # with the very links that are dead
            else:
                _log.info("delivery.asked-again", delivery=delivery.delivery_id)
                await context.ledger.done(delivery, note=_ASKED_AGAIN)
    return unknown


async def _waiting(context: Context, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
    """All from about their time whose work is not done."""
    times = [delivery.received_at for delivery in deliveries]
    if not times:
        return []
    first, last = min(times) - _LONGEST_SPAN, max(times) + _LONGEST_SPAN
    return await context.ledger.unfinished(kind=RECEIVED, first=first, last=last)


async def fetch_missed(context: Context, *, since: datetime) -> int:
    """Has the calls made anew that Metriport made while nobody took them; gives how many.

    They tell more than the list, whose the message is above all; where they cannot be had, the list still tells. Each
    is asked for once: a call that nobody takes again stays on Metriport's record as it was.

    Raises:
        Temporary: the ledger does not answer.
    """
    found, trouble, now = 0, None, context.clock.now()
    try:
        missed = [call async for call in context.mail.calls(since=since) if call.missed]
    except (Temporary, Rejected) as error:
        missed, trouble = [], error
    calls = [
        _Call(id=one.id, at=min(one.at or now, now))  # some clocks say anything
        for one in missed
        if not await context.ledger.of_call(one.id)
    ]
    async for call, made in _made_anew(context, calls):
        if isinstance(made, str):
            found += 1
        elif made is None:
            # Known from now on, and not asked for again. It may come in by itself: that has another row.
            name = f"not-made-{call.id}"
            refused = Delivery(delivery_id=name, kind=_REFUSED, received_at=call.at, body=b"{}", call=call.id)
            await context.ledger.keep(refused)
            await context.ledger.done(refused, note=_REFUSED)
        else:
            trouble = made
    if trouble is not None:
        # The list still tells. Metriport's trouble, or that the key is refused, is said elsewhere.
        is_said = isinstance(trouble, Temporary) or trouble.status in _ACCOUNT
        say = _log.debug if is_said else _log.info
        say("deliveries.not-made-anew", error=type(trouble).__name__, detail=str(trouble))
    if found:
        _log.info("deliveries.missed", made_anew=found)
    return found


async def _ask_around(context: Context, dead: Sequence[Delivery]) -> None:
    """All calls around the oldest dead one; those that are newer than that stay dead, and their turn comes next."""
    now = context.clock.now()
    tries = max(delivery.tries for delivery in dead)
    # A message that only the list told of may have been sent long before its call was made.
    span = min(_SPAN * 2**tries, _LONGEST_SPAN)
    oldest = min(delivery.received_at for delivery in dead)
    dead = [delivery for delivery in dead if delivery.received_at <= oldest + span]
    try:
        around = [
            _Call(id=call.id, at=min(call.at or oldest, now), tries=tries + 1)
            async for call in context.mail.calls(since=oldest - _BEFORE)
            if call.at is None or call.at <= oldest + span + _BEFORE
        ]
    except (Temporary, Rejected) as error:
        for delivery in dead:
            await _refused(context, delivery, error)
        return
    # One that was kept here looks after itself: what is done is never asked for again.
    unknown = [call for call in around if not await context.ledger.of_call(call.id)]
    results = [made async for _, made in _made_anew(context, unknown)]
    trouble = next((made for made in results if isinstance(made, Temporary | Rejected)), None)
    _log.info("delivery.asked-around", dead=len(dead), calls=len(around), asked=len(unknown))
    for delivery in dead:
        # Nothing tells which of them is its own: it stays open until its message is there, by whatever way.
        if trouble is not None:
            await _refused(context, delivery, trouble)
        else:
            await pause(context, delivery, "links-dead")


async def _made_anew(
    context: Context, calls: Sequence[_Call]
) -> AsyncIterator[tuple[_Call, str | Temporary | Rejected | None]]:
    """Has Metriport make the calls anew, and keeps each at once; gives its id, `None` for one that cannot be had.

    What Metriport fails at keeps no other from being asked for. After some failures in a row it is away, and all others
    are taken to have failed, too; in no order, so that it is not the same ones each time.
    """
    failures = 0
    trouble: Temporary | Rejected | None = None
    for call in random.sample(calls, len(calls)):
        if trouble is not None and failures >= _AWAY:
            yield call, trouble
            continue
        try:
            yield call, await _one_made_anew(context, call)
            failures = 0
        except (Temporary, Rejected) as error:
            failures, trouble = failures + 1, error
            yield call, error


async def _one_made_anew(context: Context, call: _Call) -> str | None:
    """The id of the call that was made anew; `None` for one that cannot be had.

    Raises:
        Temporary: not now.
        Rejected: the account is refused, not this one call.
    """
    try:
        raw = await context.mail.redeliver(call.id)
    except Rejected as error:
        if not error.issues:
            raise
        return None
    made = context.read.delivery(raw, call.at)
    if made is None or made.kind != RECEIVED:
        _log.warning("delivery.made-anew-unreadable", delivery=call.id)
        return None
    return await context.ledger.keep(replace(made, tries=call.tries, call=call.id))


async def _refused(context: Context, delivery: Delivery, error: Temporary | Rejected) -> None:
    """The asking itself failed. For a day, neither Metriport's trouble nor a key that ended gives anything up."""
    young = context.clock.now() - delivery.received_at < _PATIENCE
    if young and (isinstance(error, Temporary) or error.status in _ACCOUNT):
        await later(context, delivery, error)
    else:
        await pause(context, delivery, "refused")
