"""Pretend neighbours behind sockets, many at once, in one thread whose time is hurried."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import uvicorn

from adapter.cli.listening import listen, port_of
from adapter.simulators.http import Neighbour
from adapter.simulators.shell import Shell
from tests.e2e.hurried import HurriedClock, HurriedLoop

_World = TypeVar("_World", bound=Neighbour)


class Town:
    """Serves worlds while its block runs."""

    def __init__(self, clock: HurriedClock) -> None:
        self.clock = clock
        self._loop = HurriedLoop(clock)
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def serving(self, make: Callable[[str], _World]) -> Iterator[tuple[_World, str]]:
        """Serves a world, made for the URL that it gets; gives both."""
        with listen("127.0.0.1", 0, settings="port") as bound:
            url = f"http://127.0.0.1:{port_of(bound)}"
            world = make(url)
            shell = Shell(world, clock=self.clock.now)
            config = uvicorn.Config(
                shell,
                log_config=None,
                ws="none",
                lifespan="on",
                timeout_keep_alive=3600,  # closed earlier, it would be in the middle of somebody's request
                timeout_graceful_shutdown=5,
            )
            server = uvicorn.Server(config)
            served = self._start(server.serve(sockets=[bound]))
            try:
                while not server.started:
                    time.sleep(0.005)
                yield world, url
            finally:
                server.should_exit = True
                served.result()

    def _start(self, work: Coroutine[Any, Any, None]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)
