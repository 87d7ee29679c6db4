"""Looks for due work, which come round all the time and nearly always find nothing: the database is spared most of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from adapter.ledger.store import Store
from adapter.ledger.tables import deliveries, transmissions

READS: Final = frozenset({
    "all_of", "arrival", "by_message", "due", "further", "in_states", "is_as_given", "is_waiting", "latest", "newest", "of_call", "of_patient", "timeline", "unfinished",
    "waiting",
})  # fmt: skip
_LOOKS: Final = frozenset({"due", "waiting"})
_LEASES: Final = frozenset({"take", "leave", "end_leases"})  # nothing becomes due by these


@dataclass(kw_only=True)
class Changes:
    """How often something was written into a ledger, by whatever process."""

    count: int = 0


@dataclass(kw_only=True)
class Looks:
    """One process's way to a ledger: a look that found nothing is not repeated while nothing was written or became due."""

    store: Store
    changes: Changes
    _nothing: dict[str, tuple[int, datetime]] = field(default_factory=dict)

    async def call(self, name: str, *arguments: Any, **facts: Any) -> Any:
        """What the ledger's method of that name gives."""
        method = getattr(self.store, name)
        if name in _LOOKS:
            return await self._look(name, method, *arguments, **facts)
        writes = name not in READS and name not in _LEASES
        # Both times: what was seen before may change now, and what is seen while it goes on may be either.
        self.changes.count += writes
        try:
            return await method(*arguments, **facts)
        finally:
            self.changes.count += writes

    async def _look(self, name: str, method: Any, *arguments: Any, **facts: Any) -> Any:
        now = facts.get("now") or arguments[0]
        asked = f"{name} {facts.get('kind')} {facts.get('but')}"
        changes, until = self._nothing.get(asked, (-1, now))
        if changes == self.changes.count and now < until:
            return []
        changes = self.changes.count
        found = await method(*arguments, **facts)
        if not found:
            self._nothing[asked] = (changes, await self._earliest())
        return found

    async def _earliest(self) -> datetime:
        async with self.store._database.reading() as connection:
            times = (await connection.execute(_DUE)).one()
        return min((at for at in times if at is not None), default=datetime.max.replace(tzinfo=UTC))


_DUE: Final = sa.select(
    sa.select(sa.func.min(transmissions.c.due_at)).scalar_subquery(),
    sa.select(sa.func.min(transmissions.c.write_at)).scalar_subquery(),
    sa.select(sa.func.min(deliveries.c.due_at)).where(deliveries.c.done.is_(False)).scalar_subquery(),
)
