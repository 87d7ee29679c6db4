"""Network queries: started per kind of source, told by webhook as each ends."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import Refusal, as_json, instant
from adapter.simulators.metriport.checks import json_object, metadata
from adapter.simulators.metriport.consolidated import bundle
from adapter.simulators.metriport.records import File
from adapter.simulators.metriport.server import Server

SOURCES: Final = ("hie", "pharmacy", "lab")
_FIRST_SECONDS: Final = 1.0
_SECONDS: Final = 2.0


def start(server: Server, request: Request, now: datetime) -> Response:
    """`POST /medical/v1/network/query?patientId=` with `sources` and `metadata`."""
    patient = server.patient(dict(request.parameters).get("patientId"))
    body = json_object(request)
    sources = body.get("sources")
    if not isinstance(sources, list) or not sources or not all(one in SOURCES for one in sources):
        raise Refusal(400, f"sources must be a list of {', '.join(SOURCES)}")
    echo = metadata(body)
    for source in dict.fromkeys(sources):
        server.limits.count(source, now)
    query = {
        "requestId": server.ids.new(now),
        "startedAt": instant(now),
        "status": "processing",
        "sources": [
            {"type": source, "status": "processing", "startedAt": instant(now)}
            for source in dict.fromkeys(sources)
        ],
    }
    server.network_queries[str(query["requestId"])] = query
    about = server.about(patient["id"])
    meta = {"requestId": query["requestId"], "data": echo}
    if "hie" in sources:
        server.at(now + timedelta(seconds=_FIRST_SECONDS), lambda at: first_data(server, about, at, **meta))
    server.at(now + timedelta(seconds=_SECONDS), lambda at: _finish(server, query, about, meta, at))
    return as_json(query)


def get(server: Server, _request: Request, _now: datetime, request_id: str) -> Response:
    """`GET /medical/v1/network/query/{requestId}`."""
    if request_id not in server.network_queries:
        raise Refusal(404, f"Could not find network query {request_id}")
    return as_json(server.network_queries[request_id])


def _finish(
    server: Server, query: dict[str, Any], about: dict[str, Any], meta: dict[str, Any], now: datetime
) -> None:
    query["status"] = "completed"
    for source in query["sources"]:
        source.update(status="completed", completedAt=instant(now))
        ended(server, source["type"], about, now, **meta)


def first_data(server: Server, about: dict[str, Any], now: datetime, **meta: Any) -> None:
    """Has the webhook `network-query.hie.first-data-ready` called."""
    source = {"type": "hie", "status": "processing", "firstDataReadyAt": instant(now)}
    server.webhooks.tell(
        "network-query.hie.first-data-ready", lambda at: _body(server, about, source, at), now, **meta
    )


def ended(server: Server, kind: str, about: dict[str, Any], now: datetime, **meta: Any) -> None:
    """Has the webhook `network-query.{kind}` called."""
    source = {"type": kind, "status": "completed", "completedAt": instant(now)}
    server.webhooks.tell(f"network-query.{kind}", lambda at: _body(server, about, source, at), now, **meta)


def _body(server: Server, about: dict[str, Any], source: dict[str, Any], now: datetime) -> dict[str, Any]:
    data = json.dumps(bundle(server, about["patientId"], {})).encode()
    link = server.share(File(data=data), now)
    return {"payload": {**about, "consolidatedDataUrl": link, "source": source}}
