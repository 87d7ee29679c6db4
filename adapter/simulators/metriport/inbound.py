"""Messages that others send in, and the webhook that says so."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from adapter.simulators.metriport.dialects import shown
from adapter.simulators.metriport.records import Document, Message
from adapter.simulators.metriport.server import Server


def receive(server: Server, stated: Mapping[str, Any], now: datetime) -> Message:
    """Takes a message in: `patientId`?, `subject`, `body`?, `from`?, `attachments`?: `title`, `contentType`, `data`."""
    patient_id = stated.get("patientId")
    message = Message(
        id=server.new_id(),
        direction="inbound",
        status="completed",
        sent_at=now,
        updated_at=now,
        patient_id=patient_id,
        destination="referrals@harbor-family.example",
        subject=str(stated.get("subject", "")),
        body=stated.get("body"),
        sender=stated.get("from"),
        attachments=[_store(server, one, patient_id, now) for one in stated.get("attachments", [])],
    )
    server.messages[message.id] = message
    server.webhooks.tell("message.received", lambda at: {"payload": _payload(server, message, at)}, now)
    return message


def _store(server: Server, stated: Mapping[str, Any], patient_id: str | None, now: datetime) -> str:
    title = str(stated.get("title", "attachment"))
    document = Document(
        id=server.new_id(),
        patient_id=patient_id or "",
        announced={"description": title, "type": {"text": title}},
        created_at=now,
        data=base64.b64decode(str(stated.get("data", ""))),
        content_type=str(stated.get("contentType", "application/octet-stream")),
    )
    server.documents[document.id] = document
    return document.id


def _payload(server: Server, message: Message, now: datetime) -> dict[str, Any]:
    patient = server.patients.get(message.patient_id or "", {})
    return {
        "id": message.id,
        "url": server.share(json.dumps(_content(server, message, now)).encode(), now),
        **({"patientId": message.patient_id} if message.patient_id else {}),
        **({"externalId": patient["externalId"]} if patient.get("externalId") else {}),
    }


def _content(server: Server, message: Message, now: datetime) -> dict[str, Any]:
    attachments = [
        {
            "resourceType": "DocumentReference",
            "id": document_id,
            "status": "current",
            "description": server.documents[document_id].announced["description"],
            "content": [
                {
                    "attachment": {
                        "contentType": server.documents[document_id].content_type,
                        "title": server.documents[document_id].announced["description"],
                        "url": server.link(f"/_files/{document_id}", now),
                    }
                }
            ],
        }
        for document_id in message.attachments
    ]
    if server.rules.dialect == "sdk" and not attachments:
        return shown(message, "sdk")
    entries = [shown(message, "docs"), *attachments]
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in entries]}
