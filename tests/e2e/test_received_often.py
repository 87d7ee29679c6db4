"""A received message that is told of ten times: on a real HAPI server once, in one version, whenever it is told again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from adapter.wiring import Transports
from tests.e2e.clinic import Clinic, assert_whole, attached, clinic, until
from tests.e2e.ehr import message_of

PARTS: Final = [("application/pdf", b"%PDF-1.4 \x00\x01\n"), ("text/plain", b"")]
TIMES: Final = 10

Holds = Callable[[httpx.Request], bool]


class Gate(httpx.AsyncBaseTransport):
    """The way to the FHIR server, on which requests can be held."""

    def __init__(self) -> None:
        self._over = httpx.AsyncHTTPTransport()
        self.holds: Holds = _nothing
        self.held = 0
        """The requests that are held now."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.holds(request):
            self.held += 1
            while self.holds(request):  # noqa: ASYNC110  # another thread lets it go
                await asyncio.sleep(0.01)
            self.held -= 1
        return await self._over.handle_async_request(request)

    async def aclose(self) -> None:
        await self._over.aclose()


def _nothing(_request: httpx.Request) -> bool:
    return False


def _before(request: httpx.Request) -> bool:
    """The first look whether the message is there."""
    return request.method == "GET" and "/Communication/" in request.url.path


def _during(request: httpx.Request) -> bool:
    """The transaction, which is the last step."""
    return request.method == "POST" and request.url.path.endswith(("/fhir", "/fhir/"))


def _told(here: Clinic, gate: Gate, *, moment: Holds, at_once: int, **stated: Any) -> str:
    """A message that Metriport tells of again nine times at that moment."""
    gate.holds = moment
    parts = [attached(data, kind) for kind, data in PARTS]
    message = here.receive(subject="Result", body="See it.", attachments=parts, **stated)
    call = here.newest_call()
    until(lambda: gate.held if moment is not _nothing else here.find(message))
    with ThreadPoolExecutor(at_once) as people:
        list(people.map(here.call_again, [call] * (TIMES - 1)))
    gate.holds = _nothing
    until(lambda: not gate.held)
    return message


def test_a_message_told_of_ten_times_is_there_once(hapi_defaults: str, tmp_path: Path) -> None:
    gate = Gate()
    matched, unmatched = [], []
    with clinic(hapi_defaults, tmp_path, transports=Transports(fhir=gate)) as here:
        # The first link is dead: the adapter has that call made anew, and gets it as an answer and as a call.
        here.world.add_fault("GET", "/_files", "url-expired", times=1)
        for moment in (_before, _during, _nothing):
            tell = partial(_told, here, gate, moment=moment)
            matched.append(tell(at_once=TIMES, patientId=here.linked, content="bundle"))
            unmatched.append(tell(at_once=1, content="communication", attachmentsAs="inside"))
        told = [*matched, *unmatched]
        until(lambda: len({*here.calls()}) == 1 and here.calls()[0] >= TIMES * len(told))

        for message in told:
            owner = here.patient["reference"] if message in matched else None
            assert_whole(here, message, PARTS, owner=owner)
            assert [one["meta"]["versionId"] for one in here.parts(message)] == ["1"] * 5
        assert sorted(map(str, map(message_of, here.ehr.messages()))) == sorted(told)
        assert here.ehr.count("DocumentReference", subject=here.patient["reference"]) == 2 * len(matched)
        tasks = [here.task(message) for message in unmatched]
        assert [one["meta"]["versionId"] for one in tasks] == ["1"] * len(unmatched)
        assert [here.ehr.count("Task", focus=one["focus"]["reference"]) for one in tasks] == [1] * len(
            unmatched
        )
