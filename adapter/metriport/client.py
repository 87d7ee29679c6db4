"""The client of Metriport's API: https://docs.metriport.com/medical-api/api-reference/message/send-message."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from adapter.domain.attachment import Content
from adapter.domain.episode import Hear, nobody_hears
from adapter.domain.message import Message, Send
from adapter.domain.outcome import Answer, LaneStopped, Refused, Sent, TooLate, Unknown, Waiting
from adapter.errors import Rejected, Temporary
from adapter.metriport import wire
from adapter.metriport.api import MOST_BYTES, PAGE, Cut, Query
from adapter.metriport.exchange import FAILURES, NO_CONNECTION, broken, exchange, in_words, transport, web_url
from adapter.metriport.mail import MetriportMail
from adapter.ports.metriport import Listing

SEND_SECONDS: Final = 20.0  # from the first look at the clock to the last byte of the answer (protocol §4.6)
UPLOAD_SECONDS: Final = 300.0  # 50 MB over a slow line
_MOST_REFUSAL_BYTES: Final = 10_000

_MEDIA_TYPE: Final = re.compile(r"[!-~][ -~]*")
_ANY_TYPE: Final = "application/octet-stream"


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


class MetriportClient(MetriportMail):
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
        hear: Hear = nobody_hears,
    ) -> None:
        super().__init__(base_url=base_url, api_key=api_key, now=now, over=over, hear=hear)
        self._send_seconds = send_seconds
        self._sending = over or transport(keep_alive=0)
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
        answer = await self._post(send, in_time=in_time)
        match answer:
            case Waiting(why=why) | Unknown(why=why):
                self._hear(f"Sending a message: {why}")
            case Sent() | Refused() | LaneStopped():
                self._hear(None)
        return answer

    async def _post(self, send: Send, *, in_time: Callable[[], bool]) -> Answer:
        gate = _Gate(in_time)
        try:
            gate.pass_or_stop()
            request = self._request("POST", "message", {"patientId": send.patient}, json_body=send.body)
            request.headers["connection"] = "close"
            request.extensions["trace"] = gate.trace
            answered = await exchange(
                self._sending, request, seconds=self._send_seconds, most_bytes=MOST_BYTES
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
        pages: list[wire.Page] = []
        with suppress(Cut):  # its last page says so, too
            async for value in self._pages("message", query, doing=doing):
                page = wire.read_listing_page(value)
                if page is None:
                    raise Temporary(f"{doing}: the answer is no list of messages.", applied=False)
                pages.append(page)
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

    async def is_open(self) -> bool:
        """Whether `check` finds nothing wrong."""
        return (await self.check()).account is Account.OK

    async def refusal(self) -> str | None:
        """What `check` finds when the account is refused."""
        found = await self.check()
        return found.sentence if found.account is Account.REFUSED else None

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
