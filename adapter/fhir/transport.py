"""fhirpy's asynchronous client on one pooled `httpx.AsyncClient`.

Stock fhirpy opens a new aiohttp session for each call, cannot send `If-Match` and reads numbers as floats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx
from fhirpy import AsyncFHIRClient

from adapter.domain.episode import Hear, heard_by, nobody_hears
from adapter.domain.resource import text
from adapter.errors import Rejected, Temporary
from adapter.fhir import wire
from adapter.fhir.answers import Answer, error_in
from adapter.fhir.binary import Body

TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
WHOLE_SECONDS: Final = 60.0
WHOLE_SECONDS_OF_CONTENT: Final = 300.0
# HAPI keeps silent for half a minute over 45 MB.
CONTENT_TIMEOUT: Final = httpx.Timeout(WHOLE_SECONDS_OF_CONTENT, connect=5.0)

# Searches may be answered from a cache (HAPI: for 60 s) and servers may ignore what they do not know of a search.
_READING: Final = {"Cache-Control": "no-cache", "Prefer": "handling=strict"}
_WRITING: Final = {"Prefer": "return=representation"}
_MOST_ANSWER: Final = 1_000_000  # a server may show what was just stored, all of it
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A good answer: its JSON, if any, and what its headers say."""

    status: int
    value: Any = None
    version: str | None = None
    location: str | None = None


class Transport(AsyncFHIRClient):
    """Every call of fhirpy ends in `_do_request`, and so here. Answers stay plain JSON."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        base_url: str,
        *,
        authorization: str | None,
        now: Callable[[], datetime],
        hear: Hear = nobody_hears,
    ) -> None:
        super().__init__(wire.base_of(base_url), authorization)
        self._hear = hear
        self._http = http
        self._now = now

    def __repr__(self) -> str:
        return f"<Transport {self.url}>"

    async def _do_request(
        self,
        method: str,
        path: str,
        data: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        *,
        returning_status: bool = False,
    ) -> Any:
        reply = await self.request(method, path, data=data, params=params, headers=extra_headers)
        return (reply.value, reply.status) if returning_status else reply.value

    async def request(
        self,
        method: str,
        path: str,
        *,
        data: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        form: Sequence[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        patience: httpx.Timeout = TIMEOUT,
    ) -> Reply:
        """One exchange, never repeated here.

        Raises:
            Temporary: no usable answer now; `applied` is false when the request cannot have had an effect.
            Conflict: 409 or 412.
            Rejected: any other 4xx; 404 and 410, too (`answers.is_absent`).
        """
        what = _what(method, path, params)
        if form is None:
            request = self._request(method, path, data=data, params=params, headers=headers)
        else:
            request = self._asking(path, form)
        request.extensions["timeout"] = patience.as_dict()
        with heard_by(self._hear):
            with _typed(what):
                async with asyncio.timeout(max(patience.read or 0.0, WHOLE_SECONDS)):
                    response = await self._http.send(request, auth=None, follow_redirects=False)
            answer = Answer(status=response.status_code, headers=_lower(response), body=response.content)
            self._check(answer, what=what)
        version = wire.version_in(answer.headers.get("etag"))
        value = wire.parse(answer.body, what=what, status=answer.status) if answer.body.strip() else None
        if isinstance(value, dict) and text(value.get("id")) and value.get("resourceType") != "Bundle":
            value = wire.with_version(value, version)
        return Reply(
            status=answer.status, value=value, version=version, location=answer.headers.get("location")
        )

    async def content(
        self, path: str, *, params: Mapping[str, Any] | None = None, most_bytes: int
    ) -> tuple[bytes, str]:
        """The raw bytes at the path, at most `most_bytes` + 1 of them, and their type. Raises as `request` does."""
        what = _what("GET", path, params)
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        request = self._request("GET", path, params=params, headers=headers)
        answer = await self._large(request, what=what, most_bytes=most_bytes)
        return answer.body, answer.headers.get("content-type", "")

    async def store(self, path: str, content: Body, *, if_match: str | None) -> None:
        """Puts the content as it is made. Raises as `request` does."""
        headers = {
            **self._build_request_headers(),
            **content.headers,
            **({"If-Match": if_match} if if_match else {}),
            "Content-Length": str(content.length),
            "Prefer": "return=minimal",
        }
        url = self._build_request_url(path, None)
        request = self._http.build_request("PUT", url, content=content, headers=headers)
        await self._large(request, what=_what("PUT", path, None), most_bytes=_MOST_ANSWER)

    async def _large(self, request: httpx.Request, *, what: str, most_bytes: int) -> Answer:
        request.extensions["timeout"] = CONTENT_TIMEOUT.as_dict()
        with heard_by(self._hear):
            with _typed(what):
                async with asyncio.timeout(WHOLE_SECONDS_OF_CONTENT):
                    response = await self._http.send(request, auth=None, follow_redirects=False, stream=True)
                    try:
                        body = await _read(response, most_bytes=most_bytes)
                    finally:
                        await response.aclose()
            answer = Answer(status=response.status_code, headers=_lower(response), body=body)
            self._check(answer, what=what)
        return answer

    def _asking(self, path: str, form: Sequence[tuple[str, str]]) -> httpx.Request:
        """A search whose parameters travel in the body: https://hl7.org/fhir/R4/http.html#search"""
        headers = {**self._build_request_headers(), **_READING}
        url = self._build_request_url(path, None)
        return self._http.build_request("POST", url, data=grouped(form), headers=headers)

    def _request(
        self,
        method: str,
        path: str,
        *,
        data: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Request:
        sent = {
            **self._build_request_headers(),
            **(_READING if method.upper() == "GET" else _WRITING),
            **({"Content-Type": wire.FHIR_JSON} if data is not None else {}),
            **(headers or {}),
        }
        content = wire.serialise(data) if data is not None else None
        try:
            url = self._build_request_url(path, params)
            return self._http.build_request(method.upper(), url, content=content, headers=sent)
        except httpx.InvalidURL:
            raise Rejected(
                f"{_what(method, path, params)}: makes no usable URL, or one that is too long; nothing was sent.",
                status=414,
            ) from None

    def _build_request_url(self, path: str, params: Mapping[str, Any] | None) -> str:
        return wire.url_under(self.url, path, _pairs(params))

    def _check(self, answer: Answer, *, what: str) -> None:
        error = error_in(answer, what=what, now=self._now())
        if error:
            raise error


def _pairs(params: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    return [
        (name, str(value))
        for name, values in (params or {}).items()
        for value in (values if isinstance(values, list) else [values])
    ]


def grouped(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The values by name, in order."""
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def _what(method: str, path: str, params: Mapping[str, Any] | None) -> str:
    # Names of search parameters only: their values may be a patient's.
    named = "the next page" if ":" in path else path.split("?", 1)[0] or "the FHIR base"
    asked = "?" + "&".join(params) if params else ""
    return f"{method.upper()} {named}{asked}"


def _lower(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


async def _read(response: httpx.Response, *, most_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > most_bytes:
            break
    return bytes(body[: most_bytes + 1])


@contextmanager
def _typed(what: str) -> Iterator[None]:
    """Turns what the connection does into our errors; their own texts are not kept."""
    try:
        yield
    except _NOT_SENT:
        raise Temporary(
            f"{what}: no connection to the FHIR server. Check that it runs and that fhir.base_url is right.",
            applied=False,
        ) from None
    except (httpx.TimeoutException, TimeoutError):
        raise Temporary(f"{what}: the FHIR server did not answer in time.") from None
    except (httpx.HTTPError, OSError):
        raise Temporary(f"{what}: the connection to the FHIR server broke.") from None
