"""What others sent from the account is shown on the FHIR server, where the site wants that (protocol §8).

Nothing of it may be a message of ours whose answer got lost: it has to be older than such an outcome takes to settle,
nobody's round may have its id, and while any outcome of its patient is open, nothing is shown.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import structlog

from adapter.domain.canonical import COMMUNICATION_ID, DIRECTION_SYSTEM
from adapter.domain.elsewhere import elsewhere_id, shown, told
from adapter.domain.inbox import recipient_practitioner
from adapter.domain.marker import SENT_ELSEWHERE, is_sent_elsewhere
from adapter.domain.message import Message, MessageState
from adapter.domain.received import Received
from adapter.domain.resource import Resource, identifiers, version_of
from adapter.domain.rounds import IN_PROGRESS
from adapter.domain.transmission import IN_FLIGHT, State
from adapter.errors import Conflict, Rejected
from adapter.pipelines.each import each, over
from adapter.pipelines.inbound.context import Context
from adapter.pipelines.inbound.whose import practitioner, whose
from adapter.ports.ledger import Arrival, ArrivalState
from adapter.ports.mail import Direction, Listed

_log = structlog.get_logger(__name__)

_OPEN: Final = IN_FLIGHT | {State.UNKNOWN}
_MARKED: Final = ("category", f"{DIRECTION_SYSTEM}|{SENT_ELSEWHERE}")


async def show_sent(context: Context, *, since: datetime) -> int:
    """Shows what is listed and was sent by others; gives how many were new.

    Only once every mark on the FHIR server was compared with the ledger: what is not there yet cannot be told apart.

    Raises:
        Temporary, Rejected: a neighbour or the ledger does not answer.
    """
    settled = context.clock.now() - context.policy.settle

    async def show(listed: Listed) -> bool:
        message = listed.message
        if message.sent_at is None or message.sent_at > settled or await _is_known(context, message):
            return False
        await _show(context, message)
        return True

    sent = context.mail.list_messages(Direction.OUTBOUND, since=since)
    new = await each(sent, show, doing="sent elsewhere")
    if new:
        _log.info("messages.sent-elsewhere", new=new)
    return new


async def follow_sent(context: Context) -> None:
    """Writes how far those got that were still on their way. Raises as `show_sent`."""
    parameters = [_MARKED, ("status", IN_PROGRESS)]

    async def follow(communication: Resource) -> bool:
        for id in identifiers(communication, COMMUNICATION_ID)[:1]:
            message = await context.mail.message(id)
            if message is not None and message.state is not MessageState.PROCESSING:
                await _tell(context, communication, message)
        return True

    found = [one async for one in context.fhir.search("Communication", parameters)]
    await each(over(found), follow, doing="sent elsewhere")


async def _is_known(context: Context, message: Message) -> bool:
    if await context.ledger.arrival(message.id) is not None:
        return True
    # The rows first: one that gets its id after this look is still seen here as open.
    rows = await context.ledger.in_states(_OPEN)
    if any(row.patient in {None, message.patient} for row in rows):
        return True
    if await context.ledger.by_message(message.id) is not None:
        return True
    asked = [("identifier", f"{COMMUNICATION_ID}|{message.id}")]
    return any([not is_sent_elsewhere(one) async for one in context.fhir.search("Communication", asked)])


async def _show(context: Context, message: Message) -> None:
    place = await context.fhir.locate("Communication", elsewhere_id(message.id))
    communication = place.id
    if place.is_free:
        told_of = Received(id=message.id, patient=message.patient)
        patient = (await whose(context, told_of)).patient
        people = [recipient_practitioner(npi, await practitioner(context, npi)) for npi in message.npis]
        [communication] = await context.fhir.create_all(
            [shown(message, patient=patient, practitioners=people)]
        )
    await context.ledger.record(
        Arrival(
            message=message.id,
            communication=communication,
            state=ArrivalState.SENT_ELSEWHERE,
            at=context.clock.now(),
        )
    )


async def _tell(context: Context, communication: Resource, message: Message) -> None:
    try:
        await context.fhir.replace(told(communication, message), version=version_of(communication) or "")
    except (Conflict, Rejected) as error:
        _log.warning("message.waits", communication=communication["id"], error=type(error).__name__)
