"""Example data of the sandbox patients: a few resources each, all invented."""

from __future__ import annotations

from typing import Any, Final

from adapter.simulators.metriport.directory import SANDBOX_PATIENTS, SandboxPatient

_CONDITIONS: Final = ("Seasonal allergy", "Hypertension", "Osteoarthritis", "Type 2 diabetes", "Palpitations")
_GENDERS: Final = {"F": "female", "M": "male"}


def _resources(number: int, patient: SandboxPatient) -> list[dict[str, Any]]:
    subject = {"reference": f"Patient/{patient.id}"}
    return [
        {
            "resourceType": "Patient",
            "id": patient.id,
            "name": [{"family": patient.last_name, "given": [patient.first_name]}],
            "birthDate": patient.dob,
            "gender": _GENDERS[patient.gender],
        },
        {
            "resourceType": "Condition",
            "id": f"condition-{number}",
            "subject": subject,
            "code": {"text": _CONDITIONS[number]},
            "recordedDate": f"2025-0{number + 1}-15",
        },
        {
            "resourceType": "Observation",
            "id": f"weight-{number}",
            "status": "final",
            "subject": subject,
            "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}], "text": "Body weight"},
            "effectiveDateTime": f"2026-0{number + 1}-10T09:30:00Z",
            "valueQuantity": {"value": 60 + number, "unit": "kg"},
        },
    ]


EXAMPLES: Final = {
    patient.id: tuple(_resources(number, patient)) for number, patient in enumerate(SANDBOX_PATIENTS)
}
