"""From accepted to ended: status events, polls, and what to do when no acknowledgement comes (protocol §7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from datetime import timedelta
from typing import Final

import structlog

from adapter.domain import pauses
from adapter.domain.message import Message, MessageState
from adapter.domain.reasons import reason
from adapter.domain.transmission import ENDED, IN_FLIGHT, State, Transmission
from adapter.errors import AdapterError, ConfigError, place
from adapter.pipelines.outbound.ask import ask
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.insist import present_row
from adapter.pipelines.outbound.resolve import witness
from adapter.pipelines.outbound.unknown import unknown
from adapter.pipelines.outbound.writeback import patience, write_back
from adapter.ports.ledger import FinalStatus

_log = structlog.get_logger(__name__)

STATE_FOR: Final = {MessageState.COMPLETED: State.COMPLETED, MessageState.FAILED: State.FAILED}
_LONGEST_PAUSE: Final = timedelta(hours=6)
_FIRST_PAUSE: Final = timedelta(seconds=30)
_MOST_AT_ONCE: Final = 50


async def absorb(context: Context, status: FinalStatus) -> None:
    """Takes a final status event in. One for an id that we do not know is kept: recording the id joins it.

    It is also evidence for open unknowns.

    Raises:
        Temporary: a neighbour could not be asked what the event means.
    """
    await context.ledger.keep_status(status, now=context.clock.now())
    row = await context.ledger.by_message(status.message)
    if row is None:
        await witness(context, status.message)
        return
    if row.state is STATE_FOR[status.state]:
        return
    if row.state in ENDED:
        await _contradiction(context, row)
        return
    await _end(context, row, status)


async def poll(context: Context, row: Transmission) -> None:
    """Asks Metriport how far the message is.

    Raises:
        Temporary, Rejected: it could not be learned; the row stays due.
    """
    message = await context.messages.message(str(row.message))
    if message is not None and message.state is not MessageState.PROCESSING:
        await _end(context, row, _final(message))
        return
    await _wait_on(context, row)


async def recover(context: Context, *, in_flight: Callable[[], Container[str]]) -> int:
    """Claims with neither message nor end that nobody is working on: their outcome is unknown (protocol §2).

    Only for who holds the lane. `in_flight` gives the Communications in work in this process. Gives how many there were.
    """
    found = 0
    while left := [
        row
        for row in await context.ledger.in_states(IN_FLIGHT)
        if not (row.token.startswith(f"{context.life}.") and row.communication in in_flight())
    ]:
        for row in left:
            await unknown(context, row, "the adapter stopped while it was being sent")
        found += len(left)
    return found


def is_to_write(context: Context, row: Transmission) -> bool:
    """Whether the time of its write-back has come."""
    return row.write_at is not None and row.write_at <= context.clock.now()


async def due(context: Context, row: Transmission) -> None:
    """The step of a row whose time has come; an unknown outcome is resolved elsewhere."""
    if is_to_write(context, row):
        await ask(context, row)
        await write_back(context, row)
    elif row.state is State.SENT:
        await poll(context, row)


async def each_due(
    context: Context,
    step: Callable[[Transmission], Awaitable[None]],
    *,
    concerns: Callable[[Transmission], bool],
) -> None:
    """Takes the step of every row whose time has come, which concerns this adapter and no other is at.

    What one runs into keeps no other from its own.

    Raises:
        ConfigError: a step did: the process has to end.
        Exception: what the last one ran into, when no step was taken: then all go slower.
    """
    well, failure = 0, None
    for row in await context.ledger.due(context.clock.now(), limit=_MOST_AT_ONCE):
        if not concerns(row):
            continue
        try:
            well += await _alone(context, row, step)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001  # one bad message must not stop another
            if not isinstance(error, AdapterError):
                # A traceback shows text that may be the patient's.
                _log.error(
                    "transmission.failed",
                    communication=row.communication,
                    error=type(error).__name__,
                    at=place(error),
                )
            failure = error
    if failure and not well:
        raise failure


async def _alone(
    context: Context, row: Transmission, step: Callable[[Transmission], Awaitable[None]]
) -> bool:
    async with context.share.alone(f"transmission {row.id}") as mine:
        if not mine or not await context.ledger.is_as_given(row):
            return False  # another adapter took the step, or is about to
        try:
            await step(row)
        except ConfigError:
            raise
        except Exception as error:
            await put_off(context, row, error)
            raise
        return True


async def put_off(context: Context, row: Transmission, error: Exception) -> None:
    """The row's step could not be done now: it is due again later, the longer it lasts the later."""
    present, now = await present_row(context, row), context.clock.now()
    again = now + pauses.after(error, patience(present, now=now), now=now)
    if is_to_write(context, present):
        await context.ledger.change(present, present.state, now=now, event="waits", write_at=again)
    elif present.due_at is not None:
        await context.ledger.change(present, present.state, now=now, event="waits", due_at=again)


async def _end(context: Context, row: Transmission, status: FinalStatus) -> None:
    now = context.clock.now()
    failed = status.state is MessageState.FAILED
    ended = await context.ledger.change(
        row,
        STATE_FOR[status.state],
        now=now,
        event=status.state.value,
        reason=reason("delivery-failed", detail=status.detail or "no reason was given") if failed else None,
        note=None,
        ended_at=status.at or now,
        due_at=None,
        write_at=now,
    )
    if ended:
        _log.info(
            "transmission.ended", communication=row.communication, round=row.round, end=ended.state.value
        )
        await write_back(context, ended)


async def _contradiction(context: Context, row: Transmission) -> None:
    message = await context.messages.message(str(row.message))
    if message is None or message.state is MessageState.PROCESSING or STATE_FOR[message.state] is row.state:
        return
    _log.warning("status.contradicted", communication=row.communication, message=row.message)
    await _end(context, row, _final(message))


def _final(message: Message) -> FinalStatus:
    return FinalStatus(
        message=message.id, state=message.state, at=message.completed_at, detail=message.detail
    )


async def _wait_on(context: Context, row: Transmission) -> None:
    now = context.clock.now()
    waited = now - (row.sent_at or row.opened_at)  # a row rebuilt from its mark knows no better
    pause = min(_FIRST_PAUSE * 2 ** min(row.checks, 12), _LONGEST_PAUSE)
    if waited < context.policy.unconfirmed_after:
        await context.ledger.change(
            row, row.state, now=now, event="still-processing", due_at=now + pause, checks=row.checks + 1
        )
        return
    hours = int(context.policy.unconfirmed_after.total_seconds() // 3600)
    gave_up = waited >= context.policy.given_up_after
    doubtful = await context.ledger.change(
        row,
        row.state,
        now=now,
        event="unconfirmed",
        reason=reason("delivery-unconfirmed", hours=hours),
        checks=row.checks + 1,
        due_at=None if gave_up else now + _LONGEST_PAUSE,
        write_at=now,
    )
    if doubtful:
        await ask(context, doubtful)
        await write_back(context, doubtful)
