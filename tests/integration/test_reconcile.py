"""What no call told of: calls that nobody took, and Metriport's list, whatever shape it comes back in."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from adapter.simulators import metriport
from adapter.simulators.http import Request, Response
from adapter.worker import Rhythm
from tests.integration.people import patient
from tests.integration.test_received import at, inbound, message
from tests.virtual.loop import START, run
from tests.virtual.site import API_KEY, METRIPORT_URL, Site, site

HOUR: Final = 3600.0


def test_a_call_that_nobody_took_is_made_anew_and_tells_whose_it_is() -> None:
    """The list does not know the account's own id of the patient."""

    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("POST", "/", "webhook-lost", times=2)
        for person in ("maple", "nobody"):
            clinic.metriport.receive(clinic.clock.now(), **message(patientId=None, externalId=person))
        await clinic.passes(700)

    clinic = at(visit)

    assert {one.get("subject", {}).get("reference") for one in inbound(clinic)} == {"Patient/maple", None}


def test_calls_of_the_last_thirty_days_are_made_anew() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            clinic.write(patient())
            clinic.metriport.add_fault("POST", "/", "webhook-lost", times=1)
            clinic.metriport.receive(clinic.clock.now(), **message())
            await clinic.passes(29 * 86400)
            await clinic.start()
            await clinic.passes(900)
            return clinic

    clinic = run(scenario())

    assert len(inbound(clinic)) == 1
    assert [one.path.endswith("/retry") for one in clinic.metriport.requests].count(True) == 1


def test_a_call_that_nobody_takes_again_is_asked_for_once() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("POST", "/", "webhook-lost", times=1)
        clinic.metriport.receive(clinic.clock.now(), **message())
        clinic.metriport.set_webhook("http://nobody.test/", clinic.clock.now())
        [lost] = [one for one in clinic.metriport.webhooks.deliveries if one.status == "failure"]
        for _ in range(3):
            lost.status = "failure"
            await clinic.passes(600)

    clinic = at(visit)

    asked = [one for one in clinic.metriport.requests if one.path.endswith("/retry")]
    assert len(inbound(clinic)) == 1
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("method", "fault"), [("POST", "404"), ("POST", "503"), ("GET", "404"), ("GET", "503")]
)
def test_calls_that_cannot_be_made_anew_keep_nothing_on_the_list_from_coming(method: str, fault: str) -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("POST", "/", "webhook-lost", times=1)
        clinic.metriport.receive(clinic.clock.now(), **message())
        clinic.metriport.add_fault(method, "/settings/webhook/request", fault, times=10)
        await clinic.passes(1300)

    assert len(inbound(at(visit))) == 1


class _Paged(metriport.World):
    """A long list of received messages in four pages, which comes back empty the first time."""

    readings = 0

    def handle(self, request: Request, now: datetime) -> Response:
        asked = dict(request.parameters)
        if request.path != "/medical/v1/message" or asked.get("direction") != "inbound":
            return super().handle(request, now)
        page = int(asked.get("page", "0"))
        self.readings += page == 0
        shown = [self._row(page)] if self.readings > 1 else []
        following = f"{METRIPORT_URL}/medical/v1/message?direction=inbound&page={page + 1}"
        meta = {"nextPage": following} if shown and page < len(_DAYS_AGO) - 1 else {}
        return Response(status=200, body=json.dumps({"meta": meta, "messages": shown}).encode())

    def _row(self, page: int) -> dict[str, Any]:
        sent = (START - timedelta(days=_DAYS_AGO[page])).isoformat()
        return {
            "id": f"m{page}",
            "status": "completed",
            "subject": f"page {page}",
            "body": "x",
            "sentAt": sent,
        }


_DAYS_AGO: Final = (0.1, 3, 5, 7)


def test_a_list_that_came_back_empty_is_read_as_a_whole_again_the_next_day() -> None:
    rarely = Rhythm(sweep=600.0, patrol=3600.0, track=600.0, lease=7200.0)

    async def scenario() -> list[int]:
        async with site(started=False) as clinic:
            clinic.metriport = _Paged(api_key=API_KEY, public_url=METRIPORT_URL)
            await clinic.start(rhythm=rarely)
            counts = []
            for hours in (0.1, 1, 24):
                await clinic.passes(hours * HOUR)
                counts.append(len(inbound(clinic)))
            return counts

    assert run(scenario()) == [0, 3, 4]
