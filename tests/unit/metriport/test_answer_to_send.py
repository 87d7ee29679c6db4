"""What an answer to the send means: every row of protocol §5, and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.outcome import Answer, LaneStopped, Refused, Sent, Unknown, Waiting
from adapter.domain.reasons import CODES
from adapter.metriport.wire import answer_to_send

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
ID = "0190b1c2-0000-7000-8000-000000000001"
FORBIDDEN = b'{"message":"Forbidden"}'
PAGE = b"<html><body>nothing here</body></html>"


def problem(status: int, **changes: Any) -> bytes:
    facts = {"status": status, "name": "BAD_REQUEST", "title": "BadRequestError", "detail": "No such thing."}
    return json.dumps({key: value for key, value in (facts | changes).items() if value is not None}).encode()


def meaning(status: int, body: bytes = b"", **headers: str) -> Answer:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return answer_to_send(status, named, body, now=NOW)


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize(
    "body",
    [
        {"id": ID, "status": "processing", "direction": "outbound"},
        {"resourceType": "Communication", "id": ID, "status": "in-progress"},
        {"communication": {"resourceType": "Communication", "id": ID, "status": "in-progress"}},
    ],
    ids=["message", "communication", "wrapped"],
)
def test_a_2xx_with_an_id_is_sent(status: int, body: dict[str, Any]) -> None:
    assert meaning(status, json.dumps(body).encode()) == Sent(message_id=ID)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"id": 7}',
        b'{"id": ""}',
        b'{"id": "two words"}',
        b'{"id": "\\ud800"}',
        b'{"communication": {}}',
        b"\xff\xfe",
        PAGE,
        b"[" * 100_000,
    ],
)
def test_a_2xx_without_a_readable_id_is_unknown(body: bytes) -> None:
    assert isinstance(meaning(200, body), Unknown)


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        (" 7 ", 7.0),
        ("86400", 300.0),
        ("Wed, 01 Jul 2026 12:00:30 GMT", 30.0),
        ("Wed, 01 Jul 2026 11:00:00 GMT", 0.0),
        ("Wed, 01 Jul 2026 12:00:30 -0000", 30.0),
        ("Thu, 02 Jul 2026 12:00:00 GMT", 300.0),
        ("soon", None),
        ("-3", None),
        ("²", None),
        ("nan", None),
        ("", None),
    ],
)
def test_429_waits_as_long_as_stated_but_no_longer_than_the_cap(stated: str, seconds: float | None) -> None:
    answer = meaning(429, retry_after=stated)

    assert isinstance(answer, Waiting)
    assert answer.retry_after_seconds == seconds


def test_429_without_retry_after_waits() -> None:
    assert meaning(429, problem(429)) == Waiting(
        why="Metriport answered 429 (BAD_REQUEST, BadRequestError)", retry_after_seconds=None
    )


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_in_metriports_own_shape_carries_its_detail(status: int) -> None:
    assert meaning(status, problem(status)) == Refused(code="refused-by-metriport", detail="No such thing.")


def test_a_refusal_without_detail_carries_its_title() -> None:
    answer = meaning(400, problem(400, detail=None, title="Missing or invalid parameters"))

    assert answer == Refused(code="refused-by-metriport", detail="Missing or invalid parameters")


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize(
    "detail",
    [
        "Patient has opted out from the networks",
        "patient opted-out of sharing",
        "Patient does not have a treatment relationship",
        "Missing Treatment Relationship with the facility",
    ],
)
def test_a_patient_who_may_not_be_shared_about_is_held(status: int, detail: str) -> None:
    assert meaning(status, problem(status, detail=detail)) == Refused(
        code="held-patient-opted-out", detail=detail
    )


def test_404_in_metriports_own_shape_holds_the_message() -> None:
    body = problem(404, name="NOT_FOUND", title="NotFoundError", detail="Could not find patient")

    assert meaning(404, body) == Refused(code="held-patient-gone", detail="Could not find patient")


NOT_ITS_SHAPE = [
    FORBIDDEN,
    PAGE,
    b"",
    b'"text"',
    b'{"detail": "Not Found"}',
    b'{"status": 404, "error": "Not Found", "path": "/medical/v1/message"}',
    b'{"type": "about:blank", "status": 400, "title": "Bad Request", "detail": "no"}',
    b'{"status": 400, "name": "BAD_REQUEST"}',
]


@pytest.mark.parametrize("status", [400, 404, 413, 422])
@pytest.mark.parametrize("body", [*NOT_ITS_SHAPE, problem(499)])
def test_a_refusal_in_any_other_shape_stops_the_lane(status: int, body: bytes) -> None:
    assert isinstance(meaning(status, body), LaneStopped)


@pytest.mark.parametrize("body", [FORBIDDEN, problem(401), problem(403), problem(405)])
@pytest.mark.parametrize(
    "status", [401, 402, 403, 405, 406, 410, 411, 412, 414, 415, 418, 425, 426, 451, 499]
)
def test_any_other_4xx_stops_the_lane_whatever_it_says(status: int, body: bytes) -> None:
    assert isinstance(meaning(status, body), LaneStopped)


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "metriport.api_key"),
        (403, "metriport.api_key"),
        (404, "metriport.base_url"),
        (405, "metriport.base_url"),
        (402, "the account"),
    ],
)
def test_a_stopped_lane_says_what_to_check(status: int, hint: str) -> None:
    answer = meaning(status, FORBIDDEN)

    assert isinstance(answer, LaneStopped)
    assert hint in answer.why


@pytest.mark.parametrize("body", [b"", FORBIDDEN, problem(503), json.dumps({"id": ID}).encode()])
@pytest.mark.parametrize(
    "status", [100, 101, 300, 301, 302, 307, 308, 408, 409, 500, 502, 503, 504, 599, 600, 999]
)
def test_what_proves_nothing_is_unknown_whatever_it_says(status: int, body: bytes) -> None:
    assert isinstance(meaning(status, body, retry_after="5", location="https://elsewhere.test/"), Unknown)


def test_words_for_the_log_name_the_kind_of_error_and_the_request_but_no_content() -> None:
    body = problem(500, name="INTERNAL", title="Jane Roe failed", detail="Jane Roe")

    answer = meaning(500, body, x_metriport_request_id="req-1")

    assert answer == Unknown(why="Metriport answered 500 (INTERNAL, request req-1)")


def test_a_request_id_that_is_no_word_is_left_out() -> None:
    assert meaning(500, x_metriport_request_id="Jane Roe") == Unknown(why="Metriport answered 500")


def test_a_long_or_dirty_detail_is_made_fit_to_store() -> None:
    answer = meaning(400, problem(400, detail="a\x00b\ud800" + "c" * 5000))

    assert isinstance(answer, Refused)
    assert answer.detail.startswith("ab\ufffdccc")
    assert len(answer.detail) == 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
SHAPES = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("id", "communication", "message", "status", "name", "title", "detail"), JSON),
).map(lambda value: json.dumps(value).encode())


@given(
    status=st.integers(0, 1000),
    body=st.binary() | SHAPES,
    headers=st.dictionaries(st.sampled_from(["retry-after", "x-metriport-request-id"]), st.text()),
)
def test_any_answer_has_a_meaning_and_only_a_2xx_is_sent(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    answer = answer_to_send(status, headers, body, now=NOW)

    assert isinstance(answer, Sent) <= (status // 100 == 2)
    assert isinstance(answer, Waiting) == (status == 429)
    assert isinstance(answer, Refused) <= (status in {400, 404, 413, 422})
    assert not isinstance(answer, Refused) or answer.code in CODES
