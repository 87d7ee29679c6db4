"""What Metriport's list proves about a send whose outcome was not learned (protocol §6)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from adapter.domain.destination import same
from adapter.domain.message import Message, Send
from adapter.domain.text import normalise

SKEW: Final = timedelta(minutes=2)


def fits(message: Message, send: Send, *, since: datetime) -> bool:
    """Whether the listed message is what this send would have become.

    Patient, destination, normalised text and the set of documents are equal, and it was not sent before the intent
    (but for the clocks' skew). A list that leaves an element out says nothing against it.
    """
    return (
        (message.patient is None or message.patient == send.patient)
        and (message.destination is None or same(message.destination, send.destination))
        and normalise(message.subject) == normalise(str(send.body["subject"]))
        and normalise(message.body) == normalise(str(send.body.get("body", "")))
        and message.attachments == frozenset(send.attachments)
        and (message.sent_at is None or message.sent_at >= since - SKEW)
    )


def found_in(messages: Iterable[Message], send: Send, *, since: datetime) -> list[Message]:
    """The listed messages that fit."""
    return [message for message in messages if fits(message, send, since=since)]
