"""The account's webhook at Metriport, and what became of its deliveries.

Settings stand at the API's root: https://docs.metriport.com/medical-api/getting-started/webhooks
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import httpx
import structlog

from adapter.domain.resource import items, obj, text
from adapter.errors import Rejected, Temporary
from adapter.metriport import webhook, wire
from adapter.metriport.api import PAGE, Api, Cut, Query
from adapter.metriport.exchange import FAILURES, exchange, in_words, transport, web_url

_log = structlog.get_logger(__name__)

PING_SECONDS: Final = 4.0  # what Metriport itself waits for an answer
_MOST_PONG_BYTES: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """The one address that Metriport calls, and the key that signs its calls."""

    url: str | None
    key: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class WebhookStatus:
    """What Metriport says of the webhook. What it does not say is `None`."""

    enabled: bool | None = None
    detail: str | None = None
    processing: int | None = None
    failed: int | None = None


@dataclass(frozen=True, kw_only=True)
class WebhookRequest:
    """One delivery as Metriport lists it; its columns beyond the id are hardly documented."""

    id: str
    kind: str | None = None
    status: str | None = None
    created_at: datetime | None = None


class Deliveries(Api):
    """The webhook's settings and its deliveries, which Metriport keeps for thirty days."""

    async def webhook(self) -> Webhook:
        """The address that is called now."""
        answered = await self._get(self._url("/settings", {}), doing="Reading the settings at Metriport")
        return _webhook(wire.read_json(answered.body))

    async def set_webhook(self, url: str) -> Webhook:
        """Has Metriport call that address from now on. An address that was another before gets a new key."""
        doing = "Setting the webhook at Metriport"
        request = self._request("POST", "/settings", {}, json_body={"webhookUrl": url})
        answered = await self._exchange(self._reading, request, doing=doing, applied=True)
        found = _webhook(wire.read_json(answered.body))
        if found.key is None:
            raise Temporary(f"{doing}: the answer holds no key.")
        return Webhook(url=url, key=found.key)

    async def webhook_status(self) -> WebhookStatus:
        """Whether Metriport takes the webhook to work, and how many deliveries are on their way or failed."""
        doing = "Reading the state of the webhook at Metriport"
        answered = await self._get(self._url("/settings/webhook", {}), doing=doing)
        found = obj(wire.read_json(answered.body))
        enabled = found.get("webhookEnabled")
        return WebhookStatus(
            enabled=enabled if isinstance(enabled, bool) else None,
            detail=wire.sentence(found.get("webhookStatusDetail")),
            processing=_count(found.get("webhookRequestsProcessing")),
            failed=_count(found.get("webhookRequestsFailed")),
        )

    async def deliveries(self) -> AsyncIterator[WebhookRequest]:
        """The deliveries that Metriport tried, newest first, page after page while they are asked for."""
        doing = "Listing webhook deliveries at Metriport"
        query: Query = {"count": PAGE, "sort": "createdAt=desc"}
        try:
            async for value in self._pages("/settings/webhook/request", query, doing=doing):
                rows = obj(value).get("requests")
                if not isinstance(rows, list):
                    raise Temporary(f"{doing}: the answer is no list of deliveries.", applied=False)
                for one in filter(None, map(_request, items(rows))):
                    yield one
        except Cut as cut:
            # What was read of it may be what somebody waits for.
            _log.warning("deliveries.not-whole", detail=str(cut))

    async def redeliver(self, request_id: str) -> bytes:
        """Has one delivery made again; gives what is delivered: under a new delivery id, with fresh links.

        Raises:
            Rejected: Metriport has no such delivery (any more).
        """
        doing = f"Asking Metriport for delivery {request_id} again"
        if wire.identifier(request_id) is None or not request_id.strip("."):
            no_id = "A webhook delivery is asked for by something that is no id."
            raise Rejected(no_id, status=400, issues=(no_id,))
        url = self._url(f"/settings/webhook/request/{quote(request_id, safe='')}/retry", {})
        request = httpx.Request("POST", url, headers=self._headers())
        return (await self._exchange(self._reading, request, doing=doing, applied=True)).body


async def ping(address: Webhook, *, over: httpx.AsyncBaseTransport | None = None) -> str | None:
    """Calls the webhook as Metriport does; `None` when it answered as it should, else why not."""
    url = web_url(address.url or "")
    if url is None:
        return "it is no address that can be called"
    word = secrets.token_hex(16)
    raw = b'{"ping": "%s"}' % word.encode()
    headers = {
        "content-type": "application/json",
        webhook.SIGNATURE_HEADER: webhook.sign(raw, address.key or ""),
    }
    way = over or transport(keep_alive=0)
    try:
        request = httpx.Request("POST", url, headers=headers, content=raw)
        answered = await exchange(way, request, seconds=PING_SECONDS, most_bytes=_MOST_PONG_BYTES)
    except FAILURES as error:
        return in_words(error)
    finally:
        await way.aclose()
    if answered.status != 200:  # noqa: PLR2004
        return f"it answered {answered.status}"
    answer = obj(wire.read_json(answered.body))
    return None if answer.get("pong") == word else "what answers there is not the adapter"


def _webhook(value: Any) -> Webhook:
    found = obj(value)
    return Webhook(url=text(found.get("webhookUrl")), key=wire.identifier(found.get("webhookKey")))


def _request(row: Mapping[str, Any]) -> WebhookRequest | None:
    request_id = wire.identifier(row.get("id"))
    if request_id is None:
        return None
    return WebhookRequest(
        id=request_id,
        kind=wire.identifier(row.get("type")),
        status=wire.identifier(row.get("status")),
        created_at=wire.moment(row.get("createdAt")),
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
