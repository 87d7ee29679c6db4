"""Messages that others send in: on the FHIR server once, complete, and the right patient's."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import pytest

from adapter.domain.canonical import (
    COMMUNICATION_ID,
    DIRECTION_SYSTEM,
    DOCUMENT_ID,
    NPI_SYSTEM,
    TASK_SYSTEM,
    URI_SYSTEM,
)
from adapter.domain.received import communication_id, document_id
from adapter.mapping import resources
from adapter.pipelines.inbound.context import RECEIVED
from adapter.ports.ledger import Delivery
from adapter.simulators.http import Request, Response
from adapter.simulators.metriport import SANDBOX_PATIENTS
from adapter.simulators.metriport.records import File
from adapter.worker import Rhythm
from tests.integration.people import MEDIUM, patient
from tests.virtual.loop import run
from tests.virtual.site import API_KEY, Site, site

Json = dict[str, Any]

KNOWN: Final = SANDBOX_PATIENTS[0].id
STRANGER: Final = SANDBOX_PATIENTS[2]
SENDER: Final = "intake@direct.lakeside.example"
TRACING: Final = b"%PDF-1.4 tracing \x00\x01\n"
LETTER: Final = b"Dear colleague, thank you.\n"


def attachment(data: bytes = TRACING, **stated: Any) -> Json:
    """An attachment as the simulator's control API takes it."""
    return {
        "title": "holter.pdf",
        "contentType": "application/pdf",
        "data": base64.b64encode(data).decode(),
        **stated,
    }


def message(**stated: Any) -> Json:
    """A message for the patient whom the clinic knows, with two attachments."""
    usual = {
        "patientId": KNOWN,
        "subject": "Holter result",
        "body": "Please see the tracing.",
        "from": SENDER,
        "attachments": [attachment(), attachment(LETTER, title="letter.txt", contentType="text/plain")],
    }
    return {name: value for name, value in {**usual, **stated}.items() if value is not None}


def at(visit: Callable[[Site], Awaitable[None]], **options: Any) -> Site:
    """A clinic with one Patient, whom Metriport knows; what happens there is the test's."""

    async def scenario() -> Site:
        async with site(**options) as clinic:
            clinic.write(patient())
            await visit(clinic)
            return clinic

    return run(scenario())


def after(*stated: Json, seconds: float = 20.0, **options: Any) -> Site:
    """The clinic some time after these messages were sent in."""

    async def visit(clinic: Site) -> None:
        for one in stated:
            clinic.metriport.receive(clinic.clock.now(), **one)
        await clinic.passes(seconds)

    return at(visit, **options)


def inbound(clinic: Site) -> list[Json]:
    """The received Communications."""
    return [one for one in clinic.fhir.resources("Communication") if DIRECTION_SYSTEM in json.dumps(one)]


def contents(clinic: Site, communication: Json) -> list[tuple[str, bytes]]:
    """Media type and bytes of each attachment of the message, by its references."""
    found = []
    for part in communication["payload"]:
        reference = part.get("contentReference", {}).get("reference")
        if reference:
            shown = _resource(clinic, reference)["content"][0]["attachment"]
            binary = _resource(clinic, shown["url"])
            assert binary["contentType"] == shown["contentType"]
            found.append((binary["contentType"], base64.b64decode(binary.get("data", ""))))
    return found


def _resource(clinic: Site, reference: str) -> Json:
    kind, _, id = reference.partition("/")
    return next(one for one in clinic.fhir.resources(kind) if one["id"] == id)


def versions(clinic: Site) -> dict[str, int]:
    """How many versions each resource has that came with messages."""
    return {
        f"{kind}/{one['id']}": len(clinic.fhir.history(kind, one["id"]))
        for kind in ("Communication", "DocumentReference", "Binary", "Task")
        for one in clinic.fhir.resources(kind)
    }


def test_a_message_for_a_known_patient_is_there_with_its_attachments() -> None:
    clinic = after(message())

    [found] = inbound(clinic)
    sent = clinic.metriport.messages[0]
    assert found["id"] == communication_id(sent.id)
    assert found["status"] == "completed"
    assert found["medium"] == MEDIUM
    assert found["subject"] == {"reference": "Patient/maple"}
    assert found["topic"] == {"text": "Holter result"}
    assert found["payload"][0] == {"contentString": "Please see the tracing."}
    assert found["identifier"] == [{"system": COMMUNICATION_ID, "value": sent.id}]
    assert found["sender"] == {
        "type": "Organization",
        "display": SENDER,
        "identifier": {"system": URI_SYSTEM, "value": f"mailto:{SENDER}"},
    }
    assert contents(clinic, found) == [("application/pdf", TRACING), ("text/plain", LETTER)]
    assert clinic.fhir.resources("Task") == []


def test_everything_that_came_is_the_patients() -> None:
    clinic = after(message())

    documents = clinic.fhir.resources("DocumentReference")
    binaries = clinic.fhir.resources("Binary")
    assert [one["subject"] for one in documents] == [{"reference": "Patient/maple"}] * 2
    assert [one["securityContext"] for one in binaries] == [{"reference": "Patient/maple"}] * 2
    assert all(one["identifier"][0]["system"] == DOCUMENT_ID for one in documents)


def test_what_was_written_is_valid() -> None:
    clinic = after(message(), message(patientId=None))

    for kind in ("Communication", "DocumentReference", "Task"):
        for one in clinic.fhir.resources(kind):
            assert list(resources.problems(one)) == []


CONTENTS: Final = ("bundle", "communication", "message")


@pytest.mark.parametrize("dialect", ["sdk", "docs", "docs-bare"])
@pytest.mark.parametrize("key", ["url", "bundleUrl", "downloadUrl", "messageUrl"])
@pytest.mark.parametrize("inside", ["link", "inside"])
@pytest.mark.parametrize("content", CONTENTS)
def test_every_shape_of_content_brings_the_same(content: str, inside: str, key: str, dialect: str) -> None:
    clinic = after(message(content=content, attachmentsAs=inside, urlKey=key), dialect=dialect)

    [found] = inbound(clinic)
    assert found["topic"] == {"text": "Holter result"}
    assert found["payload"][0] == {"contentString": "Please see the tracing."}
    assert contents(clinic, found) == [("application/pdf", TRACING), ("text/plain", LETTER)]


@pytest.mark.parametrize(
    "attachments",
    [
        [],
        [attachment(b"")],
        [attachment(contentType="application/x-unheard-of")],
        [attachment(b'{"a": 1.50}', contentType="application/json")],
        [attachment(b'{"resourceType": 1}', contentType="application/fhir+json")],
        [attachment(), attachment(), attachment()],
    ],
    ids=["none", "empty", "unknown type", "JSON", "FHIR JSON", "three times the same"],
)
@pytest.mark.parametrize("inside", ["link", "inside"])
@pytest.mark.parametrize("content", ["bundle", "communication"])
def test_attachments_arrive_byte_for_byte(attachments: list[Json], content: str, inside: str) -> None:
    clinic = after(message(attachments=attachments, content=content, attachmentsAs=inside))

    [found] = inbound(clinic)
    expected = [(one["contentType"], base64.b64decode(one["data"])) for one in attachments]
    assert contents(clinic, found) == expected


# --- Whose it is ---------------------------------------------------------------------------------------------


def _announced(clinic: Site, **payload: Any) -> Callable[[], None]:
    """A message for nobody, told of again with other ids in the call."""

    def tell() -> None:
        now = clinic.clock.now()
        clinic.metriport.receive(now, **message(patientId=None))
        call = json.loads(clinic.metriport.calls_due(now)[-1].body)
        body = {**call, "payload": {**call["payload"], **payload}}
        clinic.metriport.announce("message.received", now, body=body)

    return tell


def test_documents_that_are_only_named_are_asked_for_as_the_local_patients() -> None:
    """The message tells the account's own id alone; who it is at Metriport says the Patient."""

    async def visit(clinic: Site) -> None:
        clinic.metriport.add_patients([{**SANDBOX_PATIENTS[0].record(), "externalId": "maple"}])
        clinic.metriport.receive(
            clinic.clock.now(), **message(patientId=None, externalId="maple", content="message")
        )
        await clinic.passes(30)

    clinic = at(visit)

    [found] = inbound(clinic)
    assert found["subject"] == {"reference": "Patient/maple"}
    assert contents(clinic, found) == [("application/pdf", TRACING), ("text/plain", LETTER)]
    assert clinic.fhir.resources("Task") == []


def test_documents_that_are_only_named_are_asked_for_also_where_nobody_here_is_linked() -> None:
    """The message tells the account's own id alone; who it is at Metriport says Metriport."""

    async def visit(clinic: Site) -> None:
        clinic.metriport.add_patients([{**STRANGER.record(), "externalId": "from-before"}])
        clinic.metriport.receive(
            clinic.clock.now(), **message(patientId=None, externalId="from-before", content="message")
        )
        await clinic.passes(30)

    clinic = at(visit)

    [found] = inbound(clinic)
    assert "subject" not in found
    assert contents(clinic, found) == [("application/pdf", TRACING), ("text/plain", LETTER)]
    assert len(clinic.fhir.resources("Task")) == 1


def test_the_accounts_own_id_is_the_patients_id_on_the_server() -> None:
    async def visit(clinic: Site) -> None:
        _announced(clinic, externalId="maple")()
        await clinic.passes(60)

    clinic = at(visit)

    assert [one.get("subject") for one in inbound(clinic)] == [{"reference": "Patient/maple"}]


@pytest.mark.parametrize("ids", [{}, {"externalId": "nobody"}, {"patientId": STRANGER.id}])
def test_a_message_for_nobody_asks_whose_it_is(ids: Json) -> None:
    async def visit(clinic: Site) -> None:
        _announced(clinic, **ids)()
        await clinic.passes(60)

    clinic = at(visit)

    [found] = inbound(clinic)
    [task] = clinic.fhir.resources("Task")
    assert "subject" not in found
    assert task["focus"] == {"reference": f"Communication/{found['id']}"}
    assert task["code"]["coding"] == [{"system": TASK_SYSTEM, "code": "match-patient"}]
    assert task["status"] == "requested"
    documents = clinic.fhir.resources("DocumentReference")
    assert all("subject" not in one for one in documents)
    assert {one["securityContext"]["reference"] for one in clinic.fhir.resources("Binary")} == {
        f"DocumentReference/{one['id']}" for one in documents
    }


def test_two_patients_with_the_same_link_are_nobody_for_certain() -> None:
    async def visit(clinic: Site) -> None:
        clinic.write(patient(id="maple-2"))
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(60)

    clinic = at(visit)

    assert "subject" not in inbound(clinic)[0]
    assert len(clinic.fhir.resources("Task")) == 1


def test_candidates_are_those_whose_demographics_are_alike_best_first() -> None:
    name = [{"family": STRANGER.last_name, "given": [STRANGER.first_name]}]

    async def visit(clinic: Site) -> None:
        clinic.write({"resourceType": "Patient", "id": "same-name", "name": name, "birthDate": "1990-01-01"})
        clinic.write({"resourceType": "Patient", "id": "same", "name": name, "birthDate": STRANGER.dob})
        clinic.write({"resourceType": "Patient", "id": "other", "name": [{"family": "Else"}]})
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=STRANGER.id))
        await clinic.passes(60)

    clinic = at(visit)

    [task] = clinic.fhir.resources("Task")
    assert [one["valueReference"]["reference"] for one in task["input"]] == [
        "Patient/same",
        "Patient/same-name",
    ]
    marks = {
        part["extension"][0]["valueCode"]: part["extension"][1]["valueCode"]
        for part in task["input"][1]["extension"]
    }
    assert marks["family"] == "agrees"
    assert marks["birthDate"] == "differs"
    assert marks["postalCode"] == "missing"


def _answer(clinic: Site, *choices: Json, status: str = "completed") -> None:
    [task] = clinic.fhir.resources("Task")
    kind = {"coding": [{"system": TASK_SYSTEM, "code": "choice"}]}
    chosen = {"output": [{"type": kind, **one} for one in choices]} if choices else {}
    clinic.write({**task, "status": status, **chosen})


CHOSEN: Final[Json] = {"valueReference": {"reference": "Patient/maple"}}


def _answered(*choices: Json, status: str = "completed") -> Site:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(60)
        _answer(clinic, *choices, status=status)
        await clinic.passes(60)

    return at(visit)


def test_completing_the_task_moves_the_whole_message() -> None:
    clinic = _answered(CHOSEN)

    [found] = inbound(clinic)
    [task] = clinic.fhir.resources("Task")
    assert found["subject"] == {"reference": "Patient/maple"}
    assert {one["subject"]["reference"] for one in clinic.fhir.resources("DocumentReference")} == {
        "Patient/maple"
    }
    assert {one["securityContext"]["reference"] for one in clinic.fhir.resources("Binary")} == {
        "Patient/maple"
    }
    assert contents(clinic, found) == [("application/pdf", TRACING), ("text/plain", LETTER)]
    assert task["businessStatus"]["coding"][0]["code"] == "applied"


@pytest.mark.parametrize("status", ["rejected", "cancelled"])
def test_rejecting_the_task_leaves_the_message_unassigned(status: str) -> None:
    clinic = _answered(status=status)

    [task] = clinic.fhir.resources("Task")
    assert "subject" not in inbound(clinic)[0]
    assert (task["status"], task["businessStatus"]["coding"][0]["code"]) == (status, "applied")


WRONG: Final[dict[str, list[Json]]] = {
    "none": [],
    "nobody": [{"valueReference": {"reference": "Patient/nobody"}}],
    "words": [{"valueString": "the tall one"}],
    "a practitioner": [{"valueReference": {"reference": "Practitioner/nakamura"}}],
    "elsewhere": [{"valueReference": {"reference": "http://elsewhere.example/fhir/Patient/maple"}}],
    "two": [CHOSEN, {"valueReference": {"reference": "Patient/birch"}}],
    "one and words": [CHOSEN, {"valueString": "or the tall one"}],
}


@pytest.mark.parametrize("choices", WRONG.values(), ids=WRONG)
def test_a_completed_task_without_one_patient_is_asked_again(choices: list[Json]) -> None:
    seen: list[dict[str, int]] = []

    async def visit(clinic: Site) -> None:
        clinic.write({"resourceType": "Practitioner", "id": "nakamura"})
        clinic.write(patient(id="birch", identifier=[]))
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(60)
        _answer(clinic, *choices)
        await clinic.passes(120)
        [task] = clinic.fhir.resources("Task")
        assert (task["status"], task["businessStatus"]["coding"][0]["code"]) == ("requested", "open")
        assert "exactly one" in task["statusReason"]["text"]
        seen.append(versions(clinic))
        _answer(clinic, CHOSEN)
        await clinic.passes(60)

    clinic = at(visit)

    [task] = clinic.fhir.resources("Task")
    assert sorted(seen[0].values()) == [1, 1, 1, 1, 1, 3]  # the answer, and what was said to it
    assert inbound(clinic)[0]["subject"] == {"reference": "Patient/maple"}
    assert "statusReason" not in task


@pytest.mark.parametrize(
    ("subject", "owner"),
    [
        ({"reference": "Patient/birch"}, {"reference": "Patient/birch"}),
        ({"identifier": {"value": "elsewhere"}}, None),
        ({"reference": "Group/team"}, None),
    ],
)
def test_who_was_set_on_the_message_stays_whatever_is_chosen(subject: Json, owner: Json | None) -> None:
    async def visit(clinic: Site) -> None:
        clinic.write(patient(id="birch", identifier=[]))
        clinic.write({"resourceType": "Group", "id": "team", "type": "person", "actual": True})
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(60)
        clinic.write({**inbound(clinic)[0], "subject": subject})
        _answer(clinic, CHOSEN)
        await clinic.passes(60)

    clinic = at(visit)

    [task] = clinic.fhir.resources("Task")
    assert inbound(clinic)[0]["subject"] == subject
    assert [one.get("subject") for one in clinic.fhir.resources("DocumentReference")] == [owner] * 2
    assert task["businessStatus"]["coding"][0]["code"] == "applied"


def test_the_task_is_closed_when_somebody_set_the_patient_by_hand() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(60)
        clinic.write({**inbound(clinic)[0], "subject": {"reference": "Patient/maple"}})
        await clinic.passes(600)

    clinic = at(visit)

    [task] = clinic.fhir.resources("Task")
    assert task["status"] == "cancelled"
    assert {one["subject"]["reference"] for one in clinic.fhir.resources("DocumentReference")} == {
        "Patient/maple"
    }


# --- Once ----------------------------------------------------------------------------------------------------


def _again(clinic: Site, *, times: int) -> None:
    """Metriport makes the newest call again, each time under a new id and with new links."""
    deliveries = clinic.metriport.webhooks
    for _ in range(times):
        deliveries.again(deliveries.deliveries[-1], clinic.clock.now())


@pytest.mark.parametrize("pause", [0.0, 0.02, 0.2, 60.0])
def test_the_same_message_told_of_ten_times_is_there_once(pause: float) -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        for _ in range(3):
            await clinic.passes(pause)
            _again(clinic, times=3)
        await clinic.passes(60)

    clinic = at(visit)

    assert versions(clinic) == dict.fromkeys(versions(clinic), 1)
    assert len(versions(clinic)) == 6


def test_a_replay_undoes_no_match() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(60)
        _answer(clinic, CHOSEN)
        await clinic.passes(60)
        _again(clinic, times=3)
        await clinic.passes(60)

    clinic = at(visit)

    assert inbound(clinic)[0]["subject"] == {"reference": "Patient/maple"}
    assert set(versions(clinic).values()) == {2, 3}  # the Task was answered by a person, and then applied


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("at_last", [False, True])
def test_what_another_wrote_while_attachments_came_is_left_alone(*, deleted: bool, at_last: bool) -> None:
    """Another replica, or what a killed process had on its way, at last after the last look; and a person matched it."""

    async def visit(clinic: Site) -> None:
        told = clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        id = communication_id(told.id)
        theirs = {
            "resourceType": "Communication",
            "id": id,
            "status": "completed",
            "category": [{"coding": [{"system": DIRECTION_SYSTEM, "code": "inbound"}]}],
            "subject": {"reference": "Patient/maple"},
        }

        def meanwhile(request: Request, now: datetime) -> None:
            now_it_is = request.path == "/fhir" if at_last else "/Binary/" in request.path
            if now_it_is and not clinic.fhir.history("Communication", id):
                clinic.fhir.put(theirs, now)
                if deleted:
                    clinic.fhir.handle(Request(method="DELETE", path=f"/fhir/Communication/{id}"), now)

        clinic.stand_in(clinic.fhir, meanwhile)
        await clinic.passes(60)

    clinic = at(visit)

    expected = [] if deleted else ["Patient/maple"]
    assert [one["subject"]["reference"] for one in inbound(clinic)] == expected
    assert clinic.fhir.resources("Task") == []


def test_what_somebody_deleted_stays_deleted() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(attachments=[]))
        await clinic.passes(60)
        await clinic.delete(f"Communication/{inbound(clinic)[0]['id']}")
        _again(clinic, times=1)
        await clinic.passes(60)

    assert inbound(at(visit)) == []


def test_the_same_bytes_in_two_messages_are_two_documents() -> None:
    clinic = after(message(content="communication"), message(content="communication"))

    assert len(inbound(clinic)) == 2
    assert len(clinic.fhir.resources("DocumentReference")) == 4


def _as_the_same_document(clinic: Site) -> None:
    """Metriport tells of the newest document under the id of the oldest."""
    server = clinic.metriport
    oldest, newest = (list(server.documents)[place] for place in (0, -1))
    for name, file in server.files.items():
        server.files[name] = File(data=file.data.replace(newest.encode(), oldest.encode()))


def _told_of_one_document_twice(
    *patients: str | None, data: bytes = TRACING, between: Callable[[Site], Awaitable[None]] | None = None
) -> tuple[Site, list[Json]]:
    """After two messages with one attachment each, which has the same id at Metriport; and they."""

    async def visit(clinic: Site) -> None:
        for number, one in enumerate((TRACING, data)):
            patient_id = patients[number]
            told = message(patientId=patient_id, attachments=[attachment(one)], attachmentsAs="inside")
            clinic.metriport.receive(clinic.clock.now(), **told)
            _as_the_same_document(clinic)
            await clinic.passes(20)
            if between and number == 0:
                await between(clinic)

    clinic = at(visit)
    return clinic, sorted(inbound(clinic), key=lambda one: str(one["meta"]["lastUpdated"]))


def test_a_document_that_came_with_two_messages_is_there_once() -> None:
    clinic, both = _told_of_one_document_twice(KNOWN, KNOWN)

    assert [contents(clinic, one) for one in both] == [[("application/pdf", TRACING)]] * 2
    assert len(clinic.fhir.resources("DocumentReference")) == 1
    assert set(versions(clinic).values()) == {1}


def test_a_document_that_comes_with_other_bytes_under_the_same_id_is_another() -> None:
    clinic, both = _told_of_one_document_twice(KNOWN, KNOWN, data=LETTER)

    assert [contents(clinic, one) for one in both] == [
        [("application/pdf", TRACING)],
        [("application/pdf", LETTER)],
    ]
    assert set(versions(clinic).values()) == {1}


@pytest.mark.parametrize("patients", [(None, KNOWN), (KNOWN, None), (None, None)])
def test_a_document_is_shared_by_messages_of_the_same_patient_only(patients: tuple[str | None, ...]) -> None:
    """What is nobody's yet may become somebody else's."""
    clinic, both = _told_of_one_document_twice(*patients)

    assert [contents(clinic, one) for one in both] == [[("application/pdf", TRACING)]] * 2
    shown = [_resource(clinic, one["payload"][1]["contentReference"]["reference"]) for one in both]
    assert shown[0]["id"] != shown[1]["id"]
    assert ["subject" in one for one in shown] == [one is not None for one in patients]


@pytest.mark.parametrize("patients", [(None, None), (KNOWN, None)])
def test_equal_documents_of_a_message_are_told_apart_whoever_brought_them_before(
    patients: tuple[str | None, ...],
) -> None:
    """Two documents of Metriport's with the same bytes come twice, and may not be shared."""

    async def visit(clinic: Site) -> None:
        server = clinic.metriport
        known: list[str] = []
        for patient_id in patients:
            two = [attachment(), attachment()]
            told = message(patientId=patient_id, attachments=two, attachmentsAs="inside")
            clinic.metriport.receive(clinic.clock.now(), **told)
            known = known or list(server.documents)
            for newest, oldest in zip(list(server.documents)[-2:], known, strict=True):
                for name, file in server.files.items():
                    server.files[name] = File(data=file.data.replace(newest.encode(), oldest.encode()))
            await clinic.passes(20)

    clinic = at(visit)

    assert [contents(clinic, one) for one in inbound(clinic)] == [[("application/pdf", TRACING)] * 2] * 2
    assert len(clinic.fhir.resources("DocumentReference")) == 4


def test_a_document_that_another_replica_brought_meanwhile_for_somebody_else_is_not_shared() -> None:
    async def visit(clinic: Site) -> None:
        clinic.write({**patient(id="other"), "identifier": []})
        told = message(attachments=[attachment()], attachmentsAs="inside")
        clinic.metriport.receive(clinic.clock.now(), **told)
        [document] = clinic.metriport.documents
        id = document_id(document)
        theirs = {
            "resourceType": "DocumentReference",
            "id": id,
            "status": "current",
            "subject": {"reference": "Patient/other"},
            "content": [{"attachment": {"contentType": "application/pdf", "size": 6}}],
        }

        def meanwhile(request: Request, now: datetime) -> None:
            if "/Binary/" in request.path and not clinic.fhir.history("DocumentReference", id):
                clinic.fhir.put(theirs, now)

        clinic.stand_in(clinic.fhir, meanwhile)
        await clinic.passes(60)

    clinic = at(visit)

    [found] = inbound(clinic)
    assert contents(clinic, found) == [("application/pdf", TRACING)]
    owners = {one["subject"]["reference"] for one in clinic.fhir.resources("DocumentReference")}
    assert owners == {"Patient/other", "Patient/maple"}


def test_a_document_that_somebody_deleted_stays_deleted_when_it_comes_again() -> None:
    async def between(clinic: Site) -> None:
        [document] = clinic.fhir.resources("DocumentReference")
        await clinic.delete(f"Communication/{inbound(clinic)[0]['id']}")
        await clinic.delete(f"DocumentReference/{document['id']}")

    clinic, [second] = _told_of_one_document_twice(KNOWN, KNOWN, between=between)

    assert contents(clinic, second) == [("application/pdf", TRACING)]
    assert len(clinic.fhir.resources("DocumentReference")) == 1


# --- Bad days ------------------------------------------------------------------------------------------------


def test_the_fhir_server_is_down_while_messages_come_in() -> None:
    async def visit(clinic: Site) -> None:
        clinic.cut(fhir_server=True)
        for _ in range(10):
            clinic.metriport.receive(clinic.clock.now(), **message())
            await clinic.passes(60)
        assert inbound(clinic) == []
        asked = Request(
            method="GET", path="/settings/webhook", query="", headers={"x-api-key": API_KEY}, body=b""
        )
        told.append(json.loads(clinic.metriport.handle(asked, clinic.clock.now()).body))
        clinic.cut()
        await clinic.passes(900)

    told: list[Json] = []
    clinic = at(visit)

    # By Metriport's own count each was answered in time, and with 200.
    assert (told[0]["webhookRequestsProcessing"], told[0]["webhookRequestsFailed"]) == (0, 0)

    assert len(inbound(clinic)) == 10
    assert set(versions(clinic).values()) == {1}
    assert all(len(contents(clinic, one)) == 2 for one in inbound(clinic))


def test_dead_links_are_asked_for_again() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=1)
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(120)

    clinic = at(visit)

    assert len(inbound(clinic)) == 1
    assert clinic.fhir.resources("Task") == []


@pytest.mark.parametrize("times", [1, 8])
def test_what_is_no_message_is_asked_for_again(times: int) -> None:
    """Seen a few times, that is no reason to ask a person, even while the list cannot be read."""

    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/medical/v1/message", "500", times=10_000)
        clinic.metriport.add_fault("GET", "/_files", "malformed", times=times)
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(900)

    clinic = at(visit)

    assert [len(contents(clinic, one)) for one in inbound(clinic)] == [2]
    assert clinic.fhir.resources("Task") == []


def test_a_message_that_cannot_be_had_is_told_to_a_person_once() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=10_000)
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(3 * 3600)

    clinic = at(visit)

    asked = [one for one in clinic.metriport.requests if one.path.endswith("/retry")]
    assert len(asked) <= 100
    assert inbound(clinic) == []
    assert [one["code"]["coding"][0]["code"] for one in clinic.fhir.resources("Task")] == ["fix-data"]


def struck_content(fault: str, *, times: int, seconds: float = 900.0, **stated: Any) -> Site:
    """The clinic so long after a message whose first attachment's bytes came wrong that often."""

    async def visit(clinic: Site) -> None:
        sent = clinic.metriport.receive(clinic.clock.now(), **message(**stated))
        clinic.metriport.add_fault("GET", f"/_files/{sent.attachments[0]}", fault, times=times)
        await clinic.passes(seconds)

    return at(visit)


@pytest.mark.parametrize("content", ["bundle", "communication", "message"])
@pytest.mark.parametrize("times", [1, 5])
def test_an_attachment_that_came_with_other_bytes_is_fetched_again(content: str, times: int) -> None:
    clinic = struck_content("malformed", times=times, content=content)

    [found] = inbound(clinic)
    assert contents(clinic, found) == [("application/pdf", TRACING), ("text/plain", LETTER)]


def test_an_attachment_of_another_size_than_stated_is_kept_as_it_is_when_it_stays_so() -> None:
    assert inbound(struck_content("malformed", times=10_000, seconds=590)) == []

    clinic = struck_content("malformed", times=10_000)

    [found] = inbound(clinic)
    assert [data for _, data in contents(clinic, found)] == [b'{"id": "01', LETTER]


def test_that_an_attachment_was_believed_is_forgotten_after_a_day() -> None:
    async def visit(clinic: Site) -> None:
        for _ in range(2):
            sent = clinic.metriport.receive(clinic.clock.now(), **message(attachments=[attachment()]))
            clinic.metriport.add_fault("GET", f"/_files/{sent.attachments[0]}", "malformed", times=10_000)
            for seconds in (590, 25 * 3600):
                await clinic.passes(seconds)
                shown.append(len(inbound(clinic)))

    shown: list[int] = []
    at(visit, rhythm=Rhythm(sweep=600.0, patrol=3600.0, lease=3600.0, answers=3600.0, episodes=600.0))

    assert shown == [0, 1, 1, 2]


def test_an_attachment_with_other_bytes_each_time_waits_for_the_right_ones() -> None:
    async def visit(clinic: Site) -> None:
        sent = clinic.metriport.receive(clinic.clock.now(), **message())
        document = clinic.metriport.documents[sent.attachments[0]]
        clinic.metriport.add_fault("GET", f"/_files/{document.id}", "malformed", times=1)
        await clinic.passes(0.001)  # the link's content is made, and not fetched yet
        document.data = b"something else"
        await clinic.passes(3)
        assert inbound(clinic) == []
        document.data = TRACING
        await clinic.passes(300)

    clinic = at(visit)

    [found] = inbound(clinic)
    assert contents(clinic, found) == [("application/pdf", TRACING), ("text/plain", LETTER)]


@pytest.mark.parametrize("moment", range(12))
def test_a_kill_at_any_moment_leaves_the_message_there_once_and_complete(moment: int) -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(0.02 * moment + 0.015)
        clinic.kill()
        for one in inbound(clinic):
            assert len(contents(clinic, one)) == 2
        await clinic.start()
        await clinic.passes(120)

    clinic = at(visit)

    [found] = inbound(clinic)
    assert contents(clinic, found) == [("application/pdf", TRACING), ("text/plain", LETTER)]
    assert set(versions(clinic).values()) == {1}


# --- And back ------------------------------------------------------------------------------------------------


def test_a_reply_that_copies_the_sender_is_sent() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(60)
        [received] = inbound(clinic)
        clinic.write(
            {
                "resourceType": "Communication",
                "id": "reply",
                "status": "preparation",
                "medium": received["medium"],
                "inResponseTo": [{"reference": f"Communication/{received['id']}"}],
                "subject": received["subject"],
                "recipient": [received["sender"]],
                "topic": {"text": f"Re: {received['topic']['text']}"},
                "payload": [{"contentString": "Thank you."}],
            }
        )
        await clinic.passes(60)

    clinic = at(visit)

    sent = [one for one in clinic.metriport.messages if one.direction == "outbound"]
    assert [one.destination for one in sent] == [SENDER]
    assert clinic.communication("reply")["status"] == "completed"


def test_an_inbound_message_is_never_sent_whatever_its_status() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(60)
        clinic.write({**inbound(clinic)[0], "status": "preparation"})
        await clinic.passes(600)

    assert [one.direction for one in at(visit).metriport.messages] == ["inbound"]


def test_recipients_are_our_address_and_the_practitioners_that_it_is_meant_for() -> None:
    async def visit(clinic: Site) -> None:
        clinic.write(
            {
                "resourceType": "Practitioner",
                "id": "nakamura",
                "identifier": [{"system": NPI_SYSTEM, "value": "1234567893"}],
            }
        )
        named = message(intendedRecipientNpi=["1234567893", "1987654321"], destination="front@desk.example")
        clinic.metriport.receive(clinic.clock.now(), **named)
        await clinic.passes(60)

    [found] = inbound(at(visit))

    assert found["recipient"] == [
        {
            "type": "Organization",
            "display": "front@desk.example",
            "identifier": {"system": URI_SYSTEM, "value": "mailto:front@desk.example"},
        },
        {"reference": "Practitioner/nakamura"},
        {"type": "Practitioner", "identifier": {"system": NPI_SYSTEM, "value": "1987654321"}},
    ]


def test_an_attachment_without_an_id_is_known_by_its_bytes() -> None:
    clinic = after(message(content="communication", attachments=[attachment()]))

    [document] = clinic.fhir.resources("DocumentReference")
    assert "identifier" not in document
    assert document["content"][0]["attachment"]["size"] == len(TRACING)
    assert (
        hashlib.sha256(contents(clinic, inbound(clinic)[0])[0][1]).digest()
        == hashlib.sha256(TRACING).digest()
    )


# --- Messages whose call never came ---------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["sdk", "docs"])
@pytest.mark.parametrize("attachments", [None, [attachment(), attachment(LETTER, contentType="text/plain")]])
def test_a_message_whose_call_got_lost_is_found_on_the_list(dialect: str, attachments: list[Json]) -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("POST", "/", "webhook-lost", times=1)
        clinic.metriport.receive(clinic.clock.now(), **message(attachments=attachments))
        await clinic.passes(1500)

    clinic = at(visit, dialect=dialect)

    [found] = inbound(clinic)
    assert found["subject"] == {"reference": "Patient/maple"}
    assert found["topic"] == {"text": "Holter result"}
    assert sorted(contents(clinic, found)) == sorted(
        (one["contentType"], base64.b64decode(one["data"])) for one in attachments or []
    )
    assert set(versions(clinic).values()) == {1}


def test_what_cannot_be_had_by_the_list_either_is_told_to_a_person_once() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("POST", "/", "webhook-lost", times=1)
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=10_000)
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(4 * 3600)

    clinic = at(visit)

    assert inbound(clinic) == []
    assert [len(clinic.fhir.history("Task", one["id"])) for one in clinic.fhir.resources("Task")] == [1]


def test_a_lost_ledger_brings_nothing_in_twice() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(60)
        await clinic.stop()
        await clinic.lose_ledger()
        await clinic.start()
        await clinic.passes(1500)

    clinic = at(visit)

    assert len(inbound(clinic)) == 1
    assert set(versions(clinic).values()) == {1}


@pytest.mark.parametrize(
    ("fault", "attachments", "said"),
    [("412", None, None), ("422", None, "does not take"), ("422", [attachment()], "does not take")],
    ids=["edited", "refused", "refused with an attachment"],
)
def test_a_match_that_cannot_be_written_now_is_written_later_and_the_task_says_why(
    fault: str, attachments: Any, said: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    reasons: list[Any] = []

    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None, attachments=attachments))
        await clinic.passes(60)
        clinic.fhir.add_fault("POST", "", fault, times=1000)
        _answer(clinic, CHOSEN)
        await clinic.passes(35)
        clinic.fhir.clear_faults()
        reasons.extend(one.get("statusReason") for one in clinic.fhir.resources("Task"))
        await clinic.passes(45)

    clinic = at(visit)

    assert "task.waits" in capsys.readouterr().out
    assert inbound(clinic)[0]["subject"] == {"reference": "Patient/maple"}
    [task] = clinic.fhir.resources("Task")
    assert "statusReason" not in task
    assert (said or "None") in str(reasons)


def test_a_match_that_is_refused_for_good_is_said_once() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None, attachments=None))
        await clinic.passes(60)
        clinic.fhir.add_fault("POST", "", "422", times=1000)
        _answer(clinic, CHOSEN)
        await clinic.passes(600)

    clinic = at(visit)

    [task] = clinic.fhir.resources("Task")
    assert "does not take" in task["statusReason"]["text"]
    assert (task["status"], task["meta"]["versionId"]) == ("completed", "3")


def _refuses_the_message(request: Request, _now: datetime) -> Response | None:
    """The server refuses whatever transaction changes the message."""
    changes = request.method == "POST" and b'"transaction"' in request.body
    refused = changes and b'"resourceType":"Communication"' in request.body.replace(b" ", b"")
    return Response(status=422) if refused else None


def test_a_refused_match_moves_nothing() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(60)
        end = clinic.stand_in(clinic.fhir, _refuses_the_message)
        _answer(clinic, CHOSEN)
        await clinic.passes(60)
        [task] = clinic.fhir.resources("Task")
        assert "does not take" in task["statusReason"]["text"]
        end()
        clinic.write({**{name: task[name] for name in task if name != "output"}, "status": "rejected"})
        await clinic.passes(120)

    clinic = at(visit)

    assert "subject" not in inbound(clinic)[0]
    owners = [one["securityContext"]["reference"] for one in clinic.fhir.resources("Binary")]
    assert all(one.startswith("DocumentReference/") for one in owners)


def test_a_task_that_cannot_be_closed_now_stays_a_question() -> None:
    """Somebody set the Patient by hand, and takes it back: nobody answered, and the Task is still open."""

    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(60)
        [found] = inbound(clinic)
        clinic.fhir.add_fault("POST", "", "422", times=10_000)
        clinic.write({**found, "subject": {"reference": "Patient/maple"}})
        await clinic.passes(700)
        [found] = inbound(clinic)
        clinic.write({name: found[name] for name in found if name != "subject"})
        clinic.fhir.clear_faults()
        await clinic.passes(700)

    [task] = at(visit).fhir.resources("Task")

    assert (task["status"], task["businessStatus"]["coding"][0]["code"]) == ("requested", "open")


def test_a_reason_that_cannot_be_written_either_stops_nothing() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None, attachments=None))
        await clinic.passes(60)
        clinic.fhir.add_fault("POST", "", "422", times=1)
        _answer(clinic, CHOSEN)
        clinic.fhir.add_fault("PUT", "/Task", "412", times=1)
        await clinic.passes(80)

    assert inbound(at(visit))[0]["subject"] == {"reference": "Patient/maple"}


def test_a_match_is_written_though_an_attachments_bytes_are_gone() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(60)
        first, _ = clinic.fhir.resources("DocumentReference")
        [content] = first["content"]
        elsewhere = {**content["attachment"], "url": "Binary/archived"}
        clinic.write({**first, "content": [{**content, "attachment": elsewhere}]})
        _answer(clinic, CHOSEN)
        await clinic.passes(60)

    clinic = at(visit)

    [task] = clinic.fhir.resources("Task")
    assert task["businessStatus"]["coding"][0]["code"] == "applied"
    assert {one["subject"]["reference"] for one in clinic.fhir.resources("DocumentReference")} == {
        "Patient/maple"
    }
    owners = [one["securityContext"]["reference"] for one in clinic.fhir.resources("Binary")]
    assert "Patient/maple" in owners
    assert inbound(clinic)[0]["subject"] == {"reference": "Patient/maple"}


@pytest.mark.parametrize(
    ("focus", "state"),
    [("Patient/maple", "applied"), ("Communication/other", "open")],
    ids=["nothing", "ours"],
)
def test_a_task_about_something_else_moves_nothing(focus: str, state: str) -> None:
    async def visit(clinic: Site) -> None:
        clinic.write({"resourceType": "Communication", "id": "other", "status": "completed"})
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(60)
        _answer(clinic, CHOSEN)
        [task] = clinic.fhir.resources("Task")
        clinic.write({**task, "focus": {"reference": focus}})
        await clinic.passes(60)

    clinic = at(visit)

    [task] = clinic.fhir.resources("Task")
    assert task["businessStatus"]["coding"][0]["code"] == state
    assert "subject" not in inbound(clinic)[0]
    assert len(clinic.fhir.history("Communication", "other")) == 1


def test_a_kept_call_in_which_nothing_is_told_ends_with_a_question() -> None:
    async def visit(clinic: Site) -> None:
        assert clinic.adapter is not None
        await clinic.adapter.ledger.keep(
            Delivery(
                delivery_id="d1", kind=RECEIVED, received_at=clinic.clock.now(), body=b"{}", message="m1"
            )
        )
        await clinic.passes(60)

    clinic = at(visit)

    [task] = clinic.fhir.resources("Task")
    assert "no message in it" in task["description"]


def test_a_kept_status_that_cannot_be_read_keeps_no_other_from_being_taken() -> None:
    async def visit(clinic: Site) -> None:
        assert clinic.adapter is not None
        ledger, now = clinic.adapter.ledger, clinic.clock.now()
        await ledger.keep(Delivery(delivery_id="d1", kind="message.status", received_at=now, body=b"[1"))
        await clinic.passes(60)
        assert await ledger.waiting(now=clinic.clock.now(), limit=5) == []

    assert at(visit).metriport.messages == []


def test_an_attachment_that_is_nowhere_is_told_to_a_person() -> None:
    """What a link of the call leads to is a message whose attachment has a name and nothing else."""

    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/medical/v1/message", "list-empty", times=100)
        clinic.metriport.receive(clinic.clock.now(), **message(content="communication"))
        server = clinic.metriport
        for name, file in server.files.items():
            told = json.loads(file.data)
            told["payload"][1] = {"contentAttachment": {"title": "holter.pdf"}}
            server.files[name] = File(data=json.dumps(told).encode())
        await clinic.passes(60)

    clinic = at(visit)

    assert inbound(clinic) == []
    [task] = clinic.fhir.resources("Task")
    assert "nothing tells where its bytes are" in task["description"]


def test_an_attachment_inside_that_is_too_large_is_told_to_a_person() -> None:
    async def visit(clinic: Site) -> None:
        small = clinic.settings.inbound.model_copy(update={"most_bytes": 4})
        clinic.settings = clinic.settings.model_copy(update={"inbound": small})
        await clinic.stop()
        await clinic.start()
        clinic.metriport.receive(clinic.clock.now(), **message(attachmentsAs="inside"))
        await clinic.passes(60)

    clinic = at(visit)

    [task] = clinic.fhir.resources("Task")
    assert "more than 4 bytes" in task["description"]
    assert inbound(clinic) == []


def test_a_message_that_another_replica_was_told_of_is_fetched_at_once() -> None:
    async def visit(clinic: Site) -> None:
        await clinic.passes(30.0)
        clinic.let_go()  # it holds the lane, and its links live on
        await clinic.start()
        await clinic.passes(31.0)
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(10.0)

    clinic = at(visit, doorbell=False)

    assert [contents(clinic, one) for one in inbound(clinic)] == [
        [("application/pdf", TRACING), ("text/plain", LETTER)]
    ]
