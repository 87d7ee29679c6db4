"""The published limits: so many requests of a kind in any minute, for the whole account."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import Final

from adapter.simulators.metriport.answers import Refusal

PER_MINUTE: Final = {
    "send": 20,
    "patient": 15,
    "consolidated-query": 120,
    "contribute": 120,
    "hie": 20,
    "pharmacy": 20,
    "lab": 20,
}
_DETAIL: Final = {"send": "Too many message sends, please try again later."}
_MINUTE: Final = timedelta(minutes=1)


class Limits:
    """Counts arrivals, refused ones too. No header tells how much is left."""

    def __init__(self, *, enforced: bool) -> None:
        self._enforced = enforced
        self._arrivals: dict[str, deque[datetime]] = {kind: deque() for kind in PER_MINUTE}

    def count(self, kind: str, now: datetime) -> None:
        """Counts one arrival, and refuses the one that is too many."""
        arrivals = self._arrivals[kind]
        while arrivals and arrivals[0] <= now - _MINUTE:
            arrivals.popleft()
        arrivals.append(now)
        if self._enforced and len(arrivals) > PER_MINUTE[kind]:
            raise Refusal(429, _DETAIL.get(kind, "Too many requests, please try again later."))
