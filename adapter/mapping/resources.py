"""FHIR resources, held against R4 before they leave for a server.

fhir.resources checks structure, types and cardinality. It does not check ids, value sets and targets of references,
but it carries the definitions' lists for them; they are read here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from adapter.mapping.problem import Problem

_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_LITERAL: Final = re.compile(
    r"(?P<base>https?://\S+/)?(?P<type>[A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(/_history/[A-Za-z0-9\-.]{1,64})?"
)
_ELSEWHERE: Final = re.compile(r"urn:(uuid|oid):\S+")

# The library's list is cut short here ("…", "accepted", "+"): http://hl7.org/fhir/R4/valueset-task-status.html
_TASK_STATUS: Final = (
    "draft", "requested", "received", "accepted", "rejected", "ready", "cancelled",
    "in-progress", "on-hold", "failed", "completed", "entered-in-error",
)  # fmt: skip
_CUT_SHORT: Final = "+"

_NO_STRING: Final = (bool, int, Decimal)  # the library reads "1" as 1 and "true" as true

_RULES: Final = {
    "missing": "is required",
    "model_field_validation.missing": "is required",
    "extra_forbidden": "has an element that R4 does not know",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "model_type": "must be an object",
    "json_invalid": "must be an object",  # the library takes a string for an object's JSON
    "list_type": "must be a list",
    "value_error": "has a value that R4 does not allow",
    "string_pattern_mismatch": "does not have the form that R4 asks for",
}


def problems(resource: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the resource; with its structure first, and only then with what it holds."""
    # About 0.4 s to import, and a process that only sends plain text never needs it.
    from fhir.resources.R4B import get_fhir_model_class  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    try:
        model = get_fhir_model_class(resource["resourceType"])
        known = model.has_resource_base()  # false of data types, absent from primitives
    except (KeyError, TypeError, ValueError, AttributeError):
        known = False
    if not known:
        yield Problem(at=("resourceType",), rule="must be the name of an R4 resource type")
        return
    try:
        read = model.model_validate(dict(resource))
    except ValidationError as error:
        yield from (_structural(detail) for detail in error.errors(include_url=False, include_input=False))
    except (KeyError, TypeError, ValueError):
        # The library does not expect everything, a contained resource of an unknown type for one.
        yield Problem(rule="cannot be read as an R4 resource: look at its contained resources")
    else:
        yield from _untyped(resource)
        yield from _Walk(contained=_contained(resource)).into(read, resource)


def _structural(detail: Mapping[str, Any]) -> Problem:
    *at, last = detail["loc"] or ((),)
    rule = _RULES.get(detail["type"], f"does not fit its R4 definition ({detail['type']})")
    if detail["type"] == "extra_forbidden":
        return Problem(at=tuple(at), rule=rule, key=str(last))
    return Problem(at=tuple(detail["loc"]), rule=rule)


def _contained(resource: Mapping[str, Any]) -> dict[str, str]:
    return {f"#{one.get('id')}": str(one.get("resourceType")) for one in resource.get("contained", ())}


def _untyped(resource: Mapping[str, Any]) -> Iterator[Problem]:
    # Without a type the library reads a contained resource as the abstract Resource.
    for index, one in enumerate(resource.get("contained", ())):
        if "resourceType" not in one:
            yield Problem(at=("contained", index, "resourceType"), rule="is required")


@dataclass(frozen=True, kw_only=True)
class _Walk:
    """Through a resource as the library read it."""

    contained: Mapping[str, str]

    def into(self, model: Any, raw: Mapping[str, Any], *at: str | int) -> Iterator[Problem]:
        for name, definition in type(model).model_fields.items():
            alias, extra = definition.alias or name, definition.json_schema_extra or {}
            value, here = getattr(model, name), (*at, alias)
            if name == "id" and type(model).has_resource_base():
                yield from _id(value, *here)
            else:
                listed = _values(type(model).__name__ + "." + name, extra)
                yield from self._value(value, raw.get(alias), {**extra, "enum_values": listed}, *here)

    def _value(self, value: Any, raw: Any, extra: Mapping[str, Any], *at: str | int) -> Iterator[Problem]:
        if isinstance(value, list):
            for index, (item, raw_item) in enumerate(zip(value, raw, strict=True)):
                yield from self._value(item, raw_item, extra, *at, index)
        elif isinstance(value, str):
            yield from _code(value, extra["enum_values"], *at)
        elif isinstance(value, _NO_STRING) and isinstance(raw, str):
            yield Problem(at=at, rule="must not be a string")
        elif not hasattr(value, "get_resource_type"):
            return
        elif not isinstance(raw, Mapping):
            yield Problem(at=at, rule="must be an object")
        else:
            if value.get_resource_type() == "Reference":
                yield from self._reference(value, extra.get("enum_reference_types", ()), *at)
            yield from self.into(value, raw, *at)

    def _reference(self, value: Any, allowed: Collection[str], *at: str | int) -> Iterator[Problem]:
        targets = {value.type}
        if value.reference is not None:
            literal = _LITERAL.fullmatch(value.reference)
            if literal:
                targets.add(literal["type"])
            elif value.reference in self.contained:
                targets.add(self.contained[value.reference])
            elif not _ELSEWHERE.fullmatch(value.reference):
                yield Problem(
                    at=(*at, "reference"),
                    rule="must be Type/id, an absolute URL that ends so, urn:uuid:, urn:oid:, or # and a contained id",
                )
        if allowed and "Resource" not in allowed and not targets - {None} <= set(allowed):
            yield Problem(at=at, rule=f"must point to one of {', '.join(sorted(allowed))}")


def _id(value: str | None, *at: str | int) -> Iterator[Problem]:
    if value is not None and not _ID.fullmatch(value):
        yield Problem(at=at, rule="must be 1 to 64 letters, digits, hyphens and dots")


def _values(element: str, extra: Mapping[str, Any]) -> Collection[str]:
    if element == "Task.status":
        return _TASK_STATUS
    listed: Collection[str] = extra.get("enum_values", ())
    return () if _CUT_SHORT in listed else listed


def _code(value: str, allowed: Collection[str], *at: str | int) -> Iterator[Problem]:
    if allowed and value not in allowed:
        yield Problem(at=at, rule=f"must be one of {', '.join(allowed)}")
