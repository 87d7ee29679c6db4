"""Attachments that stand on the web."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from adapter.errors import Rejected, Temporary
from adapter.metriport.content import WebContent
from tests.contract.metriport_client.clients import NOW
from tests.contract.metriport_client.loopback import Say, answer, reset, saying, server, silence

URL = "https://files.test/report.pdf?token=SECRET"


def fetch(
    over: Callable[[httpx.Request], httpx.Response], url: str = URL, most_bytes: int = 100
) -> tuple[bytes, str | None]:
    web = WebContent(now=lambda: NOW, over=httpx.MockTransport(over))
    return asyncio.run(web.fetch(url, most_bytes=most_bytes))


def test_the_bytes_and_their_type_without_any_credentials() -> None:
    asked: list[httpx.Request] = []

    def say(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=b"%PDF", headers={"content-type": "application/pdf"})

    assert fetch(say) == (b"%PDF", "application/pdf")
    [request] = asked
    assert str(request.url) == URL
    assert request.headers["accept-encoding"] == "identity"
    assert set(request.headers) == {"host", "accept", "accept-encoding"}


def test_without_a_stated_type_there_is_none() -> None:
    assert fetch(lambda _: httpx.Response(200, content=b"x")) == (b"x", None)


@pytest.mark.parametrize(("size", "given"), [(0, 0), (99, 99), (100, 100), (101, 101), (5000, 101)])
def test_no_more_than_one_byte_too_many_is_given(size: int, given: int) -> None:
    data, _ = fetch(lambda _: httpx.Response(200, content=b"x" * size))

    assert len(data) == given


def test_reading_stops_when_it_is_too_much() -> None:
    read = 0

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal read
            while True:
                read += 1
                yield b"x" * 10

    data, _ = fetch(lambda _: httpx.Response(200, stream=Endless()))

    assert len(data) == 101
    assert read == 11


def test_content_that_is_encoded_all_the_same_is_decoded() -> None:
    packed = gzip.compress(b"x" * 50)

    data, _ = fetch(lambda _: httpx.Response(200, content=packed, headers={"content-encoding": "gzip"}))

    assert data == b"x" * 50


def test_broken_encoding_is_refused() -> None:
    class Broken(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"not gzip"

    def say(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Broken(), headers={"content-encoding": "gzip"})

    with pytest.raises(Rejected):
        fetch(say)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 410])
def test_an_error_or_a_redirect_is_rejected_with_its_status(status: int) -> None:
    asked: list[httpx.Request] = []

    def say(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(status, content=b"SECRET", headers={"location": "https://elsewhere.test/"})

    with pytest.raises(Rejected) as caught:
        fetch(say)

    assert caught.value.status == status
    assert len(asked) == 1
    assert "SECRET" not in str(caught.value)
    assert "files.test" not in str(caught.value)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_may_pass_is_temporary(status: int) -> None:
    with pytest.raises(Temporary) as caught:
        fetch(lambda _: httpx.Response(status))

    assert caught.value.retry_at is None


def test_retry_after_becomes_a_time() -> None:
    with pytest.raises(Temporary) as caught:
        fetch(lambda _: httpx.Response(503, headers={"retry-after": "20"}))

    assert caught.value.retry_at == NOW + timedelta(seconds=20)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "report.pdf",
        "ftp://files.test/x",
        "file:///etc/passwd",
        "data:text/plain,x",
        "https://",
        "https:///x",
        "https://user:SECRET@files.test/",
        "https://allowed.test@files.test/",
        "https://files.test:port/",
        "https://[",
        "https://xn--/",
        "https://a..test/",
        "https://a b/",
        "https://" + "a" * 64 + ".test/",
        "https://files.test:99999/",
        "https://files.test:-1/",
        "https://files.test/\x00",
    ],
)
def test_a_url_that_is_no_plain_web_address_is_not_asked(url: str) -> None:
    with pytest.raises(Rejected) as caught:
        fetch(lambda _: httpx.Response(200), url)

    assert caught.value.status == 400
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://files.test/",
        "HTTPS://files.test./a?b#c",
        "https://10.0.0.1:8443/",
        "https://[2001:db8::1]/",
        "https://bücher.test/",
    ],
)
def test_other_web_addresses_are_asked(url: str) -> None:
    assert fetch(lambda _: httpx.Response(200, content=b"x"), url) == (b"x", None)


@pytest.mark.parametrize(
    "say",
    [reset, silence, saying(answer(200, b"half", length=8)), saying(b"no http\r\n\r\n")],
    ids=["reset", "silence", "cut", "no http"],
)
def test_a_broken_or_slow_transfer_is_temporary(say: Say) -> None:
    async def run() -> None:
        async with server(say) as heard, WebContent(now=lambda: NOW, seconds=0.1) as web:
            with pytest.raises(Temporary) as caught:
                await web.fetch(f"{heard.base_url}/x?token=SECRET", most_bytes=100)
            assert "SECRET" not in str(caught.value)
            assert caught.value.applied is False

    asyncio.run(run())


def test_a_real_transfer() -> None:
    async def run() -> tuple[bytes, Any]:
        async with (
            server(saying(answer(200, b"x" * 200_000, "content-type: text/plain"))) as heard,
            WebContent(now=lambda: NOW) as web,
        ):
            return await web.fetch(f"{heard.base_url}/x", most_bytes=200_000)

    assert asyncio.run(run()) == (b"x" * 200_000, "text/plain")
