"""What dashboard, CLI and metrics read. It changes nothing and takes no lock: it works beside a running adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapter.domain.transmission import State, Transmission
from adapter.errors import ConfigError
from adapter.ledger import rows
from adapter.ledger.database import Database, create_engine, file_of, parse_url, whole
from adapter.ledger.migrate import check_revision
from adapter.ledger.slots import ACCOUNT
from adapter.ledger.tables import arrivals, deliveries, leases, slots, timeline, transmissions
from adapter.ports.ledger import LANE, Arrival, Event, StoredSlot

WAITING: Final = frozenset({State.READY, State.CLAIMED, State.WAITING})
# A claim whose process died before its intent is unknown as well.
_MAYBE_SENT: Final = sa.func.coalesce(
    transmissions.c.intent_at, transmissions.c.claimed_at, transmissions.c.opened_at
)


@dataclass(frozen=True, kw_only=True)
class Lane:
    """Who sends for the account, and until when without renewing; the last start of a POST."""

    holder: str | None
    until: datetime | None
    last_slot: StoredSlot | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The ledger in figures, as of `at`."""

    at: datetime
    counts: Mapping[State, int]
    waiting_since: datetime | None
    unknown_since: datetime | None
    deliveries: int
    lane: Lane

    @property
    def waiting(self) -> int:
        """Transmissions that want to be sent."""
        return sum(self.counts[state] for state in WAITING)

    @property
    def unknown(self) -> int:
        """Transmissions of which it is not known whether they were sent."""
        return self.counts[State.UNKNOWN]

    @property
    def waiting_seconds(self) -> float:
        """Age of the oldest wish that waits; 0 when none does."""
        return _seconds(self.waiting_since, self.at)

    @property
    def unknown_seconds(self) -> float:
        """Age of the oldest unknown outcome; 0 when there is none."""
        return _seconds(self.unknown_since, self.at)


@dataclass(frozen=True, kw_only=True)
class Story:
    """All that the ledger knows about one Communication; rounds newest first, events in order."""

    communication: str
    rounds: Sequence[Transmission]
    events: Sequence[Event]
    arrival: Arrival | None = None


class Insights:
    """Reads for people. Every method raises `Temporary` while the database cannot be reached."""

    def __init__(self, engine: AsyncEngine, *, account: str = ACCOUNT) -> None:
        self._database = Database(engine)
        self._account = account

    async def check(self) -> None:
        """Whether the tables are this version's.

        Raises:
            ConfigError: they are not.
        """
        await check_revision(self._database)

    async def settle(self) -> None:
        """Waits for reads whose callers were cancelled; to be done before the engine is disposed of."""
        await self._database.settle()

    @whole
    async def summary(self, *, now: datetime) -> Summary:
        """The figures."""
        async with self._database.reading() as connection:
            return Summary(
                at=now,
                counts=await _counts(connection),
                waiting_since=await _oldest(connection, transmissions.c.rank_since, WAITING),
                unknown_since=await _oldest(connection, _MAYBE_SENT, {State.UNKNOWN}),
                deliveries=await _deliveries(connection),
                lane=await _lane(connection, self._account),
            )

    @whole
    async def latest(
        self, *, states: Collection[State] = frozenset(State), limit: int = 50
    ) -> Sequence[Transmission]:
        """Transmissions in these states, newest first."""
        query = (
            sa.select(transmissions)
            .where(transmissions.c.state.in_(states))
            .order_by(transmissions.c.id.desc())
            .limit(limit)
        )
        async with self._database.reading() as connection:
            return [rows.transmission(row) for row in await connection.execute(query)]

    @whole
    async def received(self, *, limit: int = 50) -> Sequence[Arrival]:
        """Messages that others sent in, newest first."""
        query = sa.select(arrivals).order_by(arrivals.c.id.desc()).limit(limit)
        async with self._database.reading() as connection:
            return [rows.arrival(row) for row in await connection.execute(query)]

    @whole
    async def story(self, name: str) -> Story | None:
        """All about the Communication with that id, or with that message id of Metriport's; `None`: not known."""
        sent = sa.select(transmissions.c.communication).where(transmissions.c.message == name)
        came = sa.select(arrivals.c.communication).where(arrivals.c.message == name)
        of_rounds = sa.select(transmissions).order_by(transmissions.c.round.desc())
        of_events = sa.select(timeline).order_by(timeline.c.id)
        async with self._database.reading() as connection:
            communication = (await connection.execute(sent.union(came))).scalar() or name
            rounds = await connection.execute(of_rounds.where(transmissions.c.communication == communication))
            events = await connection.execute(of_events.where(timeline.c.communication == communication))
            arrived = sa.select(arrivals).where(arrivals.c.communication == communication)
            arrival = (await connection.execute(arrived)).one_or_none()
            story = Story(
                communication=communication,
                rounds=[rows.transmission(row) for row in rounds],
                events=[rows.line(row) for row in events],
                arrival=rows.arrival(arrival) if arrival is not None else None,
            )
        return story if story.rounds or story.events else None


@asynccontextmanager
async def open_insights(url: str, *, account: str = ACCOUNT) -> AsyncIterator[Insights]:
    """Insights into the ledger at the URL, also while an adapter runs on it; closed at the end.

    Raises:
        ConfigError: the URL is wrong, there is no ledger yet, or another version of the adapter wrote it.
        Temporary: the database cannot be reached.
    """
    parsed = parse_url(url)
    path = file_of(parsed)
    if path is not None and not path.is_file():
        raise ConfigError(f"ledger.url: there is no ledger at {path} yet; `run` makes it")
    engine = create_engine(parsed)
    if path is not None:
        event.listen(engine.sync_engine, "connect", _only_query)
    insights = Insights(engine, account=account)
    try:
        await insights.check()
        yield insights
    finally:
        await insights.settle()
        await engine.dispose()


def _only_query(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only=ON")
    cursor.close()


def _seconds(since: datetime | None, now: datetime) -> float:
    # A clock that stepped back makes nothing younger than new.
    return max((now - since).total_seconds(), 0.0) if since is not None else 0.0


async def _counts(connection: AsyncConnection) -> dict[State, int]:
    query = sa.select(transmissions.c.state, sa.func.count()).group_by(transmissions.c.state)
    found = {State(state): count for state, count in await connection.execute(query)}
    return {state: found.get(state, 0) for state in State}


async def _oldest(
    connection: AsyncConnection, column: sa.ColumnElement[Any], states: Collection[State]
) -> datetime | None:
    query = sa.select(sa.func.min(column)).where(transmissions.c.state.in_(states))
    oldest: datetime | None = (await connection.execute(query)).scalar_one()
    return oldest


async def _deliveries(connection: AsyncConnection) -> int:
    query = sa.select(sa.func.count()).where(deliveries.c.done.is_(False))
    return (await connection.execute(query)).scalar_one()


async def _lane(connection: AsyncConnection, account: str) -> Lane:
    held = sa.select(leases).where(leases.c.account == account, leases.c.name == LANE)
    lease = (await connection.execute(held)).one_or_none()
    newest: sa.Select[Any] = sa.select(slots).where(slots.c.account == account).order_by(slots.c.id.desc())
    last = (await connection.execute(newest.limit(1))).one_or_none()
    return Lane(
        holder=lease.holder if lease else None,
        until=lease.until if lease else None,
        last_slot=rows.slot(last) if last else None,
    )
