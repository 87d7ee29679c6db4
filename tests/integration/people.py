"""Who is at the clinic of the integration tests, and what they write. All invented."""

from __future__ import annotations

from typing import Any

from adapter.domain.canonical import CHANNEL_SYSTEM, PATIENT_ID, URI_SYSTEM
from adapter.simulators.metriport import SANDBOX_PATIENTS
from tests.virtual.site import Site

ADDRESS = "referrals@harbor-heart.example"
MEDIUM = [{"coding": [{"system": CHANNEL_SYSTEM, "code": "metriport"}]}]


def patient(**elements: Any) -> dict[str, Any]:
    """A Patient who is linked to Metriport's first sandbox patient."""
    return {
        "resourceType": "Patient",
        "id": "maple",
        "identifier": [{"system": PATIENT_ID, "value": SANDBOX_PATIENTS[0].id}],
        "name": [{"family": "Maple", "given": ["Robin"]}],
        **elements,
    }


def communication(**elements: Any) -> dict[str, Any]:
    """An outbound Communication that can be sent as it is."""
    return {
        "resourceType": "Communication",
        "id": "referral",
        "status": "preparation",
        "medium": MEDIUM,
        "subject": {"reference": "Patient/maple"},
        "recipient": [{"identifier": {"system": URI_SYSTEM, "value": f"mailto:{ADDRESS}"}}],
        "topic": {"text": "Referral"},
        "payload": [{"contentString": "Could you see the patient?"}],
        **elements,
    }


def stage(clinic: Site) -> None:
    """What is on the FHIR server before the first message."""
    clinic.write(patient())
