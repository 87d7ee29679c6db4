"""A pretend neighbour behind a real socket of this host."""

from __future__ import annotations

import itertools
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final

import uvicorn

from adapter.simulators.http import Neighbour
from adapter.simulators.shell import Shell

_REGISTERED: Final = range(12_000, 32_768)  # below are those of HAPI, above those of outgoing connections
_START: Final = random.SystemRandom().randrange(len(_REGISTERED))
_PORTS: Final[Iterator[int]] = itertools.cycle([*_REGISTERED[_START:], *_REGISTERED[:_START]])


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now, and that is given to nobody else meanwhile.

    Whoever listens there may come later, or again: it is below the ports that connections get by themselves.
    """
    for port in _PORTS:
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports go round")


@contextmanager
def serving(world: Neighbour, port: int) -> Iterator[None]:
    """Serves the world on that port while the block runs, and makes the calls that it wants to make."""
    config = uvicorn.Config(Shell(world), port=port, log_config=None, ws="none", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), f"port {port} cannot be listened on"
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join()
