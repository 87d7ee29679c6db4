"""What the adapter writes on a Communication: its own fields, computed from the present state (design §3, protocol §7)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from adapter.domain.canonical import COMMUNICATION_ID, REASON_SYSTEM
from adapter.domain.mark import Mark, marks_on, newest, with_mark
from adapter.domain.marker import wants_resend, without_resend
from adapter.domain.resource import Resource, codings, items
from adapter.domain.rounds import PREPARATION, STATUS_OF_END, is_our_status
from adapter.domain.transmission import END_OF, State, Transmission

OVERWRITTEN: Final = (
    "An older copy was saved over this Communication while it was under way; the adapter put its fields back."
)


def instant_text(moment: datetime) -> str:
    """A FHIR instant in UTC, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def status_for(transmission: Transmission) -> str | None:
    """The Communication status that the transmission asks for; `None` leaves the author's."""
    if transmission.state is State.SENT and _gave_up(transmission):
        return "stopped"
    return STATUS_OF_END[END_OF.get(transmission.state)]


def _gave_up(transmission: Transmission) -> bool:
    return transmission.due_at is None and transmission.reason is not None


def authors_own(communication: Mapping[str, Any], known: Mark) -> bool:
    """Whether the status is a decision of the author's that the adapter leaves alone."""
    if communication.get("status") == PREPARATION:
        return False
    return not is_our_status(communication, newest([*marks_on(communication), known]) or known)


def overtaken(communication: Mapping[str, Any], transmission: Transmission) -> bool:
    """Whether the Communication already knows more of this round than the transmission does."""
    return any(
        mark.round == transmission.round and mark.progress > transmission.mark.progress
        for mark in marks_on(communication)
    )


def written(communication: Resource, transmission: Transmission) -> Resource:
    """The Communication with the adapter's fields as the transmission now has them; all else as it was.

    The author's own decision on `status` stays, and a later round's status stays: then the mark and the identifier
    are all that is written.
    """
    edited = copy.deepcopy(communication)
    edited["extension"] = with_mark(communication, transmission.mark)
    if any(mark.round > transmission.round for mark in marks_on(communication)):
        return edited
    _set(edited, "identifier", _identifiers(communication, transmission.message))
    if authors_own(communication, transmission.mark):
        return edited
    status = status_for(transmission)
    if status is not None:
        edited["status"] = status
    _set(edited, "statusReason", _status_reason(communication, transmission))
    if transmission.sent_at:
        edited["sent"] = instant_text(transmission.sent_at)
    if transmission.state is State.COMPLETED and transmission.ended_at:
        edited["received"] = instant_text(transmission.ended_at)
    if wants_resend(communication):
        _set(edited, "category", without_resend(communication))
    return edited


def _set(resource: Resource, element: str, value: object) -> None:
    if value:
        resource[element] = value
    else:
        resource.pop(element, None)


def _identifiers(communication: Mapping[str, Any], message: str | None) -> list[Any]:
    found = communication.get("identifier")
    kept = [
        {**entry, "use": "old"} if _is_former(entry, message) else entry
        for entry in (found if isinstance(found, list) else [])
    ]
    if message and not any(_is_message(entry) and entry.get("value") == message for entry in items(kept)):
        kept.append({"system": COMMUNICATION_ID, "value": message})
    return kept


def _is_message(entry: object) -> bool:
    return isinstance(entry, dict) and entry.get("system") == COMMUNICATION_ID


def _is_former(entry: object, message: str | None) -> bool:
    return isinstance(entry, dict) and _is_message(entry) and entry.get("value") != message


def _status_reason(communication: Mapping[str, Any], transmission: Transmission) -> dict[str, Any] | None:
    concept = transmission.reason.concept() if transmission.reason else {}
    sentences = [sentence for sentence in (concept.get("text"), transmission.note) if sentence]
    if sentences:
        return {**concept, "text": " ".join(sentences)}
    present = communication.get("statusReason")
    return present if isinstance(present, dict) and not _is_ours(present) else None


def _is_ours(concept: Mapping[str, Any]) -> bool:
    coded = [coding.get("system") == REASON_SYSTEM for coding in codings(concept)]
    return any(coded) or (not coded and OVERWRITTEN in str(concept.get("text")))


def needs_write(communication: Resource, transmission: Transmission) -> bool:
    """Whether writing would change anything."""
    return written(communication, transmission) != communication
