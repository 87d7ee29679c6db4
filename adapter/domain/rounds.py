"""When a round may open, and what else a look at the Communication can mean (protocol §3, design §3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from adapter.domain.canonical import REASON_SYSTEM
from adapter.domain.mark import End, Mark
from adapter.domain.marker import wants_resend
from adapter.domain.resource import codings

PREPARATION: Final = "preparation"
IN_PROGRESS: Final = "in-progress"

STATUS_OF_END: Final[dict[End | None, str | None]] = {
    None: IN_PROGRESS,
    End.COMPLETED: "completed",
    End.FAILED: "stopped",
    End.REFUSED: "not-done",
    End.HELD: "on-hold",
    End.WITHDRAWN: None,  # the author's own
}

_REOPENS: Final = frozenset({End.REFUSED, End.HELD, End.WITHDRAWN, End.FAILED})


class Verdict(StrEnum):
    """What the Communication as read asks of the adapter."""

    OPEN = "open"  # a wish: open the round
    PUT_BACK = "put-back"  # preparation while the newest round stands: our fields go back on
    OURS = "ours"  # the status is the one that we wrote
    AUTHORS = "authors"  # the author decided otherwise: theirs stays
    NOTHING = "nothing"  # neither a wish nor a round of ours


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The verdict, and the round it speaks of: the one to open, or the newest known one."""

    verdict: Verdict
    round: int = 0


def decide(communication: Mapping[str, Any], known: Mark | None, *, is_unconfirmed: bool = False) -> Decision:
    """What to do about the Communication, given the newest mark known anywhere.

    `known` is the newest of the marks on the resource, in the ledger and in `_history`; the caller has established
    that the marker is on the resource, that it is not inbound, and that no mark on it is a copy. `is_unconfirmed`
    when its message was taken and never acknowledged: who asked the recipient can have it sent once more.
    """
    status = communication.get("status")
    if status != PREPARATION:
        return _not_a_wish(communication, known)
    if known is None:
        return Decision(verdict=Verdict.OPEN, round=1)
    has_ended = known.end is not None or is_unconfirmed
    if known.end in _REOPENS or (has_ended and wants_resend(communication)):
        return Decision(verdict=Verdict.OPEN, round=known.round + 1)
    return Decision(verdict=Verdict.PUT_BACK, round=known.round)


def _not_a_wish(communication: Mapping[str, Any], known: Mark | None) -> Decision:
    if known is None:
        return Decision(verdict=Verdict.NOTHING)
    verdict = Verdict.OURS if is_our_status(communication, known) else Verdict.AUTHORS
    return Decision(verdict=verdict, round=known.round)


def is_our_status(communication: Mapping[str, Any], known: Mark) -> bool:
    """Whether the status is one that the adapter itself writes for the mark."""
    status = communication.get("status")
    if status == IN_PROGRESS or status == STATUS_OF_END[known.end]:
        return True
    return is_given_up(communication)


def is_given_up(communication: Mapping[str, Any]) -> bool:
    """Whether it was stopped without an acknowledgement: the round has not ended, a later answer still wins."""
    return communication.get("status") == "stopped" and is_unconfirmed(communication)


def is_unconfirmed(communication: Mapping[str, Any]) -> bool:
    """Whether its reason says that no acknowledgement came."""
    return any(
        coding.get("system") == REASON_SYSTEM and coding.get("code") == "delivery-unconfirmed"
        for coding in codings(communication.get("statusReason"))
    )
