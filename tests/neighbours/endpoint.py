"""A web server that writes down what it is sent, and answers as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request; header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Endpoint:
    """What came in, by the path's first part, so that tests can share one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.statuses: dict[str, int] = {}
        self._received: list[Received] = []
        self._changed = threading.Condition()

    def took(self, received: Received) -> int:
        """Writes a request down; the status to answer."""
        with self._changed:
            self._received.append(received)
            self._changed.notify_all()
        return self.statuses.get(_first_part(received.path), 200)

    def received(self, name: str) -> list[Received]:
        """What came in below `/name` so far."""
        with self._changed:
            return [one for one in self._received if _first_part(one.path) == name]

    def wait_for(self, name: str, count: int, *, seconds: float = 20.0) -> list[Received]:
        """The requests below `/name`, at least `count` of them.

        Raises:
            TimeoutError: there were fewer after that time.
        """
        end = time.monotonic() + seconds
        while len(found := self.received(name)) < count:
            with self._changed:
                if not self._changed.wait(end - time.monotonic()) and time.monotonic() >= end:
                    raise TimeoutError(f"{len(found)} requests below /{name} after {seconds} s, not {count}")
        return found


def _first_part(path: str) -> str:
    return path.strip("/").partition("/")[0]


@contextmanager
def listening() -> Iterator[Endpoint]:
    """An endpoint on a free port while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = endpoint.took(Received(method=self.command, path=self.path, headers=headers, body=body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = do_DELETE = _take  # noqa: N815 -- the library's names

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield endpoint
        finally:
            server.shutdown()
            thread.join()
