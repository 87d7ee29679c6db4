"""Reads dotted element paths out of plain JSON resources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def at(node: Any, path: str) -> Iterator[Any]:
    """Every value at a dotted path, lists flattened on the way."""
    if isinstance(node, list):
        for item in node:
            yield from at(item, path)
    elif not path:
        yield node
    elif isinstance(node, dict):
        name, _, rest = path.partition(".")
        if name in node:
            yield from at(node[name], rest)
