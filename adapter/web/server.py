"""uvicorn as the adapter runs it: its caller decides on signals, and who is slow to ask is not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS: Final = 5.0  # Metriport gives up after four


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers: one signal ends the work first, then the serving."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Hurried,
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=5,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Hurried(H11Protocol):
    """Ends a connection on which no whole head of a request comes in time, nor the rest of one that has its answer.

    Else such ones take all connections that there are.
    """

    _too_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE and not self._has_its_answer():
            self._wait_no_more()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait_for_head()

    def _has_its_answer(self) -> bool:
        return self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._wait_no_more()
        if self.conn.their_state is h11.IDLE or self._has_its_answer():
            self._too_late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None
