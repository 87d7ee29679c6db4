"""Contract §1: the key, the path, errors, ids."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone

import pytest

from tests.contract.metriport.account import JANE, NOBODY, START, account, refused


@pytest.mark.parametrize("key", [None, "", "another"])
@pytest.mark.parametrize("path", ["/settings", "patient", "no-such-thing"])
def test_without_a_key_that_counts_the_gateway_answers(key: str | None, path: str) -> None:
    clinic = account(api_key="")
    clinic.key = key

    answer = clinic.ask("GET", path)

    assert (answer.status, answer.json) == (403, {"message": "Forbidden"})


def test_two_keys_are_live_at_once_and_can_be_rotated() -> None:
    clinic = account(api_key="old, new")
    for clinic.key in ("old", "new"):
        assert clinic.ask("GET", "/settings").status == 200

    clinic.world.set_keys("new", "newest")

    statuses = {}
    for clinic.key in ("old", "new", "newest"):
        statuses[clinic.key] = clinic.ask("GET", "/settings").status
    assert statuses == {"old": 403, "new": 200, "newest": 200}


@pytest.mark.parametrize("path", ["//medical/v1/patient", "/medical/v1/patient/", "/medical/v1/patient"])
def test_slashes_too_many_are_let_pass(path: str) -> None:
    assert account().ask("GET", path).status == 200


def test_an_unknown_route_and_a_wrong_method_are_not_found() -> None:
    clinic = account()

    for method, path in (("GET", "no-such-thing"), ("DELETE", f"patient/{JANE}")):
        answer = clinic.ask(method, path)
        # The gateway's words: nobody must take them for a record that is not there.
        assert (answer.status, answer.json) == (404, {"message": "Not Found"})
    refused(clinic.ask("GET", f"message/{NOBODY}"), 404)


def test_ids_are_uuids_of_version_7_in_the_order_of_their_making() -> None:
    clinic = account()
    ids = []
    for _ in range(3):
        ids += [clinic.sent(), clinic.sent()]
        clinic.passes(1)

    assert [uuid.UUID(one).version for one in ids] == [7] * 6
    assert {uuid.UUID(one).variant for one in ids} == {uuid.RFC_4122}
    assert ids == sorted(ids)
    assert int(ids[0].replace("-", "")[:12], 16) == int(START.timestamp() * 1000)


def test_the_seed_makes_the_ids() -> None:
    assert account(seed=4).sent() == account(seed=4).sent()
    assert account(seed=4).sent() != account(seed=5).sent()


def test_times_end_in_z_whatever_clock_is_passed_in() -> None:
    clinic = account()
    clinic.now = datetime(2026, 7, 1, 14, 0, tzinfo=timezone(timedelta(hours=2)))

    assert clinic.send().json["sentAt"] == "2026-07-01T12:00:00.000Z"


def test_some_calls_tell_a_request_id() -> None:
    clinic = account()

    answer = clinic.ask("POST", f"patient/{JANE}/consolidated/query")

    assert answer.headers["x-metriport-request-id"] == answer.json["requestId"]
    assert "x-metriport-request-id" not in clinic.ask("GET", "/settings").headers


@pytest.mark.parametrize("options", [{"dialect": "fhir"}, {"failed_as": "lost"}])
def test_a_world_is_checked_at_birth(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="there is no dialect"):
        account(**options)


@pytest.mark.parametrize(
    "raw",
    [b"{", b"[]", b"7", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b'{"a":' * 150 + b"1" + b"}" * 150, b"9" * 9_999],
    ids=["cut", "list", "number", "bytes", "nan", "deep-list", "deep-object", "long-number"],
)  # fmt: skip
@pytest.mark.parametrize(
    "path", [f"message?patientId={JANE}", "patient/match", "message/destinations", "/settings"]
)
def test_a_body_that_is_no_json_object_is_refused(path: str, raw: bytes) -> None:
    assert "body" in refused(account().ask("POST", path, raw=raw))
