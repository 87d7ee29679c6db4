"""Documents on their way out, and where their bytes go."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest

from adapter.errors import Rejected, Temporary
from tests.contract.metriport_client.clients import BASE, KEY, PATIENT, answering, client, content
from tests.contract.metriport_client.loopback import answer, saying, server

DOCUMENT = "0190b1c2-0000-7000-8000-0000000000d1"
PLACE = "https://storage.test/documents/d1/?X-Amz-Signature=a%2Fb%2Bc&X-Amz-Date=20260701T120000Z"
DESCRIPTION = {"description": "Report", "type": {"text": "Report"}}


class Neighbours:
    """Metriport and its storage as one transport, keeping what each was asked."""

    def __init__(
        self,
        place: Any = PLACE,
        start: httpx.Response | None = None,
        put: int | Exception = 200,
        said: bytes = b"<Error>PLACE</Error>",
    ) -> None:
        self.start = start or httpx.Response(200, json={"documentReferenceId": DOCUMENT, "uploadUrl": place})
        self.put = put
        self.said = said
        self.started: list[httpx.Request] = []
        self.stored: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.started.append(request)
            return self.start
        self.stored.append(request)
        if isinstance(self.put, Exception):
            raise self.put
        return httpx.Response(self.put, content=self.said, headers={"location": "https://x.test/"})


def upload(over: Callable[[httpx.Request], httpx.Response], **changes: Any) -> str:
    return asyncio.run(
        answering(over).upload(
            content(**changes), patient=PATIENT, description=DESCRIPTION | {"n": Decimal("1.50")}
        )
    )


def test_the_document_is_described_to_metriport_and_its_bytes_go_to_the_storage() -> None:
    neighbours = Neighbours()

    assert upload(neighbours, data=b"bytes") == DOCUMENT
    [start], [put] = neighbours.started, neighbours.stored
    assert str(start.url) == f"{BASE}/medical/v1/document/upload?patientId={PATIENT}"
    assert start.headers["x-api-key"] == KEY
    assert start.content == b'{"description": "Report", "type": {"text": "Report"}, "n": 1.50}'
    assert (put.method, str(put.url), put.content) == ("PUT", PLACE, b"bytes")
    assert (put.headers["content-length"], put.headers["content-type"]) == ("5", "application/pdf")


def test_the_storage_gets_no_credentials() -> None:
    neighbours = Neighbours()

    upload(neighbours)

    [put] = neighbours.stored
    assert not {"x-api-key", "authorization", "cookie"} & set(put.headers)
    assert KEY not in str(put.headers.raw)


@pytest.mark.parametrize("stated", ["", " ", "text/plain\r\nx-api-key: y", "text/plän", "\x00"])
def test_a_content_type_that_no_header_can_carry_is_not_sent(stated: str) -> None:
    neighbours = Neighbours()

    upload(neighbours, content_type=stated)

    assert neighbours.stored[0].headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "place",
    [
        "ftp://storage.test/x",
        "http://storage.test/x",
        "/x",
        "https://",
        "https://storage.test:port/",
        "file:///x",
        "https://user:secret@storage.test/",
    ],
)
def test_bytes_go_nowhere_but_to_an_encrypted_place(place: str) -> None:
    neighbours = Neighbours(place=place)

    with pytest.raises(Temporary) as caught:
        upload(neighbours)

    assert neighbours.stored == []
    assert place not in str(caught.value)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_document_that_metriport_refuses_is_rejected_with_its_sentence(status: int) -> None:
    refused = {"status": status, "name": "REFUSED", "title": "Refused", "detail": "Not this one."}
    neighbours = Neighbours(start=httpx.Response(status, json=refused))

    with pytest.raises(Rejected) as caught:
        upload(neighbours)

    assert (caught.value.status, caught.value.issues) == (status, ("Not this one.",))
    assert neighbours.stored == []


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 429, 500, 503])
def test_a_refused_account_or_route_says_nothing_about_the_document(status: int) -> None:
    neighbours = Neighbours(start=httpx.Response(status, json={"message": "Forbidden"}))

    with pytest.raises(Temporary):
        upload(neighbours)

    assert neighbours.stored == []


@pytest.mark.parametrize("body", [None, {}, {"documentReferenceId": DOCUMENT}, {"uploadUrl": PLACE}])
def test_an_answer_without_a_place_is_temporary(body: Any) -> None:
    with pytest.raises(Temporary, match="no place"):
        upload(Neighbours(start=httpx.Response(200, json=body)))


@pytest.mark.parametrize("status", [301, 307, 400, 403, 404, 500, 503])
def test_a_storage_that_does_not_take_it_is_tried_again(status: int) -> None:
    neighbours = Neighbours(put=status)

    with pytest.raises(Temporary) as caught:
        upload(neighbours)

    assert str(status) in str(caught.value)
    assert len(neighbours.stored) == 1


@pytest.mark.parametrize(("status", "said"), [(413, b""), (400, b"<Code>EntityTooLarge</Code>")])
def test_a_storage_that_says_too_large_refuses_the_document(status: int, said: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        upload(Neighbours(put=status, said=said))

    assert (caught.value.status, caught.value.issues) == (413, ("the storage says that it is too large",))


@pytest.mark.parametrize(
    ("error", "applied"),
    [(httpx.ConnectError(PLACE), False), (httpx.WriteError(PLACE), True), (httpx.ReadTimeout(PLACE), True)],
)
def test_a_broken_upload_is_temporary_and_hides_the_place(error: Exception, *, applied: bool) -> None:
    with pytest.raises(Temporary) as caught:
        upload(Neighbours(put=error))

    assert caught.value.applied is applied
    assert "storage.test" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_nothing_of_an_upload_is_logged_by_the_libraries(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with server(saying(answer(200))) as storage:
            place = f"{storage.base_url}/d1?X-Amz-Signature=SIGNED"
            started = json.dumps({"documentReferenceId": DOCUMENT, "uploadUrl": place}).encode()
            async with server(saying(answer(200, started))) as heard, client(heard.base_url) as metriport:
                await metriport.upload(
                    content(b"CONTENT"), patient=PATIENT, description={"description": "REPORT"}
                )
            assert storage.requests[0].endswith(b"\r\n\r\nCONTENT")

    with caplog.at_level(logging.DEBUG):
        asyncio.run(run())

    assert not [word for word in ("SIGNED", "CONTENT", "REPORT", KEY) if word in caplog.text]
