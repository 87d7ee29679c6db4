"""Binary, raw and as a resource. https://hl7.org/fhir/R4/binary.html#rest"""

from __future__ import annotations

import hashlib
import socket
from base64 import b64decode, b64encode

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


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/pdf", b"%PDF-1.7\x00\x00\xff"),
        ("text/plain; charset=UTF-8", "Zoë".encode()),
        ("application/json", b'{"some":"json"}'),
        ("application/fhir+json", b'{"resourceType":"Patient"}'),
        ("application/fhir+xml", b'<Patient xmlns="http://hl7.org/fhir"/>'),
        ("application/fhir+ndjson", b'{"resourceType":"Patient"}\n'),
        ("application/x-www-form-urlencoded", b"a=b&c=d"),
        ("application/x-nobody-knows", b"\x00"),
        ("of no type", b"?"),
    ],
)
def test_a_resource_keeps_bytes_of_any_type(fhir: Fhir, content_type: str, content: bytes) -> None:
    owner = {"reference": "Patient/somebody"}

    fhir.stored("Binary", contentType=content_type, securityContext=owner, data=b64encode(content).decode())

    read = fhir.get(f"Binary/{fhir.id()}", Accept="*/*")
    resource = body(fhir.get(f"Binary/{fhir.id()}", Accept="application/fhir+json"))
    assert (read.content, read.headers["x-security-context"]) == (content, "Patient/somebody")
    assert (resource["contentType"], resource["securityContext"]) == (content_type, owner)
    assert b64decode(resource["data"]) == content


def test_without_content_the_resource_is_shown_whatever_is_asked_for(fhir: Fhir) -> None:
    owner = {"reference": "Patient/somebody"}
    stored = fhir.stored("Binary", contentType="text/plain", securityContext=owner)

    read = fhir.get(f"Binary/{fhir.id()}", Accept="*/*")

    assert "data" not in stored
    assert read.headers["content-type"].startswith("application/fhir+json")
    assert (body(read)["contentType"], body(read)["securityContext"]) == ("text/plain", owner)
    assert refused(fhir.get(f"Binary/{fhir.id()}/$binary-access-read?path=Binary"), 400)


def test_without_bytes_nothing_is_stored_raw(fhir: Fhir) -> None:
    answer = _put(fhir, b"", "text/plain", X_Security_Context="Patient/somebody")

    resource = body(fhir.get(f"Binary/{fhir.id()}"))
    assert answer.status_code == 201
    assert (resource["contentType"], "data" in resource) == ("text/plain", False)
    assert resource["securityContext"] == {"reference": "Patient/somebody"}


def test_binary_storage_shows_no_large_content(fhir: Fhir) -> None:
    content = BYTES * 12_000

    fhir.stored("Binary", contentType="application/pdf", data=b64encode(content).decode())

    read = fhir.get(f"Binary/{fhir.id()}", Accept="*/*")
    if fhir.strict:
        assert read.content == content
    else:
        assert read.headers["content-type"].startswith("application/fhir+json")
        assert (body(read)["contentType"], "data" in body(read)) == ("application/pdf", False)
        assert "_data" in body(read)
        apart = fhir.get(f"Binary/{fhir.id()}/$binary-access-read?path=Binary")
        assert (apart.content, apart.headers["content-type"]) == (content, "application/pdf")


@pytest.mark.parametrize("content_type", ["text/plain", "application/fhir+json"])
def test_the_same_bytes_make_no_new_version_and_if_none_match_is_not_heeded(
    fhir: Fhir, content_type: str
) -> None:
    resource = {"resourceType": "Binary", "id": fhir.id(), "contentType": content_type, "data": "eyJ9"}

    answers = [fhir.put(resource), fhir.put(resource), fhir.put(resource, If_None_Match="*")]

    assert [answer.headers["etag"] for answer in answers] == ['W/"1"'] * 3
    assert [answer.status_code for answer in answers] == [201, 200, 200]


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


def test_bytes_that_break_off_are_not_kept(fhir: Fhir) -> None:
    """A client that was killed in the middle of sending them."""
    url = httpx.URL(fhir.url(f"Binary/{fhir.id()}"))
    head = (
        f"PUT {url.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/pdf\r\nContent-Length: 5000\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port or 80), timeout=20) as client:
        client.sendall(head.encode() + b"%PDF-1.4")
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass

    assert refused(fhir.get(f"Binary/{fhir.id()}"), 404)
