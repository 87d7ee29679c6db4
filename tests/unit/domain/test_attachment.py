"""What may be attached, and what is wrong with what may not."""

from __future__ import annotations

import base64
import hashlib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.attachment import (
    DOCUMENT_TYPES,
    MOST_BYTES,
    Content,
    attachments_of,
    check_bytes,
    check_document,
    decode,
    describe,
    owner_of,
)
from adapter.domain.reasons import Reason
from tests.builders import concept
from tests.unit.domain.json_values import any_json, any_object, any_text

WHERE = "payload[0]"
DATA = b"%PDF-1.7 invented"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def code(found: object) -> str | None:
    assert found is None or isinstance(found, Reason)
    return found.code if found else None


@given(st.binary())
def test_base64_is_decoded(data: bytes) -> None:
    assert decode(encoded(data), where=WHERE) == data


@given(st.binary(min_size=1), st.text(" \t\r\n", min_size=1), st.randoms())
def test_white_space_within_base64_is_allowed(data: bytes, blanks: str, random: Any) -> None:
    text = encoded(data)
    at = random.randrange(len(text) + 1)

    assert decode(text[:at] + blanks + text[at:], where=WHERE) == data


@pytest.mark.parametrize(
    "data", [None, 5, True, ["QUJD"], {}, "QUJ", "QU=D", "QU*D", "Ä===", "\ud800", "QUJDRA==QUJD"]
)
def test_what_is_no_base64_is_unreadable(data: object) -> None:
    found = decode(data, where=WHERE)

    assert isinstance(found, Reason)
    assert found.code == "refused-attachment-unreadable"
    assert found.sentence.startswith("payload[0]: ")


@given(any_json | any_text)
def test_decoding_takes_any_json(value: Any) -> None:
    assert isinstance(decode(value, where=WHERE), bytes | Reason)


@given(any_object, st.binary())
def test_checking_bytes_takes_any_json(attachment: dict[str, Any], data: bytes) -> None:
    assert code(check_bytes(attachment, data, where=WHERE)) in {None, "refused-attachment-unreadable"}


def test_bytes_that_state_nothing_are_right() -> None:
    assert check_bytes({}, DATA, where=WHERE) is None


def test_empty_bytes_are_unreadable() -> None:
    assert code(check_bytes({"size": 0}, b"", where=WHERE)) == "refused-attachment-unreadable"


def test_fifty_megabytes_are_the_most() -> None:
    most = bytes(MOST_BYTES)

    assert check_bytes({}, most, where=WHERE) is None
    assert code(check_bytes({}, most + b"x", where=WHERE)) == "refused-attachment-too-large"


@pytest.mark.parametrize("size", [len(DATA), Decimal(len(DATA)), None, str(len(DATA) + 1), True, [1]])
def test_a_size_that_fits_or_is_none_says_nothing_against_it(size: object) -> None:
    assert check_bytes({"size": size}, DATA, where=WHERE) is None


@pytest.mark.parametrize("size", [0, 1, len(DATA) + 1, -1, Decimal(10**20)])
def test_a_wrong_size_refuses(size: object) -> None:
    found = check_bytes({"size": size}, DATA, where=WHERE)

    assert found is not None
    assert found.code == "refused-attachment-unreadable"
    assert f"{size} bytes" in found.sentence


SHA1 = hashlib.sha1(DATA, usedforsecurity=False).digest()
OTHER_SHA1 = hashlib.sha1(b"other", usedforsecurity=False).digest()


@pytest.mark.parametrize("stated", [encoded(SHA1), f" {encoded(SHA1)[:9]}\n{encoded(SHA1)[9:]} "])
def test_a_fitting_hash_says_nothing_against_it(stated: str) -> None:
    assert check_bytes({"hash": stated}, DATA, where=WHERE) is None


@pytest.mark.parametrize(
    "stated", [encoded(OTHER_SHA1), f"{encoded(OTHER_SHA1)[:9]}\n{encoded(OTHER_SHA1)[9:]}"]
)
def test_a_hash_of_other_bytes_refuses(stated: str) -> None:
    assert code(check_bytes({"hash": stated}, DATA, where=WHERE)) == "refused-attachment-unreadable"


@given(st.binary().filter(lambda digest: len(digest) != 20) | any_json)
def test_a_hash_that_is_not_twenty_bytes_proves_nothing(stated: Any) -> None:
    value = encoded(stated) if isinstance(stated, bytes) else stated

    assert check_bytes({"hash": value}, DATA, where=WHERE) is None


def document(kind: str = "DocumentReference", status: Any = "current", **overrides: Any) -> dict[str, Any]:
    return {"resourceType": kind, "id": "d1", "status": status, **overrides}


CURRENT = {
    "DocumentReference": {"current"},
    "Media": {"completed"},
    "DiagnosticReport": {"final", "amended", "corrected", "appended"},
}
UNFINISHED = {
    "DocumentReference": set[str](),
    "Media": {"preparation", "in-progress"},
    "DiagnosticReport": {"registered", "partial", "preliminary"},
}
STATUSES = [
    "current",
    "superseded",
    "entered-in-error",
    "preparation",
    "in-progress",
    "not-done",
    "on-hold",
    "stopped",
    "completed",
    "unknown",
    "registered",
    "partial",
    "preliminary",
    "final",
    "amended",
    "corrected",
    "appended",
    "cancelled",
]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("kind", sorted(CURRENT))
def test_only_a_current_document_is_sent(kind: str, status: str) -> None:
    found = code(check_document(document(kind, status), where=WHERE))

    if status in CURRENT[kind]:
        assert found is None
    elif status in UNFINISHED[kind]:
        assert found == "held-document-preliminary"
    else:
        assert found == "refused-attachment-not-current"


@pytest.mark.parametrize("kind", sorted(CURRENT))
@pytest.mark.parametrize("status", [None, "", 5, {}, ["current"], "<b>"])
def test_an_unreadable_status_is_not_current(kind: str, status: object) -> None:
    found = check_document(document(kind, status), where=WHERE)

    assert found is not None
    assert found.code == "refused-attachment-not-current"
    assert "without a known status" in found.sentence


def test_a_binary_has_no_status() -> None:
    assert check_document({"resourceType": "Binary"}, where=WHERE) is None


@pytest.mark.parametrize(
    ("doc_status", "expected"),
    [
        ("final", None),
        ("amended", None),
        (None, None),
        ("preliminary", "held-document-preliminary"),
        ("entered-in-error", "refused-attachment-not-current"),
    ],
)
def test_the_status_of_the_composition_counts_too(doc_status: object, expected: str | None) -> None:
    assert code(check_document(document(docStatus=doc_status), where=WHERE)) == expected


@pytest.mark.parametrize(
    "element", [{"modifierExtension": [{"url": "urn:x"}]}, {"implicitRules": "urn:rules"}]
)
@pytest.mark.parametrize("kind", sorted(DOCUMENT_TYPES))
def test_a_document_that_is_not_understood_is_refused(kind: str, element: dict[str, Any]) -> None:
    status = next(iter(CURRENT.get(kind, {"none"})))

    assert (
        code(check_document(document(kind, status, **element), where=WHERE)) == "refused-modifier-extension"
    )


def label(value: object, system: str = CONFIDENTIALITY) -> dict[str, Any]:
    return {"system": system, "code": value}


@pytest.mark.parametrize("value", ["R", "V"])
@pytest.mark.parametrize("kind", sorted(DOCUMENT_TYPES))
def test_restricted_documents_are_held(kind: str, value: str) -> None:
    status = next(iter(CURRENT.get(kind, {"none"})))
    labelled = document(kind, status, meta={"security": [label("N"), label(value)]})

    assert code(check_document(labelled, where=WHERE)) == "held-restricted"


@pytest.mark.parametrize("value", ["R", "V"])
def test_a_security_label_of_the_document_counts_as_one_of_meta(value: str) -> None:
    labelled = document(securityLabel=[concept(CONFIDENTIALITY, "N"), concept(CONFIDENTIALITY, value)])

    found = check_document(labelled, where=WHERE)

    assert found is not None
    assert found.code == "held-restricted"
    assert f"labelled {value}" in found.sentence


@pytest.mark.parametrize(
    "security", [None, "R", [], [label("N")], [label("R", "urn:other")], [label(["R"])], [{"code": "R"}]]
)
def test_other_labels_say_nothing_against_it(security: object) -> None:
    assert check_document(document(meta={"security": security}), where=WHERE) is None


def test_a_retracted_document_is_refused_before_its_label_is_looked_at() -> None:
    labelled = document(status="entered-in-error", meta={"security": [label("R")]})

    assert code(check_document(labelled, where=WHERE)) == "refused-attachment-not-current"


ONE, TWO = {"title": "one"}, {"title": "two"}


@pytest.mark.parametrize(
    ("resource", "attachments"),
    [
        (document(content=[{"attachment": ONE}, {"attachment": TWO}]), [ONE, TWO]),
        (document(content=[{"format": {}}]), [{}]),
        (document(), []),
        (document("Media", content=ONE), [ONE]),
        (document("Media"), []),
        (document("DiagnosticReport", presentedForm=[ONE, TWO]), [ONE, TWO]),
        (document("DiagnosticReport"), []),
    ],
)
def test_a_document_consists_of_its_attachments(
    resource: dict[str, Any], attachments: list[dict[str, Any]]
) -> None:
    assert attachments_of(resource) == attachments


@pytest.mark.parametrize("kind", ["DocumentReference", "Media", "DiagnosticReport"])
def test_a_document_belongs_to_its_subject(kind: str) -> None:
    whose = {"reference": "Patient/p1"}

    assert owner_of(document(kind, subject=whose, securityContext={"reference": "Patient/p2"})) == whose


def test_a_binary_belongs_to_its_security_context() -> None:
    whose = {"reference": "Patient/p1"}

    assert owner_of({"resourceType": "Binary", "securityContext": whose}) == whose
    assert owner_of({"resourceType": "Binary"}) == {}


@pytest.mark.parametrize(
    ("resource", "named", "count"),
    [
        (document(type={"text": "Discharge summary", "coding": [{"display": "x"}]}), "Discharge summary", 1),
        (document(type={"coding": [{"code": "1"}, {"display": "Summary"}]}), "Summary", 2),
        (document("DiagnosticReport", code={"text": "Blood count"}), "Blood count", 0),
        (document(type={"coding": [{"code": "1"}]}), None, 1),
        (document(), None, 0),
    ],
)
def test_a_document_is_described_by_its_type_or_code(
    resource: dict[str, Any], named: str | None, count: int
) -> None:
    text, found = describe(resource)

    assert text == named
    assert len(found) == count


@given(any_object)
def test_readers_of_documents_take_any_json(resource: dict[str, Any]) -> None:
    for kind in (resource.get("resourceType"), *sorted(DOCUMENT_TYPES)):
        for status in (resource.get("status"), "current"):
            one = {**resource, "resourceType": kind, "status": status}
            found = check_document(one, where=WHERE)
            assert found is None or found.code.startswith(("refused-", "held-"))
            assert all(isinstance(attachment, dict) for attachment in attachments_of(one))
            assert isinstance(owner_of(one), dict)
            describe(one)


def test_what_a_content_says_of_the_patient_stays_out_of_its_repr() -> None:
    content = Content(
        where=WHERE,
        content_type="text/plain",
        data=b"Quillfeather",
        title="Quillfeather.txt",
        type_text="Letter to Quillfeather",
        type_codings=({"display": "Quillfeather"},),
    )

    assert "Quillfeather" not in repr(content)
