"""Tasks for a person: created once, never overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapter.domain.reasons import task_for
from adapter.domain.tasks import task, withdrawn_task
from adapter.domain.transmission import Transmission
from adapter.errors import Conflict, Rejected
from adapter.pipelines.outbound.context import Context


async def ask(context: Context, row: Transmission, *, candidates: Sequence[str] = ()) -> None:
    """The Task for the row's reason, where the reason wants a person; `candidates` are Metriport's ids."""
    code = task_for(row.reason.code) if row.reason else None
    if row.reason is None or code is None:
        return
    question = task(
        row.communication,
        round=row.round,
        reason=row.reason,
        code=code,
        now=context.clock.now(),
        candidates=candidates,
    )
    await _put_once(context, row, question)


async def say_withdrawn_late(context: Context, row: Transmission) -> None:
    """The Task for an author who took back what had gone already."""
    await _put_once(context, row, withdrawn_task(row.communication, round=row.round, now=context.clock.now()))


async def _put_once(context: Context, row: Transmission, question: dict[str, Any]) -> None:
    # A server that refuses the Task keeps nothing else from being written: the reason is on the Communication too.
    try:
        place = await context.fhir.locate("Task", question["id"])
        if place.is_free:
            await context.fhir.create_all([question])
    except (Rejected, Conflict):
        await context.ledger.note(
            row.communication, round=row.round, what="task-refused", now=context.clock.now()
        )
