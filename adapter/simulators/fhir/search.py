"""Which resources a search finds, and in which order. https://hl7.org/fhir/R4/search.html"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from adapter.simulators.fhir.dates import compares
from adapter.simulators.fhir.outcome import Refused
from adapter.simulators.fhir.parameters import Parameter, of_type
from adapter.simulators.fhir.paths import at
from adapter.simulators.fhir.store import Version

MAX_COUNT = 200
_REFUSED = {"_include", "_revinclude", "_has", "_filter", "_contained", "_elements"}


@dataclass(frozen=True)
class Clause:
    """One parameter as given; it holds when any of its alternatives does."""

    parameter: Parameter
    modifier: str
    alternatives: tuple[str, ...]

    def holds(self, version: Version) -> bool:
        """Whether the resource fits."""
        values = [value for path in self.parameter.paths for value in at(version.content, path)]
        fits = _KINDS[self.parameter.kind]
        found = any(
            fits(value, wanted, self.modifier, version) for value in values for wanted in self.alternatives
        )
        return found != (self.modifier == "not")


@dataclass(frozen=True)
class Query:
    """A search of one resource type; every clause has to hold."""

    type: str
    clauses: tuple[Clause, ...]
    sort: tuple[str, ...]
    count: int
    counts_only: bool
    canonical: str

    def matches(self, version: Version) -> bool:
        """Whether a resource is found; it is of the type, and not deleted."""
        return all(clause.holds(version) for clause in self.clauses)

    def run(self, versions: Iterable[Version]) -> list[Version]:
        """What is found, sorted; without a wish, oldest resource first."""
        found = [version for version in versions if self.matches(version)]
        for name in reversed(self.sort):
            path = of_type(self.type)[name.removeprefix("-")].paths[0]
            found.sort(key=partial(_sort_key, path), reverse=name.startswith("-"))
        return found


def parse(type_: str, parameters: Iterable[tuple[str, str]], *, page_size: int) -> Query:
    """The query that decoded parameters ask for.

    Raises:
        Refused: a parameter, modifier or value that the server does not know.
    """
    pairs = list(parameters)
    clauses = tuple(clause for name, value in pairs for clause in _clause(type_, name, value))
    given = dict(pairs)
    sort = tuple(filter(None, given.get("_sort", "").split(",")))
    for name in sort:
        if name.removeprefix("-") not in of_type(type_):
            raise Refused(400, f"Unknown _sort parameter value {name!r} for resource type {type_!r}")
    count = _count(given.get("_count", str(page_size)))
    return Query(
        type=type_,
        clauses=clauses,
        sort=sort,
        count=count,
        counts_only=given.get("_summary") == "count" or count == 0,
        canonical=f"{type_}?{sorted(pair for pair in pairs if pair[0] != '_count')}",
    )


def _count(text: str) -> int:
    if not text.isdigit():
        raise Refused(400, f"Invalid _count value: {text}")
    return min(int(text), MAX_COUNT)


def _clause(type_: str, given: str, value: str) -> Iterable[Clause]:
    name, _, modifier = given.partition(":")
    if name in _REFUSED:
        raise Refused(400, f"The simulator has no {name}")
    parameter = of_type(type_).get(name)
    if parameter is None:
        if name.startswith("_"):
            return  # as HAPI does
        known = ", ".join(sorted(of_type(type_)))
        raise Refused(
            400, f"Unknown search parameter {name!r} for resource type {type_!r}. Known are: {known}"
        )
    if modifier and modifier not in _MODIFIERS[parameter.kind]:
        raise Refused(400, f"The simulator has no search modifier :{modifier} for {name}")
    alternatives = tuple(filter(None, _split(value, ",")))
    if parameter.kind == "date":
        for wanted in alternatives:
            compares("2000", wanted)
    if alternatives:
        yield Clause(parameter, modifier, alternatives)


def _split(text: str, separator: str) -> list[str]:
    return [re.sub(r"\\(.)", r"\1", part) for part in re.split(rf"(?<!\\){re.escape(separator)}", text)]


def _token(value: Any, wanted: str, _modifier: str, _version: Version) -> bool:
    system, bar, code = wanted.partition("|")
    if not bar:
        return any(code_ == wanted for _, code_ in _codes(value))
    return any(system_ == system and code in {"", code_} for system_, code_ in _codes(value))


def _codes(value: Any) -> list[tuple[str, str]]:
    if isinstance(value, bool):
        return [("", str(value).lower())]
    if isinstance(value, str):
        return [("", value)]
    if "coding" in value:
        return [(coding.get("system", ""), coding.get("code", "")) for coding in value["coding"]]
    return [(value.get("system", ""), value.get("code", value.get("value", "")))]


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).casefold()


def _string(value: Any, wanted: str, modifier: str, _version: Version) -> bool:
    if modifier == "exact":
        return bool(value == wanted)
    if modifier == "contains":
        return _plain(wanted) in _plain(value)
    return _plain(value).startswith(_plain(wanted))


def _date(value: Any, wanted: str, _modifier: str, _version: Version) -> bool:
    return compares(value, wanted)


def _reference(value: Any, wanted: str, modifier: str, version: Version) -> bool:
    # HAPI indexes a reference by its target; one whose target was not there when it was stored is not found.
    text = value.get("reference", "")
    if text not in version.targets:
        return False
    full = wanted if "/" in wanted or not modifier else f"{modifier}/{wanted}"
    return bool(text == full) if "/" in full else bool(text.partition("/")[2] == full)


def _uri(value: Any, wanted: str, modifier: str, _version: Version) -> bool:
    return bool(value.startswith(wanted) if modifier == "below" else value == wanted)


_KINDS: dict[str, Callable[[Any, str, str, Version], bool]] = {
    "token": _token,
    "string": _string,
    "date": _date,
    "reference": _reference,
    "uri": _uri,
}
_MODIFIERS: dict[str, set[str]] = {
    "token": {"not"},
    "string": {"exact", "contains"},
    "date": set(),
    "reference": {"Patient", "Practitioner", "PractitionerRole", "Organization", "Communication"},
    "uri": {"below"},
}


def _sort_key(path: str, version: Version) -> str:
    return _plain(str(next(at(version.content, path), "")))
