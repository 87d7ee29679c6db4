"""Plain text as Metriport counts and keeps it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.text import clip, normalise, utf16_length, well_formed

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "units"),
    [("", 0), ("abc", 3), ("é", 1), ("😀", 2), ("a😀b", 4), ("\ud83d", 1), ("\ud83d\ude00", 2)],
)
def test_length_is_in_utf16_units(text: str, units: int) -> None:
    assert utf16_length(text) == units


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("plain", "plain"),
        ("a\tb\nc\rd", "a\tb\nc\rd"),
        ("a\x00\x08\x0b\x0c\x0e\x1f\x7fb", "ab"),
        ("  \r\n a b \t\u00a0\u2028\ufeff", "a b"),
        ("\x00 \x1f", ""),
        ("\x85a\x85", "\x85a\x85"),
        ("a \x07", "a"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("\ud83d\ude00", "😀"),
    ],
)
def test_normalises_as_metriport_does(text: str, kept: str) -> None:
    assert normalise(text) == kept


@given(ANY_TEXT)
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)

    assert normalise(once) == once
    once.encode()


@given(ANY_TEXT)
def test_well_formed_text_is_utf8_of_the_same_length(text: str) -> None:
    formed = well_formed(text)

    formed.encode()
    assert utf16_length(formed) == utf16_length(text)


@pytest.mark.parametrize(
    ("text", "units", "cut"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("ab  cd", 4, "ab…"),
        ("😀😀", 3, "😀…"),
        ("😀😀😀", 4, "😀…"),
        ("abc", 1, "a"),
        ("😀a", 2, "😀"),
        ("😀a", 1, ""),
        ("abc", 0, ""),
        ("abc", -1, ""),
    ],
)
def test_clips_between_characters(text: str, units: int, cut: str) -> None:
    assert clip(text, units) == cut


@given(st.text(), st.integers(0, 12))
def test_a_clipped_text_fits_and_keeps_its_beginning(text: str, units: int) -> None:
    cut = clip(text, units)

    assert utf16_length(cut) <= units
    assert text.startswith(cut.removesuffix("…"))
    cut.encode()
