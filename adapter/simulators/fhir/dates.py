"""Partial dates as half-open intervals, and the prefixes that compare them. https://hl7.org/fhir/R4/search.html#date"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from adapter.simulators.fhir.outcome import Refused

_SHAPE = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)"
    r"(T(?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d)(?P<fraction>\.\d+)?)?(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?"
)


@dataclass(frozen=True)
class Span:
    """From `low` up to, not including, `high`."""

    low: datetime
    high: datetime


_OPERATORS: dict[str, Callable[[Span, Span], bool]] = {
    "eq": lambda value, wanted: wanted.low <= value.low and value.high <= wanted.high,
    "ne": lambda value, wanted: not (wanted.low <= value.low and value.high <= wanted.high),
    "gt": lambda value, wanted: value.high > wanted.high,
    "lt": lambda value, wanted: value.low < wanted.low,
    "ge": lambda value, wanted: value.high > wanted.low,
    "le": lambda value, wanted: value.low < wanted.high,
}


def span(text: str) -> Span:
    """The time that a FHIR date, dateTime or instant covers; without a zone, UTC.

    Raises:
        Refused: it is none.
    """
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise Refused(400, f"Invalid date/time format: {text!r}")
    try:
        return _span(found)
    except ValueError:
        raise Refused(400, f"Invalid date/time format: {text!r}") from None


def _span(found: re.Match[str]) -> Span:
    year, month, day, hour, minute, second = (
        int(found[name] or default) for name, default in _DEFAULTS.items()
    )
    zone = found["zone"]
    tzinfo = datetime.fromisoformat(f"2000-01-01T00:00:00{zone}").tzinfo if zone and zone != "Z" else UTC
    low = datetime(year, month, day, hour, minute, second, tzinfo=tzinfo)
    if found["month"] is None:
        return Span(low, low.replace(year=low.year + 1))
    if found["day"] is None:
        return Span(low, (low + timedelta(days=31)).replace(day=1))
    if found["fraction"] is not None:
        low += timedelta(seconds=float(found["fraction"]))
        return Span(low, low + timedelta(milliseconds=1))
    name = next((name for name in ("second", "hour") if found[name] is not None), "day")
    return Span(low, low + _LENGTHS[name])


_DEFAULTS = {"year": 1, "month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0}
_LENGTHS = {"second": timedelta(seconds=1), "hour": timedelta(minutes=1), "day": timedelta(days=1)}


def compares(value: str, wanted: str) -> bool:
    """Whether a resource's date fits a search value such as `ge2024-01`."""
    prefix, text = (wanted[:2], wanted[2:]) if wanted[:2] in _OPERATORS else ("eq", wanted)
    if prefix not in {"eq", "ne"} and len(text) < len("2024-01-31"):
        # HAPI leaves out the whole month of `ge2024-05`, against the standard: nothing should rest on it.
        raise Refused(400, f"The simulator compares with days and instants only, not with {text!r}")
    return _OPERATORS[prefix](span(value), span(text))
