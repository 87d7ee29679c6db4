"""`run`: watch, send, track, until stopped."""

from __future__ import annotations

import asyncio
import signal
import socket

import structlog

from adapter.cli.listening import listen
from adapter.cli.root import ConfigOption, app
from adapter.config import Settings, load
from adapter.errors import ConfigError, Temporary
from adapter.telemetry import configure
from adapter.web.server import Server
from adapter.wiring import Adapter, adapter, wanted_subscription

_log = structlog.get_logger(__name__)

_PROBE_SECONDS = 5.0


@app.command()
def run(config: ConfigOption = None) -> None:
    """Watch the FHIR server, send, and write back what became of it, until stopped."""
    settings = load(config)
    configure(level=settings.telemetry.log_level, style=settings.telemetry.log_format)
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    if settings.watch.doorbell != "off":
        wanted_subscription(settings)  # before anything is begun
    with listen(settings.web.host, settings.web.port, settings="web.host, web.port") as bound:
        async with adapter(settings) as running:
            await serve(running, bound)


async def work(running: Adapter) -> None:
    """Sends and tracks, once the FHIR server has shown what exactly-once rests on.

    Raises:
        ConfigError: it has not; nothing may be sent.
    """
    while True:
        try:
            probed = await running.probe()
            break
        except Temporary as trouble:
            _log.debug("fhir.unreachable", detail=str(trouble), next_try_seconds=_PROBE_SECONDS)
            await running.context.clock.sleep(_PROBE_SECONDS)
    if probed.unsafe is not None:
        raise ConfigError(f"fhir.base_url: {probed.unsafe}")
    await asyncio.gather(running.worker.run(), running.keep_doorbell(), running.clock.keep(running.ledger))


async def serve(running: Adapter, bound: socket.socket) -> None:
    """Serves on the socket and works until SIGTERM or SIGINT; what is claimed is carried to its end first.

    Raises:
        ConfigError: as `work`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    server = Server(running.app)
    serving, working = asyncio.create_task(server.serve(sockets=[bound])), asyncio.create_task(work(running))
    stopping = asyncio.create_task(stop.wait())
    _log.info("adapter.started", life=running.context.life, public_url=running.settings.public_url)
    await asyncio.wait([stopping, serving, working], return_when=asyncio.FIRST_COMPLETED)
    _log.info("adapter.stopping")
    for task in (working, stopping):
        task.cancel()
    worked = await asyncio.gather(working, stopping, return_exceptions=True)
    server.should_exit = True
    served = await asyncio.gather(serving, return_exceptions=True)
    for result in (*worked, *served):
        if isinstance(result, Exception):
            raise result
