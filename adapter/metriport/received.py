"""What is behind the link of a `message.received` call: read from any of its shapes.

Not documented, so all are taken: a Bundle (Communication, DocumentReferences, Binaries, perhaps a Patient), a bare or
wrapped Communication, the client library's Message (Metriport contract §6). Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from adapter.domain.destination import parse
from adapter.domain.received import Received
from adapter.domain.resource import Resource, items, obj, text
from adapter.metriport import wire
from adapter.metriport.enclosures import Entry, of_communication, of_message

_WRAPPERS: Final = ("bundle", "communication", "message")


def read(value: object, *, named: str | None = None) -> Received | None:
    """The message; `None` when the content is none, or has no id, or has several and none is the one that is `named`."""
    content = _unwrapped(value)
    entries = _entries(content)
    resources = [one for _, one in entries]
    messages = [one for one in resources if _is(one, "Communication")]
    if len(messages) > 1:  # others may be quoted
        messages = [one for one in messages if named is not None and one.get("id") == named]
        if len(messages) != 1:
            return None
    shown = messages[0] if messages else None
    # Any other resource has an id as well, which is no message's.
    told = shown or (content if "resourceType" not in content else {})
    found = wire.read_message(told)
    if found is None:
        return None
    received = Received(
        id=found.id,
        patient=found.patient,
        person=_person(resources, told),
        subject=found.subject,
        body=found.body,
        sender=_sender(told),
        sender_address=_sender_address(told),
        destination=wire.sentence(found.destination),
        npis=tuple(_npis(told)),
        sent_at=found.sent_at,
        received_at=wire.moment(told.get("received") or told.get("updatedAt")) or found.sent_at,
    )
    enclosures = of_communication(shown, entries) if shown else of_message(told)
    return replace(received, enclosures=tuple(enclosures))


def _unwrapped(value: object) -> Mapping[str, Any]:
    found = obj(value)
    if "resourceType" in found:
        return found
    return next((inner for name in _WRAPPERS if (inner := obj(found.get(name)))), found)


def _entries(content: Mapping[str, Any]) -> list[Entry]:
    kind = content.get("resourceType")
    if kind == "Bundle":
        listed = [
            (text(entry.get("fullUrl")), dict(obj(entry.get("resource"))))
            for entry in items(content.get("entry"))
        ]
        return [(url, resource) for url, resource in listed if text(resource.get("resourceType"))]
    return [(None, dict(content))] if kind == "Communication" else []


def _person(resources: list[Resource], told: Mapping[str, Any]) -> Resource | None:
    people = [one for one in [*resources, *map(dict, items(told.get("contained")))] if _is(one, "Patient")]
    return people[0] if len(people) == 1 else None


def _is(resource: Mapping[str, Any], kind: str) -> bool:
    return resource.get("resourceType") == kind


# --- Who sent it, and to whom -------------------------------------------------------------------------------


def _sender(told: Mapping[str, Any]) -> str | None:
    sender = told.get("sender") or told.get("from")
    shown = text(sender) or text(obj(sender).get("display")) or text(obj(sender).get("name"))
    return wire.sentence(shown)


def _sender_address(told: Mapping[str, Any]) -> str | None:
    """Where a reply goes: a Direct address or an OID, whichever element tells it."""
    sender = told.get("sender") or told.get("from")
    stated = [
        obj(obj(sender).get("identifier")).get("value"),
        obj(sender).get("destination"),
        obj(sender).get("oid"),
        told.get("senderOid"),
        _sender(told),
    ]
    return next((address for one in stated if (word := text(one)) and (address := parse(word))), None)


def _npis(told: Mapping[str, Any]) -> Iterator[str]:
    named = told.get("intendedRecipientNpi")
    shown = [one.get("display") for one in items(told.get("recipient")) if one.get("type") == "Practitioner"]
    for one in [*(named if isinstance(named, list) else []), *shown]:
        npi = wire.identifier(one)
        if npi:
            yield npi
