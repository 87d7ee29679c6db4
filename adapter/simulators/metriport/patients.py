"""Patients: looked up, matched, created, updated, listed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport import facilities
from adapter.simulators.metriport.answers import Refusal, as_json, instant
from adapter.simulators.metriport.checks import json_object
from adapter.simulators.metriport.demographics import demographics
from adapter.simulators.metriport.paging import page
from adapter.simulators.metriport.server import Server

_MATCHED: Final = ("firstName", "lastName", "dob", "genderAtBirth")


def get(server: Server, _request: Request, _now: datetime, patient_id: str) -> Response:
    """`GET /medical/v1/patient/{id}`."""
    return as_json(server.patient(patient_id))


def by_external_id(server: Server, request: Request, _now: datetime) -> Response:
    """`GET /medical/v1/patient/external-id?externalId=&source=`; the source is let pass."""
    wanted = dict(request.parameters).get("externalId")
    if not wanted:
        raise Refusal(400, "Missing externalId query param")
    known = server.known_as(wanted)
    if known is None:
        raise Refusal(404, "Could not find patient")
    return as_json(server.patients[known])


def match(server: Server, request: Request, now: datetime) -> Response:
    """`POST /medical/v1/patient/match`."""
    wanted = demographics(json_object(request), now)
    for patient in server.patients.values():
        if all(_same(patient.get(name), wanted[name]) for name in _MATCHED):
            return as_json(patient)
    raise Refusal(404, "Could not find patient")


def _same(one: Any, other: Any) -> bool:
    return str(one).casefold() == str(other).casefold()


def create(server: Server, request: Request, now: datetime) -> Response:
    """`POST /medical/v1/patient?facilityId=`."""
    facility = _facility(server, request)
    patient = {
        "id": server.ids.new(now),
        "facilityIds": [facility["id"]],
        **demographics(json_object(request), now),
        "eTag": server.etag(),
        "dateCreated": instant(now),
    }
    server.patients[patient["id"]] = patient
    return as_json(patient, status=201)


def update(server: Server, request: Request, now: datetime, patient_id: str) -> Response:
    """`PUT /medical/v1/patient/{id}?facilityId=`, with `If-Match` if given."""
    _facility(server, request)
    patient = server.patient(patient_id)
    stated = demographics(json_object(request), now)
    facilities.hold_version(patient, request)
    patient.update({**stated, "eTag": server.etag()})
    return as_json(patient)


def _facility(server: Server, request: Request) -> dict[str, Any]:
    facility_id = dict(request.parameters).get("facilityId")
    if facility_id is None:
        raise Refusal(400, "Missing facilityId query param")
    return facilities.find(server, facility_id)


def listing(server: Server, request: Request, _now: datetime) -> Response:
    """`GET /medical/v1/patient?facilityId=&filters=`."""
    query = dict(request.parameters)
    words = query.get("filters", "").casefold()
    found = [
        one
        for one in server.patients.values()
        if ("facilityId" not in query or query["facilityId"] in one["facilityIds"])
        and words in f"{one.get('firstName')} {one.get('lastName')}".casefold()
    ]
    patients, meta = page(found, request, base=server.rules.public_url, key=lambda one: str(one["id"]))
    return as_json({"meta": meta, "patients": patients})
