"""Any JSON, with a bent towards what almost is a FHIR resource: the elements that readers ask for, in wrong shapes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st

from adapter.domain.canonical import (
    COMMUNICATION_ID,
    CONNECTION_TYPE,
    DIRECT_TELECOM,
    INSTRUCTION_SYSTEM,
    NPI_SYSTEM,
    TRANSMISSION_EXTENSION,
    URI_SYSTEM,
)
from tests.builders import token

_ELEMENTS: Final = [
    "address",
    "attachment",
    "category",
    "code",
    "coding",
    "connectionType",
    "contained",
    "content",
    "contentType",
    "creation",
    "data",
    "display",
    "docStatus",
    "end",
    "extension",
    "hash",
    "id",
    "identifier",
    "implicitRules",
    "meta",
    "modifierExtension",
    "period",
    "presentedForm",
    "priority",
    "reference",
    "resourceType",
    "security",
    "securityLabel",
    "size",
    "start",
    "status",
    "statusReason",
    "subject",
    "system",
    "telecom",
    "text",
    "type",
    "url",
    "use",
    "value",
    "valueBoolean",
    "valueCode",
    "valuePositiveInt",
    "valueString",
    "versionId",
]
_WORDS: Final = (
    *[
        "Binary",
        "DiagnosticReport",
        "DocumentReference",
        "Media",
        "email",
        "old",
        "direct-project",
        "active",
        "current",
        "final",
    ],
    *[
        "preliminary",
        "entered-in-error",
        "preparation",
        "in-progress",
        "resend",
        "#1",
        "1",
        "R",
        "stat",
        "round",
        "token",
        "message",
        "end",
    ],
    *[
        "attachment",
        "destination",
        "attempt",
        "urn:oid:1.2.3",
        "mailto:a@b.example",
        "a@b.example",
        "completed",
        "2026-03",
    ],
    *["Patient/p1", "Patient/..", "2026-03-01T00:00:00Z", "QUJD", "===="],
    COMMUNICATION_ID,
    CONNECTION_TYPE,
    DIRECT_TELECOM,
    INSTRUCTION_SYSTEM,
    NPI_SYSTEM,
    TRANSMISSION_EXTENSION,
    URI_SYSTEM,
    "http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
    token("1"),
)

any_text: Final = st.text(st.characters(exclude_categories=()), max_size=12)
_scalars: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**20),
    st.sampled_from([Decimal("1.50"), Decimal("-0"), Decimal("1E+30")]),
    st.sampled_from(_WORDS),
    any_text,
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(_ELEMENTS), inner, max_size=6),
    )


any_json: Final = st.recursive(_scalars, _containers, max_leaves=25)
any_object: Final = st.dictionaries(st.sampled_from(_ELEMENTS), any_json, max_size=12)
