"""The filters that mapping authors have besides Jinja's own: pure, tolerant of any JSON.

A value of the wrong shape reads as absent. A name that is not defined at all still fails: it is a slip of the pen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from typing import Any, Final

from jinja2 import Undefined

from adapter.domain import resource, text


def utf16(value: object) -> int:
    """The length in UTF-16 units, as Metriport counts."""
    return text.utf16_length(_string(value))


def clip(value: object, units: int) -> str:
    """Cut to that many UTF-16 units, never inside a character."""
    return text.clip(_string(value), units)


def plain(value: object) -> str:
    """The text as Metriport keeps it: without control characters, the ends trimmed; nothing for what is no text."""
    return text.normalise(_string(value))


def paragraphs(values: object) -> str:
    """The texts in order with a blank line between; empty ones left out."""
    return "\n\n".join(filter(None, map(plain, _flat(values))))


def first_text(values: object) -> str | None:
    """The first candidate that has more than white space; lists among them are gone through."""
    return next((value for value in _flat(values) if isinstance(value, str) and plain(value)), None)


def each(value: object, path: str) -> list[Any]:
    """All values at a dotted path such as `payload.contentString`, lists gone through."""
    found = list(_flat(value))
    for step in path.split("."):
        found = [inner for item in found if isinstance(item, Mapping) for inner in _flat(item.get(step))]
    return found


def codings(concept: object) -> list[Mapping[str, Any]]:
    """The codings of a CodeableConcept, or of several."""
    return [coding for item in _flat(concept) for coding in resource.codings(item)]


def coding(concept: object, system: str) -> Mapping[str, Any] | None:
    """The first coding under the system, of a CodeableConcept or of several."""
    return next((found for found in codings(concept) if found.get("system") == system), None)


def instant(value: object) -> str | None:
    """A FHIR date, dateTime or instant as a moment in UTC that ends in `Z`; a date is its first moment."""
    _defined(value)
    moment = resource.instant(value)
    try:
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
    except OverflowError:  # in the first or the last hours of the calendar
        return None


def _string(value: object) -> str:
    _defined(value)
    return value if isinstance(value, str) else ""


def _flat(value: object) -> Iterator[Any]:
    _defined(value)
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    elif value is not None:
        yield value


def _defined(value: object) -> None:
    if isinstance(value, Undefined):
        str(value)  # raises, naming what is missing


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "utf16": utf16,
    "clip": clip,
    "plain": plain,
    "paragraphs": paragraphs,
    "first_text": first_text,
    "each": each,
    "codings": codings,
    "coding": coding,
    "instant": instant,
}
