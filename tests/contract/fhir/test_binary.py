"""Binary, raw and as a resource. https://hl7.org/fhir/R4/binary.html#rest"""

from __future__ import annotations

import hashlib

import httpx
import pytest

from tests.contract.fhir.server import Fhir, body, refused

BYTES = bytes(range(256)) * 4


def _put(fhir: Fhir, content: bytes, content_type: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = fhir.url(f"Binary/{fhir.id()}")
    return fhir.http.put(url, content=content, headers={"Content-Type": content_type, **named})


def test_raw_bytes_come_back_in_their_own_type(fhir: Fhir) -> None:
    answer = _put(fhir, BYTES, "application/pdf")

    read = fhir.get(f"Binary/{fhir.id()}")
    assert (answer.status_code, answer.headers["etag"]) == (201, 'W/"1"')
    assert (read.content, read.headers["content-type"]) == (BYTES, "application/pdf")
    assert read.headers["etag"] == 'W/"1"'


@pytest.mark.parametrize("accept", ["*/*", "application/pdf", "application/json"])
def test_only_fhir_json_asks_for_the_resource(fhir: Fhir, accept: str) -> None:
    _put(fhir, b"%PDF-1.4", "application/pdf")

    assert fhir.get(f"Binary/{fhir.id()}", Accept=accept).content == b"%PDF-1.4"


def test_the_resource_has_the_bytes_in_base64(fhir: Fhir) -> None:
    _put(fhir, b"hello", "text/plain", X_Security_Context="Patient/somebody")

    answer = fhir.get(f"Binary/{fhir.id()}", Accept="application/fhir+json")

    resource = body(answer)
    assert (resource["contentType"], resource["data"]) == ("text/plain", "aGVsbG8=")
    assert resource["securityContext"] == {"reference": "Patient/somebody"}
    assert answer.headers["x-security-context"] == "Patient/somebody"
    assert fhir.get(f"Binary/{fhir.id()}").headers["x-security-context"] == "Patient/somebody"


def test_a_resource_comes_back_raw(fhir: Fhir) -> None:
    resource = {"resourceType": "Binary", "id": fhir.id(), "contentType": "image/png", "data": "iVBORw0KGgo="}

    answer = fhir.put(resource)

    read = fhir.get(f"Binary/{fhir.id()}")
    assert body(answer)["contentType"] == "image/png"
    assert (read.content, read.headers["content-type"]) == (b"\x89PNG\r\n\x1a\n", "image/png")


def test_raw_bytes_may_be_posted(fhir: Fhir) -> None:
    headers = {"Content-Type": "text/plain"}

    answer = fhir.http.post(fhir.url("Binary"), content=b"hello", headers=headers)

    assert answer.status_code == 201
    assert fhir.http.get(answer.headers["location"]).content == b"hello"


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"some":"json"}', "application/json"),
        (b"<ClinicalDocument/>", "application/xml"),
        (b"<a/>", "text/xml"),
    ],
)
def test_json_and_xml_that_are_not_fhir_are_bytes_too(fhir: Fhir, content: bytes, content_type: str) -> None:
    answer = _put(fhir, content, content_type)

    assert answer.status_code == 201
    assert fhir.get(f"Binary/{fhir.id()}").content == content


def test_versions_of_raw_bytes_are_kept_apart(fhir: Fhir) -> None:
    _put(fhir, b"one", "text/plain")

    second = _put(fhir, b"two", "text/plain", If_Match='W/"1"')
    again = _put(fhir, b"two", "text/plain", If_Match='W/"2"')

    assert (second.status_code, second.headers["etag"]) == (200, 'W/"2"')
    assert again.headers["etag"] == 'W/"2"'
    assert refused(_put(fhir, b"three", "text/plain", If_Match='W/"1"'), 409)
    assert fhir.get(f"Binary/{fhir.id()}/_history/1").content == b"one"


def test_a_large_file_survives(fhir: Fhir) -> None:
    content = BYTES * 3000

    _put(fhir, content, "application/pdf")

    assert (
        hashlib.sha256(fhir.get(f"Binary/{fhir.id()}").content).digest() == hashlib.sha256(content).digest()
    )


def test_the_character_set_is_kept_in_the_resource(fhir: Fhir) -> None:
    _put(fhir, "Zoë".encode(), "text/plain; charset=UTF-8")

    assert fhir.get(f"Binary/{fhir.id()}").content.decode() == "Zoë"
    resource = body(fhir.get(f"Binary/{fhir.id()}", Accept="application/fhir+json"))
    assert resource["contentType"].replace(" ", "").lower() == "text/plain;charset=utf-8"


def test_a_binary_that_never_was_is_not_found(fhir: Fhir) -> None:
    assert refused(fhir.get(f"Binary/{fhir.id()}"), 404)


def test_another_resource_in_its_place_is_refused(fhir: Fhir) -> None:
    answer = fhir.http.put(
        fhir.url(f"Binary/{fhir.id()}"),
        content=b'{"resourceType":"Patient"}',
        headers={"Content-Type": "application/fhir+json"},
    )

    assert refused(answer, 400)
