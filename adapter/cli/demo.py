"""`demo`: both neighbours and the adapter on this machine, messages on their way before your eyes."""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer
import uvicorn
from pydantic import SecretStr
from rich.console import Group
from rich.live import Live
from rich.table import Table
from starlette.types import ASGIApp

from adapter.cli.cast import Cast, Scene
from adapter.cli.listening import listen, port_of
from adapter.cli.people import Clinic, Communications, ask
from adapter.cli.root import app, console
from adapter.cli.run import work
from adapter.config import (
    FhirGroup,
    InboundGroup,
    LedgerGroup,
    MetriportGroup,
    Settings,
    WatchGroup,
    WebGroup,
)
from adapter.domain.resource import codings, items, obj
from adapter.errors import ConfigError
from adapter.simulators import fhir as fhir_simulator
from adapter.simulators import metriport as metriport_simulator
from adapter.simulators.shell import Shell
from adapter.telemetry import configure
from adapter.wiring import adapter

_DIRECT: Final = "referrals@harbor-heart.example"
_HAPI: Final = Path(__file__).resolve().parents[2] / "docker" / "hapi" / "serve.py"


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End when every message has; exit code 0 only if each ended right.")
    ] = False,
    fhir: Annotated[
        str, typer.Option(help="`simulator`, `hapi` (in a checkout), or a base URL.")
    ] = "simulator",
    seconds: Annotated[float, typer.Option(help="How long the messages may take, at most.")] = 90.0,
) -> None:
    """Run the adapter between two neighbours on this machine, send messages, and show each on its way."""
    configure(level="error", style="console")
    # Ctrl-C is how it ends, unless it was to end by itself.
    with nullcontext() if once else suppress(KeyboardInterrupt):
        raise typer.Exit(0 if asyncio.run(_demo(fhir, once=once, seconds=seconds)) else 1)


async def _demo(fhir: str, *, once: bool, seconds: float) -> bool:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metriport-demo-")))
        base_url = await stack.enter_async_context(_fhir_server(fhir, directory))
        metriport_url = await stack.enter_async_context(_metriport())
        bound = stack.enter_context(_free())
        settings = await _settings(base_url, metriport_url, directory, port=port_of(bound))
        running = await stack.enter_async_context(adapter(settings))
        await stack.enter_async_context(_serving(running.app, bound))
        working = asyncio.create_task(work(running))
        stack.push_async_callback(_end, working)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=60.0, trust_env=False))
        clinic = Clinic(http=http, base_url=base_url, cast=_cast())
        await clinic.open()
        await _send_in(http, metriport_url, clinic)
        arrived = await _watch(clinic, working, seconds=seconds)
        if not once:
            console.print(
                f"FHIR server {base_url}\nMetriport {metriport_url}\nadapter {settings.public_url}\nCtrl-C ends."
            )
            await working
        return arrived


@asynccontextmanager
async def _fhir_server(name: str, directory: Path) -> AsyncIterator[str]:
    if name == "simulator":
        with _free() as bound:
            base_url = f"http://127.0.0.1:{port_of(bound)}/fhir"
            async with _serving(Shell(fhir_simulator.World(base_url=base_url)), bound):
                yield base_url
    elif name == "hapi":
        async with _hapi(directory) as base_url:
            yield base_url
    else:
        yield name.rstrip("/")


@asynccontextmanager
async def _hapi(directory: Path) -> AsyncIterator[str]:
    if not _HAPI.is_file():
        raise ConfigError("`--fhir hapi` needs a checkout, with docker/hapi in it. Give a base URL instead.")
    console.print("Starting a real HAPI FHIR server; the first time it is built, which takes a minute.")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(_HAPI),
        "--log",
        str(directory / "hapi.log"),
        "--tethered",
        stdin=pipe,
        stdout=pipe,
    )
    try:
        said = (await process.stdout.readline()).decode() if process.stdout else ""
        if not said.startswith("fhir ready at "):
            raise ConfigError("HAPI did not start on this machine; the reason is above.")
        console.print(said.strip())
        yield said.split()[3]
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@asynccontextmanager
async def _metriport() -> AsyncIterator[str]:
    with _free() as bound:
        url = f"http://127.0.0.1:{port_of(bound)}"
        world = metriport_simulator.World(public_url=url, auto_complete_seconds=2.0)
        async with _serving(Shell(world), bound):
            yield url


@asynccontextmanager
async def _serving(application: ASGIApp, bound: socket.socket) -> AsyncIterator[None]:
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", access_log=False, ws="none"))
    task = asyncio.create_task(server.serve(sockets=[bound]))
    while not (server.started or task.done()):  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.02)
    try:
        yield
    finally:
        server.should_exit = True
        await task


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _free() -> socket.socket:
    return listen("127.0.0.1", 0, settings="demo")


async def _settings(base_url: str, metriport_url: str, directory: Path, *, port: int) -> Settings:
    web = WebGroup(port=port)
    key = metriport_simulator.DEFAULT_API_KEY
    return Settings(
        fhir=FhirGroup(base_url=base_url),
        watch=WatchGroup(
            sweep_seconds=5.0, doorbell="rest-hook", doorbell_secret=SecretStr(secrets.token_urlsafe())
        ),
        metriport=MetriportGroup(
            base_url=metriport_url,
            api_key=SecretStr(key),
            webhook_keys=(
                SecretStr(await _webhook_key(metriport_url, key, f"http://{web.host}:{web.port}")),
            ),
        ),
        inbound=InboundGroup(allow_private_addresses=True),
        ledger=LedgerGroup(url=f"sqlite+aiosqlite:///{directory / 'ledger.sqlite3'}"),
        web=web,
    )


async def _webhook_key(metriport_url: str, key: str, public_url: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(
            f"{metriport_url}/settings",
            headers={"x-api-key": key},
            json={"webhookUrl": f"{public_url}/webhooks/metriport"},
        )
        return str(answer.json()["webhookKey"])


def _cast() -> Cast:
    patients = [patient.id for patient in metriport_simulator.SANDBOX_PATIENTS]
    return Cast(
        suffix=secrets.token_hex(3),
        linked=(patients[0], patients[1]),
        stranger=patients[2],
        oid=metriport_simulator.DEMO_OID,
        direct=_DIRECT,
        full_mailbox=metriport_simulator.FULL_MAILBOX,
        npi=metriport_simulator.DEMO_NPI,
    )


async def _send_in(http: httpx.AsyncClient, metriport_url: str, clinic: Clinic) -> None:
    for letter in clinic.cast.letters():
        answer = await ask(http, "POST", f"{metriport_url}/_simulator/messages/inbound", json=letter.stated)
        clinic.expect(letter, str(answer.json()["id"]))


async def _watch(clinic: Clinic, working: asyncio.Task[None], *, seconds: float) -> bool:
    """Shows every message until each has ended, or the time is over; whether each ended as it should."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    with Live(console=console, refresh_per_second=8) as live:
        while True:
            found = await clinic.look()
            live.update(Group(_table(clinic.scenes, found), ""))  # a pipe gets no line end from it
            if all(_has_ended(scene, found.get(scene.id, {})) for scene in clinic.scenes):
                return all(_is_right(scene, found[scene.id]) for scene in clinic.scenes)
            if working.done():
                working.result()
            if loop.time() > until:
                return False
            await asyncio.sleep(0.25)


def _has_ended(scene: Scene, communication: dict[str, Any]) -> bool:
    under_way = communication.get("status") in {None, "preparation", "in-progress"}
    return not under_way and (scene.subject is None or "subject" in communication)


def _is_right(scene: Scene, communication: dict[str, Any]) -> bool:
    subject = obj(communication.get("subject")).get("reference")
    enclosed = sum("contentReference" in part for part in items(communication.get("payload")))
    return (
        (communication.get("status"), _reason(communication)) == (scene.ends, scene.reason)
        and scene.subject in {None, subject}
        and scene.attachments in {None, enclosed}
    )


def _reason(communication: dict[str, Any]) -> str | None:
    return next((str(coding.get("code")) for coding in codings(communication.get("statusReason"))), None)


def _table(scenes: list[Scene], found: Communications) -> Table:
    table = Table(title="Messages on the FHIR server")
    for heading in ("message", "status", "reason", "should end"):
        table.add_column(heading)
    for scene in scenes:
        communication = found.get(scene.id, {})
        right = _is_right(scene, communication)
        status = str(communication.get("status", ""))
        table.add_row(
            scene.title,
            f"[green]{status} ✓[/]" if right else status,
            _reason(communication) or "",
            scene.ends,
        )
    return table
