"""What is behind the link of a `message.received` call: read from any of its shapes.

Not documented, so all are taken: a Bundle (Communication, DocumentReferences, Binaries, perhaps a Patient), a bare or
wrapped Communication, the client library's Message (Metriport contract §6). Nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from adapter.domain.attachment import stated
from adapter.domain.destination import parse
from adapter.domain.received import Enclosure, Inside, Linked, Named, Received, Source, media_type
from adapter.domain.resource import Resource, contained, items, obj, text
from adapter.domain.writeback import instant_text
from adapter.metriport import wire
from adapter.metriport.lifted import base64_of

_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]{1,200}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DATE: Final = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?", re.ASCII)
_CODE: Final = re.compile(r"[!-~]{1,64}")
_WRAPPERS: Final = ("bundle", "communication", "message")


def read(value: object) -> Received | None:
    """The message; `None` when the content is none, or has no id."""
    content = _unwrapped(value)
    resources = _resources(content)
    shown = next((one for one in resources if _is(one, "Communication")), None)
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
    enclosures = _of_communication(told, resources) if shown else _of_message(told)
    return replace(received, enclosures=tuple(enclosures))


def _unwrapped(value: object) -> Mapping[str, Any]:
    found = obj(value)
    if "resourceType" in found:
        return found
    return next((inner for name in _WRAPPERS if (inner := obj(found.get(name)))), found)


def _resources(content: Mapping[str, Any]) -> list[Resource]:
    kind = content.get("resourceType")
    if kind == "Bundle":
        return [dict(obj(entry.get("resource"))) for entry in items(content.get("entry"))]
    return [dict(content)] if kind == "Communication" else []


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


# --- Attachments --------------------------------------------------------------------------------------------


def _of_message(message: Mapping[str, Any]) -> Iterator[Enclosure]:
    listed = message.get("attachments")
    for one in listed if isinstance(listed, list) else []:
        document = wire.identifier(one) or wire.identifier(obj(one).get("id"))
        source = _source(_attachment_of(obj(one)), [], document)
        if source is not None:
            yield _enclosure(source, _attachment_of(obj(one)), document=_of_metriport(document))


def _attachment_of(shown: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "url": shown.get("url") or shown.get("downloadUrl"),
        "data": shown.get("data"),
        "title": shown.get("title") or shown.get("fileName") or shown.get("name"),
        "contentType": shown.get("contentType") or shown.get("mimeType"),
        "size": shown.get("size"),
        "hash": shown.get("hash"),
    }


def _of_communication(told: Mapping[str, Any], resources: list[Resource]) -> Iterator[Enclosure]:
    referred: list[int] = []
    for part in items(told.get("payload")):
        attachment = obj(part.get("contentAttachment"))
        source = _source(attachment, resources, None)
        if source is not None:
            yield _enclosure(source, attachment)
        reference = text(obj(part.get("contentReference")).get("reference"))
        if reference:
            target = contained(dict(told), reference) or _target(resources, reference)
            referred.append(id(target))
            yield from _of_target(target, reference, resources)
    # What came along without being referred to is part of the message as well.
    for resource in resources:
        if _is(resource, "DocumentReference") and id(resource) not in referred:
            yield from _of_document(resource, resources)


def _target(resources: list[Resource], reference: str) -> Resource | None:
    kind, _, name = reference.rpartition("/")
    wanted = kind.rpartition("/")[2]
    return next((one for one in resources if _is(one, wanted) and one.get("id") == name), None)


def _of_target(target: Resource | None, reference: str, resources: list[Resource]) -> Iterator[Enclosure]:
    if target is None:
        document = wire.identifier(reference.rpartition("/")[2])
        if document:
            yield Enclosure(source=Named(document=document), document=_of_metriport(document))
    elif _is(target, "Binary"):
        yield _enclosure(_inside(target), target)
    else:
        yield from _of_document(target, resources)


def _of_document(document: Resource, resources: list[Resource]) -> Iterator[Enclosure]:
    name = wire.identifier(document.get("id"))
    attachments = [obj(content.get("attachment")) for content in items(document.get("content"))]
    for index, attachment in enumerate(attachments):
        known = _of_metriport(name)
        known = f"{known}/{index + 1}" if known and index else known
        source = _source(attachment, resources, name if index == 0 else None)
        if source is not None:
            yield _enclosure(source, attachment, document=known, about=document)


def _of_metriport(name: str | None) -> str | None:
    """The id, when it is one of Metriport's documents; `1` or `#letter` are others in every message."""
    return name if name and _UUID.fullmatch(name) else None


def _source(attachment: Mapping[str, Any], resources: list[Resource], document: str | None) -> Source | None:
    data, url = attachment.get("data"), text(attachment.get("url"))
    if isinstance(data, str):
        return _inside(attachment)
    binary = _target(resources, url) if url else None
    if binary is not None:
        return _inside(binary)
    if url and url.lower().startswith(("http://", "https://")):
        return Linked(url=url, stated=stated(attachment))
    return Named(document=document) if document else None


def _inside(holder: Mapping[str, Any]) -> Inside:
    data = holder.get("data")
    return Inside(pieces=base64_of(data if isinstance(data, str) else ""))


def _enclosure(
    source: Source,
    attachment: Mapping[str, Any],
    *,
    document: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> Enclosure:
    told = obj(about)
    created = text(attachment.get("creation")) or text(told.get("date"))
    return Enclosure(
        source=source,
        document=document,
        content_type=media_type(attachment.get("contentType")),
        title=wire.sentence(attachment.get("title")),
        description=wire.sentence(told.get("description")),
        created=_created(created),
        type=_type(told.get("type")),
    )


def _created(stated: str | None) -> str | None:
    """A date as it stands, any other time as R4 takes it."""
    moment = wire.moment(stated)
    return stated if moment and _DATE.fullmatch(stated or "") else instant_text(moment) if moment else None


def _type(concept: object) -> Mapping[str, Any] | None:
    """The kind of document, as far as R4 takes it: somebody else's slip must not keep a document out."""
    codings = [
        {"system": one["system"], "code": one["code"], "display": wire.sentence(one.get("display"))}
        for one in items(obj(concept).get("coding"))
        if _URI.fullmatch(str(one.get("system"))) and _CODE.fullmatch(str(one.get("code")))
    ]
    named = wire.sentence(obj(concept).get("text"))
    return {"coding": codings, "text": named} if codings or named else None
