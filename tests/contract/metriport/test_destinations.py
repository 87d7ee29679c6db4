"""Contract §2: destinations, both ways to look one up."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.simulators.metriport import DEMO_NPI, DEMO_OID
from adapter.simulators.metriport import npi as numbers
from tests.contract.metriport.account import ADDRESS, OID, account, refused


def look_up(**body: Any) -> list[dict[str, Any]]:
    found = account().ask("POST", "message/destinations", body).json
    assert set(found) == {"destinations"}
    assert all(set(one) == {"name", "location", "destination"} for one in found["destinations"])
    return list(found["destinations"])


def entries(query: str = "") -> list[dict[str, Any]]:
    return list(account().ask("GET", f"network-entry?{query}").json["networkEntries"])


def test_by_npi_an_organisation_or_a_person() -> None:
    assert look_up(npi=DEMO_NPI) == [
        {"name": "Harbor Heart Clinic", "location": "Portland, ME", "destination": DEMO_OID}
    ]
    assert look_up(npi=numbers.made(9_999)) == []


@pytest.mark.parametrize("destination", [OID, ADDRESS, ADDRESS.upper()])
def test_a_destination_is_verified(destination: str) -> None:
    assert [one["destination"] for one in look_up(destination=destination)] == [destination.lower()]


@pytest.mark.parametrize("destination", ["2.999.7", "nobody@nowhere.example", f"{OID}.2"])
def test_one_that_nobody_has_or_that_takes_no_messages_is_not(destination: str) -> None:
    assert look_up(destination=destination) == []


def test_by_name_the_best_comes_first() -> None:
    found = look_up(organizationName="harbor heart")

    assert [one["name"] for one in found[:3]] == ["Harbor Heart Clinic", "Harbor Heart Clinic", "Harbor Heart Center"]  # fmt: skip
    assert {one["location"] for one in found} == {"Portland, ME", "Portland, OR", "Bangor, ME"}
    assert not any(one["name"].endswith("Records") for one in found)


def test_an_address_narrows() -> None:
    where = {"city": "portland", "state": "OR", "addressLine2": "Suite 9", "zip": ""}

    found = look_up(organizationName="Harbor Heart Clinic", address=where)

    assert {one["location"] for one in found} == {"Portland, OR"}


def test_people_by_last_name_and_state_look_alike() -> None:
    found = look_up(lastName="Nakamura", address={"state": "ME"})

    assert [one["destination"] for one in found] == [
        "ines.nakamura@harbor-heart.example",
        "imani.nakamura@harbor-heart.example",
        "ines.nakamura-reyes@harbor-heart.example",
    ]
    assert len(look_up(firstName="Imani", lastName="Nakamura", address={"state": "ME"})) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"npi": "123"},
        {"npi": 1234567893},
        {"npi": DEMO_NPI, "destination": OID},
        {"surprise": 1},
        {"lastName": "Nakamura"},
        {"lastName": "Nakamura", "address": {"city": "Portland"}},
        {"organizationName": 7},
        {"organizationName": "x", "address": "Portland"},
        {"organizationName": "x", "address": {"street": "Main"}},
        {"organizationName": "x", "address": {"zip": 4101}},
        {"organizationName": "x", "firstName": None},
    ],
)
def test_look_ups_that_say_too_little_or_too_much(body: dict[str, Any]) -> None:
    refused(account().ask("POST", "message/destinations", body))


def test_a_destination_of_another_type_is_nobodys() -> None:
    assert look_up(destination=7) == []


def test_an_entry_in_the_sdks_shape() -> None:
    (entry,) = entries(f"oid={OID}")

    assert entry == {
        "name": "Harbor Heart Clinic",
        "oid": OID,
        "npi": DEMO_NPI,
        "addressLine": "10 Main Street",
        "city": "Portland",
        "zipCode": "10137",
        "state": "ME",
        "rootOrganization": "Harbor Heart Clinic",
        "managingOrgOid": OID,
        "network": "EHEX",
        "supportsMessaging": True,
    }


def test_some_dozens_of_entries_with_valid_npis() -> None:
    found = entries()

    assert len(found) > 36
    assert all(numbers.is_valid(one["npi"]) for one in found)
    assert len({one["npi"] for one in found}) == len({one["oid"] for one in found}) == len(found)
    assert {one["network"] for one in found} == {"EHEX", "CAREQUALITY", "COMMONWELL"}
    assert sum("@" in one["oid"] for one in found) >= 5


def test_a_direct_address_is_found_as_an_entrys_oid() -> None:
    assert [one["name"] for one in entries(f"destination={ADDRESS.replace('@', '%40')}")] == ["Referrals"]
    assert [one["oid"] for one in entries(f"npi={DEMO_NPI}&filter=harbor+heart")] == [OID]


def test_entries_that_take_no_messages_or_are_closed() -> None:
    assert {one["supportsMessaging"] for one in entries("supportsMessaging=true")} == {True}
    assert {one["supportsMessaging"] for one in entries("supportsMessaging=false")} == {True, False}
    assert [one["name"] for one in entries("active=false")] == ["Capitol Internal Medicine Scheduling"]
    assert len(entries("active=true")) == len(entries()) - 1
    refused(account().ask("GET", "network-entry?active=perhaps"))


def test_entries_come_in_pages_of_100_or_as_asked() -> None:
    clinic = account()

    whole = clinic.ask("GET", "network-entry").json
    page = clinic.ask("GET", "network-entry?count=10").json

    assert "nextPage" not in whole["meta"]
    assert page["meta"]["itemsOnPage"] == 10
    assert page["meta"]["itemsInTotal"] == len(whole["networkEntries"])
    assert "fromItem=" in page["meta"]["nextPage"]
