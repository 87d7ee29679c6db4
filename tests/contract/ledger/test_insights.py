"""What people get to read, beside a running adapter."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapter.domain.ranking import Rank
from adapter.domain.transmission import State
from adapter.errors import ConfigError, Temporary
from adapter.ledger.insights import Lane, open_insights
from adapter.ledger.store import open_ledger
from adapter.ports.ledger import LANE, Arrival, ArrivalState, Delivery
from tests.contract.ledger.ledgers import NOW, after, opened, row_in


def test_an_empty_ledger_has_nothing_to_tell(ledger_url: str) -> None:
    async def story() -> None:
        async with open_ledger(ledger_url, now=NOW), open_insights(ledger_url) as insights:
            summary = await insights.summary(now=NOW)
            assert set(summary.counts) == set(State)
            assert set(summary.counts.values()) == {0}
            assert (summary.waiting, summary.unknown, summary.deliveries) == (0, 0, 0)
            assert (summary.waiting_seconds, summary.unknown_seconds) == (0.0, 0.0)
            assert summary.lane == Lane(holder=None, until=None, last_slot=None)
            assert await insights.latest() == []
            assert await insights.story("c1") is None

    asyncio.run(story())


def test_the_summary_counts_and_knows_the_ages(ledger_url: str) -> None:
    async def story() -> None:
        async with open_ledger(ledger_url, now=NOW) as ledger, open_insights(ledger_url) as insights:
            await opened(ledger, "ready", rank=Rank(priority=3, since=after(-50)))
            await row_in(ledger, State.UNKNOWN, "unknown", intent_at=after(-20))
            await row_in(ledger, State.UNKNOWN, "claimed", intent_at=None, claimed_at=after(-30))
            await row_in(ledger, State.COMPLETED, "completed")
            claimed = await row_in(ledger, State.CLAIMED, "slot")
            intended = await ledger.intend(claimed, after=None, now=after(-1), event="intent")
            assert intended is not None
            await ledger.take("me", LANE, now=NOW, seconds=10)
            for name in ("done", "open"):
                delivery = Delivery(delivery_id=name, kind="k", received_at=NOW, body=b"")
                await ledger.keep(delivery)
                if name == "done":
                    await ledger.done(delivery, note="x")

            summary = await insights.summary(now=after(10))

            assert {state: count for state, count in summary.counts.items() if count} == {
                State.READY: 1,
                State.UNKNOWN: 2,
                State.COMPLETED: 1,
                State.INTENT: 1,
            }
            assert (summary.waiting, summary.waiting_seconds) == (1, 60.0)
            assert (summary.unknown, summary.unknown_seconds) == (2, 40.0)
            assert summary.deliveries == 1
            assert summary.lane == Lane(holder="me", until=after(10), last_slot=intended[1])

    asyncio.run(story())


def test_nothing_is_younger_than_new_after_the_clock_stepped_back(ledger_url: str) -> None:
    async def story() -> None:
        async with open_ledger(ledger_url, now=NOW) as ledger, open_insights(ledger_url) as insights:
            await opened(ledger)

            assert (await insights.summary(now=after(-5))).waiting_seconds == 0.0

    asyncio.run(story())


def test_the_latest_are_listed_by_state(ledger_url: str) -> None:
    async def story() -> None:
        async with open_ledger(ledger_url, now=NOW) as ledger, open_insights(ledger_url) as insights:
            first, second = await opened(ledger, "c1"), await opened(ledger, "c2")
            held = await row_in(ledger, State.HELD, "c3")

            assert await insights.latest() == [held, second, first]
            assert await insights.latest(limit=1) == [held]
            assert await insights.latest(states={State.READY}) == [second, first]

    asyncio.run(story())


def test_a_story_has_every_round_and_line(ledger_url: str) -> None:
    async def story() -> None:
        async with open_ledger(ledger_url, now=NOW) as ledger, open_insights(ledger_url) as insights:
            first = await row_in(ledger, State.SENT, "c1", message="m1")
            second = await opened(ledger, "c1", round=2)
            await opened(ledger, "c2")
            await ledger.note("c3", round=1, what="seen", now=NOW)

            found = await insights.story("c1")

            assert found is not None
            assert (found.communication, found.rounds) == ("c1", [second, first])
            assert found.events == await ledger.timeline("c1")
            assert await insights.story("m1") == found
            noted = await insights.story("c3")
            assert noted is not None
            assert (noted.rounds, [event.what for event in noted.events]) == ([], ["seen"])

    asyncio.run(story())


def test_a_ledger_that_was_not_made_yet_is_not_made_by_looking(tmp_path: Path) -> None:
    async def story() -> None:
        with pytest.raises(ConfigError, match=r"no ledger at .* yet"):
            async with open_insights(f"sqlite:///{tmp_path}/ledger.db"):
                pass

    asyncio.run(story())
    assert list(tmp_path.iterdir()) == []


def test_looking_changes_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        url = f"sqlite:///{tmp_path}/ledger.db"
        async with open_ledger(url, now=NOW), open_insights(url) as insights:
            with pytest.raises(Temporary, match="readonly"):
                async with insights._database.writing() as connection:
                    await connection.exec_driver_sql("DELETE FROM timeline")

    asyncio.run(story())


def test_received_messages_are_listed_and_told(ledger_url: str) -> None:
    async def story() -> None:
        async with open_ledger(ledger_url, now=NOW) as ledger, open_insights(ledger_url) as insights:
            first, second = (
                Arrival(message=f"m{number}", communication=f"c{number}", state=ArrivalState.WRITTEN, at=NOW)
                for number in (1, 2)
            )
            for arrival in (first, second):
                delivery = Delivery(delivery_id=arrival.message, kind="k", received_at=NOW, body=b"")
                await ledger.keep(delivery)
                await ledger.done(delivery, note="written", arrival=arrival)

            assert await insights.received() == [second, first]
            assert await insights.received(limit=1) == [second]
            told = await insights.story("m1")
            assert told is not None
            assert (told.communication, told.arrival, told.rounds) == ("c1", first, [])
            assert await insights.story("c1") == told

    asyncio.run(story())
