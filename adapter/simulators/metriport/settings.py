"""Settings: the webhook URL and key, and the deliveries of the last thirty days."""

from __future__ import annotations

from datetime import datetime

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import Refusal, as_json, instant
from adapter.simulators.metriport.checks import json_object
from adapter.simulators.metriport.paging import page
from adapter.simulators.metriport.server import Server

ACCOUNT_ID = "0190e9b0-0000-7000-a000-000000000001"


def get(server: Server, _request: Request, _now: datetime) -> Response:
    """`GET /settings`."""
    return as_json(
        {"id": ACCOUNT_ID, "webhookUrl": server.webhooks.url, "webhookKey": server.webhooks.key or None}
    )


def put(server: Server, request: Request, now: datetime) -> Response:
    """`POST /settings`: a new URL gets a new key and a ping; null clears it."""
    url = json_object(request).get("webhookUrl")
    if url is not None and not str(url).startswith(("http://", "https://")):
        raise Refusal(400, "webhookUrl must be a URL")
    server.webhooks.configure(url or None, now)
    return get(server, request, now)


def webhook_status(server: Server, _request: Request, _now: datetime) -> Response:
    """`GET /settings/webhook`."""
    states = [one.status for one in server.webhooks.deliveries]
    return as_json(
        {
            "webhookEnabled": server.webhooks.url is not None,
            "webhookStatusDetail": "OK",
            "webhookRequestsProcessing": states.count("processing"),
            "webhookRequestsFailed": states.count("failure"),
        }
    )


def retry_all(server: Server, _request: Request, now: datetime) -> Response:
    """`POST /settings/webhook/retry`: replays every failed delivery."""
    for delivery in [one for one in server.webhooks.deliveries if one.status == "failure"]:
        server.webhooks.again(delivery, now)
    return Response(status=200)


def requests(server: Server, request: Request, now: datetime) -> Response:
    """`GET /settings/webhook/request`, newest first."""
    server.webhooks.forget(now)
    newest_first = list(reversed(server.webhooks.deliveries))
    found, meta = page(newest_first, request, base=server.rules.public_url, key=lambda one: one.id)
    shown = [
        {"id": one.id, "type": one.kind, "status": one.status, "createdAt": instant(one.created_at)}
        for one in found
    ]
    return as_json({"meta": meta, "requests": shown})


def retry_one(server: Server, _request: Request, now: datetime, delivery_id: str) -> Response:
    """`POST /settings/webhook/request/{id}/retry`: sent again, and answered with the whole payload."""
    delivery = next((one for one in server.webhooks.deliveries if one.id == delivery_id), None)
    if delivery is None:
        raise Refusal(404, f"Could not find webhook request {delivery_id}")
    return as_json(server.webhooks.again(delivery, now))
