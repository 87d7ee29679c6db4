"""The rules that mapped results are held to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from adapter.errors import MappingError
from adapter.mapping import validate

UUID = "01890a5d-ac96-774b-bcce-b302099a8057"


def first(name: str, value: dict[str, Any]) -> tuple[str | None, str] | None:
    """Path and rule of the first problem."""
    found = list(validate.problems(name, value))
    return (found[0].path, found[0].rule) if found else None


def message(**changed: Any) -> dict[str, Any]:
    """A message body; `None` takes a member away."""
    body: dict[str, Any] = {"destination": "a@b.example", "subject": "s", "body": "b"} | changed
    return {name: value for name, value in body.items() if value is not None}


@pytest.mark.parametrize(
    "value",
    [
        message(),
        message(destination="d" * 255, subject="s" * 255, body="b" * 5000),
        message(subject="😀" * 127 + "s", body="😀" * 2500),
        message(body=None, attachments=[UUID]),
        message(attachments=[UUID.upper()] * 5, intendedRecipientNpi=["1234567893"] * 10),
        message(body="a\tb\n\nc"),
    ],
)
def test_a_message_within_the_limits_passes(value: dict[str, Any]) -> None:
    assert first("outbound/message", value) is None


@pytest.mark.parametrize(
    ("value", "path", "rule"),
    [
        (message(destination=None), "destination", "is required"),
        (message(destination=""), "destination", "must be a string that is not empty"),
        (message(destination=7), "destination", "must be a string that is not empty"),
        (message(destination="d" * 256), "destination", "has 256 UTF-16 units, 255 are allowed"),
        (message(subject=None), "subject", "is required"),
        (message(subject="😀" * 128), "subject", "has 256 UTF-16 units, 255 are allowed"),
        (message(subject=" s"), "subject", "has control characters or white space at its ends"),
        (message(body="b\x00"), "body", "has control characters or white space at its ends"),
        (message(body="😀" * 2501), "body", "has 5002 UTF-16 units, 5000 are allowed"),
        (message(body=None), None, "needs `body` or `attachments`"),
        (message(attachments=[]), "attachments", "must be a list of 1 to 5"),
        (message(attachments=[UUID] * 6), "attachments", "must be a list of 1 to 5"),
        (message(attachments=UUID), "attachments", "must be a list of 1 to 5"),
        (message(attachments=[UUID, UUID + "0"]), "attachments[1]", "must be a UUID"),
        (message(attachments=[UUID + "\n"]), "attachments[0]", "must be a UUID"),
        (message(attachments=[3]), "attachments[0]", "must be a UUID"),
        (message(intendedRecipientNpi=["1"] * 11), "intendedRecipientNpi", "must be a list of 1 to 10"),
        (message(intendedRecipientNpi=[""]), "intendedRecipientNpi[0]", "must be a string that is not empty"),
        (message(priority="stat"), None, "has a key that is not allowed"),
    ],
)
def test_a_message_beyond_them_does_not(value: dict[str, Any], path: str | None, rule: str) -> None:
    found = first("outbound/message", value)

    assert found is not None
    assert found[0] == path
    assert found[1].startswith(rule)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({}, None),
        ({"subject": "s" * 9000, "body": "b"}, None),
        ({"subject": 7}, "subject"),
        ({"body": {"a": 1}}, "body"),
    ],
)
def test_subject_line_and_text_are_texts(value: dict[str, Any], path: str | None) -> None:
    found = first("outbound/text", value)

    assert (found[0] if found else None) == path


def document(**changed: Any) -> dict[str, Any]:
    """What announces a document."""
    whole: dict[str, Any] = {
        "type": {"text": "Letter", "coding": [{"system": "http://loinc.org", "code": "51852-2"}]},
        "description": "A letter",
        "context": {"period": {"start": "2026-03-01T09:00:00Z"}},
    }
    return whole | changed


@pytest.mark.parametrize("value", [document(), document(context={"period": {"start": "2026-03-01"}})])
def test_a_document_passes(value: dict[str, Any]) -> None:
    assert first("outbound/document", value) is None


@pytest.mark.parametrize(
    ("value", "path", "rule"),
    [
        (document(type={}), "type.text", "is required"),
        (document(type="Letter"), "type.text", "is required"),
        (document(type={"text": 3}), "type.text", "must be a string"),
        (document(description=" A letter"), "description", "has control characters"),
        (document(context={}), "context.period.start", "is required"),
        (
            document(context={"period": {"start": "soon"}}),
            "context.period.start",
            "has a value that R4 does not allow",
        ),
        (document(type={"text": "Letter", "coding": {}}), "type.coding", "must be a list"),
        (document(type={"text": "Letter", "coding": ["c"]}), "type.coding[0]", "must be an object"),
        (
            document(type={"text": "Letter", "coding": [{"code": 3}]}),
            "type.coding[0].code",
            "must be a string",
        ),
        (document(type={"text": "Letter", "coding": [{"x": "3"}]}), "type.coding[0]", "has a key"),
        (document(descripton="x"), None, "has an element that R4 does not know"),
        (document(docStatus="done"), "docStatus", "must be one of preliminary, final"),
    ],
)
def test_a_document_without_what_metriport_asks_for_does_not(
    value: dict[str, Any], path: str, rule: str
) -> None:
    found = first("outbound/document", value)

    assert found is not None
    assert found[0] == path
    assert found[1].startswith(rule)


def test_a_mapping_that_no_rule_is_for_passes() -> None:
    assert first("outbound/other", {"anything": 1}) is None


def communication(**changed: Any) -> dict[str, Any]:
    """A received message."""
    return {"resourceType": "Communication", "status": "completed"} | changed


def contained(kind: str) -> dict[str, Any]:
    return {"resourceType": kind, "id": "one"}


@pytest.mark.parametrize(
    "value",
    [
        communication(),
        communication(id="a-B.9" + "x" * 59),
        communication(subject={"reference": "Patient/1"}),
        communication(subject={"reference": "Patient/1/_history/2", "type": "Patient"}),
        communication(subject={"reference": "https://ehr.example/fhir/Patient/1"}),
        communication(subject={"reference": "#one"}, contained=[contained("Patient")]),
        communication(about=[{"reference": "urn:uuid:" + UUID}, {"reference": "urn:oid:1.2.3"}]),
        communication(sender={"type": "Organization", "identifier": {"value": "mailto:a@b.example"}}),
        communication(payload=[{"contentReference": {"reference": "Binary/1"}}]),
        communication(extension=[{"url": "https://ehr.example/x", "valueDecimal": Decimal("1.50")}]),
        {"resourceType": "Task", "status": "rejected", "intent": "order", "for": {"reference": "Patient/1"}},
        {"resourceType": "Binary", "id": "1", "contentType": "text/plain", "data": "aGk="},
        {"resourceType": "Observation", "status": "corrected", "code": {"text": "x"}},
        {
            "resourceType": "DocumentReference",
            "status": "current",
            "content": [{"attachment": {"url": "Binary/1"}}],
        },
    ],
)
def test_a_good_resource_passes(value: dict[str, Any]) -> None:
    assert first("inbound/communication", value) is None


_TARGET = "must point to one of Group, Patient"
_REFERENCE = "must be Type/id, an absolute URL that ends so, urn:uuid:, urn:oid:, or # and a contained id"


@pytest.mark.parametrize(
    ("value", "path", "rule"),
    [
        ({}, "resourceType", "must be the name of an R4 resource type"),
        ({"resourceType": 3}, "resourceType", "must be the name of an R4 resource type"),
        ({"resourceType": "Nothing"}, "resourceType", "must be the name of an R4 resource type"),
        ({"resourceType": "Reference"}, "resourceType", "must be the name of an R4 resource type"),
        ({"resourceType": "Code"}, "resourceType", "must be the name of an R4 resource type"),
        ({"resourceType": "Communication"}, "status", "is required"),
        (communication(id="x" * 65), "id", "must be 1 to 64 letters, digits, hyphens and dots"),
        (communication(id="under_score"), "id", "does not have the form that R4 asks for"),
        (communication(status="sent"), "status", "must be one of preparation, in-progress"),
        (communication(sent="today"), "sent", "has a value that R4 does not allow"),
        (communication(topic="x"), "topic", "must be an object"),
        (communication(topic='{"text": "x"}'), "topic", "must be an object"),
        (communication(note=['{"text": "x"}']), "note[0]", "must be an object"),
        (
            communication(extension=[{"url": "x", "valueInteger": "1"}]),
            "extension[0].valueInteger",
            "must not be",
        ),
        (
            communication(extension=[{"url": "x", "valueBoolean": "true"}]),
            "extension[0].valueBoolean",
            "must not be",
        ),
        (
            communication(extension=[{"url": "x", "valueDecimal": "1.5"}]),
            "extension[0].valueDecimal",
            "must not be",
        ),
        (communication(payload={}), "payload", "must be a list"),
        (communication(topic={"text": 3}), "topic.text", "must be a string"),
        (communication(status={}), "status", "must be a string"),
        (communication(subject={"reference": "Practitioner/1"}), "subject", _TARGET),
        (communication(subject={"type": "Practitioner", "display": "x"}), "subject", _TARGET),
        (communication(subject={"reference": "#one"}, contained=[contained("Device")]), "subject", _TARGET),
        (
            communication(subject={"reference": "#two"}, contained=[contained("Patient")]),
            "subject.reference",
            _REFERENCE,
        ),
        (
            communication(about=[{"reference": "Patient/1"}, {"reference": "patient 1"}]),
            "about[1].reference",
            _REFERENCE,
        ),
        (communication(contained=[{"id": "one"}]), "contained[0].resourceType", "is required"),
        (communication(contained=[{"resourceType": "Nothing"}]), None, "cannot be read as an R4 resource"),
        (
            communication(contained=[contained("Device") | {"id": "_"}]),
            "contained[0].id",
            "does not have the form",
        ),
        (
            communication(identifier=[{"use": "own", "value": "1"}]),
            "identifier[0].use",
            "must be one of usual",
        ),
        ({"resourceType": "Task", "status": "done", "intent": "order"}, "status", "must be one of draft"),
        ({"resourceType": "Task", "status": "draft", "intent": "wish"}, "intent", "must be one of unknown"),
        (
            {"resourceType": "DocumentReference", "status": "old", "content": [{"attachment": {"url": "x"}}]},
            "status",
            "must be one of current, superseded",
        ),
    ],
)
def test_a_bad_resource_does_not(value: dict[str, Any], path: str | None, rule: str) -> None:
    found = first("inbound/communication", value)

    assert found is not None
    assert found[0] == path
    assert found[1].startswith(rule)


def test_the_first_problem_is_raised_with_template_and_path() -> None:
    with pytest.raises(MappingError) as caught:
        validate.require("outbound/message", message(subject=None), template="t", words=frozenset())

    assert (caught.value.template, caught.value.path, str(caught.value)) == (
        "t",
        "subject",
        "t, at subject: is required",
    )


@pytest.mark.parametrize(("words", "said"), [(frozenset({"extra"}), ": extra"), (frozenset[str](), "")])
def test_an_unknown_element_is_named_if_the_template_names_it(words: frozenset[str], said: str) -> None:
    with pytest.raises(MappingError) as caught:
        validate.require("inbound/x", communication(topic={"extra": "x"}), template="t", words=words)

    assert str(caught.value) == "t, at topic: has an element that R4 does not know" + said
