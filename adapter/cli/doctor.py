"""`doctor`: checks every neighbour, capability and setting, and says what to do."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from adapter.cli.root import ConfigOption, JsonOption, app, console, is_here, print_json
from adapter.config import Settings, load
from adapter.errors import AdapterError, ConfigError
from adapter.fhir.client import FhirClient
from adapter.fhir.probe import Probe, probe
from adapter.fhir.subscription import REQUESTED, differences
from adapter.ledger.database import file_of, parse_url
from adapter.ledger.file import check_place
from adapter.ledger.insights import open_insights
from adapter.mapping.engine import Mappings
from adapter.metriport.client import Account, MetriportClient
from adapter.wiring import SystemClock, Transports, neighbours, policy_of, wanted_subscription

# Without these nothing can be sent safely, or nothing received be written; the others cost speed or comfort.
_NEEDED = frozenset({Probe.IF_MATCH, Probe.MARKER_SEARCH, Probe.PAGING, Probe.TRANSACTION})


_ORIGIN = re.compile(r"https?://[^/?#@\s]+", re.IGNORECASE)
_HOST = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line: `ok`, `warning` or `failed`, and what to do about it."""

    part: str
    level: str
    sentence: str


@app.command()
def doctor(json: JsonOption = False, config: ConfigOption = None) -> None:
    """Check the settings and both neighbours. Exit code 1 when something keeps messages from being sent or received."""
    _show(asyncio.run(_all(load(config))), json=json)


def _show(found: list[Finding], *, json: bool) -> None:
    if json:
        print_json([vars(one) for one in found])
    else:
        _print(found)
    if any(one.level == "failed" for one in found):
        raise typer.Exit(1)


def _print(found: list[Finding]) -> None:
    colours = {"ok": "green", "warning": "yellow", "failed": "red"}
    table = Table("", "part", "what was found", show_lines=False)
    for one in found:
        table.add_row(f"[{colours[one.level]}]{one.level}[/]", one.part, escape(one.sentence))
    console.print(table)


async def _all(settings: Settings) -> list[Finding]:
    try:
        async with neighbours(settings, SystemClock(), Transports()) as (fhir, metriport, _):
            checks = (
                _settings(settings),
                _fhir(settings, fhir),
                _doorbell(settings, fhir),
                _metriport(settings, metriport),
                _mappings(settings),
                _ledger(settings),
            )
            return [finding for check in checks async for finding in check]
    except ConfigError as error:
        return [Finding(part="settings", level="failed", sentence=str(error))]


async def _settings(settings: Settings) -> AsyncIterator[Finding]:
    """What the settings say by themselves; that they are of the right type, they could be loaded by."""
    failed = [
        *(
            f"attachments.allowed_origins: {stated!r} is no origin, `https://host` or `https://host:port`"
            for stated in settings.attachments.allowed_origins
            if not _ORIGIN.fullmatch(stated.rstrip("/"))
        ),
        *(
            f"inbound.allowed_hosts: {stated!r} is no host, `files.example.org` or `*.example.org`"
            for stated in settings.inbound.allowed_hosts
            if not _HOST.fullmatch(stated)
        ),
    ]
    spool = settings.inbound.spool_directory
    if spool is not None and not (spool.is_dir() and os.access(spool, os.W_OK)):
        failed.append(f"inbound.spool_directory: {spool} is no directory that can be written to")
    if not _ORIGIN.match(settings.public_url):
        failed.append("web.public_url: it is no http or https address")
    doubtful = []
    is_called = settings.watch.doorbell != "off" or bool(settings.metriport.webhook_keys)
    if is_called and settings.web.public_url is None and not is_here(settings.metriport.base_url):
        doubtful.append(f"web.public_url is not set: Metriport is to call {settings.public_url}")
    system = settings.patients.external_id_system
    if system is not None and ":" not in system:
        doubtful.append(f"patients.external_id_system: {system!r} is no absolute URI")
    for level, sentences in (("failed", failed), ("warning", doubtful)):
        for sentence in sentences:
            yield Finding(part="settings", level=level, sentence=f"{sentence}. Correct it.")
    if not failed and not doubtful:
        yield Finding(part="settings", level="ok", sentence="All are of use.")


async def _fhir(settings: Settings, fhir: FhirClient) -> AsyncIterator[Finding]:
    try:
        stated = await fhir.capabilities()
        probed = await probe(fhir, policy_of(settings).marker, extra=policy_of(settings).extra_search)
    except AdapterError as error:
        yield Finding(part="FHIR server", level="failed", sentence=f"{settings.fhir.base_url}: {error}")
        return
    yield Finding(
        part="FHIR server",
        level="ok" if stated.is_r4 else "failed",
        sentence=f"{settings.fhir.base_url}: FHIR {stated.fhir_version}, {stated.software or 'unnamed software'}",
    )
    for one in probed.findings:
        is_needed = one.probe in _NEEDED and one.ok is False
        bad = "failed" if is_needed or one.sentence == probed.unsafe else "warning"
        yield Finding(part=f"FHIR {one.probe.value}", level="ok" if one.ok else bad, sentence=one.sentence)


async def _doorbell(settings: Settings, fhir: FhirClient) -> AsyncIterator[Finding]:
    part = "doorbell"
    if settings.watch.doorbell == "off":
        sentence = f"Off: messages are found by the sweep, every {settings.watch.sweep_seconds:g} s."
        yield Finding(part=part, level="ok", sentence=f"{sentence} Set watch.doorbell=rest-hook for seconds.")
        return
    try:
        wanted = wanted_subscription(settings)
        there = await fhir.read("Subscription", wanted["id"])
    except AdapterError as error:
        yield Finding(part=part, level="failed", sentence=str(error))
        return
    if there is None:
        yield Finding(part=part, level="warning", sentence="There is no Subscription yet; run subscribe.")
        return
    wrong = differences(there, wanted)
    state = f"Subscription/{wanted['id']} is {there.get('status')}"
    if wrong:
        yield Finding(
            part=part, level="warning", sentence=f"{state}, and differs in {', '.join(wrong)}; run subscribe."
        )
    elif there.get("status") == REQUESTED:
        hint = "for longer than some seconds, Subscriptions are switched off there"
        switch = "HAPI: hapi.fhir.subscription.resthook_enabled=true"
        yield Finding(part=part, level="warning", sentence=f"{state}, not active: {hint} ({switch}).")
    else:
        yield Finding(
            part=part, level="ok", sentence=f"{state}. Only arriving notifications prove that it rings."
        )


async def _metriport(settings: Settings, metriport: MetriportClient) -> AsyncIterator[Finding]:
    check = await metriport.check()
    level = "ok" if check.account is Account.OK else "failed"
    yield Finding(part="Metriport", level=level, sentence=f"{settings.metriport.base_url}: {check.sentence}")
    if not settings.metriport.webhook_keys:
        sentence = "metriport.webhook_keys is not set: status and received messages come by asking only, minutes later."
        yield Finding(part="webhook", level="warning", sentence=f"{sentence} Run `webhook setup`.")
    elif check.account is Account.OK:
        yield await _webhook(settings, metriport)


async def _webhook(settings: Settings, metriport: MetriportClient) -> Finding:
    wanted = f"{settings.public_url}/webhooks/metriport"
    try:
        there = await metriport.webhook()
    except AdapterError as error:
        return Finding(part="webhook", level="warning", sentence=str(error))
    keys = {key.get_secret_value() for key in settings.metriport.webhook_keys}
    if there.url != wanted:
        sentence = f"Metriport does not call {wanted}. Run `webhook setup`, or correct web.public_url."
        return Finding(part="webhook", level="warning", sentence=sentence)
    if there.key is not None and there.key not in keys:
        sentence = "Metriport signs with a key that is not among metriport.webhook_keys: its calls are refused. Add it."
        return Finding(part="webhook", level="failed", sentence=sentence)
    return Finding(
        part="webhook", level="ok", sentence=f"Metriport calls {wanted}, with a key that is known."
    )


async def _mappings(settings: Settings) -> AsyncIterator[Finding]:
    try:
        mappings = Mappings(directory=settings.mappings.directory)
        wrong: list[Any] = list(mappings.check())
    except AdapterError as error:
        wrong = [error]
    for problem in wrong:
        yield Finding(part="mappings", level="failed", sentence=str(problem))
    if not wrong:
        own = ", ".join(mappings.overridden()) or "none"
        yield Finding(
            part="mappings", level="ok", sentence=f"All render their example. The site's own: {own}."
        )


async def _ledger(settings: Settings) -> AsyncIterator[Finding]:
    # `run` makes a ledger, and brings an older one up to date; what it cannot do is to read a wrong URL.
    trouble = "failed"
    try:
        path = file_of(parse_url(settings.ledger.url))
        if path is not None:
            check_place(path)
        trouble = "warning"
        async with open_insights(settings.ledger.url) as insights:
            summary = await insights.summary(now=SystemClock().now())
    except ConfigError as error:
        yield Finding(part="ledger", level=trouble, sentence=str(error))
    except AdapterError as error:
        yield Finding(part="ledger", level="failed", sentence=str(error))
    else:
        level = "warning" if summary.unknown else "ok"
        sentence = f"{summary.waiting} waiting, {summary.unknown} of unknown outcome, {summary.deliveries} deliveries."
        yield Finding(part="ledger", level=level, sentence=sentence)
