"""What an operator orders, in the author's own way: the status that an EHR would set (design §3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from adapter.domain.canonical import INSTRUCTION_SYSTEM
from adapter.domain.marker import Marker, is_shown
from adapter.domain.resource import Resource, entries
from adapter.domain.rounds import PREPARATION, is_given_up
from adapter.errors import Unresolved

CANCELLED: Final = "not-done"
_ENDED: Final = frozenset({"stopped", "not-done", "on-hold"})
_OPEN: Final = frozenset({PREPARATION, "in-progress", "on-hold"})


def retried(communication: Resource, marker: Marker, *, resend: bool) -> Resource:
    """The Communication as a new wish; one that was completed, or may have arrived, only with `resend`.

    Raises:
        Unresolved: it cannot be wished for as it stands.
    """
    _check(communication, marker)
    status = communication.get("status")
    may_be_there = status == "completed" or is_given_up(communication)
    if may_be_there and resend:
        again = {"coding": [{"system": INSTRUCTION_SYSTEM, "code": "resend"}]}
        category = [*entries(communication.get("category")), again]
        return {**communication, "status": PREPARATION, "category": category}
    if may_be_there:
        what = "was delivered" if status == "completed" else "may have been delivered"
        raise _no(f"It {what}. To send it once more all the same, add --resend.")
    if status in _ENDED:
        return {**communication, "status": PREPARATION}
    raise _no(
        f"Its status is {status}: only stopped, not-done, on-hold and completed ones can be sent again."
    )


def cancelled(communication: Resource, marker: Marker) -> Resource:
    """The Communication taken back. What has gone already cannot be called back; a Task says so.

    Raises:
        Unresolved: there is nothing to take back.
    """
    _check(communication, marker)
    if communication.get("status") not in _OPEN:
        raise _no(f"Its status is {communication.get('status')}: there is nothing to take back.")
    return {**communication, "status": CANCELLED}


def _check(communication: Mapping[str, Any], marker: Marker) -> None:
    if is_shown(communication):
        raise _no(
            "It shows a message that was received, or sent by others. To answer it, write a new Communication."
        )
    if not marker.on(communication):
        raise _no("It does not carry the marker, so it is not the adapter's.")


def _no(sentence: str) -> Unresolved:
    return Unresolved(sentence, candidates=0)
