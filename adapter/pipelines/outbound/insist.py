"""What was learned must not be forgotten: ledger operations that are repeated until the ledger can be reached."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar, Unpack

from adapter.domain.transmission import State, Transmission
from adapter.errors import Temporary
from adapter.pipelines.outbound.context import Context
from adapter.ports.ledger import Facts

P = ParamSpec("P")
T = TypeVar("T")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0


async def insist(
    context: Context, operation: Callable[P, Awaitable[T]], *arguments: P.args, **facts: P.kwargs
) -> T:
    """Repeats the operation until the ledger answers."""
    pause = _FIRST_PAUSE
    while True:
        try:
            return await operation(*arguments, **facts)
        except Temporary:
            await context.clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


async def change(
    context: Context, row: Transmission, state: State, *, event: str, **facts: Unpack[Facts]
) -> Transmission | None:
    """Moves the row, however often that takes; `None` when it was no longer as given.

    A change that was made and whose answer got lost is recognised: the next generation, in that state, and ours by
    its token and message.
    """
    moved = await insist(
        context, context.ledger.change, row, state, now=context.clock.now(), event=event, **facts
    )
    if moved is not None:
        return moved
    present = await insist(context, present_row, context, row)
    expected = (
        state,
        row.generation + 1,
        facts.get("token", row.token),
        facts.get("message", row.message),
    )
    found = (present.state, present.generation, present.token, present.message)
    return present if found == expected else None


async def present_row(context: Context, row: Transmission) -> Transmission:
    """The row as the ledger has it now; as given, when a lost ledger does not know it any more."""
    rounds = await context.ledger.all_of(row.communication)
    return next((present for present in rounds if present.id == row.id), row)
