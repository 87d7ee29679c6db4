"""Documents: announced, listed, and the links to upload and download them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import Refusal, as_json, instant
from adapter.simulators.metriport.checks import is_within, json_object, one_of, period
from adapter.simulators.metriport.records import Document, File
from adapter.simulators.metriport.server import UPLOAD_LIFE, Server

_LEAST_CONTENT: Final = 3
_CONVERTED: Final = {
    "html": "text/html",
    "pdf": "application/pdf",
    "hl7": "x-application/hl7-v2+er7",
}
_REQUIRED: Final = (("type", "text"), ("description",), ("context", "period", "start"))


def upload(server: Server, request: Request, now: datetime) -> Response:
    """`POST /medical/v1/document/upload?patientId=`: announces a document."""
    patient = server.patient(dict(request.parameters).get("patientId"))
    body = json_object(request)
    for path in _REQUIRED:
        if not _at(body, *path):
            raise Refusal(400, f"{'.'.join(path)} is required")
    document = Document(id=server.ids.new(now), patient_id=patient["id"], announced=body, created_at=now)
    server.documents[document.id] = document
    link = server.link(f"/_uploads/{document.id}", now, life=UPLOAD_LIFE)
    return as_json({"documentReferenceId": document.id, "uploadUrl": link})


def _at(value: Any, *path: str) -> str | None:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) and value else None


def listing(server: Server, request: Request, _now: datetime) -> Response:
    """`GET /medical/v1/document?patientId=&dateFrom=&dateTo=&content=&output=`; other parameters are let pass."""
    query = dict(request.parameters)
    patient = server.patient(query.get("patientId"))
    dates = period(query)
    one_of("output", query.get("output"), {"dto"})
    words = query.get("content", "").casefold()
    if words and len(words) < _LEAST_CONTENT:
        raise Refusal(400, f"content must have at least {_LEAST_CONTENT} characters")
    found = [
        one
        for one in server.documents.values()
        if one.patient_id == patient["id"]
        and one.data is not None
        and is_within(instant(one.created_at), dates)
        and words in str(one.announced).casefold()
    ]
    show = flat if query.get("output") == "dto" else reference
    return as_json({"documents": [show(one) for one in found]})


def reference(document: Document) -> dict[str, Any]:
    """The document as a FHIR DocumentReference."""
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


def flat(document: Document) -> dict[str, Any]:
    """The document in the flat form."""
    return {
        "id": document.id,
        "fileName": document.file_name,
        "description": document.announced["description"],
        "status": "current",
        "indexed": instant(document.created_at),
        "mimeType": document.content_type,
        "size": len(document.data or b""),
        "type": {"text": document.announced["type"]["text"]},
    }


def download_url(server: Server, request: Request, now: datetime) -> Response:
    """`GET /medical/v1/document/download-url?fileName=&conversionType=`."""
    query = dict(request.parameters)
    one_of("conversionType", query.get("conversionType"), _CONVERTED)
    if not query.get("fileName"):
        raise Refusal(400, "Missing fileName query param")
    for document in server.documents.values():
        if document.file_name == query["fileName"] and document.data is not None:
            return as_json({"url": _link(server, document, document.data, query.get("conversionType"), now)})
    raise Refusal(404, "Could not find the document")


def _link(server: Server, document: Document, data: bytes, conversion: str | None, now: datetime) -> str:
    if conversion is None:
        return server.link(f"/_files/{document.id}", now)
    # Nothing is converted here; only the type says so.
    return server.share(File(data=data, content_type=_CONVERTED[conversion]), now)
