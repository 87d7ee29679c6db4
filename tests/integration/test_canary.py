"""Nothing of a patient, no key and no presigned link gets into logs, metrics, health or the text of an error.

Every field holds a string that can be told; everything that can go wrong goes wrong; all logs are at debug level.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import structlog

from adapter.config import Settings
from adapter.domain.canonical import DOCUMENT_ID
from adapter.errors import AdapterError
from adapter.mapping.engine import Mappings
from adapter.pipelines.outbound.context import Policy
from adapter.simulators.http import Response
from adapter.simulators.metriport import SANDBOX_PATIENTS
from adapter.worker import Rhythm
from tests.integration import canary
from tests.integration.canary import Order, Overheard, Talkative, leaks_in, says
from tests.integration.test_refusals import BAD
from tests.virtual.loop import run
from tests.virtual.site import ADAPTER_URL, METRIPORT_URL, Site, site

ALLOWED = Policy(allowed_origins=frozenset({METRIPORT_URL}))
LINK = f"{METRIPORT_URL}/files/quokka?X-Amz-Signature=quokka"


def _furnish(clinic: Site) -> None:
    clinic.write(canary.a_patient())
    clinic.write(canary.a_stranger())
    clinic.write(canary.a_document("current"))
    known = [{"system": DOCUMENT_ID, "value": "0190e9b0-0000-7000-8000-0000000000aa"}]
    clinic.write(canary.a_document("known", identifier=known))
    clinic.write(canary.a_document("retracted", status="entered-in-error"))
    clinic.write(canary.a_document("of-others", subject={"reference": "Patient/stranger"}))
    clinic.write(
        {
            "resourceType": "Practitioner",
            "id": "person",
            "name": [{"family": says("practitioner")}],
            "telecom": [{"system": "email", "value": says("practitioner@home.example")}],
        }
    )


def _messages() -> list[dict[str, Any]]:
    """One of each kind: that go, that cannot, and that wait for a person."""
    told = {"reference": "Patient/maple", "display": says("subject")}
    return [
        canary.a_message("plain"),
        canary.a_message(
            "documents", payload=[{"contentReference": {"reference": "DocumentReference/current"}}]
        ),
        canary.a_message("by-link", payload=[canary.an_attachment(data=None, url=LINK)]),
        canary.a_message(
            "elsewhere", payload=[canary.an_attachment(data=None, url="https://quokka.example")]
        ),
        canary.a_message(
            "retracted", payload=[{"contentReference": {"reference": "DocumentReference/retracted"}}]
        ),
        canary.a_message(
            "of-others", payload=[{"contentReference": {"reference": "DocumentReference/of-others"}}]
        ),
        canary.a_message("stranger", subject={**told, "reference": "Patient/stranger"}),
        canary.a_message("nobody", subject={**told, "reference": "Patient/nobody"}),
        canary.a_message("contained", subject={"reference": "#p"}, contained=[canary.a_stranger(id="p")]),
        canary.a_message("no-recipient", recipient=[{"reference": "Practitioner/person"}]),
        canary.a_message("odd-display", recipient=[{"display": says("recipient") + "@" + "x" * 300}]),
        canary.a_message("odd-url", payload=[canary.an_attachment(data=None, url="http://[quokka")]),
        canary.a_message("odd-data", payload=[canary.an_attachment(data="quokka!")]),
        canary.a_message("too-long", payload=[{"contentString": says("body ") * 900}]),
        *(
            canary.a_message(f"bad-{name}", **elements)
            for name, (_, elements) in BAD.items()
            if name != "60-mb"
        ),
    ]


async def _ask(clinic: Site) -> list[str]:
    """What anybody may read at the adapter."""
    assert clinic.adapter is not None
    over = httpx.ASGITransport(clinic.adapter.app)
    async with httpx.AsyncClient(transport=over, base_url=ADAPTER_URL) as http:
        texts = [(await http.get(path)).text for path in ("/metrics", "/health/ready", "/health/live")]
        for body in (b'{"quokka": ', json.dumps({"quokka": says("webhook")}).encode()):
            told = {"x-metriport-signature": says("wrong"), "authorization": "Bearer quokka"}
            texts.append((await http.post("/webhooks/metriport", content=body, headers=told)).text)
            texts.append((await http.post("/doorbell", content=body, headers=told)).text)
            texts.append((await http.post("/nothing", content=body, headers=told)).text)
    return [line for text in texts for line in text.splitlines()]


def _assert_silent(heard: Overheard, shown: Iterable[str], *, events: Iterable[str]) -> None:
    # A look for nothing finds nothing: what was to be heard was heard.
    missing = [event for event in events if event not in heard.events()]
    assert missing == []
    assert leaks_in(heard.lines()) == []
    assert leaks_in(heard.texts()) == []
    assert leaks_in(shown) == []


def test_a_leak_would_be_found() -> None:
    with canary.overhearing(style="json") as heard:
        structlog.get_logger().debug("it", what=says("Name").upper())
        logging.getLogger("any").debug("%s", canary.an_attachment()["contentAttachment"]["data"])
        logging.getLogger("httpx").info("not heard: %s", says("url"))
        AdapterError(says("text"))

    assert len(leaks_in(heard.lines())) == 2
    assert len(leaks_in(heard.texts())) == 2


@pytest.mark.parametrize(("style", "libraries"), [("json", None), ("console", None), ("json", logging.DEBUG)])
def test_a_day_with_everything_that_can_be_refused_held_or_failed(style: str, libraries: int | None) -> None:
    async def scenario() -> list[str]:
        async with site(started=False, auto_complete_seconds=None) as clinic:
            clinic.fhir = clinic.lax_fhir()
            _furnish(clinic)
            for message in _messages():
                clinic.write(message)
            await clinic.start(policy=ALLOWED)
            await clinic.passes(200)
            now = clinic.clock.now()
            sent = clinic.metriport.messages
            assert len(sent) > 2
            clinic.metriport.fail(sent[0].id, says("why it failed"), now)
            clinic.metriport.complete(sent[1].id, now)
            await clinic.passes(10)
            clinic.metriport.fail(sent[1].id, says("contradiction"), now)
            clinic.metriport.opt_out(SANDBOX_PATIENTS[0].id, says("opted out"))
            clinic.metriport.announce("message.received", now, body={"quokka": says("inbound")})
            clinic.write(canary.a_message("opted-out"))
            clinic.write({**clinic.communication("by-link"), "status": "preparation"})
            clinic.write({**clinic.communication("plain"), "status": "entered-in-error"})
            await clinic.passes(400)
            assert canary.STEM in str(clinic.communication("opted-out")["statusReason"])
            return await _ask(clinic)

    with canary.overhearing(style=style, libraries=libraries) as heard:
        shown = run(scenario())

    _assert_silent(
        heard, shown, events=["transmission.sent", "transmission.parked", "transmission.ended", "refused"]
    )


FHIR_CALLS = [
    ("GET", "/Communication/", "plain"),
    ("GET", "/Communication", "plain"),
    ("GET", "/Patient/maple", "plain"),
    ("GET", "/DocumentReference/current", "document"),
    ("PUT", "/Communication/", "plain"),
    ("PUT", "/Task/", "stranger"),
    ("GET", "/Task/", "stranger"),
    ("PUT", "/Subscription/", "plain"),
    ("GET", "/Subscription/", "plain"),
]
METRIPORT_CALLS = [
    ("POST", "/medical/v1/message", "plain"),
    ("GET", "/medical/v1/message", "plain"),
    ("POST", "/medical/v1/document/upload", "plain"),
    ("GET", "/medical/v1/document", "known document"),
    ("PUT", "/_uploads/", "plain"),
    ("GET", "/files/", "link"),
]
FHIR_STATUSES = (301, 400, 401, 403, 404, 405, 409, 410, 412, 413, 422, 429, 500, 501, 503)
METRIPORT_STATUSES = (400, 401, 403, 404, 409, 410, 413, 422, 429, 500, 502, 503)
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "document": {"payload": [{"contentReference": {"reference": "DocumentReference/current"}}]},
    "known document": {"payload": [{"contentReference": {"reference": "DocumentReference/known"}}]},
    "stranger": {"subject": {"reference": "Patient/stranger"}},
    "link": {"payload": [canary.an_attachment(data=None, url=LINK)]},
}


async def _among(
    *kinds: str,
    fhir: list[Order] | None = None,
    metriport: list[Order] | None = None,
    seconds: float = 120.0,
) -> list[str]:
    """Neighbours that answer so, and messages of these kinds."""
    async with site(started=False, auto_complete_seconds=45.0) as clinic:
        talkative_fhir, talkative_metriport = Talkative(clinic.lax_fhir()), Talkative(clinic.metriport)
        clinic.fhir, clinic.metriport = cast("Any", talkative_fhir), cast("Any", talkative_metriport)
        _furnish(clinic)
        for number, kind in enumerate(kinds):
            clinic.write(canary.a_message(f"m-{number}", **KINDS[kind]))
        talkative_fhir.orders, talkative_metriport.orders = fhir or [], metriport or []
        await clinic.start(policy=ALLOWED, rhythm=Rhythm(track=10.0))
        await clinic.passes(seconds)
        return await _ask(clinic)


def _orders(method: str, path: str, answers: Iterable[Response]) -> list[Order]:
    return [Order(method=method, path=path, answer=answer) for answer in answers]


@pytest.mark.parametrize(("method", "path", "kind"), FHIR_CALLS)
def test_a_fhir_server_may_say_what_it_likes(method: str, path: str, kind: str) -> None:
    orders = _orders(method, path, canary.answers(canary.OUTCOME, FHIR_STATUSES))

    with canary.overhearing(style="json") as heard:
        shown = run(_among(*[kind] * len(orders), fhir=orders, seconds=3600.0))

    _assert_silent(heard, shown, events=["refused"])
    assert sum(not order.times for order in orders) > 1


@pytest.mark.parametrize(("method", "path", "kind"), METRIPORT_CALLS)
def test_metriport_may_say_what_it_likes(method: str, path: str, kind: str) -> None:
    orders = _orders(method, path, canary.answers(canary.PROBLEM, METRIPORT_STATUSES))

    with canary.overhearing(style="json") as heard:
        shown = run(_among(*[kind] * len(orders), metriport=orders, seconds=3600.0))

    _assert_silent(heard, shown, events=["refused"])
    assert sum(not order.times for order in orders) > 1


TEMPLATES = [
    '{"subject": {{ communication.topic.text }}, "body": {{ communication.note[7].text }}}',
    '{"subject": {{ communication.topic.text + 1 }}}',
    '{"subject": {{ communication[communication.topic.text] }}}',
    '{"subject": {{ communication.topic.text | first_text }}, "quokka": }',
    "{{ communication.topic.text }} and more",
    '{"subject": {"x": {{ communication.topic.text }}}}',
    '{"subject": {{ communication.topic.text }}, "body": 7, "more": {{ communication.payload }}}',
    '{% if communication.topic.text == "x" %}{"subject": "y"}',
    "{{ communication.topic.text | no_such_filter }}",
    "{% for part in communication.topic.text %}{{ part }}{% endfor %}",
    '{"subject": {{ communication.payload[0].contentString.upper() }}}',
    '{"subject": {{ "%d" % communication.topic.text }}}',
    "{ {{ communication.topic.text }}: 1, {{ communication.topic.text }}: 2 }",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "template"),
    [("text", one) for one in TEMPLATES]
    + [(name, one) for name in ("message", "document") for one in TEMPLATES[:4]],
)
def test_a_template_that_is_wrong_shows_nothing_of_what_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, name: str
) -> None:
    own = tmp_path / "outbound" / f"{name}.json.j2"
    own.parent.mkdir()
    own.write_text(template)
    monkeypatch.setattr("tests.virtual.site.Mappings", lambda **_: Mappings(directory=tmp_path))

    with canary.overhearing(style="json") as heard:
        shown = run(_among("plain", "document", "stranger"))

    _assert_silent(heard, shown, events=["MappingError"])


def _crash(*given: Any, **_facts: Any) -> Any:
    raise ValueError(f"{says('crash')} {given}")


@pytest.mark.parametrize(
    ("place", "event"),
    [
        ("adapter.worker.look", "communication.failed"),
        ("adapter.worker.plan", "communication.failed"),
        ("adapter.worker.complete", "communication.failed"),
        ("adapter.worker.park", "communication.failed"),
        ("adapter.pipelines.outbound.lane.claim", "send.failed"),
        ("adapter.pipelines.outbound.lane.transmit", "send.failed"),
        ("adapter.worker.due", "loop.failed"),
        ("adapter.worker.sweep", "loop.failed"),
        ("adapter.worker.patrol", "step.failed"),
        ("adapter.worker.work_off", "loop.failed"),
        ("adapter.wiring.webhook.read", "request.failed"),
    ],
)
def test_a_crash_says_where_and_not_what(monkeypatch: pytest.MonkeyPatch, place: str, event: str) -> None:
    monkeypatch.setattr(place, _crash)

    with canary.overhearing(style="console") as heard:
        shown = run(_among("plain", "document", "stranger"))

    _assert_silent(heard, shown, events=[event, "ValueError"])


def test_libraries_that_print_what_they_carry_are_kept_quiet() -> None:
    with canary.overhearing(style="json"):
        run(_among("plain", "document", "stranger"))
        loud = [
            name
            for name in ("httpx", "httpcore.http11", "sqlalchemy.engine.Engine", "aiosqlite", "uvicorn.error")
            if logging.getLogger(name).isEnabledFor(logging.INFO)
        ]

    assert loud == []


def test_keys_are_not_in_what_is_shown_of_settings() -> None:
    settings = Settings.model_validate(
        {
            "fhir": {"authorization": says("fhir")},
            "watch": {"doorbell_secret": says("bell")},
            "metriport": {"api_key": says("key"), "webhook_keys": [says("webhook")]},
        }
    )

    assert (
        leaks_in([repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())])
        == []
    )
