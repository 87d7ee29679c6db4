"""Messages that others send in, and the webhook that says so.

What exactly stands behind the webhook's link is not documented, so it can be chosen:
`content`      bundle (Communication, DocumentReferences), communication, or message (the SDK's shape)
`attachmentsAs` link (each by a presigned link of its own), or inside (the bytes in what is linked)
`urlKey`       the key of the link in the payload
Without a choice it is a Message in the SDK's dialect when there are no attachments, else a Bundle.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from adapter.simulators.metriport.answers import Refusal
from adapter.simulators.metriport.checks import one_of
from adapter.simulators.metriport.dialects import communication, sdk_message
from adapter.simulators.metriport.records import Document, File, Message
from adapter.simulators.metriport.server import Server

MAILBOX: Final = "referrals@harbor-family.example"
_CONTENTS: Final = frozenset({"bundle", "communication", "message"})
_ATTACHMENTS: Final = frozenset({"link", "inside"})
_URL_KEYS: Final = frozenset({"url", "bundleUrl", "downloadUrl", "messageUrl"})
_TYPE: Final = re.compile(r"[!-~]+/[ -~]+")
_KNOWN: Final = {
    "patientId", "subject", "body", "from", "attachments", "destination", "intendedRecipientNpi", "content",
    "attachmentsAs", "urlKey", "externalId",
}  # fmt: skip


def receive(server: Server, stated: Mapping[str, Any], now: datetime) -> Message:
    """Takes a message in: `patientId`?, `subject`, `body`?, `from`?, `attachments`?: `title`, `contentType`, `data`.

    Also `destination`?, `intendedRecipientNpi`?, `externalId`? (told without `patientId`), and the choices above.
    """
    if not set(stated) <= _KNOWN:
        raise Refusal(400, "Unrecognized key(s) in object")
    one_of("content", stated.get("content"), _CONTENTS)
    one_of("attachmentsAs", stated.get("attachmentsAs"), _ATTACHMENTS)
    one_of("urlKey", stated.get("urlKey"), _URL_KEYS)
    patient_id = _text(stated, "patientId")
    if patient_id is not None:
        server.patient(patient_id)
    documents = [_document(one) for one in _list(stated, "attachments")]
    owner = patient_id or server.known_as(_text(stated, "externalId"))
    message = Message(
        id=server.ids.new(now),
        direction="inbound",
        status="completed",
        sent_at=now,
        updated_at=now,
        patient_id=patient_id,
        destination=_text(stated, "destination") or MAILBOX,
        subject=_text(stated, "subject") or "",
        body=_text(stated, "body"),
        sender=_text(stated, "from"),
        npis=[str(one) for one in _list(stated, "intendedRecipientNpi")],
        attachments=[_store(server, one, owner, now) for one in documents],
    )
    server.messages[message.id] = message
    choices = dict(stated)
    server.webhooks.tell(
        "message.received", lambda at: {"payload": _payload(server, message, choices, at)}, now
    )
    return message


def _text(stated: Mapping[str, Any], name: str) -> str | None:
    value = stated.get(name)
    if value is not None and not isinstance(value, str):
        raise Refusal(400, f"{name} must be a string")
    return value


def _list(stated: Mapping[str, Any], name: str) -> list[Any]:
    value = stated.get(name, [])
    if not isinstance(value, list):
        raise Refusal(400, f"{name} must be a list")
    return value


def _document(stated: Any) -> dict[str, Any]:
    if not isinstance(stated, Mapping):
        raise Refusal(400, "an attachment must be an object")
    content_type = _text(stated, "contentType") or "application/octet-stream"
    if not _TYPE.fullmatch(content_type):
        raise Refusal(400, "contentType must be a media type")
    try:
        data = base64.b64decode(_text(stated, "data") or "", validate=True)
    except ValueError:
        raise Refusal(400, "data must be base64") from None
    title = _text(stated, "title") or "attachment"
    announced = {"description": title, "type": {"text": title}}
    return {"announced": announced, "content_type": content_type, "data": data}


def _store(server: Server, stated: dict[str, Any], patient_id: str | None, now: datetime) -> str:
    document = Document(id=server.ids.new(now), patient_id=patient_id or "", created_at=now, **stated)
    server.documents[document.id] = document
    return document.id


def _payload(server: Server, message: Message, choices: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    sdk = server.rules.dialect == "sdk" and not message.attachments
    content = choices.get("content") or ("message" if sdk else "bundle")
    inside = choices.get("attachmentsAs") == "inside"
    shape = _SHAPES[content](server, message, inside, now)
    return {
        "id": message.id,
        str(choices.get("urlKey") or "url"): server.share(File(data=json.dumps(shape).encode()), now),
        **(server.about(message.patient_id) if message.patient_id else {}),
        **({"externalId": choices["externalId"]} if choices.get("externalId") else {}),
    }


def _attachment(server: Server, document: Document, now: datetime) -> dict[str, Any]:
    """A FHIR Attachment, with a presigned link."""
    return {
        "contentType": document.content_type,
        "title": document.announced["description"],
        "size": len(document.data or b""),
        "hash": base64.b64encode(hashlib.sha1(document.data or b"", usedforsecurity=False).digest()).decode(),
        "url": server.link(f"/_files/{document.id}", now),
    }


def _data(document: Document) -> str:
    return base64.b64encode(document.data or b"").decode()


def _bundle(server: Server, message: Message, inside: bool, now: datetime) -> dict[str, Any]:  # noqa: FBT001  # a row's shape
    resources = [communication(message)]
    for document_id in message.attachments:
        document = server.documents[document_id]
        attachment = _attachment(server, document, now)
        if inside:
            attachment["url"] = f"Binary/{document_id}"
            resources.append(
                {
                    "resourceType": "Binary",
                    "id": document_id,
                    "contentType": document.content_type,
                    "data": _data(document),
                }
            )
        resources.append(
            {
                "resourceType": "DocumentReference",
                "id": document_id,
                "status": "current",
                "description": document.announced["description"],
                "content": [{"attachment": attachment}],
            }
        )
    entries = [{"resource": one} for one in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def _communication(server: Server, message: Message, inside: bool, now: datetime) -> dict[str, Any]:  # noqa: FBT001  # a row's shape
    payload: list[dict[str, Any]] = [{"contentString": message.body}] if message.body else []
    for document_id in message.attachments:
        document = server.documents[document_id]
        attachment = _attachment(server, document, now)
        if inside:
            del attachment["url"]
            attachment["data"] = _data(document)
        payload.append({"contentAttachment": attachment})
    return {**communication(message), "payload": payload}


def _message(_server: Server, message: Message, _inside: bool, _now: datetime) -> dict[str, Any]:  # noqa: FBT001  # a row's shape
    return sdk_message(message)


_SHAPES: Final = {"bundle": _bundle, "communication": _communication, "message": _message}
