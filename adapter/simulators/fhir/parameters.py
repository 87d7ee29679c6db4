"""Which search parameters there are; a token, string or date of the elements at some paths.

https://hl7.org/fhir/R4/searchparameter-registry.html; those that the adapter and its sites' settings may use.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameter:
    """A kind (`token`, `string`, `date`, `reference`, `uri`) and where its values stand."""

    kind: str
    paths: tuple[str, ...]


def _p(kind: str, *paths: str) -> Parameter:
    return Parameter(kind, paths)


COMMON = {
    "_id": _p("token", "id"),
    "_lastUpdated": _p("date", "meta.lastUpdated"),
    "_profile": _p("uri", "meta.profile"),
    "_security": _p("token", "meta.security"),
    "_tag": _p("token", "meta.tag"),
}

_IDENTIFIER = _p("token", "identifier")
_NAME_PARTS = ("name.family", "name.given", "name.prefix", "name.suffix", "name.text")

OF_TYPE: dict[str, dict[str, Parameter]] = {
    "Basic": {"identifier": _IDENTIFIER},
    "Communication": {
        "based-on": _p("reference", "basedOn"),
        "category": _p("token", "category"),
        "encounter": _p("reference", "encounter"),
        "identifier": _IDENTIFIER,
        "medium": _p("token", "medium"),
        "part-of": _p("reference", "partOf"),
        "patient": _p("reference", "subject"),
        "received": _p("date", "received"),
        "recipient": _p("reference", "recipient"),
        "sender": _p("reference", "sender"),
        "sent": _p("date", "sent"),
        "status": _p("token", "status"),
        "subject": _p("reference", "subject"),
    },
    "DocumentReference": {
        "date": _p("date", "date"),
        "identifier": _p("token", "identifier", "masterIdentifier"),
        "patient": _p("reference", "subject"),
        "status": _p("token", "status"),
        "subject": _p("reference", "subject"),
        "type": _p("token", "type"),
    },
    "Endpoint": {"identifier": _IDENTIFIER, "status": _p("token", "status")},
    "HealthcareService": {"identifier": _IDENTIFIER, "organization": _p("reference", "providedBy")},
    "Organization": {"identifier": _IDENTIFIER, "name": _p("string", "name", "alias")},
    "Patient": {
        "active": _p("token", "active"),
        "birthdate": _p("date", "birthDate"),
        "family": _p("string", "name.family"),
        "gender": _p("token", "gender"),
        "given": _p("string", "name.given"),
        "identifier": _IDENTIFIER,
        "name": _p("string", *_NAME_PARTS),
        "phone": _p("token", "telecom"),
    },
    "Practitioner": {
        "family": _p("string", "name.family"),
        "given": _p("string", "name.given"),
        "identifier": _IDENTIFIER,
        "name": _p("string", *_NAME_PARTS),
    },
    "PractitionerRole": {
        "active": _p("token", "active"),
        "identifier": _IDENTIFIER,
        "organization": _p("reference", "organization"),
        "practitioner": _p("reference", "practitioner"),
    },
    "Subscription": {
        "criteria": _p("string", "criteria"),
        "status": _p("token", "status"),
        "type": _p("token", "channel.type"),
        "url": _p("uri", "channel.endpoint"),
    },
    "Task": {
        "business-status": _p("token", "businessStatus"),
        "code": _p("token", "code"),
        "focus": _p("reference", "focus"),
        "identifier": _IDENTIFIER,
        "intent": _p("token", "intent"),
        "owner": _p("reference", "owner"),
        "patient": _p("reference", "for"),
        "status": _p("token", "status"),
        "subject": _p("reference", "for"),
    },
}


def of_type(type_: str) -> dict[str, Parameter]:
    """Every search parameter of a resource type."""
    return COMMON | OF_TYPE.get(type_, {})
