"""Messages: send, status, list; and how they end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport import dialects
from adapter.simulators.metriport.answers import Refusal, as_json, instant
from adapter.simulators.metriport.checks import json_object, one_of, send_body
from adapter.simulators.metriport.directory import UNREACHABLE
from adapter.simulators.metriport.paging import page
from adapter.simulators.metriport.records import Message
from adapter.simulators.metriport.server import Server

_DIRECTIONS: Final = frozenset({"outbound", "inbound"})
_STATUSES: Final = frozenset({"processing", "completed", "failed"})


def send(server: Server, request: Request, now: datetime) -> Response:
    """`POST /medical/v1/message?patientId=`."""
    body = send_body(json_object(request))
    patient = server.patient(dict(request.parameters).get("patientId"))
    _consented(server, patient)
    attachments = [_attachment(server, one.lower(), patient["id"]) for one in body.get("attachments", [])]
    message = Message(
        id=server.ids.new(now),
        direction="outbound",
        sent_at=now,
        updated_at=now,
        patient_id=patient["id"],
        destination=body["destination"],
        subject=body["subject"],
        body=body.get("body"),
        attachments=attachments,
        npis=body.get("intendedRecipientNpi", []),
    )
    lag = next((one for one in server.faults if one.fault.startswith("list-lag")), None)
    if lag:
        message.visible_at = now + timedelta(seconds=lag.argument)
    server.messages[message.id] = message
    seconds = server.rules.auto_complete_seconds
    if seconds is not None:
        message.completes_at = now + timedelta(seconds=seconds)
        server.at(message.completes_at, lambda at: deliver(server, message, at))
    return as_json(dialects.sent(message, server.rules.dialect, server.rules.failed_as))


def _consented(server: Server, patient: dict[str, Any]) -> None:
    for field, refused, detail in _CONSENT:
        if patient.get(field) is refused:
            raise Refusal(400, detail)
    if patient["id"] in server.opted_out:
        raise Refusal(400, server.opted_out[patient["id"]])


_CONSENT: Final = (
    ("hieOptOut", True, "Patient has opted out from the networks"),
    ("treatmentRelationship", False, "Patient does not have a treatment relationship"),
)


def _attachment(server: Server, document_id: str, patient_id: str) -> str:
    document = server.documents.get(document_id)
    if document is None or document.patient_id != patient_id or document.data is None:
        raise Refusal(404, f"Could not find document {document_id}")
    return document_id


def deliver(server: Server, message: Message, now: datetime) -> None:
    """What becomes of a message by itself: acknowledged, or failed where the directory says so."""
    if message.status == "processing":
        reason = UNREACHABLE.get(message.destination)
        end(server, message, now, status="failed" if reason else "completed", reason=reason)


def end(server: Server, message: Message, now: datetime, *, status: str, reason: str | None = None) -> None:
    """Ends an outbound message, and tells it by webhook."""
    message.status, message.reason, message.updated_at = status, reason, now
    payload: dict[str, Any] = {
        "id": message.id,
        "patientId": message.patient_id,
        "status": status,
        "sentAt": instant(message.sent_at),
        "completedAt": instant(now),
        **({"reason": reason} if reason else {}),
    }
    server.webhooks.tell("message.status", lambda _: {"payload": payload}, now)


def status(server: Server, _request: Request, _now: datetime, message_id: str) -> Response:
    """`GET /medical/v1/message/{id}`."""
    message = server.messages.get(message_id)
    if message is None:
        raise Refusal(404, f"Could not find message {message_id}")
    return as_json(dialects.alone(message, server.rules.dialect, server.rules.failed_as))


_FILTERS: Final[dict[str, Callable[[Message], str | None]]] = {
    "direction": lambda message: message.direction,
    "patientId": lambda message: message.patient_id,
    "destination": lambda message: message.destination,
    "status": lambda message: message.status,
}


def listing(server: Server, request: Request, now: datetime) -> Response:
    """`GET /medical/v1/message`, newest first."""
    query = dict(request.parameters)
    one_of("direction", query.get("direction"), _DIRECTIONS)
    one_of("status", query.get("status"), _STATUSES)
    found = [
        message
        for message in server.messages.values()
        if (message.visible_at is None or message.visible_at <= now)
        and all(read(message) == query[name] for name, read in _FILTERS.items() if name in query)
    ]
    found = _distorted(server, sorted(found, key=lambda message: message.id, reverse=True))
    messages, meta = page(found, request, base=server.rules.public_url, key=lambda message: message.id)
    if messages and server.fault("list-move"):
        messages, meta = messages[1:], {**meta, "itemsOnPage": len(messages) - 1}
    rules = server.rules
    shown = [dialects.listed(one, rules.dialect, rules.failed_as) for one in messages]
    return as_json({"meta": meta, "messages": shown})


def _distorted(server: Server, found: list[Message]) -> list[Message]:
    if server.fault("list-empty"):
        return []
    if server.fault("list-repeat"):
        return [*found[:1], *found]
    return found
