"""Time that passes faster than outside, the same for every process of one run: minutes of waiting take seconds.

Only the clocks and what waits on the event loop are hurried; whatever computes has that much less time for it.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any


@dataclass(frozen=True, kw_only=True)
class HurriedClock:
    """The clock port, `speed` times as fast from `start` on; `skew` is how far this machine's wall clock is off."""

    start: datetime
    speed: float
    skew: timedelta = timedelta(0)

    def now(self) -> datetime:
        return self.start + (datetime.now(UTC) - self.start) * self.speed + self.skew

    def boot(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) * self.speed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class HurriedLoop(asyncio.SelectorEventLoop):
    """An event loop on real sockets whose seconds are short."""

    def __init__(self, clock: HurriedClock) -> None:
        super().__init__(_Selector(clock.speed))
        self._speed = clock.speed

    def time(self) -> float:
        return time.monotonic() * self._speed


class _Selector(selectors.DefaultSelector):
    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> Any:
        return super().select(timeout / self._speed if timeout else timeout)
