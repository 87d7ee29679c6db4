"""The control API under `/_simulator`: what a test or a person makes happen, and what happened."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import Refusal, as_json
from adapter.simulators.metriport.checks import json_object, plain
from adapter.simulators.metriport.events import announce
from adapter.simulators.metriport.faults import Fault
from adapter.simulators.metriport.inbound import receive
from adapter.simulators.metriport.messages import end
from adapter.simulators.metriport.records import Message
from adapter.simulators.metriport.server import Server

_REASON: Final = plain(5000)
_MOST_TIMES: Final = 10_000


def complete(server: Server, _request: Request, now: datetime, message_id: str) -> Response:
    """`POST messages/{id}/complete`."""
    end(server, find(server, message_id), now, status="completed")
    return as_json({"id": message_id, "status": "completed"})


def fail(server: Server, request: Request, now: datetime, message_id: str) -> Response:
    """`POST messages/{id}/fail {"reason"}`."""
    stated = json_object(request).get("reason")
    reason = None if stated is None else _REASON("reason", stated)
    message = find(server, message_id)
    end(server, message, now, status="failed", reason=reason or "The recipient refused the message.")
    return as_json({"id": message_id, "status": "failed"})


def find(server: Server, message_id: str) -> Message:
    """The outbound message, or 404."""
    message = server.messages.get(message_id)
    if message is None or message.direction != "outbound":
        raise Refusal(404, f"There is no outbound message {message_id}")
    return message


def inbound(server: Server, request: Request, now: datetime) -> Response:
    """`POST messages/inbound`."""
    message = receive(server, json_object(request), now)
    return as_json({"id": message.id}, status=201)


def messages(server: Server, _request: Request, _now: datetime) -> Response:
    """`GET messages`."""
    return as_json({"messages": [_shown(one) for one in server.messages.values()]})


def _shown(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "direction": message.direction,
        "patientId": message.patient_id,
        "destination": message.destination,
        "subject": message.subject,
        "body": message.body,
        "attachments": message.attachments,
        "status": message.status,
    }


def webhook(server: Server, request: Request, now: datetime) -> Response:
    """`POST webhooks {"type", "patientId"?, "body"?}`."""
    announce(server, json_object(request), now)
    return Response(status=204)


def order_fault(server: Server, request: Request, _now: datetime) -> Response:
    """`POST faults {"method", "path", "fault", "times"}`."""
    body = json_object(request)
    method, path, fault = (body.get(name, usual) for name, usual in _FAULT_FIELDS.items())
    times = body.get("times", 1)
    if not all(isinstance(one, str) for one in (method, path, fault)):
        raise Refusal(400, "method, path and fault must be strings")
    if not isinstance(times, int) or not 1 <= times <= _MOST_TIMES:
        raise Refusal(400, f"times must be 1 to {_MOST_TIMES}")
    server.faults.append(Fault(method=method, path=path, fault=fault, times=times))
    return as_json({"fault": fault, "times": times}, status=201)


_FAULT_FIELDS: Final = {"method": "*", "path": "", "fault": ""}


def clear_faults(server: Server, _request: Request, _now: datetime) -> Response:
    """`DELETE faults`."""
    server.faults.clear()
    return Response(status=204)
