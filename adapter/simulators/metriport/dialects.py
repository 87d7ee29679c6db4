"""The two shapes in which a message is shown: the SDK's Message, and the documented FHIR Communication."""

from __future__ import annotations

from typing import Any, Final

from adapter.simulators.metriport.answers import instant
from adapter.simulators.metriport.records import Message

_SOURCE: Final = "https://public.metriport.com/fhir/StructureDefinition/data-source.json"
_STATUS: Final = {"processing": "in-progress", "completed": "completed", "failed": "stopped"}


def shown(message: Message, dialect: str) -> dict[str, Any]:
    """The message in the dialect, bare."""
    return _message(message) if dialect == "sdk" else _communication(message)


def wrapped(message: Message, dialect: str) -> dict[str, Any]:
    """The message as a single answer: the documented shape stands under `communication`."""
    one = shown(message, dialect)
    return one if dialect == "sdk" else {"communication": one}


def _message(message: Message) -> dict[str, Any]:
    direct = "@" in message.destination
    fields = {
        "id": message.id,
        "patientId": message.patient_id,
        "direction": message.direction,
        "status": message.status,
        "transportMethod": "direct" if direct else "xdr",
        "network": None if direct else "EHEX",
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


def _communication(message: Message) -> dict[str, Any]:
    payload: list[dict[str, Any]] = [{"contentString": message.body}] if message.body else []
    payload += [
        {"contentReference": {"reference": f"DocumentReference/{one}"}} for one in message.attachments
    ]
    fields = {
        "resourceType": "Communication",
        "id": message.id,
        "extension": [{"url": _SOURCE, "valueCoding": {"code": "METRIPORT"}}],
        "status": _STATUS[message.status],
        "statusReason": {"text": message.reason} if message.reason else None,
        "subject": {"reference": f"Patient/{message.patient_id}"} if message.patient_id else None,
        "topic": {"text": message.subject},
        "sender": {"display": message.sender or "Harbor Family Practice"},
        "recipient": [
            {"type": "Organization", "display": message.destination},
            *({"type": "Practitioner", "display": npi} for npi in message.npis),
        ],
        "sent": instant(message.sent_at),
        "received": instant(message.updated_at) if message.status == "completed" else None,
        "payload": payload,
    }
    return {name: value for name, value in fields.items() if value is not None}
