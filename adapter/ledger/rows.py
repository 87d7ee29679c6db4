"""Rows to values and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from adapter.domain.ranking import Rank
from adapter.domain.reasons import Reason
from adapter.domain.transmission import State, Transmission
from adapter.ports.ledger import Arrival, ArrivalState, Delivery, Event, Facts, StoredSlot


def columns_of(facts: Facts) -> dict[str, Any]:
    """The facts by column; a reason has two."""
    values: dict[str, Any] = dict(facts)
    if "reason" in facts:
        reason: Reason | None = values.pop("reason")
        values["reason_code"] = reason.code if reason else None
        values["reason_sentence"] = reason.sentence if reason else None
    return values


def transmission(row: sa.Row[Any]) -> Transmission:
    """The Transmission of a row of its table."""
    values: dict[str, Any] = dict(row._mapping)  # noqa: SLF001  SQLAlchemy's documented name
    code, sentence = values.pop("reason_code"), values.pop("reason_sentence")
    rank = Rank(priority=values.pop("rank_priority"), since=values.pop("rank_since"))
    reason = Reason(code=code, sentence=sentence) if code is not None else None
    state = State(values.pop("state"))
    return Transmission(state=state, rank=rank, reason=reason, **values)


def slot(row: sa.Row[Any]) -> StoredSlot:
    """The slot of a row of its table."""
    return StoredSlot(id=row.id, started_at=row.started_at, ended_at=row.ended_at)


def delivery(row: sa.Row[Any]) -> Delivery:
    """The delivery of a row of its table."""
    return Delivery(
        delivery_id=row.delivery_id,
        kind=row.kind,
        received_at=row.received_at,
        body=row.body,
        message=row.message,
        tries=row.tries,
        call=row.call,
    )


def arrival(row: sa.Row[Any]) -> Arrival:
    """The arrival of a row of its table."""
    return Arrival(
        message=row.message,
        communication=row.communication,
        state=ArrivalState(row.state),
        at=row.at,
        patient=row.patient,
    )


def line(row: sa.Row[Any]) -> Event:
    """The timeline's line of a row of its table."""
    return Event(at=row.at, round=row.round, what=row.what, note=row.note)


def new_row(
    communication: str, *, round: int, rank: Rank, state: State, opened_at: Any, facts: Facts
) -> Mapping[str, Any]:
    """A row to insert, with what it starts from."""
    return {
        "communication": communication,
        "round": round,
        "state": state,
        "generation": 0,
        "rank_priority": rank.priority,
        "rank_since": rank.since,
        "opened_at": opened_at,
        "attempt": 1,
        "token": "",
        "attachments": (),
        "checks": 0,
        **columns_of(facts),
    }
