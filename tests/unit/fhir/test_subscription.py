"""The Subscription as it should be."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.canonical import CHANNEL_SYSTEM
from adapter.domain.marker import Marker, MarkerElement
from adapter.domain.resource import Resource
from adapter.errors import ConfigError
from adapter.fhir.subscription import criteria, differences, repaired, wanted

SECRET = "a-secret-of-the-doorbell"


def subscription(
    *, public_url: str = "https://adapter.example.org", secret: str = SECRET, payload: bool = True
) -> Resource:
    return wanted(Marker(), public_url=public_url, secret=secret, payload=payload)


def test_it_asks_for_what_the_sweep_searches() -> None:
    assert subscription()["criteria"] == f"Communication?status=preparation&medium={CHANNEL_SYSTEM}|metriport"


def test_another_marker_and_narrowing_parameters_are_in_the_criteria() -> None:
    marker = Marker(element=MarkerElement.CATEGORY, system="urn:x", code="send")

    assert (
        criteria(marker, extra=[("sent", "gt2026-01-01T00:00:00+01:00"), ("subject", "Patient/1")])
        == "Communication?status=preparation&category=urn:x|send&sent=gt2026-01-01T00:00:00%2B01:00&subject=Patient/1"
    )


@given(st.lists(st.tuples(st.text(), st.text())), st.text(), st.text())
def test_criteria_decode_to_the_parameters(extra: list[tuple[str, str]], system: str, code: str) -> None:
    marker = Marker(system=system, code=code)
    _, _, query = criteria(marker, extra=extra).partition("?")

    assert parse_qsl(query, keep_blank_values=True) == [*marker.search("preparation"), *extra]


def test_it_rings_with_the_secret() -> None:
    assert subscription()["channel"] == {
        "type": "rest-hook",
        "endpoint": "https://adapter.example.org/doorbell",
        "payload": "application/fhir+json",
        "header": [f"Authorization: Bearer {SECRET}"],
    }


def test_without_a_payload_none_is_asked_for() -> None:
    assert "payload" not in subscription(payload=False)["channel"]


def test_its_id_follows_from_the_endpoint_alone() -> None:
    first = subscription()["id"]

    assert (
        subscription(public_url="https://adapter.example.org/", secret="another", payload=False)["id"]
        == first
    )
    assert subscription(public_url="https://other.example.org")["id"] != first


@pytest.mark.parametrize("secret", ["", "a b", "a\r\nX-Other: y", "geheimnisträger", "tab\t"])
def test_a_secret_that_no_header_can_carry_is_a_wrong_setting(secret: str) -> None:
    with pytest.raises(ConfigError, match=r"watch\.doorbell_secret"):
        subscription(secret=secret)


def test_an_address_that_cannot_be_rung_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match=r"web\.public_url"):
        subscription(public_url="adapter.example.org")


def test_what_the_server_adds_is_no_difference() -> None:
    here = subscription()
    there = {
        **here,
        "meta": {"versionId": "2"},
        "status": "active",
        "channel": {**here["channel"], "extension": []},
    }

    assert differences(there, here) == ()


@pytest.mark.parametrize("status", ["error", "off"])
def test_a_stopped_one_is_different(status: str) -> None:
    assert differences({**subscription(), "status": status}, subscription()) == ("status",)


def test_each_difference_is_named() -> None:
    there = {
        "status": "active",
        "criteria": "Communication?",
        "end": "2026-01-01T00:00:00Z",
        "channel": {"type": "email"},
    }

    assert differences(there, subscription()) == (
        "channel.type",
        "channel.endpoint",
        "channel.payload",
        "channel.header",
        "criteria",
        "end",
    )


def test_repair_keeps_what_is_not_the_adapters() -> None:
    here = subscription(payload=False)
    there = {
        "resourceType": "Subscription",
        "id": "given-by-the-server",
        "meta": {"versionId": "3"},
        "status": "error",
        "error": "gave up",
        "end": "2026-01-01T00:00:00Z",
        "contact": [{"system": "phone", "value": "1"}],
        "channel": {"payload": "application/fhir+json", "extension": [{"url": "urn:x"}]},
    }

    mended = repaired(there, here)

    assert differences(mended, here) == ()
    assert (mended["id"], mended["meta"], mended["status"]) == (
        "given-by-the-server",
        {"versionId": "3"},
        "requested",
    )
    assert mended["contact"] == there["contact"]
    assert mended["channel"]["extension"] == [{"url": "urn:x"}]
    assert "error" not in mended
