"""The adapter's own URLs: extensions, code systems, identifier systems; and its own ids."""

from __future__ import annotations

import uuid
from typing import Final

CANONICAL: Final = "https://w3id.org/metriport-fhir-adapter"
NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, CANONICAL)

TRANSMISSION_EXTENSION: Final = f"{CANONICAL}/StructureDefinition/transmission"

CHANNEL_SYSTEM: Final = f"{CANONICAL}/CodeSystem/channel"
INSTRUCTION_SYSTEM: Final = f"{CANONICAL}/CodeSystem/instruction"
DIRECTION_SYSTEM: Final = f"{CANONICAL}/CodeSystem/direction"
REASON_SYSTEM: Final = f"{CANONICAL}/CodeSystem/delivery-reason"
TASK_SYSTEM: Final = f"{CANONICAL}/CodeSystem/task"
TASK_STATE_SYSTEM: Final = f"{CANONICAL}/CodeSystem/task-state"

_IDENTIFIERS: Final = "https://metriport.com/fhir/identifiers"
PATIENT_ID: Final = f"{_IDENTIFIERS}/patient-id"
ORGANIZATION_ID: Final = f"{_IDENTIFIERS}/organization-id"
COMMUNICATION_ID: Final = f"{_IDENTIFIERS}/communication-id"
DOCUMENT_ID: Final = f"{_IDENTIFIERS}/documentreference-id"

# Ids of the adapter's own, on a server that gives all ids itself.
OWN_ID: Final = f"{CANONICAL}/identifiers/id"

URI_SYSTEM: Final = "urn:ietf:rfc:3986"
NPI_SYSTEM: Final = "http://hl7.org/fhir/sid/us-npi"
DIRECT_TELECOM: Final = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-direct"
CONNECTION_TYPE: Final = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
LOINC: Final = "http://loinc.org"


def own_id(kind: str, name: str) -> str:
    """The id of what the adapter creates: always the same for the same name."""
    return str(uuid.uuid5(NAMESPACE, f"{kind}/{name}"))
