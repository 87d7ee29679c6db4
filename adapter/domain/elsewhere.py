"""A message that others sent from the account, not this adapter: shown on the FHIR server, and never a wish (design §3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapter.domain.canonical import COMMUNICATION_ID, DIRECTION_SYSTEM, DOCUMENT_ID, own_id
from adapter.domain.inbox import Reference, concept, organization
from adapter.domain.marker import SENT_ELSEWHERE
from adapter.domain.message import Message, MessageState
from adapter.domain.resource import LocalReference, Resource
from adapter.domain.writeback import instant_text

RETRACTED: Final = "entered-in-error"
_STATUS: Final = {
    MessageState.PROCESSING: "in-progress",
    MessageState.COMPLETED: "completed",
    MessageState.FAILED: "stopped",
}


def elsewhere_id(message: str) -> str:
    """The id of the Communication that shows it."""
    return own_id(SENT_ELSEWHERE, message)


def shown(
    message: Message, *, patient: LocalReference | None, practitioners: Sequence[Reference] = ()
) -> Resource:
    """The Communication. It carries no marker, so nothing of it is ever sent."""
    ours = organization(message.destination)
    texts = [{"contentString": message.body}] if message.body else []
    documents = [
        {
            "contentReference": {
                "type": "DocumentReference",
                "identifier": {"system": DOCUMENT_ID, "value": document},
            }
        }
        for document in sorted(message.attachments)
    ]
    made = {
        "resourceType": "Communication",
        "id": elsewhere_id(message.id),
        "identifier": [{"system": COMMUNICATION_ID, "value": message.id}],
        "category": [concept(DIRECTION_SYSTEM, SENT_ELSEWHERE)],
        "subject": {"reference": str(patient)} if patient else None,
        "topic": {"text": message.subject} if message.subject else None,
        "sent": instant_text(message.sent_at) if message.sent_at else None,
        "recipient": [*([ours] if ours else []), *practitioners],
        "payload": [*texts, *documents],
    }
    return {name: value for name, value in told(made, message).items() if value}


def told(communication: Mapping[str, Any], message: Message) -> Resource:
    """The Communication with how far the message got."""
    failed = message.state is MessageState.FAILED
    why = f'Metriport could not deliver it: "{message.detail or "no reason was given"}".'
    ended = message.completed_at if message.state is MessageState.COMPLETED else None
    return {
        **communication,
        "status": _STATUS[message.state],
        **({"statusReason": {"text": why}} if failed else {}),
        **({"received": instant_text(ended)} if ended else {}),
    }
