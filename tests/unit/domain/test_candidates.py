"""Who may be meant: compared field by field, best first, never more than a person can look through."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given

from adapter.domain.candidates import MOST_CANDIDATES, Match, birth_date, compare, families, ranked
from tests.unit.domain.json_values import any_json

Json = dict[str, Any]

PERSON: Final[Json] = {
    "name": [{"family": "Müller-Ahorn", "given": ["Robin Kim", "Jo"]}],
    "birthDate": "1980-02-01",
    "gender": "female",
    "address": [{"postalCode": "04101-1234"}],
    "telecom": [
        {"system": "phone", "value": "+1 (207) 555-0101"},
        {"system": "email", "value": "r@x.example"},
    ],
}


def a_patient(id: str = "p", **elements: Any) -> Json:
    """A Patient who is that person, but for these elements."""
    return {"resourceType": "Patient", "id": id, **PERSON, **elements}


@given(any_json, any_json)
def test_any_resource_can_be_compared(one: Any, other: Any) -> None:
    person, patient = (
        {"name": x, "birthDate": x, "gender": x, "address": x, "telecom": x} for x in (one, other)
    )

    assert {*compare(person, patient).values()} <= {*Match}
    assert len(ranked(person, [patient, patient])) <= 1


def test_the_same_person_agrees_in_every_field() -> None:
    marks = compare(PERSON, a_patient())

    assert marks == dict.fromkeys(
        ["family", "given", "birthDate", "gender", "postalCode", "phone"], Match.AGREES
    )


@pytest.mark.parametrize(
    ("elements", "field", "mark"),
    [
        ({"name": [{"family": "MULLER AHORN"}]}, "family", Match.AGREES),
        ({"name": [{"family": "Ahorn"}]}, "family", Match.DIFFERS),
        ({"name": [{"given": ["kim"]}]}, "given", Match.AGREES),
        ({"name": [{"given": "Robin"}]}, "given", Match.MISSING),
        ({"name": []}, "family", Match.MISSING),
        ({"birthDate": "1980"}, "birthDate", Match.MISSING),
        ({"birthDate": "1980-02-02"}, "birthDate", Match.DIFFERS),
        ({"gender": "unknown"}, "gender", Match.MISSING),
        ({"gender": "male"}, "gender", Match.DIFFERS),
        ({"address": [{"postalCode": "04101"}]}, "postalCode", Match.AGREES),
        ({"address": [{"city": "Portland"}]}, "postalCode", Match.MISSING),
        ({"telecom": [{"system": "phone", "value": "207.555.0101"}]}, "phone", Match.AGREES),
        ({"telecom": [{"system": "phone", "value": "555-0101"}]}, "phone", Match.MISSING),
    ],
)
def test_a_field_agrees_differs_or_is_missing(elements: Json, field: str, mark: Match) -> None:
    assert compare(PERSON, a_patient(**elements))[field] is mark


def test_what_the_person_lacks_is_not_compared() -> None:
    assert compare({"gender": "unknown", "birthDate": "1980"}, a_patient()) == {}


def test_the_best_go_first_and_those_without_any_agreement_do_not_go_at_all() -> None:
    same, near = a_patient("same"), a_patient("near", birthDate="1981-01-01")
    other = {"resourceType": "Patient", "id": "other", "name": [{"family": "Else"}]}

    assert [one.id for one in ranked(PERSON, [other, near, same, near])] == ["same", "near"]


def test_those_who_carry_an_id_of_the_message_go_before_all_others() -> None:
    linked = {"resourceType": "Patient", "id": "linked", "name": [{"family": "Else"}]}

    found = ranked(PERSON, [a_patient("same"), linked], known=[linked])

    assert [one.id for one in found] == ["linked", "same"]
    assert (found[0].marks["identifier"], found[0].marks["family"]) == (Match.AGREES, Match.DIFFERS)
    assert [one.marks for one in ranked({}, [], known=[linked])] == [{"identifier": Match.AGREES}]


def test_there_are_never_too_many() -> None:
    found = ranked(PERSON, [a_patient(f"p{number:02}") for number in range(30, 0, -1)])

    assert [one.id for one in found] == [f"p{number:02}" for number in range(1, MOST_CANDIDATES + 1)]


@pytest.mark.parametrize("stated", ["1980", "1980-02", "soon", 1980, None])
def test_only_a_whole_date_is_searched_for(stated: object) -> None:
    assert birth_date({"birthDate": stated}) is None
    assert birth_date(PERSON) == "1980-02-01"
    assert families(PERSON) == ["Müller-Ahorn"]
