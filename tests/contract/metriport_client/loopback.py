"""A server on the loopback that says exactly the bytes a test wants, and keeps what it was told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass
class Heard:
    """What came in: the requests in order, and how many connections."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Say = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """The bytes of one answer; `length` states another length than the body has."""
    lines = [
        f"HTTP/1.1 {status} Whatever",
        f"content-length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def saying(*parts: bytes) -> Say:
    """Says the parts, then ends the connection."""

    async def say(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return say


async def reset(writer: asyncio.StreamWriter) -> None:
    """Breaks the connection off without a word."""
    writer.transport.abort()


async def silence(_writer: asyncio.StreamWriter) -> None:
    """Says nothing for longer than anybody waits."""
    await asyncio.sleep(30)


@asynccontextmanager
async def server(*says: Say, keep_open: bool = False) -> AsyncIterator[Heard]:
    """Serves: the n-th request is answered by the n-th of `says`, the last one from then on."""
    heard = Heard()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.connections += 1
        try:
            while request := await _request(reader):
                heard.requests.append(request)
                await says[min(len(heard.requests), len(says)) - 1](writer)
                if not keep_open:
                    break
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    heard.port = listening.sockets[0].getsockname()[1]
    try:
        yield heard
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listening.wait_closed()


async def _request(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return head + await reader.readexactly(int(length[1]) if length else 0)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
