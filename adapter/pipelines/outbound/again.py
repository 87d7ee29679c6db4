"""A call as it was claimed, made a second time: the mark keeps its digest, not its text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from adapter.domain.mark import marks_on
from adapter.domain.message import Send, reference_of
from adapter.domain.reasons import Reason
from adapter.domain.resource import Resource, instant, obj, version_of
from adapter.domain.transmission import Transmission
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.patient import find_subject
from adapter.pipelines.outbound.prepare import Plan, complete, plan, render, texts_of
from adapter.pipelines.outbound.recipient import Address, find_address
from adapter.ports.fhir import History


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """What is still known of a claim: Metriport's patient, the call and the version it was made from, and since when.

    `send` is `None` when no version that is kept makes the call with the mark's digest, `patient` when none is linked.
    """

    patient: str | None
    send: Send | None = None
    version: str | None = None
    since: datetime | None = None


async def recall(context: Context, row: Transmission, present: Resource | None) -> Recalled:
    """Makes the call again, from the Communication as it is or else from its history.

    Raises:
        Temporary, Rejected: the FHIR server could not answer.
        MappingError: a template is wrong.
    """
    send, version = (await _render(context, row, present), version_of(present)) if present else (None, None)
    past = History(versions=[], whole=False)
    if not _is_claimed(row, send) or row.claimed_at is None:
        past = await context.fhir.history("Communication", row.communication) or past
    patient = row.patient or (send.patient if send else None)
    for earlier in past.versions:
        if _is_claimed(row, send):
            break
        send, version = await _render(context, row, earlier), version_of(earlier)
        patient = patient or (send.patient if send else None)
    since = row.claimed_at or _first_claim(row, past)
    if send is None or not _is_claimed(row, send):
        return Recalled(patient=patient, since=since)
    return Recalled(patient=send.patient, send=send, version=version, since=since)


async def plan_anew(context: Context, communication: Resource, *, round: int) -> Send | None:
    """The call that the Communication makes as it is now; `None` when it makes none.

    Raises:
        Temporary, Rejected: a neighbour could not answer.
        MappingError: a template is wrong.
    """
    planned = await plan(context, communication, round=round)
    send = planned if isinstance(planned, Reason) else await complete(context, planned)
    return None if isinstance(send, Reason) else send


def _is_claimed(row: Transmission, send: Send | None) -> bool:
    # Without a digest nothing was claimed by us: what it says now is all that there is.
    return send is not None and row.digest in {None, send.digest}


def _first_claim(row: Transmission, past: History) -> datetime | None:
    """When the server took the round's first claim: nothing of it was sent before.

    Only a whole history tells. A server may keep the last versions only, and in those a mark that was overwritten and
    put back looks like a claim.
    """
    claimed = [
        version for version in past.versions if any(mark.round == row.round for mark in marks_on(version))
    ]
    if not claimed or not past.whole:
        return None
    return instant(obj(claimed[-1].get("meta")).get("lastUpdated"))


async def _render(context: Context, row: Transmission, version: Resource) -> Send | None:
    """The call that this version makes, to the destination and with the documents that were claimed."""
    subject = await find_subject(context, version)
    if row.destination is None or isinstance(subject, Reason):
        return None
    found = await find_address(context, version)
    npis = () if isinstance(found, Reason) else found.npis
    sends: list[Send] = []
    # The setting may have been another one when it was claimed.
    for line in ("", reference_of(context.fhir.base_url, row.communication, round=row.round)):
        texts = texts_of(context, version, reference=line)
        if not isinstance(texts, Reason):
            planned = Plan(
                communication=version,
                subject=subject,
                address=Address(destination=row.destination, npis=npis),
                subject_line=texts.subject_line,
                body=texts.sent or None,
            )
            sends.append(render(context, planned, list(row.attachments)))
    return next((send for send in sends if _is_claimed(row, send)), next(iter(sends), None))
