"""What the server says it can do, in HAPI's way: of `updateCreate`, which it does, it says nothing."""

from __future__ import annotations

from datetime import datetime

from adapter.simulators.fhir.outcome import Resource
from adapter.simulators.fhir.parameters import of_type
from adapter.simulators.fhir.types import TYPES
from adapter.simulators.fhir.wire import instant

_INTERACTIONS = ("search-type", "update", "vread", "read", "history-instance", "delete", "create")


def statement(base_url: str, now: datetime) -> Resource:
    """The CapabilityStatement. https://hl7.org/fhir/R4/capabilitystatement.html"""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": instant(now),
        "kind": "instance",
        "software": {"name": "FHIR server simulator"},
        "implementation": {"description": "FHIR server simulator", "url": base_url},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "resource": [_resource(type_) for type_ in sorted(TYPES)],
                "interaction": [{"code": "transaction"}],
            }
        ],
    }


def _resource(type_: str) -> Resource:
    return {
        "type": type_,
        "interaction": [{"code": code} for code in _INTERACTIONS],
        "versioning": "versioned-update",
        "conditionalCreate": True,
        "searchParam": [{"name": name, "type": one.kind} for name, one in sorted(of_type(type_).items())],
    }
