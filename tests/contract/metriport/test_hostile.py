"""Whatever is asked: an answer from a known set of statuses, never an exception."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.simulators.http import Request
from adapter.simulators.metriport import DEFAULT_API_KEY, World
from adapter.simulators.metriport.answers import NO_ROUTE
from adapter.simulators.metriport.events import EXAMPLE_TYPES
from tests.contract.metriport.account import BASE, FACILITY, HOOK, JANE, announcement, person

KNOWN = {200, 201, 204, 400, 403, 404, 411, 412, 429}
FAULTY = KNOWN | {0, 307, 500, 503}

TEXT = st.text(max_size=12)
NAMES = st.sampled_from(
    [
        "patientId", "facilityId", "count", "fromItem", "toItem", "direction", "status", "dateFrom", "dateTo",
        "resources", "conversionType", "content", "output", "fileName", "filters", "filter", "npi", "oid",
        "destination", "active", "sort", "externalId", "expires", "signature", "subject", "body", "attachments",
        "intendedRecipientNpi", "firstName", "lastName", "dob", "genderAtBirth", "address", "contact",
        "organizationName", "metadata", "sources", "webhookUrl", "type", "context", "description", "resourceType",
        "entry", "name", "personalIdentifiers", "method", "path", "fault", "times", "reason", "from", "urlKey",
    ]
)  # fmt: skip
WORDS = st.one_of(
    TEXT,
    st.sampled_from([
        JANE, FACILITY, "0", "-1", "501", "9" * 30, "nan", "true", "2026-02-30", "2026-02-01", "Patient",
        "json", "html", "1234567893", "2.16.840", "a@b", "hie", HOOK, "ME", "F", "04101", "ssn", "Bundle",
        "collection", "createdAt=desc", "dto", "slow:1", "url", "patient.admit", "\ud800", "\x00",
    ]),
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.one_of(NAMES, TEXT), inner, max_size=3),
    max_leaves=8,
)
SOUND = st.sampled_from(
    [
        {"destination": "a@b.example", "subject": "s", "body": "b"},
        person(),
        announcement(),
        {"webhookUrl": HOOK},
        {"sources": ["hie", "lab"]},
        {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": {"resourceType": "Basic"}}]},
        {"organizationName": "harbor"},
        *({"type": kind, "patientId": JANE} for kind in EXAMPLE_TYPES),
    ]
)
OBJECTS = st.dictionaries(st.one_of(NAMES, TEXT), VALUES, max_size=5)
BODIES = st.one_of(
    st.binary(max_size=40),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.builds(lambda base, more: json.dumps({**base, **more}).encode(), SOUND, OBJECTS | st.just({})),
    st.integers(1, 3000).map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth),
)
IDS = st.one_of(st.sampled_from([JANE, FACILITY]), st.text(alphabet="abc/%.0", max_size=8))
PATHS = st.one_of(
    st.text(max_size=20),
    st.builds(
        lambda shape, one, two: shape.format(one, two),
        st.sampled_from(
            [
                "/medical/v1/message", "/medical/v1/message/destinations", "/medical/v1/message/{}",
                "/medical/v1/network-entry", "/medical/v1/patient", "/medical/v1/patient/external-id",
                "/medical/v1/patient/match", "/medical/v1/patient/{}", "/medical/v1/facility",
                "/medical/v1/facility/{}", "/medical/v1/document/upload", "/medical/v1/document/download-url",
                "/medical/v1/document", "/medical/v1/patient/{}/consolidated/query",
                "/medical/v1/patient/{}/consolidated/query/{}", "/medical/v1/patient/{}/consolidated/count",
                "/medical/v1/patient/{}/consolidated", "/medical/v1/network/query", "/medical/v1/network/query/{}",
                "/settings", "/settings/webhook", "/settings/webhook/retry", "/settings/webhook/request",
                "/settings/webhook/request/{}/retry", "/_uploads/{}", "/_files/{}",
                "/_simulator/messages/inbound", "/_simulator/messages/{}/complete", "/_simulator/messages",
                "/_simulator/messages/{}/fail", "/_simulator/webhooks", "/_simulator/reset", "/_simulator/requests",
            ]
        ),
        IDS,
        IDS,
    ),
)  # fmt: skip
QUERIES = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20),
    st.lists(st.tuples(NAMES, WORDS), max_size=4).map(lambda pairs: urlencode(pairs, errors="replace")),
)
REQUESTS = st.builds(
    Request,
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
    path=PATHS,
    query=QUERIES,
    headers=st.dictionaries(st.sampled_from(["if-match", "content-type", "content-length"]), TEXT).map(
        lambda headers: {"x-api-key": DEFAULT_API_KEY, **headers}
    ),
    body=BODIES,
)
STEPS = st.lists(st.tuples(REQUESTS, st.floats(0, 100_000)), min_size=1, max_size=6)
STARTS = st.sampled_from([datetime(2026, 7, 1, tzinfo=UTC), datetime(1931, 1, 1, tzinfo=UTC)])


def run(world: World, steps: list[tuple[Request, float]], now: datetime) -> set[int]:
    statuses = set()
    for request, seconds in steps:
        now += timedelta(seconds=seconds)
        answer = world.handle(request, now)
        statuses.add(answer.status)
        holds_to_its_shape(request, answer.status, answer.body)
        for call in world.calls_due(now):
            json.loads(call.body)
            world.call_ended(call, None, now)
    return statuses


def holds_to_its_shape(request: Request, status: int, body: bytes) -> None:
    stored = request.path.lstrip("/").startswith(("_uploads/", "_files/"))
    nowhere = body == NO_ROUTE.body
    if status in {400, 404, 412, 429} and not stored and not nowhere:
        assert set(json.loads(body)) == {"status", "name", "title", "detail"}


@settings(max_examples=400)
@given(steps=STEPS, start=STARTS, dialect=st.sampled_from(["sdk", "docs"]))
def test_any_request_is_answered(steps: list[tuple[Request, float]], start: datetime, dialect: str) -> None:
    world = World(public_url=BASE, dialect=dialect)
    world.set_webhook(HOOK, start)

    assert run(world, steps, start) <= KNOWN


@settings(max_examples=150)
@given(
    steps=STEPS,
    start=STARTS,
    fault=st.sampled_from(
        ["apply-then-drop", "apply-then-500", "apply-late:3", "drop", "503", "429:3", "slow:1", "malformed",
         "no-id", "redirect", "list-lag:9", "list-repeat", "webhook-twice", "webhook-late", "url-expired"]
    ),
)  # fmt: skip
def test_any_request_is_answered_under_any_fault(
    steps: list[tuple[Request, float]], start: datetime, fault: str
) -> None:
    world = World(public_url=BASE)
    world.set_webhook(HOOK, start)
    world.add_fault("*", "", fault, 3)

    statuses = set()
    now = start
    for request, seconds in steps:
        now += timedelta(seconds=seconds)
        statuses.add(world.handle(request, now).status)
        world.calls_due(now)
    assert statuses <= FAULTY


@given(body=BODIES)
def test_any_message_that_comes_in_is_taken_or_refused(body: bytes) -> None:
    world = World(public_url=BASE)
    now = datetime(2026, 7, 1, tzinfo=UTC)
    path = "/_simulator/messages/inbound"
    world.set_webhook(HOOK, now)

    answer = world.handle(Request(method="POST", path=path, body=body), now)

    assert answer.status in {201, 400, 404}
    listing: Any = world.handle(
        Request(method="GET", path="/medical/v1/message", headers={"x-api-key": DEFAULT_API_KEY}), now
    )
    assert listing.status == 200
