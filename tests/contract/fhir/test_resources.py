"""Create, read, update, delete, one resource at a time. https://hl7.org/fhir/R4/http.html"""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime

import pytest

from tests.contract.fhir.server import JSON, Fhir, body, refused


def test_create_gives_an_id_and_the_first_version(fhir: Fhir) -> None:
    answer = fhir.post("Patient", {"resourceType": "Patient", "id": "mine", "gender": "female"})

    made = body(answer)
    where = fhir.url(f"Patient/{made['id']}/_history/1")
    assert answer.status_code == 201
    assert made["id"] != "mine"
    assert made["meta"]["versionId"] == "1"
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["location"] == where
    assert answer.headers["content-location"] == where
    assert answer.headers["content-type"].lower() == "application/fhir+json;charset=utf-8"
    assert body(fhir.get(f"Patient/{made['id']}")) == made


def test_last_modified_is_last_updated_in_whole_seconds(fhir: Fhir) -> None:
    answer = fhir.put({"resourceType": "Patient", "id": fhir.id()})

    updated = datetime.fromisoformat(body(answer)["meta"]["lastUpdated"])
    assert parsedate_to_datetime(answer.headers["last-modified"]) == updated.replace(microsecond=0)


def test_create_takes_plain_json_too(fhir: Fhir) -> None:
    answer = fhir.post("Patient", {"resourceType": "Patient"}, Content_Type="application/json")

    assert answer.status_code == 201


def test_put_with_an_own_id_creates_then_updates(fhir: Fhir) -> None:
    first = fhir.put({"resourceType": "Patient", "id": fhir.id()})
    second = fhir.put({"resourceType": "Patient", "id": fhir.id(), "gender": "male"})

    assert (first.status_code, second.status_code) == (201, 200)
    assert (first.headers["etag"], second.headers["etag"]) == ('W/"1"', 'W/"2"')
    assert second.headers["content-location"] == fhir.url(f"Patient/{fhir.id()}/_history/2")
    assert "location" not in second.headers
    assert body(second)["gender"] == "male"


def test_put_without_a_change_makes_no_version(fhir: Fhir) -> None:
    first = fhir.put({"resourceType": "Patient", "id": fhir.id(), "gender": "male"})
    again = fhir.put(
        {"gender": "male", "resourceType": "Patient", "id": fhir.id(), "meta": {"versionId": "9"}}
    )

    assert again.status_code == 200
    assert again.headers["etag"] == first.headers["etag"]
    assert body(again)["meta"]["lastUpdated"] == body(first)["meta"]["lastUpdated"]


def test_numbers_keep_their_text(fhir: Fhir) -> None:
    written = (
        b'{"resourceType":"Patient","id":"%s","extension":[{"url":"http://a.example/n","valueDecimal":1.50}]}'
    )
    url = fhir.url(f"Patient/{fhir.id()}")

    answer = fhir.http.put(url, content=written % fhir.id().encode(), headers=JSON)

    assert "1.50" in answer.text
    assert "1.50" in fhir.get(f"Patient/{fhir.id()}").text


def test_other_scripts_come_back_as_they_were(fhir: Fhir) -> None:
    made = fhir.stored("Patient", name=[{"family": "Ångström", "given": ["Zoë", "李"]}])

    assert (
        body(fhir.get(f"Patient/{fhir.id()}"))["name"]
        == made["name"]
        == [{"family": "Ångström", "given": ["Zoë", "李"]}]
    )


def test_minimal_return_has_no_body(fhir: Fhir) -> None:
    answer = fhir.put({"resourceType": "Patient", "id": fhir.id()}, Prefer="return=minimal")

    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["etag"] == 'W/"1"'


def test_the_present_version_may_be_updated(fhir: Fhir) -> None:
    fhir.stored("Patient")

    answer = fhir.put({"resourceType": "Patient", "id": fhir.id(), "gender": "male"}, If_Match='W/"1"')

    assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"2"')


@pytest.mark.parametrize("stale", ['W/"1"', 'W/"9"'])
def test_another_version_is_a_conflict_and_changes_nothing(fhir: Fhir, stale: str) -> None:
    fhir.stored("Patient")
    fhir.stored("Patient", gender="male")

    assert refused(
        fhir.put({"resourceType": "Patient", "id": fhir.id(), "gender": "other"}, If_Match=stale), 409
    )
    assert body(fhir.get(f"Patient/{fhir.id()}"))["gender"] == "male"


def test_if_match_does_not_keep_what_never_was_from_being_created(fhir: Fhir) -> None:
    answer = fhir.put({"resourceType": "Patient", "id": fhir.id()}, If_Match='W/"1"')

    assert answer.status_code == 201


@pytest.mark.parametrize("deleted", [False, True])
def test_a_version_that_nothing_has_lets_a_put_only_create(fhir: Fhir, *, deleted: bool) -> None:
    first = fhir.put({"resourceType": "Patient", "id": fhir.id(), "gender": "male"}, If_Match='W/"0"')
    if deleted:
        fhir.delete(f"Patient/{fhir.id()}")

    second = fhir.put({"resourceType": "Patient", "id": fhir.id(), "gender": "male"}, If_Match='W/"0"')

    assert first.status_code == 201
    assert refused(second, 409)
    assert fhir.get(f"Patient/{fhir.id()}").status_code == (410 if deleted else 200)


def test_what_never_was_is_not_found(fhir: Fhir) -> None:
    assert refused(fhir.get(f"Patient/{fhir.id()}"), 404)
    assert refused(fhir.get(f"Patient/{fhir.id()}/_history/1"), 404)
    assert refused(fhir.get(f"Patient/{fhir.id()}/_history"), 404)


def test_a_deleted_resource_is_gone(fhir: Fhir) -> None:
    fhir.stored("Patient")

    answer = fhir.delete(f"Patient/{fhir.id()}")

    gone = fhir.get(f"Patient/{fhir.id()}")
    assert answer.status_code == 200
    assert refused(gone, 410)
    assert gone.headers["location"] == fhir.url(f"Patient/{fhir.id()}/_history/2")
    assert refused(fhir.get(f"Patient/{fhir.id()}/_history/2"), 410)
    assert fhir.get(f"Patient/{fhir.id()}/_history/1").status_code == 200


def test_deleting_what_is_not_there_is_no_error(fhir: Fhir) -> None:
    fhir.stored("Patient")
    fhir.delete(f"Patient/{fhir.id()}")

    assert fhir.delete(f"Patient/{fhir.id()}").status_code == 200
    assert fhir.delete(f"Patient/{fhir.id('never')}").status_code == 200


def test_a_put_brings_a_deleted_resource_back(fhir: Fhir) -> None:
    fhir.stored("Patient")
    fhir.delete(f"Patient/{fhir.id()}")

    answer = fhir.put({"resourceType": "Patient", "id": fhir.id()})

    assert (answer.status_code, answer.headers["etag"]) == (201, 'W/"3"')


def test_the_version_before_a_deletion_is_stale(fhir: Fhir) -> None:
    fhir.stored("Patient")
    fhir.delete(f"Patient/{fhir.id()}")

    assert refused(fhir.put({"resourceType": "Patient", "id": fhir.id()}, If_Match='W/"1"'), 409)
    assert refused(fhir.get(f"Patient/{fhir.id()}"), 410)


def test_a_version_that_never_was_is_not_found(fhir: Fhir) -> None:
    fhir.stored("Patient")

    assert fhir.get(f"Patient/{fhir.id()}/_history/1").headers["etag"] == 'W/"1"'
    assert refused(fhir.get(f"Patient/{fhir.id()}/_history/99"), 404)


def test_an_unchanged_resource_need_not_be_read_again(fhir: Fhir) -> None:
    fhir.stored("Patient")

    answer = fhir.get(f"Patient/{fhir.id()}", If_None_Match='W/"1"')

    assert (answer.status_code, answer.content) == (304, b"")
    assert fhir.get(f"Patient/{fhir.id()}", If_None_Match='W/"0"').status_code == 200


@pytest.mark.parametrize(
    "written",
    [
        b"{bad",
        b"",
        b"[]",
        b'{"resourceType":"Practitioner"}',
        b'{"resourceType":"Patient"}',
        b'{"resourceType":"Patient","id":"other"}',
        b'{"resourceType":"Patient","id":"x","gender":"nonesuch"}',
    ],
    ids=["no-json", "nothing", "a-list", "another-type", "no-id", "another-id", "unknown-code"],
)
def test_a_body_that_does_not_fit_is_refused(fhir: Fhir, written: bytes) -> None:
    body_ = written.replace(b'"x"', f'"{fhir.id()}"'.encode())

    assert refused(fhir.http.put(fhir.url(f"Patient/{fhir.id()}"), content=body_, headers=JSON), 400)


def test_a_body_that_does_not_say_it_is_fhir_is_refused(fhir: Fhir) -> None:
    assert refused(fhir.post("Patient", {"resourceType": "Patient"}, Content_Type="text/plain"), 400)


def test_an_id_with_other_characters_is_refused(fhir: Fhir) -> None:
    assert refused(fhir.put({"resourceType": "Patient", "id": f"a_b{fhir.tag}"}), 400)


def test_an_id_of_digits_is_refused_unless_lax(fhir: Fhir) -> None:
    id_ = str(int(fhir.tag, 16))

    answer = fhir.put({"resourceType": "Patient", "id": id_})

    assert refused(answer, 400) if fhir.strict else answer.status_code == 201


def test_an_unknown_type_is_not_found(fhir: Fhir) -> None:
    assert refused(fhir.get("Nonesuch/1"), 404)
    assert refused(fhir.get("Nonesuch"), 404)
    assert refused(fhir.post("Nonesuch", {"resourceType": "Nonesuch"}), 404)


def test_a_path_that_means_nothing_is_refused(fhir: Fhir) -> None:
    assert refused(fhir.get("Patient/a/b/c"), 400)
    assert refused(fhir.http.get(fhir.base_url), 400)


def test_tags_and_labels_stay_when_a_put_leaves_them_out_but_profiles_go(fhir: Fhir) -> None:
    tag, label = {"system": "urn:t", "code": "a"}, {"system": "urn:s", "code": "x"}
    fhir.stored("Patient", meta={"tag": [tag], "security": [label], "profile": ["http://a.example/p"]})

    answer = fhir.put(
        {"resourceType": "Patient", "id": fhir.id(), "meta": {"tag": [{"system": "urn:t", "code": "b"}]}}
    )

    meta = body(answer)["meta"]
    assert answer.headers["etag"] == 'W/"2"'
    assert sorted(one["code"] for one in meta["tag"]) == ["a", "b"]
    assert meta["security"] == [label]
    assert "profile" not in meta


def test_if_none_exist_creates_once(fhir: Fhir) -> None:
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:once", "value": fhir.tag}]}

    first = fhir.post("Patient", patient, If_None_Exist=f"identifier=urn:once|{fhir.tag}")
    again = fhir.post("Patient", patient, If_None_Exist=f"identifier=urn:once|{fhir.tag}")

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["location"] == first.headers["location"]
    assert body(again) == body(first)


def test_if_none_exist_that_finds_several_is_refused(fhir: Fhir) -> None:
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:twice", "value": fhir.tag}]}
    fhir.post("Patient", patient)
    fhir.post("Patient", patient)

    assert refused(fhir.post("Patient", patient, If_None_Exist=f"identifier=urn:twice|{fhir.tag}"), 412)
