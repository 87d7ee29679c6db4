"""The storage behind presigned links: takes bytes, gives bytes, and wants no credentials beside the link."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport import links
from adapter.simulators.metriport.answers import Refusal
from adapter.simulators.metriport.records import File
from adapter.simulators.metriport.server import Server

MOST_BYTES: Final = 50_000_000
_CREDENTIALS: Final = ("x-api-key", "authorization")


class StorageRefusal(Refusal):
    """The storage refuses, in its own shape; it is not the API."""

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """The refusal as a storage says it."""
        body = f"<Error><Code>{self.detail}</Code></Error>".encode()
        return Response(
            status=self.status, headers={"content-type": "application/xml", **(headers or {})}, body=body
        )


def receive(server: Server, request: Request, now: datetime, document_id: str) -> Response:
    """`PUT` to a presigned upload link."""
    _admit(request, now)
    document = server.documents.get(document_id)
    if document is None:
        raise StorageRefusal(404, "NoSuchKey")
    if "content-length" not in request.headers or "content-type" not in request.headers:
        raise StorageRefusal(411, "MissingContentLength")
    if len(request.body) > MOST_BYTES:
        raise StorageRefusal(400, "EntityTooLarge")
    document.data = request.body
    document.content_type = request.headers["content-type"]
    return Response(status=200)


def download(server: Server, request: Request, now: datetime, name: str) -> Response:
    """`GET` of a presigned download link."""
    _admit(request, now)
    document = server.documents.get(name)
    file = server.files.get(name)
    if document is not None and document.data is not None:
        file = File(data=document.data, content_type=document.content_type)
    if file is None:
        raise StorageRefusal(404, "NoSuchKey")
    return Response(status=200, headers={"content-type": file.content_type}, body=file.data)


def _admit(request: Request, now: datetime) -> None:
    if any(name in request.headers for name in _CREDENTIALS):
        raise StorageRefusal(400, "OnlyOneAuthMechanismAllowed")
    if not links.is_valid(request.path, dict(request.parameters), now):
        raise StorageRefusal(403, "AccessDenied")
