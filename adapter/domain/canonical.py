"""The adapter's own URLs: extensions, code systems, identifier systems."""

from __future__ import annotations

from typing import Final

CANONICAL: Final = "https://w3id.org/metriport-fhir-adapter"

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
