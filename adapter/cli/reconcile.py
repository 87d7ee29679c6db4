"""`reconcile`: what the adapter does by itself from time to time, now, with a report; for after a lost ledger."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Annotated, Final

import typer
from rich.progress import Progress

from adapter.cli.root import ConfigOption, JsonOption, app, console, print_json
from adapter.config import Settings, load
from adapter.errors import ConfigError
from adapter.pipelines.inbound.arrivals import arrive, renew
from adapter.pipelines.inbound.context import RECEIVED
from adapter.pipelines.inbound.reconcile import reconcile as list_received
from adapter.pipelines.outbound.look import patrol
from adapter.telemetry import configure
from adapter.wiring import Adapter, adapter

_LEASE_SECONDS: Final = 3600.0
_BATCH: Final = 100


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found and done."""

    rebuilt: int
    listed: int
    received: int
    waiting: int


@app.command()
def reconcile(
    days: Annotated[int, typer.Option(min=1, help="How far back Metriport's list is read.")] = 30,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Rebuild work from the marks on the FHIR server, and take in what Metriport lists. While `run` is stopped."""
    configure(level="error", style="console")
    _show(asyncio.run(_reconcile(load(config), since=timedelta(days=days), quiet=json)), json=json)


def _show(report: Report, *, json: bool) -> None:
    if json:
        print_json(asdict(report))
        return
    console.print(f"{report.rebuilt} sends rebuilt from their marks; `run` tracks or resolves them.")
    console.print(
        f"{report.listed} received messages were listed and not known here; {report.received} worked off."
    )
    if report.waiting:
        console.print(f"{report.waiting} could not be had now; `run` tries again.")


async def _reconcile(settings: Settings, *, since: timedelta, quiet: bool) -> Report:
    async with adapter(settings) as running:
        context, inbound = running.context, running.worker.inbound
        now = context.clock.now()
        if not await context.ledger.hold_lane(context.life, now=now, seconds=_LEASE_SECONDS):
            raise ConfigError(
                "Another adapter is at work on this ledger; it reconciles by itself. Stop it first."
            )
        try:
            await running.probe()
            rebuilt = await patrol(context)
            listed = await list_received(inbound, since=now - since)
            received = await _work_off(running, listed, quiet=quiet)
            left = await context.ledger.waiting(now=now + timedelta(days=1), limit=1000, kind=RECEIVED)
        finally:
            await context.ledger.leave_lane(context.life)
        return Report(rebuilt=rebuilt, listed=listed, received=received, waiting=len(left))


async def _work_off(running: Adapter, listed: int, *, quiet: bool) -> int:
    inbound = running.worker.inbound
    done = 0
    with Progress(console=console, transient=True, disable=quiet) as progress:
        bar = progress.add_task("received messages", total=listed or None)
        while batch := await inbound.ledger.waiting(now=inbound.clock.now(), limit=_BATCH, kind=RECEIVED):
            dead = [delivery for delivery in batch if not await arrive(inbound, delivery)]
            await renew(inbound, dead)
            done += len(batch)
            progress.update(bar, completed=done)
    return done
