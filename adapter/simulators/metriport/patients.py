"""Patients and facilities."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import Refusal, as_json, instant
from adapter.simulators.metriport.checks import demographics, json_object
from adapter.simulators.metriport.paging import page
from adapter.simulators.metriport.server import Server

_MATCHED: Final = ("firstName", "lastName", "dob", "genderAtBirth")


def get(server: Server, _request: Request, _now: datetime, patient_id: str) -> Response:
    """`GET /medical/v1/patient/{id}`."""
    return as_json(server.patient(patient_id))


def by_external_id(server: Server, request: Request, _now: datetime) -> Response:
    """`GET /medical/v1/patient/external-id?externalId=`."""
    wanted = dict(request.parameters).get("externalId")
    found = [one for one in server.patients.values() if wanted and one.get("externalId") == wanted]
    if not found:
        raise Refusal(404, "Could not find patient")
    return as_json(found[0])


def match(server: Server, request: Request, _now: datetime) -> Response:
    """`POST /medical/v1/patient/match`."""
    wanted = demographics(json_object(request))
    for patient in server.patients.values():
        if all(_same(patient.get(name), wanted[name]) for name in _MATCHED):
            return as_json(patient)
    raise Refusal(404, "Could not find patient")


def _same(one: Any, other: Any) -> bool:
    return str(one).casefold() == str(other).casefold()


def create(server: Server, request: Request, now: datetime) -> Response:
    """`POST /medical/v1/patient?facilityId=`."""
    server.limits.count("patient", now)
    facility = _facility(server, request)
    stated = demographics(json_object(request))
    patient = {
        "id": server.new_id(),
        "facilityIds": [facility["id"]],
        **stated,
        "eTag": "1",
        "dateCreated": instant(now),
    }
    server.patients[patient["id"]] = patient
    return as_json(patient, status=201)


def update(server: Server, request: Request, now: datetime, patient_id: str) -> Response:
    """`PUT /medical/v1/patient/{id}?facilityId=`, with `If-Match` if given."""
    server.limits.count("patient", now)
    _facility(server, request)
    patient = server.patient(patient_id)
    stated = demographics(json_object(request))
    expected = request.headers.get("if-match", "").strip('"')
    if expected and expected != patient["eTag"]:
        raise Refusal(412, "The patient was changed meanwhile")
    patient.update({**stated, "id": patient_id, "eTag": str(int(patient["eTag"]) + 1)})
    return as_json(patient)


def _facility(server: Server, request: Request) -> dict[str, Any]:
    facility_id = dict(request.parameters).get("facilityId")
    if facility_id is None:
        raise Refusal(400, "Missing facilityId query param")
    if facility_id not in server.facilities:
        raise Refusal(404, f"Could not find facility {facility_id}")
    return server.facilities[facility_id]


def listing(server: Server, request: Request, _now: datetime) -> Response:
    """`GET /medical/v1/patient`."""
    query = dict(request.parameters)
    words = query.get("filters", "").casefold()
    found = [
        one
        for one in server.patients.values()
        if ("facilityId" not in query or query["facilityId"] in one["facilityIds"])
        and words in f"{one['firstName']} {one['lastName']}".casefold()
    ]
    patients, meta = page(found, request, base=server.rules.public_url, key=lambda one: str(one["id"]))
    return as_json({"meta": meta, "patients": patients})


def facility(server: Server, _request: Request, _now: datetime, facility_id: str) -> Response:
    """`GET /medical/v1/facility/{id}`."""
    if facility_id not in server.facilities:
        raise Refusal(404, f"Could not find facility {facility_id}")
    return as_json(server.facilities[facility_id])


def facilities(server: Server, _request: Request, _now: datetime) -> Response:
    """`GET /medical/v1/facility`."""
    return as_json({"facilities": list(server.facilities.values())})


def create_facility(server: Server, request: Request, _now: datetime) -> Response:
    """`POST /medical/v1/facility`."""
    body = json_object(request)
    if not body.get("name"):
        raise Refusal(400, "name is required")
    made = {"id": server.new_id(), **body, "eTag": "1"}
    server.facilities[made["id"]] = made
    return as_json(made, status=201)
