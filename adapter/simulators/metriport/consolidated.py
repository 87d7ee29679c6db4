"""Consolidated data: a query, and the webhook with a short-lived link to the Bundle."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import REQUEST_ID, Refusal, as_json, instant
from adapter.simulators.metriport.checks import is_within, json_object, metadata, one_of, period
from adapter.simulators.metriport.dialects import communication
from adapter.simulators.metriport.documents import reference
from adapter.simulators.metriport.examples import EXAMPLES
from adapter.simulators.metriport.records import File
from adapter.simulators.metriport.server import Server

_SECONDS: Final = 1.0
_MOST_BYTES: Final = 1_000_000
_MOST_RESOURCES: Final = 50
_TYPES: Final = {"json": "application/json", "html": "text/html", "pdf": "application/pdf"}
_RESOURCES: Final = re.compile("[A-Z][A-Za-z]{1,60}(,[A-Z][A-Za-z]{1,60})*")
_DATES: Final = ("sent", "date", "recordedDate", "effectiveDateTime")


def filters(request: Request) -> dict[str, str]:
    """`resources`, `dateFrom`, `dateTo`, as far as given."""
    query = dict(request.parameters)
    resources = query.get("resources")
    if resources is not None and not _RESOURCES.fullmatch(resources):
        raise Refusal(400, "resources must be names of FHIR resources, separated by commas")
    return {**({"resources": resources} if resources else {}), **period(query)}


def start(server: Server, request: Request, now: datetime, patient_id: str) -> Response:
    """`POST /medical/v1/patient/{id}/consolidated/query`: a query that equals a running one is folded into it."""
    server.patient(patient_id)
    echo = metadata(json_object(request))
    conversion = dict(request.parameters).get("conversionType", "json")
    one_of("conversionType", conversion, _TYPES)
    asked = {**filters(request), "conversionType": conversion}
    queries = server.queries.setdefault(patient_id, [])
    for running in queries:
        if running["status"] == "processing" and running["asked"] == asked:
            return _started(running)
    query = {
        "requestId": server.ids.new(now),
        "status": "processing",
        "startedAt": instant(now),
        "asked": asked,
        "echo": echo,
    }
    queries.append(query)
    server.at(now + timedelta(seconds=_SECONDS), lambda at: _finish(server, patient_id, query, at))
    return _started(query)


def _started(query: Mapping[str, Any]) -> Response:
    return as_json(_shown(query), headers={REQUEST_ID: query["requestId"]})


def _shown(query: Mapping[str, Any]) -> dict[str, Any]:
    asked = query["asked"]
    resources = {"resources": asked["resources"].split(",")} if "resources" in asked else {}
    return {
        **{name: query[name] for name in ("requestId", "status", "startedAt")},
        **asked,
        **resources,
    }


def _finish(server: Server, patient_id: str, query: dict[str, Any], now: datetime) -> None:
    query["status"] = "completed"
    tell(server, patient_id, query["asked"], now, requestId=query["requestId"], data=query["echo"])


def tell(server: Server, patient_id: str, asked: dict[str, str], now: datetime, **meta: Any) -> None:
    """Has the webhook `medical.consolidated-data` called."""

    def body(at: datetime) -> dict[str, Any]:
        entry = {**server.about(patient_id), "status": "completed", "filters": asked}
        return {"patients": [{**entry, "bundle": _linked(server, patient_id, asked, at)}]}

    server.webhooks.tell("medical.consolidated-data", body, now, **meta)


def _linked(server: Server, patient_id: str, asked: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """A Bundle with the links; an empty one when there is no data."""
    found = bundle(server, patient_id, asked)
    if not found["entry"]:
        return found
    raw = json.dumps(found).encode()
    shares = (
        File(data=raw, content_type=_TYPES[asked["conversionType"]]),
        File(data=gzip.compress(raw, mtime=0), content_type="application/gzip"),
    )
    content = [
        {"attachment": {"contentType": one.content_type, "url": server.share(one, now)}} for one in shares
    ]
    resource = {"resourceType": "DocumentReference", "status": "current", "content": content}
    return _collection([resource])


def bundle(server: Server, patient_id: str, asked: Mapping[str, str]) -> dict[str, Any]:
    """All that is known of a patient: messages with their documents, examples, and what was contributed."""
    messages = [one for one in server.messages.values() if one.patient_id == patient_id]
    documents = [server.documents[name] for one in messages for name in one.attachments]
    found = [
        *EXAMPLES.get(patient_id, ()),
        *(communication(one) for one in messages),
        *(reference(one) for one in documents),
        *server.contributed.get(patient_id, []),
    ]
    return _collection([one for one in found if _is_asked_for(one, asked)])


def _is_asked_for(resource: Mapping[str, Any], asked: Mapping[str, str]) -> bool:
    if "resources" in asked and resource["resourceType"] not in asked["resources"].split(","):
        return False
    return all(is_within(str(resource[name]), asked) for name in _DATES if name in resource)


def _collection(resources: list[dict[str, Any]]) -> dict[str, Any]:
    entries = [{"resource": one} for one in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def listing(server: Server, _request: Request, _now: datetime, patient_id: str) -> Response:
    """`GET /medical/v1/patient/{id}/consolidated/query`."""
    server.patient(patient_id)
    queries = [_shown(one) for one in server.queries.get(patient_id, [])]
    if not queries:
        return as_json({"status": "completed", "queries": None, "message": "No query was started yet."})
    running = any(one["status"] == "processing" for one in queries)
    return as_json({"status": "processing" if running else "completed", "queries": queries})


def one(server: Server, _request: Request, _now: datetime, patient_id: str, request_id: str) -> Response:
    """`GET /medical/v1/patient/{id}/consolidated/query/{requestId}`."""
    server.patient(patient_id)
    for query in server.queries.get(patient_id, []):
        if query["requestId"] == request_id:
            return as_json(_shown(query))
    raise Refusal(404, f"Could not find query {request_id}")


def count(server: Server, request: Request, _now: datetime, patient_id: str) -> Response:
    """`GET /medical/v1/patient/{id}/consolidated/count?resources=&dateFrom=&dateTo=`."""
    server.patient(patient_id)
    asked = filters(request)
    kinds = Counter(one["resource"]["resourceType"] for one in bundle(server, patient_id, asked)["entry"])
    return as_json({"total": kinds.total(), "resources": kinds, "filter": {"resources": "all", **asked}})


def contribute(server: Server, request: Request, now: datetime, patient_id: str) -> Response:
    """`PUT /medical/v1/patient/{id}/consolidated`: a collection of at most 1 MB and 50 resources."""
    server.patient(patient_id)
    body = json_object(request)
    if len(request.body) > _MOST_BYTES:
        raise Refusal(400, "The bundle has more than 1 MB")
    entries = body.get("entry")
    if (
        body.get("resourceType") != "Bundle"
        or body.get("type") != "collection"
        or not isinstance(entries, list)
    ):
        raise Refusal(400, "A Bundle of type collection is required")
    if len(entries) > _MOST_RESOURCES:
        raise Refusal(400, f"The bundle has more than {_MOST_RESOURCES} resources")
    resources = [_resource(entry) for entry in entries]
    server.contributed.setdefault(patient_id, []).extend(resources)
    made = [{"response": {"status": "201 Created"}} for _ in resources]
    answer = {"resourceType": "Bundle", "type": "transaction-response", "entry": made}
    return as_json(answer, headers={REQUEST_ID: server.ids.new(now)})


def _resource(entry: Any) -> dict[str, Any]:
    resource = entry.get("resource") if isinstance(entry, dict) else None
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        raise Refusal(400, "Each entry needs a resource with a resourceType")
    return resource
