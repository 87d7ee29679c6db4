"""The packaged templates on whatever a FHIR server may hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.attachment import Content
from adapter.domain.text import normalise
from adapter.mapping.engine import Mappings

MAPPINGS = Mappings(directory=None)
NOW = datetime(2026, 3, 1, 9, tzinfo=UTC).isoformat()
DOCUMENT = "01890a5d-ac96-774b-bcce-b302099a8057"

TRICKY = st.sampled_from(
    ['"', "\\", '","', "{{ 7 * 7 }}", "{% raw %}", "{#", "\x1d0:1\x1d", "\x1e", "\ud83d", "</script>"]
)
ANY_TEXT = st.lists(TRICKY | st.text(st.characters(exclude_categories=())), max_size=4).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)


def message(**changed: Any) -> dict[str, Any]:
    context: dict[str, Any] = {
        "destination": "results@direct.clinic.example",
        "subject": "Referral",
        "body": "Please see her.",
        "attachments": [],
        "npis": [],
        "communication": {"resourceType": "Communication"},
    }
    return MAPPINGS.render("outbound/message", **context | changed)


def test_the_packaged_mappings_make_what_their_examples_say() -> None:
    assert MAPPINGS.names() == [
        "inbound/communication",
        "inbound/documentreference",
        "inbound/task",
        "outbound/document",
        "outbound/message",
        "outbound/text",
    ]
    assert MAPPINGS.overridden() == []
    assert MAPPINGS.check() == []


@given(subject=ANY_TEXT, body=ANY_TEXT)
def test_a_text_is_never_read_as_template_or_json(subject: str, body: str) -> None:
    made = message(subject="S" + subject, body="B" + body)

    assert made["subject"] == normalise("S" + subject)
    assert made["body"] == normalise("B" + body)
    assert set(made) == {"destination", "subject", "body"}


def test_a_message_of_attachments_has_no_body() -> None:
    made = message(body=None, attachments=[DOCUMENT], npis=["1234567893 ", "\x00"])

    assert made == {
        "destination": "results@direct.clinic.example",
        "subject": "Referral",
        "attachments": [DOCUMENT],
        "intendedRecipientNpi": ["1234567893"],
    }


@given(text=ANY_TEXT)
def test_every_text_of_a_communication_arrives(text: str) -> None:
    communication = {"topic": {"text": text}, "payload": [{"contentString": text}, {"contentString": "end"}]}

    made = MAPPINGS.render("outbound/text", communication=communication, default_subject=None)

    assert made.get("subject", "") == normalise(text)
    assert made["body"] == "\n\n".join(filter(None, [normalise(text), "end"]))


@given(topic=JSON, payload=JSON, reason=JSON)
def test_no_communication_can_break_the_text_mapping(topic: Any, payload: Any, reason: Any) -> None:
    communication = {"topic": topic, "payload": payload, "reasonCode": reason}

    made = MAPPINGS.render("outbound/text", communication=communication, default_subject="Message")

    assert made["subject"]


def test_a_text_of_many_megabytes_is_a_matter_for_the_limits_and_not_for_the_sandbox() -> None:
    communication = {"payload": [{"contentString": "é" * 1_000_000}] * 3}

    made = MAPPINGS.render("outbound/text", communication=communication, default_subject=None)

    assert len(made["body"]) == 3_000_004


@given(title=st.none() | ANY_TEXT, created=st.none() | ANY_TEXT, kind=st.none() | ANY_TEXT, coding=JSON)
def test_no_document_can_break_its_announcement(
    title: str | None, created: str | None, kind: str | None, coding: Any
) -> None:
    codings = ({"code": coding, "display": coding}, {"system": coding})
    attachment = Content(
        where="payload[0]",
        content_type="application/pdf",
        data=b"%PDF",
        title=title,
        created=created,
        type_text=kind,
        type_codings=codings,
    )

    made = MAPPINGS.render("outbound/document", attachment=attachment, communication={}, now=NOW)

    assert made["type"]["text"]
    assert made["description"]
    assert made["context"]["period"]["start"].endswith("Z")
