"""An event loop whose time passes only when nobody has anything to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)

T = TypeVar("T")


class _NoSelector(selectors.BaseSelector):
    """Nothing comes from outside; waiting is a step of the virtual clock."""

    def __init__(self) -> None:
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("deadlock: everybody waits and nothing is scheduled")
        self.now += max(timeout, 0.0)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` is virtual; threads are refused, because they know nothing of it."""

    def __init__(self) -> None:
        self._virtual = _NoSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def run_in_executor(self, *_: Any) -> Any:  # type: ignore[override]  # whatever is asked for
        raise RuntimeError("threads have no place under a virtual clock")


class VirtualClock:
    """The clock port over a virtual loop; `skew` is how far the wall clock is off."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, start: datetime = START) -> None:
        self._loop = loop
        self._start = start
        self.skew = timedelta(0)

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._loop.time()) + self.skew

    def boot(self) -> float:
        return 1000.0 + self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs to the end under a virtual clock of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
