"""A way to PostgreSQL on which bytes get lost without a word, as behind a proxy or a network that swallows them."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

_NAME = ".s.PGSQL.5432"


class Tunnel:
    """The `url` leads through it. What was connected when bytes got lost stays open and never works again."""

    def __init__(self, url: str, folder: Path) -> None:
        place = sa.make_url(url)
        self._target = str(Path(str(place.query["host"])) / _NAME)
        self.url = place.update_query_dict({"host": str(folder)}).render_as_string()
        self._open = threading.Event()
        self._open.set()
        self._ends: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / _NAME))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @contextmanager
    def swallowing(self) -> Iterator[None]:
        """Nothing comes through while the block runs; whoever connects is kept waiting."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def close(self) -> None:
        """Ends all connections."""
        self._open.set()
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._ends.append(near)
                self._begin(self._connect, near)

    def _begin(self, work: object, *ends: socket.socket) -> None:
        thread = threading.Thread(target=work, args=ends)  # type: ignore[arg-type]  # one of the methods here
        self._threads.append(thread)
        thread.start()

    def _connect(self, near: socket.socket) -> None:
        self._open.wait()
        far = socket.socket(socket.AF_UNIX)
        self._ends.append(far)
        far.connect(self._target)
        self._begin(self._pump, near, far)
        self._pump(far, near)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        lost = False
        with suppress(OSError):
            while data := source.recv(65536):
                lost = lost or not self._open.is_set()
                if not lost:
                    sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def tunnel(url: str) -> Iterator[Tunnel]:
    """One to that database."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="adapter-pg-")))
        made = Tunnel(url, folder)
        stack.callback(made.close)
        yield made
