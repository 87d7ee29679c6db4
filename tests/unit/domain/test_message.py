"""The exact call, and a message as Metriport shows it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.message import Message, MessageState, Send
from adapter.domain.outcome import Refused
from tests.builders import DESTINATION, METRIPORT_PATIENT
from tests.unit.domain.json_values import any_text

BODIES = st.dictionaries(any_text, any_text | st.lists(any_text, max_size=3), max_size=5)


def send(patient: str = METRIPORT_PATIENT, **body: Any) -> Send:
    return Send(patient=patient, body={"destination": DESTINATION, "subject": "S", "body": "B", **body})


def test_the_digest_of_a_call_is_the_same_for_ever() -> None:
    assert Send(patient="p", body={"b": ["é"], "a": "1"}).digest == (
        "7ccce8ba64b22036f1d8154a75cf746a1729a0c834ae9bcb3db064356b09bfc6"
    )


@given(any_text, BODIES, st.randoms())
def test_the_digest_does_not_depend_on_the_order_of_keys(
    patient: str, body: dict[str, Any], random: Any
) -> None:
    pairs = list(body.items())
    random.shuffle(pairs)

    assert Send(patient=patient, body=dict(pairs)).digest == Send(patient=patient, body=body).digest


@given(any_text, BODIES, any_text, BODIES)
def test_another_call_has_another_digest(
    patient: str, body: dict[str, Any], other_patient: str, other_body: dict[str, Any]
) -> None:
    one, other = Send(patient=patient, body=body), Send(patient=other_patient, body=other_body)

    equal = json.dumps([patient, body], sort_keys=True) == json.dumps(
        [other_patient, other_body], sort_keys=True
    )
    assert (one.digest == other.digest) is equal


def test_a_call_tells_its_destination_and_documents() -> None:
    assert send().destination == DESTINATION
    assert send().attachments == ()
    assert send(attachments=["d1", "d2"]).attachments == ("d1", "d2")


def test_texts_stay_out_of_reprs() -> None:
    values = (
        send(subject="Quillfeather", body="Quillfeather"),
        Message(
            id="m1",
            state=MessageState.FAILED,
            subject="Quillfeather",
            body="Quillfeather",
            detail="Quillfeather",
        ),
        Refused(code="refused-by-metriport", detail="Quillfeather"),
    )

    assert "Quillfeather" not in repr(values)
