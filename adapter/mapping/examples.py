"""The examples that stand beside a mapping: `outbound/message.examples.json` beside `outbound/message.json.j2`.

A list of objects with `about`, `context` and `expected`. They show authors the context, and `doctor` holds
the mapping to them. Their people and texts are invented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import simplejson

from adapter.errors import MappingError
from adapter.mapping.problem import dotted
from adapter.mapping.sources import SUFFIX as MAPPING
from adapter.mapping.sources import Sources, read

SUFFIX: Final = ".examples.json"


@dataclass(frozen=True, kw_only=True)
class Example:
    """What a mapping gets, and what it is to make of it; `None` where only that it makes something valid counts."""

    about: str
    context: Mapping[str, Any]
    expected: Mapping[str, Any] | None


def load(sources: Sources, name: str) -> list[Example]:
    """The mapping's examples.

    For a mapping that a site has overridden without giving its own examples, the packaged ones only tell the context.

    Raises:
        MappingError: there are none, or they are not what they should be.
    """
    file = name + SUFFIX
    path = sources.find(file)
    if path is None:
        raise MappingError("is missing", template=file)
    only_context = sources.has_own(name + MAPPING) and not sources.has_own(file)
    try:
        found = simplejson.loads(read(path, template=file), use_decimal=True)
        return [
            Example(
                about=str(one["about"]),
                context=dict(one["context"]),
                expected=None if only_context else dict(one["expected"]),
            )
            for one in found
        ]
    except (ValueError, TypeError, KeyError):
        problem = "is not a list of objects with `about`, `context` and `expected`"
    raise MappingError(problem, template=file)


def difference(expected: object, made: object, *at: str | int) -> str | None:
    """The path of the first place where two JSON values differ; `None` when they are equal."""
    if isinstance(expected, dict) and isinstance(made, dict):
        steps = [*expected, *(name for name in made if name not in expected)]
        inner = ((expected.get(step), made.get(step), step) for step in steps)
    elif isinstance(expected, list) and isinstance(made, list) and len(expected) == len(made):
        inner = ((*pair, index) for index, pair in enumerate(zip(expected, made, strict=True)))
    else:
        return None if expected == made else dotted(at)
    return next((path for one, other, step in inner if (path := difference(one, other, *at, step))), None)
