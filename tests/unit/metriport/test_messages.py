"""Messages, lists and documents as Metriport shows them, in both dialects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.message import MessageState
from adapter.metriport.wire import (
    Page,
    listing,
    read_documents,
    read_json,
    read_listing_page,
    read_message,
    read_place,
)

ID = "0190b1c2-0000-7000-8000-000000000001"
PATIENT = "0190b1c2-0000-7000-8000-00000000000a"
DOCUMENTS = ["0190b1c2-0000-7000-8000-0000000000d1", "0190b1c2-0000-7000-8000-0000000000d2"]


def message(**changes: Any) -> dict[str, Any]:
    return {
        "id": ID,
        "patientId": PATIENT,
        "direction": "outbound",
        "status": "processing",
        "transportMethod": "direct",
        "destination": "ward@direct.example",
        "subject": "Referral",
        "body": "Please see.",
        "attachments": DOCUMENTS,
        "sentAt": "2026-07-01T12:00:00.000Z",
        "updatedAt": "2026-07-01T12:05:00Z",
    } | changes


def communication(**changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "Communication",
        "id": ID,
        "status": "in-progress",
        "subject": {"reference": f"Patient/{PATIENT}"},
        "topic": {"text": "Referral"},
        "recipient": [
            {"type": "Practitioner", "display": "1234567893"},
            {"type": "Organization", "display": "ward@direct.example"},
        ],
        "sent": "2026-07-01T12:00:00Z",
        "received": "2026-07-01T12:05:00Z",
        "payload": [
            {"contentString": "Please see."},
            {"contentReference": {"reference": f"DocumentReference/{DOCUMENTS[0]}"}},
            {"contentReference": {"reference": f"https://m.test/fhir/DocumentReference/{DOCUMENTS[1]}"}},
        ],
    } | changes


BOTH = pytest.mark.parametrize(
    "shown", [message(), communication(), {"communication": communication()}], ids=["sdk", "docs", "wrapped"]
)


@BOTH
def test_both_dialects_say_the_same(shown: dict[str, Any]) -> None:
    found = read_message(shown)

    assert found is not None
    assert found.id == ID
    assert found.state is MessageState.PROCESSING
    assert found.patient == PATIENT
    assert found.destination == "ward@direct.example"
    assert found.subject == "Referral"
    assert found.body == "Please see."
    assert found.attachments == frozenset(DOCUMENTS)
    assert found.sent_at == datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert found.completed_at is None


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("processing", MessageState.PROCESSING),
        ("in-progress", MessageState.PROCESSING),
        ("completed", MessageState.COMPLETED),
        ("COMPLETED", MessageState.COMPLETED),
        ("failed", MessageState.FAILED),
        ("stopped", MessageState.FAILED),
        ("not-done", MessageState.FAILED),
        ("entered-in-error", MessageState.FAILED),
        ("on-hold", MessageState.PROCESSING),
        ("something new", MessageState.PROCESSING),
        (None, MessageState.PROCESSING),
        (["completed"], MessageState.PROCESSING),
    ],
)
@pytest.mark.parametrize("shape", [message, communication])
def test_the_status_tables_of_both_dialects(shape: Any, status: object, state: MessageState) -> None:
    found = read_message(shape(status=status))

    assert found is not None
    assert found.state is state


@pytest.mark.parametrize(
    ("shown", "at"),
    [
        (message(status="completed"), datetime(2026, 7, 1, 12, 5, tzinfo=UTC)),
        (
            message(status="failed", completedAt="2026-07-01T14:04:00+02:00"),
            datetime(2026, 7, 1, 12, 4, tzinfo=UTC),
        ),
        (communication(status="completed"), datetime(2026, 7, 1, 12, 5, tzinfo=UTC)),
        (message(status="completed", updatedAt="yesterday"), None),
        (message(status="completed", updatedAt=7), None),
        (message(status="completed", updatedAt="0001-01-01T00:00:00+14:00"), None),
        (
            message(status="completed", updatedAt="2026-07-01T12:05:00"),
            datetime(2026, 7, 1, 12, 5, tzinfo=UTC),
        ),
    ],
)
def test_the_end_of_a_message_is_in_utc_and_absent_when_unreadable(
    shown: dict[str, Any], at: datetime | None
) -> None:
    found = read_message(shown)

    assert found is not None
    assert found.completed_at == at


@pytest.mark.parametrize(
    ("shown", "detail"),
    [
        (message(status="failed", reason="No such mailbox."), "No such mailbox."),
        (communication(status="stopped", statusReason={"text": "No such mailbox."}), "No such mailbox."),
        (communication(statusReason={"coding": [{"code": "x"}, {"display": "Bounced"}]}), "Bounced"),
        (message(reason="\x00"), None),
        (message(), None),
    ],
)
def test_the_reason_of_a_failure(shown: dict[str, Any], detail: str | None) -> None:
    found = read_message(shown)

    assert found is not None
    assert found.detail == detail


def test_texts_are_normalised_as_metriport_does() -> None:
    found = read_message(message(subject=" Refer\x07ral ", body="\n"))

    assert found is not None
    assert found.subject == "Referral"
    assert found.body == ""


def test_several_parts_of_a_payload_are_one_body() -> None:
    found = read_message(communication(payload=[{"contentString": "One."}, {"contentString": "Two."}, {}]))

    assert found is not None
    assert found.body == "One.\n\nTwo."


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": None, "recipient": None, "payload": None},
        {"subject": {"reference": "Group/1"}, "recipient": [{"type": "Practitioner"}], "payload": [{}]},
        {"subject": {}, "recipient": [{"type": "Practitioner", "display": "1"}], "payload": []},
        {"subject": {"reference": 7}, "recipient": [{"display": 7}], "payload": [{"contentReference": "x"}]},
        {"subject": {"reference": "Patient/"}, "recipient": "x", "payload": "x"},
    ],
)
def test_what_an_inbound_or_odd_message_lacks_reads_as_absent(changes: dict[str, Any]) -> None:
    found = read_message(communication(**changes))

    assert found is not None
    assert (found.patient, found.destination, found.attachments) == (None, None, frozenset())


@pytest.mark.parametrize("shown", [None, [], "x", 7, {}, {"id": ""}, {"id": 7}, {"id": "a b"}, {"id": "é"}])
def test_what_has_no_id_is_no_message(shown: object) -> None:
    assert read_message(shown) is None


def test_contents_stay_out_of_the_repr() -> None:
    found = read_message(message(subject="SUBJECT", body="BODY", reason="DETAIL"))

    assert not [word for word in ("SUBJECT", "BODY", "DETAIL") if word in repr(found)]


def page(*rows: object, **meta: object) -> dict[str, Any]:
    return {"meta": meta, "messages": list(rows)}


def test_a_page_has_its_messages_the_total_and_the_way_on() -> None:
    found = read_listing_page(
        page(message(), communication(id="2"), itemsInTotal=3, nextPage="https://m.test/2")
    )

    assert found is not None
    assert [one.id for one in found.messages] == [ID, "2"]
    assert (found.unreadable, found.total, found.next_page) == (0, 3, "https://m.test/2")


@pytest.mark.parametrize(
    "shown", [None, [], {}, {"messages": None}, {"messages": {}}, {"message": "Forbidden"}]
)
def test_what_has_no_rows_is_no_page(shown: object) -> None:
    assert read_listing_page(shown) is None


@pytest.mark.parametrize(
    "shown",
    [
        page(message(), {"no": "id"}),
        page(message(), "x"),
        page(message(), nextPage=7),
        page(message(), nextPage=""),
        {"messages": [message()]},
        {"messages": [message()], "meta": None},
    ],
)
def test_a_list_with_something_unreadable_is_not_whole(shown: object) -> None:
    found = read_listing_page(shown)

    assert found is not None
    assert listing([found]).whole is False


@pytest.mark.parametrize(
    ("pages", "whole", "ids"),
    [
        ([page()], True, []),
        ([page(itemsInTotal=0)], True, []),
        ([page(message(), itemsInTotal=1, nextPage=None)], True, [ID]),
        ([page(message(), itemsInTotal=2)], False, [ID]),
        ([page(itemsInTotal=1)], False, []),
        ([page(message(), message(id="2"), itemsInTotal=1)], False, [ID, "2"]),
        ([page(message(), nextPage="https://m.test/2")], False, [ID]),
        ([page(message(), itemsInTotal=2, nextPage="/2"), page(message(id="2"))], True, [ID, "2"]),
        ([page(message(), itemsInTotal=2, nextPage="/2"), page(message())], False, [ID]),
        (
            [page(message(), itemsInTotal=1, nextPage="/2"), page(message(id="2"), itemsInTotal=2)],
            False,
            [ID, "2"],
        ),
    ],
)
def test_a_list_is_whole_when_it_was_read_to_its_end_and_adds_up(
    pages: list[dict[str, Any]], *, whole: bool, ids: list[str]
) -> None:
    read = [one for shown in pages if (one := read_listing_page(shown))]

    found = listing(read)

    assert found.whole is whole
    assert [one.id for one in found.messages] == ids
    assert found.pages == len(pages)


def test_no_page_at_all_is_no_whole_list() -> None:
    assert listing([]).whole is False


def test_a_row_listed_twice_counts_once_as_last_seen() -> None:
    pages = [
        Page(messages=tuple(one for row in rows if (one := read_message(row))), next_page=next_page)
        for rows, next_page in (([message()], "/2"), ([message(status="completed")], None))
    ]

    found = listing(pages)

    assert [one.state for one in found.messages] == [MessageState.COMPLETED]


def test_the_place_of_a_new_document() -> None:
    found = read_place(
        {"documentReferenceId": DOCUMENTS[0], "uploadUrl": "https://s3.test/x?signature=SECRET"}
    )

    assert found is not None
    assert (found.document_id, found.url) == (DOCUMENTS[0], "https://s3.test/x?signature=SECRET")
    assert "SECRET" not in repr(found)


@pytest.mark.parametrize(
    "shown",
    [
        None,
        [],
        {},
        {"documentReferenceId": "1"},
        {"uploadUrl": "https://s3.test"},
        {"documentReferenceId": 1},
    ],
)
def test_an_answer_without_id_or_url_names_no_place(shown: object) -> None:
    assert read_place(shown) is None


def test_documents_are_known_by_their_ids() -> None:
    rows = [{"resourceType": "DocumentReference", "id": "1"}, {"id": "2", "fileName": "x"}, {"id": 3}, "x"]

    assert read_documents({"documents": rows}) == frozenset({"1", "2"})


@pytest.mark.parametrize("shown", [None, [], {}, {"documents": None}])
def test_what_has_no_documents_is_no_list(shown: object) -> None:
    assert read_documents(shown) is None


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000, b'{"a":' * 50_000])
def test_bytes_that_are_no_json_read_as_nothing(body: bytes) -> None:
    assert read_json(body) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["Patient/1", ID]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@st.composite
def mangled(draw: st.DrawFn) -> dict[str, Any]:
    """A real message in which any elements were replaced by anything."""
    shown: dict[str, Any] = draw(st.sampled_from([message(), communication()]))
    changes = draw(st.dictionaries(st.sampled_from(sorted(shown)), JSON))
    return shown | changes


@given(mangled() | JSON)
def test_no_json_makes_the_readers_fail(shown: Any) -> None:
    read_message(shown)
    read_message({"communication": shown})
    read_place(shown)
    read_documents({"documents": shown})
    found = read_listing_page({"meta": shown, "messages": [shown]})
    assert found is not None
    listing([found])


def test_nested_to_the_bottom_is_still_no_failure() -> None:
    deep: object = read_json(b"[" * 900 + b"]" * 900)

    found = read_message({"id": ID, "status": deep, "subject": deep, "reason": deep})

    assert found is not None
    assert found.state is MessageState.PROCESSING
