"""What the adapter serves: webhook, doorbell, health, metrics; one shape for every error."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from adapter.web.app import MOST_BYTES
from tests.integration.people import communication, stage
from tests.virtual.loop import run
from tests.virtual.site import ADAPTER_URL, SECRET, Site, site

PING = json.dumps({"ping": "word", "meta": {"messageId": "m", "type": "ping"}}).encode()


def _signed(body: bytes, key: str) -> dict[str, str]:
    return {"x-metriport-signature": hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}


def _asked(
    method: str,
    path: str,
    *,
    body: bytes = b"",
    headers: Callable[[str], dict[str, str]] = lambda _: {},
    also: Callable[[Site], Awaitable[None]] | None = None,
) -> tuple[httpx.Response, Site]:
    """One request to an adapter at work."""

    async def scenario() -> tuple[httpx.Response, Site]:
        async with site() as clinic:
            assert clinic.adapter is not None
            key = clinic.settings.metriport.webhook_keys[0].get_secret_value()
            async with httpx.AsyncClient(transport=httpx.ASGITransport(clinic.adapter.app)) as http:
                answer = await http.request(method, ADAPTER_URL + path, content=body, headers=headers(key))
            if also:
                await also(clinic)
            return answer, clinic

    return run(scenario())


def _assert_error(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["message"]


def test_a_ping_is_answered_with_its_word() -> None:
    answer, _ = _asked("POST", "/webhooks/metriport", body=PING, headers=lambda key: _signed(PING, key))

    assert (answer.status_code, answer.json()) == (200, {"pong": "word"})


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(lambda _: {}, id="none"),
        pytest.param(lambda _: _signed(PING, "another"), id="another key"),
        pytest.param(lambda key: _signed(PING + b" ", key), id="another body"),
        pytest.param(lambda key: {n: v.upper() for n, v in _signed(PING, key).items()}, id="upper case"),
    ],
)
def test_a_webhook_that_is_not_signed_is_refused(headers: Callable[[str], dict[str, str]]) -> None:
    answer, _ = _asked("POST", "/webhooks/metriport", body=PING, headers=headers)

    _assert_error(answer, 401, "unverified")


def test_a_webhook_that_is_not_json_is_refused() -> None:
    answer, _ = _asked("POST", "/webhooks/metriport", body=b"\xff", headers=lambda key: _signed(b"\xff", key))

    _assert_error(answer, 400, "rejected")


def test_a_webhook_over_the_cap_is_refused() -> None:
    answer, _ = _asked("POST", "/webhooks/metriport", body=bytes(MOST_BYTES + 1))

    _assert_error(answer, 413, "rejected")


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        pytest.param(
            "message.received", {"payload": {"url": "http://metriport.test/x"}}, id="not worked on yet"
        ),
        pytest.param("something.new", {}, id="unknown"),
        pytest.param("message.status", {"payload": 7}, id="without a status"),
    ],
)
def test_every_other_event_is_kept_and_counted(kind: str, payload: dict[str, Any]) -> None:
    body = json.dumps({"meta": {"messageId": "m-1", "type": kind}, **payload}).encode()

    async def also(clinic: Site) -> None:
        assert clinic.adapter is not None
        await clinic.passes(5)
        assert (await clinic.adapter.insights.summary(now=clinic.clock.now())).deliveries == 0

    answer, _ = _asked(
        "POST", "/webhooks/metriport", body=body, headers=lambda key: _signed(body, key), also=also
    )

    assert answer.status_code == 200


def test_a_delivery_that_cannot_be_kept_is_not_acknowledged() -> None:
    body = json.dumps({"meta": {"messageId": "m-1", "type": "x"}}).encode()

    async def scenario() -> httpx.Response:
        async with site() as clinic:
            assert clinic.adapter is not None
            clinic.ledger_fails("keep")
            key = clinic.settings.metriport.webhook_keys[0].get_secret_value()
            async with httpx.AsyncClient(transport=httpx.ASGITransport(clinic.adapter.app)) as http:
                return await http.post(
                    f"{ADAPTER_URL}/webhooks/metriport", content=body, headers=_signed(body, key)
                )

    _assert_error(run(scenario()), 503, "temporary")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/doorbell"), ("PUT", "/doorbell/Communication/referral")]
)
def test_both_notifications_of_hapi_ring(method: str, path: str) -> None:
    async def scenario() -> tuple[int, list[str]]:
        async with site(doorbell=False) as clinic:
            assert clinic.adapter is not None
            await clinic.passes(10)
            stage(clinic)
            clinic.write(communication())
            async with httpx.AsyncClient(transport=httpx.ASGITransport(clinic.adapter.app)) as http:
                headers = {"authorization": f"Bearer {SECRET}"}
                answer = await http.request(method, ADAPTER_URL + path, headers=headers)
            await clinic.passes(6)
            return answer.status_code, [message.subject for message in clinic.metriport.messages]

    assert run(scenario()) == (200, ["Referral"])


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": SECRET}])
def test_a_doorbell_without_the_secret_is_refused(headers: dict[str, str]) -> None:
    answer, _ = _asked("POST", "/doorbell", headers=lambda _: headers)

    _assert_error(answer, 401, "unverified")


def test_nothing_else_is_served() -> None:
    _assert_error(_asked("GET", "/nothing")[0], 404, "no-route")
    _assert_error(_asked("GET", "/webhooks/metriport")[0], 405, "no-route")


def test_health_says_what_works() -> None:
    assert _asked("GET", "/health/live")[0].json() == {"status": "live"}
    answer, _ = _asked("GET", "/health/ready")

    assert answer.status_code == 200
    assert {part["name"]: part["ok"] for part in answer.json()["parts"]} == {"ledger": True, "lane": True}


def test_health_says_when_the_ledger_is_away() -> None:
    async def scenario() -> httpx.Response:
        async with site(started=False) as clinic:
            adapter = await clinic.start(idle=True)
            adapter.insights = clinic.dead_insights()
            async with httpx.AsyncClient(transport=httpx.ASGITransport(adapter.app)) as http:
                return await http.get(f"{ADAPTER_URL}/health/ready")

    answer = run(scenario())

    assert answer.status_code == 503
    assert answer.json()["status"] == "not-ready"


def test_metrics_count_transmissions_by_state() -> None:
    async def scenario() -> str:
        async with site() as clinic:
            assert clinic.adapter is not None
            stage(clinic)
            clinic.write(communication())
            await clinic.passes(30)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(clinic.adapter.app)) as http:
                return (await http.get(f"{ADAPTER_URL}/metrics")).text

    metrics = run(scenario())

    assert 'adapter_transmissions{state="completed"} 1.0' in metrics
    assert "adapter_lane_stopped 0.0" in metrics


def test_a_subscription_that_the_server_refuses_is_tried_again() -> None:
    async def scenario() -> int:
        async with site(started=False) as clinic:
            clinic.fhir.add_fault("PUT", "/Subscription/", "503", times=2)
            await clinic.start()
            await clinic.passes(400)
            return len(clinic.fhir.resources("Subscription"))

    assert run(scenario()) == 1
