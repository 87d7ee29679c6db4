"""A pretend neighbour behind a socket: the only part of the simulators that does I/O."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import httpx
from starlette.types import Receive, Scope, Send

from adapter.simulators.http import Call, Neighbour, Request, Response

_IDLE_SECONDS = 3600.0


class ConnectionDropped(ConnectionError):
    """The pretend neighbour ended the connection without an answer."""


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


class Shell:
    """ASGI application around one world; `running()` makes the calls that the world itself wants to make."""

    def __init__(self, world: Neighbour, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.world = world
        self._clock = clock
        self._changed = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; a lifespan scope runs the world's own calls until shutdown."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        request = await _read(scope, receive)
        if request is None:
            return
        response = self.world.handle(request, self._clock())
        self._changed.set()
        if response.delay_seconds:
            await asyncio.sleep(response.delay_seconds)
        await _answer(response, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Makes the world's own calls while the block runs."""
        task = asyncio.create_task(self._make_calls())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            # Awaiting it would raise its cancellation here, after which Python 3.11 traces no further line.
            task.cancelled() or task.result()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _make_calls(self) -> None:
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                for call in self.world.calls_due(self._clock()):
                    group.create_task(self._make(client, call))
                due = self.world.next_at()
                wait = _IDLE_SECONDS if due is None else max(0.0, (due - self._clock()).total_seconds())
                # Not wait_for: Python 3.11's loses a cancellation that meets the event.
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()

    async def _make(self, client: httpx.AsyncClient, call: Call) -> None:
        status: int | None = None
        with suppress(httpx.HTTPError, httpx.InvalidURL):
            answer = await client.request(
                call.method,
                call.url,
                headers=dict(call.headers),
                content=call.body,
                timeout=call.timeout_seconds,
            )
            status = answer.status_code
        self.world.call_ended(call, status, self._clock())
        self._changed.set()


async def _read(scope: Scope, receive: Receive) -> Request | None:
    """The request; `None` when the client left before its end."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        body=bytes(body),
    )


async def _answer(response: Response, send: Send) -> None:
    if response.drop:
        # Announcing more than is sent makes the server close the socket under the client.
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        raise ConnectionDropped
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()
    ]
    if response.status not in {204, 304}:
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


__all__ = ["ConnectionDropped", "Shell", "utc_now"]
