"""Documents: announced, uploaded by presigned link, listed, downloaded."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import Refusal, as_json, instant
from adapter.simulators.metriport.checks import json_object
from adapter.simulators.metriport.records import Document
from adapter.simulators.metriport.server import UPLOAD_LIFE, Server, is_valid

MOST_BYTES: Final = 50_000_000


def upload(server: Server, request: Request, now: datetime) -> Response:
    """`POST /medical/v1/document/upload?patientId=`: announces a document."""
    patient = server.patient(dict(request.parameters).get("patientId"))
    body = json_object(request)
    if not _at(body, "type", "text"):
        raise Refusal(400, "type.text is required")
    if not body.get("description"):
        raise Refusal(400, "description is required")
    if not _at(body, "context", "period", "start"):
        raise Refusal(400, "context.period.start is required")
    document = Document(id=server.new_id(), patient_id=patient["id"], announced=body, created_at=now)
    server.documents[document.id] = document
    link = server.link(f"/_uploads/{document.id}", now, life=UPLOAD_LIFE)
    return as_json({"documentReferenceId": document.id, "uploadUrl": link})


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def receive(server: Server, request: Request, now: datetime, document_id: str) -> Response:
    """`PUT` to a presigned upload link."""
    _presigned(request, now)
    if "content-length" not in request.headers or "content-type" not in request.headers:
        return Response(status=411)
    if len(request.body) > MOST_BYTES:
        return Response(status=400, body=b"EntityTooLarge")
    document = server.documents[document_id]
    document.data = request.body
    document.content_type = request.headers["content-type"]
    return Response(status=200)


def download(server: Server, request: Request, now: datetime, name: str) -> Response:
    """`GET` of a presigned download link."""
    _presigned(request, now)
    document = server.documents.get(name)
    if document is not None and document.data is not None:
        return Response(status=200, headers={"content-type": document.content_type}, body=document.data)
    if name in server.files:
        return Response(status=200, headers={"content-type": "application/json"}, body=server.files[name])
    raise Refusal(404, "There is no such file")


def _presigned(request: Request, now: datetime) -> None:
    if "x-api-key" in request.headers or "authorization" in request.headers:
        raise Refusal(400, "A presigned link takes no credentials")
    if not is_valid(request.path, dict(request.parameters), now):
        raise _Expired


class _Expired(Refusal):
    def __init__(self) -> None:
        super().__init__(404, "The link has expired")

    def response(self, headers: Any = None) -> Response:
        del headers
        return Response(
            status=403, headers={"content-type": "application/xml"}, body=b"<Error>AccessDenied</Error>"
        )


def listing(server: Server, request: Request, _now: datetime) -> Response:
    """`GET /medical/v1/document?patientId=`."""
    query = dict(request.parameters)
    patient = server.patient(query.get("patientId"))
    found = [
        _reference(one)
        for one in server.documents.values()
        if one.patient_id == patient["id"] and one.data is not None
    ]
    return as_json({"documents": found})


def _reference(document: Document) -> dict[str, Any]:
    return {
        **document.announced,
        "resourceType": "DocumentReference",
        "id": document.id,
        "status": "current",
        "date": instant(document.created_at),
        "subject": {"reference": f"Patient/{document.patient_id}"},
        "content": [
            {
                "attachment": {
                    "title": document.file_name,
                    "contentType": document.content_type,
                    "size": len(document.data or b""),
                }
            }
        ],
    }


def download_url(server: Server, request: Request, now: datetime) -> Response:
    """`GET /medical/v1/document/download-url?fileName=`."""
    name = dict(request.parameters).get("fileName", "")
    document = next((one for one in server.documents.values() if one.file_name == name), None)
    if document is None:
        raise Refusal(404, "Could not find the document")
    return as_json({"url": server.link(f"/_files/{document.id}", now)})
