"""One call that tells of a received message, from its links to the FHIR server: there once, and complete (protocol §8)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from adapter.domain import pauses
from adapter.domain.inbox import lost_message_task, lost_message_task_id
from adapter.domain.received import Received, communication_id
from adapter.domain.resource import version_of
from adapter.domain.tasks import UNDECIDED, closed
from adapter.domain.text import clip
from adapter.errors import AdapterError, ConfigError, Conflict, MappingError, Rejected, Temporary, place
from adapter.pipelines.inbound.context import Context
from adapter.pipelines.inbound.fetch import LinkDead, Unusable, Withheld, content_of
from adapter.pipelines.inbound.whose import whose
from adapter.pipelines.inbound.write import write
from adapter.ports.fhir import Presence
from adapter.ports.ledger import Arrival, ArrivalState, Delivery

_log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = timedelta(seconds=5)
_LONGEST_PAUSE: Final = timedelta(minutes=10)
_LONGEST_OUTAGE_PAUSE: Final = timedelta(minutes=2)
MOST_TRIES: Final = 16  # eight fresh links, each after a longer pause: one to two hours
_ACCESS: Final = frozenset({401, 403})  # every message's trouble, and said elsewhere
_TOLD_AFTER: Final = timedelta(hours=1)
_LONGEST_SECONDS: Final = 600.0  # for all of a message: others wait for its place
_MOST_REASON: Final = 500
_STATE_OF: Final = {Presence.THERE: ArrivalState.WRITTEN, Presence.DELETED: ArrivalState.DELETED}


async def arrive(context: Context, delivery: Delivery) -> bool:
    """Works on the delivery: it is done afterwards, or waits for its next time. `False`: it wants fresh links.

    Raises:
        Temporary: the ledger does not answer.
        ConfigError: the ledger cannot be kept any more.
    """
    try:
        # Asked first, whether its message is known or not: a server that is away costs no links, which live minutes.
        if await _is_there(context, delivery, _known_as(delivery)):
            return True
        async with asyncio.timeout(_LONGEST_SECONDS):
            async with content_of(context, delivery) as received, context.alone_with(received):
                if not await _is_there(context, delivery, received.id):
                    await _write(context, delivery, received)
    except LinkDead as error:
        _log.info("delivery.links-dead", delivery=delivery.delivery_id, detail=str(error))
        return await _wait_for_links(context, delivery, str(error))
    except Unusable as error:
        await give_up(context, delivery, str(error))
    except TimeoutError:
        late = Withheld("Fetching and writing it takes too long; it is tried again later.", applied=False)
        await _later_and_told(context, delivery, late)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001  # one bad message must not stop another
        await _later_and_told(context, delivery, error)
    return True


async def _wait_for_links(context: Context, delivery: Delivery, why: str) -> bool:
    name = _name_of(context, delivery)
    try:
        if name != _known_as(delivery) and await _is_there(context, delivery, name):
            return True
    except (Temporary, Conflict, Rejected) as error:
        await later(context, delivery, error)
        return True
    if not is_fresh(delivery):
        await pause(context, delivery, "links-dead")
        return True
    if delivery.tries < MOST_TRIES:
        return False
    all_of_them = f"neither its links nor those that Metriport made anew bring it ({why.rstrip('.')})"
    await give_up(context, delivery, all_of_them)
    return True


def _known_as(delivery: Delivery) -> str:
    """The message's id, once that is known; before that the call's."""
    return delivery.message or delivery.call or delivery.delivery_id


def _name_of(context: Context, delivery: Delivery) -> str:
    """What a message that cannot be had is called: by its id, else by what the call names, which likely is its id."""
    notice = context.read.notice(delivery.body) if delivery.message is None else None
    return (notice.named if notice else None) or _known_as(delivery)


def is_fresh(delivery: Delivery) -> bool:
    """Whether fresh links are asked for at once: after those died that were asked for, there is a pause each time.

    Only dead links count as tries: however long the FHIR server is away, nothing is given up for it.
    """
    return delivery.tries % 2 == 0


async def _is_there(context: Context, delivery: Delivery, message: str) -> bool:
    """Whether the message was written before; then the delivery is done, and nothing is touched."""
    found = await context.fhir.locate("Communication", communication_id(message))
    state, communication = _STATE_OF.get(found.presence), found.id
    if found.presence is Presence.UNSEEN:
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
    if state is not ArrivalState.HELD:
        for name in {message, _name_of(context, delivery)}:
            await _close_question(context, name)
    await context.ledger.done(delivery, note=state.value, arrival=arrival)


async def _close_question(context: Context, name: str) -> None:
    """A message that was given up may have come after all, by whatever way: nobody has to look for it any more."""
    found = await context.fhir.locate("Task", lost_message_task_id(name))
    task = await context.fhir.read("Task", found.id) if found.presence is Presence.THERE else None
    if task is not None and task.get("status") in UNDECIDED:
        await context.fhir.replace(closed(task), version=str(version_of(task)))


async def give_up(context: Context, delivery: Delivery, why: str) -> None:
    """Asks a person about a message that cannot be had, unless it came by another way; the call is kept as it came."""
    name = _name_of(context, delivery)
    try:
        if await _is_there(context, delivery, name):
            return
        _log.error("delivery.given-up", delivery=delivery.delivery_id, detail=why)
        await _ask(context, delivery, why)
    except (Temporary, Conflict, Rejected) as error:
        await later(context, delivery, error)
        return
    if delivery.message is not None:
        own = communication_id(delivery.message)
        await _done(context, delivery, delivery.message, ArrivalState.HELD, communication=own)
    else:
        await context.ledger.done(delivery, note="given up")


async def _ask(context: Context, delivery: Delivery, why: str) -> None:
    question = lost_message_task(_name_of(context, delivery), why=why, at=delivery.received_at)
    found = await context.fhir.locate("Task", question["id"])
    if found.is_free:
        await context.fhir.create_all([question])


async def later(context: Context, delivery: Delivery, error: Exception) -> None:
    """Puts it off, and says why in the log."""
    kind = type(error).__name__
    if isinstance(error, AdapterError):
        # A neighbour's trouble has a line of its own (`domain.episode`).
        say = _log.debug if isinstance(error, Temporary) else _log.warning
        say("delivery.waits", delivery=delivery.delivery_id, error=kind, detail=str(error))
    else:  # the text may be patient content
        _log.error("delivery.failed", delivery=delivery.delivery_id, error=kind, at=place(error))
    await put_off(context, delivery, error)


async def _later_and_told(context: Context, delivery: Delivery, error: Exception) -> None:
    """It is tried again. A person is told of what is the message's own trouble, and not over soon."""
    if _is_its_own(error) and context.clock.now() - delivery.received_at > _TOLD_AFTER:
        with suppress(Temporary, Conflict, Rejected):
            await _ask(context, delivery, _why_not(error))
    await later(context, delivery, error)


def _is_its_own(error: Exception) -> bool:
    """Whether it is the message's own trouble, not one that a neighbour has with all of them."""
    if isinstance(error, Rejected):
        return error.status not in _ACCESS
    return isinstance(error, Withheld) or not isinstance(error, Temporary | Conflict)


def _why_not(error: Exception) -> str:
    if isinstance(error, Withheld):
        return str(error).rstrip(".")
    if isinstance(error, Rejected):
        said = clip(" ".join(error.issues), _MOST_REASON)
        return f"it is refused with status {error.status}, and tried again ({said})"
    if isinstance(error, MappingError):
        return f"what a mapping makes of it is not valid, and it is tried again ({error})"
    return "of an error in the adapter, and it is tried again"


async def put_off(context: Context, delivery: Delivery, error: Exception, *, tries: int = 0) -> None:
    """Has it worked on later: the older it is, the later, and not before the neighbour wants to be asked.

    Only links that die one after the other count as `tries`.
    """
    now = context.clock.now()
    longest = _LONGEST_OUTAGE_PAUSE if isinstance(error, Temporary) else _LONGEST_PAUSE
    wait = min(max(now - delivery.received_at, _FIRST_PAUSE), longest)
    await context.ledger.later(
        replace(delivery, tries=tries),
        due_at=now + pauses.after(error, wait, now=now),
        note=type(error).__name__,
    )


async def pause(context: Context, delivery: Delivery, note: str) -> None:
    """Has it worked on later: the more often its links were dead, the later."""
    # What only the list told of has no link of its own: it waits for a call, and keeps none from being worked on.
    first = _FIRST_PAUSE if delivery.message is None else _LONGEST_OUTAGE_PAUSE
    wait = min(first * 2 ** min(delivery.tries, 10), _LONGEST_PAUSE)
    tried = replace(delivery, tries=delivery.tries + 1)
    await context.ledger.later(tried, due_at=context.clock.now() + wait, note=note)
