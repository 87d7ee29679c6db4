"""Webhook deliveries that were kept: what is to be done about each (protocol §8).

Final statuses of what we sent are absorbed here; received messages have a lane of their own (`arrivals`). All others
are kept and counted; none is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from adapter.domain import pauses
from adapter.errors import AdapterError, ConfigError, Rejected, place
from adapter.pipelines.inbound.context import RECEIVED
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.track import absorb
from adapter.ports.ledger import Delivery, FinalStatus

_log = structlog.get_logger(__name__)

Reader = Callable[[bytes], FinalStatus | None]
"""Reads a delivery's raw body; `None` for an event that is no final status."""

_BATCH: Final = 50
_FIRST_PAUSE: Final = timedelta(seconds=5)
_LONGEST_PAUSE: Final = timedelta(minutes=2)


async def work_off(context: Context, read: Reader) -> int:
    """Works on the kept deliveries, oldest first; gives how many were finished. One that fails stops no other."""
    finished = 0
    now = context.clock.now()
    for delivery in await context.ledger.waiting(now=now, limit=_BATCH, but=RECEIVED):
        finished += await _work(context, delivery, read)
    return finished


async def _work(context: Context, delivery: Delivery, read: Reader) -> bool:
    try:
        status = read(delivery.body)
    except Rejected:
        _log.warning("delivery.unreadable", delivery=delivery.delivery_id, kind=delivery.kind)
        await context.ledger.done(delivery, note="unreadable")
        return True
    try:
        if status is not None:
            await absorb(context, status)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001  # one bad call must not stop another; the text may be patient content
        kind = type(error).__name__
        say = _log.debug if isinstance(error, AdapterError) else _log.error
        say("delivery.waits", delivery=delivery.delivery_id, error=kind, at=place(error))
        now = context.clock.now()
        wait = min(max(now - delivery.received_at, _FIRST_PAUSE), _LONGEST_PAUSE)
        await context.ledger.later(delivery, due_at=now + pauses.after(error, wait, now=now), note=kind)
        return False
    await context.ledger.done(delivery, note="absorbed" if status else "kept")
    return True
