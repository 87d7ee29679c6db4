"""The pretend FHIR server as an object: what tests and the simulation campaign do with it, on a clock of their own."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from adapter.simulators.fhir import Refused, World
from adapter.simulators.http import Call, Request, Response

START = datetime(2024, 1, 1, 12, tzinfo=UTC)
PATIENT = {"resourceType": "Patient", "id": "p"}


def ask(
    world: World, method: str, path: str, *, at: float = 0, query: str = "", body: Any = None
) -> Response:
    """One request, `at` seconds after the start."""
    headers = {"content-type": "application/fhir+json", "cache-control": "no-cache"}
    content = json.dumps(body).encode() if body is not None else b""
    request = Request(method=method, path=f"/fhir{path}", query=query, headers=headers, body=content)
    return world.handle(request, START + timedelta(seconds=at))


def read(response: Response) -> Any:
    """The JSON of an answer."""
    return json.loads(response.body)


def test_an_author_may_save_and_see_what_became_of_it() -> None:
    world = World()

    world.put(PATIENT, START)
    world.put({**PATIENT, "gender": "male"}, START)
    made = world.put({"resourceType": "Organization"}, START)

    first, second = world.history("Patient", "p")
    assert (first or {}).get("gender") is None
    assert (second or {}).get("gender") == "male"
    assert [one["id"] for one in world.resources()] == ["p", made["id"]]
    assert [one["gender"] for one in world.resources("Patient")] == ["male"]


def test_a_deletion_is_a_gap_in_the_history() -> None:
    world = World()
    world.put(PATIENT, START)

    ask(world, "DELETE", "/Patient/p")

    assert world.history("Patient", "p")[1] is None
    assert world.resources() == []


def test_what_is_handed_out_is_a_copy() -> None:
    world = World()
    world.put(PATIENT, START)

    world.resources()[0]["gender"] = "male"

    assert "gender" not in world.resources()[0]


def test_an_author_is_refused_what_the_server_refuses() -> None:
    communication = {"resourceType": "Communication", "id": "c", "subject": {"reference": "Patient/absent"}}

    with pytest.raises(Refused, match="Patient/absent not found"):
        World().put(communication, START)
    assert World(strict=False).put(communication, START)["subject"] == communication["subject"]


def test_a_conflict_may_be_a_412() -> None:
    world = World(conflict=412)
    world.put(PATIENT, START)
    headers = {"content-type": "application/fhir+json", "if-match": 'W/"7"'}
    request = Request(
        method="PUT", path="/fhir/Patient/p", headers=headers, body=json.dumps(PATIENT).encode()
    )

    assert world.handle(request, START).status == 412


def test_the_same_seed_gives_the_same_ids() -> None:
    one, other, different = (World(seed=seed, strict=False) for seed in (1, 1, 2))
    patient = {"resourceType": "Patient"}

    ids = [world.put(patient, START)["id"] for world in (one, other, different)]

    assert ids[0] == ids[1] != ids[2]


def test_the_size_of_a_page_may_be_set() -> None:
    world = World(page_size=2)
    for number in range(3):
        world.put({"resourceType": "Patient", "id": f"p{number}"}, START)

    assert len(read(ask(world, "GET", "/Patient"))["entry"]) == 2


def test_every_request_is_written_down_as_it_was_answered() -> None:
    world = World()

    ask(world, "GET", "/Patient/p", at=1)
    ask(world, "GET", "/Patient", at=2, query="_id=p")

    assert [(one.method, one.path, one.query, one.status) for one in world.requests] == [
        ("GET", "/Patient/p", "", 404),
        ("GET", "/Patient", "_id=p", 200),
    ]
    assert world.requests[0].at == START + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("fault", "status", "dropped", "stored"),
    [
        ("500", 500, False, False),
        ("503", 503, False, False),
        ("409", 409, False, False),
        ("429:7", 429, False, False),
        ("drop", 0, True, False),
        ("apply-then-drop", 0, True, True),
        ("apply-then-500", 500, False, True),
    ],
)
def test_a_fault_strikes_once(fault: str, status: int, *, dropped: bool, stored: bool) -> None:
    world = World()
    world.add_fault("PUT", "/Patient/", fault)

    struck = ask(world, "PUT", "/Patient/p", body=PATIENT)

    assert (struck.status, struck.drop) == (status, dropped)
    assert bool(world.resources()) == stored
    assert world.requests[-1].status == status
    assert ask(world, "PUT", "/Patient/p", body=PATIENT).status in {200, 201}


def test_a_slow_answer_is_a_late_one() -> None:
    world = World()
    world.add_fault("*", "", "slow:2.5", times=1)

    slow = ask(world, "PUT", "/Patient/p", body=PATIENT)

    assert (slow.status, slow.delay_seconds) == (201, 2.5)


def test_the_server_may_say_when_to_come_again() -> None:
    world = World()
    world.add_fault("GET", "/Patient", "429:7")

    assert ask(world, "GET", "/Patient").headers["Retry-After"] == "7"


def test_a_stale_search_does_not_show_what_is_new() -> None:
    world = World()
    ask(world, "PUT", "/Patient/old", body={"resourceType": "Patient", "id": "old"}, at=0)
    ask(world, "PUT", "/Patient/p", body=PATIENT, at=60)
    world.add_fault("GET", "/Patient", "unseen:30", times=2)

    stale, single = (read(ask(world, "GET", path, at=70)) for path in ("/Patient", "/Patient/p"))

    assert [entry["resource"]["id"] for entry in stale["entry"]] == ["old"]
    assert "total" not in stale
    assert single["id"] == "p"


def test_a_fault_strikes_only_what_it_names_and_as_often_as_it_says() -> None:
    world = World()
    world.add_fault("GET", "/Patient", "503", times=2)

    statuses = [
        ask(world, "GET", path).status for path in ("/Practitioner", "/Patient", "/Patient", "/Patient")
    ]

    assert ask(world, "POST", "/Patient", body={"resourceType": "Patient"}).status == 201
    assert statuses == [200, 503, 503, 200]


def test_faults_may_be_taken_back() -> None:
    world = World()
    world.add_fault("*", "/", "500", times=9)

    world.clear_faults()

    assert ask(world, "GET", "/Patient").status == 200


def test_an_unknown_fault_is_an_error() -> None:
    with pytest.raises(ValueError, match="nonesuch"):
        World().add_fault("GET", "/", "nonesuch")


@pytest.mark.parametrize(
    "query", ["_include=Communication:subject", "sent=ge2024-05", "subject:identifier=x|y"]
)
def test_what_is_not_simulated_is_refused_rather_than_ignored(query: str) -> None:
    assert ask(World(), "GET", "/Communication", query=query).status == 400


def test_what_is_remembered_of_a_search_and_a_history_ends_after_a_minute() -> None:
    world = World()
    world.put(PATIENT, START)
    search = Request(method="GET", path="/fhir/Patient")
    world.handle(search, START)
    ask(world, "GET", "/Patient/p/_history")
    world.put({**PATIENT, "gender": "male"}, START)
    world.put({"resourceType": "Patient", "id": "q"}, START)

    found = [len(read(world.handle(search, START + timedelta(seconds=at)))["entry"]) for at in (59, 60, 61)]
    versions = [len(read(ask(world, "GET", "/Patient/p/_history", at=at))["entry"]) for at in (59, 60, 61)]

    assert found == [1, 2, 2]
    assert versions == [1, 2, 2]


def test_one_of_several_alternatives_is_escaped() -> None:
    world = World()
    world.put({**PATIENT, "identifier": [{"system": "urn:x", "value": "a,b"}]}, START)

    assert "entry" in read(ask(world, "GET", "/Patient", query="identifier=urn:x|a%5C,b"))
    assert "entry" not in read(ask(world, "GET", "/Patient", query="identifier=urn:x|a,b"))


def test_an_element_of_another_shape_is_no_match() -> None:
    world = World()
    world.put({**PATIENT, "name": "not a HumanName"}, START)

    assert "entry" not in read(ask(world, "GET", "/Patient", query="family=not"))


# Subscriptions, on a clock of the test's own


def subscription(**channel: Any) -> dict[str, Any]:
    """A Subscription to every Communication in preparation."""
    base = {"type": "rest-hook", "endpoint": "http://adapter.example/bell"}
    return {
        "resourceType": "Subscription",
        "id": "s",
        "status": "requested",
        "criteria": "Communication?status=preparation",
        "channel": {**base, **channel},
    }


def subscribed(**channel: Any) -> World:
    """A world whose Subscription is active."""
    world = World()
    world.put(subscription(**channel), START)
    world.calls_due(START + timedelta(seconds=1))
    return world


def write(world: World, name: str, at: float) -> None:
    """A Communication that the Subscription is about."""
    communication = {"resourceType": "Communication", "id": name, "status": "preparation"}
    world.put(communication, START + timedelta(seconds=at))


def due(world: World, at: float) -> list[Call]:
    """The calls to make, `at` seconds after the start."""
    return list(world.calls_due(START + timedelta(seconds=at)))


def test_the_world_says_when_it_has_something_to_do() -> None:
    world = World()
    assert world.next_at() is None

    world.put(subscription(), START)

    activation = world.next_at()
    assert activation is not None
    assert due(world, 1) == []
    assert world.resources("Subscription")[0]["status"] == "active"
    assert world.next_at() is None
    write(world, "c", 2)
    assert world.next_at() == START + timedelta(seconds=2.1)
    assert due(world, 2) == []
    assert len(due(world, 2.1)) == 1
    assert world.next_at() is None


def test_a_subscription_is_active_for_who_only_asks() -> None:
    world = World()
    world.put(subscription(), START)

    assert read(ask(world, "GET", "/Subscription/s", at=0.1))["status"] == "requested"
    assert read(ask(world, "GET", "/Subscription/s", at=1))["status"] == "active"


@pytest.mark.parametrize("change", [{"status": "off"}, None], ids=["off", "deleted"])
def test_a_subscription_that_changed_its_mind_is_not_activated(change: dict[str, str] | None) -> None:
    world = World()
    world.put(subscription(), START)

    if change is None:
        ask(world, "DELETE", "/Subscription/s", at=0.1)
    else:
        world.put({**subscription(), **change}, START)
    due(world, 1)

    assert [one["status"] for one in world.resources("Subscription")] == ([] if change is None else ["off"])


def test_a_websocket_is_left_alone() -> None:
    world = subscribed(type="websocket")

    write(world, "c", 2)

    assert due(world, 3) == []


def test_a_failing_endpoint_is_tried_for_a_minute_and_then_the_message_is_lost() -> None:
    world = subscribed(payload="application/fhir+json")
    write(world, "c", 2)
    times = []

    at = 2.1
    while calls := due(world, at):
        times.append(at)
        world.call_ended(calls[0], 500, START + timedelta(seconds=at))
        onward = world.next_at()
        at = (onward - START).total_seconds() if onward else at

    waits = [round(later - earlier, 1) for earlier, later in pairwise(times)]
    assert waits[:3] == [1.0, 1.1, 1.2]
    assert max(waits) == 6.0
    assert 60 <= times[-1] - times[0] <= 66
    assert due(world, 200) == []


def test_two_messages_that_fail_keep_a_third_waiting() -> None:
    world = subscribed(payload="application/fhir+json")
    for name in ("a", "b", "c"):
        write(world, name, 2)

    first = due(world, 3)
    for call in first:
        world.call_ended(call, None, START + timedelta(seconds=3))
    second = due(world, 5)
    world.call_ended(second[0], 200, START + timedelta(seconds=5))
    third = due(world, 5)

    assert [call.url.rpartition("/")[2] for call in (*first, *second, *third)] == ["a", "b", "a", "b", "c"]


@pytest.mark.parametrize(("status", "again"), [(200, False), (503, False), (None, True)])
def test_without_a_payload_any_answer_is_good_enough(status: int | None, *, again: bool) -> None:
    world = subscribed()
    write(world, "c", 2)
    (call,) = due(world, 3)

    world.call_ended(call, status, START + timedelta(seconds=3))

    assert bool(due(world, 10)) == again


def test_a_call_under_way_is_not_made_twice() -> None:
    world = subscribed()
    write(world, "c", 2)
    due(world, 3)

    assert due(world, 4) == []


def test_a_restart_loses_what_was_not_delivered() -> None:
    world = subscribed()
    write(world, "c", 2)
    (call,) = due(world, 3)
    write(world, "d", 3)

    world.restart()
    world.call_ended(call, None, START + timedelta(seconds=4))

    assert due(world, 10) == []


def _patch(*operations: dict[str, Any], **overrides: Any) -> dict[str, Any]:
    data = base64.b64encode(json.dumps(operations).encode()).decode()
    patch = {
        "resourceType": "Binary", "contentType": "application/json-patch+json", "data": data, **overrides
    }  # fmt: skip
    entry = {"resource": patch, "request": {"method": "PATCH", "url": "Patient/p"}}
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}


@pytest.mark.parametrize(
    "bundle",
    [
        _patch({"op": "remove", "path": "/gender"}),
        _patch({"op": "add", "path": "/name/0/family", "value": "x"}),
        _patch({"op": "add", "path": "/gender"}),
        _patch(resourceType="Basic"),
        _patch(contentType="application/json"),
        _patch(data="bm8="),
    ],
)
def test_a_patch_that_it_does_not_know_is_refused(bundle: dict[str, Any]) -> None:
    world = World()
    world.put(PATIENT, START)

    assert ask(world, "POST", "", body=bundle).status == 400
    assert len(world.history("Patient", "p")) == 1
