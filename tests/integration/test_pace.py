from __future__ import annotations

import random
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from adapter.domain.pacing import ANSWER_SECONDS
from tests.integration.people import communication, stage
from tests.virtual.loop import VirtualClock, run
from tests.virtual.site import Site, site, within

SPACING = timedelta(seconds=3.0)


def test_45_queued_messages_keep_their_distance_and_use_the_minute() -> None:
    _assert_paced(run(_with_45_queued(stops_after=None)), lives=1)


@pytest.mark.parametrize("after", [1.0, 44.0, 45.5, 46.9, 100.0])
def test_the_pace_holds_over_a_restart(after: float) -> None:
    _assert_paced(run(_with_45_queued(stops_after=after)), lives=2)


def _queue(clinic: Site, count: int) -> None:
    for number in range(count):
        clinic.write(communication(id=f"queued-{number}"))


async def _with_45_queued(*, stops_after: float | None) -> Site:
    jitter = random.Random(7)
    async with site(latency=lambda: jitter.uniform(0.005, 0.2), started=False) as clinic:
        stage(clinic)
        _queue(clinic, 45)
        await clinic.start()
        if stops_after is not None:
            await clinic.passes(stops_after)
            await clinic.stop()
            await clinic.start()
        await clinic.passes(4 * 60)
        return clinic


def _assert_paced(clinic: Site, *, lives: int) -> None:
    starts, arrivals = clinic.begins(), clinic.sends()
    assert [one["status"] for one in clinic.fhir.resources("Communication")] == ["completed"] * 45
    assert len(starts) == len(arrivals) == 45
    gaps = [later - sooner for sooner, later in pairwise(starts)]
    assert min(gaps) >= SPACING
    assert within(arrivals, 60.0) <= 20
    assert [one for one in clinic.metriport.requests if one.status == 429] == []
    # A life costs what the claim and the first slot do, and twenty sends on, what another one's last may have taken.
    long = [gap for gap in gaps if gap > 1.5 * SPACING]
    assert len(long) <= 2 * lives - 1
    assert max(long) <= SPACING + timedelta(seconds=ANSWER_SECONDS)
    lost = sum(long, timedelta(0)) - len(long) * SPACING
    assert 44 / ((starts[-1] - starts[0] - lost).total_seconds()) * 60 >= 19.8


@pytest.mark.parametrize("still", [20.0, 40.0, 70.0])
def test_a_replica_that_stood_still_keeps_the_pace_of_the_other(still: float) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            _queue(clinic, 60)
            await clinic.start()
            await clinic.passes(31)
            first = clinic.let_go()
            first.paused = True
            await clinic.start()
            await clinic.passes(still)
            clinic.go_on(first)
            await clinic.passes(400)
            return clinic

    clinic = run(scenario())

    sends = clinic.sends()
    assert [one["status"] for one in clinic.fhir.resources("Communication")] == ["completed"] * 60
    assert len(sends) == len(clinic.metriport.messages) == 60
    assert within(sends, 60.0) <= 20
    assert min(later - sooner for sooner, later in pairwise(sends)) >= timedelta(seconds=2.9)


def test_the_work_of_a_killed_replica_is_taken_over_within_half_a_minute() -> None:
    async def scenario() -> tuple[Site, datetime]:
        async with site(started=False) as clinic:
            stage(clinic)
            _queue(clinic, 30)
            await clinic.start()
            await clinic.passes(10)
            first = clinic.let_go()
            await clinic.start()
            await clinic.passes(20)
            first.dead = True
            killed = clinic.clock.now()
            await clinic.passes(300)
            return clinic, killed

    clinic, killed = run(scenario())

    sends = clinic.sends()
    next_one = next(at for at in sends if at > killed)
    assert sum(at < killed for at in sends) >= 9
    assert next_one - killed < timedelta(seconds=30)
    assert [one["status"] for one in clinic.fhir.resources("Communication")] == ["completed"] * 30
    assert len(clinic.metriport.messages) == 30


def test_a_stat_message_overtakes_the_queue() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            _queue(clinic, 20)
            await clinic.start()
            await clinic.passes(10)
            clinic.write(communication(id="stat", priority="stat", topic={"text": "stat"}))
            await clinic.passes(80)
            return clinic

    clinic = run(scenario())

    order = [message.subject for message in clinic.metriport.messages]
    assert len(order) == 21
    assert order.index("stat") <= 6


def test_a_message_that_becomes_urgent_overtakes_the_queue() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            for number in range(40):
                clinic.write(communication(id=f"queued-{number}", topic={"text": str(number)}))
                await clinic.passes(0.01)
            await clinic.start()
            await clinic.passes(10)
            for number in (5, 35):  # one is prepared by now, the other only seen
                clinic.write({**clinic.communication(f"queued-{number}"), "priority": "stat"})
            await clinic.passes(180)
            return clinic

    clinic = run(scenario())

    order = [message.subject for message in clinic.metriport.messages]
    assert len(order) == 40
    assert order.index("35") <= 7


@pytest.mark.parametrize("step", [timedelta(minutes=5), timedelta(minutes=-5)])
def test_the_pace_holds_over_a_restart_with_another_time(step: timedelta) -> None:
    """The first POST may have arrived when it was answered, and the one after the restart arrives at once."""

    async def scenario() -> list[datetime]:
        async with site(started=False) as clinic:
            stage(clinic)
            _queue(clinic, 40)
            clinic.metriport.add_fault("POST", "/medical/v1/message", "slow:2.5")
            await clinic.start()
            while len(clinic.sends()) < 20:
                await clinic.passes(0.05)
            await clinic.stop()
            clinic.machine = VirtualClock(clinic.clock.loop)
            clinic.machine.skew = step
            await clinic.start()
            await clinic.passes(30)
            return clinic.begins()

    begins = run(scenario())

    assert len(begins) >= 25
    assert begins[20] - begins[0] >= timedelta(seconds=62.5)


def test_a_post_that_a_lost_ledger_knew_of_may_still_arrive() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            _queue(clinic, 45)
            clinic.metriport.add_fault("POST", "/medical/v1/message", "apply-late:19")
            await clinic.start()
            while not clinic.sends():
                await clinic.passes(0.05)
            clinic.kill()
            await clinic.lose_ledger()
            await clinic.start()
            await clinic.passes(10 * 60)
            return clinic

    clinic = run(scenario())

    assert [one["status"] for one in clinic.fhir.resources("Communication")] == ["completed"] * 45
    assert len(clinic.metriport.messages) == 45
    assert within([message.sent_at for message in clinic.metriport.messages], 60.0) <= 20


def test_a_stop_in_the_middle_of_a_slow_send_ends_with_it() -> None:
    """Its slot is over by then: the next message could go at once, and waits for the next life."""

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.metriport.add_fault("POST", "/medical/v1/message", "slow:8")
            for number in range(2):
                clinic.write(communication(id=f"slow-{number}"))
            await clinic.start()
            await clinic.passes(6)
            assert len(clinic.sends()) == 1
            await clinic.stop()
            assert len(clinic.sends()) == 1
            await clinic.start()
            await clinic.passes(60)
            return clinic

    clinic = run(scenario())

    assert len(clinic.metriport.messages) == 2
    assert {one["status"] for one in clinic.fhir.resources("Communication")} == {"completed"}
