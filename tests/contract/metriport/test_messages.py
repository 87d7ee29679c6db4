"""Contract §2: send, status, and the two shapes of a message."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.simulators.metriport import FULL_MAILBOX
from tests.contract.metriport.account import (
    ADDRESS,
    CHRIS,
    DIALECTS,
    JANE,
    NOBODY,
    OID,
    account,
    announcement,
    refused,
)

SOURCE = "https://public.metriport.com/fhir/StructureDefinition/data-source.json"


def test_a_sent_message_in_the_sdks_shape() -> None:
    clinic = account()

    answer = clinic.send(destination=OID, intendedRecipientNpi=["1234567893"])

    message = answer.json
    assert answer.status == 200
    assert message == {
        "id": message["id"],
        "patientId": JANE,
        "direction": "outbound",
        "status": "processing",
        "transportMethod": "xdr",
        "network": "EHEX",
        "destination": OID,
        "subject": "Referral",
        "body": "Please see.",
        "intendedRecipientNpi": ["1234567893"],
        "sentAt": "2026-07-01T12:00:00.000Z",
        "updatedAt": "2026-07-01T12:00:00.000Z",
    }
    assert clinic.ask("GET", f"message/{message['id']}").json == message


@pytest.mark.parametrize(
    ("destination", "transport", "network"),
    [
        (ADDRESS, "direct", None),
        (OID, "xdr", "EHEX"),
        ("2.16.840.1.113883.3.99999.2", "xdr", "CAREQUALITY"),
        ("2.16.840.1.113883.3.99999.5", "xdr", "COMMONWELL"),
        ("2.999.1", "xdr", "EHEX"),
    ],
)
def test_a_network_is_named_whenever_the_transport_is_xdr(
    destination: str, transport: str, network: str | None
) -> None:
    message = account().send(destination=destination).json

    assert (message["transportMethod"], message.get("network")) == (transport, network)


def test_a_sent_message_in_the_documented_shape() -> None:
    clinic = account(dialect="docs")
    document = clinic.uploaded()

    answer = clinic.send(destination=OID, attachments=[document], intendedRecipientNpi=["1234567893"]).json

    communication = answer["communication"]
    assert set(answer) == {"communication"}
    assert communication == {
        "resourceType": "Communication",
        "id": communication["id"],
        "extension": [{"url": SOURCE, "valueCoding": {"code": "METRIPORT"}}],
        "status": "in-progress",
        "subject": {"reference": f"Patient/{JANE}"},
        "topic": {"text": "Referral"},
        "sender": {"display": "Harbor Family Practice"},
        "recipient": [
            {"type": "Organization", "display": OID},
            {"type": "Practitioner", "display": "1234567893"},
        ],
        "sent": "2026-07-01T12:00:00.000Z",
        "payload": [
            {"contentString": "Please see."},
            {"contentReference": {"reference": f"DocumentReference/{document}"}},
        ],
    }
    assert clinic.ask("GET", f"message/{communication['id']}").json == answer


def test_the_documented_answer_to_a_send_may_be_bare() -> None:
    clinic = account(dialect="docs-bare")

    sent = clinic.send().json

    assert sent["resourceType"] == "Communication"
    assert clinic.ask("GET", f"message/{sent['id']}").json == {"communication": sent}
    assert clinic.ask("GET", "message").json["messages"] == [sent]


@pytest.mark.parametrize("failed_as", ["stopped", "not-done", "entered-in-error", "failed"])
def test_the_documented_shape_of_how_a_message_ended(failed_as: str) -> None:
    clinic = account(dialect="docs", failed_as=failed_as)
    good, bad = clinic.sent(), clinic.sent()
    clinic.passes(5)
    clinic.world.complete(good, clinic.now)
    clinic.world.fail(bad, "No such mailbox.", clinic.now)

    completed, failed = (clinic.ask("GET", f"message/{one}").json["communication"] for one in (good, bad))

    assert (completed["status"], completed["received"]) == ("completed", "2026-07-01T12:00:05.000Z")
    assert (failed["status"], failed["statusReason"]["text"]) == (failed_as, "No such mailbox.")
    assert "received" not in failed


def test_the_sdks_shape_of_how_a_message_ended() -> None:
    clinic = account()
    good, bad = clinic.sent(), clinic.sent()
    clinic.passes(5)
    clinic.world.complete(good, clinic.now)
    clinic.world.fail(bad, "No such mailbox.", clinic.now)

    completed, failed = (clinic.ask("GET", f"message/{one}").json for one in (good, bad))

    assert (completed["status"], completed["updatedAt"]) == ("completed", "2026-07-01T12:00:05.000Z")
    assert "reason" not in completed
    assert (failed["status"], failed["reason"]) == ("failed", "No such mailbox.")


@DIALECTS
@pytest.mark.parametrize(("destination", "end"), [(ADDRESS, "completed"), (FULL_MAILBOX, "failed")])
def test_messages_end_by_themselves(dialect: str, destination: str, end: str) -> None:
    clinic = account(dialect=dialect, auto_complete_seconds=2.0)
    message = clinic.sent(destination=destination)
    assert clinic.world.next_at() is not None
    clinic.passes(1.9)
    assert clinic.world.messages[0].status == "processing"

    clinic.passes(0.1)
    shown = clinic.ask("GET", f"message/{message}").json

    assert clinic.world.messages[0].status == end
    assert shown.get("status", "") in {"", end}
    assert clinic.world.next_at() is None


def test_a_message_that_was_ended_by_hand_does_not_end_again_by_itself() -> None:
    clinic = account(auto_complete_seconds=2.0)
    message = clinic.sent()
    clinic.world.fail(message, "No such mailbox.", clinic.now)

    clinic.passes(10)

    assert clinic.ask("GET", f"message/{message}").json["status"] == "failed"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"surprise": 1}, "Unrecognized key(s) in object: surprise"),
        ({"destination": ""}, "destination is required"),
        ({"destination": None}, "destination must be a string"),
        ({"destination": "nowhere"}, "destination must be an OID or a Direct address"),
        ({"destination": "2.16.x"}, "destination must be an OID or a Direct address"),
        ({"destination": "a@b" + "c" * 253}, "destination must have at most 255 characters"),
        ({"subject": 7}, "subject must be a string"),
        ({"subject": " \x00\x1f\x7f "}, "subject is required"),
        ({"subject": "x" * 256}, "subject must have at most 255 characters"),
        ({"subject": "\U0001f600" * 128}, "subject must have at most 255 characters"),
        ({"body": "x" * 5001}, "body must have at most 5000 characters"),
        ({"body": ["x"]}, "body must be a string"),
        ({"body": "\x00 \ufeff"}, "At least one of body or attachments is required"),
        ({"attachments": []}, "attachments must be a list of 1 to 5 UUIDs"),
        ({"attachments": [NOBODY] * 6}, "attachments must be a list of 1 to 5 UUIDs"),
        ({"attachments": ["x"]}, "attachments must be a list of 1 to 5 UUIDs"),
        ({"attachments": NOBODY}, "attachments must be a list of 1 to 5 UUIDs"),
        ({"attachments": [7]}, "attachments must be a list of 1 to 5 UUIDs"),
        ({"intendedRecipientNpi": []}, "intendedRecipientNpi must be a list of 1 to 10 non-empty strings"),
        ({"intendedRecipientNpi": [""]}, "intendedRecipientNpi must be a list of 1 to 10 non-empty strings"),
        ({"intendedRecipientNpi": ["1"] * 11}, "intendedRecipientNpi must be a list of 1 to 10 non-empty strings"),
    ],
)  # fmt: skip
def test_what_is_refused(body: dict[str, Any], detail: str) -> None:
    clinic = account()

    assert refused(clinic.send(**body)) == detail
    assert clinic.world.messages == []


def test_what_is_just_let_in() -> None:
    clinic = account()

    message = clinic.send(
        destination="a@" + "b" * 253,
        subject="\U0001f600" * 127 + "!",
        body="x" * 5000,
        intendedRecipientNpi=["0"] * 10,
    ).json

    assert len(message["destination"]) == 255
    assert len(message["subject"]) == 128
    assert len(message["body"]) == 5000


def test_plain_text_is_normalised() -> None:
    message = account().send(subject="\ufeff  Re\x00fer\x7fral \t", body="\n a\tb\r\nc\x1b \u2003").json

    assert (message["subject"], message["body"]) == ("Referral", "a\tb\r\nc")


def test_the_patient_must_be_named_and_known() -> None:
    clinic = account()

    assert refused(clinic.ask("POST", "message", {"destination": ADDRESS, "subject": "s", "body": "b"})) == (
        "Missing patientId query param"
    )
    assert refused(clinic.send(NOBODY), 404) == f"Could not find patient {NOBODY}"


def test_a_message_may_be_attachments_alone_by_ids_in_either_case() -> None:
    clinic = account()
    documents = [clinic.uploaded() for _ in range(5)]

    answer = clinic.send(body="", attachments=[one.upper() for one in documents])

    assert answer.json["attachments"] == documents
    assert "body" not in answer.json


def test_attachments_must_be_there_and_the_patients_own() -> None:
    clinic = account()
    others = clinic.uploaded(CHRIS)
    announced = clinic.ask("POST", f"document/upload?patientId={JANE}", announcement()).json

    for document in (NOBODY, others, announced["documentReferenceId"]):
        assert refused(clinic.send(attachments=[document]), 404) == f"Could not find document {document}"


def test_patients_for_whom_nothing_may_be_sent() -> None:
    clinic = account()
    clinic.world.add_patients([
        {"id": "out", "hieOptOut": True},
        {"id": "unrelated", "treatmentRelationship": False},
    ])  # fmt: skip
    clinic.world.opt_out(JANE, "Patient has left")

    assert refused(clinic.send("out")) == "Patient has opted out from the networks"
    assert refused(clinic.send("unrelated")) == "Patient does not have a treatment relationship"
    assert refused(clinic.send()) == "Patient has left"


def test_a_retried_post_sends_twice() -> None:
    clinic = account()

    assert clinic.sent() != clinic.sent()
    assert len(clinic.world.messages) == 2
