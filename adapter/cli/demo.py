"""`demo`: both neighbours and the adapter on this machine, messages on their way before your eyes."""

from __future__ import annotations

import asyncio
import json
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
from adapter.domain.resource import codings
from adapter.errors import ConfigError, Rejected, Temporary
from adapter.simulators import fhir as fhir_simulator
from adapter.simulators import metriport as metriport_simulator
from adapter.simulators.shell import Shell
from adapter.telemetry import configure
from adapter.wiring import adapter

_DIRECT: Final = "referrals@harbor-heart.example"
_HAPI: Final = Path(__file__).resolve().parents[2] / "docker" / "hapi" / "serve.py"

Communications = dict[str, dict[str, Any]]


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
        scenes = await _write(http, base_url)
        arrived = await _watch(http, base_url, scenes, working, seconds=seconds)
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


async def _write(http: httpx.AsyncClient, base_url: str) -> list[Scene]:
    """What the EHR does: people first, then one message after the other."""
    patients = [patient.id for patient in metriport_simulator.SANDBOX_PATIENTS]
    cast = Cast(
        suffix=secrets.token_hex(3),
        linked=(patients[0], patients[1]),
        oid=metriport_simulator.DEMO_OID,
        direct=_DIRECT,
        full_mailbox=metriport_simulator.FULL_MAILBOX,
        npi=metriport_simulator.DEMO_NPI,
    )
    scenes = cast.scenes()
    for resource in [*cast.stage(), *(scene.communication for scene in scenes)]:
        path = f"{base_url}/{resource['resourceType']}/{resource['id']}"
        await _ask(
            http, "PUT", path, content=json.dumps(resource), headers={"content-type": "application/fhir+json"}
        )
    return scenes


async def _watch(
    http: httpx.AsyncClient,
    base_url: str,
    scenes: list[Scene],
    working: asyncio.Task[None],
    *,
    seconds: float,
) -> bool:
    """Shows every message until each has ended, or the time is over; whether each ended as it should."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    with Live(console=console, refresh_per_second=8) as live:
        while True:
            found = await _read(http, base_url, scenes)
            live.update(Group(_table(scenes, found), ""))  # a pipe gets no line end from it
            if all(_has_ended(found.get(scene.id, {})) for scene in scenes):
                return all(_is_right(scene, found[scene.id]) for scene in scenes)
            if working.done():
                working.result()
            if loop.time() > until:
                return False
            await asyncio.sleep(0.25)


async def _read(http: httpx.AsyncClient, base_url: str, scenes: list[Scene]) -> Communications:
    answer = await _ask(
        http,
        "GET",
        f"{base_url}/Communication",
        params={"_id": ",".join(scene.id for scene in scenes), "_count": "50"},
        headers={"cache-control": "no-cache", "accept": "application/fhir+json"},
    )
    resources = [entry["resource"] for entry in answer.json().get("entry", [])]
    return {resource["id"]: resource for resource in resources}


async def _ask(http: httpx.AsyncClient, method: str, url: str, **parts: Any) -> httpx.Response:
    try:
        answer = await http.request(method, url, **parts)
    except httpx.TransportError as error:
        raise Temporary(f"{method} {url}: there is no answer ({type(error).__name__}).") from None
    said = f"{method} {url}: the FHIR server answers {answer.status_code}."
    if answer.is_server_error:
        raise Temporary(said)
    if answer.is_error:
        raise Rejected(said, status=answer.status_code)
    return answer


def _has_ended(communication: dict[str, Any]) -> bool:
    return communication.get("status") not in {None, "preparation", "in-progress"}


def _is_right(scene: Scene, communication: dict[str, Any]) -> bool:
    return communication.get("status") == scene.ends and _reason(communication) == scene.reason


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
