"""A pretend neighbour behind a real socket of this host."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import uvicorn

from adapter.simulators.http import Neighbour
from adapter.simulators.shell import Shell


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(world: Neighbour, port: int) -> Iterator[None]:
    """Serves the world on that port while the block runs, and makes the calls that it wants to make."""
    config = uvicorn.Config(Shell(world), port=port, log_config=None, ws="none", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join()
