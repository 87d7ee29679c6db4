"""A FHIR server that gives all ids itself: messages come in and are held there as anywhere else (protocol §8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from adapter.domain.canonical import COMMUNICATION_ID, OWN_ID, TASK_SYSTEM
from adapter.worker import Rhythm
from tests.integration.people import communication, patient
from tests.integration.test_received import LETTER, TRACING, contents, inbound, message, versions
from tests.virtual.loop import run
from tests.virtual.site import Site, site

Json = dict[str, Any]

WHOLE: Final = [("application/pdf", TRACING), ("text/plain", LETTER)]


def at(visit: Callable[[Site, str], Awaitable[None]], **options: Any) -> Site:
    """A clinic on such a server, with one Patient; the test is told the reference to it."""

    async def scenario() -> Site:
        async with site(started=False, **options) as clinic:
            clinic.fhir = clinic.without_client_ids()
            written = clinic.write({name: value for name, value in patient().items() if name != "id"})
            await clinic.start(probing=True, rhythm=Rhythm(track=300.0))
            await visit(clinic, f"Patient/{written['id']}")
            return clinic

    return run(scenario())


def own_ids(resource: Json) -> list[str]:
    """The ids that the adapter itself would have given."""
    return [one["value"] for one in resource["identifier"] if one["system"] == OWN_ID]


def answer(clinic: Site, reference: str) -> None:
    """A person says whose it is."""
    kind = {"coding": [{"system": TASK_SYSTEM, "code": "choice"}]}
    output = [{"type": kind, "valueReference": {"reference": reference}}]
    clinic.write({**clinic.fhir.resources("Task")[0], "status": "completed", "output": output})


def again(clinic: Site) -> None:
    """Metriport makes the newest call again, under a new id and with new links."""
    deliveries = clinic.metriport.webhooks
    deliveries.again(deliveries.deliveries[-1], clinic.clock.now())


@pytest.mark.parametrize("inside", ["link", "inside"])
@pytest.mark.parametrize("content", ["bundle", "communication", "message"])
def test_a_message_is_there_with_its_attachments(content: str, inside: str) -> None:
    async def visit(clinic: Site, owner: str) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(content=content, attachmentsAs=inside))
        await clinic.passes(60)
        [found] = inbound(clinic)
        assert found["subject"] == {"reference": owner}
        for one in clinic.fhir.resources("Binary"):
            assert one["securityContext"] == {"reference": owner}

    clinic = at(visit)

    [found] = inbound(clinic)
    assert found["id"].isdigit()
    assert contents(clinic, found) == WHOLE
    assert len(clinic.fhir.resources("Binary")) == len(WHOLE)


def test_an_attachment_without_bytes_is_there_too() -> None:
    empty = {"title": "empty.txt", "contentType": "text/plain", "data": ""}

    async def visit(clinic: Site, _owner: str) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None, attachments=[empty]))
        await clinic.passes(60)

    clinic = at(visit)

    [found] = inbound(clinic)
    [document] = clinic.fhir.resources("DocumentReference")
    [binary] = clinic.fhir.resources("Binary")
    assert contents(clinic, found) == [("text/plain", b"")]
    assert binary["securityContext"] == {"reference": f"DocumentReference/{document['id']}"}


def test_a_person_says_whose_it_is_and_a_replay_undoes_nothing() -> None:
    async def visit(clinic: Site, owner: str) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(60)
        answer(clinic, owner)
        await clinic.passes(60)
        before = versions(clinic)
        again(clinic)
        await clinic.passes(60)
        assert versions(clinic) == before
        [found] = inbound(clinic)
        assert found["subject"] == {"reference": owner}
        everything = [*clinic.fhir.resources("DocumentReference"), *clinic.fhir.resources("Binary")]
        owners = [one.get("subject") or one["securityContext"] for one in everything]
        assert owners == [{"reference": owner}] * 4

    clinic = at(visit)

    assert contents(clinic, inbound(clinic)[0]) == WHOLE
    [task] = clinic.fhir.resources("Task")
    assert task["businessStatus"]["coding"][0]["code"] == "applied"
    assert task["focus"] == {"reference": f"Communication/{inbound(clinic)[0]['id']}"}


def test_what_somebody_deleted_stays_deleted() -> None:
    async def visit(clinic: Site, _owner: str) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(60)
        await clinic.delete(f"Communication/{inbound(clinic)[0]['id']}")
        for _ in range(2):
            again(clinic)
            await clinic.passes(60)

    assert inbound(at(visit)) == []


def test_a_lost_ledger_brings_nothing_in_twice() -> None:
    async def visit(clinic: Site, _owner: str) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message())
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(60)
        await clinic.stop()
        await clinic.lose_ledger()
        await clinic.start(probing=True)
        await clinic.passes(1800)

    clinic = at(visit)

    assert len(inbound(clinic)) == 2
    assert set(versions(clinic).values()) == {1}


@pytest.mark.parametrize("moment", [1, 3, 5, 7, 8, 9])
def test_a_kill_at_any_moment_leaves_the_message_there_once_and_complete(moment: int) -> None:
    async def visit(clinic: Site, _owner: str) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(0.02 * moment + 0.015)
        clinic.kill()
        await clinic.start(probing=True)
        await clinic.passes(120)

    clinic = at(visit)

    [found] = inbound(clinic)
    assert contents(clinic, found) == WHOLE
    assert set(versions(clinic).values()) == {1}
    assert {type: len(clinic.fhir.resources(type)) for type in ("DocumentReference", "Binary", "Task")} == {
        "DocumentReference": 2,
        "Binary": 2,
        "Task": 1,
    }


def test_a_document_that_was_there_before_is_referred_to() -> None:
    async def visit(clinic: Site, _owner: str) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(content="bundle"))
        await clinic.passes(60)
        clinic.metriport.add_fault("POST", "/", "webhook-lost", times=1)
        clinic.metriport.receive(clinic.clock.now(), **message(content="bundle", attachments=[]))
        first, second = clinic.metriport.messages
        second.attachments = list(first.attachments)
        again(clinic)
        await clinic.passes(60)

    clinic = at(visit)

    assert [contents(clinic, one) for one in inbound(clinic)] == [WHOLE, WHOLE]
    assert (
        len(clinic.fhir.resources("DocumentReference")) == len(clinic.fhir.resources("Binary")) == len(WHOLE)
    )


def test_the_ledger_knows_it_by_the_servers_id() -> None:
    async def visit(clinic: Site, _owner: str) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(60)
        [found] = inbound(clinic)
        assert clinic.adapter is not None
        arrival = await clinic.adapter.context.ledger.arrival(clinic.metriport.messages[0].id)
        assert arrival is not None
        assert arrival.communication == found["id"]

    [found] = inbound(at(visit))
    systems = [one["system"] for one in found["identifier"]]
    assert systems == [COMMUNICATION_ID, OWN_ID]
    assert len(own_ids(found)) == 1


def test_one_that_is_held_asks_once() -> None:
    async def visit(clinic: Site, _owner: str) -> None:
        stranger = clinic.write({"resourceType": "Patient", "name": [{"family": "Birch"}]})
        held = communication(subject={"reference": f"Patient/{stranger['id']}"})
        clinic.write({name: value for name, value in held.items() if name != "id"})
        await clinic.passes(60)
        await clinic.stop()
        await clinic.lose_ledger()
        await clinic.start(probing=True)
        await clinic.passes(600)

    clinic = at(visit)

    [task] = clinic.fhir.resources("Task")
    [held] = clinic.fhir.resources("Communication")
    assert held["status"] == "on-hold"
    assert task["focus"] == {"reference": f"Communication/{held['id']}"}


def test_one_that_was_given_up_and_comes_after_all_closes_its_task() -> None:
    async def visit(clinic: Site, _owner: str) -> None:
        clinic.metriport.add_fault("POST", "/", "webhook-lost", times=1)
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=10_000)
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(4 * 3600)
        assert [one["status"] for one in clinic.fhir.resources("Task")] == ["requested"]
        clinic.metriport.clear_faults()
        again(clinic)
        await clinic.passes(60)

    clinic = at(visit)

    assert len(inbound(clinic)) == 1
    assert [one["status"] for one in clinic.fhir.resources("Task")] == ["cancelled", "requested"]
    assert {len(clinic.fhir.history("Communication", one["id"])) for one in inbound(clinic)} == {1}
