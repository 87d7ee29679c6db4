"""When a reading of Metriport's list says anything: it is whole, and has every message that is known (protocol §6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from adapter.domain.mark import marks_on
from adapter.domain.resource import Resource, local_reference, obj
from adapter.domain.transmission import Transmission
from adapter.pipelines.outbound.context import Context
from adapter.ports.metriport import Listing

_MOST_ASKED: Final = 20


@dataclass(frozen=True, kw_only=True)
class Known:
    """What was read after the list: the ledger's rows of Metriport's patient, the Communications in question."""

    patient: str
    rows: Sequence[Transmission]
    communications: Sequence[Resource]


async def is_evidence(context: Context, listing: Listing, known: Known, *, before: datetime) -> bool:
    """Whether the list is whole and lacks nothing that was sent `before`.

    The ledger may be young. Then the patient's other Communications tell what was sent.

    Raises:
        Temporary, Rejected: a neighbour could not answer.
    """
    listed = {message.id for message in listing.messages}
    recorded = {row.message for row in known.rows if row.message and (row.sent_at or row.opened_at) <= before}
    marked = {message for communication in known.communications for message in _messages(communication)}
    if not (listing.whole and recorded | marked <= listed):
        return False
    shown = {message for one in await _others(context, known) for message in _messages(one)}
    # Of a patient who was linked to another one there may be many that belong on another list.
    for message in islice(sorted(shown - listed, reverse=True), _MOST_ASKED):
        if await _belongs_there(context, message, known.patient, before=before):
            return False
    return True


def _messages(communication: Resource) -> list[str]:
    own = str(communication.get("id"))
    return [mark.message for mark in marks_on(communication) if mark.message and mark.fits(own)]


async def _others(context: Context, known: Known) -> list[Resource]:
    """The marked Communications of the same local Patients, as far as the server finds them."""
    subjects = [obj(one.get("subject")).get("reference") for one in known.communications]
    references = {local_reference(one, base_url=context.fhir.base_url) for one in subjects} - {None}
    found: list[Resource] = []
    for reference in sorted(map(str, references)):
        parameters = [("subject", reference), context.policy.marker.parameter]
        found += [one async for one in context.fhir.search("Communication", parameters)]
    return found


async def _belongs_there(context: Context, message_id: str, patient: str, *, before: datetime) -> bool:
    """Whether Metriport has it for that patient, for so long that its list has to show it."""
    message = await context.messages.message(message_id)
    if message is None or message.patient not in {None, patient}:
        return False
    return message.sent_at is None or message.sent_at <= before
