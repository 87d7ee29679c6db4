"""Whom a message of Metriport's belongs to: the round whose id it is (protocol §6)."""

from __future__ import annotations

from adapter.domain.canonical import COMMUNICATION_ID
from adapter.domain.mark import has_foreign_mark
from adapter.domain.marker import is_sent_elsewhere
from adapter.pipelines.outbound.context import Context


async def is_taken(context: Context, message_id: str) -> bool:
    """Whether some round has that message already.

    The ledger may be young; then the Communications tell, which carry the ids of all their rounds.

    Raises:
        Temporary, Rejected: the FHIR server could not answer.
    """
    if await context.ledger.by_message(message_id) is not None:
        return True
    asked = [("identifier", f"{COMMUNICATION_ID}|{message_id}")]
    async for found in context.fhir.search("Communication", asked):
        # One that was taken for somebody else's may be ours all the same, and a copy's ids are those of what it was
        # made from, whose own may have been overwritten.
        if not (is_sent_elsewhere(found) or has_foreign_mark(found)):
            return True
    return False
