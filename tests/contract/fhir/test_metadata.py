"""What a server says of itself. https://hl7.org/fhir/R4/capabilitystatement.html"""

from __future__ import annotations

from tests.contract.fhir.server import Fhir, body


def test_the_statement_says_what_the_adapter_looks_for(fhir: Fhir) -> None:
    statement = body(fhir.get("metadata"))

    server = statement["rest"][0]
    types = {resource["type"]: resource for resource in server["resource"]}
    communication = types["Communication"]
    interactions = {interaction["code"] for interaction in communication["interaction"]}
    parameters = {one["name"]: one["type"] for one in communication["searchParam"]}
    assert (statement["resourceType"], statement["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
    assert server["mode"] == "server"
    assert {"code": "transaction"} in server["interaction"]
    assert communication["versioning"] == "versioned-update"
    assert communication["conditionalCreate"] is True
    assert interactions >= {"read", "vread", "update", "create", "delete", "search-type", "history-instance"}
    assert parameters.items() >= {"status": "token", "medium": "token", "category": "token"}.items()
    assert {"Binary", "DocumentReference", "Patient", "Subscription", "Task"} <= types.keys()


def test_the_statement_is_silent_on_update_as_create(fhir: Fhir) -> None:
    communication = next(
        one for one in body(fhir.get("metadata"))["rest"][0]["resource"] if one["type"] == "Communication"
    )

    assert "updateCreate" not in communication
    assert (
        fhir.put({"resourceType": "Communication", "id": fhir.id(), "status": "unknown"}).status_code == 201
    )
