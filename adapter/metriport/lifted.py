"""JSON with very long strings in it, read without having them in memory.

An attachment of 45 MB may stand as base64 in the content of a message. A `data` of more than `LONG_BYTES` stays in the
file and is read as `Lifted`: an empty string that knows where its bytes are.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Self

LONG_BYTES: Final = 65_536
MOST_REST_BYTES: Final = 20_000_000  # what is left of the content without its long strings
_PIECE: Final = 1 << 18

_STOP: Final = re.compile(rb'["\\]')
_ESCAPE: Final = re.compile(rb"\\(?:u([0-9A-Fa-f]{4})|([/nrt]))")
_ESCAPE_BYTES: Final = 6

ReadAt = Callable[[int, int], bytes]
"""Some bytes of the content: at most `size` of them from `offset` on; none at its end."""


class Lifted(str):
    """A long string that was left where it is; as a string it is empty."""

    __slots__ = ("pieces",)
    pieces: Callable[[], Iterator[bytes]]

    @classmethod
    def of(cls, pieces: Callable[[], Iterator[bytes]]) -> Self:
        """The string whose JSON text, without quotation marks, is in these pieces."""
        lifted = cls()
        lifted.pieces = pieces
        return lifted


def read(read_at: ReadAt) -> Any:
    """The JSON value; `None` when the bytes are none, or nest too deep, or have too much beside long strings."""
    scan = _Scan(mark=f"lifted-{secrets.token_hex(8)}-")
    offset = 0
    while chunk := read_at(offset, _PIECE):
        scan.take(chunk)
        offset += len(chunk)
        if len(scan.rest) > MOST_REST_BYTES:
            return None
    lifted = {f"{scan.mark}{index}": span for index, span in enumerate(scan.spans)}
    read_back = len(scan.rest)

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: back(name, value) for name, value in pairs}

    def back(name: str, value: Any) -> Any:
        span = lifted.get(value) if isinstance(value, str) else None
        if span is None:
            return value
        if name == "data":
            return Lifted.of(lambda: _pieces(read_at, *span))
        nonlocal read_back
        begin, end = span
        read_back += end - begin
        if read_back > MOST_REST_BYTES:
            raise ValueError("too much beside data")
        return json.loads(b'"' + read_at(begin, end - begin) + b'"')

    try:
        return json.loads(bytes(scan.rest), object_pairs_hook=members)
    except (ValueError, RecursionError):
        return None


def base64_of(value: str) -> Callable[[], Iterator[bytes]]:
    """The string's base64 text, piece by piece, without white space and JSON's escapes."""
    if isinstance(value, Lifted):
        return value.pieces
    return lambda: iter(["".join(value.split()).encode("ascii", "replace")])


@dataclass(kw_only=True)
class _Scan:
    """Goes through JSON text in chunks; `rest` is the text with a mark in the place of each long string."""

    mark: str
    rest: bytearray = field(default_factory=bytearray)
    spans: list[tuple[int, int]] = field(default_factory=list)
    _seen: int = 0
    _begin: int = 0  # of the string that the scan is in
    _held: bytearray | None = None  # its text so far; None outside of strings
    _long: bool = False
    _escaped: bool = False

    def take(self, chunk: bytes) -> None:
        place = 0
        while place < len(chunk):
            place = self._outside(chunk, place) if self._held is None else self._inside(chunk, place)
        self._seen += len(chunk)

    def _outside(self, chunk: bytes, place: int) -> int:
        quote = chunk.find(b'"', place)
        end = len(chunk) if quote < 0 else quote + 1
        self.rest += chunk[place:end]
        if quote >= 0:
            self._held, self._long, self._begin = bytearray(), False, self._seen + end
        return end

    def _inside(self, chunk: bytes, place: int) -> int:
        if self._escaped:
            self._escaped = False
            self._hold(chunk[place : place + 1])
            return place + 1
        found = _STOP.search(chunk, place)
        end = found.start() if found else len(chunk)
        self._hold(chunk[place:end])
        if found is None:
            return end
        if found[0] == b"\\":
            self._escaped = True
            self._hold(b"\\")
        else:
            self._close(self._seen + end)
        return end + 1

    def _hold(self, more: bytes) -> None:
        if self._held is not None and not self._long:
            self._held += more
            self._long = len(self._held) > LONG_BYTES

    def _close(self, end: int) -> None:
        if self._long:
            self.rest += f"{self.mark}{len(self.spans)}".encode()
            self.spans.append((self._begin, end))
        else:
            self.rest += self._held or b""
        self.rest += b'"'
        self._held = None


def _pieces(read_at: ReadAt, begin: int, end: int) -> Iterator[bytes]:
    left = b""
    while begin < end:
        chunk = left + read_at(begin, min(_PIECE, end - begin))
        begin += len(chunk) - len(left)
        # An escape may be cut in two.
        cut = chunk.rfind(b"\\", 1 - _ESCAPE_BYTES) if begin < end else -1
        left = chunk[cut:] if cut >= 0 else b""
        yield _ESCAPE.sub(_meant, chunk[: len(chunk) - len(left)])


def _meant(escape: re.Match[bytes]) -> bytes:
    """What an escape stands for in base64: some libraries write `=` and `+` so. White space means nothing there."""
    code, short = escape.groups()
    if code:
        return chr(int(code, 16)).encode("ascii", "replace")
    return b"/" if short == b"/" else b""
