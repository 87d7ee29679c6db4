"""Both databases do the same: any calls in any order give equal answers and equal rows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.domain.mark import End, Mark
from adapter.domain.message import MessageState
from adapter.domain.ranking import Rank
from adapter.domain.reasons import Reason
from adapter.domain.transmission import State, Transmission
from adapter.errors import IllegalTransition
from adapter.ledger.store import Store, open_ledger
from adapter.ledger.tables import metadata
from adapter.ports.ledger import Delivery, FinalStatus, StoredSlot
from tests.contract.ledger.ledgers import NOW, after

# Anything that JSON can bring, lone surrogates and NUL included.
TEXT: Final = st.text(st.characters(exclude_categories=()), max_size=8)
TIME: Final = st.integers(-100, 100).map(after)
NAME: Final = st.sampled_from(["c1", "c2"])
MESSAGE: Final = st.sampled_from(["m1", "m2"])
ROUND: Final = st.integers(1, 2)
RANK: Final = st.builds(Rank, priority=st.integers(0, 3), since=TIME)

FACTS: Final = st.fixed_dictionaries(
    {},
    optional={
        "attempt": st.integers(1, 3),
        "token": TEXT,
        "patient": st.none() | TEXT,
        "destination": st.none() | TEXT,
        "attachments": st.lists(TEXT, max_size=3).map(tuple),
        "message": st.none() | MESSAGE,
        "reason": st.none() | st.builds(Reason, code=TEXT, sentence=TEXT),
        "note": st.none() | TEXT,
        "due_at": st.none() | TIME,
        "write_at": st.none() | TIME,
        "ended_at": st.none() | TIME,
        "checks": st.integers(0, 2**31 - 1),
    },
)
MARK: Final = st.builds(
    Mark,
    round=ROUND,
    token=TEXT,
    attempt=st.integers(1, 3),
    destination=st.none() | TEXT,
    attachments=st.lists(TEXT, max_size=2).map(tuple),
    message=st.none() | MESSAGE,
    end=st.none() | st.sampled_from(End),
)
DELIVERY: Final = st.builds(
    Delivery,
    delivery_id=st.sampled_from(["d1", "d2"]),
    kind=TEXT,
    received_at=TIME,
    body=st.binary(max_size=4),
)
STATUS: Final = st.builds(
    FinalStatus,
    message=MESSAGE,
    state=st.sampled_from(MessageState),
    at=st.none() | TIME,
    detail=st.none() | TEXT,
)


def step(what: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """One call."""
    return st.tuples(st.just(what), st.fixed_dictionaries(arguments))


# Changes come several times: they are the most of a ledger's day.
CHANGE: Final = step("change", of=NAME, to=st.sampled_from(State), stale=st.booleans(), facts=FACTS, now=TIME)
STEPS: Final = st.lists(
    st.one_of(
        step("open", of=NAME, round=ROUND, rank=RANK, now=TIME),
        CHANGE,
        CHANGE,
        CHANGE,
        step("intend", of=NAME, stale=st.booleans(), now=TIME),
        step("discard", of=NAME, stale=st.booleans(), now=TIME),
        step("restore", of=NAME, mark=MARK, rank=RANK, now=TIME),
        step("keep_status", status=STATUS, now=TIME),
        step("keep", delivery=DELIVERY),
        step("done", delivery=DELIVERY, note=TEXT),
        step("end", now=TIME),
        step("take", holder=TEXT, name=st.sampled_from(["lane", "else"]), now=TIME, seconds=st.floats(0, 50)),
        step("leave", holder=TEXT, name=st.sampled_from(["lane", "else"])),
        step("look", of=NAME, message=MESSAGE, now=TIME, limit=st.integers(1, 3)),
    ),
    max_size=25,
)


class Player:
    """Plays the calls on one ledger and writes down what it answers, without the databases' own ids."""

    def __init__(self, ledger: Store) -> None:
        self._ledger = ledger
        self._rows: dict[str, list[Transmission]] = {}
        self._slots: list[StoredSlot] = []
        self.answers: list[object] = []

    async def play(self, what: str, arguments: dict[str, Any]) -> None:
        try:
            answer = await getattr(self, f"_{what}")(**arguments)
        except IllegalTransition as refused:
            answer = str(refused)
        self.answers.append(answer)

    def _seen(self, row: Transmission | None) -> object:
        if row is None:
            return None
        self._rows.setdefault(row.communication, []).append(row)
        return _bare(row)

    def _row(self, of: str, *, stale: bool) -> Transmission | None:
        rows = self._rows.get(of)
        return None if not rows else rows[0 if stale else -1]

    async def _open(self, of: str, round: int, rank: Rank, now: datetime) -> object:
        return self._seen(await self._ledger.open(of, round=round, rank=rank, now=now))

    async def _change(self, of: str, to: State, stale: bool, facts: dict[str, Any], now: datetime) -> object:  # noqa: FBT001
        row = self._row(of, stale=stale)
        return row and self._seen(await self._ledger.change(row, to, now=now, event="event", **facts))

    async def _intend(self, of: str, stale: bool, now: datetime) -> object:  # noqa: FBT001
        row = self._row(of, stale=stale)
        last = self._slots[-1].id if self._slots else None
        found = row and await self._ledger.intend(row, after=last, now=now, event="intent")
        if not found:
            return None
        self._slots.append(found[1])
        return self._seen(found[0])

    async def _discard(self, of: str, stale: bool, now: datetime) -> object:  # noqa: FBT001
        row = self._row(of, stale=stale)
        return row and await self._ledger.discard(row, now=now)

    async def _restore(self, of: str, mark: Mark, rank: Rank, now: datetime) -> object:
        return self._seen(await self._ledger.restore(of, mark, rank=rank, now=now))

    async def _keep_status(self, status: FinalStatus, now: datetime) -> None:
        await self._ledger.keep_status(status, now=now)

    async def _keep(self, delivery: Delivery) -> None:
        await self._ledger.keep(delivery)

    async def _done(self, delivery: Delivery, note: str) -> None:
        await self._ledger.done(delivery, note=note)

    async def _end(self, now: datetime) -> None:
        for slot in self._slots[-1:]:
            await self._ledger.end(slot, now=now)

    async def _take(self, holder: str, name: str, now: datetime, seconds: float) -> bool:
        return await self._ledger.take(holder, name, now=now, seconds=seconds)

    async def _leave(self, holder: str, name: str) -> None:
        await self._ledger.leave(holder, name)

    async def _look(self, of: str, message: str, now: datetime, limit: int) -> object:
        return (
            self._seen(await self._ledger.newest(of)),
            self._seen(await self._ledger.by_message(message)),
            [_bare(row) for row in await self._ledger.due(now, limit=limit)],
            [_bare(row) for row in await self._ledger.in_states(frozenset(State), limit=limit)],
            [_bare(row) for row in await self._ledger.all_of(of)],
            [(slot.started_at, slot.ended_at) for slot in await self._ledger.latest(limit)],
            await self._ledger.waiting(now=now, limit=limit),
            await self._ledger.timeline(of),
        )


def _bare(row: Transmission) -> Transmission:
    return replace(row, id=0)


async def rows_of(ledger: Store) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, without the databases' own ids."""
    found: dict[str, list[tuple[object, ...]]] = {}
    async with ledger._database.reading() as connection:
        for table in metadata.sorted_tables:
            columns = [column for column in table.c if column.name not in {"id", "transmission"}]
            query = sa.select(*columns).order_by(*table.primary_key)
            found[table.name] = [tuple(row) for row in await connection.execute(query)]
    return found


async def clear(ledger: Store) -> None:
    """Empties every table."""
    async with ledger._database.writing() as connection:
        for table in reversed(metadata.sorted_tables):
            await connection.execute(sa.delete(table))


def test_any_calls_give_equal_answers_and_rows_on_both_databases(
    tmp_path: Path, postgresql_database: str
) -> None:
    with asyncio.Runner() as runner:
        on_file = open_ledger(f"sqlite:///{tmp_path}/ledger.db", now=NOW)
        on_server = open_ledger(postgresql_database, now=NOW)
        sqlite = runner.run(on_file.__aenter__())
        postgresql = runner.run(on_server.__aenter__())

        async def play(ledger: Store, steps: list[tuple[str, dict[str, Any]]]) -> tuple[object, object]:
            await clear(ledger)
            player = Player(ledger)
            for what, arguments in steps:
                await player.play(what, arguments)
            return player.answers, await rows_of(ledger)

        @settings(max_examples=60)
        @given(steps=STEPS)
        def agree(steps: list[tuple[str, dict[str, Any]]]) -> None:
            assert runner.run(play(sqlite, steps)) == runner.run(play(postgresql, steps))

        try:
            agree()
        finally:
            runner.run(on_file.__aexit__(None, None, None))
            runner.run(on_server.__aexit__(None, None, None))
