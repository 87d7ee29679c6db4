"""The client and the pretend Metriport, in both dialects and under every fault that the simulator knows."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
import uvicorn

from adapter.domain.evidence import fits
from adapter.domain.message import MessageState, Send
from adapter.domain.outcome import LaneStopped, Refused, Sent, Unknown, Waiting
from adapter.errors import Rejected, Temporary, Unverified
from adapter.metriport import webhook
from adapter.metriport.client import Account, MetriportClient
from adapter.metriport.webhook import Ping, StatusEvent
from adapter.simulators.metriport import DEFAULT_API_KEY, SANDBOX_PATIENTS, World
from adapter.simulators.shell import Shell
from tests.contract.metriport_client.clients import BASE, NOW, always, client, content

PATIENT = SANDBOX_PATIENTS[0].id
SEND_PATH = "/medical/v1/message"
DESCRIPTION = {
    "description": "Report",
    "type": {"text": "Report"},
    "context": {"period": {"start": "2026-07-01"}},
}

DIALECTS = pytest.mark.parametrize("dialect", ["sdk", "docs"])


def world(**changes: Any) -> World:
    facts: dict[str, Any] = {"public_url": BASE, "auto_complete_seconds": None, "limits": False}
    return World(**facts | changes)


def to(simulator: World, **changes: Any) -> MetriportClient:
    app: Any = Shell(simulator, clock=lambda: NOW)
    facts: dict[str, Any] = {"api_key": DEFAULT_API_KEY, "over": httpx.ASGITransport(app=app)}
    return client(**facts | changes)


def a_send(patient: str = PATIENT, **body: Any) -> Send:
    facts = {"destination": "ward@direct.example", "subject": "Referral", "body": "Please see."}
    return Send(patient=patient, body=facts | body)


async def sent(metriport: MetriportClient, send: Send) -> str:
    answer = await metriport.send(send, in_time=always)
    assert isinstance(answer, Sent)
    return answer.message_id


@DIALECTS
def test_a_message_goes_and_is_found_again_by_id_and_on_the_list(dialect: str) -> None:
    async def run() -> None:
        simulator = world(dialect=dialect)
        metriport = to(simulator)
        send = a_send(intendedRecipientNpi=["1234567893"])

        message_id = await sent(metriport, send)
        found = await metriport.message(message_id)
        listing = await metriport.outbound(PATIENT)

        assert [one.id for one in simulator.messages] == [message_id]
        assert found is not None
        assert (found.state, found.patient, found.sent_at) == (MessageState.PROCESSING, PATIENT, NOW)
        assert fits(found, send, since=NOW)
        assert (listing.messages, listing.whole) == ((found,), True)

    asyncio.run(run())


@DIALECTS
def test_how_a_message_ended_is_read(dialect: str) -> None:
    async def run() -> None:
        simulator = world(dialect=dialect)
        metriport = to(simulator)
        good, bad = await sent(metriport, a_send()), await sent(metriport, a_send())
        simulator.complete(good, NOW)
        simulator.fail(bad, "No such mailbox.", NOW)

        completed, failed = await metriport.message(good), await metriport.message(bad)

        assert completed is not None
        assert (completed.state, completed.completed_at) == (MessageState.COMPLETED, NOW)
        assert failed is not None
        assert (failed.state, failed.detail) == (MessageState.FAILED, "No such mailbox.")

    asyncio.run(run())


@DIALECTS
def test_a_document_is_uploaded_attached_and_listed(dialect: str) -> None:
    async def run() -> None:
        simulator = world(dialect=dialect)
        metriport = to(simulator)

        document_id = await metriport.upload(content(b"bytes"), patient=PATIENT, description=DESCRIPTION)
        message_id = await sent(metriport, a_send(attachments=[document_id]))

        document = simulator.documents[document_id]
        assert (document.data, document.content_type) == (b"bytes", "application/pdf")
        assert await metriport.listed(PATIENT) == frozenset({document_id})
        found = await metriport.message(message_id)
        assert found is not None
        assert found.attachments == frozenset({document_id})

    asyncio.run(run())


def test_a_document_that_metriport_refuses() -> None:
    with pytest.raises(Rejected) as caught:
        asyncio.run(to(world()).upload(content(), patient=PATIENT, description={"description": "Report"}))

    assert (caught.value.status, caught.value.issues) == (400, ("type.text is required",))


def test_a_place_that_has_expired_is_asked_for_again_later() -> None:
    simulator = world()
    simulator.add_fault("POST", "/medical/v1/document/upload", "url-expired")

    with pytest.raises(Temporary, match="403"):
        asyncio.run(to(simulator).upload(content(), patient=PATIENT, description=DESCRIPTION))


@DIALECTS
def test_a_long_list_is_read_to_its_end(dialect: str) -> None:
    async def run() -> None:
        metriport = to(world(dialect=dialect))
        ids = {await sent(metriport, a_send()) for _ in range(501)}

        listing = await metriport.outbound(PATIENT)

        assert {one.id for one in listing.messages} == ids
        assert (listing.whole, listing.pages) == (True, 2)

    asyncio.run(run())


def test_the_list_is_of_one_patient_and_outbound_only() -> None:
    async def run() -> None:
        simulator = world()
        metriport = to(simulator)
        mine = await sent(metriport, a_send())
        await sent(metriport, a_send(SANDBOX_PATIENTS[1].id))
        simulator.receive(NOW, patientId=PATIENT, subject="Reply", body="Seen.")

        listing = await metriport.outbound(PATIENT)

        assert [one.id for one in listing.messages] == [mine]

    asyncio.run(run())


def test_a_list_that_repeats_a_row_is_not_whole() -> None:
    async def run() -> None:
        simulator = world()
        metriport = to(simulator)
        message_id = await sent(metriport, a_send())
        simulator.add_fault("GET", SEND_PATH, "list-repeat")

        listing = await metriport.outbound(PATIENT)

        assert [one.id for one in listing.messages] == [message_id]
        assert listing.whole is False

    asyncio.run(run())


@pytest.mark.parametrize(
    ("fault", "answer", "applied"),
    [
        ("apply-then-drop", Unknown, 1),
        ("apply-then-500", Unknown, 1),
        ("apply-then-429", Waiting, 1),
        ("apply-late:30", Unknown, 0),
        ("drop", Unknown, 0),
        ("500", Unknown, 0),
        ("503", Unknown, 0),
        ("429", Waiting, 0),
        ("429:7", Waiting, 0),
        ("slow:5", Unknown, 1),
        ("malformed", Unknown, 1),
        ("no-id", Unknown, 1),
        ("redirect", Unknown, 0),
    ],
)
@DIALECTS
def test_what_a_fault_of_the_send_means(dialect: str, fault: str, answer: type, applied: int) -> None:
    simulator = world(dialect=dialect)
    simulator.add_fault("POST", SEND_PATH, fault)

    found = asyncio.run(to(simulator, send_seconds=1.0).send(a_send(), in_time=always))

    assert isinstance(found, answer)
    assert len(simulator.messages) == applied
    assert len(simulator.requests) == 1


def test_a_stated_wait_is_kept() -> None:
    simulator = world()
    simulator.add_fault("POST", SEND_PATH, "429:7")

    found = asyncio.run(to(simulator).send(a_send(), in_time=always))

    assert isinstance(found, Waiting)
    assert found.retry_after_seconds == 7.0


def test_the_limit_of_the_account_makes_it_wait() -> None:
    async def run() -> list[object]:
        metriport = to(world(limits=True))
        return [await metriport.send(a_send(), in_time=always) for _ in range(21)]

    answers = asyncio.run(run())

    assert [type(one) for one in answers] == [Sent] * 20 + [Waiting]


@pytest.mark.parametrize("fault", ["drop", "500", "503", "429:7", "malformed", "no-id", "redirect"])
def test_a_fault_of_a_read_is_temporary(fault: str) -> None:
    async def run() -> None:
        simulator = world()
        metriport = to(simulator)
        message_id = await sent(metriport, a_send())
        for read in (
            lambda: metriport.message(message_id),
            lambda: metriport.outbound(PATIENT),
            lambda: metriport.listed(PATIENT),
        ):
            simulator.add_fault("GET", "/medical/v1", fault)
            with pytest.raises(Temporary) as caught:
                await read()
            expected = NOW + timedelta(seconds=7) if fault == "429:7" else None
            assert caught.value.retry_at == expected

    asyncio.run(run())


def test_what_metriport_does_not_know() -> None:
    async def run() -> None:
        metriport = to(world())
        nobody = "0190b1c2-0000-7000-8000-0000000000ee"

        assert await metriport.message(nobody) is None
        answer = await metriport.send(a_send(nobody), in_time=always)
        assert isinstance(answer, Refused)
        assert (answer.code, answer.detail) == ("held-patient-gone", f"Could not find patient {nobody}")
        with pytest.raises(Rejected) as caught:
            await metriport.listed(nobody)
        assert caught.value.status == 404

    asyncio.run(run())


def test_what_metriport_refuses_is_refused_with_its_sentence() -> None:
    found = asyncio.run(to(world()).send(a_send(surprise="x"), in_time=always))

    assert isinstance(found, Refused)
    assert found.code == "refused-by-metriport"
    assert found.detail


def test_a_wrong_key_stops_the_lane_and_is_seen_by_the_check() -> None:
    async def run() -> None:
        simulator = world()
        metriport = to(simulator, api_key="another")

        assert isinstance(await metriport.send(a_send(), in_time=always), LaneStopped)
        assert (await metriport.check()).account is Account.REFUSED
        with pytest.raises(Rejected):
            await metriport.message("0190b1c2-0000-7000-8000-0000000000ee")
        with pytest.raises(Temporary):
            await metriport.upload(content(), patient=PATIENT, description=DESCRIPTION)
        assert simulator.messages == []

    asyncio.run(run())


def test_the_check_is_content_with_the_right_key() -> None:
    assert asyncio.run(to(world()).check()).account is Account.OK


def test_webhooks_are_verified_and_read() -> None:
    async def run() -> None:
        simulator = world()
        metriport = to(simulator)
        key = simulator.set_webhook("http://adapter.test/webhooks/metriport", NOW)
        message_id = await sent(metriport, a_send())
        simulator.fail(message_id, "No such mailbox.", NOW)

        ping, status = simulator.calls_due(NOW)

        for call in (ping, status):
            webhook.verify(call.body, call.headers["x-metriport-signature"], ["former", key])
            with pytest.raises(Unverified):
                webhook.verify(call.body, call.headers["x-metriport-signature"], ["former"])
        assert isinstance(webhook.read(ping.body), Ping)
        event = webhook.read(status.body)
        assert isinstance(event, StatusEvent)
        assert (event.status.message, event.status.state) == (message_id, MessageState.FAILED)
        assert (event.status.at, event.status.detail) == (NOW, "No such mailbox.")

    asyncio.run(run())


@pytest.mark.parametrize(("fault", "applied"), [("drop", 0), ("apply-then-drop", 1)])
def test_a_connection_dropped_on_a_real_socket_is_unknown(fault: str, applied: int) -> None:
    async def run() -> None:
        simulator = world()
        simulator.add_fault("POST", SEND_PATH, fault)
        config = uvicorn.Config(
            Shell(simulator, clock=lambda: NOW),
            host="127.0.0.1",
            port=0,
            lifespan="off",
            ws="none",
            log_level="critical",
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]

        async with client(f"http://127.0.0.1:{port}", api_key=DEFAULT_API_KEY) as metriport:
            found = await metriport.send(a_send(), in_time=always)

        server.should_exit = True
        await serving
        assert isinstance(found, Unknown)
        assert len(simulator.messages) == applied

    asyncio.run(run())
