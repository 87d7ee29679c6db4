"""Where the message goes: the one destination that the recipients state, and the NPIs meant (design §3)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from adapter.domain.destination import (
    INVALID,
    RECIPIENT_TYPES,
    Reading,
    distinct,
    npis_of,
    of_display,
    of_endpoint,
    of_identifiers,
    of_telecoms,
)
from adapter.domain.message import MOST_NPIS
from adapter.domain.reasons import Reason, reason
from adapter.domain.resource import Resource, contained, items, local_reference, obj, text
from adapter.pipelines.outbound.context import Context


@dataclass(frozen=True, kw_only=True)
class Address:
    """One destination, and the NPIs of the people meant there."""

    destination: str
    npis: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Recipient:
    """A recipient with what it refers to. `role` is the PractitionerRole's own, `people` are Practitioners."""

    where: str
    reference: Mapping[str, Any]
    target: Resource | None
    people: tuple[Resource, ...] = ()
    holders: tuple[Resource, ...] = ()


async def find_address(context: Context, communication: Resource) -> Address | Reason:
    """The destination that the recipients state, or why there is not exactly one.

    Nobody is left out without a word: who states no destination has to be meant by an NPI at the others'.
    """
    references = items(communication.get("recipient"))
    if not references:
        return reason("refused-no-recipient")
    stated: list[str] = []
    npis: list[str] = []
    nowhere: list[str] = []
    for index, reference in enumerate(references):
        recipient = await _follow(context, communication, reference, where=f"recipient[{index}]")
        if isinstance(recipient, Reason):
            return recipient
        found = await _stated(context, communication, recipient)
        if isinstance(found, Reason):
            return found
        meant = [npi for person in recipient.people for npi in npis_of(person)]
        if not found and not meant:
            nowhere.append(recipient.where)
        stated.extend(found)
        npis.extend(meant)
    destinations = distinct(stated)
    if len(destinations) > 1:
        return reason("refused-several-destinations", count=len(destinations))
    if not destinations:
        return reason("held-destination-unknown", why="no recipient states an OID or a Direct address")
    if nowhere:
        return reason("held-destination-unknown", why=f"{nowhere[0]} states no OID, Direct address or NPI")
    people = tuple(dict.fromkeys(npis))
    if len(people) > MOST_NPIS:
        return reason("refused-too-many-npi", count=len(people), limit=MOST_NPIS)
    return Address(destination=destinations[0], npis=people)


async def _follow(
    context: Context, communication: Resource, reference: Mapping[str, Any], *, where: str
) -> _Recipient | Reason:
    target = await _target(context, communication, reference.get("reference"))
    local = local_reference(reference.get("reference"), base_url=context.fhir.base_url)
    kind = text((target or {}).get("resourceType")) or (local.type if local else text(reference.get("type")))
    if kind is not None and kind not in RECIPIENT_TYPES:
        return reason(
            "refused-recipient-type", where=where, type=kind if kind.isalpha() else "resource of that type"
        )
    if target is None:
        return _Recipient(where=where, reference=reference, target=None)
    people, holders = await _PEOPLE[str(kind)](context, communication, target)
    return _Recipient(
        where=where, reference=reference, target=target, people=tuple(people), holders=tuple(holders)
    )


async def _target(context: Context, communication: Resource, reference: object) -> Resource | None:
    within = contained(communication, reference)
    if within is not None:
        return within
    local = local_reference(reference, base_url=context.fhir.base_url)
    return await context.fhir.read(local.type, local.id) if local else None


Found = tuple[list[Resource], list[Resource]]


async def _of_practitioner(context: Context, communication: Resource, target: Resource) -> Found:
    """The person, and the roles through which Endpoints are reached."""
    identifier = target.get("id")
    local = identifier and target not in items(communication.get("contained"))
    roles = (
        [
            role
            async for role in context.fhir.search(
                "PractitionerRole", [("practitioner", f"Practitioner/{identifier}")]
            )
            if role.get("active") is not False
        ]
        if local
        else []
    )
    return [target], [*roles, target]


async def _of_role(context: Context, communication: Resource, target: Resource) -> Found:
    person = await _target(context, communication, obj(target.get("practitioner")).get("reference"))
    return ([person] if person else []), [target, *([person] if person else [])]


async def _of_other(_context: Context, _communication: Resource, target: Resource) -> Found:
    return [], [target]


_PEOPLE: Final = {
    "Practitioner": _of_practitioner,
    "PractitionerRole": _of_role,
    "Organization": _of_other,
    "HealthcareService": _of_other,
}


async def _stated(context: Context, communication: Resource, recipient: _Recipient) -> list[str] | Reason:
    """What the recipient states by the first of the four forms that states anything."""
    async for readings in _forms(context, communication, recipient):
        valid = distinct(reading for reading in readings if isinstance(reading, str))
        if len(valid) > 1:
            return reason("held-destination-ambiguous", count=len(valid))
        if valid:
            return valid
        if INVALID in readings:
            return reason("refused-destination-invalid", where=recipient.where)
    return []


async def _forms(
    context: Context, communication: Resource, recipient: _Recipient
) -> AsyncIterator[list[Reading]]:
    now = context.clock.now()
    endpoints: list[Reading] = []
    for holder in recipient.holders:
        for reference in items(holder.get("endpoint")):
            endpoint = await _target(context, communication, reference.get("reference"))
            endpoints.append(of_endpoint(endpoint, now=now) if endpoint else None)
    yield endpoints
    plain = context.policy.plain_email
    yield [
        reading for holder in recipient.holders for reading in of_telecoms(holder, now=now, plain_email=plain)
    ]
    own = items((recipient.target or {}).get("identifier"))
    yield of_identifiers([*items([recipient.reference.get("identifier")]), *own])
    yield of_display(recipient.reference)
