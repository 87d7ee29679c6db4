"""The send itself: re-read, intent and slot, one POST, record, write back (protocol §4.4 to §4.7)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from adapter.domain.evidence import found_in
from adapter.domain.mark import marks_on
from adapter.domain.outcome import Answer, LaneStopped, Refused, Sent, TooLate, Waiting
from adapter.domain.reasons import Reason, reason
from adapter.domain.resource import Resource, version_of
from adapter.domain.rounds import PREPARATION
from adapter.domain.transmission import State, Transmission
from adapter.domain.writeback import authors_own, edited_after, overtaken
from adapter.errors import Conflict, Temporary
from adapter.pipelines.outbound.claim import Claimed
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.insist import change, insist, present_row
from adapter.pipelines.outbound.owner import is_taken
from adapter.pipelines.outbound.park import state_for, tell
from adapter.pipelines.outbound.unknown import unknown
from adapter.pipelines.outbound.writeback import write_back

_log = structlog.get_logger(__name__)

FRESH_SECONDS: Final = 2.0
DEADLINE_SECONDS: Final = 10.0
FIRST_CHECK: Final = timedelta(seconds=30)
_PAUSE_SECONDS: Final = 15.0


@dataclass(frozen=True, kw_only=True)
class Sending:
    """How one go at the slot ended: `slot` is the id of the one that it took, `None` when it may have taken none.

    With `again` the same claim wants another slot, after the pause.
    """

    claimed: Claimed
    slot: int | None = None
    again: bool = False
    is_doubtful: bool = False
    pause_seconds: float = 0.0
    stopped: str | None = None


async def still_wanted(context: Context, claimed: Claimed) -> Claimed | None:
    """Reads the Communication again when the claim is not fresh; `None` when it was withdrawn meanwhile.

    Raises:
        Temporary: the FHIR server could not answer.
    """
    if claimed.row.state is State.CLAIMED and context.clock.boot() - claimed.at <= FRESH_SECONDS:
        return claimed
    present = await context.fhir.read("Communication", claimed.row.communication)
    if present is None or _is_taken_back(context, present, claimed):
        await withdraw(context, claimed.row, present)
        return None
    if overtaken(present, claimed.row):
        return None
    changed = version_of(present) != version_of(claimed.communication)
    return replace(
        claimed,
        communication=present,
        at=context.clock.boot(),
        row=replace(claimed.row, note=edited_after(claimed.row.version)) if changed else claimed.row,
    )


def _is_taken_back(context: Context, present: Resource, claimed: Claimed) -> bool:
    """Whether its author wants it no more, or anew: who sets `preparation` beside our mark saw that it had not gone."""
    anew = present.get("status") == PREPARATION and any(
        mark.token == claimed.row.token for mark in marks_on(present)
    )
    return anew or authors_own(present, claimed.row.mark) or not context.policy.marker.on(present)


async def withdraw(context: Context, row: Transmission, present: Resource | None) -> None:
    """Ends the round of a wish that its author took back before it was sent."""
    now = context.clock.now()
    ended = await context.ledger.change(
        row, State.WITHDRAWN, now=now, event="withdrawn", ended_at=now, write_at=now, due_at=None, reason=None
    )
    if ended:
        await write_back(context, ended, communication=present)


async def settled_elsewhere(context: Context, claimed: Claimed) -> Transmission | None:
    """Before a repeat after 429 or without a connection: is it on Metriport's list all the same (protocol §5)?

    Raises:
        Temporary, Rejected: the list cannot be read, or what was read does not add up; the lane goes on waiting.
    """
    listing = await context.messages.outbound(claimed.send.patient)
    since = claimed.row.intent_at or context.clock.now()
    for message in found_in(listing.messages, claimed.send, since=since):
        if not await is_taken(context, message.id):
            return await record_sent(context, claimed.row, message.id, sent_at=message.sent_at)
    if not listing.whole:
        raise Temporary("Metriport's list is not whole.")
    return None


async def transmit(context: Context, claimed: Claimed, *, after: int | None) -> Sending:
    """Takes the slot whose time has come, posts once, records what the answer means.

    `after` is the id of the account's last slot, by which that time was reckoned.
    """
    deadline = context.clock.boot() + DEADLINE_SECONDS
    try:
        intended = await context.ledger.intend(
            claimed.row, after=after, now=context.clock.now(), event="intent"
        )
    except Conflict:
        return Sending(claimed=claimed, again=True)
    except Temporary:
        # It may have been committed. Nothing was posted, and only this claim could: back to waiting for a slot.
        return await _back_to_slot(context, claimed, await insist(context, present_row, context, claimed.row))
    if intended is None:
        present = await insist(context, present_row, context, claimed.row)
        if present.generation > claimed.row.generation and present.state is claimed.row.state:
            # Somebody only wrote it back, or put that off.
            return await _back_to_slot(context, claimed, present)
        _log.warning("send.row-lost", communication=claimed.row.communication, round=claimed.row.round)
        return Sending(claimed=claimed)
    row, slot = intended
    answer = await context.messages.send(claimed.send, in_time=lambda: context.clock.boot() < deadline)
    await insist(context, context.ledger.end, slot, now=context.clock.now())
    sending = await _record(context, replace(claimed, row=replace(row, note=claimed.row.note)), answer)
    return replace(sending, slot=slot.id)


async def _back_to_slot(context: Context, claimed: Claimed, row: Transmission) -> Sending:
    """The row as it is now wants another slot, unless it is no longer this claim's."""
    if row.token != claimed.row.token:
        return Sending(claimed=claimed)
    if row.state is State.INTENT:
        late = await change(context, row, State.CLAIMED, event="too-late")
        return Sending(claimed=replace(claimed, row=late or row), again=late is not None)
    return Sending(claimed=replace(claimed, row=row), again=row.state is claimed.row.state)


async def _record(context: Context, claimed: Claimed, answer: Answer) -> Sending:
    row = claimed.row
    match answer:
        case Sent(message_id=message_id):
            recorded = await record_sent(context, row, message_id, sent_at=None)
            if recorded:
                await write_back(context, recorded, communication=claimed.communication)
        case Refused(code=code, detail=detail):
            await _refused(context, claimed, reason(code, detail=detail))
        case Waiting(why=why, retry_after_seconds=pause):
            return await _waiting(context, claimed, why, pause=pause or _PAUSE_SECONDS)
        case LaneStopped(why=why):
            sending = await _waiting(context, claimed, why, pause=_PAUSE_SECONDS)
            return replace(sending, stopped=why)
        case TooLate():
            return await _back_to_slot(context, claimed, row)
        case _:
            await unknown(context, row, answer.why, communication=claimed.communication)
            return Sending(claimed=claimed, is_doubtful=True)
    return Sending(claimed=claimed)


async def record_sent(
    context: Context, row: Transmission, message_id: str, *, sent_at: datetime | None
) -> Transmission | None:
    """Records Metriport's id; `None` when the row was no longer as given, or another one holds that id."""
    now = context.clock.now()
    recorded = await change(
        context,
        row,
        State.SENT,
        event="sent",
        message=message_id,
        sent_at=sent_at or now,
        note=row.note,
        reason=None,
        checks=0,
        due_at=now + FIRST_CHECK,
        write_at=now,
    )
    if recorded:
        _log.info("transmission.sent", communication=row.communication, round=row.round, message=message_id)
    else:
        _log.error("send.not-recorded", communication=row.communication, round=row.round, message=message_id)
    return recorded


async def _refused(context: Context, claimed: Claimed, why: Reason) -> None:
    now = context.clock.now()
    state = state_for(why)
    row = await change(
        context,
        claimed.row,
        state,
        event=state.value,
        reason=why,
        ended_at=now,
        write_at=now,
    )
    if row:
        await tell(context, row, communication=claimed.communication)


async def _waiting(context: Context, claimed: Claimed, why: str, *, pause: float) -> Sending:
    now = context.clock.now()
    row = await change(
        context,
        claimed.row,
        State.WAITING,
        event="waiting",
        reason=reason("waiting-for-metriport", why=why),
        note=claimed.row.note,
        write_at=now,
    )
    if row is None:
        return Sending(claimed=claimed)
    communication = await write_back(context, row, communication=claimed.communication)
    present = await present_row(context, row)
    return Sending(
        claimed=replace(claimed, row=present, communication=communication or claimed.communication),
        again=True,
        pause_seconds=pause,
    )
