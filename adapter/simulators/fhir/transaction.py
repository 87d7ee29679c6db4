"""Batch and transaction bundles. https://hl7.org/fhir/R4/http.html#transaction"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import simplejson

from adapter.simulators.fhir.outcome import Refused, Resource, outcome
from adapter.simulators.fhir.patch import patched
from adapter.simulators.fhir.server import Server
from adapter.simulators.fhir.store import Version
from adapter.simulators.fhir.wire import instant
from adapter.simulators.http import Request, Response

# The standard's order of work; answers stand in the order of the request.
_ORDER = ("DELETE", "POST", "PUT", "PATCH", "GET")
_REASONS = {400: "Bad Request", 404: "Not Found", 409: "Conflict", 410: "Gone", 412: "Precondition Failed"}
_TYPES = {"batch", "transaction"}


@dataclass(kw_only=True)
class _Entry:
    method: str
    type: str
    id: str
    request: dict[str, Any]
    full_url: str
    resource: Resource = field(default_factory=dict)
    existing: Version | None = None
    new_id: str = ""


class Bundled:
    """Works through one bundle; `get` answers the reads in it."""

    def __init__(self, server: Server, get: Callable[[Request], Response], now: datetime) -> None:
        self._server = server
        self._get = get
        self._now = now

    def process(self, bundle: Resource) -> Resource:
        """The bundle of answers.

        Raises:
            Refused: it is neither a batch nor a transaction, or an entry of a transaction is refused: none is done.
        """
        kind = bundle.get("type")
        if kind not in _TYPES:
            raise Refused(400, f"A bundle of type {kind} is no batch and no transaction")
        given = bundle.get("entry", [])
        answers = self._batch(given) if kind == "batch" else self._transaction(given)
        base = self._server.rules.base_url
        made = {"resourceType": "Bundle", "id": self._server.store.new_uuid(), "type": f"{kind}-response"}
        return {
            **made,
            "link": [{"relation": "self", "url": base}],
            **({"entry": answers} if answers else {}),
        }

    def _transaction(self, given: list[Resource]) -> list[Resource]:
        entries = [self._entry(entry) for entry in given]
        _check_distinct(entries)
        with self._server.store.transaction():
            _resolve(entries, self._prepare(entries))
            answers = {id(entry): self._do(entry) for entry in _ordered(entries) if entry.method != "GET"}
        # Reads see what the transaction wrote, and their failing undoes nothing.
        reads = {id(entry): self._read(entry) for entry in entries if entry.method == "GET"}
        return [(answers | reads)[id(entry)] for entry in entries]

    def _batch(self, given: list[Resource]) -> list[Resource]:
        answers: dict[int, Resource] = {}
        order = sorted(given, key=lambda entry: _rank(entry.get("request", {}).get("method")))
        for one in order:
            try:
                answers[id(one)] = self._transaction([one])[0]
            except Refused as refused:
                answers[id(one)] = _failed(refused.status, outcome(refused.sentence, code="exception"))
        return [answers[id(one)] for one in given]

    def _entry(self, given: Resource) -> _Entry:
        request = given.get("request", {})
        method = request.get("method")
        if method not in _ORDER:
            raise Refused(400, f"A bundle entry has the request method {method}")
        url = request.get("url", "")
        type_, _, id_ = url.partition("?")[0].partition("/")
        if method in {"POST", "PUT", "PATCH"} and "resource" not in given:
            raise Refused(400, f"A bundle entry has no resource for {method} {url}")
        if method in {"PUT", "PATCH", "DELETE"} and not id_:
            raise Refused(400, f"{method} {url} names no id")
        return _Entry(
            method=method,
            type=type_ if method == "GET" else self._server.known(type_),
            id=id_,
            request=request,
            full_url=given.get("fullUrl", ""),
            resource=copy.deepcopy(given.get("resource", {})),
        )

    def _prepare(self, entries: list[_Entry]) -> dict[str, str]:
        """Where each placeholder will point: ids are given out before anything is written."""
        places: dict[str, str] = {}
        for entry in entries:
            if entry.method == "POST":
                entry.existing = self._server.matching(entry.type, entry.request.get("ifNoneExist", ""))
                entry.id = entry.existing.id if entry.existing else self._server.store.new_id()
                entry.new_id = entry.id
            if entry.full_url.startswith("urn:"):
                places[entry.full_url] = f"{entry.type}/{entry.id}"
        return places

    def _do(self, entry: _Entry) -> Resource:
        if entry.method == "DELETE":
            gone = self._server.store.delete(entry.type, entry.id, self._now)
            return {"response": {"status": "204 No Content", **(_where(gone) if gone else {})}}
        if entry.existing is not None:
            return {"response": {"status": "200 OK", **_where(entry.existing)}}
        if entry.method == "POST":
            version = self._server.write(entry.type, "", entry.resource, self._now, new_id=entry.new_id)[0]
            return self._written(version, born=True)
        if entry.method == "PATCH":
            present = self._server.store.read(f"{entry.type}/{entry.id}").content
            entry.resource = patched(present, entry.resource)
        return self._written(
            *self._server.write(entry.type, entry.id, entry.resource, self._now, entry.request.get("ifMatch"))
        )

    def _written(self, version: Version, born: bool) -> Resource:  # noqa: FBT001 -- the pair that a write gives
        status = "201 Created" if born else "200 OK"
        return {"response": {"status": status, **_where(version), "lastModified": instant(version.at)}}

    def _read(self, entry: _Entry) -> Resource:
        path, _, query = entry.request["url"].partition("?")
        response = self._get(Request(method="GET", path=f"/{path}", query=query))
        resource = simplejson.loads(response.body.decode(), use_decimal=True)
        if response.status != 200:  # noqa: PLR2004 -- an HTTP status
            return _failed(response.status, resource)
        return {"resource": resource, "response": {"status": "200 OK"}}


def _rank(method: str | None) -> int:
    return _ORDER.index(method) if method in _ORDER else 0


def _ordered(entries: list[_Entry]) -> list[_Entry]:
    return sorted(entries, key=lambda entry: _rank(entry.method))


def _where(version: Version) -> dict[str, str]:
    # Without W/ and quotes, unlike the header: so HAPI.
    return {"location": f"{version.key}/_history/{version.number}", "etag": str(version.number)}


def _failed(status: int, why: Resource) -> Resource:
    return {"response": {"status": f"{status} {_REASONS.get(status, 'Error')}", "outcome": why}}


def _check_distinct(entries: list[_Entry]) -> None:
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        key = (entry.type, entry.id)
        if entry.method == "PUT" and key in seen:
            raise Refused(400, f"The transaction writes {entry.type}/{entry.id} more than once")
        seen.add(key)


def _resolve(entries: list[_Entry], places: dict[str, str]) -> None:
    for entry in entries:
        entry.resource = _replaced(entry.resource, places)


def _replaced(node: Any, places: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_replaced(item, places) for item in node]
    if not isinstance(node, dict):
        return node
    return {name: _value(name, value, places) for name, value in node.items()}


def _value(name: str, value: Any, places: dict[str, str]) -> Any:
    if not isinstance(value, str):
        return _replaced(value, places)
    if name == "reference" and value.startswith("urn:uuid:") and value not in places:
        raise Refused(400, f"No entry of the transaction has the fullUrl {value}")
    # An identifier's value may be a urn:uuid: of its own and is left alone.
    return places.get(value, value) if name.lower().endswith(("reference", "url", "uri")) else value
