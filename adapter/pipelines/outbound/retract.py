"""What was shown as sent by others and turned out to be ours: entered in error (protocol §8)."""

from __future__ import annotations

from typing import Final

import structlog

from adapter.domain.elsewhere import RETRACTED, elsewhere_id
from adapter.domain.resource import version_of
from adapter.errors import Conflict, Temporary
from adapter.pipelines.outbound.context import Context
from adapter.ports.fhir import Presence

_log = structlog.get_logger(__name__)

_ATTEMPTS: Final = 4


async def retract(context: Context, message_id: str) -> None:
    """Marks the Communication that shows the message as somebody else's, if there is one.

    Raises:
        Temporary, Rejected: not now.
    """
    place = await context.fhir.locate("Communication", elsewhere_id(message_id))
    if place.presence is not Presence.THERE:
        return
    for _ in range(_ATTEMPTS):
        there = await context.fhir.read("Communication", place.id)
        if there is None or there.get("status") == RETRACTED:
            return
        try:
            await context.fhir.replace({**there, "status": RETRACTED}, version=version_of(there) or "")
        except Conflict:
            continue
        _log.warning("message.was-ours", message=message_id, communication=place.id)
        return
    raise Temporary(f"Communication/{place.id}: it changes each time it is to be retracted.")
