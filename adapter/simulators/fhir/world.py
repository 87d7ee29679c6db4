"""A pretend FHIR server as a plain object: `handle(request, now) -> response`, no sockets, no clock, no threads."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlsplit

from adapter.simulators.fhir.faults import Fault
from adapter.simulators.fhir.outcome import Resource
from adapter.simulators.fhir.routes import respond
from adapter.simulators.fhir.server import Server
from adapter.simulators.fhir.store import Rules
from adapter.simulators.fhir.subscriptions import Subscriptions
from adapter.simulators.http import Call, Request, Response


@dataclass(frozen=True, kw_only=True)
class Logged:
    """One request as it was answered; `path` starts below the base, `status` 0 means the connection was dropped."""

    at: datetime
    method: str
    path: str
    query: str
    status: int


class World:
    """The server. `strict` is HAPI as its official image comes; otherwise it lets references and ids through.

    Without `client_ids` it gives all ids itself.
    """

    def __init__(
        self,
        *,
        base_url: str = "http://127.0.0.1:8081/fhir",
        conflict: int = 409,
        page_size: int = 20,
        seed: int = 0,
        strict: bool = True,
        client_ids: bool = True,
    ) -> None:
        rules = Rules(
            base_url=base_url.rstrip("/"),
            conflict=conflict,
            page_size=page_size,
            strict=strict,
            client_ids=client_ids,
        )
        self.requests: list[Logged] = []
        self._root = urlsplit(rules.base_url).path
        self._server = Server(rules, seed)
        self._subscriptions = Subscriptions(self._server.store)
        self._faults: list[Fault] = []

    def handle(self, request: Request, now: datetime) -> Response:
        """Answers one request."""
        self._advance(now)
        asked = replace(request, path=request.path.removeprefix(self._root))
        fault = next((one for one in self._faults if one.fits(asked)), None)
        if fault is None:
            response = respond(self._server, asked, now)
        else:
            response = fault.strike(lambda: respond(self._server, asked, now), now)
        self._settle(now)
        self.requests.append(
            Logged(at=now, method=asked.method, path=asked.path, query=asked.query, status=response.status)
        )
        return response

    def calls_due(self, now: datetime) -> Sequence[Call]:
        """The notifications to send now."""
        self._advance(now)
        return self._subscriptions.calls_due(now)

    def call_ended(self, call: Call, status: int | None, now: datetime) -> None:
        """Takes what an endpoint answered."""
        self._subscriptions.call_ended(call, status, now)

    def next_at(self) -> datetime | None:
        """When a Subscription has something to do next."""
        return self._subscriptions.next_at()

    def resources(self, type_: str | None = None) -> list[Resource]:
        """Every resource as it is now, or those of a type; the caller's own copies."""
        return [copy.deepcopy(version.content) for version in self._server.store.current(type_)]

    def history(self, type_: str, id_: str) -> list[Resource | None]:
        """All versions of a resource, oldest first; None is a deletion."""
        versions = self._server.store.history(f"{type_}/{id_}")
        return [None if version.deleted else copy.deepcopy(version.content) for version in versions]

    def put(self, resource: Resource, now: datetime) -> Resource:
        """Saves as an author does who knows no `If-Match`; without an id, under a new one. Subscriptions hear of it.

        Raises:
            Refused: the server would not take it.
        """
        self._advance(now)
        with self._server.store.transaction():
            version, _ = self._server.write(resource["resourceType"], resource.get("id", ""), resource, now)
        self._settle(now)
        return copy.deepcopy(version.content)

    def add_fault(self, method: str, path_prefix: str, fault: str, times: int = 1) -> None:
        """Makes the next requests go wrong; `path_prefix` starts below the base, as in `/Communication/`.

        Raises:
            ValueError: there is no such fault.
        """
        self._faults.append(Fault(method=method, path_prefix=path_prefix, fault=fault, times=times))

    def clear_faults(self) -> None:
        """Nothing goes wrong any more."""
        self._faults.clear()

    def silence(self) -> None:
        """Lets the Subscriptions stay `active` and ring no more, until somebody writes them anew."""
        self._subscriptions.silence()

    def restart(self) -> None:
        """What a restart of HAPI does to its notifications: those still to be delivered are lost."""
        self._subscriptions.forget()

    def _advance(self, now: datetime) -> None:
        self._subscriptions.activate(now)
        self._settle(now)

    def _settle(self, now: datetime) -> None:
        self._subscriptions.saw(self._server.store.take_committed(), now)
