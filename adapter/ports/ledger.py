"""The adapter's own memory. That something is absent from it proves nothing (protocol §1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol, TypedDict, Unpack

from adapter.domain.mark import Mark
from adapter.domain.message import MessageState
from adapter.domain.ranking import Rank
from adapter.domain.reasons import Reason
from adapter.domain.transmission import State, Transmission

LANE: Final = "lane"
"""The lease of who prepares, sends and resolves."""


class Facts(TypedDict, total=False):
    """What may change together with a state."""

    attempt: int
    token: str
    patient: str | None
    destination: str | None
    attachments: tuple[str, ...]
    digest: str | None
    message: str | None
    reason: Reason | None
    note: str | None
    version: str | None
    claimed_at: datetime | None
    intent_at: datetime | None
    sent_at: datetime | None
    ended_at: datetime | None
    due_at: datetime | None
    write_at: datetime | None
    checks: int


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One webhook call as it came in, before anything was made of it."""

    delivery_id: str
    kind: str
    received_at: datetime
    body: bytes = field(repr=False)
    message: str | None = None  # Metriport's id of the message that it told of, once that is known
    tries: int = 0
    call: str | None = None  # Metriport's id of the call that it was made anew from, where it was


class ArrivalState(StrEnum):
    """How far a received message got."""

    WRITTEN = "written"
    DELETED = "deleted"  # somebody deleted it from the FHIR server: it stays so
    HELD = "held"  # it cannot be had, and a person was asked
    SENT_ELSEWHERE = "sent-elsewhere"  # none that came in: others sent it from the account, and it is shown


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A message that somebody sent in, as this adapter worked it off."""

    message: str
    communication: str
    state: ArrivalState
    at: datetime
    patient: str | None = None  # Patient.id on the local server, where one was known to fit


@dataclass(frozen=True, kw_only=True)
class FinalStatus:
    """What a status event says about one message."""

    message: str
    state: MessageState
    at: datetime | None = None
    detail: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of a Communication's timeline. It holds codes, ids and times, never patient content."""

    at: datetime
    round: int
    what: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class StoredSlot:
    """One start of a POST by the wall clock."""

    id: int
    started_at: datetime
    ended_at: datetime | None = None

    @property
    def took_seconds(self) -> float:
        """How long the answer took; infinite where none was received."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else math.inf


class Transmissions(Protocol):
    """The work list. Every change is compare-and-set; nothing upserts."""

    async def open(self, communication: str, *, round: int, rank: Rank, now: datetime) -> Transmission | None:
        """A new row in `ready`, or the one that is still there in `ready`; `None` when the round is further."""
        ...

    async def discard(self, row: Transmission, *, now: datetime) -> bool:
        """Takes back the opening of a round that was never claimed; `False` when the row is no longer as given."""
        ...

    async def restore(
        self, communication: str, mark: Mark, *, rank: Rank, now: datetime
    ) -> Transmission | None:
        """A row rebuilt from a mark that the ledger does not know; `None` when somebody else was first."""
        ...

    async def newest(self, communication: str) -> Transmission | None:
        """The row of the Communication's latest round."""
        ...

    async def change(
        self, row: Transmission, state: State, *, now: datetime, event: str, **facts: Unpack[Facts]
    ) -> Transmission | None:
        """Moves the row; `None` when it is no longer as given, or when another row holds the message id.

        Recording a message id joins a final status that arrived before it, in the same transaction.
        """
        ...

    async def is_as_given(self, row: Transmission) -> bool:
        """Whether nobody changed the row meanwhile."""
        ...

    async def by_message(self, message_id: str) -> Transmission | None:
        """The row that holds Metriport's id."""
        ...

    async def due(self, now: datetime, *, limit: int) -> Sequence[Transmission]:
        """Rows with a step or a write-back whose time has come, the longest due first."""
        ...

    async def in_states(self, states: frozenset[State], *, limit: int = 1000) -> Sequence[Transmission]:
        """Rows in any of the states, oldest first."""
        ...

    async def further(self, *, since: datetime) -> Sequence[Transmission]:
        """Rounds after the first whose message is known and which had not ended by then, oldest first."""
        ...

    async def of_patient(self, patient: str) -> Sequence[Transmission]:
        """All rows of Metriport's patient, oldest first."""
        ...

    async def all_of(self, communication: str) -> Sequence[Transmission]:
        """All rounds, newest first."""
        ...


class Slots(Protocol):
    """The account's pace."""

    async def latest(self, count: int) -> Sequence[StoredSlot]:
        """The last slots, oldest first."""
        ...

    async def intend(
        self, row: Transmission, *, after: int | None, now: datetime, event: str
    ) -> tuple[Transmission, StoredSlot] | None:
        """The intent and its slot, in one transaction (protocol §4.5); `None` when the row is not as given.

        Raises:
            Conflict: `after` is not the id of the account's last slot.
        """
        ...

    async def end(self, slot: StoredSlot, *, now: datetime) -> None:
        """The answer was received."""
        ...


class Leases(Protocol):
    """Who of several adapters does what. Leases only spread work; safety never rests on them (protocol §4)."""

    async def take(self, holder: str, *names: str, now: datetime, seconds: float) -> bool:
        """Takes or keeps the leases of those names for the holder, all or none; `False` while another has one."""
        ...

    async def leave(self, holder: str, *names: str) -> None:
        """Gives them back."""
        ...


class Inbox(Protocol):
    """Webhook calls, kept before they are answered."""

    async def keep(self, delivery: Delivery) -> str:
        """Commits the delivery; gives the id that it has here. A known one is opened again, never skipped.

        One that is still worked on and comes again with other links has these kept beside the first, as a delivery of
        their own: either may be the ones that live.
        """
        ...

    async def waiting(
        self, *, now: datetime, limit: int, kind: str | None = None, but: str | None = None
    ) -> Sequence[Delivery]:
        """Deliveries whose time for work has come, oldest first: of one kind, or of all but one."""
        ...

    async def is_waiting(self, delivery: Delivery, *, now: datetime) -> bool:
        """Whether its time for work has come, still, and it is as given."""
        ...

    async def unfinished(self, *, kind: str, first: datetime, last: datetime) -> Sequence[Delivery]:
        """Deliveries of that kind that came between those times and are not done, oldest first, due or not."""
        ...

    async def of_call(self, call: str) -> Sequence[Delivery]:
        """What was kept of Metriport's call of that id: the delivery itself, and those that were made anew from it."""
        ...

    async def done(self, delivery: Delivery, *, note: str, arrival: Arrival | None = None) -> None:
        """The work of the delivery is done, and the message that it told of is where it says."""
        ...

    async def later(self, delivery: Delivery, *, due_at: datetime, note: str) -> None:
        """The work of the delivery could not be done now; its `tries` are kept as they are given."""
        ...

    async def record(self, arrival: Arrival) -> None:
        """Keeps what became of a message that no delivery told of."""
        ...

    async def arrival(self, message: str) -> Arrival | None:
        """What became of the received message; `None` when this ledger does not know."""
        ...

    async def keep_status(self, status: FinalStatus, *, now: datetime) -> None:
        """Keeps a final status by message id, for a row that may not have the id yet."""
        ...


class Timeline(Protocol):
    """What happened, for people."""

    async def note(
        self, communication: str, *, round: int, what: str, now: datetime, note: str | None = None
    ) -> None:
        """Adds one line."""
        ...

    async def timeline(self, communication: str) -> Sequence[Event]:
        """The Communication's lines in order."""
        ...


class Ledger(Transmissions, Slots, Leases, Inbox, Timeline, Protocol):
    """All of it."""
