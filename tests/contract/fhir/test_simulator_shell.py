"""The shell that puts a pretend neighbour behind a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapter.simulators.http import Call, Request, Response
from adapter.simulators.shell import ConnectionDropped, Shell, utc_now
from tests.neighbours.endpoint import Endpoint

NOW = datetime(2024, 1, 1, tzinfo=UTC)


class Script:
    """A neighbour that answers one thing, and has calls to make."""

    def __init__(self, response: Response, *, calls: Sequence[Call] = ()) -> None:
        self.response = response
        self.calls = list(calls)
        self.requests: list[Request] = []
        self.ended: list[tuple[str, int | None]] = []
        self.all_ended = asyncio.Event()
        self._left = len(self.calls)

    def handle(self, request: Request, now: datetime) -> Response:
        assert now.tzinfo is not None
        self.requests.append(request)
        return self.response

    def calls_due(self, now: datetime) -> Sequence[Call]:
        assert now.tzinfo is not None
        calls, self.calls = self.calls, []
        return calls

    def call_ended(self, call: Call, status: int | None, now: datetime) -> None:
        assert now.tzinfo is not None
        self.ended.append((call.id, status))
        if len(self.ended) == self._left:
            self.all_ended.set()

    def next_at(self) -> datetime | None:
        return NOW + timedelta(seconds=0.01) if len(self.ended) % 2 else None


def _asked(script: Script, method: str = "GET", url: str = "/", **more: bytes) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=Shell(script))
        async with httpx.AsyncClient(transport=transport, base_url="http://sim.example") as client:
            return await client.request(method, url, **more)  # type: ignore[arg-type]

    return asyncio.run(ask())


def test_a_request_reaches_the_world_whole() -> None:
    script = Script(Response(status=201, headers={"Content-Type": "text/plain", "X-One": "1"}, body=b"made"))

    answer = _asked(script, "POST", "/a/b?x=1&y=&x=2", content=b"hello")

    (request,) = script.requests
    assert (request.method, request.path, request.body) == ("POST", "/a/b", b"hello")
    assert request.parameters == [("x", "1"), ("y", ""), ("x", "2")]
    assert request.headers["host"] == "sim.example"
    assert (answer.status_code, answer.text, answer.headers["x-one"]) == (201, "made", "1")
    assert answer.headers["content-length"] == "4"


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_announces_no_length(status: int) -> None:
    assert "content-length" not in _asked(Script(Response(status=status))).headers


def test_a_body_may_come_in_pieces() -> None:
    script = Script(Response(status=200))
    pieces = [
        {"type": "http.request", "body": b"one ", "more_body": True},
        {"type": "http.request", "body": b"two", "more_body": False},
    ]
    scope = {"type": "http", "method": "PUT", "path": "/", "query_string": b"", "headers": []}

    asyncio.run(Shell(script)(scope, _pieces(pieces), _ignore))

    assert script.requests[0].body == b"one two"


def _pieces(pieces: list[dict[str, object]]) -> Callable[[], Awaitable[dict[str, object]]]:
    async def receive() -> dict[str, object]:
        return pieces.pop(0)

    return receive


async def _ignore(_message: object) -> None: ...


def test_a_late_answer_comes_late() -> None:
    started = utc_now()

    _asked(Script(Response(status=200, delay_seconds=0.05)))

    assert utc_now() - started >= timedelta(seconds=0.05)


def test_a_dropped_connection_has_no_answer() -> None:
    with pytest.raises(ConnectionDropped):
        _asked(Script(Response(status=0, drop=True)))


def test_the_worlds_own_calls_are_made(endpoint: Endpoint) -> None:
    name = "shell-calls"
    endpoint.statuses[name] = 202
    calls = [
        Call(id="1", method="POST", url=f"{endpoint.url}/{name}", headers={"X-One": "1"}, body=b"ring"),
        Call(id="2", method="POST", url="http://127.0.0.1:9/nobody", timeout_seconds=1),
    ]
    script = Script(Response(status=200), calls=calls)

    async def run() -> None:
        async with Shell(script).running():
            await script.all_ended.wait()

    asyncio.run(run())

    (received,) = endpoint.wait_for(name, 1)
    assert (received.body, received.headers["x-one"]) == (b"ring", "1")
    assert sorted(script.ended) == [("1", 202), ("2", None)]


def test_calls_are_made_from_startup_to_shutdown(endpoint: Endpoint) -> None:
    name = "shell-lifespan"
    call = Call(id="1", method="POST", url=f"{endpoint.url}/{name}")
    script = Script(Response(status=200), calls=[call])
    sent: list[object] = []

    async def run() -> None:
        messages: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        messages.put_nowait({"type": "lifespan.startup"})

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message["type"])

        serving = asyncio.create_task(Shell(script)({"type": "lifespan"}, messages.get, send))
        await script.all_ended.wait()
        messages.put_nowait({"type": "lifespan.shutdown"})
        await serving

    asyncio.run(run())

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert script.ended == [("1", 200)]
