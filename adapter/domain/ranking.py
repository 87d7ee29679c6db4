"""Who goes next: by priority, then age; every fourth slot to the oldest, so that nobody starves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

PRIORITIES: Final = ("stat", "asap", "urgent", "routine")
OLDEST_EVERY: Final = 4


@dataclass(frozen=True, kw_only=True, order=True)
class Rank:
    """Orders waiting messages; less goes first. `since` is when the wish was first seen."""

    priority: int
    since: datetime


def priority_of(communication: Mapping[str, Any]) -> int:
    """0 for stat to 3 for routine; anything else counts as routine (R4: the default)."""
    stated = communication.get("priority")
    return PRIORITIES.index(stated) if stated in PRIORITIES else len(PRIORITIES) - 1


def goes_next(ranks: Sequence[Rank], *, turn: int) -> int:
    """Index of the rank whose turn it is; `turn` counts the slots given so far.

    Raises:
        ValueError: nobody is waiting.
    """
    if turn % OLDEST_EVERY == OLDEST_EVERY - 1:
        return min(range(len(ranks)), key=lambda index: ranks[index].since)
    return min(range(len(ranks)), key=ranks.__getitem__)
