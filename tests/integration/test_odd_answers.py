"""Answers that are well-formed and say something else than they seem to: no message is lost, doubled or mixed up by them."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from rich.progress import Progress

from adapter.cli.reconcile import _work_off
from adapter.domain.received import communication_id
from adapter.simulators.http import Request, Response
from tests.integration.people import patient
from tests.integration.test_received import KNOWN, at, attachment, contents, inbound, message
from tests.integration.test_received_outages import HOUR, LONG
from tests.integration.test_whose import _bundle, _communication, _content
from tests.virtual.loop import run
from tests.virtual.site import Site, site

FIRST: Final = "0191d0a4-0000-7000-8000-000000000001"
DOCUMENT: Final = "0191d0a4-0000-7000-8000-0000000000aa"
LIST: Final = ("GET", "/medical/v1/message")
OUTCOME: Final = json.dumps({"resourceType": "OperationOutcome", "issue": []}).encode()
DAY: Final = timedelta(days=1)


def _listing(clinic: Site, *rows: dict[str, Any]) -> None:
    """Metriport's list of what came in has these rows."""
    body = json.dumps({"meta": {}, "messages": rows}).encode()
    clinic.stand_in(
        clinic.metriport,
        lambda asked, _: (
            Response(status=200, body=body)
            if (asked.method, asked.path) == LIST and "inbound" in asked.query
            else None
        ),
    )


# The FHIR server


@pytest.mark.parametrize("body", [OUTCOME, b"", b"{}"], ids=["an OperationOutcome", "nothing", "no resource"])
def test_an_answer_that_is_not_the_message_does_not_say_that_it_is_there(body: bytes) -> None:
    said: list[str] = []

    def says(asked: Request, _now: datetime) -> Response | None:
        if asked.method != "GET" or not asked.path.endswith(communication_id(FIRST)) or said:
            return None
        said.append(asked.path)
        return Response(status=200, body=body)

    async def visit(clinic: Site) -> None:
        clinic.stand_in(clinic.fhir, says)
        await _content(clinic, {"id": FIRST, "patientId": KNOWN, "subject": "Result", "body": "hello"})
        await clinic.passes(HOUR)

    clinic = at(visit, rhythm=LONG)

    assert (len(said), len(inbound(clinic))) == (1, 1)


def test_an_answer_that_is_not_the_document_does_not_say_that_it_is_there() -> None:
    said: list[str] = []

    def says(asked: Request, _now: datetime) -> Response | None:
        if asked.method != "GET" or "/DocumentReference/" not in asked.path or said:
            return None
        said.append(asked.path)
        return Response(status=200, body=OUTCOME)

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            clinic.fhir = clinic.lax_fhir()
            clinic.write(patient())
            await clinic.start()
            clinic.stand_in(clinic.fhir, says)
            enclosed = message(content="communication", attachments=[attachment()])
            clinic.metriport.receive(clinic.clock.now(), **enclosed)
            await clinic.passes(HOUR)
            return clinic

    clinic = run(scenario())

    [found] = inbound(clinic)
    assert len(said) == 1
    assert len(contents(clinic, found)) == 1


@pytest.mark.parametrize(
    ("status", "tasks"),
    [("412 Precondition Failed", 0), ("409", 0), ("422 Unprocessable Entity", 1), ("503", 0)],
)
def test_a_transaction_whose_entries_were_not_carried_out_was_none(status: str, tasks: int) -> None:
    seen: list[tuple[int, int]] = []

    def refuses(asked: Request, _now: datetime) -> Response | None:
        if asked.method != "POST" or not asked.path.rstrip("/").endswith("/fhir"):
            return None
        refused = [{"response": {"status": status}} for _ in json.loads(asked.body)["entry"]]
        answer = {"resourceType": "Bundle", "type": "transaction-response", "entry": refused}
        return Response(status=200, body=json.dumps(answer).encode())

    async def visit(clinic: Site) -> None:
        end = clinic.stand_in(clinic.fhir, refuses)
        clinic.metriport.receive(clinic.clock.now(), **message())
        await clinic.passes(2 * HOUR)
        seen.append((len(inbound(clinic)), len(clinic.fhir.resources("Task"))))
        end()
        await clinic.passes(2 * HOUR)

    clinic = at(visit, rhythm=LONG)

    assert seen == [(0, tasks)]
    assert len(inbound(clinic)) == 1


def test_what_a_search_finds_without_our_identifier_is_not_ours() -> None:
    """The server ignores the parameter for a while, and so in `If-None-Exist`: whatever is asked for is there."""
    other = {"resourceType": "Communication", "id": "77", "status": "completed"}
    found = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": other}]}
    there = [{"response": {"location": f"{place}/_history/1"}} for place in ("Communication/77", "Task/78")]
    taken = {"resourceType": "Bundle", "type": "transaction-response", "entry": there}

    def ignores(asked: Request, _now: datetime) -> Response | None:
        if asked.method == "POST":
            return Response(status=200, body=json.dumps(taken).encode())
        is_look = asked.path.endswith("/Communication") and "identifiers%2Fid" in asked.query
        return Response(status=200, body=json.dumps(found).encode()) if is_look else None

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            clinic.fhir = clinic.without_client_ids()
            await clinic.start(probing=True, rhythm=LONG)
            end = clinic.stand_in(clinic.fhir, ignores)
            clinic.metriport.receive(clinic.clock.now(), **message(patientId=None, attachments=[]))
            await clinic.passes(HOUR)
            assert inbound(clinic) == []
            end()
            await clinic.passes(HOUR)
            return clinic

    assert len(inbound(run(scenario()))) == 1


# Metriport


def test_what_a_quoted_message_refers_to_is_not_an_attachment_of_the_one_that_quotes() -> None:
    file = {"contentType": "text/plain", "data": base64.b64encode(b"of the quoted one").decode()}
    document = {
        "resourceType": "DocumentReference",
        "id": DOCUMENT,
        "content": [{"attachment": {"url": "Binary/b"}}],
    }
    binary = {"resourceType": "Binary", "id": "b", **file}
    quoted = _communication(1, payload=[{"contentReference": {"reference": f"DocumentReference/{DOCUMENT}"}}])
    answer = _communication(2, payload=[{"contentString": "See below."}])

    async def visit(clinic: Site) -> None:
        whole = _bundle(quoted, answer, document, binary)
        await _content(clinic, whole, patientId=KNOWN, id=answer["id"])

    [found] = inbound(at(visit))

    assert found["payload"] == [{"contentString": "See below."}]


def test_a_listed_message_may_be_larger_than_a_call() -> None:
    data = base64.b64encode(b"x" * 8_000_000).decode()
    enclosed = [{"contentAttachment": {"contentType": "application/pdf", "data": data}}]
    subject = {"reference": f"Patient/{KNOWN}"}
    row = _communication(1, sent="2026-01-01T00:00:00Z", subject=subject, payload=enclosed)

    async def visit(clinic: Site) -> None:
        _listing(clinic, row)
        await clinic.passes(HOUR)

    clinic = at(visit, rhythm=LONG)

    [found] = inbound(clinic)
    assert [len(data) for _, data in contents(clinic, found)] == [8_000_000]


def test_a_row_of_the_other_direction_is_no_message_that_came_in() -> None:
    row = {"id": FIRST, "patientId": KNOWN, "subject": "Ours", "body": "x", "sentAt": "2026-01-01T00:00:00Z"}

    async def visit(clinic: Site) -> None:
        _listing(clinic, {**row, "direction": "outbound"})
        await clinic.passes(HOUR)

    assert inbound(at(visit, rhythm=LONG)) == []


def test_of_several_links_one_that_hangs_keeps_none_from_bringing_it() -> None:
    async def visit(clinic: Site) -> None:
        told = {"id": FIRST, "patientId": KNOWN, "subject": "Result", "body": "hello"}
        good = clinic.metriport.share(told, clinic.clock.now(), life=DAY)
        clinic.stand_in(
            clinic.metriport, lambda asked, _: Response(status=503) if "bad" in asked.query else None
        )
        payload = {"url": f"{good}?bad=1", "downloadUrl": good, "id": FIRST}
        clinic.metriport.announce("message.received", clinic.clock.now(), body={"payload": payload})
        await clinic.passes(60)

    assert len(inbound(at(visit))) == 1


def test_reconcile_ends_though_links_hang() -> None:
    async def scenario() -> timedelta:
        async with site(started=False) as clinic:
            clinic.write(patient())
            running = await clinic.start(idle=True)
            clinic.stand_in(
                clinic.metriport,
                lambda asked, _: Response(status=200, delay_seconds=400.0) if "hang" in asked.query else None,
            )
            for number in range(2):
                link = clinic.metriport.share("x", clinic.clock.now(), life=DAY)
                payload = {"url": f"{link}?hang={number}", "patientId": KNOWN}
                clinic.metriport.announce("message.received", clinic.clock.now(), body={"payload": payload})
            await clinic.passes(300)
            began = clinic.clock.now()
            async with asyncio.timeout(DAY.total_seconds()):
                await _work_off(running, Progress(disable=True))
            return clinic.clock.now() - began

    assert run(scenario()) < timedelta(minutes=15)
