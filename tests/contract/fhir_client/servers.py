"""The FHIR servers that the client is tried on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, TypeVar

import httpx

from adapter.fhir.client import FhirClient

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
BASE: Final = "https://fhir.example.org/fhir"

_T = TypeVar("_T")
Rule = Callable[[httpx.Request], httpx.Response | None]


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server and the way to it."""

    base_url: str
    way: Callable[[], httpx.AsyncBaseTransport] = httpx.AsyncHTTPTransport

    def run(self, work: Callable[[FhirClient], Awaitable[_T]], *, authorization: str | None = None) -> _T:
        """What the work gives, done with a client of its own."""

        async def running() -> _T:
            async with httpx.AsyncClient(
                transport=self.way(), trust_env=False, follow_redirects=True, auth=("not", "meant")
            ) as http:
                return await work(
                    FhirClient(http, self.base_url, authorization=authorization, now=lambda: NOW)
                )

        return asyncio.run(running())

    def but(self, rule: Rule) -> Server:
        """The same server, except where the rule answers in its place or changes what it is asked."""
        return replace(self, way=lambda: _Between(self.way(), rule))


class _Between(httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncBaseTransport, rule: Rule) -> None:
        self._inner = inner
        self._rule = rule

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self._rule(request) or await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass
class Scripted:
    """Answers in turn what it was given, an exception by raising it, the last one for ever; keeps what it was asked."""

    answers: list[httpx.Response | Exception]
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answers one request."""
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def server(self) -> Server:
        """The server that answers so."""
        return Server(base_url=BASE, way=lambda: httpx.MockTransport(self))


def scripted(*answers: httpx.Response | Exception) -> Scripted:
    """A server that answers exactly so."""
    return Scripted(list(answers))
