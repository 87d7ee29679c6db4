"""Tasks: what a person has to decide (design §3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from adapter.domain.canonical import (
    COMMUNICATION_ID,
    REASON_SYSTEM,
    TASK_STATE_SYSTEM,
    TASK_SYSTEM,
    own_id,
)
from adapter.domain.reasons import Reason, TaskCode
from adapter.domain.writeback import instant_text

DECIDED: Final = ("completed", "rejected", "cancelled")
UNDECIDED: Final = ("requested", "received", "accepted", "ready", "in-progress", "on-hold")


def task_id(communication: str, *, round: int, code: str) -> str:
    """The same question always has the same id, so that it is asked once."""
    return own_id("task", f"{communication}/{round}/{code}")


def task(
    communication: str,
    *,
    round: int,
    reason: Reason,
    code: TaskCode,
    now: datetime,
    candidates: Sequence[str] = (),
) -> dict[str, Any]:
    """The Task that asks a person about one Communication; `focus` and reason say which and why.

    `candidates` are Metriport's ids of the messages that may be it.
    """
    asked = {
        **_asked(
            communication, name=task_id(communication, round=round, code=reason.code), code=code, now=now
        ),
        "reasonCode": {"coding": [{"system": REASON_SYSTEM, "code": reason.code}]},
        "description": reason.sentence,
    }
    return {**asked, "input": [_candidate(message) for message in candidates]} if candidates else asked


def closed(task: Mapping[str, Any]) -> dict[str, Any]:
    """The Task once its reason is gone: nobody has to answer it any more."""
    applied = {"coding": [{"system": TASK_STATE_SYSTEM, "code": "applied"}]}
    return {**task, "status": "cancelled", "businessStatus": applied}


def _candidate(message: str) -> dict[str, Any]:
    identifier = {"system": COMMUNICATION_ID, "value": message}
    return {
        "type": {"coding": [{"system": TASK_SYSTEM, "code": "candidate"}]},
        "valueReference": {"type": "Communication", "identifier": identifier},
    }


def withdrawn_task(communication: str, *, round: int, now: datetime) -> dict[str, Any]:
    """The Task for an author who took a Communication back after it had gone."""
    code = TaskCode.SENT_BUT_WITHDRAWN
    return {
        **_asked(
            communication, name=task_id(communication, round=round, code=code.value), code=code, now=now
        ),
        "description": "The Communication was taken back after it had been sent. "
        "It cannot be called back; tell the recipient if that matters.",
    }


def _asked(communication: str, *, name: str, code: TaskCode, now: datetime) -> dict[str, Any]:
    return {
        "resourceType": "Task",
        "id": name,
        "status": "requested",
        "intent": "order",
        "code": {"coding": [{"system": TASK_SYSTEM, "code": code.value}]},
        "businessStatus": {"coding": [{"system": TASK_STATE_SYSTEM, "code": "open"}]},
        "focus": {"reference": f"Communication/{communication}"},
        "authoredOn": instant_text(now),
    }
