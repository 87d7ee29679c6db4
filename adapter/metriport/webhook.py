"""Metriport's webhook calls: proof of the sender, and what one says.

Rules: https://docs.metriport.com/medical-api/getting-started/webhooks
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from adapter.domain.message import MessageState
from adapter.domain.resource import obj, text
from adapter.errors import Rejected, Unverified
from adapter.metriport import wire
from adapter.ports.ledger import FinalStatus

MOST_BYTES: Final = 10_000_000
SIGNATURE_HEADER: Final = "x-metriport-signature"


def verify(raw: bytes, signature: str | None, keys: Sequence[str]) -> None:
    """Checks that one of the keys made the signature: lower-case hex HMAC-SHA256 of the raw body.

    Every key is tried, in constant time, so the time taken tells nothing about them.

    Raises:
        Unverified: no key, no signature, or none that fits.
    """
    stated = (signature or "").encode("utf-8", "surrogatepass")
    # An empty key is a setting left blank: anybody could sign with it.
    usable = [key.encode("utf-8", "surrogatepass") for key in keys if key]
    expected = [hmac.new(key, raw, hashlib.sha256).hexdigest().encode() for key in usable]
    if not any([hmac.compare_digest(stated, one) for one in expected]):  # noqa: C419 - all, not the first
        raise Unverified(
            "A webhook call is not signed with any of metriport.webhook_keys. If the key was changed at "
            "Metriport, add the new one there."
        )


@dataclass(frozen=True, kw_only=True)
class Event:
    """A webhook call: Metriport's id of the delivery, and its type as stated."""

    delivery_id: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Ping(Event):
    """Metriport asks whether anybody is there; `pong` is the body of the answer."""

    pong: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class StatusEvent(Event):
    """The final status of an outbound message."""

    status: FinalStatus


@dataclass(frozen=True, kw_only=True)
class Other(Event):
    """Anything else: acknowledged and kept."""


Webhook = Ping | StatusEvent | Other


def read(raw: bytes) -> Webhook:
    """What a verified call says.

    The delivery id is `meta.messageId`, and without one the SHA-256 of the body.

    Raises:
        Rejected: it is too large, or no JSON object.
    """
    if len(raw) > MOST_BYTES:
        raise Rejected(f"A webhook call has {len(raw)} bytes; at most {MOST_BYTES} are read.", status=400)
    body = wire.read_json(raw)
    if not isinstance(body, dict):
        raise Rejected("A webhook call is not a JSON object, so nothing can be made of it.", status=400)
    meta = obj(body.get("meta"))
    delivery_id = wire.identifier(meta.get("messageId")) or hashlib.sha256(raw).hexdigest()
    kind = wire.identifier(meta.get("type")) or wire.identifier(body.get("type")) or "unknown"
    reader = _READERS.get(kind) or (_ping if kind == "unknown" else None)
    found = reader(delivery_id, kind, body) if reader else None
    return found or Other(delivery_id=delivery_id, kind=kind)


def final_status(raw: bytes) -> FinalStatus | None:
    """The final status that a call tells; `None` when it tells something else. Raises as `read` does."""
    found = read(raw)
    return found.status if isinstance(found, StatusEvent) else None


_Reader = Callable[[str, str, Mapping[str, Any]], Webhook | None]


def _ping(delivery_id: str, _kind: str, body: Mapping[str, Any]) -> Webhook | None:
    word = text(body.get("ping"))
    pong = json.dumps({"pong": word}).encode()
    return Ping(delivery_id=delivery_id, kind="ping", pong=pong) if word else None


def _status(delivery_id: str, kind: str, body: Mapping[str, Any]) -> Webhook | None:
    payload = obj(body.get("payload")) or body
    named = payload if text(payload.get("id")) else {**payload, "id": payload.get("messageId")}
    message = wire.read_message(named)
    if message is None or message.state is MessageState.PROCESSING:
        return None
    status = FinalStatus(
        message=message.id, state=message.state, at=message.completed_at, detail=message.detail
    )
    return StatusEvent(delivery_id=delivery_id, kind=kind, status=status)


_READERS: Final[dict[str, _Reader]] = {"ping": _ping, "message.status": _status}
