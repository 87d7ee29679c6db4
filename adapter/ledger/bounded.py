"""A PostgreSQL connection on which nobody is waited for without end.

A network that swallows packets, or a proxy that takes them and passes none on, keeps a connection open: no error ever
comes, and TCP's own limits do not help where the other end acknowledges.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import Any, Final

import psycopg

EXCHANGE_SECONDS: Final = 20.0  # longer than the server waits for a lock


class BoundedConnection(psycopg.AsyncConnection[Any]):
    """Each exchange with the server that takes longer than that fails as if the server had hung up."""

    async def wait(self, *arguments: Any, **options: Any) -> Any:
        """The driver's own waiting, for all that is sent and awaited once it is connected."""
        cut = asyncio.get_running_loop().call_later(EXCHANGE_SECONDS, _hang_up, self.fileno())
        try:
            return await super().wait(*arguments, **options)
        finally:
            cut.cancel()


def _hang_up(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as end, suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
