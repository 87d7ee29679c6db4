"""The adapter as a process that kills itself before or after its n-th operation: `run`, with its ports watched.

Processes are forked from one that has everything imported, so that a life takes no three seconds to begin.
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Final

import httpx

from adapter.cli.listening import listen
from adapter.cli.run import serve
from adapter.config import Settings
from adapter.ledger.store import Store
from adapter.telemetry import configure
from adapter.wiring import Transports, adapter
from tests.e2e.hurried import HurriedClock, HurriedLoop

CHANGES: Final = (
    "open", "restore", "discard", "change", "intend", "end", "keep", "done", "later", "record", "keep_status", "note",
    "leave",
)  # fmt: skip

# What a life would import only when it needs it.
_LATE: Final = (
    "alembic.runtime.migration",
    "fhir.resources.R4B.documentreference",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
)


@dataclass(frozen=True, kw_only=True)
class Doom:
    """The process dies right before or right after its operation of that number."""

    count: int
    after: bool

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.count}"


@dataclass(frozen=True, kw_only=True)
class Life:
    """One process: its settings, its log, its clock, and when it dies by its own hand, if it does.

    The names of its operations are added to `operations`, one a line, each before it begins.
    """

    settings: Mapping[str, Any]
    log: Path
    operations: Path
    clock: HurriedClock
    doom: Doom | None = None


def begin(life: Life) -> multiprocessing.process.BaseProcess:
    """Starts the process."""
    context = multiprocessing.get_context("forkserver")
    _prepare(context)
    process = context.Process(target=live, args=(life,), daemon=True)
    process.start()
    return process


@functools.cache
def _prepare(context: Any) -> None:
    """Lets the server import everything. What it forks is killed, and would count for nothing under coverage."""
    context.set_forkserver_preload([__name__, *_LATE])
    before = dict(os.environ)
    try:
        for name in before:
            if name.startswith(("COVERAGE", "COV_")):
                del os.environ[name]
        os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def live(life: Life) -> None:
    """The process."""
    with life.log.open("ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    configure(level="debug", style="json")
    fate = _Fate(doom=life.doom, operations=os.open(life.operations, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    for name in CHANGES:
        setattr(Store, name, fate.watched(name, getattr(Store, name)))
    with asyncio.Runner(loop_factory=lambda: HurriedLoop(life.clock)) as runner:
        runner.run(_run(life, fate))


async def _run(life: Life, fate: _Fate) -> None:
    settings = Settings.model_validate(life.settings)
    transports = Transports(
        fhir=_Watched(name="FHIR", fate=fate), metriport=_Watched(name="Metriport", fate=fate)
    )
    with listen(settings.web.host, settings.web.port, settings="web.port") as bound:
        async with adapter(settings, clock=life.clock, transports=transports) as running:
            await serve(running, bound)


@dataclass(kw_only=True)
class _Fate:
    """Counts the operations of all ports together. One that fails has ended, too."""

    doom: Doom | None
    operations: int
    seen: int = 0

    def begins(self, name: str) -> int:
        self.seen += 1
        os.write(self.operations, f"{name}\n".encode())
        self._die_if(self.seen, after=False)
        return self.seen

    def ended(self, number: int) -> None:
        self._die_if(number, after=True)

    def _die_if(self, number: int, *, after: bool) -> None:
        if self.doom == Doom(count=number, after=after):
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(method)
        async def call(store: Store, *arguments: Any, **facts: Any) -> Any:
            number = self.begins(f"ledger {name}")
            try:
                return await method(store, *arguments, **facts)
            finally:
                self.ended(number)

        return call


@dataclass(kw_only=True)
class _Watched(httpx.AsyncBaseTransport):
    """The way to a neighbour.

    Searches for work come round by themselves, and the probe has a resource of its own: nothing depends on one of these.
    """

    name: str
    fate: _Fate
    inner: httpx.AsyncBaseTransport = field(
        default_factory=lambda: httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))
    )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        comes_round = self.name == "FHIR" and request.method == "GET" and request.url.query
        if comes_round or "/Basic/" in request.url.path:
            return await self.inner.handle_async_request(request)
        number = self.fate.begins(f"{self.name} {request.method} {request.url.path}")
        try:
            return await self.inner.handle_async_request(request)
        finally:
            self.fate.ended(number)

    async def aclose(self) -> None:
        await self.inner.aclose()
