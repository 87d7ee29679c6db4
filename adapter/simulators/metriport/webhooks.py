"""Webhooks: signed calls to the one URL, kept for thirty days, never repeated by themselves."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from adapter.simulators.http import Call
from adapter.simulators.metriport.answers import instant
from adapter.simulators.metriport.records import Delivery

KEPT = timedelta(days=30)
Body = Callable[[datetime], dict[str, Any]]


@dataclass(kw_only=True)
class Webhooks:
    """The configured URL and its key, what was delivered, and what is due. `body` makes links anew at each call."""

    numbers: random.Random
    take_fault: Callable[[str], str | None] = lambda _: None
    url: str | None = None
    key: str = ""
    deliveries: list[Delivery] = field(default_factory=list)
    bodies: dict[str, Body] = field(default_factory=dict)
    due: list[tuple[datetime, Call]] = field(default_factory=list)

    def configure(self, url: str | None, now: datetime) -> None:
        """Sets the URL under a new key and pings it, or clears it."""
        if url == self.url:
            return
        self.url = url
        self.key = f"{self.numbers.getrandbits(160):040x}" if url else ""
        if url:
            word = f"{self.numbers.getrandbits(64):016x}"
            self.due.append((now, self._call(self._id(), "ping", {"ping": word}, now)))

    def tell(self, kind: str, body: Body, now: datetime) -> None:
        """Calls the URL with an event; without a URL nothing is delivered nor recorded."""
        if self.url is None:
            return
        delivery = Delivery(id=self._id(), kind=kind, payload=body(now), created_at=now)
        self.deliveries.append(delivery)
        self.bodies[delivery.id] = body
        fault = self.take_fault("webhook-")
        if fault == "webhook-lost":
            delivery.status = "failure"
            return
        at = now + timedelta(seconds=60) if fault == "webhook-late" else now
        for _ in range(2 if fault == "webhook-twice" else 1):
            self.due.append((at, self._call(delivery.id, kind, delivery.payload, now)))

    def again(self, delivery: Delivery, now: datetime) -> dict[str, Any]:
        """Sends a kept delivery once more, with links made anew; gives what is sent."""
        call = self._call(delivery.id, delivery.kind, self.bodies[delivery.id](now), now)
        self.due.append((now, call))
        return dict(json.loads(call.body))

    def ended(self, call: Call, status: int | None) -> None:
        """Notes how a call ended."""
        delivery = next((one for one in self.deliveries if one.id == call.id), None)
        if delivery:
            delivery.status = "success" if status == 200 else "failure"  # noqa: PLR2004  # only 200 counts

    def forget(self, now: datetime) -> None:
        """Drops what is older than thirty days."""
        self.deliveries = [one for one in self.deliveries if one.created_at > now - KEPT]

    def _call(self, delivery_id: str, kind: str, body: dict[str, Any], now: datetime) -> Call:
        meta = {"messageId": self._id(), "when": instant(now), "type": kind}
        raw = json.dumps({"meta": meta, **body}, separators=(",", ":")).encode()
        signature = hmac.new(self.key.encode(), raw, hashlib.sha256).hexdigest()
        return Call(
            id=delivery_id,
            method="POST",
            url=str(self.url),
            headers={"content-type": "application/json", "x-metriport-signature": signature},
            body=raw,
            timeout_seconds=4.0,
        )

    def _id(self) -> str:
        return str(uuid.UUID(int=self.numbers.getrandbits(128), version=4))
