"""Batch and transaction. https://hl7.org/fhir/R4/http.html#transaction"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.contract.fhir.server import Fhir, body, refused

FIRST = "urn:uuid:00000000-0000-4000-8000-000000000001"
SECOND = "urn:uuid:00000000-0000-4000-8000-000000000002"


def _entry(method: str, url: str, resource: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"request": {"method": method, "url": url, **more}}
    if resource is not None:
        entry["resource"] = resource
    return entry


def _put(resource: dict[str, Any], **more: Any) -> dict[str, Any]:
    return _entry("PUT", f"{resource['resourceType']}/{resource['id']}", resource, **more)


def _bundle(*entries: dict[str, Any], type_: str = "transaction") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": type_, "entry": list(entries)}


def _statuses(answered: dict[str, Any]) -> list[str]:
    return [entry["response"]["status"] for entry in answered["entry"]]


def test_a_transaction_ties_its_entries_together_by_placeholders(fhir: Fhir) -> None:
    binary = {"resourceType": "Binary", "contentType": "text/plain", "data": "aGk="}
    patient = {
        "resourceType": "Patient",
        "identifier": [{"system": "urn:x", "value": FIRST}],
        "name": [{"given": ["Zoë", "Mary"]}],
    }
    communication = {
        "resourceType": "Communication",
        "id": fhir.id("c"),
        "status": "completed",
        "subject": {"reference": FIRST},
        "payload": [{"contentReference": {"reference": SECOND}}, {"contentAttachment": {"url": SECOND}}],
    }

    answer = fhir.post(
        "",
        _bundle(
            _put(communication),
            {"fullUrl": FIRST, **_entry("POST", "Patient", patient)},
            {"fullUrl": SECOND, **_entry("POST", "Binary", binary)},
        ),
    )

    answered = body(answer)
    places = [entry["response"]["location"].partition("/_history")[0] for entry in answered["entry"]]
    stored = body(fhir.get(places[0]))
    assert (answer.status_code, answered["type"]) == (200, "transaction-response")
    assert _statuses(answered) == ["201 Created"] * 3
    assert places[0] == f"Communication/{fhir.id('c')}"
    assert stored["subject"] == {"reference": places[1]}
    assert stored["payload"][0] == {"contentReference": {"reference": places[2]}}
    assert stored["payload"][1] == {"contentAttachment": {"url": places[2]}}
    assert body(fhir.get(places[1]))["identifier"][0]["value"] == FIRST


def test_an_answers_etag_is_the_bare_version(fhir: Fhir) -> None:
    answered = body(fhir.post("", _bundle(_put({"resourceType": "Patient", "id": fhir.id()}))))

    response = answered["entry"][0]["response"]
    assert response["etag"] == "1"
    assert response["location"] == f"Patient/{fhir.id()}/_history/1"
    assert response["lastModified"] == body(fhir.get(f"Patient/{fhir.id()}"))["meta"]["lastUpdated"]


def test_entries_may_refer_to_one_another_by_their_own_ids(fhir: Fhir) -> None:
    communication = {"resourceType": "Communication", "id": fhir.id("c"), "status": "completed"}
    subject = {"subject": {"reference": f"Patient/{fhir.id('p')}"}}

    answer = fhir.post(
        "", _bundle(_put(communication | subject), _put({"resourceType": "Patient", "id": fhir.id("p")}))
    )

    assert _statuses(body(answer)) == ["201 Created", "201 Created"]
    assert fhir.found(f"Communication?subject=Patient/{fhir.id('p')}") == ["c"]


def test_a_conditional_create_finds_what_is_there(fhir: Fhir) -> None:
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:t", "value": fhir.tag}]}
    fhir.stored("Patient", "p", identifier=patient["identifier"])
    communication = {"resourceType": "Communication", "id": fhir.id("c"), "status": "completed"}

    answer = fhir.post(
        "",
        _bundle(
            {
                "fullUrl": FIRST,
                **_entry("POST", "Patient", patient, ifNoneExist=f"identifier=urn:t|{fhir.tag}"),
            },
            _put(communication | {"subject": {"reference": FIRST}}),
        ),
    )

    assert _statuses(body(answer)) == ["200 OK", "201 Created"]
    assert body(fhir.get(f"Communication/{fhir.id('c')}"))["subject"] == {
        "reference": f"Patient/{fhir.id('p')}"
    }


def test_a_version_that_moved_on_undoes_the_whole_transaction(fhir: Fhir) -> None:
    fhir.stored("Patient", "p")
    fhir.stored("Patient", "p", gender="male")
    stale = _put({"resourceType": "Patient", "id": fhir.id("p")}, ifMatch='W/"1"')

    answer = fhir.post("", _bundle(_put({"resourceType": "Patient", "id": fhir.id("new")}), stale))

    assert refused(answer, 409)
    assert refused(fhir.get(f"Patient/{fhir.id('new')}"), 404)
    assert body(fhir.get(f"Patient/{fhir.id('p')}"))["gender"] == "male"


@pytest.mark.parametrize("deleted", [False, True])
def test_a_version_that_nothing_has_lets_a_transaction_only_create(fhir: Fhir, *, deleted: bool) -> None:
    one, other = (
        _put({"resourceType": "Patient", "id": fhir.id(name), "gender": "male"}, ifMatch='W/"0"')
        for name in ("one", "other")
    )
    first = fhir.post("", _bundle(one))
    if deleted:
        fhir.delete(f"Patient/{fhir.id('one')}")

    second = fhir.post("", _bundle(other, one))

    assert _statuses(body(first)) == ["201 Created"]
    assert refused(second, 409)
    assert refused(fhir.get(f"Patient/{fhir.id('other')}"), 404)
    assert fhir.get(f"Patient/{fhir.id('one')}").status_code == (410 if deleted else 200)


def test_the_present_version_goes_through(fhir: Fhir) -> None:
    fhir.stored("Patient", "p")
    present = _put({"resourceType": "Patient", "id": fhir.id("p"), "gender": "male"}, ifMatch='W/"1"')

    assert _statuses(body(fhir.post("", _bundle(present)))) == ["200 OK"]


def test_a_reference_to_nothing_undoes_the_whole_transaction_unless_lax(fhir: Fhir) -> None:
    subject = {"reference": f"Patient/{fhir.id('absent')}"}
    communication = {
        "resourceType": "Communication",
        "id": fhir.id("c"),
        "status": "completed",
        "subject": subject,
    }

    answer = fhir.post(
        "", _bundle(_put({"resourceType": "Patient", "id": fhir.id("p")}), _put(communication))
    )

    if fhir.strict:
        assert refused(answer, 400)
        assert refused(fhir.get(f"Patient/{fhir.id('p')}"), 404)
    else:
        assert answer.status_code == 200


def test_a_placeholder_of_no_entry_is_refused(fhir: Fhir) -> None:
    communication = {"resourceType": "Communication", "id": fhir.id("c"), "status": "completed"}

    answer = fhir.post("", _bundle(_put(communication | {"subject": {"reference": FIRST}})))

    assert refused(answer, 400)


def test_deletions_come_first_and_reads_last(fhir: Fhir) -> None:
    fhir.stored("Patient", "old")
    new = {"resourceType": "Patient", "id": fhir.id("new"), "identifier": [{"value": fhir.tag}]}

    answered = body(
        fhir.post_with_deletions(
            _bundle(
                _entry("GET", f"Patient/{fhir.id('old')}"),
                _entry("GET", f"Patient?identifier={fhir.tag}&_summary=count"),
                _entry("GET", f"Patient/{fhir.id('never')}"),
                _put(new),
                _entry("DELETE", f"Patient/{fhir.id('old')}"),
                _entry("DELETE", f"Patient/{fhir.id('never')}"),
            )
        )
    )

    assert _statuses(answered) == [
        "410 Gone",
        "200 OK",
        "404 Not Found",
        "201 Created",
        "204 No Content",
        "204 No Content",
    ]
    assert answered["entry"][1]["resource"]["total"] == 1
    assert answered["entry"][2]["response"]["outcome"]["resourceType"] == "OperationOutcome"


def test_what_refers_and_what_is_referred_to_may_go_together(fhir: Fhir) -> None:
    fhir.stored("Patient", "p")
    fhir.stored("Communication", "c", status="completed", subject={"reference": f"Patient/{fhir.id('p')}"})

    alone = fhir.post("", _bundle(_entry("DELETE", f"Patient/{fhir.id('p')}")))
    if not fhir.strict:  # nothing keeps what is referred to: it is gone, and needs no company
        assert _statuses(body(alone)) == ["204 No Content"]
        return
    deletions = _entry("DELETE", f"Patient/{fhir.id('p')}"), _entry("DELETE", f"Communication/{fhir.id('c')}")
    both = fhir.post_with_deletions(_bundle(*deletions))

    assert refused(alone, 409)
    assert _statuses(body(both)) == ["204 No Content", "204 No Content"]


def test_an_unchanged_resource_makes_no_version(fhir: Fhir) -> None:
    fhir.stored("Patient", "p")

    answered = body(fhir.post("", _bundle(_put({"resourceType": "Patient", "id": fhir.id("p")}))))

    assert answered["entry"][0]["response"]["status"] == "200 OK"
    assert answered["entry"][0]["response"]["etag"] == "1"


def test_each_entry_of_a_batch_stands_alone(fhir: Fhir) -> None:
    fhir.stored("Patient", "p")
    fhir.stored("Patient", "p", gender="male")

    answer = fhir.post(
        "",
        _bundle(
            _put({"resourceType": "Patient", "id": fhir.id("new")}),
            _put({"resourceType": "Patient", "id": fhir.id("p")}, ifMatch='W/"1"'),
            _entry("GET", f"Patient/{fhir.id('p')}"),
            _entry("GET", f"Patient/{fhir.id('never')}"),
            type_="batch",
        ),
    )

    answered = body(answer)
    assert (answer.status_code, answered["type"]) == (200, "batch-response")
    assert _statuses(answered) == ["201 Created", "409 Conflict", "200 OK", "404 Not Found"]
    assert answered["entry"][1]["response"]["outcome"]["resourceType"] == "OperationOutcome"
    assert answered["entry"][2]["resource"]["gender"] == "male"


def test_nothing_to_do_is_done(fhir: Fhir) -> None:
    answered = body(fhir.post("", _bundle()))

    assert (answered["type"], answered.get("entry")) == ("transaction-response", None)


@pytest.mark.parametrize(
    "bundle",
    [
        _bundle(type_="collection"),
        {"resourceType": "Patient"},
        _bundle(_entry("POST", "Patient")),
        _bundle({"resource": {"resourceType": "Patient"}}),
        _bundle(_entry("PUT", "Patient", {"resourceType": "Patient"})),
        _bundle(*[_put({"resourceType": "Patient", "id": "twice"})] * 2),
    ],
    ids=["collection", "no-bundle", "no-resource", "no-request", "no-id", "twice"],
)
def test_a_bundle_that_makes_no_sense_is_refused(fhir: Fhir, bundle: dict[str, Any]) -> None:
    assert refused(fhir.post("", bundle), 400)


def _patch(url: str, operations: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    data = base64.b64encode(json.dumps(operations).encode()).decode()
    patch = {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": data}
    return _entry("PATCH", url, patch, **more)


@pytest.mark.parametrize("had", [{}, {"securityContext": {"reference": "DocumentReference/later"}}])
def test_a_patch_in_a_transaction_changes_one_element(fhir: Fhir, had: dict[str, Any]) -> None:
    patient = {"resourceType": "Patient", "id": fhir.id("p")}
    binary = {
        "resourceType": "Binary", "id": fhir.id("b"), "contentType": "text/plain", "data": "aGVsbG8=", **had
    }  # fmt: skip
    body(fhir.put(binary))
    owner = {"reference": f"Patient/{patient['id']}"}

    body(
        fhir.post(
            "",
            _bundle(
                _put(patient),
                _patch(f"Binary/{binary['id']}", [{"op": "add", "path": "/securityContext", "value": owner}]),
            ),
        )
    )

    found = body(fhir.get(f"Binary/{binary['id']}", accept="application/fhir+json"))
    assert (found["securityContext"], found["data"], found["contentType"]) == (
        owner,
        "aGVsbG8=",
        "text/plain",
    )


def test_a_transaction_with_a_patch_on_nothing_does_nothing(fhir: Fhir) -> None:
    patient = {"resourceType": "Patient", "id": fhir.id("p")}
    operation = {"op": "add", "path": "/securityContext", "value": {"reference": f"Patient/{patient['id']}"}}

    refused(fhir.post("", _bundle(_put(patient), _patch(f"Binary/{fhir.id('none')}", [operation]))), 404)

    refused(fhir.get(f"Patient/{patient['id']}"), 404)
