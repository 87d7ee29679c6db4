"""The shapes in which a message is shown: the SDK's Message, and the documented FHIR Communication.

sdk        a Message, everywhere
docs       a Communication; alone in an answer it stands under `communication`
docs-bare  the same, and the answer to a send is the bare Communication: the documentation has both
"""

from __future__ import annotations

from typing import Any, Final

from adapter.simulators.metriport.answers import instant
from adapter.simulators.metriport.directory import NETWORK_OF
from adapter.simulators.metriport.records import Message

DIALECTS: Final = frozenset({"sdk", "docs", "docs-bare"})
# R4 has no code for what the documentation calls "failed".
FAILED_AS: Final = frozenset({"stopped", "not-done", "entered-in-error", "failed"})
_SOURCE: Final = "https://public.metriport.com/fhir/StructureDefinition/data-source.json"


def sent(message: Message, dialect: str, failed_as: str) -> dict[str, Any]:
    """The answer to a send."""
    if dialect == "docs-bare":
        return communication(message, failed_as)
    return alone(message, dialect, failed_as)


def alone(message: Message, dialect: str, failed_as: str) -> dict[str, Any]:
    """The message as a single answer."""
    one = listed(message, dialect, failed_as)
    return one if dialect == "sdk" else {"communication": one}


def listed(message: Message, dialect: str, failed_as: str) -> dict[str, Any]:
    """The message as one of a list."""
    return sdk_message(message) if dialect == "sdk" else communication(message, failed_as)


def sdk_message(message: Message) -> dict[str, Any]:
    """A Message; empty optionals are left out."""
    direct = "@" in message.destination
    fields = {
        "id": message.id,
        "patientId": message.patient_id,
        "direction": message.direction,
        "status": message.status,
        "transportMethod": "direct" if direct else "xdr",
        "network": None if direct else NETWORK_OF.get(message.destination, "EHEX"),
        "destination": message.destination,
        "subject": message.subject,
        "body": message.body,
        "attachments": message.attachments or None,
        "intendedRecipientNpi": message.npis or None,
        "sentAt": instant(message.sent_at),
        "updatedAt": instant(message.updated_at),
        "reason": message.reason,
    }
    return {name: value for name, value in fields.items() if value is not None}


def communication(message: Message, failed_as: str = "stopped") -> dict[str, Any]:
    """A FHIR Communication."""
    payload: list[dict[str, Any]] = [{"contentString": message.body}] if message.body else []
    payload += [
        {"contentReference": {"reference": f"DocumentReference/{one}"}} for one in message.attachments
    ]
    statuses = {"processing": "in-progress", "completed": "completed", "failed": failed_as}
    fields = {
        "resourceType": "Communication",
        "id": message.id,
        "extension": [{"url": _SOURCE, "valueCoding": {"code": "METRIPORT"}}],
        "status": statuses[message.status],
        "statusReason": {"text": message.reason} if message.reason else None,
        "subject": {"reference": f"Patient/{message.patient_id}"} if message.patient_id else None,
        "topic": {"text": message.subject},
        "sender": {"display": message.sender or "Harbor Family Practice"},
        "recipient": [
            {"type": "Organization", "display": message.destination},
            *({"type": "Practitioner", "display": one} for one in message.npis),
        ],
        "sent": instant(message.sent_at),
        "received": instant(message.updated_at) if message.status == "completed" else None,
        "payload": payload or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
