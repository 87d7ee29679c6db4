"""The adapter at work in a thread of this process, put together as `run` and `demo` do, with its web server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from structlog.testing import LogCapture

from adapter.cli.run import work
from adapter.config import FhirGroup, LedgerGroup, MetriportGroup, Settings, WatchGroup, WebGroup
from adapter.domain.pacing import Pace
from adapter.metriport import webhook
from adapter.simulators.metriport import DEFAULT_API_KEY
from adapter.wiring import Adapter, Transports, adapter
from adapter.worker import Worker
from tests.integration.canary import everyday_leaks_in


@dataclass(kw_only=True)
class AtWork:
    """A running adapter, and every line that it logged."""

    adapter: Adapter
    log: list[MutableMapping[str, Any]]

    def events(self) -> set[str]:
        """The events that were logged."""
        return {str(line["event"]) for line in self.log}

    def is_idle(self) -> bool:
        """Whether nothing waits to be looked at."""
        queue = self.adapter.worker.queue
        return not len(queue) and not queue.in_work


def settings_for(
    base_url: str,
    metriport_url: str,
    *,
    ledger: Path,
    marker: str,
    webhook_key: str,
    port: int,
    doorbell: bool = False,
    sweep_seconds: float = 1.0,
) -> Settings:
    """Settings for neighbours on this host; no file and no environment are read."""
    return Settings.model_validate(
        {
            "fhir": FhirGroup(base_url=base_url),
            "watch": WatchGroup.model_validate(
                {
                    "marker": marker,
                    "sweep_seconds": sweep_seconds,
                    "doorbell": "rest-hook" if doorbell else "off",
                    "doorbell_secret": "invented-doorbell-secret",
                }
            ),
            "metriport": MetriportGroup.model_validate(
                {"base_url": metriport_url, "api_key": DEFAULT_API_KEY, "webhook_keys": [webhook_key]}
            ),
            "ledger": LedgerGroup(url=f"sqlite+aiosqlite:///{ledger}"),
            "web": WebGroup(port=port),
            "inbound": {"allow_private_addresses": True},
        }
    )


@contextmanager
def at_work(
    settings: Settings, *, transports: Transports | None = None, sends_per_minute: int = 20
) -> Iterator[AtWork]:
    """An adapter that works while the block runs.

    More than Metriport's 20 sends a minute are no setting of the product; a suite of hundreds of sends may have them.
    """
    thread = _Thread(settings, transports=transports, pace=Pace(sends_per_minute=sends_per_minute))
    with _logged() as lines:
        thread.start()
        try:
            yield AtWork(adapter=thread.ready(), log=lines)
        finally:
            thread.stop()
        assert [leak for line in lines for leak in everyday_leaks_in(repr(line))] == []


@contextmanager
def _logged() -> Iterator[list[MutableMapping[str, Any]]]:
    before = structlog.get_config()
    capture = LogCapture()
    structlog.configure(
        processors=[capture],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    try:
        yield capture.entries
    finally:
        structlog.configure(**before)


@dataclass(kw_only=True)
class _Outcome:
    adapter: Adapter | None = None
    error: BaseException | None = None
    loop: asyncio.AbstractEventLoop | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class _Thread:
    def __init__(self, settings: Settings, *, transports: Transports | None, pace: Pace) -> None:
        self._settings = settings
        self._transports = transports
        self._pace = pace
        self._outcome = _Outcome()
        self._known = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def ready(self) -> Adapter:
        self._known.wait()
        if self._outcome.error:
            raise self._outcome.error
        assert self._outcome.adapter is not None
        return self._outcome.adapter

    def stop(self) -> None:
        if self._outcome.loop and self._thread.is_alive():
            self._outcome.loop.call_soon_threadsafe(self._outcome.stop.set)
        self._thread.join()
        if self._outcome.error:
            raise self._outcome.error

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:  # noqa: BLE001 -- raised again in the test's own thread
            self._outcome.error = error
        finally:
            self._known.set()

    async def _work(self) -> None:
        self._outcome.loop = asyncio.get_running_loop()
        async with adapter(self._settings, transports=self._transports) as running:
            _keep_pace(running, self._pace)
            web = uvicorn.Config(running.app, port=self._settings.web.port, log_config=None, ws="none")
            server = uvicorn.Server(web)
            serving = asyncio.create_task(server.serve())
            working = asyncio.create_task(work(running))
            stopping = asyncio.create_task(self._outcome.stop.wait())
            self._outcome.adapter = running
            self._known.set()
            await asyncio.wait([serving, working, stopping], return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            working.cancel()
            stopping.cancel()
            ended = await asyncio.gather(serving, working, stopping, return_exceptions=True)
            for result in ended:
                if isinstance(result, Exception):
                    raise result


def _keep_pace(running: Adapter, pace: Pace) -> None:
    context = running.context
    running.context = replace(context, policy=replace(context.policy, pace=pace))
    running.worker = Worker(
        context=running.context,
        inbound=running.worker.inbound,
        read_delivery=webhook.final_status,
        episodes=running.worker.episodes,
        rhythm=running.worker.rhythm,
    )
