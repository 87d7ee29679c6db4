"""Facilities, and the versions of records that are updated."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import Refusal, as_json
from adapter.simulators.metriport.checks import json_object
from adapter.simulators.metriport.demographics import facility
from adapter.simulators.metriport.server import Server


def find(server: Server, facility_id: str) -> dict[str, Any]:
    """The facility, or 404."""
    if facility_id not in server.facilities:
        raise Refusal(404, f"Could not find facility {facility_id}")
    return server.facilities[facility_id]


def hold_version(record: dict[str, Any], request: Request) -> None:
    """Refuses an update whose `If-Match` names another version."""
    expected = request.headers.get("if-match", "").removeprefix("W/").strip('"')
    if expected and expected != record["eTag"]:
        raise Refusal(412, "It was changed meanwhile; read it again")


def get(server: Server, _request: Request, _now: datetime, facility_id: str) -> Response:
    """`GET /medical/v1/facility/{id}`."""
    return as_json(find(server, facility_id))


def listing(server: Server, _request: Request, _now: datetime) -> Response:
    """`GET /medical/v1/facility`."""
    return as_json({"facilities": list(server.facilities.values())})


def create(server: Server, request: Request, now: datetime) -> Response:
    """`POST /medical/v1/facility`."""
    made = {"id": server.ids.new(now), **facility(json_object(request)), "eTag": server.etag()}
    server.facilities[made["id"]] = made
    return as_json(made, status=201)


def update(server: Server, request: Request, _now: datetime, facility_id: str) -> Response:
    """`PUT /medical/v1/facility/{id}`, with `If-Match` if given."""
    found = find(server, facility_id)
    stated = facility(json_object(request))
    hold_version(found, request)
    found.update({**stated, "eTag": server.etag()})
    return as_json(found)
