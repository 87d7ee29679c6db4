"""What one message costs the FHIR server: at most 3 reads and 3 writes, and one read more for each resource attached.

On a machine that pauses for seconds, a claim grows old before its slot and is read once more (protocol §4.4), and a
doorbell may ring twice. So a message counts that was not disturbed: one of a few.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from adapter.domain.canonical import PATIENT_ID
from adapter.simulators import metriport
from adapter.simulators.shell import utc_now
from adapter.wiring import Transports, wanted_subscription
from tests.e2e.at_work import at_work, settings_for
from tests.e2e.ehr import Ehr, End
from tests.e2e.machine import wait_until
from tests.neighbours.simulator import free_port, serving

Json = dict[str, Any]

_WRITES: Final = frozenset({"PUT", "POST", "PATCH", "DELETE"})
_UPKEEP: Final = ("/Subscription",)  # that no message causes
_SWEEP: Final = frozenset(
    {"", "/Communication", "/Task"}
)  # searches and their next pages; a read names an id
_TEXT: Final = base64.b64encode(b"Holter requested, see the enclosed tracing.\n").decode()


@dataclass(frozen=True, kw_only=True)
class _Cost:
    calls: tuple[str, ...]  # shown when a limit is exceeded

    @property
    def writes(self) -> int:
        return sum(call.partition(" ")[0] in _WRITES for call in self.calls)

    @property
    def reads(self) -> int:
        return len(self.calls) - self.writes


@dataclass(kw_only=True)
class _Meter(httpx.AsyncBaseTransport):
    """Passes every call of the adapter on to the FHIR server, and notes those that a message causes."""

    root: str
    network: httpx.AsyncBaseTransport = field(default_factory=httpx.AsyncHTTPTransport)
    calls: list[str] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(self.root)
        swept = request.method == "GET" and path in _SWEEP
        if not swept and not path.startswith(_UPKEEP):
            self.calls.append(f"{request.method} {path}")
        return await self.network.handle_async_request(request)

    async def aclose(self) -> None:
        await self.network.aclose()

    def read_off(self) -> _Cost:
        """What was called since the last time."""
        cost = _Cost(calls=tuple(self.calls))
        self.calls.clear()
        return cost


@dataclass(frozen=True, kw_only=True)
class _Clinic:
    ehr: Ehr
    meter: _Meter

    def id(self, name: str) -> str:
        return f"{self.ehr.channel}-{name}"

    def message(self, name: str, *payload: Json) -> Json:
        text = {"contentString": f"Please see the patient within two weeks ({name})."}
        return self.ehr.wish(
            self.id("patient"), text, *payload, id=self.id(name), subject=f"Follow-up {name}"
        )

    def undisturbed(self, message: Callable[[str], Json]) -> _Cost:
        """The least cost of a few messages that differ in their ids only."""
        return min(
            (self.costs(message(f"try-{number}")) for number in range(4)), key=lambda cost: len(cost.calls)
        )

    def costs(self, *messages: Json) -> _Cost:
        """Saves the messages together; what they cost from first sight to completed."""
        self.meter.read_off()
        for message in messages:
            self.ehr.save(message)
        known = [message["id"] for message in messages]
        ends = self.ehr.wait_for_ends(len(known), seconds=120)
        assert {id: ends[id] for id in known} == dict.fromkeys(known, End(status="completed"))
        return self.meter.read_off()


@contextmanager
def _clinic(
    base_url: str, folder: Path, *, doorbell: bool = False, sends_per_minute: int = 600
) -> Iterator[_Clinic]:
    port, own = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    world = metriport.World(public_url=url, auto_complete_seconds=0.5)
    meter = _Meter(root=httpx.URL(base_url).path)
    with serving(world, port), Ehr(base_url, channel=f"cost-{secrets.token_hex(2)}") as ehr:
        clinic = _Clinic(ehr=ehr, meter=meter)
        ehr.save(
            {
                "resourceType": "Patient",
                "id": clinic.id("patient"),
                "identifier": [{"system": PATIENT_ID, "value": metriport.SANDBOX_PATIENTS[0].id}],
            }
        )
        settings = settings_for(
            base_url,
            url,
            ledger=folder / "ledger.sqlite3",
            marker=ehr.marker,
            webhook_key=world.set_webhook(f"http://127.0.0.1:{own}/webhooks/metriport", utc_now()),
            port=own,
            doorbell=doorbell,
            sweep_seconds=600.0 if doorbell else 1.0,
        )
        with at_work(
            settings, transports=Transports(fhir=meter), sends_per_minute=sends_per_minute
        ) as working:
            if doorbell:
                ehr.wait_until_active(wanted_subscription(settings)["id"])
            clinic.costs(clinic.message("first"))  # what the server is asked at the start is behind us then
            yield clinic
            wait_until(working.is_idle, seconds=30)
        ehr.delete(f"Subscription/{wanted_subscription(settings)['id']}")


@pytest.mark.parametrize("doorbell", [True, False], ids=["by doorbell", "by sweep"])
def test_a_plain_message_costs_three_reads_and_three_writes(
    hapi_defaults: str, tmp_path: Path, *, doorbell: bool
) -> None:
    with _clinic(hapi_defaults, tmp_path, doorbell=doorbell) as clinic:
        cost = clinic.undisturbed(clinic.message)

        assert 0 < cost.reads <= 3, cost.calls
        assert 0 < cost.writes <= 3, cost.calls


def test_a_message_that_waits_for_its_slot_costs_no_more(hapi_defaults: str, tmp_path: Path) -> None:
    with _clinic(hapi_defaults, tmp_path, sends_per_minute=20) as clinic:
        # The least of three: a claim that is kept from its slot for a second or two is read again.
        quartets = [[clinic.message(f"queued-{number}-{place}") for place in range(4)] for number in range(3)]

        cost = min((clinic.costs(*messages) for messages in quartets), key=lambda cost: len(cost.calls))

        assert 0 < cost.reads <= 3 * 4, cost.calls
        assert 0 < cost.writes <= 3 * 4, cost.calls


def _inline(_clinic: _Clinic) -> Json:
    return {"contentAttachment": {"contentType": "text/plain", "data": _TEXT}}


def _binary(clinic: _Clinic) -> Json:
    binary = {
        "resourceType": "Binary",
        "id": clinic.id("tracing"),
        "contentType": "text/plain",
        "data": _TEXT,
    }
    clinic.ehr.save(binary)
    return {"contentReference": {"reference": f"Binary/{binary['id']}"}}


def _document(clinic: _Clinic, **attached: str) -> Json:
    document = {
        "resourceType": "DocumentReference",
        "id": clinic.id("report"),
        "status": "current",
        "subject": {"reference": f"Patient/{clinic.id('patient')}"},
        "content": [{"attachment": {"contentType": "text/plain", **(attached or {"data": _TEXT})}}],
    }
    clinic.ehr.save(document)
    return {"contentReference": {"reference": f"DocumentReference/{document['id']}"}}


def _document_and_binary(clinic: _Clinic) -> Json:
    return _document(clinic, url=_binary(clinic)["contentReference"]["reference"])


@pytest.mark.parametrize(
    ("attach", "reads"),
    # The last is two resources: which Binary it is says only the document.
    [(_inline, 3), (_binary, 4), (_document, 4), (_document_and_binary, 5)],
    ids=["inline", "Binary", "DocumentReference with data", "DocumentReference with a Binary"],
)
def test_an_attachment_costs_one_read_for_each_of_its_resources(
    hapi_defaults: str, tmp_path: Path, attach: Callable[[_Clinic], Json], reads: int
) -> None:
    with _clinic(hapi_defaults, tmp_path) as clinic:
        enclosed = attach(clinic)

        cost = clinic.undisturbed(lambda name: clinic.message(name, enclosed))

        assert 0 < cost.reads <= reads, cost.calls
        assert 0 < cost.writes <= 3, cost.calls
