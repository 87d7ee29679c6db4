"""What a FHIR server says of itself at `/metadata` (https://hl7.org/fhir/R4/capabilitystatement.html).

Statements are often incomplete: HAPI creates on update and does not say so. Where one is silent, `probe` asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapter.domain.resource import items, obj, text


@dataclass(frozen=True, kw_only=True)
class TypeCapabilities:
    """What is stated for one resource type; `None` where the statement is silent."""

    interactions: frozenset[str] = frozenset()
    search_parameters: frozenset[str] = frozenset()
    versioning: str | None = None
    update_create: bool | None = None
    conditional_create: bool | None = None

    @property
    def versioned_update(self) -> bool | None:
        """Whether updates with `If-Match` are honoured."""
        return None if self.versioning is None else self.versioning == "versioned-update"

    @property
    def history(self) -> bool | None:
        """Whether former versions can be listed."""
        return "history-instance" in self.interactions if self.interactions else None


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """The statement, as far as the adapter minds."""

    fhir_version: str | None = None
    software: str | None = None
    transaction: bool = False
    types: Mapping[str, TypeCapabilities] = field(default_factory=dict)

    @property
    def is_r4(self) -> bool:
        """Whether it is FHIR R4, in whichever patch release."""
        return (self.fhir_version or "").startswith("4.0")

    def of(self, type: str) -> TypeCapabilities:
        """What is stated for the type; all silent when it is not mentioned."""
        return self.types.get(type, TypeCapabilities())

    def searches(self, type: str, parameter: str) -> bool | None:
        """Whether the type can be searched by the parameter; `None` when no parameters are stated."""
        stated = self.of(type).search_parameters
        return parameter in stated if stated else None


def read(statement: Mapping[str, Any]) -> Capabilities:
    """The CapabilityStatement's server side."""
    rest = next((entry for entry in items(statement.get("rest")) if entry.get("mode") != "client"), {})
    software = obj(statement.get("software"))
    named = [text(software.get("name")), text(software.get("version"))]
    return Capabilities(
        fhir_version=text(statement.get("fhirVersion")),
        software=" ".join(part for part in named if part) or None,
        transaction=bool(_codes(rest) & {"transaction", "batch-transaction"}),
        types={
            name: _of_type(entry)
            for entry in items(rest.get("resource"))
            if (name := text(entry.get("type")))
        },
    )


def _of_type(entry: Mapping[str, Any]) -> TypeCapabilities:
    return TypeCapabilities(
        interactions=_codes(entry),
        search_parameters=frozenset(
            name for parameter in items(entry.get("searchParam")) if (name := text(parameter.get("name")))
        ),
        versioning=text(entry.get("versioning")),
        update_create=_flag(entry.get("updateCreate")),
        conditional_create=_flag(entry.get("conditionalCreate")),
    )


def _codes(entry: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(code for item in items(entry.get("interaction")) if (code := text(item.get("code"))))


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None
