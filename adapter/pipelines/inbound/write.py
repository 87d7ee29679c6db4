"""Putting a received message on the FHIR server: Binaries first, then all the rest at once (protocol §8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any, Final

from adapter.domain.attachment import stated
from adapter.domain.inbox import (
    Kept,
    Reference,
    codes,
    organization,
    owned_communication,
    owned_document,
    owned_task,
    recipient_practitioner,
    told,
)
from adapter.domain.reasons import Reason
from adapter.domain.received import Received, binary_id, document_id, document_name
from adapter.domain.resource import LocalReference, Resource, items, local_reference, obj
from adapter.domain.tasks import task_id
from adapter.domain.writeback import instant_text
from adapter.errors import Conflict, Rejected
from adapter.pipelines.inbound.context import Context
from adapter.pipelines.inbound.fetch import bytes_of
from adapter.pipelines.inbound.whose import Whose, practitioner
from adapter.ports.fhir import Place, Presence
from adapter.ports.mail import Spooled

UNMATCHED: Final = Reason(
    code="held-patient-unknown",
    sentence="A message came in, and it is not certain whose it is. Choose the Patient in `output` and complete the Task.",
)
_ABSENT: Final = frozenset({404, 410})
_ONCE: Final = 1  # a received message has no rounds: its question is asked once


async def write(context: Context, received: Received, whose: Whose, *, came_at: datetime) -> str:
    """Everything of the message, for the first time; gives its id. The transaction at the end makes it visible.

    Raises:
        Temporary, Conflict: not now; perhaps another process did.
        Rejected: an attachment cannot be had, or the FHIR server refuses.
        MappingError: a mapping is wrong.
    """
    kept = await _keep(context, received, whose)
    # A document that an earlier message brought is there already, perhaps with a person's edits.
    places = [await context.fhir.locate("DocumentReference", one.id) for one in kept]
    new = [one for one in kept if not one.was_there]
    if any(place.presence is Presence.THERE for one, place in zip(kept, places, strict=True) if one in new):
        raise Conflict("Another process brought one of its documents meanwhile; it is looked at again.")
    references = [{"reference": f"DocumentReference/{place.id}"} for place in places]
    resources = [
        await _communication(context, received, whose, references, came_at=came_at),
        *(_document(context, received, whose, one, came_at=came_at) for one in new),
        *(one.late for one in new if one.late),
    ]
    if whose.patient is None:
        resources.append(_task(context, received, whose, asked_at=received.received_at or came_at))
    # Fetching attachments takes minutes: another process may have written it meanwhile, and somebody matched it.
    place = await context.fhir.locate("Communication", received.communication)
    if not place.is_free:
        raise Conflict("Another process wrote the message meanwhile; it is looked at again.")
    communication, *_ = await context.fhir.create_all(resources)
    return communication


async def _keep(context: Context, received: Received, whose: Whose) -> list[Kept]:
    """The attachments' bytes, each as a Binary; one that a former try left is written over with the same bytes."""
    kept: list[Kept] = []
    for enclosure in received.enclosures:
        of = bytes_of(context, enclosure, patient=whose.metriport, external_id=received.external_id)
        async with of as (spooled, content_type):
            known = enclosure.document
            name = _free_name(received, kept, document=known, sha256=spooled.sha256)
            place = await context.fhir.locate("DocumentReference", document_id(name))
            if known and not await _may_be_shared(context, place, spooled, whose):
                name = _free_name(received, kept, document=None, sha256=spooled.sha256)
                place = await context.fhir.locate("DocumentReference", document_id(name))
            one = Kept(
                id=document_id(name),
                binary=binary_id(name),
                size=spooled.size,
                sha1=spooled.sha1,
                content_type=content_type,
                was_there=place.presence is Presence.THERE,
                enclosure=enclosure,
            )
            if not one.was_there:
                late = await context.fhir.store_binary(
                    one.binary,
                    content_type=content_type,
                    content=spooled.chunks,
                    size=spooled.size,
                    security_context=str(whose.patient or f"DocumentReference/{one.id}"),
                )
                one = replace(one, late=late)
            kept.append(one)
    return kept


def _free_name(received: Received, kept: Sequence[Kept], *, document: str | None, sha256: str) -> str:
    """A name for the next attachment that none before it in the message has: equal ones are numbered."""
    taken = {one.id for one in kept}
    names = (
        document_name(received.id, document=document, sha256=sha256, copies=copies) for copies in count()
    )
    return next(name for name in names if document_id(name) not in taken)


async def _may_be_shared(context: Context, place: Place, spooled: Spooled, whose: Whose) -> bool:
    """Whether what an earlier message brought under the same id of Metriport's may stand for this attachment, too.

    Only with the same bytes, that are still there, and as a current document of the same Patient: what is nobody's yet may
    become somebody else's.
    """
    if place.presence is not Presence.THERE:
        return place.presence is not Presence.DELETED
    document = obj(await context.fhir.read("DocumentReference", place.id))
    owner = _local(context, obj(document.get("subject")).get("reference"))
    if owner is None or owner != whose.patient or document.get("status") != "current":
        return False
    contents = items(document.get("content")) or [{}]
    attachment = obj(contents[0].get("attachment"))
    says = stated(attachment)
    binary = _local(context, attachment.get("url"))
    if says.sha1 is None or says.misfit(size=spooled.size, sha1=spooled.sha1) or binary is None:
        return False
    try:
        await context.fhir.read_bytes(binary.id, most_bytes=0)
    except Rejected as error:
        if error.status in _ABSENT:
            return False
        raise
    return True


def _local(context: Context, reference: object) -> LocalReference | None:
    return local_reference(reference, base_url=context.fhir.base_url)


async def _communication(
    context: Context, received: Received, whose: Whose, documents: Sequence[Reference], *, came_at: datetime
) -> Resource:
    practitioners = [recipient_practitioner(npi, await practitioner(context, npi)) for npi in received.npis]
    ours = organization(received.destination)
    made = context.mappings.render(
        "inbound/communication",
        id=received.communication,
        message=told(received, at=came_at),
        sender=organization(received.sender_address, display=received.sender),
        recipients=[*([ours] if ours else []), *practitioners],
        patient=_patient(whose),
        documents=documents,
        **codes(context.policy.marker),
    )
    return owned_communication(made, received, documents)


def _document(
    context: Context, received: Received, whose: Whose, kept: Kept, *, came_at: datetime
) -> Resource:
    made = context.mappings.render(
        "inbound/documentreference",
        id=kept.id,
        document=kept.enclosure.document,
        attachment=kept.attachment,
        type=kept.enclosure.type,
        description=kept.enclosure.description,
        patient=_patient(whose),
        message=told(received, at=came_at),
    )
    return owned_document(made, kept)


def _patient(whose: Whose) -> Reference | None:
    return {"reference": str(whose.patient)} if whose.patient else None


def _task(context: Context, received: Received, whose: Whose, *, asked_at: datetime) -> Resource:
    id = task_id(received.communication, round=_ONCE, code=UNMATCHED.code)
    candidates: list[Mapping[str, Any]] = [
        {
            "patient": {"reference": f"Patient/{one.id}"},
            "marks": [{"field": field, "mark": mark.value} for field, mark in one.marks.items()],
        }
        for one in whose.candidates
    ]
    made = context.mappings.render(
        "inbound/task",
        id=id,
        communication={"reference": f"Communication/{received.communication}"},
        reason={"code": UNMATCHED.code, "sentence": UNMATCHED.sentence},
        candidates=candidates,
        now=instant_text(asked_at),
    )
    return owned_task(made, id=id, communication=received.communication)
