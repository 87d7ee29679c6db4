"""The control API under `/_simulator`: what a test or a person makes happen, and what happened."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import Refusal, as_json
from adapter.simulators.metriport.checks import json_object
from adapter.simulators.metriport.faults import Fault
from adapter.simulators.metriport.inbound import receive
from adapter.simulators.metriport.messages import end
from adapter.simulators.metriport.records import Message
from adapter.simulators.metriport.server import Server


def complete(server: Server, _request: Request, now: datetime, message_id: str) -> Response:
    """`POST messages/{id}/complete`."""
    end(server, find(server, message_id), now, status="completed")
    return as_json({"id": message_id, "status": "completed"})


def fail(server: Server, request: Request, now: datetime, message_id: str) -> Response:
    """`POST messages/{id}/fail {"reason"}`."""
    reason = str(json_object(request).get("reason") or "The recipient refused the message.")
    end(server, find(server, message_id), now, status="failed", reason=reason)
    return as_json({"id": message_id, "status": "failed"})


def find(server: Server, message_id: str) -> Message:
    """The message, or 404."""
    if message_id not in server.messages:
        raise Refusal(404, f"There is no message {message_id}")
    return server.messages[message_id]


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


def order_fault(server: Server, request: Request, _now: datetime) -> Response:
    """`POST faults {"method", "path", "fault", "times"}`."""
    body = json_object(request)
    fault = Fault(
        method=str(body.get("method", "*")),
        path=str(body.get("path", "")),
        fault=str(body.get("fault", "")),
        times=int(body.get("times", 1)),
    )
    server.faults.append(fault)
    return as_json({"fault": fault.fault, "times": fault.times}, status=201)


def clear_faults(server: Server, _request: Request, _now: datetime) -> Response:
    """`DELETE faults`."""
    server.faults.clear()
    return Response(status=204)
