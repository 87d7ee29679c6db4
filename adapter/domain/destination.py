"""Destinations as recipients state them: an OID or a Direct address (design §3, "What is read").

Reading a value gives the destination, `INVALID` when something is stated that cannot be one, or `None` when nothing is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final

from adapter.domain.canonical import CONNECTION_TYPE, DIRECT_TELECOM, NPI_SYSTEM, URI_SYSTEM
from adapter.domain.resource import extensions, identifiers, in_period, items, obj, text

MOST_UNITS: Final = 255  # Metriport's limit for `destination`

RECIPIENT_TYPES: Final = frozenset({"Organization", "Practitioner", "PractitionerRole", "HealthcareService"})

_OID: Final = re.compile(r"[0-2](\.(0|[1-9]\d*)){2,}", re.ASCII)
# The dot-atom of RFC 5322 §3.2.3 without `/` and `?`, which would be parts of a URL; then a host name.
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DIRECT: Final = re.compile(rf"[A-Za-z0-9!#$%&'*+=^_`{{|}}~.-]+@{_LABEL}(?:\.{_LABEL})+")


class Invalid(Enum):
    """Something is stated, and it cannot be a destination."""

    INVALID = "invalid"


INVALID: Final = Invalid.INVALID
Reading = str | Invalid | None


def parse(value: str) -> str | None:
    """The destination in a bare string, `mailto:` and `urn:oid:` taken off; `None` when it is none."""
    bare = value.strip()
    for prefix, pattern in (("urn:oid:", _OID), ("mailto:", _DIRECT)):
        if bare.lower().startswith(prefix):
            bare = bare[len(prefix) :]
            return bare if pattern.fullmatch(bare) and len(bare) <= MOST_UNITS else None
    fits = _OID.fullmatch(bare) or _DIRECT.fullmatch(bare)
    return bare if fits and len(bare) <= MOST_UNITS else None


def same(one: str, other: str) -> bool:
    """Whether two destinations are one; Direct addresses are compared without regard to case."""
    return one.casefold() == other.casefold()


def distinct(destinations: Iterable[str]) -> list[str]:
    """The different ones, in order."""
    found: dict[str, str] = {}
    for destination in destinations:
        found.setdefault(destination.casefold(), destination)
    return list(found.values())


def of_endpoint(endpoint: Mapping[str, Any], *, now: datetime) -> Reading:
    """What an Endpoint states: active, in period, for Direct (`direct-project`; no system, or HL7's)."""
    connection = obj(endpoint.get("connectionType"))
    if (
        endpoint.get("status") != "active"
        or connection.get("code") != "direct-project"
        or connection.get("system") not in (None, CONNECTION_TYPE)
        or not in_period(endpoint, now)
    ):
        return None
    address = text(endpoint.get("address"))
    return (parse(address) or INVALID) if address else INVALID


def of_telecoms(holder: Mapping[str, Any], *, now: datetime, plain_email: bool) -> list[Reading]:
    """What `telecom` states: e-mail addresses that carry the us-core-direct extension, in use and in period.

    A plain e-mail address is not a Direct address; it counts only where a site says so.
    """
    return [
        parse(value) or INVALID
        for telecom in items(holder.get("telecom"))
        if telecom.get("system") == "email"
        and telecom.get("use") != "old"
        and in_period(telecom, now)
        and (
            plain_email
            or any(entry.get("valueBoolean") is True for entry in extensions(telecom, DIRECT_TELECOM))
        )
        and (value := text(telecom.get("value")))
    ]


def of_identifiers(found: Iterable[Mapping[str, Any]]) -> list[Reading]:
    """What identifiers of the system `urn:ietf:rfc:3986` state as `urn:oid:…` or `mailto:…`."""
    return [
        parse(value) or INVALID
        for identifier in found
        if identifier.get("system") == URI_SYSTEM
        and identifier.get("use") != "old"
        and (value := text(identifier.get("value")))
        and value.strip().lower().startswith(("urn:oid:", "mailto:"))
    ]


def of_display(reference: Mapping[str, Any]) -> list[Reading]:
    """What the display states, when it is wholly an address or OID."""
    display = text(reference.get("display"))
    return [parse(display)] if display else []


def npis_of(practitioner: Mapping[str, Any]) -> list[str]:
    """The practitioner's National Provider Identifiers."""
    return identifiers(practitioner, NPI_SYSTEM)
