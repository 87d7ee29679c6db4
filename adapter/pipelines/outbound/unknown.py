"""An outcome that was not learned: it stays open, is said so, and nothing is sent again blindly (protocol §6)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from adapter.domain.mark import Mark
from adapter.domain.reasons import reason
from adapter.domain.resource import Resource
from adapter.domain.transmission import State, Transmission
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.insist import change
from adapter.pipelines.outbound.writeback import write_back

# The send deadline, the longest answer, and a margin; then Metriport's list may still lag.
_SETTLE: Final = timedelta(seconds=10 + 20 + 30)


async def unknown(
    context: Context,
    row: Transmission,
    why: str,
    *,
    mark: Mark | None = None,
    communication: Resource | None = None,
) -> Transmission | None:
    """Moves the row to `unknown` and says so on the Communication; `None` when the row was no longer as given.

    `mark` is the plan as it stands on the Communication, where the row does not have it.
    """
    now = context.clock.now()
    plan = mark or row.mark
    doubtful = await change(
        context,
        row,
        State.UNKNOWN,
        event="unknown",
        token=plan.token,
        attempt=plan.attempt,
        destination=plan.destination,
        attachments=plan.attachments,
        digest=plan.digest,
        reason=reason("outcome-unknown", why=why),
        note=row.note,
        due_at=(row.intent_at or now) + _SETTLE + context.policy.list_lag,
        write_at=now,
    )
    if doubtful:
        await write_back(context, doubtful, communication=communication)
    return doubtful
