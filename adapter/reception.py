"""Received messages on their way in, side by side: a slow link keeps no other from being fetched while it lives."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

import structlog

from adapter.errors import AdapterError, ConfigError, place
from adapter.pipelines.inbound.arrivals import arrive, later, put_off
from adapter.pipelines.inbound.context import RECEIVED, Context
from adapter.pipelines.inbound.renewal import MEANWHILE, renew
from adapter.ports.ledger import Delivery

_MOST_WAITING: Final = 200
_RENEWAL: Final = ""  # among the tasks, the asking for fresh links; no delivery has that id


_log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class Reception:
    """What is being fetched and written at this moment; `bell` rings when there may be more to begin."""

    context: Context
    most_at_once: int
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    _going: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _dead: dict[str, Delivery] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._at_once = asyncio.Semaphore(self.most_at_once)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """All that is going on; who stops the process ends them."""
        return list(self._going.values())

    async def begin(self) -> None:
        """Starts on each delivery whose time has come, and has the links made anew that were found dead.

        Raises:
            AdapterError: the ledger cannot be read, or one of those that ended meanwhile ran into it.
        """
        ended = [name for name, task in self._going.items() if task.done()]
        # Looked at in any case: asyncio would print an error that nobody asked for, text and all.
        failures = [error for name in ended if (error := self._going.pop(name).exception())]
        if self._dead and _RENEWAL not in self._going:
            # Beside the others: a fresh link lives minutes, and many may have to be asked for.
            dead, self._dead = list(self._dead.values()), {}
            self._going[_RENEWAL] = asyncio.create_task(self._renew(dead))
        now = self.context.clock.now()
        for delivery in await self.context.ledger.waiting(now=now, limit=_MOST_WAITING, kind=RECEIVED):
            if delivery.delivery_id not in self._going:
                self._going[delivery.delivery_id] = asyncio.create_task(self._arrive(delivery))
        if failures:
            raise failures[0]

    async def _renew(self, dead: list[Delivery]) -> None:
        try:
            async with self.context.share.alone("renewal") as mine:
                if mine:
                    await renew(self.context, dead)
                else:  # another adapter asks, likely for these as well; what is left comes next
                    self._dead = {one.delivery_id: one for one in [*dead, *self._dead.values()]}
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001  # they would be fetched again soon, over and over
            say = _log.debug if isinstance(error, AdapterError) else _log.error
            say("deliveries.not-renewed", error=type(error).__name__, at=place(error))
            for delivery in dead:
                await put_off(self.context, delivery, error, tries=delivery.tries)

    async def _arrive(self, delivery: Delivery) -> None:
        async with self._at_once:
            try:
                async with self.context.share.alone(f"delivery {delivery.delivery_id}") as mine:
                    if not mine or not await self._is_waiting(delivery):
                        return  # another adapter is at it, or was; should that one die, the time comes again
                    await self._fetch(delivery)
            except AdapterError:
                raise
            except Exception as error:  # noqa: BLE001  # one bad message must not stop another
                await later(self.context, delivery, error)
        self.bell.set()

    async def _is_waiting(self, delivery: Delivery) -> bool:
        return await self.context.ledger.is_waiting(delivery, now=self.context.clock.now())

    async def _fetch(self, delivery: Delivery) -> None:
        if await arrive(self.context, delivery):
            return
        self._dead[delivery.delivery_id] = delivery
        # Nobody has to find out again, meanwhile.
        due_at = self.context.clock.now() + MEANWHILE
        await self.context.ledger.later(delivery, due_at=due_at, note="links-dead")
