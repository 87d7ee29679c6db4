"""What an HTTP answer means, for every status there can be."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import Conflict, Rejected, Temporary
from adapter.fhir.answers import LONGEST_ISSUE, Answer, Meaning, error_in, is_absent, issues_in, meaning_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "Zyxwvut"


def outcome(*issues: dict[str, Any]) -> bytes:
    return json.dumps({"resourceType": "OperationOutcome", "issue": list(issues)}).encode()


def error(status: int, body: bytes = b"", **headers: str) -> Exception | None:
    return error_in(Answer(status=status, headers=headers, body=body), what="PUT Task/1", now=NOW)


@given(st.integers(100, 999))
def test_every_status_has_one_meaning_and_one_error(status: int) -> None:
    kinds = {
        Meaning.GOOD: type(None),
        Meaning.ABSENT: Rejected,
        Meaning.CONFLICT: Conflict,
        Meaning.REJECTED: Rejected,
        Meaning.REDIRECTED: Temporary,
        Meaning.NOT_APPLIED: Temporary,
        Meaning.TEMPORARY: Temporary,
    }

    assert type(error(status)) is kinds[meaning_of(status)]


@pytest.mark.parametrize(
    ("statuses", "meaning"),
    [
        ([200, 201, 204], Meaning.GOOD),
        ([404, 410], Meaning.ABSENT),
        ([409, 412], Meaning.CONFLICT),
        ([400, 401, 403, 405, 406, 413, 415, 418, 422, 428, 501], Meaning.REJECTED),
        ([301, 302, 303, 307, 308], Meaning.REDIRECTED),
        ([425, 429], Meaning.NOT_APPLIED),
        ([100, 408, 500, 502, 503, 504, 599, 999], Meaning.TEMPORARY),
    ],
)
def test_the_table(statuses: list[int], meaning: Meaning) -> None:
    assert {meaning_of(status) for status in statuses} == {meaning}


@pytest.mark.parametrize(
    "status", [301, 302, 400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 418, 422, 429, 500, 503]
)
def test_an_error_says_what_was_tried_and_nothing_of_what_was_answered(status: int) -> None:
    body = outcome({"severity": "error", "diagnostics": f"value {SECRET} is wrong"})

    found = error(status, body, etag=f'"{SECRET}"', location=f"https://x.example/{SECRET}")

    assert str(found).startswith("PUT Task/1: ")
    assert str(status) in str(found)
    assert SECRET not in str(found)


def test_a_conflict_carries_the_version_that_the_server_tells() -> None:
    told, silent = error(412, etag='W/"7"'), error(409)

    assert isinstance(told, Conflict)
    assert told.version == "7"
    assert isinstance(silent, Conflict)
    assert silent.version is None


def test_a_rejection_carries_the_servers_own_words() -> None:
    found = error(422, outcome({"severity": "error", "diagnostics": "HAPI-0001: no"}))

    assert isinstance(found, Rejected)
    assert (found.status, found.issues) == (422, ("HAPI-0001: no",))
    assert not is_absent(found)


@pytest.mark.parametrize(
    ("status", "setting"), [(401, "fhir.authorization"), (302, "fhir.base_url"), (404, "fhir.base_url")]
)
def test_an_error_says_which_setting_to_look_at(status: int, setting: str) -> None:
    assert setting in str(error(status, b"<html>"))


@pytest.mark.parametrize(
    ("status", "applied"), [(500, True), (503, True), (408, True), (429, False), (302, False)]
)
def test_what_was_not_applied_is_known_where_it_can_be(status: int, *, applied: bool) -> None:
    found = error(status)

    assert isinstance(found, Temporary)
    assert found.applied is applied


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    headers = {"retry-after": "9"}

    found = error_in(Answer(status=429, headers=headers), what="PUT Task/1", now=NOW)

    assert isinstance(found, Temporary)
    assert found.retry_at == NOW + timedelta(seconds=9)


@pytest.mark.parametrize(
    ("status", "body"), [(404, b""), (404, b" \n"), (404, outcome()), (410, b"<html>"), (410, b"")]
)
def test_a_server_that_says_so_has_no_such_resource(status: int, body: bytes) -> None:
    found = error(status, body)

    assert isinstance(found, Rejected)
    assert is_absent(found)


@pytest.mark.parametrize(
    "body", [b"<html>404</html>", b'{"error":"no route"}', b"[" * 9999, b"\xff", b"null"]
)
def test_a_proxys_not_found_does_not_mean_that_the_resource_is_gone(body: bytes) -> None:
    assert isinstance(error(404, body), Temporary)


@pytest.mark.parametrize(
    ("issue", "sentence"),
    [
        ({"diagnostics": " a\r\n\tb\x00c ", "details": {"text": "t"}}, "a b c"),
        ({"details": {"text": "t", "coding": [{"display": "d"}]}}, "t"),
        ({"details": {"coding": [{}, {"display": "d"}]}, "code": "c"}, "d"),
        ({"code": "invalid"}, "invalid"),
        ({"diagnostics": "x" * 999}, "x" * (LONGEST_ISSUE - 1) + "…"),
    ],
)
def test_an_issue_becomes_one_line(issue: dict[str, Any], sentence: str) -> None:
    assert issues_in(outcome(issue)) == (sentence,)


def test_warnings_are_left_out_where_there_are_errors() -> None:
    warning = {"severity": "warning", "diagnostics": "w"}
    fatal = {"severity": "fatal", "diagnostics": "f"}

    assert issues_in(outcome(warning, fatal)) == ("f",)
    assert issues_in(outcome(warning)) == ("w",)


def test_issues_are_few_and_said_once() -> None:
    body = outcome(*({"diagnostics": str(number // 2)} for number in range(40)), {})

    assert issues_in(body) == ("0", "1", "2", "3", "4")


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["issue", "details", "coding", "diagnostics", "severity", "code", "text"]),
                inner,
            )
        ),
    )
)
def test_any_outcome_is_read(value: Any) -> None:
    body = json.dumps({"resourceType": "OperationOutcome", "issue": value}).encode()

    assert all(issue.strip() for issue in issues_in(body))
