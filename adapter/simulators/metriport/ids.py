"""Ids as the API gives them: UUIDs of version 7, in the order of their making, the same for the same seed."""

from __future__ import annotations

import random
import uuid
from datetime import datetime
from typing import Final

_VERSION: Final = 7 << 76
_VARIANT: Final = 2 << 62


class Ids:
    """A source of ids. Sorted as text they are in the order of their making: cursors rely on it."""

    def __init__(self, numbers: random.Random) -> None:
        self._numbers = numbers
        self._place = 0

    def new(self, now: datetime) -> str:
        """An id: 48 bits of milliseconds, 12 bits that count within one of them, the rest from the seed."""
        self._place = max(int(now.timestamp() * 1000) << 12, self._place + 1)
        milliseconds, counted = divmod(self._place, 1 << 12)
        rest = self._numbers.getrandbits(62)
        return str(uuid.UUID(int=milliseconds << 80 | _VERSION | counted << 64 | _VARIANT | rest))

    def secret(self, bits: int) -> str:
        """So many random bits in hexadecimal digits."""
        return f"{self._numbers.getrandbits(bits):0{bits // 4}x}"
