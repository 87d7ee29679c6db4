"""References between resources: which are checked, and how they are stored."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.fhir.server import Fhir, body, refused


def _communication(fhir: Fhir, **elements: Any) -> dict[str, Any]:
    return {"resourceType": "Communication", "id": fhir.id("c"), "status": "completed", **elements}


def test_a_reference_to_what_is_not_there_is_refused_unless_lax(fhir: Fhir) -> None:
    answer = fhir.put(_communication(fhir, subject={"reference": f"Patient/{fhir.id('absent')}"}))

    assert refused(answer, 400) if fhir.strict else answer.status_code == 201


def test_a_reference_to_what_was_deleted_is_refused_unless_lax(fhir: Fhir) -> None:
    fhir.stored("Patient", "p")
    fhir.delete(f"Patient/{fhir.id('p')}")

    answer = fhir.put(_communication(fhir, subject={"reference": f"Patient/{fhir.id('p')}"}))

    assert refused(answer, 400) if fhir.strict else answer.status_code == 201


def test_a_reference_to_another_server_is_refused_unless_lax(fhir: Fhir) -> None:
    answer = fhir.put(_communication(fhir, subject={"reference": "http://elsewhere.example/fhir/Patient/1"}))

    assert refused(answer, 400) if fhir.strict else answer.status_code == 201


def test_the_servers_own_url_is_external_too_unless_lax(fhir: Fhir) -> None:
    fhir.stored("Patient", "p")

    answer = fhir.put(_communication(fhir, subject={"reference": fhir.url(f"Patient/{fhir.id('p')}")}))

    if fhir.strict:
        assert refused(answer, 400)
    else:
        assert body(answer)["subject"] == {"reference": f"Patient/{fhir.id('p')}"}


@pytest.mark.parametrize(
    "elements",
    [
        {"payload": [{"contentReference": {"reference": "Binary/absent"}}]},
        {"payload": [{"contentAttachment": {"url": "Binary/absent"}}]},
        {
            "extension": [
                {"url": "http://a.example/e", "valueReference": {"reference": "Organization/absent"}}
            ]
        },
        {"contained": [{"resourceType": "Patient", "id": "p"}], "subject": {"reference": "#p"}},
        {"subject": {"identifier": {"system": "urn:x", "value": "1"}, "type": "Patient"}},
        {"recipient": [{"display": "dr.who@direct.example"}]},
    ],
    ids=["payload", "attachment", "extension", "contained", "logical", "display"],
)
def test_only_references_that_a_search_parameter_indexes_are_checked(
    fhir: Fhir, elements: dict[str, Any]
) -> None:
    answer = fhir.put(_communication(fhir, **elements))

    assert answer.status_code == 201
    assert {name: body(answer)[name] for name in elements} == elements


def test_a_reference_to_a_type_that_does_not_belong_there_is_refused(fhir: Fhir) -> None:
    fhir.stored("Organization", "o")

    assert refused(fhir.put(_communication(fhir, subject={"reference": f"Organization/{fhir.id('o')}"})), 422)


def test_a_placeholder_outside_a_transaction_is_refused(fhir: Fhir) -> None:
    placeholder = {"reference": "urn:uuid:00000000-0000-4000-8000-000000000001"}

    assert refused(fhir.put(_communication(fhir, recipient=[placeholder])), 400)


def test_a_reference_to_a_version_is_stored_without_it(fhir: Fhir) -> None:
    fhir.stored("Patient", "p")

    answer = fhir.put(_communication(fhir, subject={"reference": f"Patient/{fhir.id('p')}/_history/1"}))

    assert body(answer)["subject"] == {"reference": f"Patient/{fhir.id('p')}"}


def test_what_is_referred_to_cannot_be_deleted_unless_lax(fhir: Fhir) -> None:
    fhir.stored("Patient", "p")
    fhir.put(_communication(fhir, subject={"reference": f"Patient/{fhir.id('p')}"}))

    answer = fhir.delete(f"Patient/{fhir.id('p')}")

    assert refused(answer, 409) if fhir.strict else answer.status_code == 200


def test_what_only_a_payload_refers_to_can_be_deleted(fhir: Fhir) -> None:
    fhir.stored("DocumentReference", "d", status="current", content=[{"attachment": {"title": "t"}}])
    fhir.put(
        _communication(
            fhir, payload=[{"contentReference": {"reference": f"DocumentReference/{fhir.id('d')}"}}]
        )
    )

    assert fhir.delete(f"DocumentReference/{fhir.id('d')}").status_code == 200


def test_a_reference_whose_target_was_not_there_is_not_found_by_a_search(fhir: Fhir) -> None:
    answer = fhir.put(_communication(fhir, subject={"reference": f"Patient/{fhir.id('late')}"}))
    if fhir.strict:  # it cannot be stored, so that there is nothing to find
        assert refused(answer, 400)
        return
    fhir.stored("Patient", "late")

    assert fhir.found(f"Communication?subject=Patient/{fhir.id('late')}") == []
