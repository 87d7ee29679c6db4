"""The versions of one resource. https://hl7.org/fhir/R4/http.html#history"""

from __future__ import annotations

import pytest

from tests.contract.fhir.server import Fhir, body, refused

EVERYTHING = "_since=1970-01-01T00:00:00Z"


def _versions(fhir: Fhir, query: str = EVERYTHING) -> list[tuple[str, str]]:
    bundle = body(fhir.get(f"Patient/{fhir.id()}/_history?{query}"))
    assert bundle["type"] == "history"
    return [
        (entry["request"]["method"], entry["request"]["url"].rpartition("/")[2]) for entry in bundle["entry"]
    ]


def test_history_has_every_version_newest_first(fhir: Fhir) -> None:
    fhir.stored("Patient", gender="male")
    fhir.stored("Patient", gender="female")
    fhir.delete(f"Patient/{fhir.id()}")

    bundle = body(fhir.get(f"Patient/{fhir.id()}/_history"))

    deleted, second, first = bundle["entry"]
    assert bundle["total"] == 3
    assert (deleted["request"]["method"], "resource" in deleted) == ("DELETE", False)
    assert (second["request"]["method"], second["resource"]["gender"]) == ("PUT", "female")
    assert (first["request"]["method"], first["resource"]["gender"]) == ("POST", "male")
    assert first["resource"]["meta"]["versionId"] == "1"
    assert second["response"]["etag"] == 'W/"2"'


def test_the_number_of_versions_is_remembered_and_the_oldest_are_missing_unless_a_time_is_given(
    fhir: Fhir,
) -> None:
    fhir.stored("Patient", gender="male")
    assert _versions(fhir, "") == [("POST", "1")]
    fhir.stored("Patient", gender="female")
    fhir.stored("Patient", gender="other")

    assert _versions(fhir, "") == [("PUT", "3")]
    assert _versions(fhir) == [("PUT", "3"), ("PUT", "2"), ("POST", "1")]


def test_history_comes_in_pages(fhir: Fhir) -> None:
    for gender in ("male", "female", "other"):
        fhir.stored("Patient", gender=gender)

    bundle = body(fhir.get(f"Patient/{fhir.id()}/_history?_count=2"))

    onward = next(link["url"] for link in bundle["link"] if link["relation"] == "next")
    assert len(bundle["entry"]) == 2
    assert [entry["resource"]["gender"] for entry in body(fhir.http.get(onward))["entry"]] == ["male"]


def test_history_after_a_time_has_nothing_older(fhir: Fhir) -> None:
    fhir.stored("Patient", gender="male")

    assert "entry" not in body(fhir.get(f"Patient/{fhir.id()}/_history?_since=2999-01-01T00:00:00Z"))


@pytest.mark.parametrize("since", ["2020", "nonsense"])
def test_a_time_that_is_no_instant_is_refused(fhir: Fhir, since: str) -> None:
    fhir.stored("Patient")

    assert refused(fhir.get(f"Patient/{fhir.id()}/_history?_since={since}"), 400)
