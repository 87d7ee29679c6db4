"""What cannot go as it is: refused or held, with its code, its sentence, and a Task where a person has to act."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from adapter.domain.mark import Token
from adapter.domain.reasons import Reason
from adapter.domain.resource import Resource, version_of
from adapter.domain.transmission import State, Transmission
from adapter.pipelines.outbound.ask import ask
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.look import Wish
from adapter.pipelines.outbound.writeback import write_back

_log = structlog.get_logger(__name__)


def state_for(reason: Reason) -> State:
    """Held reasons hold, all others refuse."""
    return State.HELD if reason.code.startswith("held-") else State.REFUSED


async def park(context: Context, wish: Wish, reason: Reason) -> None:
    """Ends the round of a wish that was never claimed."""
    context.uploads.forget(wish.row.communication)
    now = context.clock.now()
    state = state_for(reason)
    token = str(Token.mint(life=context.life, nonce=context.nonce(), resource_id=wish.row.communication))
    row = await context.ledger.change(
        wish.row,
        state,
        now=now,
        event=state.value,
        token=token,
        reason=reason,
        version=version_of(wish.communication),
        ended_at=now,
        write_at=now,
    )
    if row:
        await tell(context, row, communication=wish.communication)


async def tell(
    context: Context,
    row: Transmission,
    *,
    communication: Resource | None = None,
    candidates: Sequence[str] = (),
) -> None:
    """Writes the end on the Communication, and asks a person where the reason wants one."""
    _log.info(
        "transmission.parked",
        communication=row.communication,
        round=row.round,
        reason=row.reason.code if row.reason else None,
    )
    await ask(context, row, candidates=candidates)
    await write_back(context, row, communication=communication)
