"""Two adapters on one ledger: one of them sends, both fetch what comes in and ask for what became of what was sent."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from adapter.domain.canonical import DIRECTION_SYSTEM
from adapter.pipelines.share import Share
from adapter.simulators.metriport import SANDBOX_PATIENTS
from tests.integration.people import communication, stage
from tests.virtual.loop import Life, VirtualClock, run
from tests.virtual.site import Site, site

SENT, RECEIVED = 40, 20
FIRST_PAUSE = timedelta(seconds=30)  # from one asking for a message's status to the next, at least
STATUS, FILES = "/medical/v1/message/", "/_files/"


async def _two(clinic: Site) -> tuple[Life, Life]:
    """The first holds the lane; calls come to the second."""
    stage(clinic)
    await clinic.start()
    await clinic.passes(5)
    first = clinic.let_go()
    await clinic.start()
    await clinic.passes(5)
    return first, clinic.life


def _receive(clinic: Site, count: int) -> None:
    for number in range(count):
        clinic.metriport.receive(
            clinic.clock.now(),
            patientId=SANDBOX_PATIENTS[0].id,
            subject=f"Result {number}",
            attachments=[{"title": "a.txt", "contentType": "text/plain", "data": "UmVzdWx0"}],
        )


def _received(clinic: Site) -> list[str]:
    return [
        one["topic"]["text"]
        for one in clinic.fhir.resources("Communication")
        if DIRECTION_SYSTEM in json.dumps(one)
    ]


def test_both_fetch_and_both_ask_and_nothing_is_done_by_two() -> None:
    async def scenario() -> tuple[Site, Life, Life]:
        async with site(started=False, auto_complete_seconds=600) as clinic:
            first, second = await _two(clinic)
            clinic.metriport.add_fault("*", FILES, "slow:6", times=1000)
            for number in range(SENT):
                clinic.write(communication(id=f"sent-{number}"))
            _receive(clinic, RECEIVED)
            clinic.metriport.add_fault("*", "*", "webhook-lost", times=1000)
            await clinic.passes(1200)
            return clinic, first, second

    clinic, first, second = run(scenario())

    assert {clinic.communication(f"sent-{number}")["status"] for number in range(SENT)} == {"completed"}
    assert sorted(_received(clinic)) == sorted(f"Result {number}" for number in range(RECEIVED))
    posts = [len(clinic.asked_by(life, "POST", "/medical/v1/message")) for life in (first, second)]
    assert posts == [SENT, 0]
    fetched = [[path for _, path in clinic.asked_by(life, "GET", FILES)] for life in (first, second)]
    assert all(fetched)
    assert len({*fetched[0], *fetched[1]}) == len([*fetched[0], *fetched[1]])
    polls = [clinic.asked_by(life, "GET", STATUS) for life in (first, second)]
    assert all(polls)
    times = defaultdict[str, list[datetime]](list)
    for at, path in sorted([*polls[0], *polls[1]]):
        times[path].append(at)
    assert len(times) == SENT
    assert all(later - sooner >= FIRST_PAUSE for asked in times.values() for sooner, later in pairwise(asked))


def test_what_a_killed_one_was_fetching_is_fetched_by_the_other_within_half_a_minute() -> None:
    async def scenario() -> tuple[Site, Life, list[str]]:
        async with site(started=False) as clinic:
            first, second = await _two(clinic)
            clinic.metriport.add_fault("*", FILES, "slow:20", times=3)
            _receive(clinic, 3)
            await clinic.passes(8)
            assert len(clinic.asked_by(second, "GET", FILES)) == 3
            clinic.kill()
            await clinic.passes(28)
            return clinic, first, _received(clinic)

    clinic, first, received = run(scenario())

    assert sorted(received) == [f"Result {number}" for number in range(3)]
    assert clinic.asked_by(first, "GET", FILES)


def test_what_takes_long_is_not_begun_by_the_other_meanwhile() -> None:
    async def scenario() -> tuple[Site, Life, Life]:
        async with site(started=False) as clinic:
            first, second = await _two(clinic)
            clinic.metriport.add_fault("*", FILES, "slow:55", times=2)
            _receive(clinic, 1)
            await clinic.passes(200)
            return clinic, first, second

    clinic, first, second = run(scenario())

    assert _received(clinic) == ["Result 0"]
    fetched = [clinic.asked_by(life, "GET", FILES) for life in (first, second)]
    assert sorted(map(len, fetched)) == [0, 2]


@pytest.mark.parametrize("chance", range(5))
@pytest.mark.parametrize("away", [0.0, 900.0])
def test_dead_links_are_asked_for_by_one(away: float, chance: int) -> None:
    """Also after the FHIR server was away, when what waits beside the first is asked for together with it."""
    random.seed(chance)

    async def scenario() -> tuple[Site, Life, Life]:
        async with site(started=False) as clinic:
            first, second = await _two(clinic)
            clinic.metriport.add_fault("POST", "/settings/webhook/*", "slow:4", times=100)
            clinic.metriport.add_fault("GET", FILES, "slow:6", times=RECEIVED)
            if not away:
                clinic.metriport.add_fault("*", "*", "url-expired", times=2 * RECEIVED)
            _receive(clinic, RECEIVED)
            clinic.cut(fhir_server=away > 0)
            await clinic.passes(away)
            clinic.cut()
            await clinic.passes(600)
            return clinic, first, second

    clinic, first, second = run(scenario())

    assert sorted(_received(clinic)) == sorted(f"Result {number}" for number in range(RECEIVED))
    fetched = [[path for _, path in clinic.asked_by(life, "GET", FILES)] for life in (first, second)]
    assert away or all(fetched)
    assert away or len({*fetched[0], *fetched[1]}) == len([*fetched[0], *fetched[1]])
    asked = [
        path for life in (first, second) for _, path in clinic.asked_by(life, "POST", "/settings/webhook/")
    ]
    assert RECEIVED // 2 < len(asked) == len({*asked})


def test_a_lease_that_could_not_be_given_back_ends_by_itself() -> None:
    async def scenario() -> bool:
        async with site(started=False) as clinic:
            await _two(clinic)
            assert clinic.adapter is not None
            share, ledger = clinic.adapter.context.share, clinic.adapter.context.ledger
            async with share.alone("what goes on"):
                clinic.ledger_fails("leave")
                async with share.alone("what is over") as mine:
                    assert mine
                await clinic.passes(16)
                now = clinic.clock.now()
                assert not await ledger.take("another", "what goes on", now=now, seconds=1)
                return await ledger.take("another", "what is over", now=now, seconds=1)

    assert run(scenario())


def test_an_adapter_ends_when_it_is_stopped_though_a_lease_cannot_be_given_back() -> None:
    async def scenario() -> tuple[int, bool]:
        async with site(auto_complete_seconds=600) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.passes(20)
            clinic.metriport.add_fault("GET", STATUS, "slow:15", times=100)
            clinic.ledger_fails("leave", times=100, refuses=True)
            await clinic.passes(24)
            asked, stopping = (
                len(clinic.asked_by(clinic.life, "GET", STATUS)),
                asyncio.create_task(clinic.stop()),
            )
            await clinic.passes(1)
            ended = stopping.done()
            stopping.cancel()
            return asked, ended

    asked, ended = run(scenario())

    assert asked == 1  # it is still answered when the adapter is stopped
    assert ended


def test_a_lease_that_is_given_back_while_others_are_renewed_stays_so() -> None:
    class Leases:
        """Everybody gets what he wants; `between` is what happens before the next one is given."""

        def __init__(self) -> None:
            self.held: set[str] = set()
            self.between: Callable[[], Awaitable[object]] | None = None

        async def take(self, holder: str, *names: str, now: datetime, seconds: float) -> bool:
            del holder, now, seconds
            if (between := self.between) is not None:
                self.between = None
                await between()
            self.held.update(names)
            return True

        async def leave(self, holder: str, *names: str) -> None:
            del holder
            self.held.difference_update(names)

    async def scenario() -> set[str]:
        leases = Leases()
        share = Share(leases=leases, clock=VirtualClock(asyncio.get_running_loop()), life="life")
        async with share.alone("a"):
            other = AsyncExitStack()
            await other.enter_async_context(share.alone("b"))
            leases.between = other.aclose
            await share.renew()
            return {*leases.held}

    assert run(scenario()) == {"a"}


def test_one_that_does_not_send_remembers_nothing_that_another_sent() -> None:
    async def scenario() -> tuple[int, int]:
        async with site(started=False) as clinic:
            await _two(clinic)
            assert clinic.adapter is not None
            for number in range(15):
                clinic.write(communication(id=f"sent-{number}"))
            await clinic.passes(120)
            return len(clinic.sends()), len(clinic.adapter.worker.queue)

    assert run(scenario()) == (15, 0)


def test_a_message_that_another_adapter_is_writing_is_left_to_it_until_its_lease_ends() -> None:
    async def scenario() -> tuple[list[str], list[str]]:
        async with site(started=False) as clinic:
            await _two(clinic)
            assert clinic.adapter is not None
            ledger = clinic.adapter.context.ledger
            coming = clinic.metriport.receive(clinic.clock.now(), subject="Result 0", body="x")
            assert await ledger.take("another", f"message {coming.id}", now=clinic.clock.now(), seconds=30)
            await clinic.passes(25)
            meanwhile = _received(clinic)
            await clinic.passes(60)
            return meanwhile, _received(clinic)

    assert run(scenario()) == ([], ["Result 0"])
