"""Time, as the pipelines see it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Two clocks and a way to wait."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC. It may step."""
        ...

    def boot(self) -> float:
        """Seconds on a clock that never steps and goes on while the machine sleeps."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits at least that long."""
        ...
