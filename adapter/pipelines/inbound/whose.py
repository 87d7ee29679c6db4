"""Whose a received message is: by Metriport's id, by the account's own, else nobody's until a person says (design §3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from adapter.domain.candidates import Candidate, birth_date, families, ranked
from adapter.domain.canonical import NPI_SYSTEM, PATIENT_ID
from adapter.domain.received import Received
from adapter.domain.resource import LocalReference, Resource, identifiers
from adapter.errors import Rejected
from adapter.pipelines.inbound.context import Context

_MOST: Final = 50  # resources that one search may bring
# https://hl7.org/fhir/R4/search.html#escaping
_ESCAPED: Final = re.compile(r"[\\$,|]")
_ESCAPE: Final = r"\\\g<0>"


@dataclass(frozen=True, kw_only=True)
class Whose:
    """The local Patient; without one, those that may be meant."""

    patient: LocalReference | None = None
    candidates: list[Candidate] = field(default_factory=list)


async def whose(context: Context, received: Received) -> Whose:
    """The one Patient that carries an id which the message tells, else candidates by demographics."""
    found = await _known(context, received)
    if len(found) == 1:
        return Whose(patient=LocalReference(type="Patient", id=found.pop()))
    person = dict(received.person or {}) or await _person(context, received)
    if person is None:
        return Whose()
    return Whose(candidates=ranked(person, await _alike(context, person)))


async def _known(context: Context, received: Received) -> set[str]:
    """The Patients under the message's ids; under both of them, when they disagree: then nobody is certain."""
    found: set[str] = set()
    if received.patient:
        found |= await _with_identifier(context, "Patient", PATIENT_ID, received.patient)
    if received.external_id:
        system = context.policy.external_id_system
        if system:
            found |= await _with_identifier(context, "Patient", system, received.external_id)
        else:
            patient = await context.fhir.read("Patient", received.external_id)
            found |= _in_use([patient] if patient else [])
    return found


async def _with_identifier(context: Context, type: str, system: str, value: str) -> set[str]:
    asked = f"{system}|{_ESCAPED.sub(_ESCAPE, value)}"
    found = await context.fhir.find(type, [("identifier", asked)], limit=_MOST)
    # Whose it is must not rest on how a server reads a comma: the identifier is looked for once more.
    return _in_use(one for one in found if value in identifiers(one, system))


def _in_use(found: Iterable[Resource]) -> set[str]:
    return {str(one["id"]) for one in found if one.get("active") is not False}


async def _person(context: Context, received: Received) -> Resource | None:
    if received.patient is None:
        return None
    try:
        return await context.mail.person(received.patient)
    except Rejected:
        return None  # candidates are a help, no condition


async def _alike(context: Context, person: Resource) -> list[Resource]:
    born = birth_date(person)
    searches = [[("family", family)] for family in families(person)[:2]]
    if born:
        searches.append([("birthdate", born)])
    try:
        return [one for search in searches for one in await context.fhir.find("Patient", search, limit=_MOST)]
    except Rejected:
        return []  # the same


async def practitioner(context: Context, npi: str) -> LocalReference | None:
    """The one local Practitioner with the NPI; nobody where the server does not let itself be asked."""
    try:
        found = await _with_identifier(context, "Practitioner", NPI_SYSTEM, npi)
    except Rejected:
        return None
    return LocalReference(type="Practitioner", id=found.pop()) if len(found) == 1 else None
