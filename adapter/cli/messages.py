"""`list` and `show`: what the ledger knows of messages in both directions, for people and scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from adapter.cli.root import ConfigOption, JsonOption, app, console, print_json
from adapter.config import load
from adapter.domain.ranking import PRIORITIES
from adapter.domain.transmission import State, Transmission
from adapter.errors import ConfigError, Unresolved
from adapter.ledger.insights import Story, open_insights
from adapter.ports.ledger import Arrival


@app.command("list")
def list_messages(
    state: Annotated[
        list[State] | None, typer.Option(help="Only these states of sent messages; repeatable.")
    ] = None,
    received: Annotated[
        bool, typer.Option("--received", help="Received messages instead of sent ones.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The latest messages, newest first."""
    if received and state:
        raise ConfigError("--state is of what was sent; leave it out with --received.")
    url = load(config).ledger.url
    if received:
        _show_received(asyncio.run(_received(url, limit)), json=json)
    else:
        _show_sent(asyncio.run(_latest(url, state or list(State), limit)), json=json)


def _show_sent(rows: Sequence[Transmission], *, json: bool) -> None:
    if json:
        print_json([_row(row) for row in rows])
        return
    table = Table(title="Transmissions")
    for heading in ("Communication", "round", "state", "priority", "destination", "reason", "opened"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "Communication")
    for row in rows:
        table.add_row(
            row.communication,
            str(row.round),
            row.state.value,
            PRIORITIES[row.rank.priority],
            escape(row.destination or ""),
            row.reason.code if row.reason else "",
            row.opened_at.isoformat(timespec="seconds"),
        )
    console.print(table)


def _show_received(rows: Sequence[Arrival], *, json: bool) -> None:
    if json:
        print_json([_arrival(row) for row in rows])
        return
    table = Table(title="Received messages")
    for heading in ("Communication", "message", "state", "patient", "at"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "Communication")
    for row in rows:
        table.add_row(
            row.communication,
            row.message,
            row.state.value,
            f"Patient/{row.patient}" if row.patient else "",
            row.at.isoformat(timespec="seconds"),
        )
    console.print(table)


async def _latest(url: str, states: list[State], limit: int) -> Sequence[Transmission]:
    async with open_insights(url) as insights:
        return await insights.latest(states=states, limit=limit)


async def _received(url: str, limit: int) -> Sequence[Arrival]:
    async with open_insights(url) as insights:
        return await insights.received(limit=limit)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Id of the Communication, or Metriport's id of the message.")],
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """One Communication's rounds and timeline."""
    story = asyncio.run(_story(load(config).ledger.url, name.removeprefix("Communication/")))
    if story is None:
        raise Unresolved(
            f"The ledger knows nothing about {name}. Is it marked, and in preparation?", candidates=0
        )
    if json:
        print_json(
            {
                "communication": story.communication,
                "rounds": [_row(row) for row in story.rounds],
                "received": _arrival(story.arrival) if story.arrival else None,
                "timeline": [_event(event) for event in story.events],
            }
        )
        return
    for row in story.rounds:
        console.print(
            f"[bold]Communication/{row.communication}[/] round {row.round}: [bold]{row.state.value}[/]",
            escape(f"to {row.destination}") if row.destination else "",
            escape(f"as {row.message}") if row.message else "",
            soft_wrap=True,
        )
        if row.reason:
            console.print(escape(f"  {row.reason.code}: {row.reason.sentence}"), soft_wrap=True)
    if story.arrival:
        came = story.arrival
        whose = f"for Patient/{came.patient}" if came.patient else "for nobody known when it came"
        console.print(
            f"[bold]Communication/{came.communication}[/] received: [bold]{came.state.value}[/]",
            escape(f"as {came.message}, {whose}"),
            soft_wrap=True,
        )
    for event in story.events:
        under = f"  round {event.round}" if event.round else ""
        console.print(
            f"  {event.at.isoformat(timespec='milliseconds')}{under}  {event.what}  {escape(event.note or '')}",
            soft_wrap=True,
        )


async def _story(url: str, name: str) -> Story | None:
    async with open_insights(url) as insights:
        return await insights.story(name)


def _row(row: Transmission) -> dict[str, Any]:
    return {
        "communication": row.communication,
        "round": row.round,
        "state": row.state.value,
        "attempt": row.attempt,
        "priority": PRIORITIES[row.rank.priority],
        "destination": row.destination,
        "message": row.message,
        "reason": {"code": row.reason.code, "sentence": row.reason.sentence} if row.reason else None,
        "openedAt": row.opened_at.isoformat(),
        "sentAt": row.sent_at.isoformat() if row.sent_at else None,
        "endedAt": row.ended_at.isoformat() if row.ended_at else None,
    }


def _arrival(row: Arrival) -> dict[str, Any]:
    return {
        "communication": row.communication,
        "message": row.message,
        "state": row.state.value,
        "patient": row.patient,
        "at": row.at.isoformat(),
    }


def _event(event: Any) -> dict[str, Any]:
    return {"at": event.at.isoformat(), "round": event.round, "what": event.what, "note": event.note}
