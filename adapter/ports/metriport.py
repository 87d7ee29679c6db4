"""Metriport Message Delivery, as the pipelines need it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from adapter.domain.attachment import Content
from adapter.domain.message import Message, Send
from adapter.domain.outcome import Answer


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One reading of Metriport's list; `whole` when it was read to its end and added up."""

    messages: tuple[Message, ...]
    whole: bool
    pages: int = 1


class Messages(Protocol):
    """Sending, and learning what became of it."""

    async def send(self, send: Send, *, in_time: Callable[[], bool]) -> Answer:
        """Posts once, never again in any layer; `in_time` is asked right before the first byte. Does not raise."""
        ...

    async def message(self, message_id: str) -> Message | None:
        """One message; `None` when Metriport does not know the id.

        Raises:
            Temporary: it could not be learned now.
            Rejected: the account or the route is refused.
        """
        ...

    async def is_open(self) -> bool:
        """Whether Metriport answers and takes the key, as far as a cheap question tells. Does not raise."""
        ...

    async def refusal(self) -> str | None:
        """What it says instead of taking the key; `None` when it takes it, or cannot be asked. Does not raise."""
        ...

    async def outbound(self, patient: str) -> Listing:
        """All outbound messages for one patient. Raises as `message` does."""
        ...


class Documents(Protocol):
    """Attachments on their way out."""

    async def upload(self, content: Content, *, patient: str, description: Mapping[str, Any]) -> str:
        """Uploads the bytes and gives Metriport's document id, usable from the 2xx of the upload on.

        Raises:
            Temporary: it could not be done now.
            Rejected: Metriport refuses the document.
        """
        ...

    async def listed(self, patient: str) -> frozenset[str]:
        """The ids of the documents that Metriport lists for the patient."""
        ...


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What a url answers, as it comes in. `length` is what is announced, `chunks` what comes."""

    content_type: str | None = None
    length: int | None = None
    chunks: AsyncIterator[bytes] = field(repr=False)


class Web(Protocol):
    """Fetching from a url outside the FHIR server, without any credentials, from where the site allows it."""

    async def fetch(self, url: str, *, most_bytes: int, seconds: float = ...) -> tuple[bytes, str | None]:
        """The bytes and the content type. Raises as `stream` does."""
        ...

    def stream(
        self, url: str, *, most_bytes: int, seconds: float = ...
    ) -> AbstractAsyncContextManager[Fetched]:
        """The bytes as they come in, at most `most_bytes` of them; the whole block has `seconds` to end.

        Raises:
            Temporary: no answer now, or not all of it in time; between two chunks, too.
            Rejected: the url answers with an error (its HTTP status), may not be fetched (400), or has more
                bytes (413); between two chunks, too.
        """
        ...
