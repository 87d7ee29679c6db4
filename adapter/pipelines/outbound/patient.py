"""Whom the message is about: `subject` to the link between the local Patient and Metriport's (design §3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from adapter.domain.canonical import PATIENT_ID
from adapter.domain.reasons import Reason, reason
from adapter.domain.resource import (
    LocalReference,
    Resource,
    contained,
    identifiers,
    items,
    local_reference,
    obj,
    text,
)
from adapter.domain.text import literal
from adapter.pipelines.outbound.context import Context

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The patient: Metriport's id, and by what the local server knows the same person."""

    metriport_id: str
    reference: LocalReference | None
    identifiers: frozenset[tuple[str, str]]

    def is_owner(self, owner: Mapping[str, Any], *, base_url: str) -> bool:
        """Whether the reference on a document means this patient. No reference at all says nothing against it."""
        if not owner:
            return True
        reference = local_reference(owner.get("reference"), base_url=base_url)
        if reference is not None:
            return (reference.type, reference.id) == (
                "Patient",
                self.reference.id if self.reference else None,
            )
        pair = _pair(obj(owner.get("identifier")))
        return pair is not None and pair in self.identifiers


async def find_subject(context: Context, communication: Resource) -> Subject | Reason:
    """The patient of the Communication, or why it is not certain who that is."""
    reference = obj(communication.get("subject"))
    kind = _stated_type(communication, reference, base_url=context.fhir.base_url)
    if not reference:
        return reason("refused-no-subject")
    if kind == "Group":
        return reason("refused-group-subject")
    within = contained(communication, reference.get("reference"))
    if within is not None:
        return _linked(within, where="The contained Patient", reference=None)
    local = local_reference(reference.get("reference"), base_url=context.fhir.base_url)
    if local is not None:
        patient = await context.fhir.read(local.type, local.id) if local.type == "Patient" else None
        if patient is None:
            return _unknown(str(local), "it does not exist on the FHIR server")
        return _linked(patient, where=str(local), reference=LocalReference(type="Patient", id=local.id))
    return await _logical(context, obj(reference.get("identifier")))


async def _logical(context: Context, identifier: Mapping[str, Any]) -> Subject | Reason:
    pair = _pair(identifier)
    if pair is None:
        return _unknown("The subject", "the reference leads nowhere on this FHIR server")
    if pair[0] == PATIENT_ID and _UUID.fullmatch(pair[1]):
        return Subject(metriport_id=pair[1].lower(), reference=None, identifiers=frozenset({pair}))
    asked = [("identifier", "|".join(map(literal, pair)))]
    # Whose it is must not rest on how a server reads a comma: the identifier is looked for once more.
    found = [
        patient
        async for patient in context.fhir.search("Patient", asked)
        if pair in map(_pair, items(patient.get("identifier")))
    ]
    if len(found) > 1:
        return reason("held-patient-ambiguous", count=len(found))
    if not found:
        return _unknown("The subject", "no Patient has the identifier that it names")
    local = LocalReference(type="Patient", id=str(found[0].get("id")))
    return _linked(found[0], where=str(local), reference=local)


def _linked(patient: Mapping[str, Any], *, where: str, reference: LocalReference | None) -> Subject | Reason:
    if patient.get("resourceType") != "Patient":
        return _unknown("The subject", "it is no Patient")
    linked = {value.lower() for value in identifiers(patient, PATIENT_ID)}
    if len(linked) > 1:
        return reason("held-patient-ambiguous", count=len(linked))
    if not linked:
        return _unknown(where, "it carries no link")
    metriport_id = linked.pop()
    if not _UUID.fullmatch(metriport_id):
        return _unknown(where, "its link is not a UUID")
    pairs = (_pair(identifier) for identifier in items(patient.get("identifier")))
    return Subject(
        metriport_id=metriport_id,
        reference=reference,
        identifiers=frozenset(pair for pair in pairs if pair),
    )


def _stated_type(communication: Resource, reference: Mapping[str, Any], *, base_url: str) -> str | None:
    within = contained(communication, reference.get("reference"))
    if within is not None:
        return text(within.get("resourceType"))
    local = local_reference(reference.get("reference"), base_url=base_url)
    return local.type if local else text(reference.get("type"))


def _pair(identifier: Mapping[str, Any]) -> tuple[str, str] | None:
    system, value = text(identifier.get("system")), text(identifier.get("value"))
    return (system, value) if system and value else None


def _unknown(where: str, why: str) -> Reason:
    return reason("held-patient-unknown", where=where, why=why, system=PATIENT_ID)
