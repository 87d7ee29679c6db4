"""The send on real sockets: once, in time, and honest about what is not known."""

from __future__ import annotations

import asyncio
import json
import socket

import httpx
import pytest

from adapter.domain.outcome import LaneStopped, Sent, TooLate, Unknown, Waiting
from tests.contract.metriport_client.clients import KEY, PATIENT, a_send, always, answering, client
from tests.contract.metriport_client.loopback import Say, answer, reset, saying, server, silence

ID = "0190b1c2-0000-7000-8000-000000000001"
ACCEPTED = json.dumps({"id": ID, "status": "processing"}).encode()
OK = answer(200, ACCEPTED)


def test_a_send_is_one_post_with_the_key_and_the_body() -> None:
    async def run() -> tuple[object, list[bytes]]:
        async with server(saying(OK)) as heard, client(heard.base_url + "/") as metriport:
            return await metriport.send(a_send(subject="Grüße 😀"), in_time=always), heard.requests

    found, requests = asyncio.run(run())

    assert found == Sent(message_id=ID)
    [request] = requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(f"POST /medical/v1/message?patientId={PATIENT} HTTP/1.1\r\n".encode())
    assert f"x-api-key: {KEY}".encode() in head
    assert b"connection: close" in head
    assert json.loads(body)["subject"] == "Grüße 😀"


def test_each_send_has_a_connection_of_its_own_even_if_the_server_would_keep_it() -> None:
    async def run() -> tuple[int, int]:
        async with server(saying(OK), keep_open=True) as heard, client(heard.base_url) as metriport:
            for _ in range(3):
                assert await metriport.send(a_send(), in_time=always) == Sent(message_id=ID)
            return heard.connections, len(heard.requests)

    assert asyncio.run(run()) == (3, 3)


@pytest.mark.parametrize(
    "say",
    [
        reset,
        saying(),
        saying(b"HTTP/1.1 200 OK\r\ncontent-le"),
        saying(b"this is not HTTP at all\r\n\r\n"),
        saying(answer(200, ACCEPTED[:9], length=len(ACCEPTED))),
        saying(answer(200, b"not gzip", "content-encoding: gzip")),
        saying(answer(302, b"", "location: https://elsewhere.test/")),
        saying(answer(500, ACCEPTED)),
        saying(answer(200, b"{}")),
    ],
    ids=["reset", "closed", "head cut", "no http", "body cut", "bad gzip", "redirect", "500", "no id"],
)
def test_whatever_happens_after_the_first_byte_is_unknown_and_posted_once(say: Say) -> None:
    async def run() -> tuple[object, int]:
        async with server(say) as heard, client(heard.base_url) as metriport:
            return await metriport.send(a_send(), in_time=always), len(heard.requests)

    found, requests = asyncio.run(run())

    assert isinstance(found, Unknown)
    assert requests == 1


def test_no_answer_within_the_deadline_is_unknown() -> None:
    async def run() -> object:
        async with server(silence) as heard, client(heard.base_url, send_seconds=1.0) as metriport:
            return await metriport.send(a_send(), in_time=always)

    assert asyncio.run(run()) == Unknown(why="no whole answer came in time (TimeoutError)")


def test_an_answer_that_trickles_does_not_outlast_the_deadline() -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x-more: 1\r\n")
            await asyncio.sleep(0.005)

    async def run() -> object:
        async with server(trickle) as heard, client(heard.base_url, send_seconds=1.0) as metriport:
            return await metriport.send(a_send(), in_time=always)

    assert isinstance(asyncio.run(run()), Unknown)


def test_a_refused_connection_is_waited_out() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: connecting is refused
        port = reserved.getsockname()[1]

        async def run() -> object:
            async with client(f"http://127.0.0.1:{port}") as metriport:
                return await metriport.send(a_send(), in_time=always)

        assert asyncio.run(run()) == Waiting(why="no connection could be made (ConnectError)")


def test_a_server_without_tls_was_sent_nothing() -> None:
    async def run() -> tuple[object, list[bytes]]:
        async with (
            server(saying(OK)) as heard,
            client(heard.base_url.replace("http", "https"), send_seconds=0.1) as metriport,
        ):
            return await metriport.send(a_send(), in_time=always), heard.requests

    found, requests = asyncio.run(run())

    assert isinstance(found, Waiting)
    assert requests == []


@pytest.mark.parametrize("asked_before_it_is_late", [0, 1])
def test_a_late_send_writes_no_byte(asked_before_it_is_late: int) -> None:
    """In time when it begins to connect, late when the connection stands: the second question decides."""
    asked: list[int] = []

    def in_time() -> bool:
        asked.append(len(asked))
        return len(asked) <= asked_before_it_is_late

    async def run() -> tuple[object, int, list[bytes]]:
        async with server(saying(OK)) as heard, client(heard.base_url) as metriport:
            found = await metriport.send(a_send(), in_time=in_time)
            await asyncio.sleep(0.02)
            return found, heard.connections, heard.requests

    found, connections, requests = asyncio.run(run())

    assert found == TooLate()
    assert connections == asked_before_it_is_late
    assert requests == []


def test_after_a_late_send_the_next_one_goes() -> None:
    answers = iter([True, False, True, True])

    async def run() -> list[object]:
        async with server(saying(OK)) as heard, client(heard.base_url) as metriport:
            return [await metriport.send(a_send(), in_time=lambda: next(answers)) for _ in range(2)]

    assert asyncio.run(run()) == [TooLate(), Sent(message_id=ID)]


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("x"),
        httpx.ConnectTimeout("x"),
        httpx.PoolTimeout("x"),
        httpx.UnsupportedProtocol("x"),
    ],
)
def test_without_a_connection_it_waits(error: httpx.TransportError) -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise error

    found = asyncio.run(answering(fail).send(a_send(), in_time=always))

    assert found == Waiting(why=f"no connection could be made ({type(error).__name__})")


def test_a_failure_to_connect_after_the_first_byte_would_still_be_unknown() -> None:
    class Strange(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await request.extensions["trace"]("connection.connect_tcp.started", {})
            await request.extensions["trace"]("http11.send_request_headers.started", {})
            raise httpx.ConnectError("x")

    assert isinstance(asyncio.run(client(over=Strange()).send(a_send(), in_time=always)), Unknown)


@pytest.mark.parametrize(
    "error",
    [
        httpx.ReadTimeout("x"),
        httpx.WriteTimeout("x"),
        httpx.ReadError("x"),
        httpx.WriteError("x"),
        httpx.RemoteProtocolError("x"),
        httpx.ProxyError("x"),
        ConnectionResetError("x"),
        RuntimeError("x"),
        ValueError("x"),
    ],
)
def test_any_other_failure_is_unknown_and_never_raised(error: Exception) -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise error

    found = asyncio.run(answering(fail).send(a_send(), in_time=always))

    assert isinstance(found, Unknown)
    assert type(error).__name__ in found.why


def test_an_untrusted_certificate_is_named() -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")

    found = asyncio.run(answering(fail).send(a_send(), in_time=always))

    assert isinstance(found, Waiting)
    assert "its certificate is not trusted" in found.why


def test_a_body_that_is_no_json_is_not_raised_either() -> None:
    found = asyncio.run(answering(lambda _: httpx.Response(200)).send(a_send(body=object()), in_time=always))

    assert isinstance(found, Unknown)


def test_a_cancelled_send_is_cancelled() -> None:
    async def run() -> None:
        heard = asyncio.Event()

        async def hear(writer: asyncio.StreamWriter) -> None:
            heard.set()
            await silence(writer)

        async with server(hear) as neighbour, client(neighbour.base_url) as metriport:
            sending = asyncio.create_task(metriport.send(a_send(), in_time=always))
            await heard.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending

    asyncio.run(run())


def test_a_halved_character_is_sent_as_an_escape() -> None:
    bodies: list[bytes] = []

    def keep(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return httpx.Response(200, content=ACCEPTED)

    found = asyncio.run(answering(keep).send(a_send(body="\ud83d"), in_time=always))

    assert found == Sent(message_id=ID)
    assert b'"\\ud83d"' in bodies[0]


def test_a_forbidden_key_stops_the_lane() -> None:
    found = asyncio.run(
        answering(lambda _: httpx.Response(403, json={"message": "Forbidden"})).send(a_send(), in_time=always)
    )

    assert found == LaneStopped(why="Metriport answered 403; the API key is refused: check metriport.api_key")
