"""What the mappings make, held against the rules of who will read it.

Metriport's bodies by Metriport contract §2 and §4; FHIR resources in `resources.py`. One table says which mapping
answers to which rules. Nothing here shows a value: values are patient content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from adapter.domain.attachment import MOST_ATTACHMENTS
from adapter.domain.destination import MOST_UNITS
from adapter.domain.message import MOST_BODY_UNITS, MOST_NPIS, MOST_SUBJECT_UNITS
from adapter.domain.text import normalise, utf16_length
from adapter.errors import MappingError
from adapter.mapping import resources
from adapter.mapping.problem import Problem

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, kw_only=True)
class _Text:
    """A string of so many UTF-16 units, in the form in which Metriport would keep it."""

    most: int | None = None

    def problems(self, value: object, *at: str | int) -> Iterator[Problem]:
        if not isinstance(value, str) or not value:
            yield Problem(at=at, rule="must be a string that is not empty")
        elif normalise(value) != value:
            yield Problem(
                at=at, rule="has control characters or white space at its ends: pass it through `plain`"
            )
        elif self.most is not None and utf16_length(value) > self.most:
            yield Problem(at=at, rule=f"has {utf16_length(value)} UTF-16 units, {self.most} are allowed")


@dataclass(frozen=True, kw_only=True)
class _Uuid:
    """A document id of Metriport's; any version."""

    def problems(self, value: object, *at: str | int) -> Iterator[Problem]:
        if not isinstance(value, str) or not _UUID.fullmatch(value):
            yield Problem(at=at, rule="must be a UUID")


@dataclass(frozen=True, kw_only=True)
class _Several:
    """A list of one to `most`."""

    most: int
    each: _Text | _Uuid

    def problems(self, value: object, *at: str | int) -> Iterator[Problem]:
        if not isinstance(value, list) or not 1 <= len(value) <= self.most:
            yield Problem(at=at, rule=f"must be a list of 1 to {self.most}")
            return
        for index, item in enumerate(value):
            yield from self.each.problems(item, *at, index)


_Rules = Mapping[str, _Text | _Uuid | _Several]

_TEXT: Final[_Rules] = {"subject": _Text(), "body": _Text()}
_MESSAGE: Final[_Rules] = {
    "destination": _Text(most=MOST_UNITS),
    "subject": _Text(most=MOST_SUBJECT_UNITS),
    "body": _Text(most=MOST_BODY_UNITS),
    "attachments": _Several(most=MOST_ATTACHMENTS, each=_Uuid()),
    "intendedRecipientNpi": _Several(most=MOST_NPIS, each=_Text()),
}
_CODING: Final[_Rules] = {name: _Text() for name in ("system", "version", "code", "display")}
_DOCUMENT_TEXTS: Final = (("type", "text"), ("description",), ("context", "period", "start"))
# What makes a partial DocumentReference a whole one for R4; Metriport fills these in itself.
_DOCUMENT_REST: Final[Mapping[str, Any]] = {
    "resourceType": "DocumentReference",
    "status": "current",
    "content": [{"attachment": {"contentType": "application/octet-stream"}}],
}


def text(value: Mapping[str, Any]) -> Iterator[Problem]:
    """Subject line and text. That they exist and how long they are is judged where a refusal can be written."""
    yield from _strict(value, _TEXT)


def message(value: Mapping[str, Any]) -> Iterator[Problem]:
    """The body of `POST /medical/v1/message`: no key besides these."""
    for name in ("destination", "subject"):
        if name not in value:
            yield Problem(at=(name,), rule="is required")
    if "body" not in value and "attachments" not in value:
        yield Problem(rule="needs `body` or `attachments`")
    yield from _strict(value, _MESSAGE)


def document(value: Mapping[str, Any]) -> Iterator[Problem]:
    """The partial DocumentReference of `POST /medical/v1/document/upload`."""
    for at in _DOCUMENT_TEXTS:
        found: Any = value
        for name in at:
            found = found.get(name) if isinstance(found, dict) else None
        if found is None:
            yield Problem(at=at, rule="is required")
        else:
            yield from _Text().problems(found, *at)
    kind = value.get("type")
    if isinstance(kind, dict):
        yield from _codings(kind.get("coding", []))
        # The author's document brings its codings along; R4's exact form of a code is no reason to keep it back.
        value = {**value, "type": {name: found for name, found in kind.items() if name != "coding"}}
    yield from resources.problems({**_DOCUMENT_REST, **value})


def _codings(codings: object) -> Iterator[Problem]:
    at = ("type", "coding")
    if not isinstance(codings, list):
        yield Problem(at=at, rule="must be a list")
        return
    for index, coding in enumerate(codings):
        if isinstance(coding, dict):
            yield from _strict(coding, _CODING, *at, index)
        else:
            yield Problem(at=(*at, index), rule="must be an object")


def _strict(value: Mapping[str, Any], rules: _Rules, *at: str | int) -> Iterator[Problem]:
    for key, found in value.items():
        if key in rules:
            yield from rules[key].problems(found, *at, key)
        else:
            yield Problem(at=at, rule="has a key that is not allowed", key=key)


_CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any]], Iterator[Problem]]]] = {
    "outbound/text": text,
    "outbound/message": message,
    "outbound/document": document,
}
_INBOUND: Final = "inbound/"


def problems(name: str, value: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with what the mapping of that name made, one after the other."""
    if name.startswith(_INBOUND):
        yield from resources.problems(value)
    elif name in _CHECKS:
        yield from _CHECKS[name](value)


def require(name: str, value: Mapping[str, Any], *, template: str, words: frozenset[str]) -> None:
    """Raises for the first problem. `words` are those of the templates: a key is shown if it is among them.

    Raises:
        MappingError: with the template and the JSON path.
    """
    for problem in problems(name, value):
        shown = f": {problem.key}" if problem.key in words else ""
        raise MappingError(problem.rule + shown, template=template, path=problem.path)
