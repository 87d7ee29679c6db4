"""What an answer to a read or an upload means to the caller."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import AdapterError, Rejected, Temporary
from adapter.metriport.wire import refusal

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
DOING = "Listing outbound messages at Metriport"


def judged(status: int, body: bytes = b"", **headers: str) -> AdapterError | None:
    return refusal(
        status, {key.replace("_", "-"): value for key, value in headers.items()}, body, doing=DOING, now=NOW
    )


def problem(status: int) -> bytes:
    shown = {"status": status, "name": "SOME_ERROR", "title": "SomeError", "detail": "About Jane Roe."}
    return json.dumps(shown).encode()


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_a_2xx_is_no_error(status: int) -> None:
    assert judged(status) is None


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_metriports_own_refusal_keeps_its_sentence_for_the_resource_and_out_of_the_text(status: int) -> None:
    error = judged(status, problem(status))

    assert isinstance(error, Rejected)
    assert (error.status, error.issues) == (status, ("About Jane Roe.",))
    assert str(error) == f"{DOING}: Metriport answered {status} (SOME_ERROR, SomeError)."


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (400, "the account or the route is refused"),
        (401, "metriport.api_key"),
        (403, "metriport.api_key"),
        (404, "metriport.base_url"),
        (405, "metriport.base_url"),
        (410, "the account or the route is refused"),
    ],
)
def test_a_refused_account_or_route_has_no_issues_and_says_what_to_check(status: int, hint: str) -> None:
    body = problem(status) if status not in {400, 404} else b'{"message":"Forbidden"}'

    error = judged(status, body)

    assert isinstance(error, Rejected)
    assert (error.status, error.issues) == (status, ())
    assert hint in str(error)


@pytest.mark.parametrize("status", [301, 302, 307, 408, 409, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_temporary(status: int) -> None:
    error = judged(status, problem(status))

    assert isinstance(error, Temporary)
    assert error.retry_at is None
    assert error.applied is (status != 429)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_becomes_a_time(status: int) -> None:
    error = judged(status, retry_after="20")

    assert isinstance(error, Temporary)
    assert error.retry_at == NOW + timedelta(seconds=20)


def test_a_redirect_says_that_it_is_not_followed_and_not_where_it_leads() -> None:
    error = judged(302, location="https://elsewhere.test/secret")

    assert "redirects are not followed; check metriport.base_url" in str(error)
    assert "elsewhere" not in str(error)


@given(status=st.integers(100, 999), body=st.binary(), header=st.text())
def test_any_answer_is_judged(status: int, body: bytes, header: str) -> None:
    error = judged(status, body, retry_after=header, x_metriport_request_id=header)

    assert (error is None) == (status // 100 == 2)
    assert error is None or isinstance(error, (Temporary, Rejected))
