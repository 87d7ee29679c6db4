"""What is prepared to be sent, and its way through the lane: one at a time, with the pace and the repeats of the lane."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from adapter.domain.pauses import spread
from adapter.domain.ranking import Rank
from adapter.errors import ConfigError, Conflict, Rejected, Temporary, place
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.lane import CLAIM_AHEAD_SECONDS, Lane, Prepared
from adapter.pipelines.outbound.look import Sighting
from adapter.pipelines.outbound.queue import Queue

_log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class Dispatch:
    """The prepared messages and the lane.

    `begins` is called when one is taken or done with, so that another can be prepared; `again` looks once more at one that is not as it
    was; `waits` puts off one that could not be claimed.
    """

    context: Context
    queue: Queue
    ahead: int
    begins: Callable[[], None]
    again: Callable[[Sighting], None]
    waits: Callable[[Sighting, Exception, str], Awaitable[None]]

    def __post_init__(self) -> None:
        self.lane = Lane(context=self.context, spread=spread, freed=self._finished)
        self._prepared: list[Prepared] = []
        self._ready = asyncio.Event()
        self._going = asyncio.Lock()

    def add(self, prepared: Prepared) -> None:
        """Takes one that is ready to be claimed; its Communication is in work until it is done with."""
        self._prepared.append(prepared)
        self._ready.set()

    @property
    def to_beat(self) -> Rank | None:
        """When enough is prepared ahead, only what goes before all of it is prepared as well."""
        if len(self._prepared) < self.ahead:
            return None
        return min(prepared.wish.row.rank for prepared in self._prepared)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way through the lane."""
        return not self._going.locked()

    async def idle(self) -> None:
        """Returns when nothing is on its way through the lane."""
        async with self._going:
            pass

    async def wait(self) -> None:
        """Returns when there is something to carry, and its slot is near."""
        while not self._prepared and (pause := self._until_aside()) != 0.0:
            self._ready.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._ready.wait()
        await self.lane.until_slot(ahead=CLAIM_AHEAD_SECONDS)

    def _until_aside(self) -> float | None:
        at = self.lane.aside.next_at
        return None if at is None else max(at - self.context.clock.boot(), 0.0)

    async def carry_next(self) -> None:
        """Takes the next one through the lane: one that was set aside, when its time has come, else the best prepared.

        Raises:
            ConfigError: the process has to end.
        """
        aside = self.lane.aside.take(now=self.context.clock.boot())
        if aside is not None:
            async with self._going:
                await self.lane.resume(aside)
            return
        prepared = self.lane.choose(self._prepared)
        if prepared.is_old(now=self.context.clock.boot()):
            self._look_again(prepared)
        else:
            await self._carry(prepared)

    async def _carry(self, prepared: Prepared) -> None:
        communication = prepared.wish.row.communication
        self.begins()
        try:
            async with self._going:
                claimed = await self.lane.carry(prepared)
        except ConfigError:
            raise
        except (Temporary, Rejected, Conflict) as error:
            sighting = Sighting(id=communication, rank=prepared.wish.row.rank)
            await self.waits(sighting, error, "communication.not-claimed")
        except Exception as error:  # noqa: BLE001  # one bad message must not stop another; the text may be patient content
            kind = type(error).__name__
            _log.error("send.failed", communication=communication, error=kind, at=place(error))
            self._finished(communication)
        else:
            if not claimed:
                self._look_again(prepared)
                return
            self.queue.claimed(communication)
            if communication in self.lane.aside:
                self.queue.begin(communication)

    def _finished(self, communication: str) -> None:
        self.queue.finished(communication)
        self.begins()

    def _look_again(self, prepared: Prepared) -> None:
        row = prepared.wish.row
        self.queue.finished(row.communication)
        self.again(Sighting(id=row.communication, rank=row.rank))
