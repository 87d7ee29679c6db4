"""Contract §4: documents, and the links to their bytes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.metriport.account import BASE, CHRIS, JANE, NOBODY, START, account, announcement, refused

UPLOAD = f"document/upload?patientId={JANE}"
PDF = {"content-type": "application/pdf", "content-length": "4"}


@pytest.mark.parametrize("path", ["document/upload", "document/upload/"])
def test_a_document_is_announced_uploaded_listed_and_downloaded(path: str) -> None:
    clinic = account()

    made = clinic.ask("POST", f"{path}?patientId={JANE}", announcement()).json
    assert set(made) == {"documentReferenceId", "uploadUrl"}
    assert made["uploadUrl"].startswith(f"{BASE}/")
    assert clinic.ask("GET", f"document?patientId={JANE}").json == {"documents": []}
    assert clinic.open("PUT", made["uploadUrl"], raw=b"%PDF", headers=PDF).status == 200

    (document,) = clinic.ask("GET", f"document?patientId={JANE}").json["documents"]
    attachment = document["content"][0]["attachment"]
    link = clinic.ask("GET", f"document/download-url?fileName={attachment['title']}").json["url"]
    found = clinic.open("GET", link)

    assert document == {
        **announcement(),
        "resourceType": "DocumentReference",
        "id": made["documentReferenceId"],
        "status": "current",
        "date": "2026-07-01T12:00:00.000Z",
        "subject": {"reference": f"Patient/{JANE}"},
        "content": [{"attachment": attachment}],
    }
    assert attachment == {
        "title": f"{document['id']}.bin",
        "contentType": "application/pdf",
        "size": 4,
    }
    assert (found.status, found.headers["content-type"], found.body) == (200, "application/pdf", b"%PDF")


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"type": None}, "type.text"),
        ({"type": {"coding": []}}, "type.text"),
        ({"type": {"text": 7}}, "type.text"),
        ({"description": ""}, "description"),
        ({"context": {"period": {"start": ""}}}, "context.period.start"),
        ({"context": {"period": "2026"}}, "context.period.start"),
    ],
)
def test_what_an_announcement_needs(changes: dict[str, Any], missing: str) -> None:
    assert refused(account().ask("POST", UPLOAD, announcement(**changes))) == f"{missing} is required"


def test_the_patient_of_a_document_must_be_named_and_known() -> None:
    clinic = account()

    refused(clinic.ask("POST", "document/upload", announcement()))
    refused(clinic.ask("POST", f"document/upload?patientId={NOBODY}", announcement()), 404)
    refused(clinic.ask("GET", f"document?patientId={NOBODY}"), 404)


def test_an_upload_link_ends_and_refuses_credentials() -> None:
    clinic = account()
    link = clinic.ask("POST", UPLOAD, announcement()).json["uploadUrl"]

    for name in ("x-api-key", "authorization"):
        assert clinic.open("PUT", link, raw=b"%PDF", headers={**PDF, name: "secret"}).status == 400
    clinic.passes(600)
    late = clinic.open("PUT", link, raw=b"%PDF", headers=PDF)

    assert (late.status, late.headers["content-type"]) == (403, "application/xml")
    assert clinic.world.documents.popitem()[1].data is None


def test_a_download_link_lives_three_minutes_and_refuses_credentials() -> None:
    clinic = account()
    link = clinic.ask("GET", f"document/download-url?fileName={clinic.uploaded()}.bin").json["url"]

    clinic.passes(179)
    assert clinic.open("GET", link).status == 200
    assert clinic.open("GET", link, headers={"x-api-key": "secret"}).status == 400
    clinic.passes(1)
    assert clinic.open("GET", link).status == 403


@pytest.mark.parametrize(
    "query", ["", "?expires=abc&signature=x", "?expires=nan&signature=\u00e9", "?expires=9e99"]
)
def test_a_link_is_not_made_up(query: str) -> None:
    clinic = account()

    assert clinic.open("GET", f"/_files/{clinic.uploaded()}{query}").status == 403


def test_the_link_of_one_document_opens_no_other() -> None:
    clinic = account()
    one, other = clinic.uploaded(), clinic.uploaded()
    link = clinic.ask("GET", f"document/download-url?fileName={one}.bin").json["url"]

    assert clinic.open("GET", link.replace(one, other)).status == 403


def test_an_upload_states_its_length_and_type_and_has_50_mb_at_most() -> None:
    clinic = account()
    link = clinic.ask("POST", UPLOAD, announcement()).json["uploadUrl"]

    assert clinic.open("PUT", link, raw=b"%PDF", headers={"content-type": "a/b"}).status == 411
    assert clinic.open("PUT", link, raw=b"%PDF", headers={"content-length": "4"}).status == 411
    assert clinic.open("PUT", link, raw=bytes(50_000_001), headers=PDF).status == 400
    assert clinic.open("PUT", link, raw=bytes(50_000_000), headers=PDF).status == 200


def test_links_to_what_is_gone() -> None:
    clinic = account()
    upload = clinic.ask("POST", UPLOAD, announcement()).json["uploadUrl"]
    download = clinic.ask("GET", f"document/download-url?fileName={clinic.uploaded()}.bin").json["url"]
    clinic.world.reset()

    assert clinic.open("PUT", upload, raw=b"%PDF", headers=PDF).status == 404
    assert clinic.open("GET", download).status == 404


def test_the_list_is_the_patients_and_can_be_narrowed() -> None:
    clinic = account()
    first = clinic.uploaded(description="Discharge letter")
    clinic.passes(86_400)
    second = clinic.uploaded()
    clinic.uploaded(CHRIS)

    def found(query: str) -> list[str]:
        listing = clinic.ask("GET", f"document?patientId={JANE}&{query}").json
        return [one["id"] for one in listing["documents"]]

    assert found("") == [first, second]
    assert found("dateTo=2026-07-01") == [first]
    assert found("dateFrom=2026-07-02") == [second]
    assert found("dateFrom=2026-07-01&dateTo=2026-07-02") == [first, second]
    assert found("content=DISCHARGE") == [first]
    assert found("content=&source=whatever") == [first, second]


@pytest.mark.parametrize("query", ["dateFrom=2026-13-01", "dateTo=soon", "content=ab", "output=xml"])
def test_filters_that_are_none(query: str) -> None:
    refused(account().ask("GET", f"document?patientId={JANE}&{query}"))


def test_the_flat_form() -> None:
    clinic = account()
    document = clinic.uploaded()

    assert clinic.ask("GET", f"document?patientId={JANE}&output=dto").json["documents"] == [
        {
            "id": document,
            "fileName": f"{document}.bin",
            "description": "Summary of a visit",
            "status": "current",
            "indexed": "2026-07-01T12:00:00.000Z",
            "mimeType": "application/pdf",
            "size": 8,
            "type": {"text": "Visit summary"},
        }
    ]


@pytest.mark.parametrize(
    ("conversion", "content_type"),
    [("html", "text/html"), ("pdf", "application/pdf"), ("hl7", "x-application/hl7-v2+er7")],
)
def test_a_download_may_be_converted(conversion: str, content_type: str) -> None:
    clinic = account()
    path = f"document/download-url?fileName={clinic.uploaded()}.bin&conversionType={conversion}"

    assert clinic.open("GET", clinic.ask("GET", path).json["url"]).headers["content-type"] == content_type


def test_downloads_that_cannot_be() -> None:
    clinic = account()
    document = clinic.uploaded()
    announced = clinic.ask("POST", UPLOAD, announcement()).json["documentReferenceId"]

    refused(clinic.ask("GET", "document/download-url"))
    refused(clinic.ask("GET", f"document/download-url?fileName={document}.bin&conversionType=docx"))
    refused(clinic.ask("GET", "document/download-url?fileName=nothing.bin"), 404)
    refused(clinic.ask("GET", f"document/download-url?fileName={announced}.bin"), 404)


def test_a_clock_before_1970_breaks_no_link() -> None:
    clinic = account()
    clinic.now = START.replace(year=1950)

    assert clinic.open("GET", clinic.ask("GET", f"document/download-url?fileName={clinic.uploaded()}.bin").json["url"]).status == 200  # fmt: skip
