"""What the adapter makes of a received message by itself, whatever a mapping made of it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from adapter.domain.canonical import COMMUNICATION_ID, DIRECTION_SYSTEM, DOCUMENT_ID, TASK_SYSTEM
from adapter.domain.inbox import (
    Kept,
    chosen,
    codes,
    lost_message_task,
    organization,
    owned_by,
    owned_communication,
    owned_document,
    owned_task,
    recipient_practitioner,
    saved,
    told,
    transaction,
)
from adapter.domain.marker import Marker, MarkerElement, is_inbound
from adapter.domain.received import Enclosure, Named, Received
from adapter.domain.resource import LocalReference
from adapter.mapping import resources

Json = dict[str, Any]

NOW: Final = datetime(2026, 3, 1, 9, tzinfo=UTC)
MESSAGE: Final = Received(id="m-1", subject="Result", body="See it.")
DOCUMENTS: Final[list[Json]] = [{"reference": "DocumentReference/1"}, {"reference": "DocumentReference/2"}]
KEPT: Final = Kept(
    id="d",
    binary="b",
    size=3,
    sha1=bytes(20),
    content_type="text/plain",
    enclosure=Enclosure(source=Named(document="x"), document="x"),
)


def test_times_of_a_message_that_tells_none() -> None:
    late = replace(MESSAGE, sent_at=NOW, received_at=NOW + timedelta(seconds=5))

    assert (told(MESSAGE, at=NOW)["sent"], told(MESSAGE, at=NOW)["received"]) == (
        None,
        "2026-03-01T09:00:00.000Z",
    )
    assert told(late, at=NOW)["sent"] == "2026-03-01T09:00:00.000Z"
    assert told(late, at=NOW)["received"] == "2026-03-01T09:00:05.000Z"


@pytest.mark.parametrize(
    ("address", "display", "value", "shown"),
    [
        ("a@b.example", None, "mailto:a@b.example", "a@b.example"),
        ("a@b.example", "Ward", "mailto:a@b.example", "Ward"),
        ("1.2.840.1", None, "urn:oid:1.2.840.1", "1.2.840.1"),
        ("Lakeside Clinic", None, None, "Lakeside Clinic"),
        ("a@b.example, c@d.example", None, None, "a@b.example, c@d.example"),
        (None, "Ward", None, "Ward"),
    ],
)
def test_only_an_address_states_a_destination(
    address: str | None, display: str | None, value: str | None, shown: str
) -> None:
    found = organization(address, display=display)

    assert found is not None
    assert found["display"] == shown
    assert found.get("identifier", {}).get("value") == value


def test_nobody_is_no_organization() -> None:
    assert organization(None) is None
    assert organization("", display="") is None


def test_a_practitioner_is_a_reference_or_an_npi() -> None:
    known = recipient_practitioner("1234567893", LocalReference(type="Practitioner", id="p"))
    other = recipient_practitioner("1234567893", None)

    assert known == {"reference": "Practitioner/p"}
    assert other["identifier"]["value"] == "1234567893"


@pytest.mark.parametrize("element", [*MarkerElement])
def test_an_inbound_message_carries_the_marker_and_its_direction(element: MarkerElement) -> None:
    marker = Marker(element=element)

    assert marker.on(codes(marker))
    assert is_inbound(codes(marker))


@pytest.mark.parametrize(
    "made", [{}, {"status": "preparation", "id": "x", "category": [], "payload": "x", "identifier": [7]}]
)
def test_a_mapping_cannot_make_an_inbound_message_an_outbound_one_or_lose_a_part(made: Json) -> None:
    found = owned_communication(made, MESSAGE, DOCUMENTS)

    assert (found["id"], found["status"], is_inbound(found)) == (MESSAGE.communication, "completed", True)
    assert found["identifier"] == [{"system": COMMUNICATION_ID, "value": "m-1"}]
    assert [part["contentReference"] for part in found["payload"]] == DOCUMENTS


def test_what_a_mapping_made_well_is_left_as_it_is() -> None:
    made = {
        "category": [{"coding": [{"system": DIRECTION_SYSTEM, "code": "inbound"}]}],
        "identifier": [{"system": COMMUNICATION_ID, "value": "m-1"}, {"system": "urn:own", "value": "1"}],
        "payload": [
            {"contentReference": DOCUMENTS[1]},
            {"contentString": "x"},
            {"contentReference": DOCUMENTS[0]},
        ],
    }

    found = owned_communication(made, MESSAGE, DOCUMENTS)

    assert {name: found[name] for name in made} == made
    assert "payload" not in owned_communication({}, MESSAGE, [])


def test_a_document_leads_to_its_bytes_whatever_a_mapping_made() -> None:
    other: Json = {"attachment": {"url": "https://own.example/copy"}}
    made = {"content": [{"attachment": {"title": "a", "url": "x"}, "format": {"code": "f"}}, other]}

    found = owned_document(made, KEPT)

    assert found["content"][0] == {"attachment": {"title": "a", "url": "Binary/b"}, "format": {"code": "f"}}
    assert found["content"][1] == other
    assert found["identifier"] == [{"system": DOCUMENT_ID, "value": "x"}]
    assert (KEPT.attachment["url"], KEPT.attachment["size"]) == ("Binary/b", 3)
    unnamed = owned_document({}, replace(KEPT, enclosure=Enclosure(source=Named(document="x"))))
    assert unnamed["content"] == [{"attachment": {"url": "Binary/b"}}]
    assert "identifier" not in unnamed


def test_the_task_asks_about_the_message_whatever_a_mapping_made() -> None:
    found = owned_task(
        {"status": "completed", "focus": {"reference": "Communication/x"}}, id="t", communication="c"
    )

    assert (found["id"], found["status"], found["focus"]) == (
        "t",
        "requested",
        {"reference": "Communication/c"},
    )


CHOICE: Final = {"coding": [{"system": TASK_SYSTEM, "code": "choice"}]}


@pytest.mark.parametrize(
    ("output", "references"),
    [
        ([{"type": CHOICE, "valueReference": {"reference": "Patient/p"}}], ["Patient/p"]),
        ([{"type": {"text": "choice"}, "valueReference": {"reference": "Patient/p"}}], ["Patient/p"]),
        (
            [{"type": CHOICE, "valueReference": {"reference": f"Patient/{id}"}} for id in "pq"],
            ["Patient/p", "Patient/q"],
        ),
        ([{"type": {"text": "note"}, "valueReference": {"reference": "Patient/p"}}], []),
        ([{"valueReference": {"reference": "Patient/p"}}], []),
        ([{"type": CHOICE, "valueString": "p"}], [None]),
        ("x", []),
        (None, []),
    ],
)
def test_the_choices_in_a_task(output: object, references: list[str | None]) -> None:
    assert [one.get("reference") for one in chosen({"output": output})] == references


def test_the_task_about_a_lost_message_is_valid_and_says_what_to_do() -> None:
    found = lost_message_task("m-1", why="its links are dead", at=NOW)

    assert list(resources.problems(found)) == []
    assert "its links are dead" in found["description"]
    assert found["id"] == lost_message_task("m-1", why="another", at=NOW + timedelta(days=1))["id"]


def test_entries_of_a_transaction() -> None:
    resource = {"resourceType": "Task", "id": "t"}
    owner = owned_by("b", "Patient/p")

    assert saved(resource)["request"] == {"method": "PUT", "url": "Task/t"}
    assert saved(resource, version="3")["request"] == {"method": "PUT", "url": "Task/t", "ifMatch": 'W/"3"'}
    assert owner["request"] == {"method": "PATCH", "url": "Binary/b"}
    [patch] = json.loads(base64.b64decode(owner["resource"]["data"]))
    assert (patch["path"], patch["value"]) == ("/securityContext", {"reference": "Patient/p"})
    assert transaction([owner])["type"] == "transaction"
