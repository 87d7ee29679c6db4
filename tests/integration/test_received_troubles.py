"""What goes wrong with one received message, or with one person's answer, keeps no other from its own end."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from adapter.domain.canonical import TASK_SYSTEM
from adapter.domain.received import communication_id
from adapter.errors import ConfigError
from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import FORBIDDEN
from tests.integration.canary import overhearing
from tests.integration.people import communication, patient, stage
from tests.integration.test_received import CHOSEN, KNOWN, at, attachment, contents, inbound, message
from tests.integration.test_received_outages import HOUR, LONG
from tests.integration.test_whose import _bundle, _communication, _content
from tests.virtual.loop import run
from tests.virtual.site import LedgerFault, Site, site

Json = dict[str, Any]
Says = Callable[[Request, datetime], Response | None]

OTHER: Final = "0191d0a4-9999-7000-8000-00000000aaaa"
ANOTHER: Final = "0191d0a4-8888-7000-8000-00000000bbbb"
FIRST: Final = "0191d0a4-0000-7000-8000-000000000001"
DOCUMENT: Final = "0191d0a4-0000-7000-8000-0000000000aa"
LIST: Final = ("GET", "/medical/v1/message")
_CHOICE: Final = {"coding": [{"system": TASK_SYSTEM, "code": "choice"}]}
NOT_NOW: Final = Response(status=500)
NO: Final = Response(status=422, body=json.dumps({"resourceType": "OperationOutcome", "issue": []}).encode())


def _tasks(clinic: Site) -> list[Json]:
    return clinic.fhir.resources("Task")


def _shared(clinic: Site, told: object, **life: timedelta) -> str:
    """A link to that content."""
    return clinic.metriport.share(told, clinic.clock.now(), **life)


def _told(**more: Any) -> Json:
    return {"id": FIRST, "patientId": KNOWN, "subject": "Result", "body": "hello", **more}


def test_a_call_and_a_content_that_disagree_leave_it_to_a_person_whatever_else_they_tell() -> None:
    async def visit(clinic: Site) -> None:
        clinic.write(patient(id="birch", identifier=[]))
        await _content(clinic, _told(patientId=OTHER), patientId=ANOTHER, externalId="birch")

    clinic = at(visit)

    assert ["subject" in one for one in inbound(clinic)] == [False]
    assert [one["code"]["coding"][0]["code"] for one in _tasks(clinic)] == ["match-patient"]


def test_links_are_not_fetched_over_and_over_while_they_cannot_be_made_anew() -> None:
    async def visit(clinic: Site) -> None:
        clinic.ledger_faults.append(LedgerFault(method="unfinished", error=ValueError("?"), times=10_000))
        clinic.metriport.add_fault("GET", "/_files", "url-expired", times=10_000)
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(60)

    clinic = at(visit)

    assert 1 <= sum("/_files" in request.path for request in clinic.metriport.requests) <= 10


@pytest.mark.parametrize("sent_at", ["0001-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])
def test_a_listed_message_is_taken_whatever_its_clock_says(sent_at: str) -> None:
    row = {**_told(), "direction": "inbound", "status": "completed", "sentAt": sent_at}

    def says(request: Request, _now: datetime) -> Response | None:
        if (request.method, request.path) != LIST or "inbound" not in request.query:
            return None
        return Response(status=200, body=json.dumps({"meta": {"itemsOnPage": 1}, "messages": [row]}).encode())

    async def visit(clinic: Site) -> None:
        clinic.stand_in(clinic.metriport, says)
        await clinic.passes(2 * HOUR)

    clinic = at(visit)

    assert [one["topic"]["text"] for one in inbound(clinic)] == ["Result"]


@pytest.mark.parametrize("status", [400, 302, 416])
def test_a_link_that_is_refused_in_any_way_is_asked_for_anew(status: int) -> None:
    async def visit(clinic: Site) -> None:
        end = clinic.stand_in(
            clinic.metriport, lambda asked, _: Response(status=status) if "/_files" in asked.path else None
        )
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(30)
        end()
        await clinic.passes(2 * HOUR)

    clinic = at(visit)

    assert len(inbound(clinic)) == 1
    assert _tasks(clinic) == []


def test_of_several_links_one_that_works_is_enough() -> None:
    async def visit(clinic: Site) -> None:
        good = _shared(clinic, _told())
        clinic.stand_in(
            clinic.metriport, lambda asked, _: Response(status=400) if "bad" in asked.query else None
        )
        payload = {"url": f"{good}?bad=1", "downloadUrl": good, "id": FIRST}
        clinic.metriport.announce("message.received", clinic.clock.now(), body={"payload": payload})
        await clinic.passes(60)

    assert len(inbound(at(visit))) == 1


def _three_for_nobody(clinic: Site) -> None:
    for number in range(3):
        stated = message(patientId=None, attachments=None, subject=f"m{number}")
        clinic.metriport.receive(clinic.clock.now(), **stated)


@pytest.mark.parametrize("number", range(3))
def test_an_answer_that_cannot_be_carried_out_keeps_no_other_waiting(number: int) -> None:

    async def visit(clinic: Site) -> None:
        _three_for_nobody(clinic)
        await clinic.passes(60)
        bad = _tasks(clinic)[number]["focus"]["reference"]
        clinic.stand_in(
            clinic.fhir,
            lambda asked, _: (
                NOT_NOW
                if b"transaction" in asked.body and bad.encode() in asked.body and asked.method == "POST"
                else None
            ),
        )
        for task in _tasks(clinic):
            clinic.write({**task, "status": "completed", "output": [{"type": _CHOICE, **CHOSEN}]})
        await clinic.passes(6 * HOUR)

    clinic = at(visit, rhythm=LONG)

    assert sum("subject" in one for one in inbound(clinic)) == 2


@pytest.mark.parametrize("number", range(3))
def test_a_message_that_cannot_be_read_keeps_no_settled_question_open(number: int) -> None:
    async def visit(clinic: Site) -> None:
        _three_for_nobody(clinic)
        await clinic.passes(60)
        bad = _tasks(clinic)[number]["focus"]["reference"]
        clinic.stand_in(
            clinic.fhir,
            lambda asked, _: NOT_NOW if asked.method == "GET" and asked.path.endswith(bad) else None,
        )
        for one in inbound(clinic):
            if not bad.endswith(one["id"]):
                clinic.write({**one, "subject": {"reference": "Patient/maple"}})
        await clinic.passes(6 * HOUR)

    clinic = at(visit, rhythm=LONG)

    assert sorted(task["status"] for task in _tasks(clinic)) == ["cancelled", "cancelled", "requested"]


def _elsewhere(clinic: Site) -> None:
    group = clinic.settings.inbound.model_copy(update={"sent_elsewhere": True})
    clinic.settings = clinic.settings.model_copy(update={"inbound": group})


def test_of_those_sent_elsewhere_one_that_is_refused_or_cannot_be_asked_for_keeps_no_other_back() -> None:
    ids = [f"0191d0a4-0000-7000-8000-00000000001{number}" for number in range(4)]
    status = ["processing"]

    def row(number: int, sent_at: str) -> Json:
        told = {"id": ids[number], "subject": f"elsewhere {number}", "sentAt": sent_at, "status": status[0]}
        return {
            **told,
            "direction": "outbound",
            "destination": "a@direct.example",
            "patientId": KNOWN,
            "body": "b",
        }

    async def visit(clinic: Site) -> None:
        await clinic.stop()
        _elsewhere(clinic)
        sent_at = (clinic.clock.now() - timedelta(hours=5)).isoformat()

        def rows() -> list[Json]:
            return [row(number, sent_at) for number in range(4)]

        def says(asked: Request, _now: datetime) -> Response | None:
            if (asked.method, asked.path) == LIST and "outbound" in asked.query:
                return Response(status=200, body=json.dumps({"meta": {}, "messages": rows()}).encode())
            if asked.path.endswith(ids[1]):
                return NOT_NOW
            found = [one for one in rows() if asked.path.endswith(str(one["id"]))]
            return Response(status=200, body=json.dumps(found[0]).encode()) if found else None

        clinic.stand_in(clinic.metriport, says)
        clinic.stand_in(
            clinic.fhir,
            lambda asked, _: NO if asked.method == "PUT" and b"elsewhere 0" in asked.body else None,
        )
        await clinic.start(rhythm=LONG)
        await clinic.passes(HOUR / 2)
        status[0] = "completed"
        await clinic.passes(6 * HOUR)

    shown = {one["topic"]["text"]: one["status"] for one in at(visit).fhir.resources("Communication")}

    assert shown == {"elsewhere 1": "in-progress", "elsewhere 2": "completed", "elsewhere 3": "completed"}


@pytest.mark.parametrize("status", [401, 403])
def test_that_the_adapter_may_not_write_is_no_question_about_each_message(status: int) -> None:
    async def visit(clinic: Site) -> None:
        clinic.stand_in(
            clinic.fhir,
            lambda asked, _: (
                Response(status=status) if asked.method == "PUT" and "/Communication/" in asked.path else None
            ),
        )
        clinic.metriport.receive(clinic.clock.now(), **message(attachments=None))
        await clinic.passes(3 * HOUR)

    clinic = at(visit, rhythm=LONG)

    assert (inbound(clinic), _tasks(clinic)) == ([], [])


def test_a_message_that_the_server_refuses_is_told_to_a_person_and_tried_again() -> None:
    seen: list[list[str]] = []

    async def visit(clinic: Site) -> None:
        end = clinic.stand_in(
            clinic.fhir,
            lambda asked, _: NO if asked.method == "PUT" and "/Communication/" in asked.path else None,
        )
        clinic.metriport.receive(clinic.clock.now(), **message(attachments=None))
        await clinic.passes(HOUR / 2)
        seen.append([task["status"] for task in _tasks(clinic)])
        await clinic.passes(2 * HOUR)
        seen.append([task["status"] for task in _tasks(clinic)])
        end()
        await clinic.passes(HOUR)

    clinic = at(visit, rhythm=LONG)

    assert seen == [[], ["requested"]]
    assert "refused with status 422" in _tasks(clinic)[0]["description"]
    assert [task["status"] for task in _tasks(clinic)] == ["cancelled"]
    assert len(inbound(clinic)) == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param("500", "it answers 500", id="fails"),
        pytest.param("slow:9000", "no whole answer came in time", id="hangs"),
    ],
)
def test_a_link_that_brings_nothing_is_told_to_a_person_and_tried_again(fault: str, said: str) -> None:
    seen: list[list[str]] = []

    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/_files", fault, times=10_000)
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(HOUR / 2)
        seen.append([task["status"] for task in _tasks(clinic)])
        await clinic.passes(2 * HOUR)
        seen.append([task["status"] for task in _tasks(clinic)])
        clinic.metriport.clear_faults()
        await clinic.passes(2 * HOUR)

    clinic = at(visit, rhythm=LONG)

    assert seen == [[], ["requested"]]
    assert said in _tasks(clinic)[0]["description"]
    assert "http" not in _tasks(clinic)[0]["description"]
    assert [task["status"] for task in _tasks(clinic)] == ["cancelled"]
    assert len(inbound(clinic)) == 1


def test_a_resource_of_no_kind_beside_the_message_is_left_out() -> None:
    async def visit(clinic: Site) -> None:
        strange = {"resourceType": ["Patient"], "id": "x"}
        await _content(clinic, _bundle(_communication(1, payload=[{"contentString": "hi"}]), strange))

    assert len(inbound(at(visit))) == 1


@pytest.mark.parametrize("refused", [FORBIDDEN, NOT_NOW])
def test_a_contradicting_status_waits_until_metriport_can_be_asked(refused: Response) -> None:
    async def scenario() -> Site:
        async with site(auto_complete_seconds=None, started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start(rhythm=LONG)
            await clinic.passes(30)
            sent = clinic.metriport.messages[0].id
            clinic.metriport.complete(sent, clinic.clock.now())
            await clinic.passes(60)
            assert clinic.communication("referral")["status"] == "completed"
            end = clinic.stand_in(
                clinic.metriport,
                lambda asked, _: refused if asked.method == "GET" and asked.path.endswith(sent) else None,
            )
            clinic.metriport.fail(sent, "the mailbox is full", clinic.clock.now())
            await clinic.passes(120)
            end()
            await clinic.passes(2 * HOUR)
            return clinic

    assert run(scenario()).communication("referral")["status"] == "stopped"


def _document_twice(between: Callable[[Site], Any]) -> Site:
    holder = {
        "resourceType": "DocumentReference",
        "id": DOCUMENT,
        "content": [{"attachment": {"contentType": "application/pdf", "url": "Binary/b1"}}],
    }
    file = {"resourceType": "Binary", "id": "b1", "contentType": "application/pdf"}
    data = base64.b64encode(b"hello").decode()

    async def visit(clinic: Site) -> None:
        for number in (1, 2):
            reference = {"contentReference": {"reference": f"DocumentReference/{DOCUMENT}"}}
            shown = _communication(number, payload=[reference])
            await _content(clinic, _bundle(shown, holder, {**file, "data": data}), patientId=KNOWN)
            if number == 1:
                done = between(clinic)
                if done is not None:
                    await done

    return at(visit)


def _second(clinic: Site) -> Json:
    own = communication_id(_communication(2)["id"])
    return next(one for one in inbound(clinic) if one["id"] == own)


def test_a_document_whose_bytes_are_gone_is_not_shared() -> None:
    clinic = _document_twice(lambda here: here.delete(f"Binary/{here.fhir.resources('Binary')[0]['id']}"))

    assert contents(clinic, _second(clinic)) == [("application/pdf", b"hello")]


def test_a_document_that_was_entered_in_error_is_not_shared() -> None:
    def retract(clinic: Site) -> None:
        [document] = clinic.fhir.resources("DocumentReference")
        clinic.write({**document, "status": "entered-in-error"})

    clinic = _document_twice(retract)

    assert contents(clinic, _second(clinic)) == [("application/pdf", b"hello")]
    assert sorted(one["status"] for one in clinic.fhir.resources("DocumentReference")) == [
        "current",
        "entered-in-error",
    ]


def test_a_row_of_the_list_that_changes_is_one_delivery() -> None:
    counts: list[int] = []

    def says(request: Request, now: datetime) -> Response | None:
        if (request.method, request.path) != LIST or "inbound" not in request.query:
            return None
        row = {**_told(), "direction": "inbound", "sentAt": "2026-03-01T00:00:00Z", "link": now.isoformat()}
        return Response(status=200, body=json.dumps({"meta": {}, "messages": [row]}).encode())

    async def visit(clinic: Site) -> None:
        clinic.stand_in(clinic.metriport, says)
        end = clinic.stand_in(
            clinic.fhir,
            lambda asked, _: NO if asked.method == "PUT" and "/Communication/" in asked.path else None,
        )
        await clinic.passes(6 * HOUR)
        assert clinic.adapter is not None
        kept = await clinic.adapter.ledger.unfinished(
            kind="message.received",
            first=datetime.min.replace(tzinfo=clinic.clock.now().tzinfo),
            last=clinic.clock.now(),
        )
        counts.append(len(kept))
        end()
        await clinic.passes(HOUR)

    clinic = at(visit, rhythm=LONG)

    assert counts == [1]
    assert len(inbound(clinic)) == 1


def test_the_question_about_a_call_without_an_id_is_closed_when_its_message_comes() -> None:
    good = [False]

    async def visit(clinic: Site) -> None:
        link = f"{_shared(clinic, 'x')}?asked=1"
        clinic.stand_in(
            clinic.metriport,
            lambda asked, _: (
                Response(status=200, body=json.dumps(_told() if good[0] else "no message").encode())
                if "asked=1" in asked.query
                else None
            ),
        )
        body = {
            "payload": {"url": link, "patientId": KNOWN},
            "meta": {
                "messageId": "call-1",
                "type": "message.received",
                "when": clinic.clock.now().isoformat(),
            },
        }
        clinic.metriport.announce("message.received", clinic.clock.now(), body=body)
        await clinic.passes(2 * HOUR)
        assert [task["status"] for task in _tasks(clinic)] == ["requested"]
        good[0] = True
        clinic.metriport.announce("message.received", clinic.clock.now(), body=body)
        await clinic.passes(HOUR / 2)

    clinic = at(visit, rhythm=LONG)

    assert len(inbound(clinic)) == 1
    assert [task["status"] for task in _tasks(clinic)] == ["cancelled"]


def test_a_person_s_own_word_on_a_question_stays() -> None:
    async def visit(clinic: Site) -> None:
        clinic.fhir.add_fault("POST", "", "422", times=1000)
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(3 * HOUR)
        [task] = _tasks(clinic)
        clinic.write({**task, "status": "entered-in-error"})
        clinic.fhir.clear_faults()
        await clinic.passes(HOUR)

    clinic = at(visit, rhythm=LONG)

    asked = [task for task in _tasks(clinic) if task["code"]["coding"][0]["code"] == "fix-data"]
    assert [task["status"] for task in asked] == ["entered-in-error"]
    assert len(inbound(clinic)) == 1


def test_of_several_messages_in_a_content_the_one_that_is_told_of_counts() -> None:
    quoted, answer = (_communication(n, payload=[{"contentString": f"text {n}"}]) for n in (1, 2))

    async def visit(clinic: Site) -> None:
        await _content(clinic, quoted, patientId=KNOWN, id=quoted["id"])
        await _content(clinic, _bundle(quoted, answer), patientId=KNOWN, id=answer["id"])

    clinic = at(visit)

    assert sorted(one["payload"][0]["contentString"] for one in inbound(clinic)) == ["text 1", "text 2"]


def test_of_several_messages_in_a_content_none_is_guessed() -> None:
    async def visit(clinic: Site) -> None:
        await _content(clinic, _bundle(_communication(1), _communication(2)), patientId=KNOWN)
        await clinic.passes(2 * HOUR)

    clinic = at(visit, rhythm=LONG)

    assert inbound(clinic) == []
    assert [task["code"]["coding"][0]["code"] for task in _tasks(clinic)] == ["fix-data"]


def test_a_message_that_comes_too_slowly_gives_its_place_to_others() -> None:
    """Each of its many attachments comes within the time of one, and its links live long. A person is told."""
    day = timedelta(days=1)
    seen: list[str] = []

    def slow(asked: Request, _now: datetime) -> Response | None:
        return Response(status=200, body=b"x", delay_seconds=290.0) if "slow" in asked.query else None

    async def visit(clinic: Site) -> None:
        clinic.stand_in(clinic.metriport, slow)
        link = _shared(clinic, "x", life=day)
        for number in range(6):
            parts = [{"url": f"{link}?slow={part}", "title": f"{part}.pdf"} for part in range(30)]
            told = _told(id=f"0191d0a4-0000-7000-8000-00000000002{number}", attachments=parts)
            payload = {"url": _shared(clinic, told, life=day), "patientId": KNOWN}
            clinic.metriport.announce("message.received", clinic.clock.now(), body={"payload": payload})
        await clinic.passes(30)
        clinic.metriport.receive(
            clinic.clock.now(), **message(subject="ordinary", attachments=[attachment()])
        )
        await clinic.passes(HOUR / 2)
        seen.extend(one["topic"]["text"] for one in inbound(clinic))
        await clinic.passes(HOUR)

    clinic = at(visit, rhythm=LONG)

    assert seen == ["ordinary"]
    assert ["takes too long" in task["description"] for task in _tasks(clinic)] == [True] * 6


def _broken_mapping(folder: Path, _patch: pytest.MonkeyPatch) -> None:
    (folder / "inbound").mkdir()
    (folder / "inbound" / "communication.json.j2").write_text('{"resourceType": "Communication"}')


def _error_of_our_own(_folder: Path, patch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError(_SECRET)

    patch.setattr("adapter.wiring.spool", fails)


_SECRET: Final = "Robin Maple, palpitations"


@pytest.mark.parametrize(
    ("broken", "said"),
    [(_broken_mapping, "inbound/communication.json.j2"), (_error_of_our_own, "of an error in the adapter")],
)
def test_what_the_adapter_itself_cannot_do_is_told_to_a_person(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[Path, pytest.MonkeyPatch], None],
    said: str,
) -> None:
    async def visit(clinic: Site) -> None:
        await clinic.stop()
        broken(tmp_path, monkeypatch)
        await clinic.start(mappings=tmp_path, rhythm=LONG)
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None))
        await clinic.passes(3 * HOUR)

    with overhearing(style="json") as heard:
        clinic = at(visit)

    [task] = _tasks(clinic)
    assert said in task["description"]
    assert _SECRET not in heard.events() + json.dumps(clinic.fhir.resources("Task"))


def test_bytes_that_may_not_be_looked_at_hold_the_message_back() -> None:
    """Whether the document can be shared is not known then."""

    def forbid(clinic: Site) -> None:
        clinic.stand_in(
            clinic.fhir,
            lambda asked, _: FORBIDDEN if asked.method == "GET" and "/Binary/" in asked.path else None,
        )

    clinic = _document_twice(forbid)

    assert len(inbound(clinic)) == 1


@pytest.mark.parametrize("method", ["done", "unfinished", "by_message"])
def test_a_ledger_that_is_gone_ends_the_process(method: str) -> None:
    async def scenario() -> BaseException | None:
        async with site(started=False, auto_complete_seconds=None) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start(rhythm=LONG)
            await clinic.passes(30)
            clinic.ledger_faults.append(LedgerFault(method=method, error=ConfigError("gone"), times=1000))
            if method == "by_message":
                clinic.metriport.complete(clinic.metriport.messages[0].id, clinic.clock.now())
            else:
                clinic.metriport.add_fault(
                    "GET", "/_files", "url-expired", times=10 * (method == "unfinished")
                )
                clinic.metriport.receive(clinic.clock.now(), **message())
            await clinic.passes(HOUR)
            return await clinic.ended()

    assert isinstance(run(scenario()), ConfigError)


def test_an_error_over_one_status_stops_no_other() -> None:
    async def scenario() -> Site:
        async with site(auto_complete_seconds=None, started=False) as clinic:
            stage(clinic)
            for number in range(2):
                clinic.write(communication(id=f"referral-{number}", topic={"text": str(number)}))
            await clinic.start(rhythm=LONG)
            await clinic.passes(30)
            clinic.ledger_faults.append(LedgerFault(method="by_message", error=ValueError("?")))
            for one in list(clinic.metriport.messages):
                clinic.metriport.complete(one.id, clinic.clock.now())
            await clinic.passes(120)
            return clinic

    with overhearing(style="json") as heard:
        clinic = run(scenario())

    assert {one["status"] for one in clinic.fhir.resources("Communication")} == {"completed"}
    assert "delivery.waits" in heard.events()


@pytest.mark.parametrize("deleted", [False, True])
def test_bytes_that_arrive_last_undo_nothing(*, deleted: bool) -> None:
    """What a killed process had on its way is applied after the message was written anew, and a person has matched it."""
    late: list[Request] = []

    def lost(asked: Request, _now: datetime) -> Response | None:
        if asked.method != "PUT" or "/Binary/" not in asked.path or late:
            return None
        late.append(asked)
        return Response(status=503)

    async def visit(clinic: Site) -> None:
        clinic.stand_in(clinic.fhir, lost)
        clinic.metriport.receive(clinic.clock.now(), **message(patientId=None, attachments=[attachment()]))
        await clinic.passes(60)
        [task] = _tasks(clinic)
        clinic.write({**task, "status": "completed", "output": [{"type": _CHOICE, **CHOSEN}]})
        await clinic.passes(60)
        [binary] = clinic.fhir.resources("Binary")
        if deleted:
            await clinic.delete(f"Binary/{binary['id']}")
        clinic.fhir.handle(late[0], clinic.clock.now())

    clinic = at(visit)

    owners = [one["securityContext"]["reference"] for one in clinic.fhir.resources("Binary")]
    assert owners == ([] if deleted else ["Patient/maple"])
