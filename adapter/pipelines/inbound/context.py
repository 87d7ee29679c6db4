"""What the inbound steps work with: the ports, the readers of Metriport's bytes, and the site's policy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol
from weakref import WeakValueDictionary

from adapter.domain.attachment import Stated
from adapter.domain.marker import Marker
from adapter.domain.received import Notice, Received
from adapter.errors import Temporary
from adapter.pipelines.share import Share
from adapter.ports.clock import Clock
from adapter.ports.fhir import FhirServer
from adapter.ports.ledger import Delivery, Ledger
from adapter.ports.mail import Mail, Spool, Spooled
from adapter.ports.mappings import Mappings
from adapter.ports.metriport import Web

RECEIVED: Final = "message.received"


@dataclass(frozen=True, kw_only=True)
class Inbound:
    """What a site decides about received messages.

    `elsewhere` shows what others sent from the account, `settle` after it was sent. `external_id_system` is the identifier system that Metriport's `externalId` belongs to; unset, it is `Patient.id`.
    """

    marker: Marker = field(default_factory=Marker)
    external_id_system: str | None = None
    most_bytes: int = 50_000_000
    most_content_bytes: int = 400_000_000
    elsewhere: bool = False
    settle: timedelta = timedelta(minutes=3)


class ReadContent(Protocol):
    """Reads what is behind a call's link; `named` is the message's id as the call has it, if it has."""

    def __call__(self, content: Spooled, *, named: str | None) -> Received | None:
        """The message; `None` when it is none."""


@dataclass(frozen=True, kw_only=True)
class Readers:
    """What the edge makes of Metriport's bytes; `None` where they are not that."""

    notice: Callable[[bytes], Notice | None]
    content: ReadContent
    listed: Callable[[bytes], Received | None]
    delivery: Callable[[bytes, datetime], Delivery | None]


@dataclass(frozen=True, kw_only=True)
class Context:
    """Everything an inbound step may touch."""

    fhir: FhirServer
    web: Web
    mail: Mail
    spool: Spool
    mappings: Mappings
    ledger: Ledger
    share: Share
    clock: Clock
    policy: Inbound
    read: Readers
    # Bytes that do not fit what is stated of them: statement and SHA-256; since when they come so.
    misfits: dict[tuple[Stated, str], datetime] = field(default_factory=dict)
    _at_work: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    @asynccontextmanager
    async def alone_with(self, received: Received) -> AsyncIterator[None]:
        """The same message may be told of by several calls at once: one of them writes, the others find it there.

        So it is with a document that came with several messages.

        Raises:
            Temporary: another adapter is at one of them.
        """
        names = {received.id, *(one.document for one in received.enclosures if one.document)}
        async with AsyncExitStack() as stack:
            for name in sorted(names):
                await stack.enter_async_context(self._at_work.setdefault(name, asyncio.Lock()))
            if not await stack.enter_async_context(self.share.alone(*(f"message {name}" for name in names))):
                raise Temporary(
                    "Another adapter is writing the same message, or its document.", applied=False
                )
            yield
