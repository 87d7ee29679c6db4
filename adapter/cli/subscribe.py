"""`subscribe`: the doorbell's Subscription, created or repaired now."""

from __future__ import annotations

import asyncio

import typer

from adapter.cli.root import ConfigOption, app
from adapter.config import Settings, load
from adapter.fhir.subscription import ensure
from adapter.wiring import SystemClock, Transports, neighbours, wanted_subscription


@app.command()
def subscribe(config: ConfigOption = None) -> None:
    """Create or repair the Subscription that rings the doorbell."""
    typer.echo(asyncio.run(_subscribe(load(config))))


async def _subscribe(settings: Settings) -> str:
    async with neighbours(settings, SystemClock(), Transports()) as (fhir, _, _):
        ensured = await ensure(fhir, wanted_subscription(settings))
    return f"{ensured.outcome.value}: notifications go to {settings.public_url}/doorbell"
