"""Cursor pagination: `count`, `fromItem`, `toItem`; absolute links to the neighbours of a page.

A cursor is a place in the order, not a number of rows: what is added or taken away before it moves nothing.
The documentation lets `fromItem` and `toItem` stand together, the vendor's client does not; here neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from adapter.simulators.http import Request
from adapter.simulators.metriport.answers import Refusal

MOST: Final = 500
_NUMBER: Final = re.compile("[0-9]{1,9}")
_CURSORS: Final = ("fromItem", "toItem")

T = TypeVar("T")


def page(
    items: Sequence[T],
    request: Request,
    *,
    base: str,
    key: Callable[[T], str],
    usual: int = 50,
    newest_first: bool = True,
) -> tuple[list[T], dict[str, Any]]:
    """The page that was asked for, and its `meta`; the order is that of the keys."""
    query = dict(request.parameters)
    count = _count(query.get("count", str(usual)))
    ordered = sorted(items, key=key, reverse=newest_first)
    keys = [key(item) for item in ordered]
    start, end = _bounds(query, keys, count, newest_first=newest_first)
    meta: dict[str, Any] = {"itemsOnPage": end - start}
    if not set(_CURSORS) & set(query):
        meta["itemsInTotal"] = len(ordered)
    if count and end < len(ordered):
        meta["nextPage"] = _link(request, base, "fromItem", keys[end])
    if count and start > 0:
        meta["prevPage"] = _link(request, base, "toItem", keys[start - 1])
    return ordered[start:end], meta


def _count(stated: str) -> int:
    if not _NUMBER.fullmatch(stated) or int(stated) > MOST:
        raise Refusal(400, f"count must be a number from 0 to {MOST}")
    return int(stated)


def _bounds(query: dict[str, str], keys: list[str], count: int, *, newest_first: bool) -> tuple[int, int]:
    if set(_CURSORS) <= set(query):
        raise Refusal(400, "Either fromItem or toItem can be provided, but not both")
    cursor = query.get("fromItem", query.get("toItem"))
    if cursor is None:
        return 0, min(count, len(keys))
    before = sum((one > cursor) if newest_first else (one < cursor) for one in keys)
    if "fromItem" in query:
        return before, min(before + count, len(keys))
    end = before + keys.count(cursor)
    return max(end - count, 0), end


def _link(request: Request, base: str, name: str, value: str) -> str:
    others = [(key, given) for key, given in request.parameters if key not in _CURSORS]
    return f"{base}{request.path}?{urlencode([*others, (name, value)], errors='replace')}"
