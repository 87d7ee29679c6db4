"""`reconcile`: what the adapter does by itself from time to time, now, with a report; for after a lost ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Annotated, Final

import typer
from rich.progress import Progress

from adapter.cli.root import ConfigOption, JsonOption, app, console, print_json
from adapter.config import Settings, load
from adapter.errors import ConfigError, Temporary
from adapter.pipelines.inbound.arrivals import arrive
from adapter.pipelines.inbound.context import RECEIVED
from adapter.pipelines.inbound.elsewhere import follow_sent, show_sent
from adapter.pipelines.inbound.reconcile import reconcile as list_received
from adapter.pipelines.inbound.renewal import fetch_missed, renew
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.look import patrol
from adapter.ports.ledger import LANE
from adapter.telemetry import configure
from adapter.wiring import Adapter, adapter

_LEASE_SECONDS: Final = 60.0
_BATCH: Final = 100
_MOST: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found and done."""

    rebuilt: int
    made_anew: int
    listed: int
    received: int
    waiting: int
    sent_elsewhere: int


@app.command()
def reconcile(
    days: Annotated[int, typer.Option(min=1, max=3650, help="How far back Metriport's lists are read.")] = 30,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Rebuild work from the marks on the FHIR server, and take in what Metriport lists. While `run` is stopped."""
    configure(level="error", style="console")
    _show(_watched(load(config), since=timedelta(days=days), quiet=json), json=json)


def _watched(settings: Settings, *, since: timedelta, quiet: bool) -> Report:
    shown = console.is_terminal and not quiet
    with Progress(console=console, transient=True, disable=not shown) as progress:
        return asyncio.run(_reconcile(settings, since=since, progress=progress))


def _show(report: Report, *, json: bool) -> None:
    if json:
        print_json(asdict(report))
        return
    console.print(f"{report.rebuilt} sends rebuilt from their marks; `run` tracks or resolves them.")
    console.print(f"{report.made_anew} calls that nobody had taken were made anew.")
    console.print(
        f"{report.listed} received messages were listed and not known here; {report.received} were worked off."
    )
    if report.sent_elsewhere:
        console.print(f"{report.sent_elsewhere} messages that others sent are shown now.")
    if report.waiting:
        console.print(f"{report.waiting} could not be had now; `run` tries again.")


async def _reconcile(settings: Settings, *, since: timedelta, progress: Progress) -> Report:
    """Each step keeps what it finds at once: broken off at any moment, it is begun anew without loss."""
    async with adapter(settings) as running, _alone(running.context):
        inbound, now = running.worker.inbound, running.context.clock.now()
        await running.probe()
        rebuilt = await _step(
            progress, "marks on the FHIR server", patrol(running.context, in_flight=frozenset)
        )
        made = await _step(progress, "calls that nobody took", fetch_missed(inbound, since=now - since))
        received = await _work_off(running, progress)
        listed = await _step(progress, "Metriport's list", list_received(inbound, since=now - since))
        received += await _work_off(running, progress)
        left = await inbound.ledger.waiting(now=now + timedelta(days=1), limit=1000, kind=RECEIVED)
        elsewhere = 0
        if inbound.policy.elsewhere:
            others = show_sent(inbound, since=now - since)
            elsewhere = await _step(progress, "what others sent", others)
            await follow_sent(inbound)
        return Report(
            rebuilt=rebuilt,
            made_anew=made,
            listed=listed,
            received=received,
            waiting=len(left),
            sent_elsewhere=elsewhere,
        )


@asynccontextmanager
async def _alone(context: Context) -> AsyncIterator[None]:
    """Holds the lane, by a lease that ends soon when this process is killed.

    Raises:
        ConfigError: another adapter holds it.
    """

    async def keep() -> None:
        while True:
            await context.clock.sleep(_LEASE_SECONDS / 4)
            with suppress(Temporary):
                await context.share.renew()

    context.share.seconds = _LEASE_SECONDS
    async with context.share.alone(LANE) as mine:
        if not mine:
            raise ConfigError(
                "Another adapter is at work on this ledger; it reconciles by itself. Stop it first."
            )
        keeping = asyncio.create_task(keep())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def _step(progress: Progress, name: str, step: Awaitable[int]) -> int:
    bar = progress.add_task(name, total=None)
    done = await step
    progress.update(bar, total=1, completed=1)
    return done


async def _work_off(running: Adapter, progress: Progress) -> int:
    """Tries each once, those that are made anew meanwhile included; what cannot be had now is for `run` to try again."""
    inbound = running.worker.inbound
    waiting = await inbound.ledger.waiting(now=inbound.clock.now(), limit=_MOST, kind=RECEIVED)
    bar = progress.add_task("received messages", total=len(waiting) or 1)
    tried: set[str] = set()
    while True:
        most = _BATCH + len(tried)
        found = await inbound.ledger.waiting(now=inbound.clock.now(), limit=most, kind=RECEIVED)
        batch = [one for one in found if one.delivery_id not in tried]
        if not batch:
            return len(tried)
        dead = []
        for delivery in batch:
            if not await arrive(inbound, delivery):
                dead.append(delivery)
            progress.advance(bar)
        await renew(inbound, dead)
        tried.update(one.delivery_id for one in batch)
