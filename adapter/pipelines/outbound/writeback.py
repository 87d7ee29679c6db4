"""Writing on the author's resource: from the present state, the adapter's fields only, never over a change of others.

A write-back that cannot be done now is due again later; the outcome is in the ledger meanwhile (protocol §7).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from adapter.domain import pauses
from adapter.domain.resource import Resource, version_of
from adapter.domain.transmission import State, Transmission
from adapter.domain.writeback import authors_own, needs_write, overtaken, written
from adapter.errors import Conflict, Rejected, Temporary
from adapter.pipelines.outbound.ask import say_withdrawn_late
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.insist import present_row

_log = structlog.get_logger(__name__)

_ATTEMPTS = 6
_FIRST_PAUSE = timedelta(seconds=15)
_LONGEST_PAUSE = timedelta(minutes=5)
_AFTER_REFUSAL = timedelta(days=1)
_REFUSED = "write-refused"
_WRITTEN = "written"
# What the adapter may do at all: nothing that an edit of this one resource would change.
_NO_ACCESS = frozenset({401, 403})


async def write_back(
    context: Context, row: Transmission, *, communication: Resource | None = None
) -> Resource | None:
    """Brings the Communication in line with the row; gives it as it then is, `None` when it is gone or must wait.

    `communication` is the resource if it was read a moment ago: that saves a read, and a conflict costs nothing but one.
    """
    try:
        resource = await _write(context, row, communication)
    except (Temporary, Conflict) as error:
        now = context.clock.now()
        await _later(context, row, pauses.after(error, patience(row, now=now), now=now), "write-waits")
        return None
    except Rejected as refusal:
        (_log.error if await _is_news(context, row) else _log.info)(
            "communication.write-refused",
            communication=row.communication,
            status=refusal.status,
            advice="the outcome is kept in the ledger; mend the resource or the server's rules",
        )
        soon = patience(row, now=context.clock.now())
        await _later(context, row, soon if refusal.status in _NO_ACCESS else _AFTER_REFUSAL, _REFUSED)
        return None
    return resource


async def _is_news(context: Context, row: Transmission) -> bool:
    """Whether nothing was refused on this Communication since it was last written."""
    whats = [event.what for event in await context.ledger.timeline(row.communication)]
    since = max((place for place, what in enumerate(whats) if what == _WRITTEN), default=-1)
    return _REFUSED not in whats[since + 1 :]


def is_left(row: Transmission, *, edited_at: datetime, now: datetime) -> bool:
    """Whether no write-back is due, or one that was refused waits for an edit, and that has come."""
    if row.write_at is None:
        return True
    return row.write_at - now > 2 * _LONGEST_PAUSE and edited_at > row.write_at - _AFTER_REFUSAL


def patience(row: Transmission, *, now: datetime) -> timedelta:
    """The pause before a step is tried again: half as long as the row has been where it is."""
    since = row.ended_at or row.sent_at or row.claimed_at or row.opened_at
    return min(max((now - since) / 2, _FIRST_PAUSE), _LONGEST_PAUSE)


async def _write(context: Context, row: Transmission, communication: Resource | None) -> Resource | None:
    for _ in range(_ATTEMPTS):
        if communication is None:
            row = await present_row(context, row)
            communication = await context.fhir.read("Communication", row.communication)
        if communication is None:
            await _settle(context, row, event="gone")
            return None
        if row.message and authors_own(communication, row.mark):
            await say_withdrawn_late(context, row)
        if row.state is State.READY or overtaken(communication, row) or not needs_write(communication, row):
            await _settle(context, row, event="in-line")
            return communication
        try:
            fresh = await context.fhir.replace(
                written(communication, row), version=version_of(communication) or ""
            )
        except Conflict:
            communication = None
            continue
        await _settle(context, row, event=_WRITTEN)
        return fresh
    raise Conflict(f"Communication/{row.communication} changed {_ATTEMPTS} times while it was written")


async def _settle(context: Context, row: Transmission, *, event: str) -> None:
    if row.write_at is not None:
        await context.ledger.change(row, row.state, now=context.clock.now(), event=event, write_at=None)


async def _later(context: Context, row: Transmission, pause: timedelta, event: str) -> None:
    now = context.clock.now()
    present = await present_row(context, row)
    await context.ledger.change(present, present.state, now=now, event=event, write_at=now + pause)
