"""The client of Metriport's API: https://docs.metriport.com/medical-api/api-reference/message/send-message."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import httpx
import simplejson

from adapter.domain.attachment import Content
from adapter.domain.message import Message, Send
from adapter.domain.outcome import Answer, TooLate, Unknown, Waiting
from adapter.errors import ConfigError, Rejected, Temporary
from adapter.metriport import wire
from adapter.metriport.exchange import (
    FAILURES,
    NO_CONNECTION,
    Answered,
    broken,
    exchange,
    in_words,
    transport,
    web_url,
)
from adapter.ports.metriport import Listing

SEND_SECONDS: Final = 20.0  # from the first look at the clock to the last byte of the answer (protocol §4.6)
READ_SECONDS: Final = 20.0  # what the vendor's own client library allows
UPLOAD_SECONDS: Final = 300.0  # 50 MB over a slow line
PAGE: Final = 500
MOST_PAGES: Final = 200
_MOST_BYTES: Final = 64_000_000  # a page of 500 messages with every character escaped is a quarter of that
_MOST_REFUSAL_BYTES: Final = 10_000

_KEY: Final = re.compile(r"[!-~]+")
_MEDIA_TYPE: Final = re.compile(r"[!-~][ -~]*")
_ANY_TYPE: Final = "application/octet-stream"

Query = Mapping[str, str | int]


class Account(StrEnum):
    """How Metriport takes the adapter."""

    OK = "ok"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a look at the account found, and in words."""

    account: Account
    sentence: str


class MetriportClient:
    """Sends messages and documents, and learns what became of them (`ports.metriport.Messages`, `Documents`).

    Without `over`, three transports of its own: sends get a connection each, so that none is ever replayed on
    one that had gone stale; presigned uploads share nothing with the calls that carry the key. A given
    transport (in-process) serves all three.

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
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self._base = _base(base_url)
        self._key = _key(api_key)
        self._now = now
        self._send_seconds = send_seconds
        self._sending = over or transport(keep_alive=0)
        self._reading = over or transport(keep_alive=4)
        self._bare = over or transport(keep_alive=0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes every connection."""
        for one in (self._sending, self._reading, self._bare):
            await one.aclose()

    # Messages

    async def send(self, send: Send, *, in_time: Callable[[], bool]) -> Answer:
        """Posts once, never again in any layer; `in_time` is asked before connecting and before the first byte."""
        gate = _Gate(in_time)
        try:
            gate.pass_or_stop()
            request = self._request("POST", "message", {"patientId": send.patient}, json_body=send.body)
            request.headers["connection"] = "close"
            request.extensions["trace"] = gate.trace
            answered = await exchange(
                self._sending, request, seconds=self._send_seconds, most_bytes=_MOST_BYTES
            )
            return wire.answer_to_send(answered.status, answered.headers, answered.body, now=self._now())
        except _Late:
            return TooLate()
        except Exception as error:  # noqa: BLE001 - whatever it was, the POST may have been applied
            nothing_sent = isinstance(error, NO_CONNECTION) and not gate.passed
            return (Waiting if nothing_sent else Unknown)(why=in_words(error))

    async def message(self, message_id: str) -> Message | None:
        """One message; `None` when Metriport, and not merely the way to it, says that it has none by that id."""
        if wire.identifier(message_id) is None or not message_id.strip("."):
            return None  # "." and ".." are steps in a path, not ids
        doing = f"Asking Metriport for the status of message {message_id}"
        try:
            answered = await self._read(f"message/{quote(message_id, safe='')}", {}, doing=doing)
        except Rejected as refused:
            if refused.status == 404 and refused.issues:  # noqa: PLR2004
                return None
            raise
        found = wire.read_message(wire.read_json(answered.body))
        if found is None or found.id.lower() != message_id.lower():
            raise Temporary(f"{doing}: the answer is not that message.", applied=False)
        return found

    async def outbound(self, patient: str) -> Listing:
        """All outbound messages for one patient, page after page to the end."""
        doing = "Listing outbound messages at Metriport"
        query: Query = {"direction": "outbound", "patientId": patient, "count": PAGE}
        url: httpx.URL | None = self._url("message", query)
        seen: set[httpx.URL] = set()
        pages: list[wire.Page] = []
        while url is not None and url not in seen and len(pages) < MOST_PAGES:
            seen.add(url)
            page = wire.read_listing_page(wire.read_json((await self._get(url, doing=doing)).body))
            if page is None:
                raise Temporary(f"{doing}: the answer is no list of messages.", applied=False)
            pages.append(page)
            url = self._own(page.next_page) if page.next_page else None
        return wire.listing(pages)

    async def check(self) -> Check:
        """Whether Metriport can be reached and takes the key: one cheap read."""
        doing = "Checking the account at Metriport"
        try:
            answered = await self._read("message", {"count": 1}, doing=doing)
        except Rejected as refused:
            return Check(account=Account.REFUSED, sentence=str(refused))
        except Temporary as failed:
            return Check(account=Account.UNAVAILABLE, sentence=str(failed))
        if wire.read_listing_page(wire.read_json(answered.body)) is None:
            what = f"{doing}: what answers at {self._base} is not Metriport's API. Check metriport.base_url."
            return Check(account=Account.UNAVAILABLE, sentence=what)
        return Check(account=Account.OK, sentence="Metriport answers and takes the key.")

    # Documents

    async def upload(self, content: Content, *, patient: str, description: Mapping[str, Any]) -> str:
        """Uploads the bytes and gives Metriport's document id, usable from the 2xx of the upload on.

        `Rejected` only where Metriport refuses this document; a refused account or route is `Temporary` here,
        since it says nothing about the document.
        """
        doing = f"Uploading {content.where} to Metriport"
        request = self._request("POST", "document/upload", {"patientId": patient}, json_body=description)
        try:
            answered = await self._exchange(self._reading, request, doing=doing, applied=True)
        except Rejected as refused:
            if refused.issues:
                raise
            raise Temporary(str(refused), applied=False) from None
        place = wire.read_place(wire.read_json(answered.body))
        if place is None:
            raise Temporary(f"{doing}: the answer names no document or no place for it.")
        await self._put(place.url, content, doing=doing)
        return place.document_id

    async def _put(self, place: str, content: Content, *, doing: str) -> None:
        url = web_url(place)
        if url is None or url.scheme not in {"https", self._base.scheme}:
            raise Temporary(f"{doing}: Metriport names a place that nothing is uploaded to.")
        stated = content.content_type.strip()
        headers = {"content-type": stated if _MEDIA_TYPE.fullmatch(stated) else _ANY_TYPE}
        request = httpx.Request("PUT", url, headers=headers, content=content.data)
        try:
            answered = await exchange(
                self._bare, request, seconds=UPLOAD_SECONDS, most_bytes=_MOST_REFUSAL_BYTES
            )
        except FAILURES as error:
            raise broken(error, doing=doing, applied=True) from None
        if answered.status // 100 == 2:  # noqa: PLR2004
            return
        # S3 has a 400 for it (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
        if answered.status == 413 or b"EntityTooLarge" in answered.body:  # noqa: PLR2004
            too_large = "the storage says that it is too large"
            raise Rejected(f"{doing}: {too_large} ({answered.status}).", status=413, issues=(too_large,))
        raise Temporary(f"{doing}: the storage answered {answered.status}; it is tried again later.")

    async def listed(self, patient: str) -> frozenset[str]:
        """The ids of the documents that Metriport lists for the patient."""
        doing = "Listing documents at Metriport"
        answered = await self._read("document", {"patientId": patient}, doing=doing)
        found = wire.read_documents(wire.read_json(answered.body))
        if found is None:
            raise Temporary(f"{doing}: the answer is no list of documents.", applied=False)
        return found

    # The wire

    async def _read(self, path: str, query: Query, *, doing: str) -> Answered:
        return await self._get(self._url(path, query), doing=doing)

    async def _get(self, url: httpx.URL, *, doing: str) -> Answered:
        request = httpx.Request("GET", url, headers=self._headers())
        return await self._exchange(self._reading, request, doing=doing, applied=False)

    async def _exchange(
        self, over: httpx.AsyncBaseTransport, request: httpx.Request, *, doing: str, applied: bool
    ) -> Answered:
        try:
            answered = await exchange(over, request, seconds=READ_SECONDS, most_bytes=_MOST_BYTES)
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
        return httpx.URL(f"{base}/medical/v1/{path}" + (f"?{encoded}" if encoded else ""))

    def _own(self, link: str) -> httpx.URL | None:
        """The link, when it stays on Metriport's origin: the key goes nowhere else."""
        url = web_url(link, base=self._base)
        return url if url and _origin(url) == _origin(self._base) else None


class _Late(Exception):
    """The deadline had passed when the first byte was about to be written."""


class _Gate:
    """Stands before the first byte: asks whether it is still in time, and remembers whether it let it pass."""

    def __init__(self, in_time: Callable[[], bool]) -> None:
        self._in_time = in_time
        self.passed = False

    def pass_or_stop(self) -> None:
        if not self._in_time():
            raise _Late

    async def trace(self, event: str, _info: Mapping[str, Any]) -> None:
        """Listens to httpcore: this event comes after TCP and TLS, before the request's first byte."""
        if event == "http11.send_request_headers.started":
            self.pass_or_stop()
            self.passed = True


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
