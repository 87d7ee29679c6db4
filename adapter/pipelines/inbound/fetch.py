"""Getting a received message and its attachments while their links live (protocol §8)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from adapter.domain.received import Enclosure, Inside, Linked, Named, Notice, Nowhere, Received, media_type
from adapter.errors import AdapterError, Rejected, Temporary
from adapter.pipelines.inbound.context import Context
from adapter.ports.ledger import Delivery
from adapter.ports.mail import NotGiven, Spooled

_log = structlog.get_logger(__name__)

_SECONDS: Final = 300.0  # for a large one over a slow line; a link lives about as long
_BELIEVED_AFTER: Final = timedelta(minutes=10)  # a storage's bad day may be over, and the first link is dead
_FORGOTTEN_AFTER: Final = timedelta(days=1)
ANY_TYPE: Final = "application/octet-stream"


class LinkDead(AdapterError):
    """A link has ended, leads nowhere, or brings no message: a fresh one may bring what it stood for."""


class Withheld(Temporary):
    """What a link stands for does not come now: the message's own trouble, which may be over later."""


class Unusable(AdapterError):
    """What came cannot be kept, or may not be fetched: a fresh link would bring the same."""


@asynccontextmanager
async def content_of(context: Context, delivery: Delivery) -> AsyncIterator[Received]:
    """The message that the delivery tells of. Attachments inside it can be read until the end of the block.

    Raises:
        Withheld: it cannot be had now.
        LinkDead, Unusable: it cannot be had by the links that there are.
    """
    # What only the list told of is no call, however much it looks like one, and larger than one may be.
    listed = context.read.listed(delivery.body) if delivery.message is not None else None
    if listed is not None:
        yield listed
        return
    notice = context.read.notice(delivery.body)
    if notice is None or not notice.links:
        raise Unusable("a call that tells of a received message has no message in it, and no link to one")
    async with AsyncExitStack() as stack:
        received = await _first_message(context, stack, notice)
        told, called = (received.patient, received.external_id), (notice.patient, notice.external_id)
        yield replace(
            received,
            patient=_agreed(received.patient, notice.patient),
            external_id=_agreed(received.external_id, notice.external_id),
            disputed=any(one and other and one != other for one, other in zip(told, called, strict=True)),
        )


def _agreed(told: str | None, called: str | None) -> str | None:
    """The id that message and call tell; none when they disagree."""
    return None if told and called and told != called else told or called


async def _first_message(context: Context, stack: AsyncExitStack, notice: Notice) -> Received:
    failures: list[AdapterError] = []
    withheld: Withheld | None = None
    for link in notice.links:
        linked = _linked(context, link, most_bytes=context.policy.most_content_bytes)
        try:
            spooled, _ = await stack.enter_async_context(linked)
        except (LinkDead, Unusable) as error:
            failures.append(error)
            continue
        except Withheld as error:
            withheld = error  # another one may bring it now
            continue
        received = context.read.content(spooled, named=notice.named)
        if received is not None:
            return received
        # Seen once, that proves little: a storage's bad day and a proxy's page look the same.
        failures.append(LinkDead("what is behind the link of a received message is no message"))
    # A fresh link may bring what one that is dead stood for.
    raise withheld or next((one for one in failures if isinstance(one, LinkDead)), failures[0])


@asynccontextmanager
async def bytes_of(
    context: Context, enclosure: Enclosure, *, patient: str | None, external_id: str | None
) -> AsyncIterator[tuple[Spooled, str]]:
    """The bytes of an attachment, and their media type.

    What is only named is asked for as this patient's: by Metriport's id, else by the account's own.

    Raises:
        Withheld: they cannot be had now, or do not fit what is stated of them.
        Temporary: Metriport cannot be asked now where they are.
        LinkDead, Unusable: they cannot be had by the link that there is.
    """
    source, most = enclosure.source, context.policy.most_bytes
    if isinstance(source, Inside):
        async with context.spool(_unbase64(source)) as spooled:
            if spooled.size > most:
                raise Unusable(f"an attachment has more than {most} bytes")
            yield spooled, enclosure.content_type or ANY_TYPE
        return
    if isinstance(source, Nowhere):
        raise Unusable("an attachment is told of, and nothing tells where its bytes are")
    if isinstance(source, Linked):
        link = source
    else:
        link = await _asked_for(context, source, patient=patient, external_id=external_id)
    async with AsyncExitStack() as stack:
        spooled, kind = await stack.enter_async_context(_linked(context, link.url, most_bytes=most))
        _check(context, link, spooled)
        yield spooled, enclosure.content_type or media_type(kind) or ANY_TYPE


def _check(context: Context, link: Linked, spooled: Spooled) -> None:
    """What does not fit its statement, and still comes the same after a while, is what there is: that is wrong, then."""
    why = link.stated.misfit(size=spooled.size, sha1=spooled.sha1)
    if why is None:
        return
    now, misfits = context.clock.now(), context.misfits
    for known in [one for one, since in misfits.items() if now - since > _FORGOTTEN_AFTER]:
        del misfits[known]
    if now - misfits.setdefault((link.stated, spooled.sha256), now) < _BELIEVED_AFTER:
        raise Withheld(f"An attachment comes with other bytes than it should: {why}.", applied=False)
    _log.warning("attachment.not-as-stated", detail=why)


async def _asked_for(
    context: Context, source: Named, *, patient: str | None, external_id: str | None
) -> Linked:
    if patient is None and external_id is not None:
        patient = await context.mail.known_as(external_id)
    if patient is None:
        raise LinkDead("an attachment is only named, and without a patient it cannot be asked for")
    link = await context.mail.document_link(source.document, patient=patient, title=source.title)
    if link is None:
        raise LinkDead("Metriport does not list the document of an attachment")
    return link


@asynccontextmanager
async def _linked(
    context: Context, link: str, *, most_bytes: int
) -> AsyncIterator[tuple[Spooled, str | None]]:
    async with AsyncExitStack() as stack:
        try:
            async with context.web.stream(link, most_bytes=most_bytes, seconds=_SECONDS) as fetched:
                spooled = await stack.enter_async_context(context.spool(fetched.chunks))
        except NotGiven as error:
            raise LinkDead(str(error)) from None
        except Rejected as error:
            raise Unusable(str(error)) from None
        except Temporary as error:
            raise Withheld(str(error), retry_at=error.retry_at, applied=False) from None
        yield spooled, fetched.content_type


async def _unbase64(source: Inside) -> AsyncIterator[bytes]:
    left = b""
    for piece in source.pieces():
        whole = left + b"".join(piece.split())
        usable = len(whole) - len(whole) % 4
        left = whole[usable:]
        yield _decoded(whole[:usable])
    yield _decoded(left)


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Unusable("the data of an attachment is not base64") from None
