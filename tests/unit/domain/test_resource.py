"""Readers over FHIR resources."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.resource import (
    LocalReference,
    codings,
    contained,
    entries,
    extensions,
    has_code,
    identifiers,
    in_period,
    instant,
    items,
    local_reference,
    obj,
    text,
    version_of,
)
from tests.builders import NOW, communication, concept
from tests.unit.domain.json_values import any_json, any_object, any_text

BASE = "https://fhir.lakeside.example/r4"


@given(any_json, any_object)
def test_readers_take_any_json(value: Any, resource: dict[str, Any]) -> None:
    assert isinstance(obj(value), dict)
    assert all(isinstance(item, dict) for item in items(value))
    assert isinstance(entries(value), list)
    assert text(value) is None or value.strip()
    assert isinstance(codings(value), list)
    assert has_code(value, "", "") in {True, False}
    moment = instant(value)
    assert moment is None or moment.tzinfo is not None
    assert all(identifiers(resource, "s"))
    list(extensions(resource, "u"))
    version_of(resource)
    contained(resource, value)
    local_reference(value, base_url=BASE)
    assert in_period(resource, NOW) in {True, False}


@pytest.mark.parametrize(
    ("value", "read"),
    [("a", "a"), (" a ", " a "), ("", None), (" \n", None), (1, None), (True, None), (["a"], None)],
)
def test_text_is_a_string_with_something_in_it(value: object, read: str | None) -> None:
    assert text(value) == read


def test_items_leaves_out_what_is_no_object() -> None:
    assert items([{"a": 1}, None, "x", [], {"b": 2}]) == [{"a": 1}, {"b": 2}]


def test_version_is_the_one_of_meta() -> None:
    assert version_of(communication()) == "1"
    assert version_of(communication(meta=None)) is None


def test_a_code_counts_only_under_its_system() -> None:
    concepts = [concept("urn:other", "x"), concept("urn:mine", "y")]

    assert has_code(concepts, "urn:mine", "y")
    assert not has_code(concepts, "urn:mine", "x")
    assert not has_code(concept("urn:mine", "y"), "urn:mine", "y")


def test_identifiers_are_those_of_the_system_that_are_in_use() -> None:
    resource = {
        "identifier": [
            {"system": "s", "value": "1"},
            {"system": "s", "value": "2", "use": "old"},
            {"system": "t", "value": "3"},
            {"system": "s", "value": " "},
            {"system": "s"},
            {"system": "s", "value": "4", "use": "official"},
        ]
    }

    assert identifiers(resource, "s") == ["1", "4"]


def test_extensions_are_those_with_the_url() -> None:
    element = {"extension": [{"url": "a", "valueCode": "1"}, {"url": "b"}, {"url": "a", "valueCode": "2"}]}

    assert [extension["valueCode"] for extension in extensions(element, "a")] == ["1", "2"]


def test_a_fragment_means_the_contained_resource() -> None:
    resource = {"contained": [{"id": "x", "resourceType": "Patient"}, {"id": "y", "resourceType": "Group"}]}

    assert contained(resource, "#y") == {"id": "y", "resourceType": "Group"}
    assert contained(resource, "#z") is None
    assert contained(resource, "Patient/x") is None


@pytest.mark.parametrize(
    ("reference", "type_", "id_", "version"),
    [
        ("Patient/p1", "Patient", "p1", None),
        ("Patient/p1/_history/3", "Patient", "p1", "3"),
        (f"{BASE}/Patient/p1", "Patient", "p1", None),
        (f"{BASE}/Patient/p1/_history/3", "Patient", "p1", "3"),
        ("Patient/a.b-C", "Patient", "a.b-C", None),
        ("Patient/...", "Patient", "...", None),
        ("Patient/" + "x" * 64, "Patient", "x" * 64, None),
    ],
)
def test_a_reference_to_this_server_is_local(
    reference: str, type_: str, id_: str, version: str | None
) -> None:
    expected = LocalReference(type=type_, id=id_, version=version)

    assert local_reference(reference, base_url=BASE) == expected
    assert local_reference(reference, base_url=f"{BASE}/") == expected


@pytest.mark.parametrize(
    "reference",
    [
        None,
        5,
        "",
        "#p1",
        "p1",
        "patient/p1",
        "Patient/",
        "Patient/p1/",
        "/Patient/p1",
        "Patient/p1\n",
        "Patient/p1/_history",
        "Patient/p1/_history/",
        "Patient/p1/Encounter/e1",
        "Patient/p1?_format=json",
        "Patient?identifier=1",
        "Patient/p 1",
        "Patient/" + "x" * 65,
        "Patient/.",
        "Patient/..",
        "Patient/../_history/1",
        "Patient/p1/_history/..",
        "../Patient/p1",
        "urn:uuid:0195f2a0-7c1e-7a52-9d3b-5f60c2b1a001",
        "https://elsewhere.example/r4/Patient/p1",
        f"{BASE}.elsewhere.example/Patient/p1",
        f"{BASE}x/Patient/p1",
        f"{BASE}//Patient/p1",
        f"{BASE}/{BASE}/Patient/p1",
    ],
)
def test_any_other_reference_is_not_local(reference: object) -> None:
    assert local_reference(reference, base_url=BASE) is None


@given(any_text)
def test_a_local_reference_never_leads_out_of_its_type(tail: str) -> None:
    found = local_reference(f"Patient/{tail}", base_url=BASE)

    assert found is None or (found.type == "Patient" and "/" not in found.id and found.id not in {".", ".."})


def test_a_local_reference_reads_as_type_and_id() -> None:
    assert str(LocalReference(type="Patient", id="p1", version="3")) == "Patient/p1"


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-03", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-09", datetime(2026, 3, 9, tzinfo=UTC)),
        ("2026-03-09T10:00:00Z", datetime(2026, 3, 9, 10, tzinfo=UTC)),
        ("2026-03-09T10:00:00.5Z", datetime(2026, 3, 9, 10, 0, 0, 500000, tzinfo=UTC)),
        ("2026-03-09T10:00:00+02:00", datetime(2026, 3, 9, 8, tzinfo=UTC)),
        ("2026-03-09T10:00:00", datetime(2026, 3, 9, 10, tzinfo=UTC)),
        ("2026-13", None),
        ("2026\n", None),
        ("٢٠٢٦", None),
        ("soon", None),
        ("", None),
        (2026, None),
    ],
)
def test_instants_are_aware(value: object, moment: datetime | None) -> None:
    assert instant(value) == moment


@given(st.datetimes(timezones=st.just(timezone(timedelta(hours=-9, minutes=-30)))))
def test_an_instant_written_is_read(moment: datetime) -> None:
    assert instant(moment.isoformat()) == moment


@pytest.mark.parametrize(
    ("period", "includes"),
    [
        (None, True),
        ("2026", True),
        ({}, True),
        ({"start": "2026-03-01T12:00:00Z"}, True),
        ({"start": "2026-03-01T12:00:01Z"}, False),
        ({"start": "2026-03-02"}, False),
        ({"end": "2026-03-01T12:00:00Z"}, True),
        ({"end": "2026-03-01T11:59:59Z"}, False),
        ({"end": "2026-03-01"}, True),
        ({"end": "2026-02-28"}, False),
        ({"end": "2026-03"}, True),
        ({"end": "2026-02"}, False),
        ({"end": "2026"}, True),
        ({"end": "2025"}, False),
        ({"end": "2026-00"}, True),
        ({"end": "soon"}, True),
        ({"start": "2025", "end": "2027"}, True),
        ({"start": "2027", "end": "2028"}, False),
    ],
)
def test_a_period_lasts_through_its_last_day_and_unreadable_ends_are_absent(
    *, period: object, includes: bool
) -> None:
    assert in_period({"period": period}, NOW) is includes
