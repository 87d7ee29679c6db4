"""The attachments of a received message, in whatever way it tells of them (Metriport contract §6).

Each one that is told of becomes an enclosure, if only one that says that its bytes are nowhere: none is left out
silently. Nothing here raises.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from adapter.domain.attachment import attachments_of, stated
from adapter.domain.received import Enclosure, Inside, Linked, Named, Nowhere, Source, media_type
from adapter.domain.resource import Resource, contained, items, obj, text
from adapter.domain.writeback import instant_text
from adapter.metriport import wire
from adapter.metriport.lifted import Lifted, base64_of

_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]{1,200}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DATE: Final = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?", re.ASCII)
_CODE: Final = re.compile(r"[!-~]{1,64}")
_VERSION: Final = re.compile(r"/_history/[^/]*$")
_WEB: Final = ("http://", "https://")
_HOLDERS: Final = frozenset({"DocumentReference", "Media", "DiagnosticReport"})
_RESOURCE: Final = "application/fhir+json"

Entry = tuple[str | None, Resource]
"""A resource that came along, and what the Bundle calls it (`fullUrl`)."""


def of_message(message: Mapping[str, Any]) -> Iterator[Enclosure]:
    """The attachments of the client library's Message."""
    listed = message.get("attachments")
    parts = _Parts(message, [])
    for one in listed if isinstance(listed, list) else [listed]:
        if one:
            yield parts.of_listed(one)


def of_communication(told: Resource, entries: Sequence[Entry]) -> Iterator[Enclosure]:
    """What the payload attaches or refers to, and what came along without being referred to."""
    parts = _Parts(told, entries)
    for part in items(told.get("payload")):
        attachment, reference = obj(part.get("contentAttachment")), obj(part.get("contentReference"))
        if attachment:
            yield _enclosure(parts.source(attachment, told, None), attachment)
        if reference:
            yield from parts.of_reference(reference)
    parts.leave_to_others()
    yield from parts.rest()


@dataclass
class _Parts:
    """What came along with the message, and which of it has been taken."""

    told: Mapping[str, Any]
    entries: Sequence[Entry]
    _taken: dict[int, Resource] = field(default_factory=dict)
    _called: dict[str, list[Resource]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Looked up, not searched for: thousands may refer to thousands.
        for url, resource in self.entries:
            names = {url, f"{resource.get('resourceType')}/{resource['id']}" if resource.get("id") else None}
            for name in filter(None, names):
                self._called.setdefault(name, []).append(resource)

    def of_listed(self, one: object) -> Enclosure:
        word, shown = text(one) or "", obj(one)
        ids = [None if word.lower().startswith(_WEB) else word, *(shown.get(key) for key in _IDS)]
        document = next((id for stated in ids if (id := wire.identifier(stated))), None)
        attachment = {name: _first(shown, keys) for name, keys in _KEYS.items()}
        attachment["url"] = attachment["url"] or word
        source = self.source(attachment, self.told, document)
        return _enclosure(source, attachment, document=_of_metriport(document))

    def of_reference(self, stated: Mapping[str, Any]) -> Iterator[Enclosure]:
        reference = text(stated.get("reference")) or ""
        target = self._find(reference, self.told)
        if target is None:
            named = reference or text(obj(stated.get("identifier")).get("value")) or ""
            yield _named(None if named.startswith("#") else _last(named))
        elif id(target) not in self._taken:
            yield from self._of_target(target)

    def leave_to_others(self) -> None:
        """What messages that are quoted beside this one refer to is theirs."""
        for _, other in self.entries:
            if other is self.told or other.get("resourceType") != "Communication":
                continue
            for part in items(other.get("payload")):
                attached, referred = obj(part.get("contentAttachment")), obj(part.get("contentReference"))
                holder = self._find(text(referred.get("reference")) or "", other)
                urls = [attached.get("url"), *(one.get("url") for one in attachments_of(holder or {}))]
                files = (self._find(text(url) or "", holder or other, only="Binary") for url in urls)
                self._taken.update({id(one): one for one in (holder, *files) if one is not None})

    def rest(self) -> Iterator[Enclosure]:
        """Documents first: the Binaries that they refer to are theirs."""
        for kinds in (_HOLDERS, {"Binary"}):
            for _, resource in self.entries:
                is_file = resource.get("resourceType") in kinds and _says_something(resource)
                if is_file and id(resource) not in self._taken:
                    yield from self._of_target(resource)

    def source(
        self, attachment: Mapping[str, Any], holder: Mapping[str, Any], document: str | None
    ) -> Source:
        """Where the bytes of an Attachment are; `document` is Metriport's id of what it is part of."""
        data, url = attachment.get("data"), text(attachment.get("url")) or ""
        if isinstance(data, str) and (data or isinstance(data, Lifted) or not url):
            return _inside(data)
        binary = self._find(url, holder, only="Binary")
        if binary is not None:
            self._taken[id(binary)] = binary
            if "data" in binary or attachment.get("size") == 0:
                return _inside(binary.get("data"))
        if url.lower().startswith(_WEB):
            return Linked(url=url, stated=stated(attachment))
        named = document or _of_metriport(wire.identifier(attachment.get("id"))) or _of_metriport(_last(url))
        nothing_to_come = binary is not None or (not url and attachment.get("size") == 0)
        if named is None and nothing_to_come and not attachment.get("size"):
            return _inside("")
        return Named(document=named) if named else Nowhere()

    def _find(self, reference: str, holder: Mapping[str, Any], *, only: str | None = None) -> Resource | None:
        """The resource that is meant: contained, by its place in the Bundle, or by kind and id."""
        plain = _VERSION.sub("", reference)
        if plain.startswith("#"):
            found = [contained(holder, plain), contained(self.told, plain)]
        else:
            by_kind_and_id = "/".join(plain.split("/")[-2:])
            found = [*self._called.get(plain, []), *self._called.get(by_kind_and_id, [])]
        return next((one for one in found if one and only in {None, one.get("resourceType")}), None)

    def _of_target(self, target: Resource) -> Iterator[Enclosure]:
        self._taken[id(target)] = target
        kind = target.get("resourceType")
        if kind == "Binary":
            yield _enclosure(_inside(target.get("data")), target)
        elif kind in _HOLDERS and _says_something(target):
            yield from self._of_holder(target)
        else:
            yield _enclosure(_whole(target), {"contentType": _RESOURCE, "title": kind})

    def _of_holder(self, holder: Resource) -> Iterator[Enclosure]:
        name = wire.identifier(holder.get("id"))
        known = _of_metriport(name)
        if holder.get("resourceType") != "DocumentReference":
            name = known
        # An empty one says nothing; but a document without any is to be asked for.
        shown = [one for one in attachments_of(holder) if one] or [{}]
        for index, attachment in enumerate(shown):
            source = self.source(attachment, holder, name)
            if isinstance(source, Named) and len(shown) > 1:
                title = text(attachment.get("title"))
                known_by = title is not None or not index
                source = Named(document=source.document, title=title) if known_by else Nowhere()
            document = f"{known}/{index + 1}" if known and index else known
            yield _enclosure(source, attachment, document=document, about=holder)


_IDS: Final = ("id", "documentId", "documentReferenceId")
_KEYS: Final = {
    "url": ("url", "downloadUrl", "presignedUrl"),
    "data": ("data",),
    "title": ("title", "fileName", "name"),
    "contentType": ("contentType", "mimeType"),
    "size": ("size",),
    "hash": ("hash",),
}


def _first(shown: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((shown[key] for key in keys if shown.get(key) is not None), None)


def _says_something(resource: Resource) -> bool:
    """Whether it is told as a file. A report without one is still a report; a document without one is to be asked for."""
    return resource.get("resourceType") in {"DocumentReference", "Binary"} or any(attachments_of(resource))


def _named(document: str | None) -> Enclosure:
    source = Named(document=document) if document else Nowhere()
    return Enclosure(source=source, document=_of_metriport(document))


def _last(reference: str) -> str | None:
    """The id at the end of a reference."""
    return wire.identifier(_VERSION.sub("", reference).rpartition("/")[2].removeprefix("urn:uuid:"))


def _of_metriport(name: str | None) -> str | None:
    """The id, when it is one of Metriport's documents; `1` or `#letter` are others in every message."""
    return name if name and _UUID.fullmatch(name) else None


def _inside(data: object) -> Inside:
    return Inside(pieces=base64_of(data if isinstance(data, str) else ""))


def _whole(resource: Resource) -> Source:
    """A resource that is no document, as its own JSON."""
    if _is_lifted(resource):
        return Nowhere()
    raw = json.dumps(resource, ensure_ascii=True).encode("ascii")
    return _inside(base64.b64encode(raw).decode("ascii"))


def _is_lifted(value: object) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, Lifted) or any(map(_is_lifted, inner))


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
        type=_type(told.get("type") or told.get("code")),
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
