"""Attachments on their way to the FHIR server and back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import tracemalloc
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from adapter.errors import Rejected, Temporary
from adapter.fhir.client import FhirClient
from adapter.simulators.fhir.world import World
from adapter.simulators.shell import Shell
from tests.contract.fhir_client.servers import NOW, Server, scripted
from tests.contract.metriport_client.loopback import answer, saying
from tests.contract.metriport_client.loopback import server as loopback

BLOCK = bytes(range(256)) * 255
OWNER = "Patient/somebody"


def of(content: bytes, *, piece: int) -> Callable[[], AsyncIterator[bytes]]:
    """The content in pieces."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), piece):
            yield content[start : start + piece]

    return pieces


def blocks(size: int) -> Callable[[], AsyncIterator[bytes]]:
    """So many bytes, never in memory at once."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, len(BLOCK)):
            yield BLOCK[: size - start]

    return pieces


def storing(
    id: str, content: bytes, *, piece: int = 1000, **changes: Any
) -> Callable[[FhirClient], Awaitable[object]]:
    """Stores the content as a client's caller does."""
    facts = {"content_type": "application/pdf", "security_context": OWNER} | changes
    return lambda fhir: fhir.store_binary(id, content=of(content, piece=piece), size=len(content), **facts)


SHAPES = {
    "empty": ("application/pdf", b""),
    "one byte": ("application/pdf", b"\x00"),
    "two bytes": ("application/pdf", b"\xff\xfe"),
    "text": ("text/plain; charset=UTF-8", "Zoë — 5 °C\r\n".encode()),
    "JSON": ("application/json", b'{"resourceType": "Binary", "data": "eA=="}'),
    "FHIR JSON": ("application/fhir+json", b'{"resourceType": "Patient", "id": "x"}'),
    "CDA": ("text/xml", b'<ClinicalDocument xmlns="urn:hl7-org:v3"/>'),
    "XML": ("application/xml", b'<Patient xmlns="http://hl7.org/fhir"/>'),
    "old FHIR JSON": ("application/json+fhir", b'{"resourceType": "Patient", "id": "x"}'),
    "old FHIR XML": ("application/xml+fhir", b'<Patient xmlns="http://hl7.org/fhir"/>'),
    "text JSON": ("text/json", b'{"resourceType": "Binary", "data": "eA=="}'),
    "HTML": ("text/html; charset=utf-8", b"<p>Seen.</p>"),
    "several parts": ("multipart/mixed; boundary=x", b"--x\r\n\r\none\r\n--x--\r\n"),
    "upper case": ("IMAGE/PNG", BLOCK),
    "HL7 v2": ("x-application/hl7-v2+er7", b"MSH|^~\\&|\r"),
    "FHIR XML": ("application/fhir+xml", b'<Patient xmlns="http://hl7.org/fhir"/>'),
    "FHIR NDJSON": ("application/fhir+ndjson", b'{"resourceType": "Patient"}\n' * 2),
    "PDF": ("application/pdf", b"%PDF-1.7\n%\x00\x00\xe2\xe3\x00" + BLOCK),
    "form": ("application/x-www-form-urlencoded", b"a=b&c=d"),
    "unknown type": ("application/x-nobody-knows", BLOCK),
    "gzip": ("application/gzip", b"\x1f\x8b\x08\x00" + BLOCK),
    "no type at all": ("of no type", b"?"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_type_and_owner_come_back_as_they_went(server: Server, own: str, shape: str) -> None:
    content_type, content = SHAPES[shape]

    async def work(fhir: FhirClient) -> tuple[bytes, dict[str, Any] | None]:
        await storing(own, content, content_type=content_type)(fhir)
        return await fhir.read_bytes(own), await fhir.read("Binary", own)

    read, resource = server.run(work)

    assert read == content
    assert resource is not None
    assert resource["contentType"] == content_type
    assert resource["securityContext"] == {"reference": OWNER}
    assert b64decode(resource.get("data", "")) == content


@pytest.mark.parametrize("piece", [1, 2, 3, 4, 7, 5000])
def test_the_size_of_the_pieces_does_not_matter(own: str, simulator: Server, piece: int) -> None:
    content = BLOCK[:5000]

    async def work(fhir: FhirClient) -> bytes:
        await storing(own, content, piece=piece)(fhir)
        return await fhir.read_bytes(own)

    assert simulator.run(work) == content


def test_nobody_needs_to_own_it(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> dict[str, Any] | None:
        await storing(own, b"x", security_context=None)(fhir)
        return await fhir.read("Binary", own)

    resource = server.run(work)

    assert resource is not None
    assert "securityContext" not in resource


def test_the_same_again_is_no_new_version(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> dict[str, Any] | None:
        await storing(own, b"one")(fhir)
        await storing(own, b"one")(fhir)
        return await fhir.read("Binary", own)

    resource = server.run(work)

    assert resource is not None
    assert resource["meta"]["versionId"] == "1"


@pytest.fixture
def simulator_lax() -> Server:
    """One that keeps bytes apart."""
    application = Shell(World(strict=False))
    return Server(base_url="http://127.0.0.1:8081/fhir", way=lambda: httpx.ASGITransport(app=application))


@pytest.mark.parametrize("kind", ["simulator", "simulator_lax", "hapi_defaults", "hapi_lax"])
def test_what_binary_storage_keeps_apart_is_read_back(
    request: pytest.FixtureRequest, own: str, kind: str
) -> None:
    given = request.getfixturevalue(kind)
    server = given if isinstance(given, Server) else Server(base_url=given)
    size = 12_000_000

    async def work(fhir: FhirClient) -> list[bytes]:
        await fhir.store_binary(
            own, content_type="application/pdf", content=blocks(size), size=size, security_context=OWNER
        )
        return [await fhir.read_bytes(own), await fhir.read_bytes(own, most_bytes=99)]

    whole, cut = server.run(work)

    async def expected() -> bytes:
        return b"".join([piece async for piece in blocks(size)()])

    assert hashlib.sha256(whole).digest() == hashlib.sha256(asyncio.run(expected())).digest()
    assert len(cut) == 100


@pytest.mark.parametrize("profile", ["hapi_defaults", "hapi_lax"])
def test_45_mb_are_stored_without_being_held(request: pytest.FixtureRequest, own: str, profile: str) -> None:
    real = Server(base_url=request.getfixturevalue(profile))
    size = 45_000_000

    async def work(fhir: FhirClient) -> tuple[int, int]:
        await storing(own, b"first, so that only the second counts")(fhir)
        tracemalloc.start()
        try:
            await fhir.store_binary(
                own, content_type="application/pdf", content=blocks(size), size=size, security_context=OWNER
            )
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        return peak, len(await fhir.read_bytes(own))

    peak, read = real.run(work)

    assert peak < 5_000_000
    assert read == size


async def _sent(content: bytes, **facts: Any) -> tuple[bytes, bytes]:
    """Head and body of the request that stores it."""
    async with loopback(saying(answer(201))) as heard, httpx.AsyncClient(trust_env=False) as http:
        fhir = FhirClient(http, heard.base_url, authorization="Bearer x", now=lambda: NOW)
        await storing("b-1", content, **facts)(fhir)
        [asked] = heard.requests
        head, _, body = asked.partition(b"\r\n\r\n")
        return head, body


@pytest.mark.parametrize("content", [b"x", BLOCK], ids=len)
def test_bytes_are_sent_raw_with_their_type_and_whose_they_are(content: bytes) -> None:
    head, sent = asyncio.run(_sent(content))

    lines = head.decode().lower().split("\r\n")
    assert sent == content
    assert lines[0] == "put /binary/b-1 http/1.1"
    assert {
        f"content-length: {len(content)}",
        "content-type: application/pdf",
        f"x-security-context: {OWNER}".lower(),
        "authorization: bearer x",
        "prefer: return=minimal",
    } <= set(lines)


def test_a_server_that_takes_no_raw_bytes_is_given_the_resource() -> None:
    script = scripted(httpx.Response(415), httpx.Response(201))

    script.server.run(storing("b-1", b"xyz"))

    kinds = [request.headers["content-type"] for request in script.asked]
    assert kinds == ["application/pdf", "application/fhir+json"]
    assert json.loads(script.asked[1].content)["data"] == b64encode(b"xyz").decode()


@pytest.mark.parametrize("content", [b"", b"x", b"xy", b"xyz", BLOCK], ids=len)
def test_what_is_sent_is_a_resource_of_the_announced_length(content: bytes) -> None:
    head, sent = asyncio.run(_sent(content, content_type="application/x-www-form-urlencoded"))
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None
    assert int(length[1]) == len(sent)
    assert head.startswith(b"PUT /Binary/b-1 HTTP/1.1\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"\r\nAuthorization: Bearer x" in head
    assert b"\r\nPrefer: return=minimal" in head
    assert json.loads(sent) == {
        "resourceType": "Binary",
        "id": "b-1",
        "contentType": "application/x-www-form-urlencoded",
        "securityContext": {"reference": OWNER},
        **({"data": b64encode(content).decode()} if content else {}),
    }


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_is_one(status: int) -> None:
    script = scripted(httpx.Response(status, content=b"{}"))

    with pytest.raises(Rejected) as caught:
        script.server.run(storing("b-1", b"secret of a patient"))

    assert caught.value.status == status
    assert "secret" not in str(caught.value)


def test_only_an_id_of_fhir_is_asked_for() -> None:
    script = scripted(httpx.Response(201))

    with pytest.raises(Rejected):
        script.server.run(storing("../Patient/1", b"x"))

    assert script.asked == []


def _shows(text: str, content_type: str = "application/fhir+json; charset=utf-8") -> httpx.Response:
    return httpx.Response(200, text=text, headers={"content-type": content_type})


def test_a_server_that_always_shows_the_resource_gives_its_bytes() -> None:
    script = scripted(_shows('{"resourceType": "Binary", "id": "b-1", "data": "aGVsbG8="}'))

    assert script.server.run(lambda fhir: fhir.read_bytes("b-1")) == b"hello"


def test_other_json_that_looks_like_the_resource_is_the_content() -> None:
    text = '{"resourceType": "Binary", "id": "b-1", "data": "aGVsbG8="}'
    script = scripted(_shows(text, "application/json"))

    assert script.server.run(lambda fhir: fhir.read_bytes("b-1")) == text.encode()


@pytest.mark.parametrize(
    "text",
    [
        '{"resourceType": "Binary", "id": "b-2", "data": "aGVsbG8="}',
        '{"resourceType": "Patient", "id": "b-1"}',
        '["Binary"]',
        "{",
        "[" * 100_000,
    ],
)
def test_fhir_json_that_is_the_content_is_given_as_it_is(text: str) -> None:
    script = scripted(_shows(text))

    assert script.server.run(lambda fhir: fhir.read_bytes("b-1")) == text.encode()


def test_a_shown_resource_without_readable_bytes_is_no_content() -> None:
    script = scripted(_shows('{"resourceType": "Binary", "id": "b-1", "data": "x"}'))

    with pytest.raises(Temporary):
        script.server.run(lambda fhir: fhir.read_bytes("b-1"))
