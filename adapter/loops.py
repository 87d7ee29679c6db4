"""Loops that go on for ever: each survives what its step may raise, and comes round more slowly while it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Final

import structlog

from adapter.domain.pauses import spread, until_retry
from adapter.errors import AdapterError, ConfigError, Temporary, place

_log = structlog.get_logger(__name__)

LONGEST_PAUSE: Final = 120.0


async def forever(
    name: str,
    step: Callable[[], Awaitable[None]],
    *,
    seconds: float,
    now: Callable[[], datetime],
    longest: float = LONGEST_PAUSE,
    bell: asyncio.Event | None = None,
    is_said: Callable[[], bool] = lambda: False,
) -> None:
    """Runs the step for ever, each time after `seconds` or when the bell rings; says when trouble starts and ends.

    While it fails, the pauses grow up to `longest`. `is_said` tells whether the trouble of this moment has an alarm already.

    Raises:
        ConfigError: the step did; nothing can be kept any more, and the process has to end.
    """
    bell = bell or asyncio.Event()
    trouble, quiet = 0, False
    while True:
        bell.clear()
        at_least = 0.0
        try:
            await step()
        except ConfigError:
            raise
        except AdapterError as error:
            trouble += 1
            at_least = until_retry(error, now=now())
            # A neighbour's trouble has its two lines already (`domain.episode`).
            is_known = isinstance(error, Temporary) or is_said()
            if trouble == 1 or (quiet and not is_known):
                quiet = is_known
                say = _log.debug if quiet else _log.warning
                say("loop.trouble", loop=name, error=type(error).__name__, detail=str(error))
        except Exception as error:  # noqa: BLE001  # one bad message must not end a loop; the text may be patient content
            trouble += 1
            _log.error("loop.failed", loop=name, error=type(error).__name__, at=place(error))
        else:
            if trouble:
                say = _log.debug if quiet else _log.info
                say("loop.recovered", loop=name, failures=trouble)
            trouble, quiet = 0, False
        pause = seconds
        if trouble:
            pause = max(min(max(seconds, 1.0) * 2 ** min(trouble - 1, 5), longest), at_least)
            pause *= spread()
        with suppress(TimeoutError):
            # Not wait_for: Python 3.11's loses a cancellation that meets the bell.
            async with asyncio.timeout(pause):
                await bell.wait()
