"""Fresh links for calls whose links are dead, and calls that nobody took: Metriport makes them anew (protocol §8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from adapter.errors import Rejected, Temporary
from adapter.pipelines.inbound.arrivals import give_up, is_fresh, later, pause
from adapter.pipelines.inbound.context import RECEIVED, Context
from adapter.ports.ledger import Delivery

_log = structlog.get_logger(__name__)

_MOST_TRIES: Final = 16  # eight fresh links, each after a longer pause: about an hour and a half
_BEFORE: Final = timedelta(minutes=5)  # a call was made some time before it came in here, by another clock
_SPAN: Final = timedelta(hours=1)  # calls from so long around a dead one are asked for together
_LONGEST_SPAN: Final = timedelta(days=1)
_LIVES: Final = timedelta(minutes=2)  # so long at least, a call's own links may bring it yet
_MEANWHILE: Final = timedelta(minutes=2)  # so long nobody looks at a call that is being asked for
_PATIENCE: Final = timedelta(days=1)  # so long, an account that is refused gives no message up
_ACCOUNT: Final = frozenset({401, 403})
_ASKED_AGAIN: Final = "asked again"


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
    for delivery in [*dead, *beside]:
        due = context.clock.now() + _MEANWHILE
        await context.ledger.later(delivery, due_at=due, note="asking again")
    try:
        unknown = [one for one in [*dead, *beside] if not await _was_made_anew(context, one)]
    except (Temporary, Rejected) as error:
        waiting = await _waiting(context, dead)
        for delivery in dead:
            if delivery in waiting:
                await _refused(context, delivery, error)
        return
    if unknown:
        await _ask_around(context, unknown)


async def _waiting(context: Context, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
    """All from about their time whose work is not done."""
    times = [delivery.received_at for delivery in deliveries]
    if not times:
        return []
    first, last = min(times) - _LONGEST_SPAN, max(times) + _LONGEST_SPAN
    return await context.ledger.unfinished(kind=RECEIVED, first=first, last=last)


async def _was_made_anew(context: Context, delivery: Delivery) -> bool:
    """Whether there is a new call in its place, or nothing left to ask for."""
    if delivery.tries >= _MOST_TRIES:
        await give_up(context, delivery, "its links are dead, and so were those that Metriport made anew")
        return True
    # One that only the list told of was no call.
    call = delivery.call or delivery.delivery_id
    if delivery.message is not None or not await _made_anew(
        context, call, at=delivery.received_at, tries=delivery.tries + 1
    ):
        return False
    _log.info("delivery.asked-again", delivery=delivery.delivery_id)
    await context.ledger.done(delivery, note=_ASKED_AGAIN)
    return True


async def _made_anew(context: Context, call: str, *, at: datetime, tries: int = 0) -> bool:
    """Has Metriport make one call anew, and keeps it at once; `False` when that one cannot be had.

    `at` is when it was first made: should its new links die, too, it is looked for under that time.

    Raises:
        Temporary: not now.
        Rejected: the account is refused, not this one call.
    """
    try:
        raw = await context.mail.redeliver(call)
    except Rejected as error:
        if not error.issues:
            raise
        return False
    made = context.read.delivery(raw, at)
    if made is None or made.kind != RECEIVED:
        _log.warning("delivery.made-anew-unreadable", delivery=call)
        return False
    await context.ledger.keep(replace(made, tries=tries, call=call))
    return True


async def fetch_missed(context: Context, *, since: datetime) -> int:
    """Has the calls made anew that Metriport made while nobody took them; gives how many.

    They tell more than the list, whose the message is above all; where they cannot be had, the list still tells. Each
    is asked for once: a call that nobody takes again stays on Metriport's record as it was.

    Raises:
        Temporary: the ledger does not answer.
    """
    found = 0
    try:
        missed = [call async for call in context.mail.calls(since=since) if call.missed]
        for call in missed:
            if await context.ledger.of_call(call.id):
                continue
            at = call.at or context.clock.now()
            if await _made_anew(context, call.id, at=at):
                found += 1
                continue
            # Of a kind of its own, because there is nothing to work on: it is known from now on, and not asked for again.
            refused = Delivery(delivery_id=call.id, kind="not made anew", received_at=at, body=b"{}")
            await context.ledger.keep(refused)
            await context.ledger.done(refused, note="not made anew")
    except (Temporary, Rejected) as error:
        # Metriport's trouble is said elsewhere, and the list still tells.
        _log.info("deliveries.not-made-anew", error=type(error).__name__, detail=str(error))
    if found:
        _log.info("deliveries.missed", made_anew=found)
    return found


async def _ask_around(context: Context, dead: Sequence[Delivery]) -> None:
    """All calls around the oldest dead one; those that are newer than that stay dead, and their turn comes next."""
    tries = max(delivery.tries for delivery in dead)
    # A message that only the list told of may have been sent long before its call was made.
    span = min(_SPAN * 2**tries, _LONGEST_SPAN)
    oldest = min(delivery.received_at for delivery in dead)
    dead = [delivery for delivery in dead if delivery.received_at <= oldest + span]
    try:
        made = await _all_made_anew(context, since=oldest, until=oldest + span, tries=tries + 1)
    except (Temporary, Rejected) as error:
        for delivery in dead:
            await _refused(context, delivery, error)
        return
    _log.info("delivery.asked-around", dead=len(dead), calls=len(made))
    for delivery in dead:
        # A known message is waited for by its name, whatever was made.
        if any(made.values()) and delivery.message is None and delivery.delivery_id not in made:
            await context.ledger.done(delivery, note=_ASKED_AGAIN)
        else:
            await pause(context, delivery, "links-dead")


async def _all_made_anew(
    context: Context, *, since: datetime, until: datetime, tries: int
) -> Mapping[str, bool]:
    """Has the calls made anew that came in here in that time, oldest first; tells of each whether it is, now or before.

    One that was kept here looks after itself: what is done is never asked for again.
    """
    wanted = [
        call
        async for call in context.mail.calls(since=since - _BEFORE)
        if call.at is None or call.at <= until + _BEFORE
    ]
    made = {}
    for call in reversed(wanted):
        known = await context.ledger.of_call(call.id)
        made[call.id] = (
            any(one.call for one in known)
            if known
            else await _made_anew(context, call.id, at=call.at or since, tries=tries)
        )
    return made


async def _refused(context: Context, delivery: Delivery, error: Temporary | Rejected) -> None:
    """The asking itself failed. Metriport's trouble gives nothing up, nor does a key that ended, for a day."""
    young = context.clock.now() - delivery.received_at < _PATIENCE
    if isinstance(error, Temporary) or (error.status in _ACCOUNT and young):
        await later(context, delivery, error)
    else:
        await pause(context, delivery, "refused")
