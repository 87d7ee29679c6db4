"""An outcome that was not learned: it stays open, is said so, and nothing is sent again blindly (protocol §6)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from adapter.domain.mark import Mark
from adapter.domain.reasons import reason
from adapter.domain.resource import Resource
from adapter.domain.transmission import State, Transmission
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.insist import change
from adapter.pipelines.outbound.writeback import write_back

# The send deadline, the longest answer, and a margin; then Metriport's list may still lag.
SETTLE: Final = timedelta(seconds=10 + 20 + 30)


def settled_at(context: Context, since: datetime) -> datetime:
    """From when on Metriport's list tells about a send of that moment (its intent, or our first sight of its claim)."""
    return since + SETTLE + context.policy.list_lag


async def unknown(
    context: Context,
    row: Transmission,
    why: str,
    *,
    mark: Mark | None = None,
    patient: str | None = None,
    communication: Resource | None = None,
) -> Transmission | None:
    """Moves the row to `unknown` and says so on the Communication; `None` when the row was no longer as given.

    `mark` is the plan as it stands on the Communication, where the row does not have it, `patient` Metriport's.
    """
    now = context.clock.now()
    plan = mark or row.mark
    since = row.intent_at or now
    doubtful = await change(
        context,
        row,
        State.UNKNOWN,
        event="unknown",
        patient=patient or row.patient,
        token=plan.token,
        attempt=plan.attempt,
        destination=plan.destination,
        attachments=plan.attachments,
        digest=plan.digest,
        reason=reason("outcome-unknown", why=why),
        note=row.note,
        intent_at=since,
        due_at=settled_at(context, since),
        write_at=now,
    )
    if doubtful:
        await write_back(context, doubtful, communication=communication)
    return doubtful
