"""Which Patients may be meant by a person's demographics: one mark a field, for people to decide on (design §3, Tasks).

Nobody is matched by demographics alone: they only put candidates in order.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from adapter.domain.resource import items, text

MOST_CANDIDATES: Final = 10

_IDENTIFIER: Final = "identifier"
_ZIP_DIGITS: Final = 5
_PHONE_DIGITS: Final = 10
_OTHERS: Final = re.compile(r"\D")


class Match(StrEnum):
    """How one field of a Patient compares with what the message tells."""

    AGREES = "agrees"
    DIFFERS = "differs"
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A Patient of the local server with its marks."""

    id: str
    marks: Mapping[str, Match]

    @property
    def weight(self) -> int:
        """Greater goes first: a field that agrees counts for it, one that differs against it."""
        return sum(_WEIGHTS[mark] for mark in self.marks.values())


_WEIGHTS: Final = {Match.AGREES: 2, Match.DIFFERS: -1, Match.MISSING: 0}


def ranked(
    person: Mapping[str, Any],
    patients: Iterable[Mapping[str, Any]],
    *,
    known: Iterable[Mapping[str, Any]] = (),
) -> list[Candidate]:
    """The Patients in which at least one field agrees, best first, each once, not too many.

    The `known` carry an id that the message tells: they go before all others, whatever else agrees.
    """
    marks = {str(patient.get("id")): compare(person, patient) for patient in patients}
    marks |= {
        str(patient.get("id")): {_IDENTIFIER: Match.AGREES, **compare(person, patient)} for patient in known
    }
    fitting = [Candidate(id=id, marks=found) for id, found in marks.items() if Match.AGREES in found.values()]
    return sorted(fitting, key=lambda one: (_IDENTIFIER not in one.marks, -one.weight, one.id))[
        :MOST_CANDIDATES
    ]


def compare(person: Mapping[str, Any], patient: Mapping[str, Any]) -> dict[str, Match]:
    """A mark for each field that the person has."""
    marks = {}
    for field, values_of in _FIELDS.items():
        told = values_of(person)
        if told:
            here = values_of(patient)
            marks[field] = Match.MISSING if not here else Match.AGREES if told & here else Match.DIFFERS
    return marks


def families(person: Mapping[str, Any]) -> list[str]:
    """Family names as written."""
    return [name for one in items(person.get("name")) if (name := text(one.get("family")))]


def birth_date(person: Mapping[str, Any]) -> str | None:
    """The date of birth, when it is a whole date."""
    stated = text(person.get("birthDate"))
    return stated if stated and re.fullmatch(r"\d{4}-\d{2}-\d{2}", stated) else None


def _folded(value: str) -> str:
    plain = unicodedata.normalize("NFKD", value).casefold()
    return "".join(character for character in plain if character.isalnum())


def _families(person: Mapping[str, Any]) -> set[str]:
    return {folded for name in families(person) if (folded := _folded(name))}


def _givens(person: Mapping[str, Any]) -> set[str]:
    names = [one.get("given") for one in items(person.get("name"))]
    words = [word for given in names if isinstance(given, list) for one in given for word in str(one).split()]
    return {folded for word in words if (folded := _folded(word))}


def _birth_dates(person: Mapping[str, Any]) -> set[str]:
    stated = birth_date(person)
    return {stated} if stated else set()


def _genders(person: Mapping[str, Any]) -> set[str]:
    stated = text(person.get("gender"))
    return {stated} if stated and stated != "unknown" else set()


def _zips(person: Mapping[str, Any]) -> set[str]:
    stated = (text(one.get("postalCode")) for one in items(person.get("address")))
    return {digits for one in stated if one and (digits := _OTHERS.sub("", one)[:_ZIP_DIGITS])}


def _phones(person: Mapping[str, Any]) -> set[str]:
    numbers = [one.get("value") for one in items(person.get("telecom")) if one.get("system") == "phone"]
    digits = (_OTHERS.sub("", str(number)) for number in numbers)
    return {number[-_PHONE_DIGITS:] for number in digits if len(number) >= _PHONE_DIGITS}


_FIELDS: Final[Mapping[str, Callable[[Mapping[str, Any]], set[str]]]] = {
    "family": _families,
    "given": _givens,
    "birthDate": _birth_dates,
    "gender": _genders,
    "postalCode": _zips,
    "phone": _phones,
}
