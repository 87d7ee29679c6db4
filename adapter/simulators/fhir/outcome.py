"""What a FHIR server says when it will not: an OperationOutcome. https://hl7.org/fhir/R4/operationoutcome.html"""

from __future__ import annotations

from typing import Any

Resource = dict[str, Any]


class Refused(Exception):
    """The request is answered with this HTTP status and sentence."""

    def __init__(self, status: int, sentence: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers or {}


def outcome(sentence: str, *, severity: str = "error", code: str = "processing") -> Resource:
    """An OperationOutcome with one issue."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": severity, "code": code, "diagnostics": sentence}],
    }


def information(sentence: str) -> Resource:
    """What a server adds to something that went well."""
    return outcome(sentence, severity="information", code="informational")
