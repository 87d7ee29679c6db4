"""How long to wait before something is tried again."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Final

from adapter.errors import Temporary

_SPREAD: Final = 0.2


def spread() -> float:
    """A factor a little above 1, so that what failed together does not come back together."""
    return 1 + random.random() * _SPREAD  # noqa: S311  # no secret


def until_retry(error: Exception, *, now: datetime) -> float:
    """Seconds that the neighbour asked for (`Retry-After`); 0 when it said nothing."""
    at = error.retry_at if isinstance(error, Temporary) else None
    return max((at - now).total_seconds(), 0.0) if at else 0.0


def after(error: Exception, pause: timedelta, *, now: datetime) -> timedelta:
    """The pause after that failure: not shorter than the neighbour asked for, and a little longer by chance."""
    return max(pause, timedelta(seconds=until_retry(error, now=now))) * spread()
