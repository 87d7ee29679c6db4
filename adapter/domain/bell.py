"""Whether the doorbell rings for what the sweeps find: a Subscription's `active` proves nothing."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

LATE_SECONDS: Final = 20.0  # HAPI rings within five
_ACTIVATION_SECONDS: Final = 15.0
_KEPT_SECONDS: Final = 600.0


@dataclass(kw_only=True)
class Bell:
    """What rang and what did not, from when the Subscription was seen to. Times are seconds on the boot clock.

    A ring that names nobody is for all that wait. `is_silent` when it did not ring and the Subscription was not seen
    to since.
    """

    is_silent: bool = False

    _rung: dict[str | None, float] = field(default_factory=dict)
    _waiting: dict[str, float] = field(default_factory=dict)
    _found: frozenset[str] = frozenset()
    _listens_from: float = math.inf
    _in_vain: int = 0

    @property
    def listens(self) -> bool:
        """Whether the Subscription was ever seen to."""
        return self._listens_from < math.inf

    def was_seen_to(self, *, now: float) -> None:
        """The Subscription was written: it has to ring from soon on; later each time that this changed nothing."""
        self._listens_from = now + _ACTIVATION_SECONDS * 2.0 ** min(self._in_vain, 8)
        self._in_vain += 1
        self._waiting.clear()
        self.is_silent = False

    def rang(self, communication: str | None, *, now: float) -> None:
        """It rang, for that Communication or for whatever there is."""
        self._rung[communication] = now
        self._in_vain = 0
        if communication is None:
            self._waiting.clear()
        self._waiting.pop(str(communication), None)

    def swept(self, found: Collection[str], *, now: float) -> int:
        """A sweep found these; gives for how many, found by an earlier one, it has not rung meanwhile."""
        earlier, self._found = self._found, frozenset(found)
        self._rung = {name: at for name, at in self._rung.items() if now - at < _KEPT_SECONDS}
        if now < self._listens_from:
            return 0
        silent = [name for name, since in self._waiting.items() if now - since >= LATE_SECONDS]
        for name in silent:
            del self._waiting[name]
        for name in self._found - earlier:
            if name not in self._rung and now - self._rung.get(None, -LATE_SECONDS) >= LATE_SECONDS:
                self._waiting.setdefault(name, now)
        self.is_silent = self.is_silent or bool(silent)
        return len(silent)
