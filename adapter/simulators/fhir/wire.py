"""JSON as FHIR wants it (a number keeps its text), and the headers that HAPI puts on an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import simplejson

from adapter.simulators.fhir.outcome import Refused, Resource, outcome
from adapter.simulators.http import Response

JSON = "application/fhir+json;charset=UTF-8"
_JSON_TYPES = {"application/fhir+json", "application/json", "text/json"}


def dumps(value: Any) -> bytes:
    """The JSON bytes of a resource; 1.50 stays 1.50. https://hl7.org/fhir/R4/json.html#primitive"""
    text: str = simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode()


def loads(body: bytes, expected: str) -> Resource:
    """The resource in a request's body.

    Raises:
        Refused: it is no JSON object, or not of the expected type.
    """
    try:
        resource = simplejson.loads(body.decode(), use_decimal=True)
    except ValueError as error:
        raise Refused(400, f"The request body is not JSON: {error}") from None
    found = resource.get("resourceType") if isinstance(resource, dict) else None
    if not isinstance(resource, dict) or found != expected:
        raise Refused(400, f"The request body has resourceType {found}, but {expected} was expected")
    return resource


def media_type(header: str) -> str:
    """The media type without its parameters, lower case."""
    return header.partition(";")[0].strip().lower()


def require_json(headers: Mapping[str, str]) -> None:
    """Refuses a body that does not say it is FHIR JSON."""
    given = headers.get("content-type", "")
    if media_type(given) not in _JSON_TYPES:
        raise Refused(400, f"Content-Type is {given!r}, but a FHIR content type was expected")


def instant(at: datetime) -> str:
    """A FHIR instant with milliseconds and offset."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def http_date(at: datetime) -> str:
    """The value of a Last-Modified header. https://www.rfc-editor.org/rfc/rfc9110#field.date"""
    return format_datetime(at.astimezone(UTC), usegmt=True)


def answer(status: int, resource: Resource, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a resource in it."""
    return Response(status=status, headers={"Content-Type": JSON, **(headers or {})}, body=dumps(resource))


def refusal(refused: Refused) -> Response:
    """The answer to what was refused."""
    return answer(refused.status, outcome(refused.sentence), refused.headers)


def without_newer(response: Response, since: str) -> Response:
    """The answer to a search, without a total, as it was before what was written after that instant."""
    found = simplejson.loads(response.body, use_decimal=True)
    if found.get("type") != "searchset":
        return response
    entries = found.pop("entry", [])
    shown = [entry for entry in entries if entry["resource"].get("meta", {}).get("lastUpdated", "") <= since]
    found.pop("total", None)
    return replace(response, body=dumps({**found, **({"entry": shown} if shown else {})}))
