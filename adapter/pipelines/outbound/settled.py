"""Tasks whose reason is gone are closed: nobody is asked what is settled already (design §3, Tasks)."""

from __future__ import annotations

from typing import Final

import structlog

from adapter.domain.canonical import REASON_SYSTEM, TASK_STATE_SYSTEM, TASK_SYSTEM
from adapter.domain.mark import marks_on, newest
from adapter.domain.reasons import TaskCode
from adapter.domain.resource import Resource, items, local_reference, obj, version_of
from adapter.domain.tasks import UNDECIDED, closed, task_id
from adapter.domain.writeback import authors_own
from adapter.errors import Conflict, Rejected
from adapter.pipelines.each import each, over
from adapter.pipelines.outbound.context import Context

_log = structlog.get_logger(__name__)

_ASKED: Final = ",".join(
    f"{TASK_SYSTEM}|{code}" for code in TaskCode if code is not TaskCode.SENT_BUT_WITHDRAWN
)


async def close_settled(context: Context) -> int:
    """Closes the open Tasks about rounds that are no longer held or in doubt; gives how many.

    Raises:
        Temporary: a neighbour cannot answer.
    """
    parameters = [
        ("code", _ASKED),
        ("status", ",".join(UNDECIDED)),
        ("business-status", f"{TASK_STATE_SYSTEM}|open"),
    ]

    async def close(task: Resource) -> bool:
        try:
            is_settled = await _is_settled(context, task)
            if is_settled:
                await context.fhir.replace(closed(task), version=str(version_of(task)))
        except (Conflict, Rejected) as error:
            _log.warning("task.waits", task=task["id"], error=type(error).__name__, detail=str(error))
            return False
        return is_settled

    asked = [task async for task in context.fhir.search("Task", parameters)]
    return await each(over(asked), close, doing="settled")


async def _is_settled(context: Context, task: Resource) -> bool:
    """Whether the author has decided, or neither the ledger nor the Communication says what the Task asks about."""
    focus = local_reference(obj(task.get("focus")).get("reference"), base_url=context.fhir.base_url)
    if focus is None or focus.type != "Communication":
        return False
    communication = await context.fhir.read("Communication", focus.id)
    if communication is None:
        return True
    mark = newest(marks_on(communication))
    if mark is None:
        return False  # a received message, or an overwritten one
    row = await context.ledger.newest(focus.id)
    asked = {task_id(focus.id, round=mark.round, code=code) for code in _codes(communication)}
    if row and row.reason:
        asked.add(task_id(focus.id, round=row.round, code=row.reason.code))
    return task["id"] not in asked or authors_own(communication, row.mark if row else mark)


def _codes(communication: Resource) -> list[str]:
    codings = items(obj(communication.get("statusReason")).get("coding"))
    return [str(one.get("code")) for one in codings if one.get("system") == REASON_SYSTEM]
