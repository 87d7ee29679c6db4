"""An event loop whose time passes only when nobody has anything to do."""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Coroutine, Mapping
from contextvars import Context as Variables
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)

T = TypeVar("T")


@dataclass(kw_only=True, eq=False)
class Life:
    """One process: what was started in its context goes on only while it runs.

    A killed one is never resumed, and kept: no `finally` of it runs before the test is over.
    """

    dead: bool = False
    over: bool = False
    paused: bool = False
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    held: list[asyncio.Handle] = field(default_factory=list)

    @property
    def runs(self) -> bool:
        """Whether anything of it may happen now."""
        return self.over or not (self.dead or self.paused)

    async def lives(self) -> None:
        """Goes on only for the living."""
        if self.over:
            raise ConnectionError("the test is over")
        if self.dead:
            await asyncio.Event().wait()


# A process that is killed loses its connections to the database, and whoever waits for one gets it.
_OF_THE_SYSTEM: Final = frozenset({"AsyncConnection.close"})
LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class _NoSelector(selectors.BaseSelector):
    """Nothing comes from outside."""

    def select(self, *_: Any) -> list[Any]:
        raise RuntimeError("there is nothing to wait for outside of the virtual clock")

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` is virtual; threads are refused, because they know nothing of it.

    What is ready runs in the order in which it got ready, as asyncio promises: which of several things happens first is
    for the latencies to say.
    """

    _ready: Any
    _scheduled: Any

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_NoSelector())

    def time(self) -> float:
        return self._now

    def run_in_executor(self, *_: Any) -> Any:  # type: ignore[override]  # whatever is asked for
        raise RuntimeError("threads have no place under a virtual clock")

    def create_task(self, coro: Any, **options: Any) -> Any:
        if getattr(coro, "__qualname__", None) in _OF_THE_SYSTEM:
            options["context"] = Variables()
        task = super().create_task(coro, **options)
        context = options.get("context")
        life = LIFE.get() if context is None else context.get(LIFE)
        if life is not None:
            life.tasks.add(task)
            task.add_done_callback(life.tasks.discard)
        return task

    def resume(self, life: Life) -> None:
        """Lets a process that was paused, or killed and is to be buried, go on where it was."""
        held, life.held = life.held, []
        self._ready.extend(held)

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        while scheduled and (scheduled[0].cancelled() or not ready or scheduled[0].when() <= self._now):
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle.cancelled():
                self._now = max(self._now, handle.when())
                ready.append(handle)
        if not ready:
            raise RuntimeError("deadlock: everybody waits and nothing is scheduled")
        for _ in range(len(ready)):
            handle = ready.popleft()
            life = handle._context.get(LIFE)
            if life is None or life.runs:
                if not handle.cancelled():
                    handle._run()
            else:
                life.held.append(handle)


class VirtualClock:
    """The clock port over a virtual loop; `skew` is how far the wall clock is off."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, start: datetime = START) -> None:
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self._start = start
        self.skew = timedelta(0)

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.loop.time()) + self.skew

    def boot(self) -> float:
        return 1000.0 + self.loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs to the end under a virtual clock of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
