"""What is asked of Metriport about messages that others send in, and where fetched bytes are kept meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from adapter.domain.message import Message
from adapter.domain.received import Linked
from adapter.domain.resource import Resource
from adapter.errors import Rejected


class Direction(StrEnum):
    """Which of its messages Metriport is asked to list."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A message as Metriport lists it, read and raw."""

    message: Message
    row: bytes = field(repr=False)


class NotGiven(Rejected):
    """The host of a link does not give what it leads to; `status` is what it answers. A fresh link may."""


@dataclass(frozen=True, kw_only=True)
class MadeCall:
    """A call of the webhook, by Metriport's id of it."""

    id: str
    at: datetime | None  # when it was made first
    missed: bool  # nobody took it


class Mail(Protocol):
    """The account's messages, whoever sent them. Every call may raise `Temporary`, or `Rejected` where the account or the route is refused."""

    def calls(self, *, since: datetime) -> AsyncIterator[MadeCall]:
        """The calls about received messages that Metriport first made since then, newest first."""
        ...

    async def redeliver(self, request_id: str) -> bytes:
        """Has that call made anew; gives it, with fresh links."""
        ...

    def list_messages(self, direction: Direction, *, since: datetime) -> AsyncIterator[Listed]:
        """The messages that Metriport lists, those before that time perhaps left out."""
        ...

    async def message(self, message_id: str) -> Message | None:
        """One message; `None` when Metriport does not know the id."""
        ...

    async def document_link(self, document: str, *, patient: str, title: str | None = None) -> Linked | None:
        """A presigned link to a document of the patient's, the file of that title where it has several.

        `None` when Metriport does not list it.
        """
        ...

    async def person(self, patient: str) -> Resource | None:
        """Whom Metriport knows under its id, as a FHIR Patient."""
        ...

    async def known_as(self, external_id: str) -> str | None:
        """Metriport's id of the patient whom the account calls so; `None` when it knows nobody by that."""
        ...


class Spooled(Protocol):
    """Bytes that were fetched and are not in memory."""

    @property
    def size(self) -> int:
        """How many."""
        ...

    @property
    def sha256(self) -> str:
        """Their digest, in hex."""
        ...

    @property
    def sha1(self) -> bytes:
        """The digest that an Attachment states (R4 `Attachment.hash`)."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` of them from `offset` on; none at the end."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """All of them, anew at each call."""
        ...


class Spool(Protocol):
    """Where bytes go until they are on the FHIR server. Nothing of it outlives the process."""

    def __call__(self, chunks: AsyncIterator[bytes]) -> AbstractAsyncContextManager[Spooled]:
        """Takes them all in; lets go of them at the end."""
        ...
