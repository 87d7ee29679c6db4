"""The time that replicas share."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from adapter.errors import Temporary
from adapter.ledger.store import Store
from adapter.ports.clock import Clock

_PAUSE_SECONDS: Final = 60.0  # in which no boot clock is off by more than some milliseconds
_LONGEST_LOOK_SECONDS: Final = 2.0  # by which replicas may differ; less than the distance of two slots
_LOOKS: Final = 5


class SharedClock:
    """A machine's clocks, with a wall clock that all replicas on one ledger have in common (protocol §4.3).

    It is that of the ledger's database, carried on by this machine's boot clock from one look to the next. Where there
    is none, it is the machine's own.
    """

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._at_boot: datetime | None = None

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        if self._at_boot is None:
            return self._own.now()
        return self._at_boot + timedelta(seconds=self._own.boot())

    def boot(self) -> float:
        """Seconds since boot, sleep included."""
        return self._own.boot()

    async def sleep(self, seconds: float) -> None:
        """Waits at least that long."""
        await self._own.sleep(seconds)

    async def look(self, ledger: Store) -> None:
        """Looks at the ledger's clock.

        Raises:
            Temporary: it cannot be read, or each time that takes so long that nobody knows when it was.
        """
        for _ in range(_LOOKS):
            before = self.boot()
            time = await ledger.time()
            took = self.boot() - before
            if time is None:
                return
            if took <= _LONGEST_LOOK_SECONDS:
                self._at_boot = time - timedelta(seconds=before + took)
                return
        raise Temporary(f"the ledger's database took {took:.1f} s to tell its time, {_LOOKS} times in a row")

    async def keep(self, ledger: Store) -> None:
        """Looks again and again, for ever: the one clock runs a little faster than the other, and may step."""
        while True:
            await self.sleep(_PAUSE_SECONDS)
            with suppress(Temporary):
                await self.look(ledger)
