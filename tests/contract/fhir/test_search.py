"""Searches: what they find, in which order, page by page. https://hl7.org/fhir/R4/search.html"""

from __future__ import annotations

import pytest

from tests.contract.fhir.server import NO_CACHE, Fhir, body, refused


@pytest.fixture
def people(fhir: Fhir) -> Fhir:
    """Two patients, a practitioner with a role, and what refers to them; `{tag}` in a query is this test's own."""
    tag = fhir.tag
    name = [{"family": "O'Brien-Ångström", "given": ["Zoë", "Mary Ann"]}, {"text": "Nick"}]
    mine = [{"system": f"urn:{tag}", "value": "1"}, {"value": f"bare{tag}"}]
    fhir.stored("Patient", "p1", identifier=mine, name=name, birthDate="1980-02-03", gender="female")
    second = [{"system": f"urn:{tag}", "value": "2"}]
    fhir.stored(
        "Patient", "p2", identifier=second, name=[{"family": "Obrien"}], birthDate="1980-02", active=True
    )
    fhir.stored(
        "Practitioner", "d1", identifier=[{"system": "http://hl7.org/fhir/sid/us-npi", "value": f"1{tag}"}]
    )
    fhir.stored("Organization", "o1", identifier=[{"system": "urn:o", "value": tag}], name=f"Clinic {tag}")
    role = {"practitioner": {"reference": f"Practitioner/d1-{tag}"}}
    fhir.stored("PractitionerRole", "r1", **role, organization={"reference": f"Organization/o1-{tag}"})
    return fhir


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("identifier=urn:{tag}|1", ["p1"]),
        ("identifier=urn:{tag}|", ["p1", "p2"]),
        ("identifier=bare{tag}", ["p1"]),
        ("identifier=|bare{tag}", ["p1"]),
        ("identifier=|1&family=obrien&identifier=urn:{tag}|", []),
        ("identifier=urn:{tag}|1,urn:{tag}|2", ["p1", "p2"]),
        ("identifier=urn:{tag}|1&identifier=bare{tag}", ["p1"]),
        ("identifier=urn:{tag}|1&identifier=urn:{tag}|2", []),
        ("identifier=URN:{tag}|1", []),
        ("identifier=urn:{tag}|&family=o'brien", ["p1"]),
        ("identifier=urn:{tag}|&family=O'BRIEN-ANGSTROM", ["p1"]),
        ("identifier=urn:{tag}|&family=angstrom", []),
        ("identifier=urn:{tag}|&family=zzz,obrien", ["p2"]),
        ("identifier=urn:{tag}|&family:exact=Obrien", ["p2"]),
        ("identifier=urn:{tag}|&family:exact=obrien", []),
        ("identifier=urn:{tag}|&family:contains=brien", ["p1", "p2"]),
        ("identifier=urn:{tag}|&family=", ["p1", "p2"]),
        ("identifier=urn:{tag}|&given=zoe", ["p1"]),
        ("identifier=urn:{tag}|&given=mary", ["p1"]),
        ("identifier=urn:{tag}|&given=ann", []),
        ("identifier=urn:{tag}|&name=nick", ["p1"]),
        ("identifier=urn:{tag}|&birthdate=1980-02-03", ["p1"]),
        ("identifier=urn:{tag}|&birthdate=1980-02", ["p1", "p2"]),
        ("identifier=urn:{tag}|&birthdate=1980", ["p1", "p2"]),
        ("identifier=urn:{tag}|&birthdate=1981", []),
        ("identifier=urn:{tag}|&birthdate=ge1980-02-01", ["p1", "p2"]),
        ("identifier=urn:{tag}|&birthdate=lt1980-02-03", ["p2"]),
        ("identifier=urn:{tag}|&birthdate=gt1980-02-03", ["p2"]),
        ("identifier=urn:{tag}|&birthdate=le1980-02-03", ["p1", "p2"]),
        ("identifier=urn:{tag}|&birthdate=eq1980-02-03", ["p1"]),
        ("identifier=urn:{tag}|&gender=female", ["p1"]),
        ("identifier=urn:{tag}|&gender=male,female", ["p1"]),
        ("identifier=urn:{tag}|&gender=FEMALE", []),
        ("identifier=urn:{tag}|&gender:not=female", ["p2"]),
        ("identifier=urn:{tag}|&active=true", ["p2"]),
        ("identifier=urn:{tag}|&_id=p1-{tag}", ["p1"]),
        ("_id=p1-{tag},p2-{tag}", ["p1", "p2"]),
        ("identifier=urn:{tag}|&_lastUpdated=gt2020-01-01", ["p1", "p2"]),
        ("identifier=urn:{tag}|&_lastUpdated=lt2020-01-01T00:00:00Z", []),
        ("identifier=urn:{tag}|&_lastUpdated=gt2020-01-01T10:30:00.5%2B01:00", ["p1", "p2"]),
        ("identifier=urn:{tag}|&_lastUpdated=gt2020-01-01T10:30", ["p1", "p2"]),
        ("identifier=urn:{tag}|&birthdate=ne1980-02-03", ["p2"]),
        ("identifier=urn:{tag}|&_nonesuch=1", ["p1", "p2"]),
    ],
)
def test_patients_are_found_by(people: Fhir, query: str, found: list[str]) -> None:
    assert sorted(people.found(f"Patient?{query.format(tag=people.tag)}")) == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|1{tag}", ["d1"]),
        ("PractitionerRole?practitioner=Practitioner/d1-{tag}", ["r1"]),
        ("PractitionerRole?practitioner=d1-{tag}", ["r1"]),
        ("PractitionerRole?practitioner:Practitioner=d1-{tag}", ["r1"]),
        ("PractitionerRole?practitioner=Practitioner/d1-{tag},Practitioner/none", ["r1"]),
        ("PractitionerRole?practitioner=Practitioner/none-{tag}", []),
        ("PractitionerRole?organization=Organization/o1-{tag}", ["r1"]),
        ("Organization?identifier=urn:o|{tag}", ["o1"]),
        ("Organization?name=clinic {tag}", ["o1"]),
    ],
)
def test_practitioners_and_organizations_are_found_by(people: Fhir, query: str, found: list[str]) -> None:
    assert people.found(query.format(tag=people.tag)) == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=preparation&medium=urn:m|{tag}", ["c1"]),
        ("status=preparation,completed&medium=urn:m|{tag}", ["c1", "c2"]),
        ("status:not=preparation&medium=urn:m|{tag}", ["c2"]),
        ("medium={tag}", ["c1", "c2"]),
        ("medium=|{tag}", []),
        ("category=urn:c|{tag}", ["c1"]),
        ("category=|b{tag}", ["c1"]),
        ("category=b{tag}", ["c1"]),
        ("category=words{tag}", []),
        ("identifier=urn:i|{tag}", ["c2"]),
        ("subject=Patient/p1-{tag}", ["c1"]),
        ("subject=p1-{tag}", ["c1"]),
        ("patient=p1-{tag}", ["c1"]),
        ("subject:Patient=p1-{tag}", ["c1"]),
        ("recipient=Practitioner/d1-{tag}", ["c1"]),
        ("recipient=Practitioner/d1-{tag}&status=completed", []),
        ("medium=urn:m|{tag}&sent=ge2024-05-06", ["c2"]),
        ("medium=urn:m|{tag}&_tag=urn:t|x", ["c2"]),
        ("medium=urn:m|{tag}&_profile=http://a.example/p", ["c1"]),
    ],
)
def test_communications_are_found_by(people: Fhir, query: str, found: list[str]) -> None:
    tag = people.tag
    medium = [{"coding": [{"system": "urn:m", "code": tag}]}]
    people.stored(
        "Communication",
        "c1",
        meta={"profile": ["http://a.example/p"]},
        status="preparation",
        medium=medium,
        category=[{"coding": [{"system": "urn:c", "code": tag}, {"code": f"b{tag}"}], "text": f"words{tag}"}],
        subject={"reference": f"Patient/p1-{tag}"},
        recipient=[{"reference": f"Practitioner/d1-{tag}"}, {"display": "x@direct.example"}],
    )
    people.stored(
        "Communication",
        "c2",
        meta={"tag": [{"system": "urn:t", "code": "x"}]},
        status="completed",
        sent="2024-05-06T07:08:09Z",
        medium=medium,
        identifier=[{"system": "urn:i", "value": tag}],
    )

    assert sorted(people.found(f"Communication?{query.format(tag=tag)}")) == found


@pytest.mark.parametrize(
    "query",
    [
        "Task?code=urn:tc|{tag}&status=completed,requested&business-status=urn:bs|open",
        "Task?code=urn:tc|{tag}&business-status=open",
        "Task?focus=Communication/c-{tag}",
        "Task?focus=c-{tag}",
        "DocumentReference?identifier=urn:d|{tag}",
        "DocumentReference?identifier=master{tag}",
        "DocumentReference?patient=Patient/p1-{tag}",
        "DocumentReference?patient=p1-{tag}",
    ],
)
def test_tasks_and_documents_are_found_by(people: Fhir, query: str) -> None:
    tag = people.tag
    people.stored("Communication", "c", status="completed")
    people.stored(
        "Task",
        "found",
        status="requested",
        intent="order",
        code={"coding": [{"system": "urn:tc", "code": tag}]},
        businessStatus={"coding": [{"system": "urn:bs", "code": "open"}]},
        focus={"reference": f"Communication/c-{tag}"},
    )
    people.stored(
        "DocumentReference",
        "found",
        status="current",
        masterIdentifier={"value": f"master{tag}"},
        identifier=[{"system": "urn:d", "value": tag}],
        subject={"reference": f"Patient/p1-{tag}"},
        content=[{"attachment": {"url": "Binary/x"}}],
    )

    assert people.found(query.format(tag=tag)) == ["found"]


@pytest.mark.parametrize(
    "query",
    [
        "nonesuch=1",
        "birthdate=bad",
        "birthdate=2024-99",
        "_sort=nonesuch",
        "_count=abc",
    ],
)
def test_what_the_server_does_not_know_is_refused(fhir: Fhir, query: str) -> None:
    assert refused(fhir.get(f"Patient?{query}"), 400)


def test_a_deleted_resource_is_not_found(fhir: Fhir) -> None:
    fhir.stored("Patient", "p", identifier=[{"value": fhir.tag}])
    fhir.delete(f"Patient/{fhir.id('p')}")

    assert fhir.found(f"Patient?identifier={fhir.tag}") == []


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("_lastUpdated", ["b", "c", "a"]),
        ("-_lastUpdated", ["a", "c", "b"]),
        ("_id", ["a", "b", "c"]),
        ("-_id", ["c", "b", "a"]),
        ("birthdate", ["a", "b", "c"]),
        ("-family,_id", ["c", "a", "b"]),
    ],
)
def test_results_are_sorted_by(fhir: Fhir, sort: str, found: list[str]) -> None:
    for name, year, family in (("b", 1982, "Aa"), ("c", 1983, "Bb"), ("a", 1981, "Aa")):
        elements = {"birthDate": f"{year}-01-01", "name": [{"family": family}]}
        fhir.stored("Patient", name, identifier=[{"value": fhir.tag}], **elements)

    assert fhir.found(f"Patient?identifier={fhir.tag}&_sort={sort}") == found


def _link(bundle: dict[str, list[dict[str, str]]], relation: str) -> str | None:
    return next((link["url"] for link in bundle["link"] if link["relation"] == relation), None)


def test_pages_are_followed_by_their_links(fhir: Fhir) -> None:
    for number in range(5):
        fhir.stored("Organization", f"o{number}", identifier=[{"value": fhir.tag}])

    first = body(fhir.get(f"Organization?identifier={fhir.tag}&_count=2&_sort=_id"))
    pages, onward = [first], _link(first, "next")
    while onward is not None:
        pages.append(body(fhir.http.get(onward)))
        onward = _link(pages[-1], "next")

    names = [[entry["resource"]["id"].partition("-")[0] for entry in page["entry"]] for page in pages]
    assert names == [["o0", "o1"], ["o2", "o3"], ["o4"]]
    assert [page["total"] for page in pages] == [5, 5, 5]
    assert {page["type"] for page in pages} == {"searchset"}
    assert _link(pages[2], "previous") is not None
    assert first["entry"][0]["search"] == {"mode": "match"}
    assert first["entry"][0]["fullUrl"] == fhir.url(f"Organization/{fhir.id('o0')}")


def test_a_page_has_twenty_by_default_and_the_total_may_be_missing(fhir: Fhir) -> None:
    for number in range(45):
        fhir.stored("Organization", f"o{number}", identifier=[{"value": fhir.tag}])

    first = body(fhir.get(f"Organization?identifier={fhir.tag}"))
    whole = body(fhir.get(f"Organization?identifier={fhir.tag}&_count=500"))

    assert len(first["entry"]) == 20
    assert first.get("total", 45) == 45
    assert _link(first, "next") is not None
    assert (len(whole["entry"]), whole["total"], _link(whole, "next")) == (45, 45, None)


def test_a_later_page_shows_resources_as_they_are_by_then(fhir: Fhir) -> None:
    for number in range(4):
        fhir.stored("Organization", f"o{number}", identifier=[{"value": fhir.tag}])
    first = body(fhir.get(f"Organization?identifier={fhir.tag}&_count=2&_sort=_id"))
    fhir.delete(f"Organization/{fhir.id('o2')}")
    fhir.stored("Organization", "o3", name="found by nothing any more")

    second = body(fhir.http.get(_link(first, "next") or ""))

    assert [entry["resource"].get("name") for entry in second["entry"]] == ["found by nothing any more"]


def test_a_page_of_an_unknown_search_is_gone(fhir: Fhir) -> None:
    url = f"{fhir.base_url}?_getpages=00000000-0000-4000-8000-000000000000&_getpagesoffset=2&_count=2"

    assert refused(fhir.http.get(url), 410)


def test_a_search_may_be_posted(fhir: Fhir) -> None:
    for number in range(3):
        fhir.stored("Organization", f"o{number}", identifier=[{"system": "urn:x", "value": fhir.tag}])

    form = {"identifier": f"urn:x|{fhir.tag}", "_count": "2"}
    answer = fhir.http.post(fhir.url("Organization/_search"), data=form, headers=NO_CACHE)

    assert (answer.status_code, body(answer)["total"], len(body(answer)["entry"])) == (200, 3, 2)
    assert len(body(fhir.http.get(_link(body(answer), "next") or ""))["entry"]) == 1


@pytest.mark.parametrize("query", ["_summary=count", "_count=0"])
def test_only_the_number_may_be_asked_for(fhir: Fhir, query: str) -> None:
    for number in range(3):
        fhir.stored("Organization", f"o{number}", identifier=[{"value": fhir.tag}])

    bundle = body(fhir.get(f"Organization?identifier={fhir.tag}&{query}"))

    assert (bundle["total"], bundle.get("entry")) == (3, None)


def test_a_search_is_remembered_for_a_minute_unless_the_cache_is_refused(fhir: Fhir) -> None:
    query = fhir.url(f"Organization?identifier={fhir.tag}")
    fhir.stored("Organization", "o1", identifier=[{"value": fhir.tag}])
    fhir.http.get(query)
    fhir.stored("Organization", "o2", identifier=[{"value": fhir.tag}])

    remembered, fresh = fhir.http.get(query), fhir.http.get(query, headers=NO_CACHE)

    assert len(body(remembered)["entry"]) == 1
    assert len(body(fresh)["entry"]) == 2
