"""JSON with attachments in it is read without its long strings, and these are found again byte for byte."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.metriport.lifted import LONG_BYTES, MOST_REST_BYTES, Lifted, ReadAt, base64_of, read


def held(text: bytes) -> ReadAt:
    """The text as a file that is read piece by piece."""
    return lambda offset, size: text[offset : offset + size]


def data_of(found: Any) -> bytes:
    """The bytes behind a `data` as it was read."""
    return base64.b64decode(b"".join(base64_of(found)()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.booleans())
def test_what_has_no_long_strings_reads_as_it_is(value: Any, ascii_only: bool) -> None:  # noqa: FBT001  # hypothesis gives it
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    assert read(held(text)) == json.loads(text)


@pytest.mark.parametrize("size", [LONG_BYTES, 3 * LONG_BYTES + 1, 1_000_000])
@pytest.mark.parametrize("escape", [False, True])
def test_long_data_stays_where_it_is(size: int, *, escape: bool) -> None:
    data = bytes(range(256)) * (size // 256)
    text = json.dumps({"before": 'a "quoted" \\ word', "data": base64.b64encode(data).decode(), "after": [1]})
    if escape:
        text = text.replace("/", "\\/").replace("AQID", "AQ\\r\\nID")

    found = read(held(text.encode()))

    assert isinstance(found["data"], Lifted)
    assert found["data"] == ""
    assert data_of(found["data"]) == data
    assert {name: value for name, value in found.items() if name != "data"} == {
        "before": 'a "quoted" \\ word',
        "after": [1],
    }


@pytest.mark.parametrize("ahead", range(7))
def test_characters_of_long_data_may_be_escaped_by_number_wherever_a_piece_ends(ahead: int) -> None:
    data = bytes(range(250, 256)) * 100_000 + b"!"
    text = base64.b64encode(data).decode()
    long = text.replace("+", "\\u002b").replace("/", "\\u002F").replace("=", "\\u003d") + "\\u000a"

    found = read(held(b'{"data": "' + b" " * ahead + long.encode() + b'"}'))

    assert data_of(found["data"]) == data


def test_a_character_that_is_none_of_base64_stays_one() -> None:
    text = base64.b64encode(bytes(100_000)).decode()

    found = read(held(f'{{"data": "{text}\\u00fc\\b"}}'.encode()))

    assert b"".join(base64_of(found["data"])()).endswith(b"?\\b")


def test_several_long_data_are_told_apart() -> None:
    parts = [bytes([number]) * 200_000 for number in range(3)]
    text = json.dumps({"parts": [{"data": base64.b64encode(part).decode()} for part in parts]})

    found = read(held(text.encode()))

    assert [data_of(part["data"]) for part in found["parts"]] == parts


def test_a_long_text_that_is_no_data_is_read_whole() -> None:
    words = 'Ünd "so" \\ weiter\n' * 10_000

    assert read(held(json.dumps({"contentString": words}).encode())) == {"contentString": words}


def test_data_may_be_broken_into_lines() -> None:
    assert data_of("aGVs\r\n bG8=") == b"hello"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no json",
        b'{"open": "',
        b'{"cut": "' + b"a" * 100_000,
        b'{"ends in a backslash": "\\',
        b"\xff\xfe",
        b"[" * 200_000,
        b"[" + b"1," * (MOST_REST_BYTES // 2) + b"1]",
        b"1" * 5_000,
        b"[" + b",".join([b'{"text": "' + b"a" * (MOST_REST_BYTES // 3) + b'"}'] * 4) + b"]",
    ],
    ids=[
        *["nothing", "words", "open", "cut", "backslash", "no UTF-8", "deep", "too much", "long number"],
        "much text",
    ],
)
def test_what_is_no_json_is_none(text: bytes) -> None:
    assert read(held(text)) is None
