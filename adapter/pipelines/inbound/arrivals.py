"""One call that tells of a received message, from its links to the FHIR server: there once, and complete (protocol §8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from adapter.domain.inbox import lost_message_task
from adapter.domain.received import Received, communication_id
from adapter.errors import AdapterError, Conflict, MappingError, Rejected, Temporary
from adapter.pipelines.inbound.context import Context
from adapter.pipelines.inbound.fetch import LinkDead, Unusable, content_of
from adapter.pipelines.inbound.whose import whose
from adapter.pipelines.inbound.write import write
from adapter.ports.fhir import Presence
from adapter.ports.ledger import Arrival, ArrivalState, Delivery

_log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = timedelta(seconds=5)
_LONGEST_PAUSE: Final = timedelta(minutes=10)
_MOST_TRIES: Final = 16  # eight fresh links, each after a longer pause: about an hour and a half
_BEFORE: Final = timedelta(minutes=5)  # Metriport made a call some time before it came in here
_LONG_BEFORE: Final = timedelta(hours=3)  # and a call made anew is listed under the time of the first
_STATE_OF: Final = {Presence.THERE: ArrivalState.WRITTEN, Presence.DELETED: ArrivalState.DELETED}


async def arrive(context: Context, delivery: Delivery) -> bool:
    """Works on the delivery: it is done afterwards, or waits for its next time. `False`: it wants fresh links.

    Raises:
        Temporary: the ledger does not answer.
        ConfigError: the ledger cannot be kept any more.
    """
    try:
        if delivery.message is not None and await _is_there(context, delivery, delivery.message):
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
    """Whether fresh links are asked for at once: after those died that were asked for, there is a pause each time."""
    return delivery.tries % 2 == 0


async def _is_there(context: Context, delivery: Delivery, message: str) -> bool:
    """Whether the message was written before; then the delivery is done, and nothing is touched."""
    presence = await context.fhir.presence("Communication", communication_id(message))
    if presence is Presence.NEVER:
        return False
    await _done(context, delivery, message, _STATE_OF[presence])
    return True


async def _write(context: Context, delivery: Delivery, received: Received) -> None:
    found = await whose(context, received)
    await write(context, received, found, came_at=delivery.received_at)
    patient = found.patient.id if found.patient else None
    await _done(context, delivery, received.id, ArrivalState.WRITTEN, patient=patient)
    _log.info(
        "message.received",
        message=received.id,
        communication=received.communication,
        attachments=len(received.enclosures),
        matched=found.patient is not None,
    )


async def _done(
    context: Context, delivery: Delivery, message: str, state: ArrivalState, *, patient: str | None = None
) -> None:
    arrival = Arrival(
        message=message,
        communication=communication_id(message),
        state=state,
        at=context.clock.now(),
        patient=patient,
    )
    await context.ledger.done(delivery, note=state.value, arrival=arrival)


async def renew(context: Context, dead: Sequence[Delivery]) -> None:
    """Asks Metriport to make the calls anew whose links are dead. The new ones are worked on like any other.

    Raises:
        Temporary: the ledger does not answer.
    """
    lasting = [delivery for delivery in dead if delivery.tries < _MOST_TRIES]
    for delivery in dead:
        if delivery not in lasting:
            await give_up(context, delivery, "its links are dead, and so were those that Metriport made anew")
    made = await _made_anew(context, lasting) if lasting else 0
    for delivery in lasting:
        if made:
            await context.ledger.done(delivery, note="asked again")
        else:
            await _pause(context, delivery, "links-dead")


async def _made_anew(context: Context, dead: Sequence[Delivery]) -> int:
    tries = max(delivery.tries for delivery in dead) + 1
    since = min(one.received_at - (_LONG_BEFORE if one.tries else _BEFORE) for one in dead)
    made = 0
    try:
        async for raw in context.mail.redelivered(since=since):
            await context.ledger.keep(replace(context.read.delivery(raw, context.clock.now()), tries=tries))
            made += 1
    except (Temporary, Rejected) as error:
        _log.warning("delivery.not-asked-again", error=type(error).__name__, detail=str(error))
        return 0
    _log.info("delivery.asked-again", dead=len(dead), calls=made)
    return made


async def give_up(context: Context, delivery: Delivery, why: str) -> None:
    """Asks a person about a message that cannot be had; the call is kept as it came."""
    _log.error("delivery.given-up", delivery=delivery.delivery_id, detail=why)
    notice = context.read.notice(delivery.body)
    name = delivery.message or (notice.named if notice else None) or delivery.delivery_id
    question = lost_message_task(name, why=why, at=delivery.received_at)
    try:
        if await context.fhir.presence("Task", question["id"]) is Presence.NEVER:
            await context.fhir.put(question)
    except (Temporary, Conflict, Rejected) as error:
        await _later(context, delivery, error)
        return
    if delivery.message is not None:
        await _done(context, delivery, delivery.message, ArrivalState.HELD)
    else:
        await context.ledger.done(delivery, note="given up")


async def _later(context: Context, delivery: Delivery, error: AdapterError) -> None:
    kind = type(error).__name__
    _log.warning("delivery.waits", delivery=delivery.delivery_id, error=kind, detail=str(error))
    await _pause(context, delivery, kind)


async def _pause(context: Context, delivery: Delivery, note: str) -> None:
    pause = min(_FIRST_PAUSE * 2 ** min(delivery.tries, 10), _LONGEST_PAUSE)
    await context.ledger.later(delivery, due_at=context.clock.now() + pause, note=note)
