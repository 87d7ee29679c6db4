"""What one of several adapters does of the work that they share. A single one has all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from adapter.errors import Temporary
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
        """Whether no other adapter is at what goes by those names; then none begins with it before the block ends.

        It does not keep this process itself from doing it twice at once.

        Raises:
            Temporary: the ledger does not answer.
        """
        if not await self.leases.take(self.life, *names, now=self.clock.now(), seconds=self.seconds):
            yield False
            return
        self._held.update(names)
        try:
            yield True
        finally:
            self._held.difference_update(names)
            with suppress(Temporary):  # it ends by itself
                await self.leases.leave(self.life, *names)

    async def renew(self) -> None:
        """What is held goes on.

        Raises:
            Temporary: the ledger does not answer.
        """
        if self._held:
            await self.leases.renew(self.life, now=self.clock.now(), seconds=self.seconds)
