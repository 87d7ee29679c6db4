"""The pretend Metriport and a receiver of its webhooks, on real sockets of this host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from adapter.simulators.metriport import World
from adapter.simulators.shell import Shell
from tests.neighbours.simulator import free_port


@asynccontextmanager
async def serving(application: ASGIApp, port: int, *, lifespan: Any = "on") -> AsyncIterator[str]:
    """Serves until the block ends; gives the base URL."""
    config = uvicorn.Config(
        application, host="127.0.0.1", port=port, log_level="critical", ws="none", lifespan=lifespan
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def metriport(**options: Any) -> AsyncIterator[tuple[World, str]]:
    """A world behind a socket, on the wall clock."""
    port = free_port()
    world = World(public_url=f"http://127.0.0.1:{port}", **options)
    async with serving(Shell(world), port) as base:
        yield world, base


@dataclass
class Receiver:
    """Answers webhook calls with 200 and keeps them."""

    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        self.calls.append(({name.decode(): value.decode() for name, value in scope["headers"]}, body))
        self.changed.set()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def until(self, enough: Callable[[int], bool]) -> None:
        """Waits for calls."""
        async with asyncio.timeout(10):
            while not enough(len(self.calls)):
                self.changed.clear()
                await self.changed.wait()
