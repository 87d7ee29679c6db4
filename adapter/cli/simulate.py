"""`simulate`: the pretend neighbours behind sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Annotated

import typer
import uvicorn

from adapter.cli.listening import listen, port_of
from adapter.cli.root import app
from adapter.simulators import fhir, metriport
from adapter.simulators.http import Neighbour
from adapter.simulators.shell import Shell

_simulate = typer.Typer(help="Pretend neighbours for trying things out.", no_args_is_help=True)
app.add_typer(_simulate, name="simulate")

Port = Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)]


class Dialect(StrEnum):
    """The two shapes in which Metriport answers."""

    SDK = "sdk"
    DOCS = "docs"


def _serve(bound: socket.socket, world: Callable[[str], Neighbour]) -> None:
    with suppress(KeyboardInterrupt), bound:
        url = f"http://127.0.0.1:{port_of(bound)}"
        shell = Shell(world(url))
        typer.echo(f"listening on {url}")
        uvicorn.Server(uvicorn.Config(shell, log_level="error", access_log=False, ws="none")).run([bound])


def _listen(port: int) -> socket.socket:
    return listen("127.0.0.1", port, settings="--port")


@_simulate.command("metriport")
def simulate_metriport(
    port: Port = 8082,
    api_key: Annotated[str, typer.Option(help="The API key that counts.")] = metriport.DEFAULT_API_KEY,
    dialect: Annotated[Dialect, typer.Option(help="Shape of the answers.")] = Dialect.SDK,
    limits: Annotated[
        bool, typer.Option("--limits/--no-limits", help="Whether the rate limits hold.")
    ] = True,
    auto_complete: Annotated[str, typer.Option(help="Seconds until a message completes, or `off`.")] = "2",
) -> None:
    """A pretend Metriport, with a control API under /_simulator."""
    _serve(
        _listen(port),
        lambda url: metriport.World(
            api_key=api_key,
            public_url=url,
            dialect=dialect.value,
            limits=limits,
            auto_complete_seconds=None if auto_complete == "off" else _seconds(auto_complete),
        ),
    )


def _seconds(stated: str) -> float:
    try:
        seconds = float(stated)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise typer.BadParameter("--auto-complete is a number of seconds, or `off`.")
    return seconds


def _a_conflict(stated: int) -> int:
    if stated not in {409, 412}:
        raise typer.BadParameter("a version conflict is 409 or 412")
    return stated


@_simulate.command("fhir")
def simulate_fhir(
    port: Port = 8081,
    conflict: Annotated[
        int, typer.Option(help="Status of a version conflict, 409 or 412.", callback=_a_conflict)
    ] = 409,
    client_ids: Annotated[
        bool, typer.Option("--client-ids/--no-client-ids", help="Whether clients may choose ids.")
    ] = True,
) -> None:
    """A pretend FHIR R4 server, as far as the adapter needs one."""
    _serve(
        _listen(port),
        lambda url: fhir.World(base_url=f"{url}/fhir", conflict=conflict, client_ids=client_ids),
    )
