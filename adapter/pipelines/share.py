"""What one of several adapters does of the work that they share. A single one has all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from adapter.ports.clock import Clock
from adapter.ports.ledger import Leases


@dataclass(kw_only=True)
class Share:
    """Leases of this process's life, which end `seconds` after it died. `renew` has to be called more often."""

    leases: Leases
    clock: Clock
    life: str
    seconds: float = 15.0
    _held: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def alone(self, *names: str) -> AsyncIterator[bool]:
        """Whether no other adapter is at what goes by those names; none begins with it while that is renewed.

        It does not keep this process itself from doing it twice at once.

        Raises:
            Temporary: the ledger does not answer.
        """
        if not await self._take(*names):
            yield False
            return
        self._held.update(names)
        try:
            yield True
        finally:
            self._held.difference_update(names)
            # Not renewed any more, it ends by itself. An error here would take the place of a cancellation.
            with suppress(Exception):
                await self.leases.leave(self.life, *names)

    async def renew(self) -> None:
        """What is held goes on, unless another has it meanwhile.

        Raises:
            Temporary: the ledger does not answer.
        """
        for name in sorted(self._held):
            if name in self._held:  # it may have been given back meanwhile
                await self._take(name)

    async def _take(self, *names: str) -> bool:
        return await self.leases.take(self.life, *names, now=self.clock.now(), seconds=self.seconds)
