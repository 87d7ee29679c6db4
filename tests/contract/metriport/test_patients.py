"""Contract §3 and §7: patients, facilities, the sandbox's five."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from adapter.simulators.metriport import SANDBOX_PATIENTS
from adapter.simulators.metriport import npi as numbers
from tests.contract.metriport.account import FACILITY, JANE, NOBODY, account, person, refused

ADDRESS = {"addressLine1": "1 Pine Street", "city": "Portland", "state": "ME", "zip": "04101"}
CREATE = f"patient?facilityId={FACILITY}"


def test_the_five_sandbox_patients_belong_to_a_facility_that_exists() -> None:
    clinic = account()

    found = [clinic.ask("GET", f"patient/{one.id}").json for one in SANDBOX_PATIENTS]

    assert [(one["firstName"], one["lastName"], one["dob"], one["genderAtBirth"]) for one in found] == [
        ("Jane", "Smith", "1996-02-10", "F"),
        ("Chris", "Smith", "1995-01-01", "M"),
        ("Ollie", "Brown", "1946-03-18", "M"),
        ("Andreas", "Brown", "1952-01-01", "M"),
        ("Kyla", "Fields", "1927-05-23", "F"),
    ]
    for patient in found:
        for facility in patient["facilityIds"]:
            assert clinic.ask("GET", f"facility/{facility}").status == 200


def test_unknown_ones() -> None:
    clinic = account()

    refused(clinic.ask("GET", f"patient/{NOBODY}"), 404)
    refused(clinic.ask("GET", "patient/external-id?externalId=nobody&source=x"), 404)
    refused(clinic.ask("GET", "patient/external-id"))
    refused(clinic.ask("POST", "patient/match", person()), 404)
    refused(clinic.ask("GET", f"facility/{NOBODY}"), 404)


def test_a_patient_is_created_and_found_in_every_way() -> None:
    clinic = account()
    stated = person(
        firstName="Robin,Rob",
        contact={"phone": "+1 (207) 555-0100", "email": "robin@maple.example"},
        personalIdentifiers=[
            {"type": "ssn", "value": "000-00-0000"},
            {"type": "driversLicense", "value": "D1", "state": "me"},
        ],
        externalId="mrn-1",
        id="mine",
        facilityIds=["mine"],
        surprise={"is": "left out"},
    )

    answer = clinic.ask("POST", CREATE, stated)

    patient = answer.json
    assert answer.status == 201
    assert uuid.UUID(patient["id"]).version == 7
    assert patient == {
        "id": patient["id"],
        "facilityIds": [FACILITY],
        "firstName": "Robin,Rob",
        "lastName": "Maple",
        "dob": "1980-02-29",
        "genderAtBirth": "O",
        "address": [{**ADDRESS, "country": "USA"}],
        "contact": [{"phone": "2075550100", "email": "robin@maple.example"}],
        "personalIdentifiers": [
            {"type": "ssn", "value": "000-00-0000"},
            {"type": "driversLicense", "value": "D1", "state": "ME"},
        ],
        "externalId": "mrn-1",
        "eTag": patient["eTag"],
        "dateCreated": "2026-07-01T12:00:00.000Z",
    }
    assert clinic.ask("GET", f"patient/{patient['id']}").json == patient
    assert clinic.ask("GET", "patient/external-id?externalId=mrn-1").json == patient
    assert clinic.ask("POST", "patient/match", person(firstName="ROBIN,rob")).json == patient


def test_an_update_replaces_and_holds_to_the_version() -> None:
    clinic = account()
    first = clinic.ask("POST", CREATE, person()).json
    path = f"patient/{first['id']}?facilityId={FACILITY}"

    second = clinic.ask("PUT", path, person(lastName="Oak"), headers={"if-match": f'W/"{first["eTag"]}"'})
    stale = clinic.ask("PUT", path, person(lastName="Elm"), headers={"if-match": first["eTag"]})
    blind = clinic.ask("PUT", path, person(lastName="Ash"))

    assert (second.status, second.json["lastName"]) == (200, "Oak")
    assert second.json["eTag"] != first["eTag"]
    refused(stale, 412)
    assert blind.json["lastName"] == "Ash"
    assert blind.json["dateCreated"] == first["dateCreated"]


def test_a_facility_must_be_named_and_known() -> None:
    clinic = account()

    assert refused(clinic.ask("POST", "patient", person())) == "Missing facilityId query param"
    refused(clinic.ask("POST", f"patient?facilityId={NOBODY}", person()), 404)
    refused(clinic.ask("PUT", f"patient/{JANE}", person()))
    refused(clinic.ask("PUT", f"patient/{NOBODY}?facilityId={FACILITY}", person()), 404)


@pytest.mark.parametrize(
    "changes",
    [
        {"firstName": None},
        {"firstName": "  "},
        {"lastName": 7},
        {"dob": "1980-02-30"},
        {"dob": "29.02.1980"},
        {"dob": 1980},
        {"dob": "2026-07-02"},
        {"dob": "1899-12-31"},
        {"genderAtBirth": "X"},
        {"genderAtBirth": ["F"]},
        {"genderAtBirth": None},
        {"address": []},
        {"address": "Portland"},
        {"address": [None]},
        {"address": {**ADDRESS, "addressLine1": ""}},
        {"address": {**ADDRESS, "city": None}},
        {"address": {**ADDRESS, "state": "XX"}},
        {"address": {**ADDRESS, "zip": "0410"}},
        {"address": {**ADDRESS, "zip": 4101}},
        {"address": {**ADDRESS, "zip": "00000"}},
        {"address": {**ADDRESS, "zip": "12345"}},
        {"address": {**ADDRESS, "zip": "10000"}},
        {"address": {**ADDRESS, "country": "CAN"}},
        {"contact": [{}]},
        {"contact": [{"phone": "555"}]},
        {"contact": [{"email": "nobody"}]},
        {"personalIdentifiers": [{"type": "passport", "value": "1"}]},
        {"personalIdentifiers": [{"type": ["ssn"], "value": "1"}]},
        {"personalIdentifiers": [{"type": "driversLicense", "value": "1"}]},
        {"externalId": ""},
        {"hieOptOut": "yes"},
    ],
)
def test_demographics_that_are_refused(changes: dict[str, Any]) -> None:
    clinic = account()

    refused(clinic.ask("POST", CREATE, person(**changes)))
    refused(clinic.ask("POST", "patient/match", person(**changes)))


def test_a_patient_who_opted_out_at_creation() -> None:
    clinic = account()
    patient = clinic.ask("POST", CREATE, person(hieOptOut=True)).json

    assert refused(clinic.send(patient["id"])) == "Patient has opted out from the networks"


def test_the_list_is_filtered_and_paged() -> None:
    clinic = account()
    hilltop = clinic.ask("GET", "facility").json["facilities"][1]["id"]
    clinic.ask("POST", f"patient?facilityId={hilltop}", person())

    assert clinic.ask("GET", "patient").json["meta"] == {"itemsOnPage": 6, "itemsInTotal": 6}
    assert clinic.ask("GET", f"patient?facilityId={hilltop}").json["meta"]["itemsOnPage"] == 1
    assert clinic.ask("GET", "patient?filters=smith").json["meta"]["itemsOnPage"] == 2
    assert "nextPage" in clinic.ask("GET", "patient?count=2").json["meta"]


def test_patients_can_be_put_there() -> None:
    clinic = account()
    clinic.world.add_patients([{"id": "p1", "firstName": "Sam", "externalId": "mrn-9"}])

    assert clinic.ask("GET", "patient/p1").json["facilityIds"] == [FACILITY]
    assert clinic.ask("GET", "patient?filters=sam").json["meta"]["itemsOnPage"] == 1
    path = f"patient/p1?facilityId={FACILITY}"
    assert clinic.ask("PUT", path, person(), headers={"if-match": "1"}).status == 200


def a_facility(**changes: Any) -> dict[str, Any]:
    return {"name": "Valley Clinic", "npi": numbers.made(77), "address": ADDRESS, "active": True, **changes}


def test_facilities_are_created_read_and_updated() -> None:
    clinic = account()
    made = clinic.ask("POST", "facility", a_facility())
    path = f"facility/{made.json['id']}"

    assert made.status == 201
    assert made.json["address"] == {**ADDRESS, "country": "USA"}
    assert clinic.ask("GET", path).json == made.json
    assert made.json in clinic.ask("GET", "facility").json["facilities"]
    renamed = clinic.ask("PUT", path, a_facility(name="Dale"), headers={"if-match": made.json["eTag"]})
    assert (renamed.status, renamed.json["name"]) == (200, "Dale")
    refused(clinic.ask("PUT", path, a_facility(), headers={"if-match": made.json["eTag"]}), 412)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"npi": "1234567890"},
        {"npi": "3234567893"},
        {"npi": "12"},
        {"address": None},
        {"active": 1},
    ],
)
def test_facilities_that_are_refused(changes: dict[str, Any]) -> None:
    refused(account().ask("POST", "facility", a_facility(**changes)))
