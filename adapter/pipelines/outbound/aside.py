"""Claims that wait beside the lane, so that their own trouble keeps no others from going."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from adapter.pipelines.outbound.claim import Claimed

MOST: Final = 3
_FIRST_PAUSE: Final = 60.0
_LONGEST_PAUSE: Final = 900.0


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    claimed: Claimed
    due: float


@dataclass(kw_only=True)
class Aside:
    """A few claims, each to be tried again longer after longer. Times are seconds on the boot clock.

    Few: when it is the account that is refused, and not this message or that, hardly more than one is claimed.
    """

    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    _times: dict[str, int] = field(default_factory=dict)

    @property
    def has_room(self) -> bool:
        """Whether one more may be set aside."""
        return len(self._times) < MOST

    def add(self, claimed: Claimed, *, now: float) -> None:
        """Sets it aside, for longer than the time before."""
        communication = claimed.row.communication
        times = self._times.get(communication, 0)
        self._times[communication] = times + 1
        pause = min(_FIRST_PAUSE * 2.0 ** min(times, 10), _LONGEST_PAUSE)
        self._waiting[communication] = _Waiting(claimed=claimed, due=now + pause)

    def take(self, *, now: float) -> Claimed | None:
        """One whose time has come; it is `done` with, or set aside once more."""
        due = min(self._waiting.values(), key=lambda waiting: waiting.due, default=None)
        if due is None or due.due > now:
            return None
        return self._waiting.pop(due.claimed.row.communication).claimed

    def done(self, communication: str) -> None:
        """It needs the lane no more."""
        self._times.pop(communication, None)

    def hurry(self, *, now: float) -> None:
        """The time of all has come: what was refused to the account is granted again."""
        self._waiting = {
            communication: _Waiting(claimed=waiting.claimed, due=min(waiting.due, now))
            for communication, waiting in self._waiting.items()
        }

    @property
    def next_at(self) -> float | None:
        """When the next one is to be tried; `None` when nobody waits."""
        return min((waiting.due for waiting in self._waiting.values()), default=None)

    def __contains__(self, communication: object) -> bool:
        return communication in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)
