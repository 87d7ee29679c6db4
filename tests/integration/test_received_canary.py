"""Nothing of a received message gets into logs, metrics, the text of an error or a URL, whatever goes wrong with it.

Every field of every shape holds a string that can be told; all logs are at debug level.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import pytest

from adapter.domain.canonical import TASK_SYSTEM
from adapter.simulators import metriport
from adapter.simulators.metriport import SANDBOX_PATIENTS
from adapter.simulators.metriport.records import File
from adapter.worker import Rhythm
from tests.integration import canary
from tests.integration.canary import Order, Talkative, says
from tests.integration.test_canary import (
    FHIR_STATUSES,
    METRIPORT_STATUSES,
    TEMPLATES,
    _ask,
    _assert_silent,
    _crash,
)
from tests.virtual.loop import run
from tests.virtual.site import METRIPORT_URL, Site, site

Json = dict[str, Any]

KNOWN: Final = SANDBOX_PATIENTS[0].id
STRANGER: Final = SANDBOX_PATIENTS[2].id
SIGNED: Final = "X-Amz-Signature=quokka&Expires=quokka"
DEAD: Final = f"{METRIPORT_URL}/files/quokka?{SIGNED}"
DATA: Final = base64.b64encode(says("contents").encode()).decode()
ODD_LINKS: Final = [
    f"ftp://quokka.example/quokka?{SIGNED}",
    "http://[quokka",
    "javascript:quokka",
    "quokka",
    f"http://quokka:quokka@quokka.example/?{SIGNED}",
    f"http://127.0.0.1/quokka?{SIGNED}",
]


def _document(number: int, **attachment: Any) -> Json:
    told = {"contentType": "text/plain", "title": says("title"), "creation": "2026-01-01", **attachment}
    return canary.a_document(
        f"{number:08x}-0000-4000-8000-00000000d0c0",
        content=[{"attachment": told, "format": {"display": says("format")}}],
        identifier=[{"system": f"urn:{says('document')}", "value": says("document")}],
        date=says("date"),
        custodian={"display": says("custodian")},
        context={"sourcePatientInfo": {"display": says("source")}},
    )


def _communication(number: int, **elements: Any) -> Json:
    """As Metriport's documentation has it, with everything in every field that R4 knows."""
    own = {
        "id": f"{number:08x}-0000-7000-8000-00000000c0de",
        "status": "completed",
        "subject": {"reference": f"Patient/{KNOWN}", "display": says("subject")},
        "about": [{"display": says("about")}],
        "sender": {"display": says("sender"), "identifier": {"value": says("sender@direct.example")}},
        "recipient": [
            {"type": "Organization", "display": says("desk@direct.example")},
            {"type": "Practitioner", "display": says("npi")},
        ],
        "sent": says("sent"),
        "received": says("received"),
        "payload": [
            {"contentString": says("body")},
            {"contentAttachment": {"contentType": says("type"), "title": says("title"), "data": DATA}},
            {
                "contentReference": {
                    "reference": f"DocumentReference/{says('nowhere')}",
                    "display": says("shown"),
                }
            },
        ],
    }
    return canary.a_message(**{"id": "", **own, **elements})


def _shapes() -> dict[str, Any]:
    """Every shape of content, all of it told."""
    documents = [_document(1, data=DATA), _document(2, url="Binary/1"), _document(3, url=DEAD)]
    binary = {"resourceType": "Binary", "id": "1", "contentType": says("type"), "data": DATA}
    bundled = _communication(1, payload=[{"contentString": says("body")}])
    message = {
        "id": "00000002-0000-7000-8000-00000000c0de",
        "patientId": KNOWN,
        "direction": "inbound",
        "status": says("status"),
        "subject": says("subject"),
        "body": says("body"),
        "from": {"name": says("sender"), "destination": says("sender@direct.example")},
        "destination": says("desk@direct.example"),
        "intendedRecipientNpi": [says("npi"), canary.NUMBER],
        "reason": says("reason"),
        "sentAt": says("sent"),
        "attachments": [{"id": says("id"), "fileName": says("file"), "mimeType": says("type"), "data": DATA}],
        says("key"): says("value"),
    }
    nobody = {"subject": {"display": says("subject")}, "payload": [{"contentString": says("body")}]}
    return {
        "bundle": _bundle(bundled, *documents[:2], binary, canary.a_patient(id="p")),
        **{
            f"dead document {number}": _bundle(
                {**bundled, "id": f"{32 + number:08x}-0000-7000-8000-00000000c0de"}, documents[2]
            )
            for number in range(4)
        },
        "communication": _communication(4, payload=_communication(4)["payload"][:2]),
        "wrapped": {"communication": _communication(5, **nobody, contained=[canary.a_stranger(id="p")])},
        "only named": _communication(6),
        "message": message,
        "wrapped message": {
            "message": {**message, "id": "00000007-0000-7000-8000-00000000c0de", "patientId": None}
        },
        **{
            f"stranger {number}": _communication(
                64 + number, **{**nobody, "subject": {"reference": f"Patient/{STRANGER}"}}
            )
            for number in range(4)
        },
        "odd data": _communication(9, payload=[{"contentAttachment": {"data": "quokka!"}}]),
        **{
            f"odd link {number}": _communication(16 + number, payload=[{"contentAttachment": {"url": link}}])
            for number, link in enumerate(ODD_LINKS)
        },
        "no message": _bundle(canary.a_patient()),
        "no id": {"subject": says("subject")},
        "words": says("words"),
        "list": [says("list")],
    }


NAMED: Final[Json] = {
    "patientId": KNOWN,
    "subject": says("subject"),
    "content": "message",
    "attachments": [{"title": says("title"), "contentType": "text/plain", "data": DATA}],
}
READABLE: Final = ("bundle", "communication", "wrapped", "message", "wrapped message", "stranger 0")
UNHAPPY: Final = (
    *(f"dead document {number}" for number in range(4)),
    *("only named", "stranger 1", "stranger 2"),
)


def _bundle(*resources: Json) -> Json:
    return {"resourceType": "Bundle", "id": says("id"), "entry": [{"resource": one} for one in resources]}


def tell(world: metriport.World, content: bytes, now: datetime) -> None:
    """A call whose link leads to the content, and another nowhere."""
    server = world._server
    elsewhere = f"{server.rules.public_url}/files/quokka?{SIGNED}"

    def body(at: datetime) -> Json:
        link = server.share(File(data=content), at)
        told = {
            "url": link,
            "bundleUrl": elsewhere,
            "externalId": says("external"),
            says("key"): says("value"),
        }
        return {"payload": {**told, "additionalIds": {says("source"): [says("other")]}}}

    server.webhooks.tell("message.received", body, now, data={says("meta"): says("data")})


def contents(names: Iterable[str]) -> list[bytes]:
    """What is behind the links of messages in these shapes."""
    told = _shapes()
    return [json.dumps(told[name]).encode() for name in names]


async def _answer(clinic: Site) -> None:
    """A person answers all Tasks: the first with a Patient, others in words."""
    kind = {"coding": [{"system": TASK_SYSTEM, "code": "choice", "display": says("choice")}]}
    values: list[Json] = [
        {"valueReference": {"reference": "Patient/maple", "display": says("chosen")}},
        {"valueString": says("answer")},
        {"valueReference": {"identifier": {"value": says("patient")}, "display": says("chosen")}},
    ]
    told = {"note": [{"text": says("note")}], "description": says("asked")}
    asked = [one for one in clinic.fhir.resources("Task") if "focus" in one]
    for value, task in zip(itertools.cycle(values), asked, strict=False):
        clinic.write({**task, **told, "status": "completed", "output": [{"type": kind, **value}]})


async def _among(
    *shapes: str,
    fhir: list[Order] | None = None,
    metriport: list[Order] | None = None,
    seconds: float = 60.0,
    at_last: Iterable[bytes] = (),
    mappings: Path | None = None,
) -> list[str]:
    """Neighbours that answer so, and messages of these shapes; what anybody may read, and every URL that was asked for."""
    async with site(started=False) as clinic:
        talkative_fhir, talkative_metriport = Talkative(clinic.fhir), Talkative(clinic.metriport)
        clinic.fhir, clinic.metriport = cast("Any", talkative_fhir), cast("Any", talkative_metriport)
        clinic.write(canary.a_patient())
        clinic.write(canary.a_stranger())
        await clinic.start(mappings=mappings, rhythm=Rhythm(reconcile=20.0))
        await clinic.passes(5)
        talkative_fhir.orders, talkative_metriport.orders = fhir or [], metriport or []
        for content in (*contents(shapes), *at_last):
            tell(clinic.metriport, content, clinic.clock.now())
        clinic.metriport.receive(clinic.clock.now(), **NAMED)
        await clinic.passes(seconds)
        await _answer(clinic)
        await clinic.passes(60)
        # A link that somebody else made is followed as it is, and Metriport's documents are asked for by their names.
        given = (SIGNED, "/_files/", "download-url?fileName=")
        asked = [url for url in talkative_metriport.asked if not any(one in url for one in given)]
        return [*await _ask(clinic), *talkative_fhir.asked, *asked]


@pytest.mark.parametrize(("style", "libraries"), [("console", None), ("json", logging.DEBUG)])
def test_every_shape_of_a_received_message(style: str, libraries: int | None) -> None:
    unreadable = [
        b"",
        b'{"id": "quokka',
        b"<html>quokka</html>",
        b"\xff\xfequokka",
        b"[" * 100_000 + b'"quokka"',
    ]

    with canary.overhearing(style=style, libraries=libraries) as heard:
        shown = run(_among(*_shapes(), at_last=unreadable, seconds=200))

    _assert_silent(
        heard,
        shown,
        events=[
            "message.received",
            "delivery.given-up",
            "delivery.links-dead",
            "delivery.asked-again",
            "message.matched",
        ],
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/Communication/"),
        ("POST", "/Patient/_search"),
        ("POST", "/Practitioner/_search"),
        ("GET", "/DocumentReference/"),
        ("PUT", "/Binary/"),
        ("POST", "/fhir"),
        ("GET", "/Task"),
        ("PUT", "/Task/"),
    ],
)
def test_a_fhir_server_may_say_what_it_likes_to_a_received_message(method: str, path: str) -> None:
    orders = [
        Order(method=method, path=path, answer=one) for one in canary.answers(canary.OUTCOME, FHIR_STATUSES)
    ]

    with canary.overhearing(style="json") as heard:
        shown = run(_among(*READABLE, "odd data", fhir=orders, seconds=200))

    _assert_silent(heard, shown, events=["refused"])
    assert sum(not order.times for order in orders) > 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/_files"),
        ("GET", "/files/"),
        ("GET", "/medical/v1/patient"),
        ("GET", "/medical/v1/document"),
        ("GET", "/medical/v1/document/download-url"),
        ("GET", "/medical/v1/message"),
        ("GET", "/settings/webhook/request"),
        ("POST", "/settings/webhook/request"),
    ],
)
def test_metriport_may_say_what_it_likes_about_a_received_message(method: str, path: str) -> None:
    orders = [
        Order(method=method, path=path, answer=one)
        for one in canary.answers(canary.PROBLEM, METRIPORT_STATUSES)
    ]

    with canary.overhearing(style="json") as heard:
        shown = run(_among(*READABLE, *UNHAPPY, metriport=orders, seconds=200))

    _assert_silent(heard, shown, events=["message.received"])
    assert sum(not order.times for order in orders) > 1


INBOUND_TEMPLATES: Final = [
    *(one.replace("communication.", "message.").replace("topic.text", "subject") for one in TEMPLATES),
    '{"resourceType": "Communication", "status": {{ message.subject }}, "sent": {{ message.body }}}',
]


@pytest.mark.parametrize("name", ["communication", "documentreference", "task"])
@pytest.mark.parametrize("template", [INBOUND_TEMPLATES[number] for number in (0, 3, -1)])
def test_a_template_for_received_messages_that_is_wrong(tmp_path: Path, template: str, name: str) -> None:
    own = tmp_path / "inbound" / f"{name}.json.j2"
    own.parent.mkdir()
    own.write_text(template)

    with canary.overhearing(style="json") as heard:
        shown = run(_among("bundle", "stranger 0", "wrapped", mappings=tmp_path))

    _assert_silent(heard, shown, events=["delivery.waits"])


@pytest.mark.parametrize(
    ("place", "event"),
    [
        ("adapter.reception.arrive", "delivery.failed"),
        ("adapter.reception.renew", "deliveries.not-renewed"),
        ("adapter.worker.apply_answers", "loop.failed"),
        ("adapter.worker.close_settled", "step.failed"),
        ("adapter.worker.reconcile", "loop.failed"),
        ("adapter.pipelines.inbound.arrivals.whose", "delivery.failed"),
        ("adapter.pipelines.inbound.arrivals.write", "delivery.failed"),
        ("adapter.pipelines.inbound.write.owned_document", "delivery.failed"),
        ("adapter.metriport.received.wire.read_message", "delivery.failed"),
        ("adapter.wiring.lifted.read", "delivery.failed"),
    ],
)
def test_a_crash_over_a_received_message_says_where_and_not_what(
    monkeypatch: pytest.MonkeyPatch, place: str, event: str
) -> None:
    monkeypatch.setattr(place, _crash)

    with canary.overhearing(style="console") as heard:
        shown = run(_among(*READABLE, "dead document 0"))

    _assert_silent(heard, shown, events=[event, "ValueError"])
