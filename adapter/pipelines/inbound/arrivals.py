"""One call that tells of a received message, from its links to the FHIR server: there once, and complete (protocol §8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from adapter.domain import pauses
from adapter.domain.inbox import lost_message_task, lost_message_task_id
from adapter.domain.received import Received, communication_id
from adapter.domain.resource import version_of
from adapter.domain.tasks import DECIDED, closed
from adapter.errors import AdapterError, Conflict, MappingError, Rejected, Temporary
from adapter.pipelines.inbound.context import RECEIVED, Context
from adapter.pipelines.inbound.fetch import LinkDead, Unusable, content_of
from adapter.pipelines.inbound.whose import whose
from adapter.pipelines.inbound.write import write
from adapter.ports.fhir import Presence
from adapter.ports.ledger import Arrival, ArrivalState, Delivery

_log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = timedelta(seconds=5)
_LONGEST_PAUSE: Final = timedelta(minutes=10)
_LONGEST_OUTAGE_PAUSE: Final = timedelta(minutes=2)
_MOST_TRIES: Final = 16  # eight fresh links, each after a longer pause: about an hour and a half
_BEFORE: Final = timedelta(minutes=5)  # a call was made some time before it came in here, by another clock
_SPAN: Final = timedelta(hours=1)  # calls from so long around a dead one are asked for together
_LONGEST_SPAN: Final = timedelta(days=1)
_LIVES: Final = timedelta(minutes=2)  # so long at least, a call's own links may bring it yet
_STATE_OF: Final = {Presence.THERE: ArrivalState.WRITTEN, Presence.DELETED: ArrivalState.DELETED}


async def arrive(context: Context, delivery: Delivery) -> bool:
    """Works on the delivery: it is done afterwards, or waits for its next time. `False`: it wants fresh links.

    Raises:
        Temporary: the ledger does not answer.
        ConfigError: the ledger cannot be kept any more.
    """
    try:
        # Asked first, whether its message is known or not: a server that is away costs no links, which live minutes.
        if await _is_there(context, delivery, delivery.message or delivery.delivery_id):
            return True
        async with content_of(context, delivery) as received, context.alone_with(received.id):
            if not await _is_there(context, delivery, received.id):
                await _write(context, delivery, received)
    except LinkDead as error:
        _log.info("delivery.links-dead", delivery=delivery.delivery_id, detail=str(error))
        if _is_fresh(delivery):
            return False
        await _pause(context, delivery, "links-dead")
    except Unusable as error:
        await give_up(context, delivery, str(error))
    except (Temporary, Conflict, Rejected, MappingError) as error:
        await _later(context, delivery, error)
    return True


def _is_fresh(delivery: Delivery) -> bool:
    """Whether fresh links are asked for at once: after those died that were asked for, there is a pause each time.

    Only dead links count as tries: however long the FHIR server is away, nothing is given up for it.
    """
    return delivery.tries % 2 == 0


async def _is_there(context: Context, delivery: Delivery, message: str) -> bool:
    """Whether the message was written before; then the delivery is done, and nothing is touched."""
    place = await context.fhir.locate("Communication", communication_id(message))
    state, communication = _STATE_OF.get(place.presence), place.id
    if place.presence is Presence.UNSEEN:
        before = await context.ledger.arrival(message)
        if before is not None and before.state is not ArrivalState.HELD:
            state, communication = ArrivalState.DELETED, before.communication
    if state is None:
        return False
    await _done(context, delivery, message, state, communication=communication)
    return True


async def _write(context: Context, delivery: Delivery, received: Received) -> None:
    found = await whose(context, received)
    communication = await write(context, received, found, came_at=delivery.received_at)
    patient = found.patient.id if found.patient else None
    await _done(
        context, delivery, received.id, ArrivalState.WRITTEN, communication=communication, patient=patient
    )
    _log.info(
        "message.received",
        message=received.id,
        communication=communication,
        attachments=len(received.enclosures),
        matched=found.patient is not None,
    )


async def _done(
    context: Context,
    delivery: Delivery,
    message: str,
    state: ArrivalState,
    *,
    communication: str,
    patient: str | None = None,
) -> None:
    arrival = Arrival(
        message=message,
        communication=communication,
        state=state,
        at=context.clock.now(),
        patient=patient,
    )
    before = await context.ledger.arrival(message)
    if before and before.state is ArrivalState.HELD and state is not ArrivalState.HELD:
        await _close_question(context, message)
    await context.ledger.done(delivery, note=state.value, arrival=arrival)


async def _close_question(context: Context, message: str) -> None:
    """A message that was given up came after all: nobody has to look for it any more."""
    place = await context.fhir.locate("Task", lost_message_task_id(message))
    task = await context.fhir.read("Task", place.id)
    if task is not None and task.get("status") not in DECIDED:
        await context.fhir.replace(closed(task), version=str(version_of(task)))


async def renew(context: Context, dead: Sequence[Delivery]) -> None:
    """Asks Metriport to make the calls anew whose links are dead. The new ones are worked on like any other.

    All that wait from about the same time are asked for at once: after an outage their links are dead, too.

    Raises:
        Temporary: the ledger does not answer.
    """
    if not dead:
        return
    times = [delivery.received_at for delivery in dead]
    waiting = await context.ledger.unfinished(
        kind=RECEIVED, first=min(times) - _LONGEST_SPAN, last=max(times) + _LONGEST_SPAN
    )
    lasting = []
    for delivery in dead:
        # What is gone was asked for together with another meanwhile, or came again by itself.
        if delivery not in waiting:
            continue
        if delivery.tries < _MOST_TRIES:
            lasting.append(delivery)
        else:
            await give_up(context, delivery, "its links are dead, and so were those that Metriport made anew")
    if lasting:
        await _ask_again(context, lasting, waiting)


async def _ask_again(context: Context, dead: Sequence[Delivery], waiting: Sequence[Delivery]) -> None:
    """All calls around the oldest dead one; those that are newer than that stay dead, and their turn comes next."""
    tries = max(delivery.tries for delivery in dead)
    # A message that only the list told of may have been sent long before its call was made.
    span = min(_SPAN * 2**tries, _LONGEST_SPAN)
    oldest = min(delivery.received_at for delivery in dead)
    until = oldest + span
    dead = [delivery for delivery in dead if delivery.received_at <= until]
    ended = context.clock.now() - _LIVES
    beside = [
        one
        for one in waiting
        if one not in dead and _is_fresh(one) and oldest - span <= one.received_at <= min(until, ended)
    ]
    since = min(delivery.received_at for delivery in [*dead, *beside])
    for delivery in [*dead, *beside]:
        due = context.clock.now() + _LONGEST_OUTAGE_PAUSE
        await context.ledger.later(delivery, due_at=due, note="asking again")
    try:
        made = await _make_anew(context, since=since, until=until, tries=tries + 1)
    except (Temporary, Rejected) as error:
        for delivery in dead:
            await _later(context, delivery, error)
        return
    _log.info("delivery.asked-again", dead=len(dead), beside=len(beside), calls=made)
    for delivery in [*dead, *beside] if made else dead:
        # A known message is waited for by its name, whatever was made.
        if made and delivery.message is None:
            await context.ledger.done(delivery, note="asked again")
        else:
            await _pause(context, delivery, "links-dead")


async def _make_anew(context: Context, *, since: datetime, until: datetime, tries: int) -> int:
    """Has the calls made anew that came in here in that time, oldest first; gives how many were."""
    wanted = [
        call
        async for call in context.mail.calls(since=since - _BEFORE)
        if call.at is None or call.at <= until + _BEFORE
    ]
    made = 0
    for call in reversed(wanted):
        try:
            raw = await context.mail.redeliver(call.id)
        except Rejected as error:
            if not error.issues:
                raise  # the account is refused, not this one call
            continue
        # Should its new links die, too, it is looked for under the time of its first call.
        await context.ledger.keep(replace(context.read.delivery(raw, call.at or since), tries=tries))
        made += 1
    return made


async def give_up(context: Context, delivery: Delivery, why: str) -> None:
    """Asks a person about a message that cannot be had; the call is kept as it came."""
    _log.error("delivery.given-up", delivery=delivery.delivery_id, detail=why)
    notice = context.read.notice(delivery.body)
    name = delivery.message or (notice.named if notice else None) or delivery.delivery_id
    question = lost_message_task(name, why=why, at=delivery.received_at)
    try:
        place = await context.fhir.locate("Task", question["id"])
        if place.presence not in _STATE_OF:
            await context.fhir.create_all([question])
    except (Temporary, Conflict, Rejected) as error:
        await _later(context, delivery, error)
        return
    if delivery.message is not None:
        own = communication_id(delivery.message)
        await _done(context, delivery, delivery.message, ArrivalState.HELD, communication=own)
    else:
        await context.ledger.done(delivery, note="given up")


async def _later(context: Context, delivery: Delivery, error: AdapterError) -> None:
    kind = type(error).__name__
    # A neighbour's trouble has a line of its own (`domain.episode`).
    say = _log.debug if isinstance(error, Temporary) else _log.warning
    say("delivery.waits", delivery=delivery.delivery_id, error=kind, detail=str(error))
    await put_off(context, delivery, error)


async def put_off(context: Context, delivery: Delivery, error: Exception) -> None:
    """Has it worked on later: the older it is, the later, and not before the neighbour wants to be asked."""
    now = context.clock.now()
    longest = _LONGEST_OUTAGE_PAUSE if isinstance(error, Temporary) else _LONGEST_PAUSE
    pause = min(max(now - delivery.received_at, _FIRST_PAUSE), longest)
    alive = replace(delivery, tries=0)  # only links that die one after the other count
    await context.ledger.later(
        alive, due_at=now + pauses.after(error, pause, now=now), note=type(error).__name__
    )


async def _pause(context: Context, delivery: Delivery, note: str) -> None:
    pause = min(_FIRST_PAUSE * 2 ** min(delivery.tries, 10), _LONGEST_PAUSE)
    tried = replace(delivery, tries=delivery.tries + 1)
    await context.ledger.later(tried, due_at=context.clock.now() + pause, note=note)
