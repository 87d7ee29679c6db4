"""What stands on the web, outside the FHIR server (`ports.metriport.Web`): the one way to fetch from a foreign url."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self

import httpx

from adapter.errors import Rejected, Temporary
from adapter.metriport import wire
from adapter.metriport.addresses import Checked, Resolve, host_of, port_of, resolve
from adapter.metriport.exchange import FAILURES, broken, timed, transport, web_url
from adapter.ports.mail import NotGiven
from adapter.ports.metriport import Fetched

FETCH_SECONDS: Final = 30.0

_DOING: Final = "Fetching from a url"
_PASSING: Final = frozenset({408, 425, 429})
_TOO_LARGE: Final = 413
_ASKED: Final = {"accept": "*/*", "accept-encoding": "identity"}

_Origin = tuple[str, str, int]


class WebContent:
    """Fetches without credentials, cookies or redirects, and from public addresses only.

    `hosts` narrows it to these hosts (`files.example.org`, `*.example.org`); `None` is all. With `private`,
    addresses inside the site's own network are fine, too. Both are so for `trusted_origins` in any case.

    What comes compressed is refused. It is asked for as it is, and storages that answer otherwise have it stored
    otherwise, which Metriport does not do; so there is nothing to inflate here, and one size to watch.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        over: httpx.AsyncBaseTransport | None = None,
        private: bool = False,
        hosts: frozenset[str] | None = None,
        trusted_origins: Iterable[str] = (),
        resolve: Resolve = resolve,
    ) -> None:
        self._now = now
        self._private = private
        self._hosts = hosts
        self._trusted = {_origin(url) for origin in trusted_origins if (url := web_url(origin))}
        self._over = over or Checked(transport(keep_alive=0), private=self._may_be_private, resolve=resolve)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._over.aclose()

    async def fetch(
        self, url: str, *, most_bytes: int, seconds: float = FETCH_SECONDS
    ) -> tuple[bytes, str | None]:
        """The bytes and the content type. Raises as `stream` does."""
        async with self.stream(url, most_bytes=most_bytes, seconds=seconds) as fetched:
            return b"".join([chunk async for chunk in fetched.chunks]), fetched.content_type

    @asynccontextmanager
    async def stream(
        self, url: str, *, most_bytes: int, seconds: float = FETCH_SECONDS
    ) -> AsyncIterator[Fetched]:
        """The bytes as they come in, at most `most_bytes` of them; the whole block has `seconds` to end.

        Raises:
            Temporary: no answer now, or not all of it in time; between two chunks, too.
            Rejected: the url answers with an error, or (400) is none that may be fetched, or (413) there are more
                bytes; between two chunks, too. The text never holds the url.
        """
        request = timed(httpx.Request("GET", self._allowed(url), headers=_ASKED), seconds=seconds)
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                response = await self._answer(request)
                try:
                    length = self._check(response, most_bytes=most_bytes)
                    async with aclosing(_chunks(response, most_bytes=most_bytes)) as chunks:
                        kind = response.headers.get("content-type")
                        yield Fetched(content_type=kind, length=length, chunks=chunks)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise broken(error, doing=_DOING, applied=False) from None

    def _allowed(self, url: str) -> httpx.URL:
        parsed = web_url(url)
        if parsed is None:
            raise Rejected(f"{_DOING}: only plain http and https urls are fetched.", status=400)
        named = self._hosts is None or any(_fits(host_of(parsed), host) for host in self._hosts)
        if not named and _origin(parsed) not in self._trusted:
            raise Rejected(f"{_DOING}: its host is not one of those that the site allows.", status=400)
        return parsed

    def _may_be_private(self, url: httpx.URL) -> bool:
        return self._private or _origin(url) in self._trusted

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._over.handle_async_request(request)
        except FAILURES as error:
            raise broken(error, doing=_DOING, applied=False) from None

    def _check(self, response: httpx.Response, *, most_bytes: int) -> int | None:
        """How many bytes it announces, when it may be read at all."""
        status = response.status_code
        if status // 100 == 5 or status in _PASSING:  # noqa: PLR2004
            wait = wire.retry_after(response.headers, now=self._now())
            retry_at = None if wait is None else self._now() + timedelta(seconds=wait)
            raise Temporary(f"{_DOING}: it answers {status}.", retry_at=retry_at, applied=False)
        if status // 100 != 2:  # noqa: PLR2004
            raise NotGiven(f"{_DOING}: it answers {status}.", status=status)
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise Rejected(f"{_DOING}: it comes compressed, which was not asked for.", status=400)
        stated = response.headers.get("content-length")
        length = (
            int(stated) if stated else None
        )  # h11 lets nothing but digits through, and 20 of them at most
        if length is not None and length > most_bytes:
            raise _too_large(most_bytes)
        return length


async def _chunks(response: httpx.Response, *, most_bytes: int) -> AsyncGenerator[bytes, None]:
    size = 0
    try:
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > most_bytes:
                raise _too_large(most_bytes)
            yield chunk
    except FAILURES as error:
        raise broken(error, doing=_DOING, applied=False) from None


def _too_large(most_bytes: int) -> Rejected:
    return Rejected(f"{_DOING}: it has more than {most_bytes} bytes.", status=_TOO_LARGE)


def _origin(url: httpx.URL) -> _Origin:
    return url.scheme, host_of(url), port_of(url)


def _fits(host: str, allowed: str) -> bool:
    stated = allowed.lower()
    return host.endswith(stated[1:]) if stated.startswith("*.") else host == stated
