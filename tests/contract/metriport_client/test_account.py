"""The webhook's settings and deliveries: the client, the pretend Metriport, and answers that are not as documented."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from adapter.errors import Rejected, Temporary
from adapter.metriport import webhook
from adapter.metriport.account import Deliveries, Webhook, WebhookRequest, WebhookStatus, ping
from adapter.metriport.webhook import Other, ReceivedEvent
from adapter.simulators.metriport import DEFAULT_API_KEY, SANDBOX_PATIENTS, World
from adapter.simulators.shell import Shell
from tests.contract.metriport_client.clients import BASE, NOW, answering

URL = "https://adapter.test/webhooks/metriport"
PATIENT = SANDBOX_PATIENTS[0].id


def world() -> World:
    return World(public_url=BASE, auto_complete_seconds=None)


def to(simulator: World) -> Deliveries:
    app: Any = Shell(simulator, clock=lambda: NOW)
    over = httpx.ASGITransport(app=app)
    return Deliveries(base_url=BASE, api_key=DEFAULT_API_KEY, now=lambda: NOW, over=over)


def telling(body: object) -> Deliveries:
    return answering(lambda _: httpx.Response(200, json=body))


async def listed(metriport: Deliveries) -> list[WebhookRequest]:
    return [one async for one in metriport.deliveries()]


def _never(_: httpx.Request) -> httpx.Response:
    raise AssertionError("it was called")


def answer_all(simulator: World, status: int | None) -> None:
    for call in simulator.calls_due(NOW):
        simulator.call_ended(call, status, NOW)


def test_an_address_is_set_gets_its_key_and_is_seen_again() -> None:
    async def run() -> None:
        simulator = world()
        metriport = to(simulator)

        assert await metriport.webhook() == Webhook(url=None, key=None)
        there = await metriport.set_webhook(URL)
        assert await metriport.webhook() == there
        assert await metriport.set_webhook(URL) == there
        (call,) = simulator.calls_due(NOW)

        assert there.url == call.url == URL
        assert there.key is not None
        webhook.verify(call.body, call.headers["x-metriport-signature"], [there.key])
        assert [one.path for one in simulator.requests] == ["/settings"] * 4

    asyncio.run(run())


def test_an_address_that_metriport_refuses() -> None:
    with pytest.raises(Rejected) as caught:
        asyncio.run(to(world()).set_webhook("adapter"))

    assert caught.value.issues == ("webhookUrl must be a URL",)


def test_the_key_is_not_in_the_repr() -> None:
    assert "s3cret" not in repr(Webhook(url=URL, key="s3cret"))


@pytest.mark.parametrize(
    "body", [None, [], {}, {"webhookUrl": URL}, {"webhookUrl": URL, "webhookKey": ["k"]}]
)
def test_an_answer_without_a_key_is_none(body: object) -> None:
    with pytest.raises(Temporary, match="no key"):
        asyncio.run(telling(body).set_webhook(URL))


def test_what_metriport_says_of_the_webhook() -> None:
    async def run() -> None:
        simulator = world()
        metriport = to(simulator)

        off = await metriport.webhook_status()
        await metriport.set_webhook(URL)
        for status in (500, 200):
            simulator.announce("patient.admit", NOW, patientId=PATIENT)
            answer_all(simulator, status)
        simulator.announce("patient.admit", NOW, patientId=PATIENT)
        on = await metriport.webhook_status()

        assert off.enabled is False
        assert on == WebhookStatus(enabled=True, detail="OK", processing=1, failed=1)

    asyncio.run(run())


@pytest.mark.parametrize(
    "body",
    [
        None,
        "OK",
        {"webhookEnabled": "yes", "webhookStatusDetail": 7},
        {"webhookRequestsProcessing": True, "webhookRequestsFailed": "3"},
    ],
)
def test_what_metriport_does_not_say_is_not_known(body: object) -> None:
    assert asyncio.run(telling(body).webhook_status()) == WebhookStatus()


def test_deliveries_are_listed_newest_first_over_all_pages() -> None:
    async def run() -> None:
        simulator = world()
        metriport = to(simulator)
        await metriport.set_webhook(URL)
        for number in range(501):
            at = NOW + timedelta(seconds=number)
            simulator.announce("patient.admit" if number else "patient.discharge", at, patientId=PATIENT)
        answer_all(simulator, 200)

        found = await listed(metriport)

        assert len({one.id for one in found}) == 501
        assert found[-1] == WebhookRequest(
            id=found[-1].id, kind="patient.discharge", status="success", created_at=NOW
        )
        assert [one.created_at for one in found] == [
            NOW + timedelta(seconds=500 - number) for number in range(501)
        ]

    asyncio.run(run())


def test_pages_that_nobody_asks_for_are_not_read() -> None:
    async def run() -> None:
        simulator = world()
        metriport = to(simulator)
        await metriport.set_webhook(URL)
        for _ in range(501):
            simulator.announce("patient.admit", NOW, patientId=PATIENT)

        first = await anext(metriport.deliveries())

        assert first.kind == "patient.admit"
        assert [one.path for one in simulator.requests].count("/settings/webhook/request") == 1

    asyncio.run(run())


def test_rows_are_read_as_far_as_they_can_be() -> None:
    rows: list[Any] = [
        {"id": "a", "type": "patient.admit", "status": "success", "createdAt": "2026-07-01T12:00:00.000Z", "more": {}},
        {"id": "b"},
        {"id": "c", "type": 7, "status": None, "createdAt": "soon"},
        {"id": None},
        {"type": "patient.admit"},
        "d",
    ]  # fmt: skip

    found = asyncio.run(listed(telling({"meta": {}, "requests": rows})))

    assert found == [
        WebhookRequest(id="a", kind="patient.admit", status="success", created_at=NOW),
        WebhookRequest(id="b"),
        WebhookRequest(id="c"),
    ]


@pytest.mark.parametrize("body", [None, [], {}, {"requests": {}}, {"meta": {}, "deliveries": []}])
def test_what_is_no_list_of_deliveries_is_not_taken_for_an_empty_one(body: object) -> None:
    with pytest.raises(Temporary, match="no list"):
        asyncio.run(listed(telling(body)))


@pytest.mark.parametrize(
    "link",
    ["https://elsewhere.test/next", f"{BASE}/settings/webhook/request?count=500&sort=createdAt%3Ddesc"],
)
def test_a_next_page_on_another_host_or_seen_before_is_not_followed(link: str) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(200, json={"meta": {"nextPage": link}, "requests": [{"id": "a"}]})

    with capture_logs() as log:
        assert len(asyncio.run(listed(answering(answer)))) == len(asked)
    assert [one["event"] for one in log] == ["deliveries.not-whole"]
    assert set(asked) == {"api.metriport.test"}
    assert len(asked) <= 2


def test_a_delivery_is_had_again_with_a_fresh_link() -> None:
    async def run() -> None:
        simulator = world()
        metriport = to(simulator)
        await metriport.set_webhook(URL)
        simulator.receive(NOW, patientId=PATIENT, subject="Reply", body="Seen.")
        first = webhook.read(simulator.calls_due(NOW)[1].body)
        (listed_as,) = await listed(metriport)

        again = webhook.read(await metriport.redeliver(listed_as.id))

        assert isinstance(first, ReceivedEvent)
        assert isinstance(again, ReceivedEvent)
        assert (again.kind, again.patient) == (first.kind, first.patient)
        assert again.delivery_id != first.delivery_id
        assert again.links
        assert again.links != first.links
        assert simulator.requests[-1].method == "POST"

    asyncio.run(run())


def test_a_delivery_that_metriport_has_no_more() -> None:
    with pytest.raises(Rejected) as caught:
        asyncio.run(to(world()).redeliver("0190b1c2-0000-7000-8000-0000000000ee"))

    assert (caught.value.status, bool(caught.value.issues)) == (404, True)


@pytest.mark.parametrize("id", ["", ".", "..", "a b", "\ud800"])
def test_what_is_no_id_is_not_asked_for(id: str) -> None:
    with pytest.raises(Rejected, match="no id"):
        asyncio.run(answering(_never).redeliver(id))


def test_an_id_stays_one_step_of_the_path() -> None:
    asked: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path)
        return httpx.Response(200, json={"meta": {"type": "patient.admit"}})

    raw = asyncio.run(answering(answer).redeliver("../a?b"))

    assert asked == [b"/settings/webhook/request/..%2Fa%3Fb/retry"]
    assert isinstance(webhook.read(raw), Other)


# --- the proof that somebody answers ---------------------------------------------------------------------------------


def _adapter(status: int = 200, change: Callable[[dict[str, Any]], object] = lambda pong: pong) -> Any:
    def answer(request: httpx.Request) -> httpx.Response:
        webhook.verify(request.content, request.headers["x-metriport-signature"], ["the key"])
        asked = webhook.read(request.content)
        assert isinstance(asked, webhook.Ping)
        return httpx.Response(status, json=change(json.loads(asked.pong)))

    return httpx.MockTransport(answer)


def _nobody(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize(
    ("over", "why"),
    [
        (_adapter(), None),
        (_adapter(401), "it answered 401"),
        (_adapter(302), "it answered 302"),
        (_adapter(change=lambda _: {"pong": "another"}), "what answers there is not the adapter"),
        (_adapter(change=lambda _: ["pong"]), "what answers there is not the adapter"),
        (httpx.MockTransport(_nobody), "no connection could be made (ConnectError)"),
    ],
)
def test_a_ping_proves_that_the_adapter_is_there_and_has_the_key(
    over: httpx.AsyncBaseTransport, why: str | None
) -> None:
    assert asyncio.run(ping(Webhook(url=URL, key="the key"), over=over)) == why


@pytest.mark.parametrize("url", [None, "", "adapter", "ftp://adapter.test", "https://user@adapter.test"])
def test_what_is_no_address_is_not_called(url: str | None) -> None:
    over = httpx.MockTransport(_never)

    assert asyncio.run(ping(Webhook(url=url, key="k"), over=over)) == "it is no address that can be called"
