"""The URLs of the public interface: changing one breaks every site."""

from __future__ import annotations

from adapter.domain import canonical

IDENTIFIERS = "https://metriport.com/fhir/identifiers"
CANONICAL = "https://w3id.org/metriport-fhir-adapter"


def test_the_adapters_own_urls_are_as_published() -> None:
    assert canonical.CANONICAL == CANONICAL
    assert f"{CANONICAL}/StructureDefinition/transmission" == canonical.TRANSMISSION_EXTENSION
    assert f"{CANONICAL}/CodeSystem/channel" == canonical.CHANNEL_SYSTEM
    assert f"{CANONICAL}/CodeSystem/instruction" == canonical.INSTRUCTION_SYSTEM
    assert f"{CANONICAL}/CodeSystem/direction" == canonical.DIRECTION_SYSTEM
    assert f"{CANONICAL}/CodeSystem/delivery-reason" == canonical.REASON_SYSTEM
    assert f"{CANONICAL}/CodeSystem/task" == canonical.TASK_SYSTEM
    assert f"{CANONICAL}/CodeSystem/task-state" == canonical.TASK_STATE_SYSTEM


def test_identifiers_are_those_of_metriports_other_integrations() -> None:
    assert f"{IDENTIFIERS}/patient-id" == canonical.PATIENT_ID
    assert f"{IDENTIFIERS}/organization-id" == canonical.ORGANIZATION_ID
    assert f"{IDENTIFIERS}/communication-id" == canonical.COMMUNICATION_ID
    assert f"{IDENTIFIERS}/documentreference-id" == canonical.DOCUMENT_ID
