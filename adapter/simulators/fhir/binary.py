"""Binary in its own content type and as a resource. https://hl7.org/fhir/R4/binary.html#rest"""

from __future__ import annotations

from base64 import b64decode, b64encode

from adapter.simulators.fhir.outcome import Resource
from adapter.simulators.fhir.wire import media_type
from adapter.simulators.http import Request, Response

_FHIR_JSON = "application/fhir+json"
_INLINE_BYTES = 10 * 1024 * 1024
_APART = "http://hapifhir.io/fhir/StructureDefinition/externalized-binary-id"


def is_resource(request: Request) -> bool:
    """Whether a body is a Binary resource rather than its bytes."""
    return media_type(request.headers.get("content-type", "")) == _FHIR_JSON


def wants_raw(request: Request) -> bool:
    """Whether the bytes are to be answered: as asked for, else in the form in which they came."""
    accepted = request.headers.get("accept", "")
    if _FHIR_JSON in accepted:
        return False
    return request.method == "GET" or not is_resource(request)


def from_raw(id_: str, request: Request) -> Resource:
    """The resource around a body's bytes."""
    resource: Resource = {
        "resourceType": "Binary",
        "id": id_,
        "contentType": request.headers.get("content-type", "application/octet-stream"),
    }
    if context := request.headers.get("x-security-context"):
        resource["securityContext"] = {"reference": context}
    if request.body:
        resource["data"] = b64encode(request.body).decode()
    return resource


def shown(resource: Resource, *, apart: bool) -> Resource:
    """The resource as it is read. HAPI's binary storage keeps bytes `apart`, and puts no more than 10 MB back in."""
    if not apart or len(resource.get("data", "")) * 3 // 4 <= _INLINE_BYTES:
        return resource
    kept = {name: value for name, value in resource.items() if name != "data"}
    return {**kept, "_data": {"extension": [{"url": _APART, "valueString": resource["id"]}]}}


def security_headers(resource: Resource) -> dict[str, str]:
    """The header in which a raw answer names whose it is."""
    context = resource.get("securityContext", {}).get("reference")
    return {"X-Security-Context": context} if context else {}


def raw_answer(status: int, resource: Resource, headers: dict[str, str]) -> Response:
    """The bytes, with the bare media type; HAPI leaves out when they were last modified."""
    kept = {name: value for name, value in headers.items() if name != "Last-Modified"}
    return Response(
        status=status,
        headers={
            **kept,
            "Content-Disposition": "Attachment;",
            "Content-Type": media_type(resource["contentType"]),
        },
        body=b64decode(resource["data"]),
    )
