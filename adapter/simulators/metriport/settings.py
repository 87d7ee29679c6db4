"""Settings: the webhook URL and key, and the deliveries of the last thirty days."""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from typing import Any, Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import Refusal, as_json, instant
from adapter.simulators.metriport.checks import json_object, one_of
from adapter.simulators.metriport.paging import page
from adapter.simulators.metriport.server import Server

ACCOUNT_ID: Final = "0190e9b0-0000-7000-a000-000000000001"
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_URL: Final = re.compile(rf"https?://({_LABEL}(?:[.]{_LABEL})*)(?::([0-9]{{1,5}}))?(?:/[!-~]{{0,2000}})?")
_MOST_PORT: Final = 65_535


def get(server: Server, _request: Request, _now: datetime) -> Response:
    """`GET /settings`."""
    return as_json(
        {"id": ACCOUNT_ID, "webhookUrl": server.webhooks.url, "webhookKey": server.webhooks.key or None}
    )


def put(server: Server, request: Request, now: datetime) -> Response:
    """`POST /settings`: a new URL gets a new key and a ping; null or nothing clears it."""
    url = json_object(request).get("webhookUrl")
    server.webhooks.configure(_url(url), now)
    return get(server, request, now)


def _url(url: Any) -> str | None:
    if url is None or url == "":
        return None
    found = _URL.fullmatch(url) if isinstance(url, str) else None
    if not found or int(found[2] or 0) > _MOST_PORT or not _is_host(found[1]):
        raise Refusal(400, "webhookUrl must be a URL")
    return found[0]


def _is_host(name: str) -> bool:
    if re.fullmatch("[0-9.]+", name):
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            return False
    return True


def webhook_status(server: Server, _request: Request, now: datetime) -> Response:
    """`GET /settings/webhook`."""
    states = [one.status for one in server.webhooks.kept(now)]
    failed = bool(states) and states[-1] == "failure"
    return as_json(
        {
            "webhookEnabled": server.webhooks.url is not None,
            "webhookStatusDetail": "The last delivery failed" if failed else "OK",
            "webhookRequestsProcessing": states.count("processing"),
            "webhookRequestsFailed": states.count("failure"),
        }
    )


def retry_all(server: Server, _request: Request, now: datetime) -> Response:
    """`POST /settings/webhook/retry`: replays every failed delivery; what the body is does not matter."""
    for delivery in server.webhooks.kept(now):
        if delivery.status == "failure":
            server.webhooks.again(delivery, now)
    return Response(status=200)


def requests(server: Server, request: Request, now: datetime) -> Response:
    """`GET /settings/webhook/request`, newest first unless asked otherwise."""
    sort = dict(request.parameters).get("sort", "createdAt=desc")
    one_of("sort", sort, {"createdAt=desc", "createdAt=asc"})
    deliveries, meta = page(
        server.webhooks.kept(now),
        request,
        base=server.rules.public_url,
        key=lambda one: one.id,
        newest_first=sort == "createdAt=desc",
    )
    shown = [
        {"id": one.id, "type": one.kind, "status": one.status, "createdAt": instant(one.created_at)}
        for one in deliveries
    ]
    return as_json({"meta": meta, "requests": shown})


def retry_one(server: Server, _request: Request, now: datetime, delivery_id: str) -> Response:
    """`POST /settings/webhook/request/{id}/retry`: sent again, and answered with the whole payload."""
    for delivery in server.webhooks.kept(now):
        if delivery.id == delivery_id:
            return as_json(server.webhooks.again(delivery, now))
    raise Refusal(404, f"Could not find webhook request {delivery_id}")
