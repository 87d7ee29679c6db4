"""The filters of mapping authors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import StrictUndefined, UndefinedError

from adapter.mapping import filters

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def test_text_filters_read_what_is_no_text_as_empty() -> None:
    assert [filters.plain(7), filters.utf16(None), filters.clip({}, 3)] == ["", 0, ""]


def test_text_filters_count_cut_and_clean() -> None:
    assert filters.plain(" a\x00 ") == "a"
    assert filters.utf16("😀") == 2
    assert filters.clip("abcd", 3) == "ab…"


def test_paragraphs_have_a_blank_line_between_and_no_empty_ones() -> None:
    assert filters.paragraphs(["one\n", " ", None, 3, ["two"], "\x07"]) == "one\n\ntwo"


def test_first_text_goes_through_lists_and_skips_blanks() -> None:
    assert filters.first_text([None, [], ["\x00 "], [[" second "]], "third"]) == " second "
    assert filters.first_text([None, 3, ""]) is None


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("topic.text", ["Referral"]),
        ("payload.contentString", ["one", "two"]),
        ("payload.contentReference.reference", ["Binary/1"]),
        ("status.text", []),
        ("nowhere", []),
    ],
)
def test_each_goes_through_objects_and_lists(path: str, found: list[Any]) -> None:
    communication = {
        "status": "preparation",
        "topic": {"text": "Referral"},
        "payload": [
            {"contentString": "one"},
            {"contentReference": {"reference": "Binary/1"}},
            {"contentString": "two"},
            "odd",
        ],
    }

    assert filters.each(communication, path) == found


def test_codings_of_one_concept_and_of_several() -> None:
    concept = {"coding": [{"system": "a", "code": "1"}, {"system": "b", "code": "2"}]}

    assert [coding["code"] for coding in filters.codings(concept)] == ["1", "2"]
    assert filters.coding([{"text": "none"}, concept], "b") == {"system": "b", "code": "2"}
    assert filters.coding(concept, "c") is None


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-03-01T10:00:00+01:00", "2026-03-01T09:00:00Z"),
        ("2026-03-01", "2026-03-01T00:00:00Z"),
        ("2026", "2026-01-01T00:00:00Z"),
        ("yesterday", None),
        ("0001-01-01T00:00:00+14:00", None),
        (None, None),
    ],
)
def test_instants_are_in_utc(value: object, moment: str | None) -> None:
    assert filters.instant(value) == moment


@pytest.mark.parametrize("name", ["plain", "utf16", "paragraphs", "first_text", "codings", "instant"])
def test_a_name_that_is_not_defined_is_never_taken_for_an_absent_value(name: str) -> None:
    with pytest.raises(UndefinedError):
        filters.FILTERS[name](StrictUndefined(name="nowhere"))


@given(JSON)
def test_any_json_passes(value: Any) -> None:
    for name in ("plain", "utf16", "paragraphs", "first_text", "codings", "instant"):
        filters.FILTERS[name](value)
    filters.each(value, "a.b")
    filters.coding(value, "a")
    filters.clip(value, 3)
