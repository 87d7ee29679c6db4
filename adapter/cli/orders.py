"""`retry` and `cancel`: exactly what an EHR would do on the resource, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import typer

from adapter.cli.root import ConfigOption, app
from adapter.config import Settings, load
from adapter.domain.marker import Marker
from adapter.domain.orders import cancelled, retried
from adapter.domain.resource import Resource, version_of
from adapter.errors import Unresolved
from adapter.wiring import SystemClock, Transports, neighbours, policy_of

Name = Annotated[str, typer.Argument(help="The Communication, as Communication/id or id.")]


@app.command()
def retry(
    name: Name,
    resend: Annotated[
        bool, typer.Option("--resend", help="Send once more what was delivered already.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Send a Communication that was refused, held or failed once more: sets `preparation` on it."""
    said = "is in preparation; the adapter takes it up as a new round."
    asyncio.run(_order(load(config), name, lambda one, marker: retried(one, marker, resend=resend), said))


@app.command()
def cancel(name: Name, config: ConfigOption = None) -> None:
    """Take a Communication back: sets `not-done` on it. What was sent already cannot be called back."""
    said = "is not-done. If it was sent already, a Task says so."
    asyncio.run(_order(load(config), name, cancelled, said))


async def _order(
    settings: Settings, name: str, order: Callable[[Resource, Marker], Resource], said: str
) -> None:
    id = name.removeprefix("Communication/")
    async with neighbours(settings, SystemClock(), Transports()) as (fhir, *_):
        communication = await fhir.read("Communication", id)
        if communication is None:
            raise Unresolved(f"There is no Communication/{id} on {settings.fhir.base_url}.", candidates=0)
        wanted = order(communication, policy_of(settings).marker)
        await fhir.replace(wanted, version=version_of(communication) or "")
    typer.echo(f"Communication/{id} {said}")
