"""Consolidated data: a query, and the webhook with a short-lived link to the Bundle."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timedelta
from typing import Any, Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import Refusal, as_json, instant
from adapter.simulators.metriport.checks import json_object
from adapter.simulators.metriport.dialects import shown
from adapter.simulators.metriport.server import Server

_SECONDS: Final = 1.0
_MOST_BYTES: Final = 1_000_000


def start(server: Server, request: Request, now: datetime, patient_id: str) -> Response:
    """`POST /medical/v1/patient/{id}/consolidated/query`."""
    server.limits.count("query", now)
    server.patient(patient_id)
    metadata = json_object(request).get("metadata", {})
    asked = {name: value for name, value in request.parameters if name in {"resources", "dateFrom", "dateTo"}}
    queries = server.queries.setdefault(patient_id, [])
    for running in queries:
        if running["status"] == "processing" and running["asked"] == asked:
            return as_json(_shown(running))
    query = {"requestId": server.new_id(), "status": "processing", "startedAt": instant(now), "asked": asked}
    queries.append(query)
    server.at(now + timedelta(seconds=_SECONDS), lambda at: _finish(server, patient_id, query, metadata, at))
    return as_json(_shown(query))


def _shown(query: dict[str, Any]) -> dict[str, Any]:
    asked = query["asked"]
    resources = {"resources": asked["resources"].split(",")} if "resources" in asked else {}
    dates = {name: asked[name] for name in ("dateFrom", "dateTo") if name in asked}
    return {
        "requestId": query["requestId"],
        "status": query["status"],
        "startedAt": query["startedAt"],
        "conversionType": "json",
        **resources,
        **dates,
    }


def _finish(server: Server, patient_id: str, query: dict[str, Any], metadata: Any, now: datetime) -> None:
    query["status"] = "completed"

    def body(at: datetime) -> dict[str, Any]:
        bundle = json.dumps(_bundle(server, patient_id)).encode()
        return {
            "patients": [
                {
                    "patientId": patient_id,
                    "status": "completed",
                    "bundle": _linked(server, bundle, at),
                    "filters": query["asked"],
                }
            ],
            "requestId": query["requestId"],
            "data": metadata,
        }

    server.webhooks.tell("medical.consolidated-data", body, now)


def _linked(server: Server, bundle: bytes, now: datetime) -> dict[str, Any]:
    links = (("application/json", bundle), ("application/gzip", gzip.compress(bundle, mtime=0)))
    content = [{"attachment": {"contentType": kind, "url": server.share(data, now)}} for kind, data in links]
    reference = {"resourceType": "DocumentReference", "status": "current", "content": content}
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": reference}]}


def _bundle(server: Server, patient_id: str) -> dict[str, Any]:
    found = [shown(one, "docs") for one in server.messages.values() if one.patient_id == patient_id]
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in found]}


def listing(server: Server, _request: Request, _now: datetime, patient_id: str) -> Response:
    """`GET /medical/v1/patient/{id}/consolidated/query`."""
    server.patient(patient_id)
    queries = [_shown(one) for one in server.queries.get(patient_id, [])]
    running = any(one["status"] == "processing" for one in queries)
    return as_json({"status": "processing" if running else "completed", "queries": queries or None})


def one(server: Server, _request: Request, _now: datetime, patient_id: str, request_id: str) -> Response:
    """`GET /medical/v1/patient/{id}/consolidated/query/{requestId}`."""
    for query in server.queries.get(patient_id, []):
        if query["requestId"] == request_id:
            return as_json(_shown(query))
    raise Refusal(404, f"Could not find query {request_id}")


def count(server: Server, _request: Request, _now: datetime, patient_id: str) -> Response:
    """`GET /medical/v1/patient/{id}/consolidated/count`."""
    server.patient(patient_id)
    total = len(_bundle(server, patient_id)["entry"])
    return as_json({"total": total, "resources": {"Communication": total}})


def contribute(server: Server, request: Request, now: datetime, patient_id: str) -> Response:
    """`PUT /medical/v1/patient/{id}/consolidated`."""
    server.limits.count("contribute", now)
    server.patient(patient_id)
    bundle = json_object(request)
    if len(request.body) > _MOST_BYTES:
        raise Refusal(400, "The bundle is too large")
    if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "collection":
        raise Refusal(400, "A Bundle of type collection is required")
    entries = [{"response": {"status": "201 Created"}} for _ in bundle.get("entry", [])]
    return as_json({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})
