"""Putting a received message on the FHIR server: Binaries first, then all the rest at once (protocol §8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from adapter.domain.inbox import (
    Kept,
    Reference,
    codes,
    organization,
    owned_communication,
    owned_document,
    owned_task,
    recipient_practitioner,
    saved,
    told,
    transaction,
)
from adapter.domain.reasons import Reason
from adapter.domain.received import Received, binary_id, document_id, document_name
from adapter.domain.resource import Resource
from adapter.domain.tasks import task_id
from adapter.domain.writeback import instant_text
from adapter.pipelines.inbound.context import Context
from adapter.pipelines.inbound.fetch import bytes_of
from adapter.pipelines.inbound.whose import Whose, practitioner

UNMATCHED: Final = Reason(
    code="held-patient-unknown",
    sentence="A message came in, and it is not certain whose it is. Choose the Patient in `output` and complete the Task.",
)
_ONCE: Final = 1  # a received message has no rounds: its question is asked once


async def write(context: Context, received: Received, whose: Whose, *, came_at: datetime) -> None:
    """Everything of the message, for the first time. The transaction at the end is what makes it visible.

    Raises:
        Temporary, Conflict: not now.
        Rejected: an attachment cannot be had, or the FHIR server refuses.
        MappingError: a mapping is wrong.
    """
    kept = await _keep(context, received, whose)
    communication = await _communication(context, received, whose, kept, came_at=came_at)
    resources = [communication, *await _new_documents(context, received, whose, kept, came_at=came_at)]
    if whose.patient is None:
        resources.append(_task(context, received, whose, asked_at=received.received_at or came_at))
    await context.fhir.transaction(transaction([saved(resource) for resource in resources]))


async def _keep(context: Context, received: Received, whose: Whose) -> list[Kept]:
    """The attachments' bytes, each as a Binary; one that a former try left is written over with the same bytes."""
    kept: list[Kept] = []
    equal: Counter[str] = Counter()
    for enclosure in received.enclosures:
        async with bytes_of(context, received, enclosure) as (spooled, content_type):
            copies = equal[enclosure.document or spooled.sha256]
            equal[enclosure.document or spooled.sha256] += 1
            name = document_name(
                received.id, document=enclosure.document, sha256=spooled.sha256, copies=copies
            )
            one = Kept(
                id=document_id(name),
                binary=binary_id(name),
                size=spooled.size,
                content_type=content_type,
                enclosure=enclosure,
            )
            if await context.fhir.read("DocumentReference", one.id) is None:
                await context.fhir.store_binary(
                    one.binary,
                    content_type=content_type,
                    content=spooled.chunks,
                    size=spooled.size,
                    security_context=str(whose.patient or f"DocumentReference/{one.id}"),
                )
            kept.append(one)
    return kept


async def _communication(
    context: Context, received: Received, whose: Whose, kept: list[Kept], *, came_at: datetime
) -> Resource:
    documents = [{"reference": f"DocumentReference/{one.id}"} for one in kept]
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


async def _new_documents(
    context: Context, received: Received, whose: Whose, kept: list[Kept], *, came_at: datetime
) -> list[Resource]:
    # A document that an earlier message brought is there already, perhaps with a person's edits.
    return [
        owned_document(
            context.mappings.render(
                "inbound/documentreference",
                id=one.id,
                document=one.enclosure.document,
                attachment=one.attachment,
                type=one.enclosure.type,
                description=one.enclosure.description,
                patient=_patient(whose),
                message=told(received, at=came_at),
            ),
            one,
        )
        for one in kept
        if await context.fhir.read("DocumentReference", one.id) is None
    ]


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
