"""Destinations: the documented look-up, and the SDK's network entries."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import Refusal, as_json
from adapter.simulators.metriport.checks import json_object
from adapter.simulators.metriport.directory import NETWORK
from adapter.simulators.metriport.paging import page
from adapter.simulators.metriport.server import Server

_KNOWN: Final = frozenset({"npi", "destination", "organizationName", "firstName", "lastName", "address"})


def destinations(_server: Server, request: Request, _now: datetime) -> Response:
    """`POST /medical/v1/message/destinations`, best first."""
    body = json_object(request)
    if not set(body) <= _KNOWN:
        raise Refusal(400, "Unrecognized key(s) in object")
    if "npi" in body:
        found = [one for one in NETWORK if one["npi"] == body["npi"]]
    elif "destination" in body:
        found = [one for one in NETWORK if one["oid"] == body["destination"]]
    else:
        found = _by_name(body)
    return as_json({"destinations": [_destination(one) for one in found if one["supportsMessaging"]]})


def _by_name(body: dict[str, Any]) -> list[dict[str, Any]]:
    address = body.get("address") or {}
    name, last = body.get("organizationName"), body.get("lastName")
    if not name and not (last and address.get("state")):
        raise Refusal(400, "organizationName, or lastName and address.state, are required")
    wanted = str(name or last).casefold()
    found = [one for one in NETWORK if wanted in one["name"].casefold()]
    return [one for one in found if not address.get("state") or one["state"] == address["state"]]


def _destination(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": entry["name"],
        "location": f"{entry['city']}, {entry['state']}",
        "destination": entry["oid"],
    }


def entries(server: Server, request: Request, _now: datetime) -> Response:
    """`GET /medical/v1/network-entry`."""
    query = dict(request.parameters)
    words = query.get("filter", "").casefold()
    oid = query.get("oid") or query.get("destination")
    found = [
        one
        for one in NETWORK
        if words in f"{one['name']} {one['city']} {one['state']}".casefold()
        and ("npi" not in query or one["npi"] == query["npi"])
        and (oid is None or one["oid"] == oid)
        and (query.get("supportsMessaging") != "true" or one["supportsMessaging"])
    ]
    base = server.rules.public_url
    shown, meta = page(found, request, base=base, key=lambda one: str(one["oid"]), usual=100)
    visible = [{name: value for name, value in one.items() if name != "active"} for one in shown]
    return as_json({"meta": meta, "networkEntries": visible})
