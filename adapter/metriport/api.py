"""The way to Metriport's API: one origin, one key, and what its answers have in common."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import simplejson

from adapter.domain.episode import Hear, heard_by, nobody_hears
from adapter.domain.resource import obj, text
from adapter.errors import ConfigError, Temporary
from adapter.metriport import wire
from adapter.metriport.exchange import FAILURES, Answered, broken, exchange, transport, web_url

READ_SECONDS: Final = 20.0  # what the vendor's own client library allows
PAGE: Final = 500
MOST_PAGES: Final = 200
MOST_BYTES: Final = 64_000_000  # a page of 500 messages with every character escaped is a quarter of that

_KEY: Final = re.compile(r"[!-~]+")

Query = Mapping[str, str | int]


class Cut(Temporary):
    """A list says that it goes on, and cannot be followed: what was read of it is not the whole."""


class Api:
    """What every group of calls is made with.

    Raises:
        ConfigError: the base or the key cannot be used.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        now: Callable[[], datetime],
        over: httpx.AsyncBaseTransport | None = None,
        hear: Hear = nobody_hears,
    ) -> None:
        self._hear = hear
        self._base = _base(base_url)
        self._key = _key(api_key)
        self._now = now
        self._reading = over or transport(keep_alive=4)

    async def _pages(self, path: str, query: Query, *, doing: str) -> AsyncIterator[Any]:
        """The JSON of each page, until none follows.

        Raises:
            Cut: after the last page that can be read: the next is on another host, was read before, or is one too many.
        """
        url: httpx.URL | None = self._url(path, query)
        seen: set[httpx.URL] = set()
        while url is not None and url not in seen and len(seen) < MOST_PAGES:
            seen.add(url)
            value = wire.read_json((await self._get(url, doing=doing)).body)
            yield value
            stated = obj(obj(value).get("meta")).get("nextPage")
            if not stated:
                return
            link = text(stated)
            url = self._own(link) if link else None
        where = "it goes on at another place" if url is None else "it does not end"
        raise Cut(f"{doing}: after {len(seen)} pages {where}.", applied=False)

    async def _read(self, path: str, query: Query, *, doing: str) -> Answered:
        return await self._get(self._url(path, query), doing=doing)

    async def _get(self, url: httpx.URL, *, doing: str) -> Answered:
        request = httpx.Request("GET", url, headers=self._headers())
        return await self._exchange(self._reading, request, doing=doing, applied=False)

    async def _exchange(
        self, over: httpx.AsyncBaseTransport, request: httpx.Request, *, doing: str, applied: bool
    ) -> Answered:
        with heard_by(self._hear):
            try:
                answered = await exchange(over, request, seconds=READ_SECONDS, most_bytes=MOST_BYTES)
            except FAILURES as error:
                raise broken(error, doing=doing, applied=applied) from None
            refused = answered.refusal(doing=doing, now=self._now())
            if refused:
                raise refused
        return answered

    def _request(
        self, method: str, path: str, query: Query, *, json_body: Mapping[str, Any]
    ) -> httpx.Request:
        headers = self._headers() | {"content-type": "application/json"}
        # ASCII, because half a surrogate pair has no UTF-8; numbers of FHIR resources are Decimals.
        body = simplejson.dumps(json_body, ensure_ascii=True, use_decimal=True).encode("ascii")
        return httpx.Request(method, self._url(path, query), headers=headers, content=body)

    def _headers(self) -> dict[str, str]:
        return {"x-api-key": self._key, "accept": "application/json", "user-agent": "metriport-fhir-adapter"}

    def _url(self, path: str, query: Query) -> httpx.URL:
        # As the vendor's client library encodes: space as +, @ as %40, comma and colon as they are.
        encoded = urlencode(query, safe=",:", errors="replace")
        base = str(self._base).rstrip("/")
        place = path if path.startswith("/") else f"/medical/v1/{path}"
        return httpx.URL(f"{base}{place}" + (f"?{encoded}" if encoded else ""))

    def _own(self, link: str) -> httpx.URL | None:
        """The link, when it stays on Metriport's origin: the key goes nowhere else."""
        url = web_url(link, base=self._base)
        return url if url and _origin(url) == _origin(self._base) else None


def _base(stated: str) -> httpx.URL:
    url = web_url(stated.rstrip("/"))
    if url is None:
        raise ConfigError("metriport.base_url is not the address of a server: https://host, nothing more.")
    if url.query or url.fragment:
        raise ConfigError("metriport.base_url has a query or a fragment; it is https://host, nothing more.")
    return url


def _key(stated: str) -> str:
    if not _KEY.fullmatch(stated.strip()):
        raise ConfigError("metriport.api_key is empty or has characters that an HTTP header cannot carry.")
    return stated.strip()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
