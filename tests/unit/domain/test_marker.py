"""The marker by which an author opts in, and the codes beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from adapter.domain.canonical import (
    CHANNEL_SYSTEM,
    COMMUNICATION_ID,
    DIRECTION_SYSTEM,
    INSTRUCTION_SYSTEM,
    OWN_ID,
    own_id,
)
from adapter.domain.marker import (
    Marker,
    MarkerElement,
    is_inbound,
    is_sent_elsewhere,
    wants_resend,
    without_resend,
)
from tests.builders import communication, concept
from tests.unit.domain.json_values import any_object

RESEND = {"system": INSTRUCTION_SYSTEM, "code": "resend"}


def test_the_marker_is_a_medium_unless_a_site_says_otherwise() -> None:
    assert Marker().on(communication())
    assert Marker().search("preparation") == [
        ("status", "preparation"),
        ("medium", f"{CHANNEL_SYSTEM}|metriport"),
    ]


def test_a_site_may_mark_by_category() -> None:
    marker = Marker(element=MarkerElement.CATEGORY, system="urn:site", code="direct")

    assert marker.on(communication(category=[concept("urn:site", "direct")]))
    assert not marker.on(communication(medium=[concept("urn:site", "direct")]))
    assert marker.search("in-progress") == [("status", "in-progress"), ("category", "urn:site|direct")]


@pytest.mark.parametrize(
    "medium",
    [
        None,
        [],
        [concept(CHANNEL_SYSTEM, "fax")],
        [concept("urn:other", "metriport")],
        [{"text": "metriport"}],
        concept(CHANNEL_SYSTEM, "metriport"),
    ],
)
def test_nothing_else_is_the_marker(medium: object) -> None:
    assert not Marker().on(communication(medium=medium))


def test_inbound_is_what_the_adapter_received() -> None:
    assert is_inbound(communication(category=[concept(DIRECTION_SYSTEM, "inbound")]))
    assert not is_inbound(communication(category=[concept(DIRECTION_SYSTEM, "outbound")]))
    assert not is_inbound(communication())


@pytest.mark.parametrize(
    ("kind", "is_kind"), [("communication", is_inbound), ("sent-elsewhere", is_sent_elsewhere)]
)
def test_what_the_adapter_shows_is_known_by_its_own_id_as_well(
    kind: str, is_kind: Callable[[dict[str, Any]], bool]
) -> None:
    """Somebody may save it without its category: it is no wish all the same."""
    told = [{"system": COMMUNICATION_ID, "value": "message"}]
    own = {"system": OWN_ID, "value": own_id(kind, "message")}

    assert is_kind(communication(id=own_id(kind, "message"), identifier=told))
    assert is_kind(communication(id="3", identifier=[*told, own]))
    assert not is_kind(communication(id=own_id(kind, "another"), identifier=told))
    assert not is_kind(communication(id="3", identifier=told))


def test_a_resend_is_an_instruction_in_category() -> None:
    assert wants_resend(communication(category=[concept("urn:site", "note"), {"coding": [RESEND]}]))
    assert not wants_resend(communication(category=[concept("urn:site", "resend")]))
    assert not wants_resend(communication())


@pytest.mark.parametrize(
    ("category", "kept"),
    [
        ([{"coding": [RESEND]}], []),
        ([{"coding": [RESEND], "text": "once more"}], []),
        ([concept("urn:site", "note"), {"coding": [RESEND]}], [concept("urn:site", "note")]),
        (
            [{"coding": [{"system": "urn:site", "code": "again"}, RESEND], "text": "once more"}],
            [{"coding": [{"system": "urn:site", "code": "again"}], "text": "once more"}],
        ),
        ([None, {"text": "x"}], [None, {"text": "x"}]),
        (None, []),
    ],
)
def test_taking_the_resend_out_leaves_what_is_the_authors(category: object, kept: list[Any]) -> None:
    assert without_resend(communication(category=category)) == kept


@given(any_object)
def test_readers_of_codes_take_any_json(resource: dict[str, Any]) -> None:
    assert {Marker().on(resource), is_inbound(resource), wants_resend(resource)} <= {True, False}
    assert not wants_resend({"category": without_resend(resource)})
