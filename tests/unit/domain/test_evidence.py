"""What Metriport's list proves about a send whose outcome was not learned."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapter.domain.evidence import SKEW, fits, found_in, has_digest_of
from adapter.domain.mark import Mark
from adapter.domain.message import Message, MessageState, Send
from tests.builders import DESTINATION, DOCUMENT, MESSAGE, METRIPORT_PATIENT, NOW


def send(**body: Any) -> Send:
    return Send(
        patient=METRIPORT_PATIENT,
        body={
            "destination": DESTINATION,
            "subject": "Follow-up",
            "body": "Within two weeks.",
            "attachments": [DOCUMENT],
            "intendedRecipientNpi": ["1234567893", "1245319599"],
            **body,
        },
    )


def listed(**overrides: Any) -> Message:
    return replace(
        Message(
            id=MESSAGE,
            state=MessageState.PROCESSING,
            patient=METRIPORT_PATIENT,
            destination=DESTINATION,
            subject="Follow-up",
            body="Within two weeks.",
            attachments=frozenset({DOCUMENT}),
            sent_at=NOW,
        ),
        **overrides,
    )


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"patient": None},
        {"destination": None},
        {"destination": DESTINATION.upper()},
        {"subject": " Follow-up\x07 "},
        {"body": "Within two weeks.\n"},
        {"sent_at": None},
        {"sent_at": NOW + timedelta(days=1)},
        {"sent_at": NOW - SKEW},
        {"state": MessageState.FAILED},
        {"npis": ("1245319599", "1234567893")},
    ],
)
def test_the_message_that_this_send_would_have_become_fits(overrides: dict[str, Any]) -> None:
    assert fits(listed(**overrides), send(), since=NOW)


@pytest.mark.parametrize(
    "overrides",
    [
        {"patient": "0195f2a0-7c1e-7a52-9d3b-5f60c2b1a002"},
        {"destination": "other@direct.lakeside.example"},
        {"subject": "follow-up"},
        {"subject": ""},
        {"body": "Within three weeks."},
        {"body": ""},
        {"attachments": frozenset()},
        {"attachments": frozenset({"0195f2a0-7c1e-7a52-9d3b-5f60c2b1d002"})},
        {"attachments": frozenset({DOCUMENT, "0195f2a0-7c1e-7a52-9d3b-5f60c2b1d002"})},
        {"sent_at": NOW - SKEW - timedelta(seconds=1)},
        {"npis": ("1245319599",)},
    ],
)
def test_a_message_that_differs_in_one_thing_does_not_fit(overrides: dict[str, Any]) -> None:
    assert not fits(listed(**overrides), send(), since=NOW)


def test_a_send_without_body_or_attachments_fits_one_without() -> None:
    only_files = Send(
        patient=METRIPORT_PATIENT,
        body={"destination": DESTINATION, "subject": "S", "attachments": [DOCUMENT]},
    )
    only_text = Send(
        patient=METRIPORT_PATIENT, body={"destination": DESTINATION, "subject": "S", "body": "B"}
    )

    assert fits(listed(subject="S", body=""), only_files, since=NOW)
    assert fits(listed(subject="S", body="B", attachments=frozenset()), only_text, since=NOW)


def test_the_order_of_the_documents_does_not_matter() -> None:
    assert fits(listed(attachments=frozenset({"d1", "d2"})), send(attachments=["d2", "d1"]), since=NOW)


def test_all_that_fit_are_found_in_their_order() -> None:
    first, other, second = listed(id="m1"), listed(id="m2", body="?"), listed(id="m3")

    assert found_in([first, other, second], send(), since=NOW) == [first, second]


@pytest.mark.parametrize("documents", [[DOCUMENT], [], [DOCUMENT, "another"]])
def test_a_digest_is_of_the_documents_as_well(documents: list[str]) -> None:
    message = listed(npis=(), attachments=frozenset(documents))
    body = {
        "destination": DESTINATION,
        "subject": message.subject,
        "body": message.body,
        "attachments": [DOCUMENT],
    }
    digest = Send(patient=METRIPORT_PATIENT, body=body).digest
    mark = Mark(
        round=1, token="token", attempt=1, attachments=(DOCUMENT,), digest=digest, destination=DESTINATION
    )

    assert has_digest_of(message, mark, patient=METRIPORT_PATIENT) is (documents == [DOCUMENT])
