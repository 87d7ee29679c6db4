"""Webhook calls, kept before they are answered: `adapter.ports.ledger.Inbox`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.ledger import rows
from adapter.ledger.changes import FINAL, alone_with, write_line
from adapter.ledger.database import Database, insert_once, whole
from adapter.ledger.tables import arrivals, deliveries, statuses
from adapter.ports.ledger import Arrival, Delivery, FinalStatus

INBOUND_ROUND = 0  # a received message has no rounds; its lines in the timeline stand under this one


class Inbox:
    """Deliveries, what became of the messages that they told of, and final statuses by message id."""

    _database: Database

    @whole
    async def keep(self, delivery: Delivery) -> str:
        """Commits the delivery; gives the id that it has here. A known one is opened again, never skipped.

        Its tries still count; its time stays that of the first call, and so does the call that it was made anew from.
        While it is still worked on, other links than the kept ones, which may live yet, stand beside them.
        """
        async with self._database.writing() as connection:
            if await _opened(connection, delivery):
                return delivery.delivery_id
            same = deliveries.c.delivery_id == delivery.delivery_id
            if delivery.message is not None:  # a row of the list: its newest form tells all
                await connection.execute(sa.update(deliveries).where(same).values(body=delivery.body))
                return delivery.delivery_id
            known = rows.delivery((await connection.execute(sa.select(deliveries).where(same))).one())
            beside = replace(
                delivery,
                delivery_id=f"{delivery.delivery_id}+{hashlib.sha256(delivery.body).hexdigest()[:16]}",
                received_at=min(known.received_at, delivery.received_at),
                tries=max(known.tries, delivery.tries),
                call=delivery.call or known.call or delivery.delivery_id,
            )
            await _opened(connection, beside)
            return beside.delivery_id

    @whole
    async def waiting(
        self, *, now: datetime, limit: int, kind: str | None = None, but: str | None = None
    ) -> Sequence[Delivery]:
        """Deliveries whose time for work has come, oldest first: of one kind, or of all but one."""
        values = {"now": now, "most": limit}
        async with self._database.reading() as connection:
            return [rows.delivery(row) for row in await connection.execute(_waiting(kind, but), values)]

    @whole
    async def is_waiting(self, delivery: Delivery, *, now: datetime) -> bool:
        """Whether its time for work has come, still, and it is as given."""
        query = sa.select(deliveries.c.id).where(*_as_given(delivery), *_open_at(now))
        async with self._database.reading() as connection:
            return (await connection.execute(query)).first() is not None

    @whole
    async def unfinished(self, *, kind: str, first: datetime, last: datetime) -> Sequence[Delivery]:
        """Deliveries of that kind that came between those times and are not done, oldest first, due or not."""
        query = (
            sa.select(deliveries)
            .where(
                deliveries.c.done.is_(False),
                deliveries.c.kind == kind,
                deliveries.c.received_at.between(first, last),
            )
            .order_by(deliveries.c.received_at, deliveries.c.id)
        )
        async with self._database.reading() as connection:
            return [rows.delivery(row) for row in await connection.execute(query)]

    @whole
    async def of_call(self, call: str) -> Sequence[Delivery]:
        """What was kept of Metriport's call of that id: the delivery itself, and those that were made anew from it."""
        query = (
            sa.select(deliveries)
            .where(sa.or_(deliveries.c.delivery_id == call, deliveries.c.call == call))
            .order_by(deliveries.c.id)
        )
        async with self._database.reading() as connection:
            return [rows.delivery(row) for row in await connection.execute(query)]

    @whole
    async def done(self, delivery: Delivery, *, note: str, arrival: Arrival | None = None) -> None:
        """The work of the delivery is done, unless it came again meanwhile: then it stays open."""
        values = {"done": True, "note": note, **({"message": arrival.message} if arrival else {})}
        async with self._database.writing() as connection:
            await connection.execute(_same(delivery).values(values))
            if arrival is not None:
                await _record(connection, arrival)

    @whole
    async def later(self, delivery: Delivery, *, due_at: datetime, note: str) -> None:
        """The work of the delivery could not be done now; one that came again meanwhile is due at once."""
        values = {"due_at": due_at, "tries": delivery.tries, "note": note}
        async with self._database.writing() as connection:
            await connection.execute(_same(delivery).values(values))

    @whole
    async def record(self, arrival: Arrival) -> None:
        """Keeps what became of a message that no delivery told of."""
        async with self._database.writing() as connection:
            await _record(connection, arrival)

    @whole
    async def arrival(self, message: str) -> Arrival | None:
        """What became of the received message."""
        query = sa.select(arrivals).where(arrivals.c.message == message)
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).one_or_none()
        return rows.arrival(found) if found is not None else None

    @whole
    async def keep_status(self, status: FinalStatus, *, now: datetime) -> None:
        """Keeps a final status by message id, once; one that is not final says nothing about an end."""
        if status.state not in FINAL:
            return
        values = {
            "message": status.message,
            "state": status.state,
            "at": status.at,
            "detail": status.detail,
            "kept_at": now,
        }
        async with self._database.writing() as connection:
            await alone_with(connection, status.message)
            await insert_once(connection, statuses, values)


async def _opened(connection: AsyncConnection, delivery: Delivery) -> bool:
    """Keeps it, or opens it again; `False` for one that is open with another body."""
    values = {
        "kind": delivery.kind,
        "received_at": delivery.received_at,
        "body": delivery.body,
        "done": False,
        "note": None,
        "tries": delivery.tries,
        "due_at": None,
    }
    new = {
        "delivery_id": delivery.delivery_id,
        "message": delivery.message,
        "call": delivery.call,
        **values,
    }
    if await insert_once(connection, deliveries, new) is not None:
        return True
    more = sa.case((deliveries.c.tries > delivery.tries, deliveries.c.tries), else_=delivery.tries)
    first = sa.case(
        (deliveries.c.received_at < delivery.received_at, deliveries.c.received_at),
        else_=delivery.received_at,
    )
    call = sa.func.coalesce(delivery.call, deliveries.c.call)
    again = (
        sa.update(deliveries)
        .where(
            deliveries.c.delivery_id == delivery.delivery_id,
            sa.or_(deliveries.c.done, deliveries.c.body == delivery.body),
        )
        .values({**values, "tries": more, "received_at": first, "call": call})
        .returning(deliveries.c.id)
    )
    return (await connection.execute(again)).first() is not None


@cache
def _waiting(kind: str | None, but: str | None) -> sa.Select[Any]:
    """Made once for each question: it is asked all the time."""
    now = sa.bindparam("now", type_=deliveries.c.due_at.type)
    return (
        sa.select(deliveries)
        .where(
            *_open_at(now),
            *([deliveries.c.kind == kind] if kind else []),
            *([deliveries.c.kind != but] if but else []),
        )
        .order_by(deliveries.c.received_at, deliveries.c.id)
        .limit(sa.bindparam("most"))
    )


def _open_at(now: datetime | sa.BindParameter[datetime]) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        deliveries.c.done.is_(False),
        sa.or_(deliveries.c.due_at.is_(None), deliveries.c.due_at <= now),
    )


def _as_given(delivery: Delivery) -> tuple[sa.ColumnElement[bool], ...]:
    # Its body is part of the condition: what came again may carry fresh links (protocol §8).
    return (
        deliveries.c.delivery_id == delivery.delivery_id,
        deliveries.c.received_at == delivery.received_at,
        deliveries.c.body == delivery.body,
    )


def _same(delivery: Delivery) -> sa.Update:
    return sa.update(deliveries).where(*_as_given(delivery))


async def _record(connection: AsyncConnection, arrival: Arrival) -> None:
    values = {
        "message": arrival.message,
        "communication": arrival.communication,
        "state": arrival.state,
        "at": arrival.at,
        "patient": arrival.patient,
    }
    changed = (
        sa.update(arrivals)
        .where(arrivals.c.message == arrival.message, arrivals.c.state != arrival.state)
        .values(state=arrival.state, at=arrival.at, communication=arrival.communication)
        .returning(arrivals.c.id)
    )
    new = await insert_once(connection, arrivals, values)
    if new is not None or (await connection.execute(changed)).first() is not None:
        what = arrival.state.value
        await write_line(connection, arrival.communication, round=INBOUND_ROUND, what=what, now=arrival.at)
