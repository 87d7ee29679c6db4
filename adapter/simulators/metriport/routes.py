"""Which request goes where."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport import (
    consolidated,
    control,
    documents,
    facilities,
    messages,
    network,
    patients,
    queries,
    settings,
    storage,
)
from adapter.simulators.metriport.answers import FORBIDDEN, NO_ROUTE, Refusal
from adapter.simulators.metriport.server import Server

Endpoint = Callable[..., Response]

_V1: Final = "/medical/v1"

_TABLE: Final[tuple[tuple[str, str, Endpoint], ...]] = (
    ("POST", f"{_V1}/message", messages.send),
    ("GET", f"{_V1}/message", messages.listing),
    ("POST", f"{_V1}/message/destinations", network.destinations),
    ("GET", f"{_V1}/message/([^/]+)", messages.status),
    ("GET", f"{_V1}/network-entry", network.entries),
    ("GET", f"{_V1}/patient/external-id", patients.by_external_id),
    ("POST", f"{_V1}/patient/match", patients.match),
    ("POST", f"{_V1}/patient", patients.create),
    ("GET", f"{_V1}/patient", patients.listing),
    ("GET", f"{_V1}/patient/([^/]+)", patients.get),
    ("PUT", f"{_V1}/patient/([^/]+)", patients.update),
    ("GET", f"{_V1}/facility", facilities.listing),
    ("POST", f"{_V1}/facility", facilities.create),
    ("GET", f"{_V1}/facility/([^/]+)", facilities.get),
    ("PUT", f"{_V1}/facility/([^/]+)", facilities.update),
    ("POST", f"{_V1}/document/upload", documents.upload),
    ("GET", f"{_V1}/document/download-url", documents.download_url),
    ("GET", f"{_V1}/document", documents.listing),
    ("POST", f"{_V1}/patient/([^/]+)/consolidated/query", consolidated.start),
    ("GET", f"{_V1}/patient/([^/]+)/consolidated/query", consolidated.listing),
    ("GET", f"{_V1}/patient/([^/]+)/consolidated/query/([^/]+)", consolidated.one),
    ("GET", f"{_V1}/patient/([^/]+)/consolidated/count", consolidated.count),
    ("PUT", f"{_V1}/patient/([^/]+)/consolidated", consolidated.contribute),
    ("POST", f"{_V1}/network/query", queries.start),
    ("GET", f"{_V1}/network/query/([^/]+)", queries.get),
    ("GET", "/settings", settings.get),
    ("POST", "/settings", settings.put),
    ("GET", "/settings/webhook", settings.webhook_status),
    ("POST", "/settings/webhook/retry", settings.retry_all),
    ("GET", "/settings/webhook/request", settings.requests),
    ("POST", "/settings/webhook/request/([^/]+)/retry", settings.retry_one),
    ("PUT", "/_uploads/([^/]+)", storage.receive),
    ("GET", "/_files/([^/]+)", storage.download),
    ("POST", "/_simulator/messages/inbound", control.inbound),
    ("POST", "/_simulator/messages/([^/]+)/complete", control.complete),
    ("POST", "/_simulator/messages/([^/]+)/fail", control.fail),
    ("GET", "/_simulator/messages", control.messages),
    ("POST", "/_simulator/webhooks", control.webhook),
    ("POST", "/_simulator/faults", control.order_fault),
    ("DELETE", "/_simulator/faults", control.clear_faults),
)
_ROUTES: Final = tuple((method, re.compile(path), endpoint) for method, path, endpoint in _TABLE)
_WITHOUT_KEY: Final = ("/_uploads/", "/_files/", "/_simulator/")
# What the published limits count. A network query is counted per source, which only its body names.
_LIMITED: Final[dict[Endpoint, str]] = {
    messages.send: "send",
    patients.create: "patient",
    patients.update: "patient",
    consolidated.start: "consolidated-query",
    consolidated.contribute: "contribute",
}

Work = Callable[[datetime], Response]


def admit(server: Server, request: Request, now: datetime) -> Response | Work:
    """What stands before the API: the answer of a request that does not reach it, else the work that answers it.

    The key is checked before anything else. Each arrival with a key that counts is one for the limits, whatever
    becomes of it afterwards.
    """
    keyed = not request.path.startswith(_WITHOUT_KEY)
    if keyed and request.headers.get("x-api-key") not in server.rules.api_keys:
        return FORBIDDEN
    endpoint, names = _endpoint(request)
    if endpoint is None:
        return NO_ROUTE
    try:
        if endpoint in _LIMITED:
            server.limits.count(_LIMITED[endpoint], now)
    except Refusal as refusal:
        return refusal.response()

    def work(at: datetime) -> Response:
        try:
            return endpoint(server, request, at, *names)
        except Refusal as refusal:
            return refusal.response()

    return work


def _endpoint(request: Request) -> tuple[Endpoint | None, tuple[str, ...]]:
    path = request.path.rstrip("/")
    for method, pattern, endpoint in _ROUTES:
        found = pattern.fullmatch(path)
        if found and method == request.method:
            return endpoint, found.groups()
    return None, ()
