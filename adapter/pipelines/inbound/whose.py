"""Whose a received message is: by Metriport's id, by the account's own, else nobody's until a person says (design §3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from adapter.domain.candidates import Candidate, birth_date, families, ranked
from adapter.domain.canonical import NPI_SYSTEM, PATIENT_ID
from adapter.domain.received import Received
from adapter.domain.resource import LocalReference, Resource, identifiers, items, local_reference
from adapter.domain.text import literal
from adapter.errors import Rejected, Temporary
from adapter.pipelines.inbound.context import Context

_MOST: Final = 50  # resources that one search may bring


@dataclass(frozen=True, kw_only=True)
class Whose:
    """The local Patient; without one, those that may be meant. `metriport` is Metriport's id of the patient, if known."""

    patient: LocalReference | None = None
    metriport: str | None = None
    candidates: list[Candidate] = field(default_factory=list)


async def whose(context: Context, received: Received) -> Whose:
    """The one Patient that carries an id which the message tells, else candidates: by these ids, and by demographics."""
    known = await _known(context, received)
    fitting = [id for id, patient in known.items() if _is_in_use(patient)]
    is_certain = len(fitting) == 1 and not received.disputed
    if is_certain and not _is_anothers(known[fitting[0]], received.patient):
        links = identifiers(known[fitting[0]], PATIENT_ID)
        linked = links[0] if len(links) == 1 else None
        return Whose(
            patient=LocalReference(type="Patient", id=fitting[0]), metriport=received.patient or linked
        )
    person = dict(received.person or {}) or await _person(context, received) or {}
    candidates = ranked(person, await _alike(context, person), known=known.values())
    return Whose(metriport=received.patient, candidates=candidates)


async def _known(context: Context, received: Received) -> dict[str, Resource]:
    """The Patients under the message's ids; under both of them, when they disagree: then nobody is certain."""
    found: dict[str, Resource] = {}
    if received.patient:
        found |= await _with_identifier(context, "Patient", PATIENT_ID, received.patient)
    if received.external_id:
        system = context.policy.external_id_system
        if system:
            found |= await _with_identifier(context, "Patient", system, received.external_id)
        else:
            found |= await _with_id(context, received.external_id)
    return found


async def _with_id(context: Context, value: str) -> dict[str, Resource]:
    """Searched for rather than read: where it is no Patient's id, it may be a number that must stand in no URL."""
    reference = local_reference(f"Patient/{value}", base_url=context.fhir.base_url)
    if reference is None or reference.id != value:
        return {}
    found = await context.fhir.find("Patient", [("_id", value)], limit=_MOST)
    return _by_id(one for one in found if one["id"] == value)


async def _with_identifier(context: Context, type: str, system: str, value: str) -> dict[str, Resource]:
    found = await context.fhir.find(type, [("identifier", f"{system}|{literal(value)}")], limit=_MOST)
    # Whose it is must not rest on how a server reads a comma: the identifier is looked for once more.
    return _by_id(one for one in found if value in identifiers(one, system))


def _by_id(found: Iterable[Resource]) -> dict[str, Resource]:
    return {str(one["id"]): one for one in found}


def _is_in_use(resource: Resource) -> bool:
    """A Patient that was merged into another must no longer be used (https://hl7.org/fhir/R4/valueset-link-type.html)."""
    merged = any(link.get("type") == "replaced-by" for link in items(resource.get("link")))
    return resource.get("active") is not False and not merged


def _is_anothers(patient: Resource, told: str | None) -> bool:
    """Whether the Patient is linked to somebody else at Metriport than the message tells: its two ids disagree."""
    links = identifiers(patient, PATIENT_ID)
    return told is not None and bool(links) and told not in links


async def _person(context: Context, received: Received) -> Resource | None:
    if received.patient is None:
        return None
    try:
        return await context.mail.person(received.patient)
    except (Temporary, Rejected):
        return None  # candidates are a help, no condition


async def _alike(context: Context, person: Resource) -> list[Resource]:
    born = birth_date(person)
    searches = [[("family", literal(family))] for family in families(person)[:2]]
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
    fitting = [id for id, one in found.items() if _is_in_use(one)]
    return LocalReference(type="Practitioner", id=fitting[0]) if len(fitting) == 1 else None
