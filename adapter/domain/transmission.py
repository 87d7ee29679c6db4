"""A transmission: one round's message on its way. Its states and every move between them, in one table."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from adapter.domain.mark import End, Mark
from adapter.domain.ranking import Rank
from adapter.domain.reasons import Reason
from adapter.errors import IllegalTransition


class State(StrEnum):
    """Where a transmission is."""

    READY = "ready"
    CLAIMED = "claimed"
    INTENT = "intent"
    WAITING = "waiting"
    UNKNOWN = "unknown"
    SENT = "sent"
    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    HELD = "held"
    WITHDRAWN = "withdrawn"


MOVES: Final[dict[State, frozenset[State]]] = {
    State.READY: frozenset({State.CLAIMED, State.REFUSED, State.HELD, State.WITHDRAWN, State.UNKNOWN}),
    State.CLAIMED: frozenset({State.INTENT, State.UNKNOWN, State.WITHDRAWN}),
    State.INTENT: frozenset(
        {State.SENT, State.WAITING, State.REFUSED, State.HELD, State.UNKNOWN, State.CLAIMED}
    ),
    State.WAITING: frozenset({State.INTENT, State.SENT, State.UNKNOWN, State.WITHDRAWN}),
    State.UNKNOWN: frozenset({State.SENT, State.CLAIMED, State.REFUSED, State.HELD, State.WITHDRAWN}),
    State.SENT: frozenset({State.COMPLETED, State.FAILED}),
    # Two final events may contradict each other; Metriport's own record decides which one stands.
    State.COMPLETED: frozenset({State.FAILED}),
    State.FAILED: frozenset({State.COMPLETED}),
    State.REFUSED: frozenset(),
    State.HELD: frozenset(),
    State.WITHDRAWN: frozenset(),
}

END_OF: Final[dict[State, End]] = {
    State.COMPLETED: End.COMPLETED,
    State.FAILED: End.FAILED,
    State.REFUSED: End.REFUSED,
    State.HELD: End.HELD,
    State.WITHDRAWN: End.WITHDRAWN,
}
STATE_OF: Final[dict[End, State]] = {end: state for state, end in END_OF.items()}

ENDED: Final = frozenset(END_OF)
IN_FLIGHT: Final = frozenset({State.CLAIMED, State.INTENT, State.WAITING})


def check_move(now: State, to: State) -> None:
    """Refuses a move that the table does not have.

    Raises:
        IllegalTransition: always a bug in the adapter.
    """
    if to not in MOVES[now]:
        raise IllegalTransition(f"a transmission cannot go from {now} to {to}")


@dataclass(frozen=True, kw_only=True)
class Transmission:
    """One row of the ledger. `generation` counts its changes; every change names the one that it starts from."""

    id: int
    communication: str
    round: int
    state: State
    generation: int
    rank: Rank
    opened_at: datetime
    attempt: int = 1
    token: str = ""
    patient: str | None = None
    destination: str | None = None
    attachments: tuple[str, ...] = ()
    digest: str | None = None
    message: str | None = None
    reason: Reason | None = field(default=None, repr=False)
    note: str | None = field(default=None, repr=False)
    version: str | None = None
    claimed_at: datetime | None = None
    intent_at: datetime | None = None
    sent_at: datetime | None = None
    ended_at: datetime | None = None
    due_at: datetime | None = None
    write_at: datetime | None = None
    checks: int = 0

    @property
    def is_unconfirmed(self) -> bool:
        """Whether Metriport took it, and no acknowledgement came in time: a later one still counts."""
        return (
            self.state is State.SENT
            and self.reason is not None
            and self.reason.code == "delivery-unconfirmed"
        )

    @property
    def mark(self) -> Mark:
        """The mark that the Communication is to carry."""
        return Mark(
            round=self.round,
            token=self.token,
            attempt=self.attempt,
            destination=self.destination,
            attachments=self.attachments,
            digest=self.digest,
            message=self.message,
            end=END_OF.get(self.state),
        )
