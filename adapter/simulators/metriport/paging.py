"""Cursor pagination: `count`, `fromItem`, `toItem`; absolute links to the neighbours of a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from adapter.simulators.http import Request
from adapter.simulators.metriport.answers import Refusal

MOST: Final = 500

T = TypeVar("T")


def page(
    items: Sequence[T], request: Request, *, base: str, key: Callable[[T], str], usual: int = 50
) -> tuple[list[T], dict[str, Any]]:
    """The page that was asked for, and its `meta`."""
    query = dict(request.parameters)
    if "fromItem" in query and "toItem" in query:
        raise Refusal(400, "Only one of fromItem and toItem may be given")
    count = _count(query, usual)
    keys = [key(item) for item in items]
    start = _start(query, keys, count)
    found = list(items[start : start + count])
    meta: dict[str, Any] = {"itemsOnPage": len(found)}
    if "fromItem" not in query and "toItem" not in query:
        meta["itemsInTotal"] = len(items)
    if start + count < len(items):
        meta["nextPage"] = _link(request, query, base, "fromItem", keys[start + count])
    if start > 0:
        meta["prevPage"] = _link(request, query, base, "toItem", keys[start - 1])
    return found, meta


def _count(query: dict[str, str], usual: int) -> int:
    stated = query.get("count", str(usual))
    if not stated.isdigit() or not 1 <= int(stated) <= MOST:
        raise Refusal(400, f"count must be 1 to {MOST}")
    return int(stated)


def _start(query: dict[str, str], keys: list[str], count: int) -> int:
    for name, offset in (("fromItem", 0), ("toItem", 1 - count)):
        if name in query:
            if query[name] not in keys:
                raise Refusal(400, f"{name} is not an item of this list")
            return max(keys.index(query[name]) + offset, 0)
    return 0


def _link(request: Request, query: dict[str, str], base: str, name: str, value: str) -> str:
    others = {key: given for key, given in query.items() if key not in {"fromItem", "toItem"}}
    return f"{base}{request.path}?{urlencode({**others, name: value})}"
