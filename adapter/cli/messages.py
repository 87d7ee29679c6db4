"""`list` and `show`: what the ledger knows, for people and scripts."""

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
from adapter.errors import Unresolved
from adapter.ledger.insights import Story, open_insights


@app.command("list")
def list_messages(
    state: Annotated[list[State] | None, typer.Option(help="Only these states; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The latest transmissions, newest first."""
    rows = asyncio.run(_latest(load(config).ledger.url, state or list(State), limit))
    if json:
        print_json([_row(row) for row in rows])
        return
    table = Table(title="Transmissions")
    for heading in ("Communication", "round", "state", "priority", "destination", "reason", "opened"):
        table.add_column(heading)
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


async def _latest(url: str, states: list[State], limit: int) -> Sequence[Transmission]:
    async with open_insights(url) as insights:
        return await insights.latest(states=states, limit=limit)


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
    for event in story.events:
        console.print(
            f"  {event.at.isoformat(timespec='milliseconds')}  round {event.round}  {event.what}"
            f"  {escape(event.note or '')}",
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


def _event(event: Any) -> dict[str, Any]:
    return {"at": event.at.isoformat(), "round": event.round, "what": event.what, "note": event.note}
