"""Urls that mean harm: each is refused, or ends at the deadline; nothing of it is held, followed or told."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import subprocess
import tracemalloc
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import AdapterError, Rejected, Temporary
from adapter.metriport.addresses import Checked, Resolve, is_public
from adapter.metriport.content import WebContent
from adapter.ports.metriport import Fetched
from tests.contract.metriport_client.clients import NOW
from tests.contract.metriport_client.loopback import Heard, Say, answer, saying, server
from tests.integration.canary import overhearing

SECRET = "quokka"
CAP = 1_000_000
PUBLIC = "93.184.215.14"

Resolved = Sequence[str] | Exception


def resolving(*answers: Resolved) -> tuple[Resolve, list[str]]:
    """A resolver that says the n-th answer to the n-th question, the last one from then on; and what it was asked."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(f"{host}:{port}")
        said = answers[min(len(asked), len(answers)) - 1]
        if isinstance(said, Exception):
            raise said
        return said

    return resolve, asked


async def take(web: WebContent, url: str, *, most_bytes: int = CAP, seconds: float = 5.0) -> int:
    """Fetches as a stream; how many bytes came."""
    size = 0
    async with web.stream(url, most_bytes=most_bytes, seconds=seconds) as fetched:
        async for chunk in fetched.chunks:
            size += len(chunk)
    return size


def met(say: Say, *, seconds: float = 5.0, most_bytes: int = CAP) -> tuple[AdapterError | int, Heard]:
    """What comes of a url on a server that says that: an error, or so many bytes."""

    async def run() -> tuple[AdapterError | int, Heard]:
        async with server(say) as heard, WebContent(now=lambda: NOW, private=True) as web:
            url = f"{heard.base_url}/{SECRET}?X-Amz-Signature={SECRET}"
            try:
                return await take(web, url, seconds=seconds, most_bytes=most_bytes), heard
            except AdapterError as error:
                return error, heard

    return asyncio.run(run())


# --- Where a url may lead -----------------------------------------------------------------------------------

LOOPBACK = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",  # noqa: S104
    "localhost",
    "LOCALHOST.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
    "127\u30020\u30020\u30021",
    "\u24dbocalhost",
    "%6cocalhost",
    f"{SECRET}@127.0.0.1",
    "files.test@127.0.0.1",
    f"{SECRET}:{SECRET}@localhost",
]
METADATA = [
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "100.100.100.200",
    "192.168.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[ff02::1]",
]


@pytest.mark.parametrize("host", [*LOOPBACK, *METADATA])
def test_no_spelling_of_a_private_address_is_connected_to(host: str) -> None:
    async def run() -> tuple[int, int]:
        async with server(saying(answer(200, b"inside"))) as heard, WebContent(now=lambda: NOW) as web:
            with pytest.raises(Rejected) as caught:
                await web.fetch(f"http://{host}:{heard.port}/{SECRET}", most_bytes=CAP)
            assert SECRET not in str(caught.value)
            return caught.value.status, heard.connections

    assert asyncio.run(run()) == (400, 0)


@pytest.mark.parametrize(
    "addresses",
    [
        ["169.254.169.254"],
        ["127.0.0.1"],
        [PUBLIC, "10.0.0.1"],
        ["10.0.0.1", PUBLIC],
        [PUBLIC, "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:127.0.0.1"],
    ],
)
def test_a_name_with_a_private_address_among_its_own_is_refused(addresses: list[str]) -> None:
    async def run() -> int:
        resolve, _ = resolving(addresses)
        async with WebContent(now=lambda: NOW, resolve=resolve) as web:
            with pytest.raises(Rejected) as caught:
                await web.fetch("https://files.test/x", most_bytes=CAP)
            return caught.value.status

    assert asyncio.run(run()) == 400


def _checked(
    *answers: Resolved, refusing: frozenset[str] = frozenset()
) -> tuple[Checked, list[httpx.Request], list[str]]:
    """The check over a network on which everybody answers; whom it asked, and what the resolver was asked."""
    connected: list[httpx.Request] = []

    def network(request: httpx.Request) -> httpx.Response:
        connected.append(
            httpx.Request("GET", request.url, headers=request.headers, extensions=request.extensions)
        )
        if request.url.host in refusing:
            raise httpx.ConnectError("nobody listens")
        return httpx.Response(200, content=b"x")

    resolve, asked = resolving(*answers)
    over = Checked(httpx.MockTransport(network), private=lambda _: False, resolve=resolve)
    return over, connected, asked


def test_the_address_that_was_checked_is_the_one_that_is_asked() -> None:
    over, connected, asked = _checked([PUBLIC], ["127.0.0.1"])

    asyncio.run(WebContent(now=lambda: NOW, over=over).fetch("https://files.test./x?y=z", most_bytes=CAP))

    [request] = connected
    assert asked == ["files.test:443"]
    assert (request.url.scheme, request.url.host, request.url.raw_path) == ("https", PUBLIC, b"/x?y=z")
    assert request.headers["host"] == "files.test."
    assert request.extensions["sni_hostname"] == "files.test"


def test_what_the_name_means_a_moment_later_is_checked_anew() -> None:
    over, connected, asked = _checked([PUBLIC], ["127.0.0.1"])
    web = WebContent(now=lambda: NOW, over=over)

    asyncio.run(web.fetch("http://files.test:8080/", most_bytes=CAP))
    with pytest.raises(Rejected):
        asyncio.run(web.fetch("http://files.test:8080/", most_bytes=CAP))

    assert asked == ["files.test:8080"] * 2
    assert [request.url.host for request in connected] == [PUBLIC]


def test_an_address_that_cannot_be_reached_gives_way_to_the_next() -> None:
    other = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
    over, connected, _ = _checked([PUBLIC, other], refusing=frozenset({PUBLIC}))

    data, _ = asyncio.run(WebContent(now=lambda: NOW, over=over).fetch("http://files.test/", most_bytes=CAP))

    assert data == b"x"
    assert [request.url.host for request in connected] == [PUBLIC, other]


@pytest.mark.parametrize("said", [[], [PUBLIC], socket.gaierror(-2, "files.test"), OSError()], ids=repr)
def test_a_name_that_leads_nowhere_now_is_temporary(said: Resolved) -> None:
    over, _, _ = _checked(said, refusing=frozenset({PUBLIC}))

    with pytest.raises(Temporary) as caught:
        asyncio.run(WebContent(now=lambda: NOW, over=over).fetch("http://files.test/", most_bytes=CAP))

    assert "no connection could be made" in str(caught.value)
    assert "files.test" not in str(caught.value)
    assert caught.value.applied is False


def test_a_resolver_that_keeps_silent_ends_at_the_deadline() -> None:
    async def never(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async def run() -> None:
        async with WebContent(now=lambda: NOW, resolve=never) as web:
            await web.fetch("https://files.test/", most_bytes=CAP, seconds=0.1)

    with pytest.raises(Temporary):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        (f"64:ff9b::{PUBLIC}", True),
        (f"::ffff:{PUBLIC}", True),
        ("0.0.0.0", False),  # noqa: S104
        ("0.1.2.3", False),
        ("10.255.255.255", False),
        ("100.64.0.1", False),
        ("127.255.255.254", False),
        ("169.254.169.254", False),
        ("172.31.255.255", False),
        ("192.0.0.8", False),
        ("192.0.0.192", False),
        ("192.168.255.255", False),
        ("198.18.0.1", False),
        ("203.0.113.1", False),
        ("224.0.0.251", False),
        ("239.255.255.250", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::2", False),
        (f"::{PUBLIC}", False),
        ("fc00::1", False),
        ("fd12:3456::1", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("ff0e::1", False),
        ("100::1", False),
        ("2001::1", False),
        ("2001:db8::1", False),
        ("2002:5db8:d70e::1", False),
        ("64:ff9b:1::1", False),
        ("4000::1", False),
    ],
)
def test_which_addresses_are_public(address: str, *, public: bool) -> None:
    assert is_public(address) is public


@given(st.ip_addresses(v=4))
def test_an_address_within_another_counts_as_itself(inner: Any) -> None:
    assert is_public(f"::ffff:{inner}") is is_public(f"64:ff9b::{inner}") is is_public(str(inner))
    assert not is_public(f"::{inner}")


@pytest.mark.parametrize(
    ("origin", "reached"),
    [
        ("http://127.0.0.1:{port}", True),
        ("http://127.0.0.1:{port}/", True),
        ("HTTP://127.0.0.1:{port}", True),
        ("http://localhost:{port}", False),
        ("http://127.0.0.1", False),
        ("https://127.0.0.1:{port}", False),
        ("127.0.0.1:{port}", False),
        ("", False),
    ],
)
def test_an_origin_that_the_site_trusts_may_be_private_and_no_other(origin: str, *, reached: bool) -> None:
    async def run() -> tuple[bool, int]:
        async with server(saying(answer(200, b"inside"))) as heard:
            trusted = [origin.format(port=heard.port)]
            async with WebContent(now=lambda: NOW, hosts=frozenset(), trusted_origins=trusted) as web:
                try:
                    await web.fetch(f"{heard.base_url}/x", most_bytes=CAP)
                except Rejected:
                    return False, heard.connections
                return True, heard.connections

    assert asyncio.run(run()) == (reached, int(reached))


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("files.test", True),
        ("FILES.test.", True),
        ("eu.store.test", True),
        ("a.b.store.test", True),
        ("store.test", False),
        ("evilstore.test", False),
        ("files.test.evil.test", False),
        ("evil.test", False),
        ("10.0.0.1", False),
    ],
)
def test_only_hosts_that_the_site_allows_are_asked(host: str, *, asked: bool) -> None:
    over, connected, _ = _checked([PUBLIC])
    web = WebContent(now=lambda: NOW, over=over, hosts=frozenset({"Files.test", "*.store.test"}))

    fetched = web.fetch(f"https://{host}/{SECRET}", most_bytes=CAP)
    if asked:
        assert asyncio.run(fetched) == (b"x", None)
    else:
        with pytest.raises(Rejected) as caught:
            asyncio.run(fetched)
        assert caught.value.status == 400
        assert SECRET not in str(caught.value)
    assert len(connected) == int(asked)


# --- TLS under the name, to the address ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for files.test and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-subj", "/CN=files.test", "-addext", "subjectAltName=DNS:files.test", "-days", "2"]
    subprocess.run([*command, *names, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


@pytest.mark.parametrize(
    ("name", "trusted"), [("files.test", True), ("files.test.", True), ("other.test", False)]
)
def test_the_certificate_is_held_against_the_name(
    certificate: tuple[Path, Path], name: str, *, trusted: bool
) -> None:
    names: list[str | None] = []
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*certificate)
    serving.sni_callback = lambda _socket, asked, _context: names.append(asked)

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(200, b"inside"))
        await writer.drain()
        writer.close()

    async def run() -> bytes:
        listening = await asyncio.start_server(say, "127.0.0.1", 0, ssl=serving)
        port = listening.sockets[0].getsockname()[1]
        network = httpx.AsyncHTTPTransport(verify=ssl.create_default_context(cafile=str(certificate[0])))
        resolve, _ = resolving(["127.0.0.1"])
        over = Checked(network, private=lambda _: True, resolve=resolve)
        async with listening, WebContent(now=lambda: NOW, over=over) as web:
            data, _ = await web.fetch(f"https://{name}:{port}/", most_bytes=CAP)
            return data

    if trusted:
        assert asyncio.run(run()) == b"inside"
    else:
        with pytest.raises(Temporary, match="certificate is not trusted"):
            asyncio.run(run())
    assert names == [name.removesuffix(".")]


# --- What a server may say ----------------------------------------------------------------------------------


def _forever(piece: bytes, *, head: bytes = b"", pause: float = 0.0) -> Say:
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return say


BOMB = gzip.compress(bytes(20_000_000))
OPEN_END = b"HTTP/1.1 200 OK\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

REFUSED = {
    "gzip bomb": (400, saying(answer(200, BOMB, "content-encoding: gzip"))),
    "nested bomb": (400, saying(answer(200, gzip.compress(BOMB), "content-encoding: gzip, gzip"))),
    "two headers": (400, saying(answer(200, BOMB, "content-encoding: identity", "content-encoding: gzip"))),
    "brotli": (400, saying(answer(200, b"\x1b", "content-encoding: br"))),
    "deflate": (400, saying(answer(200, b"x", "content-encoding: deflate"))),
    "1 GB announced": (413, saying(answer(200, b"x", length=1_000_000_000))),
    "more digits than fit": (413, saying(answer(200, b"x", length=10**19))),
    "endless": (413, _forever(bytes(65_536), head=OPEN_END)),
    "endless chunks": (413, _forever(b"10000\r\n" + bytes(65_536) + b"\r\n", head=CHUNKED)),
    "one byte over": (413, saying(OPEN_END, bytes(CAP + 1))),
    "to the metadata": (302, saying(answer(302, b"", "location: http://169.254.169.254/latest/"))),
    "to itself": (307, saying(answer(307, b"", f"location: /{SECRET}"))),
    "refresh": (404, saying(answer(404, SECRET.encode(), "refresh: 0; url=http://127.0.0.1/"))),
    "switching": (426, saying(answer(426, SECRET.encode(), "upgrade: h2c"))),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_taken_is_refused_without_being_held(what: str) -> None:
    status, say = REFUSED[what]
    tracemalloc.start()
    try:
        came, heard = met(say)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert isinstance(came, Rejected)
    assert came.status == status
    assert heard.connections == 1
    assert peak < 5_000_000


BROKEN = {
    "a drip": _forever(b"x", head=OPEN_END, pause=0.01),
    "a drip of headers": _forever(b"a: b\r\n", head=b"HTTP/1.1 200 OK\r\n", pause=0.01),
    "a drip before all": _forever(b"H", pause=0.01),
    "endless headers": _forever(b"a: " + b"b" * 10_000 + b"\r\n", head=b"HTTP/1.1 200 OK\r\n"),
    "endless informational": _forever(b"HTTP/1.1 103 Early Hints\r\n\r\n", pause=0.01),
    "less than announced": saying(answer(200, b"x" * 10, length=11)),
    "two lengths": saying(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"),
    "a negative length": saying(answer(200, b"x", length=-1)),
    "a length in hex": saying(b"HTTP/1.1 200 OK\r\ncontent-length: 0x1\r\n\r\nx"),
    "digits without end": saying(f"HTTP/1.1 200 OK\r\ncontent-length: {'9' * 5000}\r\n\r\nx".encode()),
    "a chunk without end": saying(CHUNKED, b"fffffffffffffffffffff\r\n"),
    "chunks that stop": saying(CHUNKED, b"1\r\nx\r\n"),
    "no HTTP": saying(SECRET.encode() * 1000),
    "HTTP/2": saying(b"HTTP/2 200\r\n\r\n"),
    "nothing": saying(),
    "503": saying(answer(503, SECRET.encode())),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_may_be_right_another_time_is_temporary(what: str) -> None:
    came, heard = met(BROKEN[what], seconds=0.3)

    assert isinstance(came, Temporary)
    assert came.applied is False
    assert heard.connections == 1


def test_bytes_beyond_the_announced_are_not_taken() -> None:
    came, _ = met(saying(answer(200, b"x" * 100, length=10)))

    assert came == 10


def test_a_large_content_is_never_in_memory() -> None:
    tracemalloc.start()
    try:
        came, _ = met(saying(OPEN_END, *[bytes(1_000_000)] * 60), most_bytes=60_000_000, seconds=60)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert came == 60_000_000
    assert peak < 10_000_000


def test_after_the_block_nothing_more_comes() -> None:
    async def run() -> None:
        say = _forever(bytes(1000), head=OPEN_END)
        async with server(say) as heard, WebContent(now=lambda: NOW, private=True) as web:
            async with web.stream(heard.base_url, most_bytes=CAP) as fetched:
                await anext(fetched.chunks)
            await anext(fetched.chunks)

    with pytest.raises(StopAsyncIteration):
        asyncio.run(run())


async def _dawdle(stream: AbstractAsyncContextManager[Fetched]) -> None:
    async with stream:
        await asyncio.Event().wait()


def test_a_caller_that_dawdles_meets_the_same_deadline() -> None:
    async def run() -> None:
        async with (
            server(saying(answer(200, b"x"))) as heard,
            WebContent(now=lambda: NOW, private=True) as web,
        ):
            stream = web.stream(heard.base_url, most_bytes=CAP, seconds=0.1)
            await asyncio.wait_for(_dawdle(stream), 5)

    with pytest.raises(Temporary):
        asyncio.run(run())


def test_nothing_is_carried_from_one_url_to_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login {SECRET} password {SECRET}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def run() -> Heard:
        cookie = f"set-cookie: a={SECRET}; path=/"
        async with (
            server(saying(answer(200, b"x", cookie)), keep_open=True) as heard,
            WebContent(now=lambda: NOW, private=True) as web,
        ):
            for _ in range(2):
                await web.fetch(heard.base_url, most_bytes=CAP)
            return heard

    heard = asyncio.run(run())

    assert heard.connections == 2
    assert all(SECRET.encode() not in request for request in heard.requests)
    assert len(set(heard.requests)) == 1


def test_nothing_of_it_is_told() -> None:
    refused = [*(say for _, say in REFUSED.values()), *BROKEN.values()]

    with overhearing(style="json") as heard:
        for say in refused:
            met(say, seconds=0.3)
        met(saying(answer(200, SECRET.encode(), f"x-{SECRET}: {SECRET}")))

    assert len(heard.errors) == len(refused)
    told = "\n".join([*heard.texts(), heard.events()])
    assert SECRET not in told
    assert "127.0.0.1" not in told
