"""Two replicas on one PostgreSQL: whatever two calls meet, it ends as if one had come after the other.

Each pair of calls is made in both orders, and with the transaction of the first held open while the second is under way:
before each of its statements but the first, and right before its commit. It then goes on, or its connection dies. What a
read answers has to be from before or from after the other call; two reads have nothing to do with one another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import combinations_with_replacement
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from adapter.domain.mark import Mark
from adapter.domain.message import MessageState
from adapter.domain.transmission import State, Transmission
from adapter.errors import Conflict, Temporary
from adapter.ledger.database import create_engine, parse_url
from adapter.ledger.store import Store
from adapter.ledger.tables import metadata
from adapter.ports.ledger import LANE, Arrival, ArrivalState, Delivery, FinalStatus, StoredSlot
from tests.contract.ledger.ledgers import NOW, ROUTINE, after, opened, row_in

_LOST: Final = (None, False)
_MARK: Final = Mark(round=1, token="t", attempt=1, destination="d", message="m1")
_ARRIVAL: Final = Arrival(message="in", communication="c", state=ArrivalState.WRITTEN, at=after(1))
_DELIVERY: Final = Delivery(delivery_id="d1", kind="k", received_at=NOW, body=b"old")


@dataclass(frozen=True, kw_only=True)
class _Ledger:
    """What is there before two calls meet."""

    ready: Transmission
    claimed: Transmission
    another: Transmission
    intended: Transmission
    doubtful: Transmission
    sent: Transmission
    slot: StoredSlot


Call = Callable[[Store, _Ledger], Awaitable[Any]]


def _done(call: Call) -> Call:
    """A call that has nothing to answer: it cannot lose."""

    async def done(store: Store, there: _Ledger) -> str:
        await call(store, there)
        return "done"

    return done


def _moved(of: str, to: State, **facts: Any) -> Call:
    def call(store: Store, there: _Ledger) -> Awaitable[Any]:
        return store.change(getattr(there, of), to, now=after(1), event=str(to), **facts)

    return call


def _intended(of: str) -> Call:
    def call(store: Store, there: _Ledger) -> Awaitable[Any]:
        return store.intend(getattr(there, of), after=there.slot.id, now=after(1), event="intent")

    return call


def _status(state: MessageState) -> Call:
    status = FinalStatus(message="m1", state=state, at=after(2))
    return _done(lambda store, _: store.keep_status(status, now=after(1)))


def _read(call: Call) -> Call:
    """A call that answers with what it saw."""

    async def read(store: Store, there: _Ledger) -> tuple[str, ...]:
        found = await call(store, there)
        return "saw", *(
            _without_its_id(one) for one in (found if isinstance(found, list | tuple) else [found])
        )

    return read


def _without_its_id(row: Any) -> str:
    """Ids of rows come from a sequence, which each trial takes further."""
    return repr(replace(row, id=0) if hasattr(row, "id") else row)


_READS: Final[Mapping[str, Call]] = {
    "newest": _read(lambda store, _: store.newest("new")),
    "all of": _read(lambda store, there: store.all_of(there.ready.communication)),
    "is as given": _read(lambda store, there: store.is_as_given(there.intended)),
    "by message": _read(lambda store, _: store.by_message("m1")),
    "due": _read(lambda store, _: store.due(after(99), limit=50)),
    "in states": _read(lambda store, _: store.in_states(frozenset(State))),
    "further": _read(lambda store, _: store.further(since=NOW)),
    "of patient": _read(lambda store, there: store.of_patient(there.doubtful.patient or "")),
    "latest": _read(lambda store, _: store.latest(20)),
    "waiting": _read(lambda store, _: store.waiting(now=after(99), limit=50)),
    "is waiting": _read(lambda store, _: store.is_waiting(_DELIVERY, now=after(99))),
    "unfinished": _read(lambda store, _: store.unfinished(kind="k", first=NOW, last=after(99))),
    "of call": _read(lambda store, _: store.of_call("d1")),
    "arrival": _read(lambda store, _: store.arrival(_ARRIVAL.message)),
    "timeline": _read(lambda store, _: store.timeline("c1")),
}
_CALLS: Final[Mapping[str, Call]] = {
    "open": lambda store, _: store.open("new", round=1, rank=ROUTINE, now=after(1)),
    "restore": lambda store, _: store.restore("new", _MARK, rank=ROUTINE, now=after(1)),
    "discard": lambda store, there: store.discard(there.ready, now=after(1)),
    "claim": _moved("ready", State.CLAIMED, token="a"),
    "refuse": _moved("ready", State.REFUSED),
    "intend": _intended("claimed"),
    "intend another": _intended("another"),
    "recover": _moved("claimed", State.UNKNOWN),
    "record": _moved("intended", State.SENT, message="m1"),
    "doubt": _moved("intended", State.UNKNOWN),
    "find": _moved("doubtful", State.SENT, message="m1"),
    "acknowledge": _moved("sent", State.COMPLETED),
    "fail": _moved("sent", State.FAILED),
    "ask later": _moved("sent", State.SENT, due_at=after(30)),
    "completed": _status(MessageState.COMPLETED),
    "failed": _status(MessageState.FAILED),
    "end slot": _done(lambda store, there: store.end(there.slot, now=after(1))),
    "take lane": lambda store, _: store.take(str(id(store)), LANE, now=after(1), seconds=10),
    "take more": lambda store, _: store.take(str(id(store)), "one", LANE, "other", now=after(1), seconds=10),
    "leave": _done(lambda store, _: store.leave(str(id(store)), LANE)),
    "end leases": _done(lambda store, _: store.end_leases()),
    "keep": _done(lambda store, _: store.keep(replace(_DELIVERY, body=b"new", received_at=after(1)))),
    "keep again": _done(lambda store, _: store.keep(_DELIVERY)),
    "done": _done(lambda store, _: store.done(_DELIVERY, note="written", arrival=_ARRIVAL)),
    "later": _done(lambda store, _: store.later(replace(_DELIVERY, tries=1), due_at=after(9), note="later")),
    "record arrival": _done(lambda store, _: store.record(replace(_ARRIVAL, at=after(2)))),
    "note": _done(lambda store, _: store.note("c1", round=1, what="seen", now=after(1))),
    **_READS,
}
# Of each of these one wins: a row, the next slot, a message id, a round, the lane.
_CONTESTS: Final = (
    {"claim", "refuse"},
    {"claim", "discard"},
    {"refuse", "discard"},
    {"intend", "recover"},
    {"intend", "intend another"},
    {"record", "doubt"},
    {"record", "find"},
    {"acknowledge", "fail"},
    {"acknowledge", "ask later"},
    {"fail", "ask later"},
    {"restore", "record"},
    {"restore", "find"},
    {"take lane", "take more"},
    *({call} for call in ("restore", "discard", "claim", "refuse", "intend", "intend another", "recover")),
    *(
        {call}
        for call in ("record", "doubt", "find", "acknowledge", "fail", "ask later", "take lane", "take more")
    ),
)


@dataclass(kw_only=True)
class _Replica:
    """A store whose transactions can be held before the statement of a number, or right before they commit."""

    engine: AsyncEngine
    held: asyncio.Event | None = None
    at: int | None = None
    statements: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.store = Store(self.engine)
        event.listen(self.engine.sync_engine, "commit", self._before_commit)
        event.listen(self.engine.sync_engine, "before_cursor_execute", self._before_statement)

    def hold(self, at: int | None) -> None:
        self.held, self.at, self.reached, self.statements = asyncio.Event(), at, asyncio.Event(), 0

    def _before_commit(self, _connection: Any) -> None:
        if self.at is None:
            self._wait()

    def _before_statement(self, *_: Any) -> None:
        self.statements += 1
        if self.statements == self.at:
            self._wait()

    def _wait(self) -> None:
        if self.held is not None:
            self.reached.set()
            await_only(self.held.wait())

    async def ask(self, call: Call, there: _Ledger) -> Any:
        try:
            return await call(self.store, there)
        except Conflict:
            return None


@dataclass(kw_only=True)
class _Meeting:
    """The database, two replicas on it, and what is there before each meeting."""

    admin: AsyncEngine
    one: _Replica
    other: _Replica
    there: _Ledger

    async def remember(self) -> None:
        """What is there now is there before each meeting."""
        async with self.admin.begin() as connection:
            for table in metadata.sorted_tables:
                await connection.exec_driver_sql(f"CREATE TABLE kept_{table.name} AS TABLE {table.name}")

    async def begin_anew(self) -> None:
        tables = metadata.sorted_tables
        emptied = [f"DELETE FROM {table.name}" for table in reversed(tables)]  # noqa: S608  own names
        filled = [f"INSERT INTO {table.name} TABLE kept_{table.name}" for table in tables]
        async with self.admin.begin() as connection:
            await connection.exec_driver_sql(";".join([*emptied, *filled]))

    async def seen(self) -> list[Any]:
        """All rows, without what the order of independent inserts decides, and without who holds the lane."""
        rows = " UNION ALL ".join(
            f"SELECT '{table.name}', (to_jsonb(one) - 'id' - 'holder')::text FROM {table.name} one"  # noqa: S608  own names
            for table in metadata.sorted_tables
        )
        async with self.admin.connect() as connection:
            return sorted((await connection.exec_driver_sql(rows)).all())

    async def serial(self, first: Call, second: Call) -> tuple[list[Any], list[Any]]:
        await self.begin_anew()
        self.one.statements = 0
        answers = [await self.one.ask(first, self.there), await self.other.ask(second, self.there)]
        return [_came_of(answer) for answer in answers], await self.seen()

    async def held(
        self, first: Call, second: Call, *, dies: bool = False, at: int | None = None
    ) -> tuple[list[Any], list[Any]]:
        """The second comes while the first is about to make its statement of that number, or to commit."""
        await self.begin_anew()
        self.one.hold(at)
        leading = asyncio.create_task(self.one.ask(first, self.there))
        await asyncio.wait(
            {leading, asyncio.create_task(self.one.reached.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        following = asyncio.create_task(self.other.ask(second, self.there))
        await self._comes_to_rest(following)
        if dies:
            await self._cut(leading)
        assert self.one.held is not None
        self.one.held.set()
        self.one.held = None
        answers = []
        with suppress(Temporary):
            answers.append(await leading)
        answers.append(await following)
        return [_came_of(answer) for answer in answers], await self.seen()

    async def _comes_to_rest(self, task: asyncio.Task[Any]) -> None:
        """Until it is done, or waits for the other's transaction."""
        waiting = sa.text(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        async with self.admin.connect() as connection:
            while not task.done() and not (await connection.execute(waiting)).scalar_one():
                await connection.rollback()
                await asyncio.sleep(0.001)

    async def _cut(self, leading: asyncio.Task[Any]) -> None:
        if leading.done():
            return
        cut = sa.text(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND state = 'idle in transaction' AND pid <> pg_backend_pid()"
        )
        async with self.admin.begin() as connection:
            await connection.execute(cut)


@asynccontextmanager
async def _meeting(url: str) -> AsyncIterator[_Meeting]:
    engines = [create_engine(parse_url(url)) for _ in range(3)]
    one, other = (_Replica(engine=engine) for engine in engines[:2])
    await one.store.migrate()
    there = await _prepare(one.store)
    meeting = _Meeting(admin=engines[2], one=one, other=other, there=there)
    await meeting.remember()
    try:
        yield meeting
    finally:
        for engine in engines:
            await engine.dispose()


async def _prepare(store: Store) -> _Ledger:
    sending = await row_in(store, State.CLAIMED, "c4")
    intended = await store.intend(sending, after=None, now=NOW, event="intent")
    assert intended is not None
    await store.keep(_DELIVERY)
    return _Ledger(
        ready=await opened(store, "c1"),
        claimed=await row_in(store, State.CLAIMED, "c2", token="t"),
        another=await row_in(store, State.CLAIMED, "c3", token="t"),
        intended=intended[0],
        doubtful=await row_in(store, State.UNKNOWN, "c5"),
        sent=await row_in(store, State.SENT, "c6", message="m6"),
        slot=intended[1],
    )


def test_whatever_two_replicas_do_ends_as_if_one_had_come_after_the_other(postgresql_database: str) -> None:
    async def story() -> list[str]:
        async with _meeting(postgresql_database) as meeting:
            pairs = [
                pair for pair in combinations_with_replacement(_CALLS, 2) if not _READS.keys() >= {*pair}
            ]
            return [wrong for one, other in pairs for wrong in await _judged(meeting, one, other)]

    assert asyncio.run(story()) == []


def test_who_is_refused_a_lease_does_not_keep_its_holder_from_renewing_it(postgresql_database: str) -> None:
    async def story() -> tuple[bool, bool]:
        async with _meeting(postgresql_database) as meeting, asyncio.timeout(60):
            holder, other = meeting.other, meeting.one
            assert await holder.store.take("holder", LANE, now=NOW, seconds=10)
            other.hold(at=2)
            refused = asyncio.create_task(other.store.take("other", LANE, now=after(1), seconds=10))
            await other.reached.wait()
            kept = await holder.store.take("holder", LANE, now=after(5), seconds=10)
            assert other.held is not None
            other.held.set()
            return kept, not await refused

    assert asyncio.run(story()) == (True, True)


async def _judged(meeting: _Meeting, one: str, other: str) -> list[str]:
    first, second = _CALLS[one], _CALLS[other]
    forth, of_first = await meeting.serial(first, second), meeting.one.statements
    back, of_second = await meeting.serial(second, first), meeting.one.statements
    contested = {one, other} in _CONTESTS
    wrong = [
        f"{one}, {other}: {answers} won" for answers, _ in (forth, back) if contested and sum(answers) != 1
    ]
    # In a round that is open already nothing is restored, and one that is restored is not opened again.
    if not contested and not all(forth[0]) and {one, other} != {"open", "restore"}:
        wrong.append(f"{one}, {other}: only {forth[0]} won")
    for names, calls, orders, statements in (
        (f"{one} held, {other}", (first, second), (forth, _turned(back)), of_first),
        (f"{other} held, {one}", (second, first), (back, _turned(forth)), of_second),
    ):
        wrong += [
            f"{names}: as in no order, held at {at or 'the commit'}"
            for at in (*range(2, statements + 1), None)
            if await meeting.held(*calls, at=at) not in orders
        ]
        if contested and (await meeting.held(*calls, dies=True))[0] != [True]:
            wrong.append(f"{names}: who came after the dead did not win")
    return wrong


def _came_of(answer: Any) -> Any:
    """Whether a call won, or what it saw."""
    return answer if isinstance(answer, tuple) and answer[:1] == ("saw",) else answer not in _LOST


def _turned(found: tuple[list[Any], list[Any]]) -> tuple[list[Any], list[Any]]:
    return [*reversed(found[0])], found[1]
