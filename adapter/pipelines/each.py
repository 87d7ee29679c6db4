"""A step for each of many: what one runs into keeps no other from its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

import structlog

from adapter.errors import AdapterError, ConfigError, Temporary, place

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


async def each(
    things: AsyncIterator[_T],
    step: Callable[[_T], Awaitable[object]],
    *,
    doing: str,
    all_of_them: bool = False,
) -> int:
    """Gives for how many the step did something; `doing` names it in the log.

    Raises:
        ConfigError: a step did: the process has to end.
        Exception: what the last one ran into, when no step went well: then whoever asks does so more slowly. With
            `all_of_them`, when not every step went well.
    """
    did, well = 0, 0
    failure: Exception | None = None
    async for thing in things:
        try:
            did += bool(await step(thing))
            well += 1
        except ConfigError:
            raise
        except AdapterError as error:
            # A neighbour's trouble has its two lines already (`domain.episode`).
            say = _log.debug if isinstance(error, Temporary) else _log.warning
            say("step.failed", doing=doing, error=type(error).__name__, detail=str(error))
            failure = error
        except Exception as error:  # noqa: BLE001  # one bad thing must not stop another; the text may be patient content
            _log.error("step.failed", doing=doing, error=type(error).__name__, at=place(error))
            failure = error
    if failure is not None and (all_of_them or not well):
        raise failure
    return did


async def over(things: Iterable[_T]) -> AsyncIterator[_T]:
    """What is known already, one after the other."""
    for thing in things:
        yield thing
