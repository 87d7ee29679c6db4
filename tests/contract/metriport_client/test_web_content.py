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


@pytest.mark.parametrize("size", [0, 99, 100])
def test_all_of_it_is_given(size: int) -> None:
    data, _ = fetch(lambda _: httpx.Response(200, content=b"x" * size))

    assert len(data) == size


class Endless(httpx.AsyncByteStream):
    """Never ends, and counts what was taken."""

    def __init__(self) -> None:
        self.read = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.read += 1
            yield b"x" * 10

    async def aclose(self) -> None:
        self.closed = True


def test_reading_stops_when_it_is_too_much() -> None:
    body = Endless()

    with pytest.raises(Rejected) as caught:
        fetch(lambda _: httpx.Response(200, stream=body))

    assert caught.value.status == 413
    assert (body.read, body.closed) == (11, True)


def test_what_announces_too_much_is_not_read() -> None:
    body = Endless()

    with pytest.raises(Rejected) as caught:
        fetch(lambda _: httpx.Response(200, stream=body, headers={"content-length": "101"}))

    assert caught.value.status == 413
    assert (body.read, body.closed) == (0, True)


@pytest.mark.parametrize(
    "encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "identity, gzip", "x", "GZIP"]
)
def test_what_comes_compressed_is_refused_unread(encoding: str) -> None:
    body = Endless()

    with pytest.raises(Rejected) as caught:
        fetch(lambda _: httpx.Response(200, stream=body, headers={"content-encoding": encoding}))

    assert caught.value.status == 400
    assert (body.read, body.closed) == (0, True)


def test_gzip_as_a_content_type_is_bytes_like_any() -> None:
    packed = gzip.compress(b"x" * 50)
    headers = {"content-type": "application/gzip", "content-encoding": "Identity"}

    assert fetch(lambda _: httpx.Response(200, content=packed, headers=headers)) == (
        packed,
        "application/gzip",
    )


def test_a_stream_tells_what_is_coming() -> None:
    async def run() -> tuple[str | None, int | None, list[bytes]]:
        web = WebContent(
            now=lambda: NOW, over=httpx.MockTransport(lambda _: httpx.Response(200, text="hello"))
        )
        async with web.stream(URL, most_bytes=100) as fetched:
            return fetched.content_type, fetched.length, [chunk async for chunk in fetched.chunks]

    assert asyncio.run(run()) == ("text/plain; charset=utf-8", 5, [b"hello"])


def test_what_goes_wrong_beside_the_stream_keeps_its_name() -> None:
    async def run() -> None:
        web = WebContent(
            now=lambda: NOW, over=httpx.MockTransport(lambda _: httpx.Response(200, text="hello"))
        )
        async with web.stream(URL, most_bytes=100):
            raise TimeoutError("of the caller's own")

    with pytest.raises(TimeoutError, match="own"):
        asyncio.run(run())


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
        async with server(say) as heard, WebContent(now=lambda: NOW, private=True) as web:
            with pytest.raises(Temporary) as caught:
                await web.fetch(f"{heard.base_url}/x?token=SECRET", most_bytes=100, seconds=0.1)
            assert "SECRET" not in str(caught.value)
            assert caught.value.applied is False

    asyncio.run(run())


def test_a_real_transfer() -> None:
    async def run() -> tuple[bytes, Any]:
        async with (
            server(saying(answer(200, b"x" * 200_000, "content-type: text/plain"))) as heard,
            WebContent(now=lambda: NOW, private=True) as web,
        ):
            return await web.fetch(f"{heard.base_url}/x", most_bytes=200_000)

    assert asyncio.run(run()) == (b"x" * 200_000, "text/plain")
