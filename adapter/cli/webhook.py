"""`webhook`: has Metriport call this adapter, and shows what became of its calls."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer
from rich.markup import escape
from rich.table import Table

from adapter.cli.root import ConfigOption, JsonOption, app, console, is_here, print_json
from adapter.config import PREFIX, Settings, load
from adapter.errors import ConfigError
from adapter.metriport.account import Webhook, WebhookRequest, WebhookStatus, ping
from adapter.metriport.client import MetriportClient
from adapter.wiring import SystemClock, Transports, neighbours

_KEYS: Final = f"{PREFIX}METRIPORT__WEBHOOK_KEYS"
_LOOK_SECONDS: Final = 1.0

_webhook = typer.Typer(help="Metriport's calls to this adapter.", no_args_is_help=True)
app.add_typer(_webhook, name="webhook")


@_webhook.command()
def setup(
    key_file: Annotated[
        Path | None, typer.Option(help="The file that gets the webhook key; only its owner can read it.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--print", help="Print the key, and nothing else, to stdout.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace another address at Metriport, another key in the file.")
    ] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the proof.")] = 0.0,
    config: ConfigOption = None,
) -> None:
    """Have Metriport call this adapter, and keep the key. Exit code 1 when nothing proves yet that calls arrive."""
    if key_file is None and not show:
        raise ConfigError("Where does the webhook key go? Give --key-file PATH, or --print.")
    asyncio.run(_setup(load(config), key_file, show=show, force=force, wait=wait))


async def _setup(settings: Settings, key_file: Path | None, *, show: bool, force: bool, wait: float) -> None:
    if settings.web.public_url is None and not is_here(settings.metriport.base_url):
        raise ConfigError(
            "web.public_url is not set: Metriport has to be told where it reaches the adapter from outside. "
            "Set ADAPTER_WEB__PUBLIC_URL."
        )
    async with neighbours(settings, SystemClock(), Transports()) as (_, metriport, _):
        wanted = _address(settings)
        if not force:
            _replaces_nothing(await metriport.webhook(), wanted, key_file)
        there = await metriport.set_webhook(wanted)
        _say(f"Metriport calls {wanted}.")
        if key_file:
            _store(key_file, str(there.key), replace=force)
        if show:
            typer.echo(there.key)
        _say(_what_next(settings, there, key_file))
        missing = await _missing_proof(metriport, there, seconds=wait)
    _say(missing or "Proven from this machine: the adapter answers a call that is signed with this key.")
    if missing:
        raise typer.Exit(1)


def _address(settings: Settings) -> str:
    return f"{settings.public_url}/webhooks/metriport"


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _replaces_nothing(there: Webhook, wanted: str, key_file: Path | None) -> None:
    if there.url == wanted:
        return
    if there.url:
        raise ConfigError(
            f"Metriport calls another address, on {urlsplit(there.url).hostname}, and has only one. Nothing was "
            f"changed. To have it call {wanted} instead, and no longer the other: --force."
        )
    if key_file and key_file.exists():
        raise ConfigError(
            f"{key_file} is there, and the key will be a new one. Nothing was changed. Name another file, or "
            "replace its content: --force."
        )


def _store(path: Path, key: str, *, replace: bool) -> None:
    """Writes the key as a whole or not at all; a file that holds it already stays as it is."""
    try:
        there = path.exists()
        if there and key in path.read_text("utf-8", "replace").split():
            return
        if there and not replace:
            raise ConfigError(
                f"{path} holds another key. Name another file, or replace its content: --force."
            )
        # It is made for its owner alone.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(f"{key}\n")
                file.flush()
                os.fsync(descriptor)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        again = "Metriport keeps the key: run this again with another --key-file."
        raise ConfigError(f"{path} cannot be written: {error.strerror}. {again}") from None


def _what_next(settings: Settings, there: Webhook, key_file: Path | None) -> str:
    if there.key in [key.get_secret_value() for key in settings.metriport.webhook_keys]:
        return "metriport.webhook_keys has the key."
    where = f"set {_KEYS}_FILE={key_file.absolute()}" if key_file else f"add it to {_KEYS}"
    return f"The adapter does not have the key yet: {where} and restart it. Several keys count, one a line."


async def _missing_proof(metriport: MetriportClient, there: Webhook, *, seconds: float) -> str | None:
    end = asyncio.get_running_loop().time() + seconds
    while True:
        missing = await _missing_now(metriport, there)
        if missing is None or asyncio.get_running_loop().time() >= end:
            return missing
        await asyncio.sleep(_LOOK_SECONDS)


async def _missing_now(metriport: MetriportClient, there: Webhook) -> str | None:
    why = await ping(there)
    if why is not None:
        return (
            f"Not proven yet: {there.url} was called as Metriport calls it: {why}. Start the adapter with the key, "
            "see that the address leads to it, and run this again."
        )
    status = await metriport.webhook_status()
    if status.enabled is False:
        return (
            f"Not proven yet: the adapter answers, and Metriport has its calls switched off: {status.detail}."
        )
    return None


@_webhook.command()
def status(
    limit: Annotated[int, typer.Option(min=0, max=10_000, help="At most so many deliveries.")] = 20,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """What Metriport says of its calls to this adapter. Exit code 1 when it makes none."""
    asyncio.run(_status(load(config), limit, json=json))


async def _status(settings: Settings, limit: int, *, json: bool) -> None:
    async with neighbours(settings, SystemClock(), Transports()) as (_, metriport, _):
        there, state = await metriport.webhook(), await metriport.webhook_status()
        # Without an address nothing is recorded, and there may be no list.
        newest = await _newest(metriport, limit if there.url else 0)
    calls_us = there.url == _address(settings) and state.enabled is not False
    if json:
        shown = {"url": there.url, "callsThisAdapter": calls_us, **vars(state)}
        print_json({**shown, "deliveries": _rows(newest)})
    else:
        _print(settings, there, state, newest)
    if not calls_us:
        raise typer.Exit(1)


async def _newest(metriport: MetriportClient, limit: int) -> list[WebhookRequest]:
    found: list[WebhookRequest] = []
    if limit:
        async for request in metriport.deliveries():
            found.append(request)
            if len(found) == limit:
                break
    return found


def _rows(requests: list[WebhookRequest]) -> list[dict[str, Any]]:
    return [
        {
            "id": one.id,
            "type": one.kind,
            "status": one.status,
            "createdAt": one.created_at.isoformat() if one.created_at else None,
        }
        for one in requests
    ]


def _print(settings: Settings, there: Webhook, state: WebhookStatus, requests: list[WebhookRequest]) -> None:
    if there.url != _address(settings):
        console.print(
            f"This adapter is at {_address(settings)}; run webhook setup.", markup=False, soft_wrap=True
        )
    console.print(f"Metriport calls {there.url or 'nobody'}.", markup=False, soft_wrap=True)
    for name, value in vars(state).items():
        console.print(f"  {name}: {'not said' if value is None else value}", markup=False, soft_wrap=True)
    table = Table(title="Deliveries")
    for heading in ("created", "type", "status", "id"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "id")
    for row in _rows(requests):
        table.add_row(*(escape(row[name] or "") for name in ("createdAt", "type", "status", "id")))
    console.print(table)
