"""Metriport's webhook calls: proof of the sender, and what one says.

Rules: https://docs.metriport.com/medical-api/getting-started/webhooks
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from adapter.domain.message import MessageState
from adapter.domain.resource import obj, text
from adapter.errors import Rejected, Unverified
from adapter.metriport import wire
from adapter.ports.ledger import Delivery, FinalStatus

MOST_BYTES: Final = 10_000_000
MOST_LEVELS: Final = 100  # FHIR inside an event nests a few dozen
MOST_AHEAD: Final = timedelta(hours=1)
SIGNATURE_HEADER: Final = "x-metriport-signature"

# Every type that Metriport documents.
KINDS: Final = frozenset(
    {
        "ping",
        "message.status",
        "message.received",
        "medical.consolidated-data",
        "medical.document-download",
        "medical.document-conversion",
        "medical.document-bulk-download-urls",
        "medical.document-bulk-download-paged",
        "medical.bulk-patient-create",
        "network-query.hie",
        "network-query.hie.first-data-ready",
        "network-query.pharmacy",
        "network-query.lab",
        "patient.admit",
        "patient.transfer",
        "patient.discharge",
        "patient.laboratory",
        "patient.pharmacy",
    }
)


def sign(raw: bytes, key: str) -> str:
    """The signature of a body: lower-case hex HMAC-SHA256."""
    return hmac.new(key.encode("utf-8", "surrogatepass"), raw, hashlib.sha256).hexdigest()


def verify(raw: bytes, signature: str | None, keys: Sequence[str]) -> None:
    """Checks that one of the keys made the signature of the raw body.

    Every key is tried, in constant time, so the time taken tells nothing about them.

    Raises:
        Unverified: no key, no signature, or none that fits.
    """
    stated = (signature or "").encode("utf-8", "surrogatepass")
    # An empty key is a setting left blank: anybody could sign with it.
    expected = [sign(raw, key).encode() for key in keys if key]
    if not any([hmac.compare_digest(stated, one) for one in expected]):  # noqa: C419 - all, not the first
        raise Unverified(
            "A webhook call is not signed with any of metriport.webhook_keys. If the key was changed at "
            "Metriport, add the new one there."
        )


@dataclass(frozen=True, kw_only=True)
class Event:
    """A webhook call: Metriport's id of the delivery, its type as stated, and when it was made, if stated."""

    delivery_id: str
    kind: str
    when: datetime | None = None

    @property
    def counted_as(self) -> str:
        """The type, when it is a documented one, else `other`: a metric's labels are a closed list."""
        return self.kind if self.kind in KINDS else "other"


@dataclass(frozen=True, kw_only=True)
class Ping(Event):
    """Metriport asks whether anybody is there; `pong` is the body of the answer."""

    pong: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class StatusEvent(Event):
    """The final status of an outbound message."""

    status: FinalStatus


@dataclass(frozen=True, kw_only=True)
class ReceivedEvent(Event):
    """Somebody sent a message in.

    `links` are presigned, so each is a credential, and live minutes. The patient is named by Metriport's id and
    by the account's own one, when it was matched. `named` is the id in the payload: likely the message's, which is
    not documented: it names a message that cannot be had otherwise, and nothing else rests on it.
    """

    links: tuple[str, ...] = field(repr=False)
    patient: str | None = field(repr=False)
    external_id: str | None = field(repr=False)
    named: str | None = None


@dataclass(frozen=True, kw_only=True)
class Other(Event):
    """Anything else: acknowledged and kept."""


Webhook = Ping | StatusEvent | ReceivedEvent | Other


def read(raw: bytes) -> Webhook:
    """What a verified call says.

    The delivery id is `meta.messageId`, and without one the SHA-256 of the body.

    Raises:
        Rejected: it is too large, nested too deeply, or no JSON object of which every key stands once.
    """
    if len(raw) > MOST_BYTES:
        raise Rejected(f"A webhook call has {len(raw)} bytes; at most {MOST_BYTES} are read.", status=400)
    body = _object(raw)
    meta = obj(body.get("meta"))
    kind = wire.identifier(meta.get("type")) or wire.identifier(body.get("type")) or "unknown"
    event = Event(
        delivery_id=wire.identifier(meta.get("messageId")) or hashlib.sha256(raw).hexdigest(),
        kind=kind,
        when=wire.moment(meta.get("when")),
    )
    reader = _READERS.get(kind) or (_ping if kind == "unknown" else None)
    return (reader(event, body) if reader else None) or Other(**vars(event))


def refuse_the_future(event: Event, *, now: datetime) -> None:
    """An old call is taken, since Metriport replays by hand; one from the future was not made by Metriport.

    Raises:
        Rejected: it states a time more than an hour ahead.
    """
    if event.when is not None and event.when > now + MOST_AHEAD:
        ahead = "A webhook call states a time more than an hour ahead in meta.when"
        raise Rejected(f"{ahead}, so it is not kept. Check this machine's clock.", status=400)


def final_status(raw: bytes) -> FinalStatus | None:
    """The final status that a call tells; `None` when it tells something else. Raises as `read` does."""
    found = read(raw)
    return found.status if isinstance(found, StatusEvent) else None


def made_anew(raw: bytes, at: datetime) -> Delivery | None:
    """A call that Metriport was asked for, as if it had come in then; `None` when nothing can be read from it."""
    try:
        event = read(raw)
    except Rejected:
        return None
    return Delivery(delivery_id=event.delivery_id, kind=event.kind, received_at=at, body=raw)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        # Decoded here: json.loads would also take UTF-16, and halves of characters written as UTF-8.
        body = json.loads(raw.decode("utf-8"), object_pairs_hook=_each_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or _is_deeper(body, MOST_LEVELS):
        raise Rejected(
            "A webhook call is not a JSON object that can be read: UTF-8, every key once, at most "
            f"{MOST_LEVELS} levels. Nothing can be made of it.",
            status=400,
        )
    return body


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [child for one in inner for child in one if isinstance(child, (dict, list))]
    return bool(level)


_Reader = Callable[[Event, Mapping[str, Any]], Webhook | None]
_MOST_EXTERNAL_ID: Final = 1000
_LINKS: Final = ("url", "bundleUrl", "downloadUrl", "messageUrl")


def _ping(event: Event, body: Mapping[str, Any]) -> Webhook | None:
    word = text(body.get("ping"))
    pong = json.dumps({"pong": word}).encode()
    return Ping(**vars(event) | {"kind": "ping"}, pong=pong) if word else None


def _status(event: Event, body: Mapping[str, Any]) -> Webhook | None:
    payload = obj(body.get("payload")) or body
    named = payload if text(payload.get("id")) else {**payload, "id": payload.get("messageId")}
    message = wire.read_message(named)
    if message is None or message.state is MessageState.PROCESSING:
        return None
    status = FinalStatus(
        message=message.id, state=message.state, at=message.completed_at, detail=message.detail
    )
    return StatusEvent(**vars(event), status=status)


def _received(event: Event, body: Mapping[str, Any]) -> Webhook:
    """Which keys it has is not documented; sibling events call the link `url`."""
    payload = obj(body.get("payload")) or body
    links = (text(payload.get(key)) for key in _LINKS)
    return ReceivedEvent(
        **vars(event),
        links=tuple(dict.fromkeys(link for link in links if link)),
        patient=wire.identifier(payload.get("patientId")),
        external_id=_external_id(payload.get("externalId")),
        named=wire.identifier(payload.get("id")),
    )


def _external_id(stated: object) -> str | None:
    """As it stands, or not at all: one that was mended may be the id of somebody else."""
    told = text(stated)
    return told if told and told.isprintable() and len(told) <= _MOST_EXTERNAL_ID else None


_READERS: Final[dict[str, _Reader]] = {
    "ping": _ping,
    "message.status": _status,
    "message.received": _received,
}
