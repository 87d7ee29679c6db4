"""How far apart sends are, so that Metriport's published limit of 20 a minute always holds (protocol §4.3).

Times are seconds on any one clock that does not step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

ANSWER_SECONDS: Final = 20.0
WINDOW_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One start of a POST; `ended` is when its answer was received."""

    started: float
    ended: float | None = None

    @property
    def latest_arrival(self) -> float:
        """The latest moment at which Metriport may have counted it."""
        return self.ended if self.ended is not None else self.started + ANSWER_SECONDS


@dataclass(frozen=True, kw_only=True)
class Pace:
    """So many sends a minute, evenly spread."""

    sends_per_minute: int = 20

    @property
    def interval_seconds(self) -> float:
        """The least time between two starts."""
        return WINDOW_SECONDS / self.sends_per_minute

    def followed_by(self, now: float, took: Sequence[float]) -> list[Slot]:
        """Slots that others started before `now`, each as late as it can have been; `took` is how long each POST took.

        No clock is asked when they were: it may have stepped since. Each was an interval after the one before. The last
        one may be missing, in a ledger that was lost or went back, and may be under way still: it counts as unanswered.
        """
        known = [*took[:-1], math.inf]
        starts = (now - self.interval_seconds * back for back in reversed(range(len(known))))
        return [
            Slot(started=start, ended=start + seconds if 0.0 <= seconds <= ANSWER_SECONDS else None)
            for start, seconds in zip(starts, known, strict=True)
        ]

    def next_start(self, slots: Sequence[Slot], *, now: float) -> float:
        """The earliest moment for the next start. `slots` are in order of their starts, oldest first.

        A stored time that lies ahead of `now` (a clock that stepped back) counts as `now`. No slots at all, a fresh
        ledger, put the first start one interval away: an earlier life's last start may have been a moment ago.
        """
        if not slots:
            return now + self.interval_seconds
        earliest = min(slots[-1].started, now) + self.interval_seconds
        if len(slots) >= self.sends_per_minute:
            earliest = max(earliest, min(slots[-self.sends_per_minute].latest_arrival, now) + WINDOW_SECONDS)
        return earliest
