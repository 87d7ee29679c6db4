"""Contract §6: settings, the signature, every event, and looking deliveries up afterwards."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from adapter.simulators.metriport.events import EXAMPLE_TYPES
from tests.contract.metriport.account import (
    BASE,
    FACILITY,
    HOOK,
    JANE,
    NOBODY,
    START,
    Account,
    account,
    person,
    refused,
)


def sign(key: str, body: bytes) -> str:
    return hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


def deliveries(clinic: Account, query: str = "") -> list[dict[str, Any]]:
    return list(clinic.ask("GET", f"/settings/webhook/request?{query}").json["requests"])


def ended(clinic: Account, status: int | None) -> None:
    for call in clinic.calls:
        clinic.world.call_ended(call, status, clinic.now)


def test_a_url_gets_a_key_and_a_signed_ping() -> None:
    clinic = account()
    before = clinic.ask("GET", "/settings").json

    settings = clinic.ask("POST", "/settings", {"webhookUrl": HOOK}).json
    (ping,) = clinic.hooks()

    (call,) = clinic.calls
    assert before == {"id": settings["id"], "webhookUrl": None, "webhookKey": None}
    assert settings["webhookUrl"] == HOOK
    assert clinic.ask("GET", "/settings").json == settings
    assert set(ping) == {"meta", "ping"}
    assert ping["meta"]["type"] == "ping"
    assert (call.method, call.url, call.timeout_seconds) == ("POST", HOOK, 4.0)
    assert call.headers["content-type"] == "application/json"
    assert call.headers["x-metriport-signature"] == sign(settings["webhookKey"], call.body)
    assert clinic.hooks() == []


def test_a_new_key_comes_with_clearing_and_setting_again() -> None:
    clinic = account()
    first = clinic.listens()

    same = clinic.ask("POST", "/settings", {"webhookUrl": HOOK}).json["webhookKey"]
    assert (same, clinic.hooks()) == (first, [])
    cleared = clinic.ask("POST", "/settings", {"webhookUrl": ""}).json
    assert (cleared["webhookUrl"], cleared["webhookKey"]) == (None, None)
    assert clinic.listens() != first


def test_the_python_way_sets_it_too() -> None:
    clinic = account()

    assert clinic.world.set_webhook(HOOK, START) == clinic.ask("GET", "/settings").json["webhookKey"]


@pytest.mark.parametrize(
    "url",
    [7, [HOOK], {}, "ftp://a.example", "http://", "http://a b", "http://a.example:99999", "http://999.1.1.1",
     "http://\u00fcber.example", "http://a..example", "http://a.example/\n", "http://-a.example"],
)  # fmt: skip
def test_what_is_no_url(url: Any) -> None:
    clinic = account()

    refused(clinic.ask("POST", "/settings", {"webhookUrl": url}))
    assert clinic.ask("GET", "/settings").json["webhookUrl"] is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/a?b=c", "https://a-b.example", "http://localhost:1"])
def test_what_is_a_url(url: str) -> None:
    assert account().ask("POST", "/settings", {"webhookUrl": url}).json["webhookUrl"] == url


def test_the_final_status_of_a_message() -> None:
    clinic = account()
    key = clinic.listens()
    good, bad = clinic.sent(), clinic.sent()
    clinic.passes(5)
    clinic.ask("POST", f"/_simulator/messages/{good}/complete")
    clinic.ask("POST", f"/_simulator/messages/{bad}/fail", {"reason": "No such mailbox."})

    completed, failed = clinic.hooks()

    times = {"sentAt": "2026-07-01T12:00:00.000Z", "completedAt": "2026-07-01T12:00:05.000Z"}
    assert completed["payload"] == {"id": good, "patientId": JANE, "status": "completed", **times}
    assert failed["payload"] == {
        "id": bad,
        "patientId": JANE,
        "status": "failed",
        "reason": "No such mailbox.",
        **times,
    }
    for call, hook in zip(clinic.calls, (completed, failed), strict=True):
        assert call.headers["x-metriport-signature"] == sign(key, call.body)
        assert hook["meta"]["when"] == "2026-07-01T12:00:05.000Z"
        assert set(hook["meta"]) == {"messageId", "when", "type"}
        assert hook["meta"]["type"] == "message.status"


@pytest.mark.parametrize("kind", EXAMPLE_TYPES)
def test_every_event_can_be_told(kind: str) -> None:
    clinic = account()
    clinic.listens()
    patient = clinic.ask("POST", f"patient?facilityId={FACILITY}", person(externalId="mrn-1")).json["id"]

    assert clinic.ask("POST", "/_simulator/webhooks", {"type": kind, "patientId": patient}).status == 204
    (hook,) = clinic.hooks()

    assert hook["meta"]["type"] == kind
    about = hook.get("payload") or hook.get("patients", [{}])[0]
    if kind == "medical.bulk-patient-create":
        assert hook["bulkPatientCreate"]["status"] == "completed"
    else:
        assert (about["patientId"], about["externalId"]) == (patient, "mrn-1")


@pytest.mark.parametrize(
    ("kind", "key", "seconds"),
    [("patient.admit", "url", 600), ("patient.transfer", "url", 600), ("network-query.hie", "consolidatedDataUrl", 180)],
)  # fmt: skip
def test_how_long_the_links_of_events_live(kind: str, key: str, seconds: int) -> None:
    clinic = account()
    clinic.listens()
    clinic.world.announce(kind, clinic.now, patientId=JANE)
    url = clinic.hooks()[0]["payload"][key]

    clinic.passes(seconds - 1)
    assert clinic.open("GET", url).json["resourceType"] == "Bundle"
    clinic.passes(1)
    assert clinic.open("GET", url).status == 403


def test_an_event_that_nobody_knows() -> None:
    clinic = account()
    clinic.listens()

    clinic.world.announce("patient.moved", clinic.now, body={"payload": {"to": "the moon"}})
    (hook,) = clinic.hooks()

    assert (hook["meta"]["type"], hook["payload"]) == ("patient.moved", {"to": "the moon"})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"type": 7}, 400),
        ({"type": "patient.moved"}, 400),
        ({"type": "patient.admit"}, 400),
        ({"type": "patient.admit", "patientId": NOBODY}, 404),
    ],
)
def test_events_that_cannot_be_told(body: dict[str, Any], status: int) -> None:
    refused(account().ask("POST", "/_simulator/webhooks", body), status)


def test_a_network_query_runs_and_is_told_source_by_source() -> None:
    clinic = account()
    clinic.listens()
    body = {"sources": ["hie", "lab", "hie"], "metadata": {"reason": "visit"}}

    started = clinic.ask("POST", f"network/query?patientId={JANE}", body).json
    clinic.passes(2)
    hooks = clinic.hooks()
    done = clinic.ask("GET", f"network/query/{started['requestId']}").json

    at = "2026-07-01T12:00:00.000Z"
    assert started == {
        "requestId": started["requestId"],
        "startedAt": at,
        "status": "processing",
        "sources": [{"type": kind, "status": "processing", "startedAt": at} for kind in ("hie", "lab")],
    }
    assert [one["meta"]["type"] for one in hooks] == [
        "network-query.hie.first-data-ready",
        "network-query.hie",
        "network-query.lab",
    ]
    assert hooks[0]["payload"]["source"] == {
        "type": "hie",
        "status": "processing",
        "firstDataReadyAt": "2026-07-01T12:00:01.000Z",
    }
    assert hooks[2]["payload"]["source"] == {
        "type": "lab",
        "status": "completed",
        "completedAt": "2026-07-01T12:00:02.000Z",
    }
    assert all(one["meta"]["data"] == {"reason": "visit"} for one in hooks)
    assert all(one["meta"]["requestId"] == started["requestId"] for one in hooks)
    assert done["status"] == "completed"
    assert {one["status"] for one in done["sources"]} == {"completed"}


def test_a_query_without_the_networks_tells_no_first_data() -> None:
    clinic = account()
    clinic.listens()
    clinic.ask("POST", f"network/query?patientId={JANE}", {"sources": ["pharmacy"]})
    clinic.passes(2)

    assert [one["meta"]["type"] for one in clinic.hooks()] == ["network-query.pharmacy"]


@pytest.mark.parametrize("sources", [None, [], "hie", ["web"], [["hie"]]])
def test_network_queries_that_are_refused(sources: Any) -> None:
    clinic = account()

    refused(clinic.ask("POST", f"network/query?patientId={JANE}", {"sources": sources}))
    refused(clinic.ask("GET", f"network/query/{NOBODY}"), 404)


def test_failed_deliveries_are_not_repeated_but_kept_and_counted() -> None:
    clinic = account()
    clinic.listens()
    for status in (200, 500, 302, 204, None):
        clinic.world.receive(clinic.now, subject="Hello")
        clinic.hooks()
        ended(clinic, status)
    clinic.world.receive(clinic.now, subject="Hello")

    assert [one["status"] for one in deliveries(clinic)] == ["processing", *["failure"] * 4, "success"]
    assert clinic.ask("GET", "/settings/webhook").json == {
        "webhookEnabled": True,
        "webhookStatusDetail": "OK",
        "webhookRequestsProcessing": 1,
        "webhookRequestsFailed": 4,
    }
    clinic.hooks()
    ended(clinic, None)
    assert clinic.ask("GET", "/settings/webhook").json["webhookStatusDetail"] != "OK"
    clinic.passes(3600)
    assert clinic.hooks() == []


def test_a_call_of_which_nothing_is_kept_ends_unnoticed() -> None:
    clinic = account()
    clinic.ask("POST", "/settings", {"webhookUrl": HOOK})
    clinic.hooks()

    ended(clinic, 500)

    assert deliveries(clinic) == []


def test_all_failed_deliveries_are_replayed_on_demand() -> None:
    clinic = account()
    clinic.listens()
    for status in (500, 200):
        clinic.world.receive(clinic.now, subject="Hello")
        (former,) = clinic.hooks()[-1:]
        ended(clinic, status)

    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert clinic.ask("POST", "/settings/webhook/retry", headers=headers).status == 200
    assert clinic.ask("POST", "/settings/webhook/retry", raw=b"\xff").status == 200
    (again,) = clinic.hooks()

    assert again["meta"]["type"] == former["meta"]["type"]
    ended(clinic, 200)
    assert clinic.ask("GET", "/settings/webhook").json["webhookRequestsFailed"] == 0


def test_one_delivery_is_pulled_with_a_new_id_and_fresh_links() -> None:
    clinic = account()
    clinic.listens()
    clinic.world.receive(clinic.now, subject="Hello", patientId=JANE)
    (former,) = clinic.hooks()
    clinic.passes(3600)
    (row,) = deliveries(clinic)

    answer = clinic.ask("POST", f"/settings/webhook/request/{row['id']}/retry")
    (sent,) = clinic.hooks()

    assert set(row) == {"id", "type", "status", "createdAt"}
    assert (row["type"], row["createdAt"]) == ("message.received", "2026-07-01T12:00:00.000Z")
    assert (answer.status, answer.json) == (200, sent)
    assert sent["meta"]["messageId"] != former["meta"]["messageId"]
    assert sent["payload"]["id"] == former["payload"]["id"]
    assert clinic.open("GET", former["payload"]["url"]).status == 403
    assert clinic.open("GET", sent["payload"]["url"]).status == 200
    refused(clinic.ask("POST", f"/settings/webhook/request/{NOBODY}/retry"), 404)


def test_deliveries_are_listed_newest_first_in_pages() -> None:
    clinic = account()
    clinic.listens()
    for _ in range(60):
        clinic.world.announce("patient.moved", clinic.now, body={})

    first = clinic.ask("GET", "/settings/webhook/request?sort=createdAt=desc").json
    rest = clinic.ask("GET", first["meta"]["nextPage"].removeprefix(BASE)).json

    assert (first["meta"]["itemsOnPage"], rest["meta"]["itemsOnPage"]) == (50, 10)
    ids = [one["id"] for one in (*first["requests"], *rest["requests"])]
    assert ids == sorted(ids, reverse=True)
    assert [one["id"] for one in deliveries(clinic, "sort=createdAt=asc&count=500")] == ids[::-1]
    refused(clinic.ask("GET", "/settings/webhook/request?sort=status=asc"))


def test_deliveries_are_kept_thirty_days() -> None:
    clinic = account()
    clinic.listens()
    clinic.world.receive(clinic.now, subject="Hello")
    (row,) = deliveries(clinic)

    clinic.passes(30 * 86_400 - 1)
    assert len(deliveries(clinic)) == 1
    clinic.passes(1)
    assert deliveries(clinic) == []
    refused(clinic.ask("POST", f"/settings/webhook/request/{row['id']}/retry"), 404)


def test_without_a_url_nothing_is_delivered_or_recorded() -> None:
    clinic = account()
    clinic.world.receive(clinic.now, subject="Hello")

    assert clinic.hooks() == []
    assert deliveries(clinic) == []
    assert clinic.ask("GET", "/settings/webhook").json["webhookEnabled"] is False


def test_a_kept_delivery_can_be_read_after_the_url_was_cleared() -> None:
    clinic = account()
    clinic.listens()
    clinic.world.receive(clinic.now, subject="Hello")
    clinic.hooks()
    (row,) = deliveries(clinic)
    clinic.ask("POST", "/settings", {"webhookUrl": None})

    assert clinic.ask("POST", f"/settings/webhook/request/{row['id']}/retry").json["payload"]
    assert clinic.hooks() == []


def test_a_delivery_is_signed_with_the_key_of_its_time() -> None:
    clinic = account()
    old = clinic.listens()
    clinic.world.receive(clinic.now, subject="Hello")
    clinic.ask("POST", "/settings", {"webhookUrl": None})
    new = clinic.ask("POST", "/settings", {"webhookUrl": HOOK}).json["webhookKey"]

    received, ping = (json.loads(call.body)["meta"]["type"] for call in clinic.world.calls_due(clinic.now))

    assert (received, ping) == ("message.received", "ping")
    assert old != new
