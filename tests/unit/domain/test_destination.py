"""Destinations as recipients state them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.canonical import CONNECTION_TYPE, DIRECT_TELECOM, NPI_SYSTEM, URI_SYSTEM
from adapter.domain.destination import (
    INVALID,
    MOST_UNITS,
    Reading,
    distinct,
    npis_of,
    of_display,
    of_endpoint,
    of_identifiers,
    of_telecoms,
    parse,
    same,
)
from adapter.domain.resource import items
from adapter.domain.text import normalise, utf16_length
from tests.builders import NOW
from tests.unit.domain.json_values import any_object, any_text

ADDRESS = "intake@direct.lakeside.example"
OID = "2.16.840.1.113883.3.9999.7"


@pytest.mark.parametrize(
    ("stated", "destination"),
    [
        (OID, OID),
        (f"urn:oid:{OID}", OID),
        (f"URN:OID:{OID}", OID),
        (f"  {OID}\n", OID),
        ("0.9.2342", "0.9.2342"),
        (ADDRESS, ADDRESS),
        (f"mailto:{ADDRESS}", ADDRESS),
        (f"MailTo:{ADDRESS}", ADDRESS),
        ("Dr.O'Neil+fax_2@Direct.Lakeside.Example", "Dr.O'Neil+fax_2@Direct.Lakeside.Example"),
        ("a@b-c.d1.example", "a@b-c.d1.example"),
        ("a@1.example", "a@1.example"),
    ],
)
def test_reads_oids_and_direct_addresses(stated: str, destination: str) -> None:
    assert parse(stated) == destination


@pytest.mark.parametrize(
    "stated",
    [
        "",
        " ",
        "2.16",
        "3.16.840",
        "2.016.840",
        "2.16.840.",
        "2..840",
        ".16.840",
        "2.16.1٨",
        "2.16.840 and more",
        "urn:oid:",
        f"urn:oid:{ADDRESS}",
        f"urn:oid:mailto:{ADDRESS}",
        "urn:uuid:0195f2a0-7c1e-7a52-9d3b-5f60c2b1a001",
        f"mailto:{OID}",
        "mailto:",
        f"mailto:?to={ADDRESS}",
        f"mailto:{ADDRESS}?subject=x",
        f"mailto:{ADDRESS},{ADDRESS}",
        "https://lakeside.example/intake",
        "https://intake@lakeside.example/",
        "//intake@lakeside.example",
        "Lakeside Clinic",
        f"Intake <{ADDRESS}>",
        f"{ADDRESS}; other@direct.lakeside.example",
        "intake",
        "intake@",
        "@direct.lakeside.example",
        "intake@localhost",
        "intake@.example",
        "intake@lakeside..example",
        "intake@-lakeside.example",
        "intake@lakeside-.example",
        "intake@lakeside.-example",
        "intake@lakeside.example.",
        "in take@lakeside.example",
        "in\x00take@lakeside.example",
        "aufnähme@lakeside.example",
        "intake@läkeside.example",
        "a@b@lakeside.example",
        "a,b@lakeside.example",
    ],
)
def test_anything_else_is_no_destination(stated: str) -> None:
    assert parse(stated) is None


@pytest.mark.parametrize("prefix", ["", "mailto:"])
def test_an_address_has_at_most_255_units(prefix: str) -> None:
    domain = "@lakeside.example"
    longest = "x" * (MOST_UNITS - len(domain)) + domain

    assert parse(prefix + longest) == longest
    assert parse(f"{prefix}x{longest}") is None


@pytest.mark.parametrize("prefix", ["", "urn:oid:"])
def test_an_oid_has_at_most_255_units(prefix: str) -> None:
    longest = "2.16" + ".1" * 125 + "1"

    assert len(longest) == MOST_UNITS
    assert parse(prefix + longest) == longest
    assert parse(f"{prefix}{longest}1") is None


@given(st.one_of(any_text, st.emails(), st.from_regex(r"[0-2](\.\d{1,5}){1,6}", fullmatch=True)))
def test_what_is_read_is_read_again_as_it_is_and_metriport_keeps_it(stated: str) -> None:
    destination = parse(stated)

    assert destination is None or (
        parse(destination) == destination
        and normalise(destination) == destination
        and 1 <= utf16_length(destination) <= MOST_UNITS
    )


def test_destinations_are_compared_without_regard_to_case() -> None:
    assert same(ADDRESS, ADDRESS.upper())
    assert not same(ADDRESS, f"x{ADDRESS}")


@given(st.lists(st.sampled_from([OID, ADDRESS, ADDRESS.upper(), "b@lakeside.example"])))
def test_distinct_keeps_the_first_of_each_in_order(destinations: list[str]) -> None:
    found = distinct(destinations)

    assert len({one.casefold() for one in found}) == len(found)
    assert {one.casefold() for one in found} == {one.casefold() for one in destinations}
    assert found == sorted(found, key=destinations.index)


def endpoint(**overrides: Any) -> dict[str, Any]:
    return {
        "resourceType": "Endpoint",
        "status": "active",
        "connectionType": {"system": CONNECTION_TYPE, "code": "direct-project"},
        "address": f"mailto:{ADDRESS}",
        **overrides,
    }


@pytest.mark.parametrize(
    "overrides", [{}, {"address": ADDRESS}, {"connectionType": {"code": "direct-project"}}]
)
def test_an_active_direct_endpoint_states_its_address(overrides: dict[str, Any]) -> None:
    assert of_endpoint(endpoint(**overrides), now=NOW) == ADDRESS


@pytest.mark.parametrize(
    "overrides",
    [
        {"status": "off"},
        {"status": "suspended"},
        {"status": None},
        {"connectionType": {"system": CONNECTION_TYPE, "code": "hl7-fhir-rest"}},
        {"connectionType": {"system": "urn:other", "code": "direct-project"}},
        {"connectionType": {"system": ["urn:other"], "code": "direct-project"}},
        {"connectionType": None},
        {"period": {"end": "2026-02-28"}},
        {"period": {"start": "2026-03-02"}},
    ],
)
def test_an_endpoint_of_another_kind_or_time_states_nothing(overrides: dict[str, Any]) -> None:
    assert of_endpoint(endpoint(**overrides), now=NOW) is None


@pytest.mark.parametrize("address", ["https://lakeside.example/r4", "intake", "", None, 5])
def test_a_direct_endpoint_without_a_usable_address_is_invalid(address: object) -> None:
    assert of_endpoint(endpoint(address=address), now=NOW) is INVALID


def telecom(**overrides: Any) -> dict[str, Any]:
    return {
        "system": "email",
        "value": ADDRESS,
        "extension": [{"url": DIRECT_TELECOM, "valueBoolean": True}],
        **overrides,
    }


def test_a_telecom_with_the_direct_extension_states_its_address() -> None:
    holder = {"telecom": [telecom(), telecom(value="not an address"), telecom(use="work", value=OID)]}

    assert of_telecoms(holder, now=NOW, plain_email=False) == [ADDRESS, INVALID, OID]


@pytest.mark.parametrize(
    "overrides",
    [
        {"system": "phone"},
        {"use": "old"},
        {"period": {"end": "2025"}},
        {"value": " "},
        {"value": None},
        {"extension": [{"url": DIRECT_TELECOM, "valueBoolean": False}]},
        {"extension": [{"url": DIRECT_TELECOM, "valueString": "true"}]},
        {"extension": [{"url": "urn:other", "valueBoolean": True}]},
        {"extension": None},
    ],
)
def test_a_telecom_that_is_not_direct_or_not_in_use_states_nothing(overrides: dict[str, Any]) -> None:
    assert of_telecoms({"telecom": [telecom(**overrides)]}, now=NOW, plain_email=False) == []


def test_a_plain_email_counts_only_where_the_site_says_so() -> None:
    holder = {"telecom": [telecom(extension=None), telecom(system="phone")]}

    assert of_telecoms(holder, now=NOW, plain_email=True) == [ADDRESS]
    assert of_telecoms(holder, now=NOW, plain_email=False) == []


@pytest.mark.parametrize(
    ("identifier", "readings"),
    [
        ({"system": URI_SYSTEM, "value": f"urn:oid:{OID}"}, [OID]),
        ({"system": URI_SYSTEM, "value": f"mailto:{ADDRESS}"}, [ADDRESS]),
        ({"system": URI_SYSTEM, "value": f" urn:oid:{OID}"}, [OID]),
        ({"system": URI_SYSTEM, "value": "urn:oid:2.16"}, [INVALID]),
        ({"system": URI_SYSTEM, "value": "mailto:intake"}, [INVALID]),
        ({"system": URI_SYSTEM, "value": f"urn:oid:{OID}", "use": "old"}, []),
        ({"system": URI_SYSTEM, "value": "urn:uuid:0195f2a0-7c1e-7a52-9d3b-5f60c2b1a001"}, []),
        ({"system": URI_SYSTEM, "value": OID}, []),
        ({"system": URI_SYSTEM}, []),
        ({"system": "urn:other", "value": f"urn:oid:{OID}"}, []),
    ],
)
def test_a_uri_identifier_states_an_oid_or_an_address(
    identifier: dict[str, Any], readings: list[Reading]
) -> None:
    assert of_identifiers([identifier]) == readings


@pytest.mark.parametrize(
    ("display", "readings"),
    [
        (ADDRESS, [ADDRESS]),
        (f" {OID} ", [OID]),
        (f"Lakeside Clinic ({ADDRESS})", [None]),
        ("Lakeside Clinic", [None]),
        (" ", []),
        (None, []),
    ],
)
def test_a_display_counts_only_when_it_is_wholly_a_destination(
    display: object, readings: list[Reading]
) -> None:
    assert of_display({"display": display}) == readings


def test_npis_are_those_in_use() -> None:
    practitioner = {
        "identifier": [
            {"system": NPI_SYSTEM, "value": "1234567893"},
            {"system": NPI_SYSTEM, "value": "1093817465", "use": "old"},
            {"system": "urn:other", "value": "7"},
        ]
    }

    assert npis_of(practitioner) == ["1234567893"]


@given(resource=any_object, plain=st.booleans())
def test_readers_of_destinations_take_any_json(*, resource: dict[str, Any], plain: bool) -> None:
    direct = {**resource, "status": "active"}
    readings: list[Reading] = [
        of_endpoint(resource, now=NOW),
        of_endpoint(direct, now=NOW),
        *of_telecoms(resource, now=NOW, plain_email=plain),
        *of_identifiers(items(resource.get("identifier"))),
        *of_display(resource),
    ]

    assert all(one is None or one is INVALID or parse(str(one)) == one for one in readings)
    assert all(npis_of(resource))
