"""Troubles that last for days, and work that two adapters have at hand at once: nothing wears out, nothing is dropped."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from adapter.domain.ranking import Rank
from adapter.domain.transmission import State
from adapter.errors import ConfigError
from adapter.pipelines.outbound.queue import Queue
from adapter.simulators.http import Request, Response
from adapter.worker import Rhythm
from tests.integration.canary import overhearing
from tests.integration.people import communication, stage
from tests.virtual.loop import run
from tests.virtual.site import LedgerFault, Site, site

DAY: Final = 86400.0
SEND: Final = ("POST", "/medical/v1/message")
REFUSED: Final = Response(status=401)
NOT_NOW: Final = Response(status=503)


async def _states(clinic: Site) -> Counter[str]:
    assert clinic.adapter is not None
    return Counter(row.state.value for row in await clinic.adapter.context.ledger.in_states(frozenset(State)))


async def _timeline(clinic: Site, id: str) -> dict[str, datetime]:
    """When each thing happened first."""
    assert clinic.adapter is not None
    events = await clinic.adapter.ledger.timeline(id)
    return {event.what: event.at for event in reversed(events)}


def test_days_without_metriport_leave_the_lane_as_careful_as_it_was() -> None:
    async def scenario() -> tuple[Counter[str], Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            for number in range(12):
                clinic.write(communication(id=f"m-{number}"))
            await clinic.start(rhythm=clinic.slow())
            clinic.cut(metriport_server=True)
            await clinic.passes(4.5 * DAY)
            states = await _states(clinic)
            clinic.cut()
            await clinic.passes(DAY)
            return states, clinic

    states, clinic = run(scenario())

    assert (states["waiting"], states["unknown"]) == (1, 0)
    assert len(clinic.metriport.messages) == 12


def test_a_write_back_by_another_adapter_leaves_the_claim_to_who_sends() -> None:
    """The reason why it waits could not be written at once; who holds the lane is the one that writes it later."""

    def throttled(request: Request, _now: datetime) -> Response | None:
        if (request.method, request.path) != SEND or said:
            return None
        said.append("throttled")
        return Response(status=429, headers={"retry-after": "60"})

    def refuses_once(request: Request, _now: datetime) -> Response | None:
        if request.method != "PUT" or not request.path.endswith("/referral") or said != ["throttled"]:
            return None
        said.append("refused")
        return NOT_NOW

    said: list[str] = []

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            clinic.stand_in(clinic.metriport, throttled)
            clinic.stand_in(clinic.fhir, refuses_once)
            await clinic.start()
            clinic.let_go()
            await clinic.start()
            await clinic.passes(150)
            return clinic

    clinic = run(scenario())

    assert said == ["throttled", "refused"]
    assert clinic.communication("referral")["status"] == "completed"
    assert len(clinic.sends()) == 2


def test_what_is_sent_while_older_claims_are_looked_at_is_not_taken_for_one_of_them() -> None:
    async def scenario() -> tuple[Site, dict[str, datetime]]:
        async with site(started=False) as clinic:
            stage(clinic)
            await clinic.start()
            await clinic.passes(290)
            assert clinic.adapter is not None
            ledger, now = clinic.adapter.context.ledger, clinic.clock.now()
            clinic.write(communication(id="old", status="on-hold"))
            row = await ledger.open("old", round=1, rank=Rank(priority=3, since=now), now=now)
            assert row is not None
            await ledger.change(row, State.CLAIMED, now=now, event="claimed", token="another.1.2")
            handle = clinic.fhir.handle

            def slow(request: Request, now: datetime) -> Response:
                seconds = 8.0 if request.path.endswith("/old") else 0.0
                return replace(handle(request, now), delay_seconds=seconds)

            clinic.fhir.handle = slow  # type: ignore[method-assign]
            clinic.metriport.add_fault(*SEND, "slow:18")
            await clinic.passes(11)
            clinic.write(communication(id="new"))
            await clinic.passes(60)
            return clinic, await _timeline(clinic, "new")

    clinic, happened = run(scenario())

    assert "unknown" not in happened
    assert happened["sent"] - happened["intent"] < timedelta(seconds=20)
    assert clinic.communication("new")["status"] == "completed"


def test_while_the_lane_stands_still_nobody_looks_again_and_again_for_what_may_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = [{"contentAttachment": {"contentType": "text/plain", "data": "QUFB"}}]
    looks: list[float] = []
    take = Queue.take

    def counted(queue: Queue, *, now: float, before: Rank | None = None) -> object:
        looks.append(now)
        return take(queue, now=now, before=before)

    def says(request: Request, _now: datetime) -> Response | None:
        if request.method == "POST" and request.path.startswith("/medical/v1/"):
            return NOT_NOW if "upload" in request.path else REFUSED
        return None

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            end = clinic.stand_in(clinic.metriport, says)
            for number in range(6):
                clinic.write(communication(id=f"plain-{number}"))
            clinic.write(communication(id="file", payload=data))
            await clinic.start()
            await clinic.passes(60)
            for number in range(6, 16):
                clinic.write(communication(id=f"plain-{number}"))
            await clinic.passes(600)
            looks.clear()
            await clinic.passes(3600)
            looked.append(len(looks))
            end()
            await clinic.passes(600)
            return clinic

    looked: list[int] = []
    monkeypatch.setattr(Queue, "take", counted)

    clinic = run(scenario())

    assert looked[0] < 3600
    assert {one["status"] for one in clinic.fhir.resources("Communication")} == {"completed"}


@pytest.mark.parametrize("messages", [1, 3, 5])
def test_that_nothing_may_be_sent_is_one_alarm_however_few_wait(messages: int) -> None:
    def forbidden(request: Request, _now: datetime) -> Response | None:
        return Response(status=403) if (request.method, request.path) == SEND else None

    async def scenario() -> list[str | None]:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.stand_in(clinic.metriport, forbidden)
            for number in range(messages):
                clinic.write(communication(id=f"m-{number}"))
            adapter = await clinic.start()
            for _ in range(30):
                await clinic.passes(60)
                stopped.append(adapter.worker.lane.stopped)
            return stopped

    stopped: list[str | None] = []
    with overhearing(style="json") as heard:
        run(scenario())

    assert all(stopped)
    said = [json.loads(line)["event"] for line in heard.lines()]
    assert (said.count("lane.stopped"), said.count("lane.goes-on")) == (1, 0)


def test_a_claim_that_could_not_be_written_is_tried_again_soon_however_rarely_is_swept() -> None:
    def once(request: Request, _now: datetime) -> Response | None:
        if request.method != "PUT" or not request.path.endswith("/Communication/referral") or said:
            return None
        said.append("refused")
        return NOT_NOW

    said: list[str] = []

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.stand_in(clinic.fhir, once)
            await clinic.start(rhythm=Rhythm(sweep=600.0))
            await clinic.passes(40)
            clinic.write(communication())
            await clinic.passes(30)
            return clinic

    clinic = run(scenario())

    assert (said, len(clinic.metriport.messages)) == (["refused"], 1)


def test_what_waits_beside_the_lane_is_kept_whatever_the_ledger_says() -> None:
    def refused(request: Request, _now: datetime) -> Response | None:
        dislikes = (request.method, request.path) == SEND and b"bad" in request.body
        return Response(status=403) if dislikes else None

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            end = clinic.stand_in(clinic.metriport, refused)
            clinic.write(communication(id="bad", topic={"text": "bad"}))
            await clinic.start()
            await clinic.passes(400)
            assert clinic.adapter is not None
            assert "bad" in clinic.adapter.worker.lane.aside
            for method in ("intend", "all_of"):
                clinic.ledger_faults.append(LedgerFault(method=method, error=ValueError("?"), times=10_000))
            await clinic.passes(900)
            clinic.ledger_faults.clear()
            end()
            clinic.write(communication(id="good"))
            await clinic.passes(3600)
            return clinic

    clinic = run(scenario())

    assert [clinic.communication(id)["status"] for id in ("bad", "good")] == ["completed", "completed"]


def test_a_ledger_that_is_replaced_while_something_waits_beside_the_lane_ends_the_process() -> None:
    async def scenario() -> BaseException | None:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.stand_in(
                clinic.metriport,
                lambda asked, _: Response(status=403) if (asked.method, asked.path) == SEND else None,
            )
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(400)
            replaced = ConfigError("the ledger file was replaced")
            clinic.ledger_faults.append(LedgerFault(method="intend", error=replaced, times=10_000))
            await clinic.passes(900)
            return await clinic.ended()

    assert isinstance(run(scenario()), ConfigError)
