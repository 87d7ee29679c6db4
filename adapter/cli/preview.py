"""`preview`: the exact call that would be made, what would not be transmitted, or why there is no call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import simplejson
import typer

from adapter.cli.root import ConfigOption, app, print_json
from adapter.config import Settings, load
from adapter.domain.attachment import Content
from adapter.domain.reasons import Reason
from adapter.domain.resource import Resource
from adapter.domain.rounds import PREPARATION
from adapter.errors import ConfigError, Unresolved
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.prepare import Plan, plan, render, texts_of
from adapter.wiring import SystemClock, Transports, context_of

# What the adapter works with, or carries in whole: no template has to name it.
_WORKED_WITH: Final = frozenset(
    {"resourceType", "id", "meta", "status", "medium", "subject", "recipient", "payload", "contained"}
)


@app.command()
def preview(
    source: Annotated[str, typer.Argument(help="Communication/id on the FHIR server, or a JSON file.")],
    config: ConfigOption = None,
) -> None:
    """Shows what would be sent, without sending, uploading or writing anything. Exit code 1 when nothing would."""
    _show(asyncio.run(_preview(load(config), source)))


def _show(shown: dict[str, Any]) -> None:
    print_json(shown)
    if not shown["wouldBeSent"]:
        raise typer.Exit(1)


async def _preview(settings: Settings, source: str) -> dict[str, Any]:
    # Nothing is remembered: the ledger lives in memory and ends with the command.
    async with context_of(
        settings, ledger_url="sqlite+aiosqlite://", clock=SystemClock(), transports=Transports()
    ) as (context, *_):
        communication = (
            await _stored(context, source) if source.startswith("Communication/") else _file(source)
        )
        planned = await plan(context, communication)
        if isinstance(planned, Reason):
            shown = {"call": None, "reason": {"code": planned.code, "sentence": planned.sentence}}
        else:
            shown = _plan(context, planned)
        why = _unasked(context, communication)
        return {
            **shown,
            **({"notAsked": why} if why else {}),
            "wouldBeSent": shown["call"] is not None and not why,
        }


def _unasked(context: Context, communication: Resource) -> str | None:
    """Why nobody asks for it to be sent, if so."""
    if not context.policy.marker.on(communication):
        marker = context.policy.marker
        return f"It does not carry the marker: {marker.element}={marker.token}."
    if (status := communication.get("status")) != PREPARATION:
        return f"Its status is {status}; {PREPARATION} asks for it to be sent."
    return None


def _plan(context: Context, planned: Plan) -> dict[str, Any]:
    return {
        "call": _call(context, planned),
        "uploads": [
            {
                "where": one.where,
                "title": one.title,
                "contentType": one.content_type,
                "bytes": len(one.data),
            }
            for one in planned.contents
            if isinstance(one, Content)
        ],
        "notTransmitted": sorted(_not_transmitted(context, planned)),
    }


def _not_transmitted(context: Context, planned: Plan) -> Iterator[str]:
    """The elements without which the call would be the same."""

    def made(communication: Resource) -> object:
        texts = texts_of(context, communication, reference="")
        return texts, _call(context, replace(planned, communication=communication))

    whole = made(planned.communication)
    for name in planned.communication.keys() - _WORKED_WITH:
        if made({key: value for key, value in planned.communication.items() if key != name}) == whole:
            yield name


def _call(context: Context, planned: Plan) -> dict[str, Any]:
    # Ids are given by the upload; until then such a one stands for the n-th.
    ids = [
        f"00000000-0000-4000-8000-{number:012d}" if isinstance(one, Content) else one.document_id
        for number, one in enumerate(planned.contents, start=1)
    ]
    send = render(context, planned, ids)
    return {
        "method": "POST",
        "path": "/medical/v1/message",
        "query": {"patientId": send.patient},
        "body": dict(send.body),
    }


async def _stored(context: Context, source: str) -> Resource:
    found = await context.fhir.read("Communication", source.partition("/")[2])
    if found is None:
        raise Unresolved(f"{source} does not exist on {context.fhir.base_url}.", candidates=0)
    return found


def _file(source: str) -> Resource:
    try:
        parsed = simplejson.loads(Path(source).read_bytes(), use_decimal=True)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source} cannot be read as JSON: {type(error).__name__}.") from None
    if not isinstance(parsed, dict) or parsed.get("resourceType") != "Communication":
        raise ConfigError(f"{source} is no Communication.")
    return parsed
