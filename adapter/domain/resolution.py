"""What became of sends whose outcome was not learned, once Metriport's list is evidence (protocol §6).

All open ones of one patient and destination are decided together. Those of the same content are one account: it does
not matter which of them a listed message came from, only how many there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from adapter.domain.evidence import fits, has_digest_of, in_place, in_time
from adapter.domain.message import Message, Send
from adapter.domain.transmission import Transmission

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Found:
    """It was sent: this is the message."""

    message: str
    sent_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class NotSent:
    """It was not applied."""


@dataclass(frozen=True, kw_only=True)
class Ambiguous:
    """A person has to say which of the candidates it is, if any."""

    why: str
    candidates: tuple[str, ...]


Verdict = Found | NotSent | Ambiguous


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """One unknown outcome: its row, Metriport's patient, the call, and since when it may have been applied.

    `reference` is what ends its text, if the site wanted that when it was claimed. `send` is `None` where the call can no longer be made as it was claimed, `since` where nobody remembers.
    """

    row: Transmission
    patient: str
    reference: str
    send: Send | None = None
    since: datetime | None = None

    def is_told_by(self, message: Message) -> bool:
        """Whether the listed message is what this send would have become."""
        return self.may_be(message) and (self.send is not None or self.is_named_by(message))

    def is_named_by(self, message: Message) -> bool:
        """Whether the message says so itself: it bears the reference, or its text has the digest of the plan."""
        return self.is_referred_to_by(message) or (
            has_digest_of(message, self.row.mark, patient=self.patient)
            and in_place(message, patient=self.patient, destination=self.row.destination)
        )

    def is_referred_to_by(self, message: Message) -> bool:
        """Whether the message bears the reference: then it is of this very round, whatever else it says."""
        return self.reference in message.body

    def may_be(self, message: Message) -> bool:
        """Whether nothing speaks against it.

        Without the call, its text does not; without a digest, nobody knows what it said and where it went, if it did.
        """
        if self.is_referred_to_by(message):
            return True
        if self.send is not None and self.row.digest is not None:
            return fits(message, self.send, since=self.since)
        if self.row.digest is None:
            return in_place(message, patient=self.patient, destination=None)
        return (
            in_place(message, patient=self.patient, destination=self.row.destination)
            and message.attachments == frozenset(self.row.attachments)
            and in_time(message, since=self.since)
        )


def resolve(
    doubts: Collection[Doubt], messages: Sequence[Message], *, is_whole: bool = True
) -> dict[int, Verdict]:
    """The verdict on each row, by its id. `messages` are the listed ones that belong to nobody.

    Of the same content, k that fit n unknowns tell that the oldest k were sent and the rest were not; k > n tells
    nothing, and neither does one that may be of either of two contents. Where the messages are not all that there
    are, they are taken by the youngest that they fit: one that is heard of later may be too old for those.
    """
    contents: dict[str | None, list[Doubt]] = {}
    for doubt in doubts:
        contents.setdefault(doubt.row.digest, []).append(doubt)
    open_to = {message.id: _contents_of(message, contents) for message in messages}
    verdicts: dict[int, Verdict] = {}
    for digest, alike in contents.items():
        possible = [message for message in messages if digest in open_to[message.id]]
        if any(len(open_to[message.id]) > 1 for message in possible):
            verdicts |= _all(alike, "a message on Metriport's list fits it and another one as well", possible)
        else:
            verdicts |= _of_one_content(alike, possible, oldest_first=is_whole)
    return verdicts


def _contents_of(message: Message, contents: Mapping[str | None, Sequence[Doubt]]) -> set[str | None]:
    """Of which of the contents the message may be; the digest tells for sure, where it fits."""
    possible = {digest for digest, alike in contents.items() if any(doubt.may_be(message) for doubt in alike)}
    certain = {digest for digest in possible if any(doubt.is_named_by(message) for doubt in contents[digest])}
    return certain or possible


def _all(alike: Sequence[Doubt], why: str, candidates: Sequence[Message]) -> dict[int, Verdict]:
    verdict = Ambiguous(why=why, candidates=tuple(sorted(message.id for message in candidates)))
    return {doubt.row.id: verdict for doubt in alike}


def _of_one_content(
    alike: Sequence[Doubt], possible: Sequence[Message], *, oldest_first: bool
) -> dict[int, Verdict]:
    undated = any(doubt.since is None for doubt in alike)
    if undated and not all(any(doubt.is_referred_to_by(one) for doubt in alike) for one in possible):
        return _all(alike, "a message on Metriport's list may be it, or an older one like it", possible)
    waiting = sorted(
        alike, key=lambda doubt: (doubt.since or _BEGINNING, doubt.row.id), reverse=not oldest_first
    )
    verdicts: dict[int, Verdict] = {}
    for message in sorted(possible, key=lambda message: (message.sent_at or _END, message.id)):
        # Those that began before it are the oldest of those that wait: taking them in order leaves out none.
        taker = next((doubt for doubt in waiting if doubt.is_told_by(message)), None)
        if taker is None:
            return _all(
                alike, "messages on Metriport's list may be it, and it is not certain which", possible
            )
        waiting.remove(taker)
        verdicts[taker.row.id] = Found(message=message.id, sent_at=message.sent_at)
    return verdicts | {doubt.row.id: NotSent() for doubt in waiting}
