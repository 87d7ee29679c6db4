"""What goes over the wire, decided from bytes."""

from __future__ import annotations

import json
import string
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.resource import Resource
from adapter.errors import AdapterError, ConfigError, Rejected, Temporary
from adapter.fhir import wire

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BASE = "https://fhir.example.org/fhir"
SECRET = "Zyxwvut"

_decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()) | _decimals,
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


# --- JSON -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", ["1.50", "0.0", "-0.10", "-0", "7", "3.14159265358979323846264338327950288", "9" * 5000]
)
def test_a_number_goes_back_as_it_came(number: str) -> None:
    body = f'{{"value":{number}}}'.encode()

    assert wire.serialise(wire.parse(body, what="GET x")) == body


@given(st.dictionaries(st.text(), _json))
def test_what_is_serialised_parses_to_the_same(value: dict[str, Any]) -> None:
    assert wire.parse(wire.serialise(value), what="GET x") == value


@given(_decimals)
def test_a_decimal_keeps_its_precision(value: Decimal) -> None:
    parsed = wire.parse(wire.serialise({"value": value}), what="GET x")["value"]

    assert Decimal(parsed).as_tuple() == value.as_tuple()


def test_a_lone_surrogate_goes_back_as_it_came() -> None:
    body = rb'{"text":"\ud83d"}'

    assert wire.serialise(wire.parse(body, what="GET x")) == body


def test_a_byte_order_mark_is_no_content() -> None:
    assert wire.parse(b"\xef\xbb\xbf{}", what="GET x") == {}


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_raise_an_error_of_ours(body: bytes) -> None:
    with suppress(AdapterError):
        wire.parse(body, what="GET x")


@pytest.mark.parametrize("body", [b"<html>Zyxwvut</html>", b'{"name":"Zyxwvut"', b"\xff\xfe", b"", b"[NaN]"])
def test_what_is_no_json_may_be_better_tomorrow(body: bytes) -> None:
    with pytest.raises(Temporary, match=r"GET Patient/1: .*HTTP 200.*fhir\.base_url") as caught:
        wire.parse(body, what="GET Patient/1")

    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 101 + b"]" * 101, b'{"a":1e99999999999999999999}'],
    ids=["unended list", "unended object", "101 levels", "exponent"],
)
def test_json_beyond_all_measure_is_rejected(body: bytes) -> None:
    with pytest.raises(Rejected, match="levels deep"):
        wire.parse(body, what="GET x")


def test_a_hundred_levels_are_read() -> None:
    assert wire.parse(b"[" * 100 + b"]" * 100, what="GET x")


# --- names and versions ---------------------------------------------------------------------------------------------


@given(st.text(string.ascii_letters + string.digits + "-.", min_size=1, max_size=64))
def test_a_version_survives_its_etag(version: str) -> None:
    if version not in {".", ".."}:
        assert wire.version_in(wire.etag(version)) == version


@pytest.mark.parametrize("version", ["", "1\r\nX: y", "ü", 'a"b', "x" * 65])
def test_a_version_that_no_server_gives_is_not_sent(version: str) -> None:
    with pytest.raises(Rejected, match="nothing was sent"):
        wire.etag(version)


@pytest.mark.parametrize(
    ("header", "version"),
    [('"3"', "3"), (' W/"3" ', "3"), ("3", None), ("", None), (None, None), ('W/""', None)],
)
def test_versions_are_read_from_strong_and_weak_tags(header: str | None, version: str | None) -> None:
    assert wire.version_in(header) == version


def test_a_version_said_in_the_header_only_is_put_into_the_resource() -> None:
    assert wire.with_version({"id": "1", "meta": {"source": "x"}}, "4") == {
        "id": "1",
        "meta": {"source": "x", "versionId": "4"},
    }


@pytest.mark.parametrize("version", ["9", None])
def test_a_version_in_the_resource_stands(version: str | None) -> None:
    resource: Resource = {"meta": {"versionId": "4"}}

    assert wire.with_version(resource, version) is resource


@pytest.mark.parametrize("id", ["..", ".", "", "a/b", "a b", "x" * 65, None, 7, "a?b", "ü", "a\n"])
def test_what_cannot_be_an_id_makes_no_path(id: object) -> None:
    assert not wire.is_id(id)
    with pytest.raises(Rejected, match="nothing was sent"):
        wire.location("Patient", id)


@pytest.mark.parametrize("type", ["patient", "", "Patient/1", "../Patient", "P1"])
def test_what_cannot_be_a_type_makes_no_path(type: str) -> None:
    with pytest.raises(Rejected):
        wire.location(type, "1")


def test_type_and_id_make_a_path() -> None:
    assert wire.location("Patient", "a-1.b") == "Patient/a-1.b"


# --- URLs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "fhir.example.org/fhir",
        "ftp://fhir.example.org",
        "https://",
        "https://me:Zyxwvut@fhir.example.org/fhir",
        "https://fhir.example.org/fhir?x=1",
        "https://fhir.example.org/fhir#x",
        "https://fhir.example.org:port/fhir",
        "https://fhir.example.org:0/fhir",
        "https://[::1/fhir",
    ],
)
def test_a_base_that_cannot_be_one_is_named_by_its_setting(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^fhir\.base_url must be") as caught:
        wire.base_of(url)

    assert SECRET not in str(caught.value)


def test_a_base_has_no_trailing_slash() -> None:
    assert wire.base_of(BASE + "/") == BASE


@pytest.mark.parametrize(
    ("path", "parameters", "url"),
    [
        ("", [], BASE),
        ("Patient/1", [], f"{BASE}/Patient/1"),
        ("Task", [("code", "a|b,c"), ("code", "d e&f")], f"{BASE}/Task?code=a%7Cb%2Cc&code=d%20e%26f"),
        ("Task", [("x", "\ud800")], f"{BASE}/Task?x=%3F"),
        (f"{BASE}?_getpages=1|2", [], f"{BASE}?_getpages=1|2"),
        ("https://FHIR.example.org:443/other?a=b", [], "https://FHIR.example.org:443/other?a=b"),
    ],
)
def test_urls_are_made_under_the_base(path: str, parameters: list[tuple[str, str]], url: str) -> None:
    assert wire.url_under(BASE, path, parameters) == url


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://fhir.example.org/fhir?_getpages=Zyxwvut", "http://fhir.example.org:80"),
        ("https://fhir.example.org:8443/fhir", "https://fhir.example.org:8443"),
        ("https://fhir.example.org.evil.example/fhir", "https://fhir.example.org.evil.example:443"),
        ("https://fhir.example.org@evil.example/fhir", "https://evil.example:443"),
        ("https://me@fhir.example.org/fhir", "https://fhir.example.org:443"),
        ("ftp://fhir.example.org/fhir", "no http URL"),
        ("https://[::1/fhir", "no http URL"),
    ],
)
def test_another_origin_is_never_asked(url: str, named: str) -> None:
    page = {"link": [{"relation": "next", "url": url}]}

    with pytest.raises(Rejected, match=r"fhir\.base_url.*hapi\.fhir\.server_address") as caught:
        wire.next_link(page, asked=f"{BASE}/Patient", base=BASE)
    with pytest.raises(Rejected):
        wire.url_under(BASE, url)

    assert named in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("links", "following"),
    [
        ([{"relation": "next", "url": f"{BASE}?_getpages=a|b&x=%7C"}], f"{BASE}?_getpages=a|b&x=%7C"),
        ([{"relation": "next", "url": "?page=2"}], f"{BASE}/Patient?page=2"),
        ([{"relation": "next", "url": "/fhir/p/2"}], f"{BASE}/p/2"),
        ([{"relation": "self", "url": f"{BASE}/x"}, {"relation": "next"}], None),
        ([], None),
        ("next", None),
    ],
)
def test_the_next_page_is_followed_verbatim(links: object, following: str | None) -> None:
    assert wire.next_link({"link": links}, asked=f"{BASE}/Patient?_count=1", base=BASE) == following


# --- Bundles --------------------------------------------------------------------------------------------------------


def test_only_matches_of_the_type_come_out_of_a_search() -> None:
    task = {"resourceType": "Task", "id": "1"}
    page = {
        "entry": [
            {"resource": task, "search": {"mode": "match"}},
            {"resource": {**task, "id": "2"}},
            {"resource": {**task, "id": "3"}, "search": {"mode": "include"}},
            {"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}},
            {"resource": {"resourceType": "Patient"}},
            {"fullUrl": "urn:x"},
            "entry",
        ]
    }

    assert [match["id"] for match in wire.matches(page, "Task")] == ["1", "2"]


def test_deletions_in_a_history_are_no_versions() -> None:
    page = {
        "entry": [
            {"request": {"method": "DELETE"}},
            {"request": {"method": "DELETE"}, "resource": {"resourceType": "Task", "id": "1"}},
            {"resource": {"resourceType": "Task"}, "response": {"etag": 'W/"2"'}},
            {"resource": {"resourceType": "Task", "meta": {"versionId": "1"}}},
        ]
    }

    assert [version["meta"]["versionId"] for version in wire.versions(page)] == ["2", "1"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        {},
        {"resourceType": "Bundle"},
        {"resourceType": "Patient", "id": ["1"]},
        {"resourceType": "Patient", "id": "2"},
    ],
)
def test_an_answer_that_is_something_else_is_not_taken_for_the_resource(value: object) -> None:
    with pytest.raises(Temporary, match="GET Patient/1: the answer is not the Patient"):
        wire.resource(value, what="GET Patient/1", type="Patient", id="1")


# --- Retry-After ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 0 ", 0),
        ("86400", 3600),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Sun, 01 Mar 2037 11:00:00 GMT", 3600),
    ],
)
def test_a_wait_is_read_in_seconds_or_as_a_date_and_never_exceeds_an_hour(header: str, seconds: int) -> None:
    assert wire.retry_at(header, now=NOW) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("header", [None, "", "soon", "-3", "1.5", "²", "0\x1f", "٣"])
def test_a_wait_that_cannot_be_read_is_none(header: str | None) -> None:
    assert wire.retry_at(header, now=NOW) is None


@given(st.text())
def test_any_wait_reads_or_is_none(header: str) -> None:
    wire.retry_at(header, now=NOW)


@given(_json)
def test_any_page_is_read(value: Any) -> None:
    page = {"entry": value, "link": value}

    assert list(wire.matches(page, "Task")) == []
    assert wire.next_link(page, asked=BASE, base=BASE) is None
    json.dumps([list(wire.versions(page))], default=str)
