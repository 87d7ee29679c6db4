"""What Metriport's list proves about a send whose outcome was not learned (protocol §6)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from adapter.domain.destination import same
from adapter.domain.mark import Mark
from adapter.domain.message import Message, Send
from adapter.domain.text import normalise

SKEW: Final = timedelta(minutes=2)


def fits(message: Message, send: Send, *, since: datetime | None) -> bool:
    """Whether the listed message is what this send would have become.

    Patient, destination, normalised text, NPIs and the set of documents are equal, and it was not sent before the
    intent (but for the clocks' skew). A list that leaves an element out says nothing against it.
    """
    return (
        in_place(message, patient=send.patient, destination=send.destination)
        and normalise(message.subject) == normalise(str(send.body["subject"]))
        and normalise(message.body) == normalise(str(send.body.get("body", "")))
        and message.attachments == frozenset(send.attachments)
        and (not message.npis or frozenset(message.npis) == frozenset(send.npis))
        and in_time(message, since=since)
    )


def in_place(message: Message, *, patient: str, destination: str | None) -> bool:
    """Whether it is for that patient and went to that destination, as far as the list says."""
    return (message.patient is None or message.patient == patient) and (
        message.destination is None or destination is None or same(message.destination, destination)
    )


def in_time(message: Message, *, since: datetime | None) -> bool:
    """Whether it was not sent before that moment, but for the clocks' skew."""
    return message.sent_at is None or since is None or message.sent_at >= since - SKEW


def has_digest_of(message: Message, plan: Mark, *, patient: str) -> bool:
    """Whether the plan's digest is that of the listed message: the same text, though we no longer have it.

    That it differs proves nothing: the list may leave something out, or show it in other words.
    """
    if message.attachments != frozenset(plan.attachments):
        return False
    body = {
        "destination": plan.destination,
        "subject": message.subject,
        "body": message.body,
        "attachments": list(plan.attachments),
        "intendedRecipientNpi": list(message.npis),
    }
    said = {name: value for name, value in body.items() if value}
    return Send(patient=patient, body=said).digest == plan.digest


def found_in(messages: Iterable[Message], send: Send, *, since: datetime) -> list[Message]:
    """The listed messages that fit."""
    return [message for message in messages if fits(message, send, since=since)]
