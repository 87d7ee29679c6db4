"""Which request goes where."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport import (
    consolidated,
    control,
    documents,
    messages,
    network,
    patients,
    settings,
)
from adapter.simulators.metriport.answers import FORBIDDEN, Refusal, as_json
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
    ("GET", f"{_V1}/facility", patients.facilities),
    ("POST", f"{_V1}/facility", patients.create_facility),
    ("GET", f"{_V1}/facility/([^/]+)", patients.facility),
    ("POST", f"{_V1}/document/upload", documents.upload),
    ("GET", f"{_V1}/document/download-url", documents.download_url),
    ("GET", f"{_V1}/document", documents.listing),
    ("POST", f"{_V1}/patient/([^/]+)/consolidated/query", consolidated.start),
    ("GET", f"{_V1}/patient/([^/]+)/consolidated/query", consolidated.listing),
    ("GET", f"{_V1}/patient/([^/]+)/consolidated/query/([^/]+)", consolidated.one),
    ("GET", f"{_V1}/patient/([^/]+)/consolidated/count", consolidated.count),
    ("PUT", f"{_V1}/patient/([^/]+)/consolidated", consolidated.contribute),
    ("GET", "/settings", settings.get),
    ("POST", "/settings", settings.put),
    ("GET", "/settings/webhook", settings.webhook_status),
    ("POST", "/settings/webhook/retry", settings.retry_all),
    ("GET", "/settings/webhook/request", settings.requests),
    ("POST", "/settings/webhook/request/([^/]+)/retry", settings.retry_one),
    ("PUT", "/_uploads/([^/]+)", documents.receive),
    ("GET", "/_files/([^/]+)", documents.download),
    ("POST", "/_simulator/messages/inbound", control.inbound),
    ("POST", "/_simulator/messages/([^/]+)/complete", control.complete),
    ("POST", "/_simulator/messages/([^/]+)/fail", control.fail),
    ("GET", "/_simulator/messages", control.messages),
    ("POST", "/_simulator/faults", control.order_fault),
    ("DELETE", "/_simulator/faults", control.clear_faults),
)
_ROUTES: Final = tuple((method, re.compile(path), endpoint) for method, path, endpoint in _TABLE)
_WITHOUT_KEY: Final = ("/_uploads/", "/_files/", "/_simulator/")


def respond(server: Server, request: Request, now: datetime) -> Response:
    """Answers a request; the API key is checked before anything else, as the gateway does."""
    if (
        not request.path.startswith(_WITHOUT_KEY)
        and request.headers.get("x-api-key") not in server.rules.api_keys
    ):
        return FORBIDDEN
    path = request.path.rstrip("/")
    for method, pattern, endpoint in _ROUTES:
        found: Any = pattern.fullmatch(path)
        if found and method == request.method:
            try:
                return endpoint(server, request, now, *found.groups())
            except Refusal as refusal:
                return refusal.response()
    return as_json({"message": "Cannot " + request.method}, status=404)
