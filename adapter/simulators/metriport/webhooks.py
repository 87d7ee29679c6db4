"""Webhooks: signed calls to the one URL, kept for thirty days, never repeated by themselves."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from adapter.simulators.http import Call
from adapter.simulators.metriport.answers import instant
from adapter.simulators.metriport.ids import Ids

KEPT: Final = timedelta(days=30)
_LATE: Final = timedelta(seconds=60)
_ANSWER_SECONDS: Final = 4.0
_OK: Final = 200

Body = Callable[[datetime], dict[str, Any]]


@dataclass(kw_only=True)
class Delivery:
    """One event on its way. `body` makes its links anew at each call."""

    id: str
    kind: str
    body: Body
    meta: dict[str, Any]
    created_at: datetime
    status: str = "processing"


@dataclass(kw_only=True)
class Webhooks:
    """The configured URL and its key, what was delivered, and what is due."""

    ids: Ids
    take_fault: Callable[[str], str | None] = lambda _: None
    url: str | None = None
    key: str = ""
    deliveries: list[Delivery] = field(default_factory=list)
    due: list[tuple[datetime, Call]] = field(default_factory=list)

    def configure(self, url: str | None, now: datetime) -> None:
        """Sets the URL under a new key and pings it, or clears it; the URL that is set already changes nothing."""
        if url == self.url:
            return
        self.url = url
        self.key = self.ids.secret(160) if url else ""
        if url:
            word = self.ids.secret(64)
            self.due.append((now, self._call(self._delivery("ping", lambda _: {"ping": word}, {}, now), now)))

    def tell(self, kind: str, body: Body, now: datetime, **meta: Any) -> None:
        """Calls the URL with an event; without a URL nothing is delivered nor recorded."""
        if self.url is None:
            return
        delivery = self._delivery(kind, body, meta, now)
        self.deliveries.append(delivery)
        fault = self.take_fault("webhook-")
        if fault == "webhook-lost":
            delivery.status = "failure"
            return
        call = self._call(delivery, now, message_id=delivery.id)
        at = now + _LATE if fault == "webhook-late" else now
        self.due += [(at, call)] * (2 if fault == "webhook-twice" else 1)
        if fault == "webhook-again":
            self.due.append((now + _LATE, self._call(delivery, now + _LATE, message_id=delivery.id)))

    def again(self, delivery: Delivery, now: datetime) -> dict[str, Any]:
        """Sends a kept delivery once more, under a new id and with links made anew; gives what is sent."""
        call = self._call(delivery, now)
        if self.url is not None:
            delivery.status = "processing"
            self.due.append((now, call))
        return dict(json.loads(call.body))

    def ended(self, call: Call, status: int | None) -> None:
        """Notes how a call ended: only 200 counts, and a redirect is none."""
        for delivery in self.deliveries:
            if delivery.id == call.id:
                delivery.status = "success" if status == _OK else "failure"

    def kept(self, now: datetime) -> list[Delivery]:
        """The deliveries of the last thirty days."""
        self.deliveries = [one for one in self.deliveries if one.created_at > now - KEPT]
        return self.deliveries

    def _delivery(self, kind: str, body: Body, meta: dict[str, Any], now: datetime) -> Delivery:
        stated = {name: value for name, value in meta.items() if value is not None}
        return Delivery(id=self.ids.new(now), kind=kind, body=body, meta=stated, created_at=now)

    def _call(self, delivery: Delivery, now: datetime, *, message_id: str | None = None) -> Call:
        meta = {
            "messageId": message_id or self.ids.new(now),
            "when": instant(now),
            "type": delivery.kind,
            **delivery.meta,
        }
        raw = json.dumps({"meta": meta, **delivery.body(now)}, separators=(",", ":")).encode()
        signature = hmac.new(self.key.encode(), raw, hashlib.sha256).hexdigest()
        return Call(
            id=delivery.id,
            method="POST",
            url=self.url or "",
            headers={"content-type": "application/json", "x-metriport-signature": signature},
            body=raw,
            timeout_seconds=_ANSWER_SECONDS,
        )
