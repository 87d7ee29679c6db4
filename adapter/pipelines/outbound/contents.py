"""What is attached: every attachment read and checked before anything is uploaded (design §3)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from adapter.domain.attachment import (
    DOCUMENT_TYPES,
    MOST_ATTACHMENTS,
    MOST_BYTES,
    Content,
    Listed,
    attachments_of,
    check_bytes,
    check_document,
    decode,
    describe,
    owner_of,
    payloads_of,
    unreadable,
)
from adapter.domain.canonical import DOCUMENT_ID
from adapter.domain.reasons import Reason, reason
from adapter.domain.resource import (
    LocalReference,
    Resource,
    contained,
    identifiers,
    local_reference,
    obj,
    text,
)
from adapter.errors import Rejected
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.patient import Subject

_DEFAULT_TYPE: Final = "application/octet-stream"
_TOO_LARGE: Final = 413
_GONE: Final = 404
_CONTENTS: Final = frozenset({"content", "presentedForm", "contentType", "data"})

Attached = Content | Listed


async def find_contents(
    context: Context, communication: Resource, subject: Subject
) -> list[Attached] | Reason:
    """All attachments in the order of the payload, or why one of them cannot go."""
    found: list[Attached] = []
    async for attached in _each(context, communication, subject):
        if isinstance(attached, Reason):
            return attached
        found.append(attached)
        if len(found) > MOST_ATTACHMENTS:
            count = max(len(found), len(payloads_of(communication)))
            return reason("refused-too-many-attachments", count=count, limit=MOST_ATTACHMENTS)
    return found


async def _each(
    context: Context, communication: Resource, subject: Subject
) -> AsyncIterator[Attached | Reason]:
    for where, payload in payloads_of(communication):
        if "contentAttachment" in payload:
            yield await _attachment(context, obj(payload["contentAttachment"]), subject, where=where)
            continue
        document = await _document(context, communication, obj(payload["contentReference"]), where=where)
        if isinstance(document, Reason):
            yield document
        else:
            async for attached in _expand(context, document, subject, where=where):
                yield attached


async def _document(
    context: Context, communication: Resource, reference: Mapping[str, Any], *, where: str
) -> Resource | Reason:
    within = contained(communication, reference.get("reference"))
    local = local_reference(reference.get("reference"), base_url=context.fhir.base_url)
    kind = (within or {}).get("resourceType") if within else (local.type if local else None)
    if kind is None:
        return unreadable(where, "the reference leads nowhere on this FHIR server")
    if kind not in DOCUMENT_TYPES:
        return unreadable(where, "only DocumentReference, Binary, Media and DiagnosticReport can be sent")
    document = within or (await _read(context, local) if local else None)
    return document or unreadable(where, f"{local} does not exist")


async def _read(context: Context, reference: LocalReference) -> Resource | None:
    """The resource; of a stated version the contents, with whose and what the resource is now."""
    current = await context.fhir.read(reference.type, reference.id)
    if current is None or not reference.version:
        return current
    pinned = await context.fhir.read_version(reference.type, reference.id, reference.version)
    if pinned is None or check_document(pinned, where=str(reference)):
        return pinned  # not to be had, or refused for what it was then
    now = {name: value for name, value in current.items() if name not in _CONTENTS}
    return {**now, **{name: pinned[name] for name in _CONTENTS if name in pinned}}


async def _expand(
    context: Context, document: Resource, subject: Subject, *, where: str
) -> AsyncIterator[Attached | Reason]:
    problem = await _check_owner(context, document, subject, where=where) or check_document(
        document, where=where
    )
    if problem:
        yield problem
    elif document.get("resourceType") == "Binary":
        yield await _binary(context, document, {}, where=where)
    elif listed := await _listed(context, document, subject, where=where):
        yield listed
    else:
        attachments = attachments_of(document)
        if not attachments:
            yield unreadable(where, "the document has no content")
        described = _described(document)
        for index, attachment in enumerate(attachments):
            place = where if len(attachments) == 1 else f"{where} content[{index}]"
            yield await _attachment(context, {**described, **attachment}, subject, where=place)


def _described(document: Resource) -> dict[str, Any]:
    """What the document says of all its attachments; each may say it better itself."""
    named, coded = describe(document)
    facts = {
        "title": text(document.get("description")),
        "creation": document.get("date") or document.get("issued"),
        "_document": document.get("id"),
        "_type": named,
        "_codings": coded,
    }
    return {name: fact for name, fact in facts.items() if fact}


async def _check_owner(
    context: Context, document: Resource, subject: Subject, *, where: str, within: str | None = None
) -> Reason | None:
    owner = owner_of(document)
    by_way = local_reference(owner.get("reference"), base_url=context.fhir.base_url)
    if by_way is not None and by_way.type == "DocumentReference":
        # A Binary may be guarded by its document (R4, Binary.securityContext): then that has to be fit to leave.
        # The document at hand (`within`) has been checked.
        return None if within == by_way.id else await _check_guard(context, by_way, subject, where=where)
    if subject.is_owner(owner, base_url=context.fhir.base_url):
        return None
    return reason("refused-attachment-other-patient", where=where)


async def _check_guard(
    context: Context, guard: LocalReference, subject: Subject, *, where: str
) -> Reason | None:
    document = await _read(context, guard)
    if document is None:
        return unreadable(where, f"{guard}, which guards it, does not exist")
    if not subject.is_owner(owner_of(document), base_url=context.fhir.base_url):
        return reason("refused-attachment-other-patient", where=where)
    return check_document(document, where=where)


async def _listed(
    context: Context, document: Resource, subject: Subject, *, where: str
) -> Listed | Reason | None:
    known = identifiers(document, DOCUMENT_ID)
    if not known:
        return None
    try:
        listed = await context.documents.listed(subject.metriport_id)
    except Rejected as refusal:
        if not refusal.issues:
            raise  # the account or the route is refused, not this patient
        return not_taken(where, refusal)
    there = next((document_id for document_id in known if document_id in listed), None)
    return Listed(where=where, document_id=there) if there else None


def not_taken(where: str, refusal: Rejected) -> Reason:
    """What Metriport's refusal of a document, or of the patient whose it is, means for the message."""
    detail = " ".join(refusal.issues)
    if refusal.status == _GONE:
        return reason("held-patient-gone", detail=detail)
    return reason("refused-by-metriport", detail=f"{where}: {detail}")


async def _attachment(
    context: Context, attachment: Mapping[str, Any], subject: Subject, *, where: str
) -> Content | Reason:
    if "data" in attachment:
        data = decode(attachment["data"], where=where)
        return data if isinstance(data, Reason) else _content(attachment, data, None, where=where)
    url = text(attachment.get("url"))
    if url is None:
        return unreadable(where, "it has neither data nor url")
    local = local_reference(url, base_url=context.fhir.base_url)
    if local is None:
        return await _fetched(context, attachment, url, where=where)
    if local.type != "Binary":
        return unreadable(where, "its url names a resource that is no Binary")
    binary = await _read(context, local)
    if binary is None:
        return unreadable(where, f"{local} does not exist")
    within = text(attachment.get("_document"))
    return await _check_owner(context, binary, subject, where=where, within=within) or await _binary(
        context, binary, attachment, where=where
    )


async def _binary(
    context: Context, binary: Resource, attachment: Mapping[str, Any], *, where: str
) -> Content | Reason:
    data: bytes | Reason
    if "data" in binary:
        data = decode(binary["data"], where=where)
    else:  # servers that keep large content apart answer JSON without it
        data = await context.fhir.read_bytes(str(binary.get("id")))
    return (
        data
        if isinstance(data, Reason)
        else _content(attachment, data, binary.get("contentType"), where=where)
    )


async def _fetched(
    context: Context, attachment: Mapping[str, Any], url: str, *, where: str
) -> Content | Reason:
    try:
        parts = urlsplit(url)
    except ValueError:
        return unreadable(where, "its url is no address")
    if f"{parts.scheme}://{parts.netloc}" not in context.policy.allowed_origins:
        return reason("refused-attachment-origin", where=where)
    try:
        data, kind = await context.web.fetch(url, most_bytes=MOST_BYTES)
    except Rejected as refusal:
        if refusal.status == _TOO_LARGE:
            return reason("refused-attachment-too-large", where=where, limit=MOST_BYTES)
        return unreadable(where, f"its url answers {refusal.status}")
    return _content(attachment, data, kind, where=where)


def _content(attachment: Mapping[str, Any], data: bytes, kind: object, *, where: str) -> Content | Reason:
    problem = check_bytes(attachment, data, where=where)
    if problem:
        return problem
    return Content(
        where=where,
        content_type=text(attachment.get("contentType")) or text(kind) or _DEFAULT_TYPE,
        data=data,
        title=text(attachment.get("title")),
        created=text(attachment.get("creation")),
        type_text=text(attachment.get("_type")),
        type_codings=tuple(attachment.get("_codings", ())),
    )
