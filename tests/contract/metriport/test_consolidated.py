"""Contract §5: consolidated data."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.contract.metriport.account import (
    FACILITY,
    HOOK,
    JANE,
    NOBODY,
    Account,
    account,
    person,
    refused,
)

QUERY = f"patient/{JANE}/consolidated/query"


def data_of(clinic: Account, patient: dict[str, Any]) -> dict[str, Any]:
    url = patient["bundle"]["entry"][0]["resource"]["content"][0]["attachment"]["url"]
    return dict(clinic.open("GET", url).json)


def types(bundle: dict[str, Any]) -> list[str]:
    return [entry["resource"]["resourceType"] for entry in bundle["entry"]]


def test_a_query_starts_runs_and_ends() -> None:
    clinic = account()
    path = (
        f"{QUERY}?resources=Patient,Communication&dateFrom=2026-01-01&dateTo=2026-12-31&conversionType=json"
    )

    started = clinic.ask("POST", path, {"metadata": {"reason": "visit"}}).json

    assert started == {
        "requestId": started["requestId"],
        "status": "processing",
        "startedAt": "2026-07-01T12:00:00.000Z",
        "conversionType": "json",
        "resources": ["Patient", "Communication"],
        "dateFrom": "2026-01-01",
        "dateTo": "2026-12-31",
    }
    assert clinic.ask("GET", QUERY).json == {"status": "processing", "queries": [started]}
    assert clinic.ask("GET", f"{QUERY}/{started['requestId']}").json == started
    clinic.passes(1)
    assert clinic.ask("GET", QUERY).json == {"status": "completed", "queries": [{**started, "status": "completed"}]}  # fmt: skip


def test_an_equal_query_is_folded_into_the_one_that_runs() -> None:
    clinic = account()
    first = clinic.ask("POST", QUERY).json
    other = clinic.ask("POST", f"{QUERY}?resources=Patient").json

    assert clinic.ask("POST", f"{QUERY}?conversionType=json").json == first
    assert other["requestId"] != first["requestId"]
    assert clinic.ask("GET", f"{QUERY}/{other['requestId']}").json == other
    clinic.passes(1)
    assert clinic.ask("POST", QUERY).json["requestId"] != first["requestId"]


def test_what_is_not_known() -> None:
    clinic = account()
    nothing = clinic.ask("GET", QUERY).json

    assert (nothing["status"], nothing["queries"]) == ("completed", None)
    assert nothing["message"]
    refused(clinic.ask("GET", f"{QUERY}/{NOBODY}"), 404)
    for method, path in (("POST", "query"), ("GET", "query"), ("GET", "count"), ("PUT", "")):
        refused(clinic.ask(method, f"patient/{NOBODY}/consolidated/{path}"), 404)


@pytest.mark.parametrize(
    "query", ["resources=patient", "resources=", "dateFrom=2026", "dateTo=x", "conversionType=xml"]
)
def test_parameters_that_are_none(query: str) -> None:
    refused(account().ask("POST", f"{QUERY}?{query}"))


@pytest.mark.parametrize(
    "metadata",
    ["text", {"": "x"}, {"k" * 41: "x"}, {"k": "v" * 501}, {"k": 7}, {f"k{n}": "v" for n in range(51)}],
)
def test_metadata_outside_its_limits(metadata: Any) -> None:
    assert "metadata" in refused(account().ask("POST", QUERY, {"metadata": metadata}))


def test_metadata_just_inside_its_limits() -> None:
    metadata = {f"{number:040d}": "v" * 500 for number in range(50)}

    assert account().ask("POST", QUERY, {"metadata": metadata}).status == 200


def test_the_result_comes_by_webhook_with_links_of_three_minutes() -> None:
    clinic = account()
    clinic.listens()
    message = clinic.sent(attachments=[clinic.uploaded()])
    started = clinic.ask("POST", QUERY, {"metadata": {"reason": "visit"}}).json
    clinic.passes(1)

    (hook,) = clinic.hooks()

    (patient,) = hook["patients"]
    (entry,) = patient["bundle"]["entry"]
    plain, zipped = (one["attachment"] for one in entry["resource"]["content"])
    bundle = clinic.open("GET", plain["url"]).json
    assert hook["meta"]["type"] == "medical.consolidated-data"
    assert (hook["meta"]["requestId"], hook["meta"]["data"]) == (started["requestId"], {"reason": "visit"})
    assert (patient["patientId"], patient["status"]) == (JANE, "completed")
    assert entry["resource"]["resourceType"] == "DocumentReference"
    assert (plain["contentType"], zipped["contentType"]) == ("application/json", "application/gzip")
    assert json.loads(gzip.decompress(clinic.open("GET", zipped["url"]).body)) == bundle
    assert types(bundle) == ["Patient", "Condition", "Observation", "Communication", "DocumentReference"]
    assert bundle["entry"][3]["resource"]["id"] == message
    clinic.passes(180)
    assert clinic.open("GET", plain["url"]).status == 403


def test_filters_hold_for_the_result() -> None:
    clinic = account()
    clinic.listens()
    clinic.ask("POST", f"{QUERY}?resources=Patient,Condition,Observation&dateFrom=2026-01-01")
    clinic.passes(1)

    (patient,) = clinic.hooks()[0]["patients"]

    assert types(data_of(clinic, patient)) == ["Patient", "Observation"]
    assert patient["filters"] == {
        "resources": "Patient,Condition,Observation",
        "dateFrom": "2026-01-01",
        "conversionType": "json",
    }


def test_no_data_is_an_empty_bundle_and_the_accounts_own_id_comes_along() -> None:
    clinic = account()
    clinic.listens()
    patient = clinic.ask("POST", f"patient?facilityId={FACILITY}", person(externalId="mrn-1")).json["id"]
    clinic.ask("POST", f"patient/{patient}/consolidated/query")
    clinic.passes(1)

    (told,) = clinic.hooks()[0]["patients"]

    assert told["externalId"] == "mrn-1"
    assert told["bundle"] == {"resourceType": "Bundle", "type": "collection", "entry": []}


def test_without_a_webhook_the_query_ends_all_the_same() -> None:
    clinic = account()
    clinic.ask("POST", QUERY)
    clinic.passes(1)

    assert clinic.ask("GET", QUERY).json["status"] == "completed"
    assert clinic.hooks() == []
    clinic.ask("POST", "/settings", {"webhookUrl": HOOK})
    assert [one["meta"]["type"] for one in clinic.hooks()] == ["ping"]


def test_the_count() -> None:
    clinic = account()
    clinic.sent()

    assert clinic.ask("GET", f"patient/{JANE}/consolidated/count").json == {
        "total": 4,
        "resources": {"Patient": 1, "Condition": 1, "Observation": 1, "Communication": 1},
        "filter": {"resources": "all"},
    }
    narrow = clinic.ask(
        "GET", f"patient/{JANE}/consolidated/count?resources=Condition&dateTo=2025-12-31"
    ).json
    assert (narrow["total"], narrow["filter"]) == (1, {"resources": "Condition", "dateTo": "2025-12-31"})


def a_bundle(*resources: Any, **changes: Any) -> dict[str, Any]:
    entries = [{"resource": one} for one in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries, **changes}


def test_what_is_contributed_is_part_of_the_data() -> None:
    clinic = account()
    path = f"patient/{JANE}/consolidated"

    answer = clinic.ask("PUT", path, a_bundle({"resourceType": "Immunization", "date": "2026-05-05"}))

    assert answer.json == {
        "resourceType": "Bundle",
        "type": "transaction-response",
        "entry": [{"response": {"status": "201 Created"}}],
    }
    assert answer.headers["x-metriport-request-id"]
    assert clinic.ask("GET", f"{path}/count").json["resources"]["Immunization"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        a_bundle(type="transaction"),
        a_bundle(entry=None),
        a_bundle(entry=[7]),
        a_bundle(7),
        a_bundle({"id": "x"}),
        a_bundle(*[{"resourceType": "Basic"}] * 51),
        a_bundle({"resourceType": "Basic", "note": "x" * 1_000_000}),
    ],
)
def test_contributions_that_are_refused(body: dict[str, Any]) -> None:
    refused(account().ask("PUT", f"patient/{JANE}/consolidated", body))
