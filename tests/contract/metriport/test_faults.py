"""Every fault of the simulator, and the control API that orders them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from adapter.simulators.metriport import faults
from tests.contract.metriport.account import (
    BASE,
    CHRIS,
    DIALECTS,
    HOOK,
    JANE,
    Account,
    account,
    announcement,
    refused,
)

SEND = "/medical/v1/message"


def order(clinic: Account, fault: str, *, method: str = "POST", path: str = SEND, times: int = 1) -> None:
    body = {"method": method, "path": path, "fault": fault, "times": times}
    assert clinic.ask("POST", "/_simulator/faults", body).json == {"fault": fault, "times": times}


@pytest.mark.parametrize(
    ("fault", "status", "applied"),
    [
        ("apply-then-500", 500, 1),
        ("apply-then-429", 429, 1),
        ("500", 500, 0),
        ("503", 503, 0),
        ("429", 429, 0),
        ("429:7", 429, 0),
        ("slow:2.5", 200, 1),
        ("malformed", 200, 1),
        ("no-id", 200, 1),
        ("redirect", 307, 0),
    ],
)
@DIALECTS
def test_an_answer_with_a_fault_in_it(dialect: str, fault: str, status: int, applied: int) -> None:
    clinic = account(dialect=dialect)
    order(clinic, fault)

    answer = clinic.send()

    assert (answer.status, len(clinic.world.messages)) == (status, applied)
    assert clinic.send().status == 200


@pytest.mark.parametrize(("fault", "applied"), [("apply-then-drop", 1), ("drop", 0)])
def test_a_connection_that_ends_without_an_answer(fault: str, applied: int) -> None:
    clinic = account()
    order(clinic, fault)

    assert clinic.send().response.drop
    assert len(clinic.world.messages) == applied
    assert clinic.ask("GET", "/_simulator/requests").json["requests"][-1]["status"] == 0


def test_what_the_faulty_answers_hold() -> None:
    clinic = account()
    for fault in ("429", "429:7", "slow:2.5", "malformed", "no-id", "redirect"):
        order(clinic, fault)

    without, with_wait, slow, malformed, no_id, redirect = (clinic.send() for _ in range(6))

    assert "retry-after" not in without.headers
    assert with_wait.headers["retry-after"] == "7"
    assert (slow.response.delay_seconds, bool(slow.json["id"])) == (2.5, True)
    with pytest.raises(ValueError, match="Unterminated"):
        _ = malformed.json
    assert no_id.json == {"status": "processing"}
    assert not redirect.headers["location"].startswith(BASE)


def test_what_is_done_late_is_done_later() -> None:
    clinic = account()
    order(clinic, "apply-late:30")
    assert clinic.send().response.drop
    clinic.passes(29.9)
    assert clinic.ask("GET", "message").json["messages"] == []

    clinic.passes(0.1)

    (message,) = clinic.ask("GET", "message").json["messages"]
    assert message["sentAt"] == "2026-07-01T12:00:30.000Z"


def test_a_fault_strikes_where_and_as_often_as_ordered() -> None:
    clinic = account()
    order(clinic, "500", method="*", path="/medical/v1/message*", times=2)

    assert clinic.ask("GET", "patient").status == 200
    assert [clinic.send().status, clinic.ask("GET", "message").status, clinic.send().status] == [
        500,
        500,
        200,
    ]


def test_faults_are_cleared_and_never_strike_the_control_api() -> None:
    clinic = account()
    order(clinic, "500", method="*", path="", times=100)
    assert clinic.send().status == 500

    assert clinic.ask("DELETE", "/_simulator/faults").status == 204
    assert clinic.send().status == 200
    clinic.world.add_fault("POST", SEND, "500")
    clinic.world.clear_faults()
    assert clinic.send().status == 200


@DIALECTS
def test_a_list_that_lags_until_the_order_is_cleared(dialect: str) -> None:
    clinic = account(dialect=dialect)
    before = clinic.sent()
    order(clinic, "list-lag:120", method="*", path="")
    late = clinic.sent()

    def found() -> list[str]:
        return [one["id"] for one in clinic.ask("GET", "message").json["messages"]]

    assert found() == [before]
    assert clinic.ask("GET", f"message/{late}").status == 200
    clinic.passes(120)
    assert found() == [late, before]
    lagging = clinic.sent()
    assert lagging not in found()
    clinic.world.clear_faults()
    assert clinic.sent() in found()


@pytest.mark.parametrize(
    ("fault", "shown"), [("list-repeat", [1, 1, 0]), ("list-move", [0]), ("list-empty", []), ("webhook-lost", [1, 0])]
)  # fmt: skip
def test_a_list_that_is_wrong_once(fault: str, shown: list[int]) -> None:
    clinic = account()
    ids = [clinic.sent(), clinic.sent()]
    order(clinic, fault, method="*", path="")

    first, second = (clinic.ask("GET", "message").json["messages"] for _ in range(2))

    assert [one["id"] for one in first] == [ids[index] for index in shown]
    assert [one["id"] for one in second] == ids[::-1]


def test_a_row_that_moved_away_is_still_counted() -> None:
    clinic = account()
    clinic.sent()
    order(clinic, "list-move", method="GET")
    order(clinic, "list-move", method="GET")
    assert clinic.ask("GET", f"message?patientId={CHRIS}").json["meta"] == {
        "itemsOnPage": 0,
        "itemsInTotal": 0,
    }

    moved = clinic.ask("GET", "message").json

    assert (moved["messages"], moved["meta"]) == ([], {"itemsOnPage": 0, "itemsInTotal": 1})


def test_a_webhook_that_is_lost_is_kept_as_failed_and_can_be_replayed() -> None:
    clinic = account()
    clinic.listens()
    order(clinic, "webhook-lost", method="*", path="")
    clinic.world.receive(clinic.now, subject="Hello")

    assert clinic.hooks() == []
    assert clinic.ask("GET", "/settings/webhook").json["webhookRequestsFailed"] == 1
    clinic.ask("POST", "/settings/webhook/retry")
    assert len(clinic.hooks()) == 1


def test_a_webhook_that_comes_twice_is_the_same() -> None:
    clinic = account()
    clinic.listens()
    order(clinic, "webhook-twice", method="*", path="")
    clinic.world.receive(clinic.now, subject="Hello")

    clinic.hooks()

    assert len(clinic.calls) == 2
    assert clinic.calls[0] == clinic.calls[1]


def test_a_webhook_that_comes_late() -> None:
    clinic = account()
    clinic.listens()
    order(clinic, "webhook-late", method="*", path="")
    clinic.world.receive(clinic.now, subject="Hello")

    assert clinic.hooks() == []
    clinic.passes(60)
    assert clinic.world.next_at() == clinic.now
    assert len(clinic.hooks()) == 1


def test_a_webhook_that_comes_again_has_the_same_id_and_new_links() -> None:
    clinic = account()
    clinic.listens()
    order(clinic, "webhook-again", method="*", path="")
    clinic.world.receive(clinic.now, subject="Hello")

    (first,) = clinic.hooks()
    clinic.passes(60)
    (again,) = clinic.hooks()

    assert again["meta"]["messageId"] == first["meta"]["messageId"]
    assert again["payload"]["id"] == first["payload"]["id"]
    assert again["payload"]["url"] != first["payload"]["url"]
    assert clinic.open("GET", again["payload"]["url"]).status == 200


def test_a_link_that_has_ended_before_it_is_used() -> None:
    clinic = account()
    order(clinic, "url-expired", method="*", path="")
    path = f"document/upload?patientId={JANE}"

    first, second = (clinic.ask("POST", path, announcement()).json["uploadUrl"] for _ in range(2))

    headers = {"content-type": "a/b", "content-length": "1"}
    assert clinic.open("PUT", first, raw=b"x", headers=headers).status == 403
    assert clinic.open("PUT", second, raw=b"x", headers=headers).status == 200


def test_every_fault_that_is_documented_is_taken() -> None:
    listed = re.findall(r"^((?:[a-z0-9:-]|SECONDS|, )+) {2,}", faults.__doc__ or "", re.MULTILINE)
    names = [name.replace("SECONDS", "3") for line in listed for name in line.split(", ")]
    clinic = account()

    assert len(names) == 23
    for name in names:
        order(clinic, name)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"fault": "earthquake"},
        {"fault": "slow:-1"},
        {"fault": "slow:nan"},
        {"fault": "slow:99999999"},
        {"fault": "slow:\u0663"},
        {"fault": ["500"]},
        {"fault": "500", "times": 0},
        {"fault": "500", "times": "twice"},
        {"fault": "500", "times": 10_001},
        {"fault": "500", "method": 7},
        {"fault": "500", "path": None},
    ],
)
def test_orders_that_are_refused(body: dict[str, Any]) -> None:
    refused(account().ask("POST", "/_simulator/faults", body))


def test_the_control_api_shows_messages_and_requests() -> None:
    clinic = account()
    message = clinic.sent()
    clinic.ask("GET", "message?count=1")

    assert clinic.ask("GET", "/_simulator/messages").json == {
        "messages": [
            {
                "id": message,
                "direction": "outbound",
                "patientId": JANE,
                "destination": "referrals@harbor-heart.example",
                "subject": "Referral",
                "body": "Please see.",
                "attachments": [],
                "status": "processing",
            }
        ]
    }
    assert clinic.ask("GET", "/_simulator/requests").json["requests"][-1] == {
        "at": "2026-07-01T12:00:00.000Z",
        "method": "GET",
        "path": "/medical/v1/message",
        "query": "count=1",
        "status": 200,
    }


def test_the_control_api_needs_no_key_and_resets_everything() -> None:
    clinic = account()
    clinic.sent()
    clinic.ask("POST", "/settings", {"webhookUrl": HOOK})
    clinic.key = None

    assert clinic.ask("POST", "/_simulator/reset").status == 204
    assert clinic.ask("GET", "/_simulator/messages").json == {"messages": []}
    assert clinic.ask("GET", "/_simulator/requests").json == {"requests": []}
    assert clinic.hooks() == []


def test_messages_are_ended_through_the_control_api() -> None:
    clinic = account()
    good, bad, reasonless = clinic.sent(), clinic.sent(), clinic.sent()

    assert clinic.ask("POST", f"/_simulator/messages/{good}/complete").json == {
        "id": good,
        "status": "completed",
    }
    assert (
        clinic.ask("POST", f"/_simulator/messages/{bad}/fail", {"reason": "Full."}).json["status"] == "failed"
    )
    assert clinic.ask("POST", f"/_simulator/messages/{reasonless}/fail").status == 200
    assert [one.reason for one in clinic.world.messages] == [
        None,
        "Full.",
        "The recipient refused the message.",
    ]


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_only_outbound_messages_are_ended(end: str) -> None:
    clinic = account()
    reply = clinic.world.receive(clinic.now, subject="Reply").id

    for message in (reply, "nothing"):
        refused(clinic.ask("POST", f"/_simulator/messages/{message}/{end}"), 404)
    refused(clinic.ask("POST", f"/_simulator/messages/{clinic.sent()}/fail", {"reason": 7}))
