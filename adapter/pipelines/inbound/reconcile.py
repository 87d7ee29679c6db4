"""Received messages whose call never came: Metriport's list is the guarantee, the webhook its shortcut (protocol §8).

Everything here may be broken off and begun anew at any moment: what was found is kept row by row, and what is known
is not kept again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import structlog

from adapter.pipelines.inbound.context import RECEIVED, Context
from adapter.ports.ledger import Delivery
from adapter.ports.mail import Direction

_log = structlog.get_logger(__name__)

_KEPT: Final = timedelta(days=30)  # so far back Metriport makes calls anew
YOUNG: Final = timedelta(minutes=5)  # its call may still come, and that one knows more of it


async def reconcile(context: Context, *, since: datetime) -> int:
    """Has worked on what is listed and was never told of, as if a call had; gives how many were new here.

    Raises:
        Temporary, Rejected: the list cannot be read now, or the ledger does not answer.
    """
    found = 0
    now = context.clock.now()
    async for listed in context.mail.list_messages(Direction.INBOUND, since=since):
        message = listed.message
        sent_at = message.sent_at or now
        if message.sent_at is not None and now - YOUNG < sent_at <= now + YOUNG:
            continue
        if await context.ledger.arrival(message.id) is None:
            # Whether it is on the FHIR server already is looked up first when it is worked on.
            await context.ledger.keep(
                Delivery(
                    delivery_id=f"listed-{message.id}",
                    kind=RECEIVED,
                    received_at=min(max(sent_at, now - _KEPT), now),  # some clocks say anything
                    body=listed.row,
                    message=message.id,
                )
            )
            found += 1
    if found:
        _log.info("messages.listed", new=found)
    return found
