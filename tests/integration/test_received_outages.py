"""Received messages while a neighbour is away for long: none is lost, none is given up, and nobody is stormed."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from adapter.metriport.spool import SpooledFile, spool
from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import FORBIDDEN, NO_ROUTE
from adapter.worker import Rhythm
from tests.integration.canary import overhearing
from tests.integration.test_received import KNOWN, after, at, contents, inbound, message, versions
from tests.virtual.site import Site

HOUR: Final = 3600.0
SECRET: Final = "quokka"
# Where hours pass, what has nothing to do with it comes round rarely.
LONG: Final = Rhythm(sweep=600.0, patrol=3600.0, track=20.0, lease=3600.0, answers=300.0, episodes=60.0)


def _asked_again(clinic: Site) -> int:
    return sum(one.path.endswith("/retry") for one in clinic.metriport.requests)


@pytest.mark.parametrize("person", [KNOWN, None])
def test_an_hour_without_the_fhir_server_costs_each_message_a_few_calls(person: str | None) -> None:
    async def visit(clinic: Site) -> None:
        clinic.cut(fhir_server=True)
        for _ in range(20):
            clinic.metriport.receive(clinic.clock.now(), **message(patientId=person))
            await clinic.passes(30)
        await clinic.passes(HOUR - 600)
        assert _asked_again(clinic) == 0
        clinic.cut()
        await clinic.passes(600)

    clinic = at(visit, rhythm=LONG)

    assert len(inbound(clinic)) == 20
    assert all(len(contents(clinic, one)) == 2 for one in inbound(clinic))
    assert set(versions(clinic).values()) == {1}
    assert {one["code"]["coding"][0]["code"] for one in clinic.fhir.resources("Task")} <= {"match-patient"}
    assert _asked_again(clinic) <= 40


def test_of_many_that_are_due_at_once_each_is_asked_for_once() -> None:
    """The first dead link has all of them made anew: those that were being worked on meanwhile are not asked for again."""

    async def visit(clinic: Site) -> None:
        clinic.cut(fhir_server=True)
        for _ in range(20):
            clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(HOUR)
        clinic.kill()
        await clinic.passes(600)
        clinic.cut()
        await clinic.start()
        await clinic.passes(300)

    clinic = at(visit)

    assert len(inbound(clinic)) == 20
    assert _asked_again(clinic) == 20


def test_fresh_links_are_used_while_others_are_still_asked_for() -> None:
    """Metriport takes four seconds for each: those asked for first would be dead when the last one has come."""

    async def visit(clinic: Site) -> None:
        clinic.cut(fhir_server=True)
        for _ in range(40):
            clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(HOUR)
        clinic.cut()
        await clinic.passes(120)
        assert inbound(clinic)
        assert _asked_again(clinic) < 40
        await clinic.passes(900)

    clinic = at(visit, latency=lambda: 2.0)

    assert len(inbound(clinic)) == 40


def test_after_a_long_outage_no_call_is_made_anew_over_and_over() -> None:
    async def visit(clinic: Site) -> None:
        clinic.cut(fhir_server=True)
        for _ in range(12):
            clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
            await clinic.passes(HOUR / 2)
        clinic.cut()
        await clinic.passes(600)

    clinic = at(visit, rhythm=LONG)

    assert all(len(contents(clinic, one)) == 2 for one in inbound(clinic))
    assert len(inbound(clinic)) == 12
    asked = Counter(one.path for one in clinic.metriport.requests if one.path.endswith("/retry"))
    assert len(asked) == 12
    assert max(asked.values()) <= 4


def test_calls_that_were_made_anew_may_die_once_more() -> None:
    """The server is away again before the second links are used: they are still known by the time of the first."""

    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now() - timedelta(seconds=1), **message(patientId=None))
        clinic.cut(fhir_server=True)
        for _ in range(3):
            await clinic.passes(HOUR)
            clinic.cut()
            clinic.fhir.add_fault("PUT", "/Binary", "503", times=10_000)
            await clinic.passes(150)
            assert inbound(clinic) == []
            clinic.fhir.clear_faults()
            clinic.cut(fhir_server=True)
        clinic.cut()
        await clinic.passes(300)

    clinic = at(visit, rhythm=LONG)

    assert len(inbound(clinic)) == 1
    assert [one["code"]["coding"][0]["code"] for one in clinic.fhir.resources("Task")] == ["match-patient"]


def test_metriport_that_is_away_for_hours_makes_nobody_give_up() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=1)
        clinic.metriport.add_fault("GET", "/settings", "503", times=10_000)
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(2 * HOUR)
        clinic.metriport.clear_faults()
        await clinic.passes(900)

    clinic = at(visit, rhythm=LONG)

    assert len(inbound(clinic)) == 1
    assert clinic.fhir.resources("Task") == []


def test_one_call_that_metriport_cannot_make_anew_keeps_no_other_from_it() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=2)
        clinic.metriport.receive(clinic.clock.now(), **message(attachments=None))
        clinic.metriport.receive(clinic.clock.now(), **message(subject="Other", attachments=None))
        gone = clinic.metriport.webhooks.deliveries[0].id
        clinic.metriport.add_fault("POST", f"/settings/webhook/request/{gone}", "404", times=10_000)
        await clinic.passes(60)

    clinic = at(visit)

    assert "Other" in [one["topic"]["text"] for one in inbound(clinic)]


def _answers(clinic: Site, path: str, answer: Response) -> None:
    """Metriport does nothing on paths with this in them, and answers so."""
    clinic.stand_in(clinic.metriport, lambda request, _: answer if path in request.path else None)


_STATUS: Final = (
    b'{"meta": {"messageId": "s1", "type": "message.status"}, "payload": {"id": "m1", "status": "completed"}}'
)


@pytest.mark.parametrize("body", [b"", b"[1", b'{"meta": {}}', _STATUS])
@pytest.mark.parametrize(
    ("faults", "person"), [({"GET": "url-expired"}, None), ({"POST": "webhook-lost"}, KNOWN)]
)
def test_a_call_made_anew_that_says_nothing_keeps_no_other_from_being_had(
    body: bytes, faults: dict[str, str], person: str | None
) -> None:
    async def visit(clinic: Site) -> None:
        for method, fault in faults.items():
            clinic.metriport.add_fault(method, "/_files" if method == "GET" else "/", fault, times=2)
        for subject in ("First", "Other"):
            clinic.metriport.receive(clinic.clock.now(), **message(subject=subject, patientId=person))
        first, _ = clinic.metriport.webhooks.deliveries
        _answers(clinic, f"/{first.id}/retry", Response(status=200, body=body))
        clinic.metriport.add_fault("GET", "/medical/v1/message", "list-empty", times=10_000)
        await clinic.passes(2 * HOUR)

    clinic = at(visit, rhythm=LONG)

    assert "Other" in [one["topic"]["text"] for one in inbound(clinic)]


@pytest.mark.parametrize("faults", [{"GET": "url-expired"}, {"POST": "webhook-lost"}])
def test_a_call_that_metriport_fails_at_keeps_no_other_from_being_made_anew(faults: dict[str, str]) -> None:
    async def visit(clinic: Site) -> None:
        for method, fault in faults.items():
            clinic.metriport.add_fault(method, "/_files" if method == "GET" else "/", fault, times=2)
        for subject in ("First", "Other"):
            clinic.metriport.receive(
                clinic.clock.now(), **message(subject=subject, patientId=None, attachments=None)
            )
        for call in clinic.metriport.webhooks.deliveries[:1]:
            clinic.metriport.add_fault("POST", f"/settings/webhook/request/{call.id}", "500", times=10_000)
        clinic.metriport.add_fault("GET", "/medical/v1/message", "list-empty", times=10_000)
        await clinic.passes(HOUR / 2)

    clinic = at(visit, rhythm=LONG)

    assert [one["topic"]["text"] for one in inbound(clinic)] == ["Other"]
    assert _lost(clinic) == []


def test_a_metriport_that_is_away_is_not_asked_for_every_call() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=20)
        clinic.metriport.add_fault("POST", "/settings/webhook/request", "503", times=10_000)
        clinic.metriport.add_fault("GET", "/medical/v1/message", "list-empty", times=10_000)
        clinic.cut(fhir_server=True)
        for _ in range(20):
            clinic.metriport.receive(clinic.clock.now(), **message(patientId=None, attachments=None))
        await clinic.passes(600)
        clinic.cut()
        await clinic.passes(60)
        assert _asked_again(clinic) < 20
        clinic.metriport.clear_faults()
        await clinic.passes(600)

    assert len(inbound(at(visit))) == 20


def test_a_call_in_the_same_hour_that_metriport_fails_at_leaves_the_others_in_doubt() -> None:
    """It may be the one that is looked for: what is dead is asked for until Metriport can answer."""

    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=2)
        for subject in ("First", "Other"):
            clinic.metriport.receive(clinic.clock.now(), **message(subject=subject, attachments=None))
        for number, call in enumerate(clinic.metriport.webhooks.deliveries):
            call.id = f"another-{number}"
        clinic.metriport.add_fault("POST", "/settings/webhook/request/another-1", "500", times=5)
        clinic.metriport.add_fault("GET", "/medical/v1/message", "list-empty", times=10_000)
        await clinic.passes(HOUR / 2)

    assert len(inbound(at(visit))) == 2


@pytest.mark.parametrize("answer", [Response(status=200), NO_ROUTE], ids=["nothing", "no route"])
def test_a_message_whose_call_cannot_be_made_anew_is_told_to_a_person(answer: Response) -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=10_000)
        clinic.metriport.add_fault("GET", "/medical/v1/message", "list-empty", times=10_000)
        clinic.metriport.receive(clinic.clock.now(), **message())
        _answers(clinic, "/retry", answer)
        await clinic.passes(3 * HOUR)

    assert [one["status"] for one in _lost(at(visit, rhythm=LONG))] == ["requested"]


@pytest.mark.parametrize(("answer", "hours"), [(NO_ROUTE, 3), (FORBIDDEN, 6), (Response(status=500), 6)])
def test_who_never_gets_fresh_links_is_told_so(answer: Response, hours: int) -> None:
    """A route that is not there stays so; a refused key or a failure may be mended: it is waited for for a day.

    The message was sent most of a day ago, and nothing but the list told of it.
    """

    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("POST", "/", "webhook-lost", times=1)
        _answers(clinic, "/settings/webhook/request", answer)
        clinic.metriport.receive(clinic.clock.now() - timedelta(hours=22), **message(patientId=None))
        await clinic.passes((hours - 2) * HOUR / 2)
        assert _lost(clinic) == []
        await clinic.passes((hours + 2) * HOUR / 2)

    assert [one["status"] for one in _lost(at(visit, rhythm=LONG))] == ["requested"]


def test_a_call_that_metriport_lists_under_another_id_is_found_by_its_time() -> None:
    """Twice: what was made anew is asked for by the id that led to it."""

    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=2)
        clinic.metriport.receive(clinic.clock.now(), **message(attachments=None))
        [told] = clinic.metriport.webhooks.deliveries
        told.id = "another"
        await clinic.passes(300)

    clinic = at(visit)

    assert len(inbound(clinic)) == 1
    assert 2 <= sum(one.path.endswith("/another/retry") for one in clinic.metriport.requests) <= 3


@pytest.mark.parametrize(
    "content",
    [Response(status=200, body=b"{}"), Response(status=200, headers={"content-encoding": "gzip"}, body=b"x")],
    ids=["no message", "compressed"],
)
def test_a_call_in_which_nothing_can_be_read_asks_nobody_about_a_message_that_is_there(
    content: Response,
) -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(attachments=None))
        await clinic.passes(30)
        _answers(clinic, "/_files/", content)
        hooks = clinic.metriport.webhooks
        hooks.again(hooks.deliveries[0], clinic.clock.now())
        await clinic.passes(60)

    clinic = at(visit)

    assert len(inbound(clinic)) == 1
    assert _lost(clinic) == []


def test_a_call_that_is_given_up_when_the_list_has_brought_its_message_asks_nobody() -> None:
    async def visit(clinic: Site) -> None:
        _answers(clinic, "/_files/", FORBIDDEN)
        _answers(clinic, "/settings/webhook/request", NO_ROUTE)
        clinic.metriport.receive(clinic.clock.now(), **message(attachments=None))
        await clinic.passes(3 * HOUR)

    clinic = at(visit, rhythm=LONG)

    assert len(inbound(clinic)) == 1
    assert _lost(clinic) == []


@pytest.mark.parametrize("times", [1, 3])
def test_a_call_that_comes_back_as_it_was_stays_open(times: int) -> None:
    """Metriport repeats id and dead link; the next answer has a fresh one."""

    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=1)
        clinic.metriport.add_fault("GET", "/medical/v1/message", "list-empty", times=10_000)
        clinic.metriport.receive(clinic.clock.now(), **message(attachments=None))
        *_, (_, call) = clinic.metriport.webhooks.due
        left = [call.body] * times

        def says(request: Request, _now: datetime) -> Response | None:
            again = request.path.endswith("/retry") and left
            return Response(status=200, body=left.pop()) if again else None

        clinic.stand_in(clinic.metriport, says)
        await clinic.passes(2 * HOUR)

    assert len(inbound(at(visit, rhythm=LONG))) == 1


def test_a_dead_call_that_metriport_does_not_know_is_not_closed_for_those_of_others() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/medical/v1/message", "list-empty", times=10_000)
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=2)
        for subject in ("First", "Second"):
            clinic.metriport.receive(clinic.clock.now(), **message(subject=subject, attachments=None))
        first, _ = clinic.metriport.webhooks.deliveries
        first.id = "another"
        await clinic.passes(0.02)
        del clinic.metriport.webhooks.deliveries[1]
        await clinic.passes(3 * HOUR)

    clinic = at(visit, rhythm=LONG)

    assert [one["topic"]["text"] for one in inbound(clinic)] == ["First"]
    assert [one["status"] for one in _lost(clinic)] == ["requested"]


def test_dead_links_are_left_alone_while_fresh_ones_are_asked_for() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=2)
        clinic.metriport.add_fault("POST", "/settings/webhook/request", "slow:15", times=10)
        for _ in range(2):
            clinic.metriport.receive(clinic.clock.now(), **message(attachments=None))
            await clinic.passes(1)
        await clinic.passes(10)
        assert sum("/_files/" in one.path for one in clinic.metriport.requests) < 5
        await clinic.passes(60)

    assert len(inbound(at(visit))) == 2


def test_a_dead_link_while_the_fhir_server_goes_away_waits() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=1)
        clinic.metriport.receive(clinic.clock.now(), **message(attachments=None))
        looks = []

        def says(request: Request, _now: datetime) -> Response | None:
            looks.append(request.method == "GET" and "/Communication/" in request.path)
            return Response(status=503) if looks[-1] and sum(looks) == 2 else None

        clinic.stand_in(clinic.fhir, says)
        await clinic.passes(60)

    assert len(inbound(at(visit))) == 1


def test_a_message_that_came_by_the_list_after_it_was_given_up_needs_nobody_any_more() -> None:
    """Its call told of it by name only, and what was behind the link was no message."""

    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/medical/v1/message", "list-empty", times=10_000)
        clinic.metriport.receive(clinic.clock.now(), **message(attachments=None))
        _answers(clinic, "/_files/", Response(status=200, body=b"{}"))
        await clinic.passes(2 * HOUR)
        [asked] = _lost(clinic)
        assert asked["status"] == "requested"
        assert "what is behind the link of a received message is no message" in asked["description"]
        clinic.metriport.clear_faults()
        await clinic.passes(1500)

    clinic = at(visit, rhythm=LONG)

    assert len(inbound(clinic)) == 1
    assert [one["status"] for one in _lost(clinic)] == ["cancelled"]


def test_a_message_nobody_was_told_of_is_had_by_a_call_that_is_made_anew() -> None:
    """Its attachments are only named on the list, and without a patient they cannot be asked for by name."""

    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("POST", "/", "webhook-lost", times=1)
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(1500)

    clinic = at(visit)

    assert [len(contents(clinic, one)) for one in inbound(clinic)] == [2]


def test_a_crash_over_one_message_stops_no_other_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    crashes = [3]

    @asynccontextmanager
    async def crashing(
        chunks: AsyncIterator[bytes], *, folder: Path | None = None
    ) -> AsyncIterator[SpooledFile]:
        if crashes[0]:
            crashes[0] -= 1
            raise ValueError(SECRET)
        async with spool(chunks, folder=folder) as spooled:
            yield spooled

    monkeypatch.setattr("adapter.wiring.spool", crashing)

    with overhearing(style="json") as heard:
        clinic = after(message(patientId=None), message(attachments=None), seconds=300)

    assert len(inbound(clinic)) == 2
    assert crashes == [0]
    assert "delivery.failed" in heard.events()
    assert SECRET not in heard.events()


def test_a_refused_message_waits_for_as_long_as_it_takes() -> None:
    """By the list alone it cannot be had, so a person is asked; when it comes after all, nobody has to look for it."""

    async def visit(clinic: Site) -> None:
        clinic.fhir.add_fault("POST", "", "422", times=1000)
        for _ in range(2):
            clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(3 * HOUR)
        assert inbound(clinic) == []
        answered, _ = _lost(clinic)
        clinic.fhir.put({**answered, "status": "completed"}, clinic.clock.now())
        clinic.fhir.clear_faults()
        await clinic.passes(1200)

    clinic = at(visit, rhythm=LONG)

    assert len(inbound(clinic)) == 2
    assert sorted(one["status"] for one in _lost(clinic)) == ["cancelled", "completed"]


def _lost(clinic: Site) -> list[dict[str, Any]]:
    return [one for one in clinic.fhir.resources("Task") if one["code"]["coding"][0]["code"] == "fix-data"]


def test_a_ledger_that_is_away_at_the_wrong_moment_loses_nothing() -> None:
    async def visit(clinic: Site) -> None:
        clinic.fhir.add_fault("PUT", "/Binary", "503", times=2)
        clinic.ledger_fails("later", times=2)
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(120)

    clinic = at(visit)

    assert len(inbound(clinic)) == 1
    assert set(versions(clinic).values()) == {1}


@pytest.mark.parametrize("newer", ["dead", "fresh"])
def test_links_that_come_again_under_the_same_id_stand_beside_the_first(newer: str) -> None:
    """Whichever of them live bring the message, once; links that live are not replaced by dead ones."""
    links: list[bytes] = []

    def is_dead(request: Request, _now: datetime) -> Response | None:
        dead = links[-1] if newer == "dead" else links[0]
        return (
            Response(status=403)
            if request.path.startswith("/_files/") and request.query.encode() in dead
            else None
        )

    async def visit(clinic: Site) -> None:
        assert clinic.adapter is not None
        ledger = clinic.adapter.context.ledger
        clinic.cut(fhir_server=True)
        clinic.metriport.add_fault("*", "*", "webhook-again")
        clinic.metriport.receive(clinic.clock.now(), **message(attachments=None))
        clinic.metriport.clear_faults()
        await clinic.passes(75)
        waiting = await ledger.unfinished(
            kind="message.received", first=clinic.clock.now() - timedelta(hours=1), last=clinic.clock.now()
        )
        links.extend(one.body for one in waiting)
        assert len(links) == 2
        clinic.stand_in(clinic.metriport, is_dead)
        clinic.cut()
        await clinic.passes(200)
        for one in waiting:
            assert not await ledger.unfinished(kind=one.kind, first=one.received_at, last=clinic.clock.now())

    clinic = at(visit)

    assert len(inbound(clinic)) == 1
    assert set(versions(clinic).values()) == {1}
    assert _asked_again(clinic) == (newer == "fresh")
