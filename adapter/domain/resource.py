"""Readers over FHIR resources as they travel: plain JSON objects.

Resources come from people and machines that we do not know, so every reader takes any JSON and never raises:
an element of the wrong shape reads as absent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

Resource = dict[str, Any]

_ID: Final = (
    r"(?!\.{1,2}(?:/|$))[A-Za-z0-9\-.]{1,64}"  # R4 allows `..` as an id; in a URL it means another place
)
_REFERENCE: Final = re.compile(rf"([A-Z][A-Za-z]{{1,63}})/({_ID})(?:/_history/({_ID}))?")
_DATE: Final = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")


@dataclass(frozen=True, kw_only=True)
class LocalReference:
    """`Type/id`, perhaps of one version, on the local server."""

    type: str
    id: str
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"


def obj(value: object) -> Mapping[str, Any]:
    """The JSON object, or an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Mapping[str, Any]]:
    """The JSON objects in a list, or none."""
    return [item for item in entries(value) if isinstance(item, dict)]


def entries(value: object) -> list[Any]:
    """Whatever is in a list, or nothing: for lists that are written back as they were."""
    return value if isinstance(value, list) else []


def text(value: object) -> str | None:
    """The string, if it has more than white space; as it stands, not trimmed."""
    return value if isinstance(value, str) and value.strip() else None


def version_of(resource: Mapping[str, Any]) -> str | None:
    """`meta.versionId`."""
    return text(obj(resource.get("meta")).get("versionId"))


def codings(concept: object) -> list[Mapping[str, Any]]:
    """The codings of one CodeableConcept."""
    return items(obj(concept).get("coding"))


def has_code(concepts: object, system: str, code: str) -> bool:
    """Whether any of the CodeableConcepts carries the coding."""
    return any(
        coding.get("system") == system and coding.get("code") == code
        for concept in items(concepts)
        for coding in codings(concept)
    )


def identifiers(resource: Mapping[str, Any], system: str) -> list[str]:
    """Values of `identifier` under the system, in order; those of `use = old` left out."""
    return [
        value
        for identifier in items(resource.get("identifier"))
        if identifier.get("system") == system
        and identifier.get("use") != "old"
        and (value := text(identifier.get("value")))
    ]


def extensions(element: Mapping[str, Any], url: str) -> Iterator[Mapping[str, Any]]:
    """The element's extensions with that URL."""
    return (extension for extension in items(element.get("extension")) if extension.get("url") == url)


def contained(resource: Mapping[str, Any], reference: object) -> Resource | None:
    """The contained resource that `#id` means."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    wanted = reference[1:]
    return next(
        (dict(entry) for entry in items(resource.get("contained")) if entry.get("id") == wanted), None
    )


def local_reference(reference: object, *, base_url: str) -> LocalReference | None:
    """The target of a literal reference, when it is on the server at `base_url`.

    Relative references are local; absolute ones only under the server's own base
    (https://hl7.org/fhir/R4/references.html#literal).
    """
    if not isinstance(reference, str):
        return None
    match = _REFERENCE.fullmatch(reference.removeprefix(base_url.rstrip("/") + "/"))
    return LocalReference(type=match[1], id=match[2], version=match[3]) if match else None


def instant(value: object) -> datetime | None:
    """A FHIR dateTime or instant as an aware time; a date alone is its first moment in UTC."""
    if not isinstance(value, str):
        return None
    if _DATE.fullmatch(value):
        value = (value + "-01-01")[:10] if len(value) == 4 else (value + "-01")[:10]  # noqa: PLR2004
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def in_period(element: Mapping[str, Any], now: datetime) -> bool:
    """Whether `period` includes the moment; no period always does. A date as end lasts through that day."""
    period = obj(element.get("period"))
    start, end = instant(period.get("start")), instant(period.get("end"))
    if start and start > now:
        return False
    if end is None:
        return True
    stated = str(period["end"])
    if _DATE.fullmatch(stated):
        return now.date().isoformat()[: len(stated)] <= stated
    return end >= now
