"""What is asked of Metriport about messages that others send in, and where fetched bytes are kept meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from adapter.domain.resource import Resource


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A received message as Metriport lists it."""

    message: str
    at: datetime | None
    row: bytes = field(repr=False)


class Mail(Protocol):
    """Received messages. Every call may raise `Temporary`, or `Rejected` where the account or the route is refused."""

    def redelivered(self, *, since: datetime) -> AsyncIterator[bytes]:
        """The calls about received messages that Metriport first made since then, anew and with fresh links."""
        ...

    def received(self, *, since: datetime) -> AsyncIterator[Listed]:
        """The received messages that Metriport lists, those before that time perhaps left out."""
        ...

    async def document_link(self, document: str, *, patient: str) -> str | None:
        """A presigned link to a document of the patient's; `None` when Metriport does not list it."""
        ...

    async def person(self, patient: str) -> Resource | None:
        """Whom Metriport knows under its id, as a FHIR Patient."""
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
