"""Received messages whose call never came: Metriport's list is the guarantee, the webhook its shortcut (protocol §8)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import structlog

from adapter.pipelines.inbound.context import RECEIVED, Context
from adapter.ports.ledger import Delivery

_log = structlog.get_logger(__name__)

YOUNG: Final = timedelta(minutes=5)  # its call may still come, and that one knows more of it


async def reconcile(context: Context, *, since: datetime) -> int:
    """Has worked on what is listed and was never told of, as if a call had; gives how many were new here.

    Raises:
        Temporary, Rejected: the list cannot be read now, or the ledger does not answer.
    """
    found = 0
    now = context.clock.now()
    async for listed in context.mail.received(since=since):
        if listed.at is not None and listed.at > now - YOUNG:
            continue
        if await context.ledger.arrival(listed.message) is None:
            # Whether it is on the FHIR server already is looked up first when it is worked on.
            await context.ledger.keep(
                Delivery(
                    delivery_id=f"listed-{listed.message}",
                    kind=RECEIVED,
                    received_at=listed.at or now,
                    body=listed.row,
                    message=listed.message,
                )
            )
            found += 1
    if found:
        _log.info("messages.listed", new=found)
    return found
