"""Destinations: the documented look-up, and the SDK's network entries."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import Refusal, as_json
from adapter.simulators.metriport.checks import json_object, one_of
from adapter.simulators.metriport.directory import ENTRY_FIELDS, NETWORK
from adapter.simulators.metriport.paging import page
from adapter.simulators.metriport.server import Server

_NPI: Final = re.compile("[0-9]{10}")
_WAYS: Final = (
    frozenset({"npi"}),
    frozenset({"destination"}),
    frozenset({"organizationName", "firstName", "lastName", "address"}),
)
_BY_ADDRESS: Final = {
    "addressLine1": "addressLine",
    "addressLine2": None,
    "city": "city",
    "state": "state",
    "zip": "zipCode",
}
_NAMES: Final = ("organizationName", "firstName", "lastName")


def destinations(_server: Server, request: Request, _now: datetime) -> Response:
    """`POST /medical/v1/message/destinations`, best first."""
    body = json_object(request)
    if not any(set(body) <= way for way in _WAYS):
        raise Refusal(400, "Exactly one of npi, destination, or a name with an address is taken")
    if "npi" in body:
        if not isinstance(body["npi"], str) or not _NPI.fullmatch(body["npi"]):
            raise Refusal(400, "npi must have 10 digits")
        found = [one for one in NETWORK if one["npi"] == body["npi"]]
    elif "destination" in body:
        found = [one for one in NETWORK if _is(one["oid"], body["destination"])]
    else:
        found = _by_name(body)
    usable = [one for one in found if one["supportsMessaging"] and one["active"]]
    return as_json({"destinations": [_destination(one) for one in usable]})


def _is(one: str, stated: Any) -> bool:
    return isinstance(stated, str) and one.casefold() == stated.casefold()


def _by_name(body: dict[str, Any]) -> list[dict[str, Any]]:
    address = body.get("address", {})
    if not isinstance(address, dict) or not set(address) <= set(_BY_ADDRESS):
        raise Refusal(400, "address takes addressLine1, addressLine2, city, state and zip")
    stated = [*(body[name] for name in _NAMES if name in body), *address.values()]
    if not all(isinstance(one, str) for one in stated):
        raise Refusal(400, "Names and address lines must be strings")
    if not body.get("organizationName") and not (body.get("lastName") and address.get("state")):
        raise Refusal(400, "organizationName, or lastName and address.state, are required")
    wanted = {field: address[name] for name, field in _BY_ADDRESS.items() if field and address.get(name)}
    found = [one for one in NETWORK if _fits_name(one, body)]
    found = [one for one in found if all(_is(one[field], value) for field, value in wanted.items())]
    return sorted(found, key=lambda one: _distance(one, body))


def _fits_name(entry: dict[str, Any], body: dict[str, Any]) -> bool:
    return (
        body.get("organizationName", "").casefold()
        in f"{entry['name']} {entry['rootOrganization']}".casefold()
        and entry["lastName"].casefold().startswith(body.get("lastName", "").casefold())
        and entry["firstName"].casefold().startswith(body.get("firstName", "").casefold())
    )


def _distance(entry: dict[str, Any], body: dict[str, Any]) -> tuple[bool, int]:
    """How far an entry is from the name that was asked for: its own name counts before its organization's."""
    own = body.get("organizationName", "").casefold() in entry["name"].casefold()
    return not own, len(entry["name"])


def _destination(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": entry["name"],
        "location": f"{entry['city']}, {entry['state']}",
        "destination": entry["oid"],
    }


def entries(server: Server, request: Request, _now: datetime) -> Response:
    """`GET /medical/v1/network-entry`; the entry's `oid` is the destination, an OID or a Direct address."""
    query = dict(request.parameters)
    for name in ("supportsMessaging", "active"):
        one_of(name, query.get(name), {"true", "false"})
    words = query.get("filter", "").casefold()
    found = [
        one
        for one in NETWORK
        if words in f"{one['name']} {one['rootOrganization']} {one['city']} {one['state']}".casefold()
        and query.get("npi", one["npi"]) == one["npi"]
        and query.get("oid", one["oid"]) == one["oid"]
        and query.get("destination", one["oid"]) == one["oid"]
        and (query.get("supportsMessaging") != "true" or one["supportsMessaging"])
        and query.get("active", str(one["active"]).lower()) == str(one["active"]).lower()
    ]
    shown, meta = page(
        found,
        request,
        base=server.rules.public_url,
        key=lambda one: str(one["oid"]),
        usual=100,
        newest_first=False,
    )
    visible = [{name: one[name] for name in ENTRY_FIELDS} for one in shown]
    return as_json({"meta": meta, "networkEntries": visible})
