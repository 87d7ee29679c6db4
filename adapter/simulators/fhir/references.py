"""References between resources, as HAPI treats them: only those that a search parameter indexes are looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator

from adapter.simulators.fhir.outcome import Refused, Resource
from adapter.simulators.fhir.paths import at
from adapter.simulators.fhir.types import TYPES

_ANY: tuple[str, ...] = ()
_PEOPLE = ("Practitioner", "PractitionerRole", "Organization", "Patient", "RelatedPerson", "Device")
_LOCAL = re.compile(r"([A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")

# Taken for names even where external references are not allowed; the official image's `logical_urls`.
_LOGICAL = re.compile(r"https?://(terminology\.hl7\.org|snomed\.info|unitsofmeasure\.org|loinc\.org)/.*")

# Element path -> the types it may point to (none: not checked). https://hl7.org/fhir/R4/searchparameter-registry.html
INDEXED: dict[str, dict[str, tuple[str, ...]]] = {
    "Communication": {
        "subject": ("Patient", "Group"),
        "sender": (*_PEOPLE, "HealthcareService"),
        "recipient": (*_PEOPLE, "Group", "CareTeam", "HealthcareService"),
        "encounter": ("Encounter",),
        "basedOn": _ANY,
        "partOf": _ANY,
    },
    "DiagnosticReport": {"subject": _ANY, "performer": _ANY, "encounter": ("Encounter",), "basedOn": _ANY},
    "DocumentReference": {
        "subject": ("Patient", "Practitioner", "Group", "Device"),
        "author": _PEOPLE,
        "authenticator": ("Practitioner", "PractitionerRole", "Organization"),
        "custodian": ("Organization",),
        "relatesTo.target": ("DocumentReference",),
        "context.encounter": ("Encounter", "EpisodeOfCare"),
        "context.related": _ANY,
    },
    "Endpoint": {"managingOrganization": ("Organization",)},
    "HealthcareService": {
        "providedBy": ("Organization",),
        "endpoint": ("Endpoint",),
        "location": ("Location",),
    },
    "Media": {"subject": _ANY, "operator": _ANY, "encounter": ("Encounter",), "basedOn": _ANY},
    "Organization": {"partOf": ("Organization",), "endpoint": ("Endpoint",)},
    "Patient": {
        "generalPractitioner": ("Organization", "Practitioner", "PractitionerRole"),
        "managingOrganization": ("Organization",),
        "link.other": ("Patient", "RelatedPerson"),
    },
    "PractitionerRole": {
        "practitioner": ("Practitioner",),
        "organization": ("Organization",),
        "healthcareService": ("HealthcareService",),
        "location": ("Location",),
        "endpoint": ("Endpoint",),
    },
    "RelatedPerson": {"patient": ("Patient",)},
    "Task": {
        "focus": _ANY,
        "for": _ANY,
        "owner": (*_PEOPLE, "CareTeam", "HealthcareService"),
        "requester": _PEOPLE,
        "encounter": ("Encounter",),
        "basedOn": _ANY,
        "partOf": ("Task",),
    },
}


def _indexed(resource: Resource) -> Iterator[tuple[str, tuple[str, ...], Resource]]:
    for path, allowed in INDEXED.get(resource["resourceType"], {}).items():
        for node in at(resource, path):
            if isinstance(node, dict) and isinstance(node.get("reference"), str):
                yield f"{resource['resourceType']}.{path}", allowed, node


def normalise(resource: Resource, *, base_url: str, external_allowed: bool) -> None:
    """Rewrites, in place, the indexed references as HAPI stores them: relative, without a version.

    Raises:
        Refused: one is external where none is allowed, has no type, or has a type that does not belong there.
    """
    for path, allowed, node in _indexed(resource):
        text = node["reference"]
        if external_allowed:
            text = text.removeprefix(f"{base_url}/")
        if text.startswith("#") or _LOGICAL.fullmatch(text):
            continue
        if re.match(r"https?://", text):
            if not external_allowed:
                raise Refused(400, f"{path} has the external reference {text}; this server allows none")
            continue
        node["reference"] = _local(text, path, allowed)


def _local(text: str, path: str, allowed: tuple[str, ...]) -> str:
    found = _LOCAL.fullmatch(text)
    if found is None or found[1] not in TYPES:
        raise Refused(400, f"{path} has the reference {text}, which names no resource type")
    if allowed and found[1] not in allowed:
        raise Refused(
            422, f"{path} has a reference to a resource of type {found[1]}, which is not valid there"
        )
    return f"{found[1]}/{found[2]}"


def local_targets(resource: Resource) -> list[tuple[str, str]]:
    """The `Type/id` of each indexed local reference, with its path."""
    pairs = ((path, node["reference"]) for path, _, node in _indexed(resource))
    return [(path, text) for path, text in pairs if _LOCAL.fullmatch(text)]
