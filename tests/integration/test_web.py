"""What the adapter serves: who is let in, what is kept before it is answered, and one shape for every error."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

import httpx
import pytest
import sqlalchemy as sa

from adapter.config import Settings
from adapter.domain.transmission import State
from adapter.ledger.tables import metadata
from adapter.metriport.webhook import MOST_AHEAD
from adapter.simulators.metriport import SANDBOX_PATIENTS
from adapter.simulators.metriport.events import EXAMPLE_TYPES
from adapter.web.app import MOST_BYTES
from tests.integration.people import communication, stage
from tests.virtual.loop import run
from tests.virtual.site import ADAPTER_URL, SECRET, Site, site

T = TypeVar("T")

ENTRY = "/webhooks/metriport"
BELL = {"authorization": f"Bearer {SECRET}"}
EVENT = b'{"meta": {"messageId": "m-1", "type": "medical.something-new"}, "payload": {}}'


@asynccontextmanager
async def _http(clinic: Site) -> AsyncIterator[httpx.AsyncClient]:
    assert clinic.adapter is not None
    over = httpx.ASGITransport(clinic.adapter.app)
    async with httpx.AsyncClient(transport=over, base_url=ADAPTER_URL) as http:
        yield http


def _at(
    visit: Callable[[Site, httpx.AsyncClient], Awaitable[T]],
    settings: Callable[[Settings], Settings] = lambda settings: settings,
) -> T:
    """What a visitor finds at an adapter at work whose FHIR server is empty and rings no bell."""

    async def scenario() -> T:
        async with site(started=False, doorbell=False) as clinic:
            clinic.settings = settings(clinic.settings)
            await clinic.start()
            await clinic.passes(1)
            async with _http(clinic) as http:
                return await visit(clinic, http)

    return run(scenario())


def _keys(clinic: Site) -> list[str]:
    return [key.get_secret_value() for key in clinic.settings.metriport.webhook_keys]


def _sign(raw: bytes, key: str) -> dict[str, str]:
    return {"x-metriport-signature": hmac.new(key.encode(), raw, hashlib.sha256).hexdigest()}


def _posted(raw: bytes) -> Callable[[Site, httpx.AsyncClient], Awaitable[httpx.Response]]:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> httpx.Response:
        return await http.post(ENTRY, content=raw, headers=_sign(raw, _keys(clinic)[0]))

    return visit


def assert_error(answer: httpx.Response, status: int, code: str) -> None:
    """The one shape of an error."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert body["error"]["code"] == code
    assert len(body["error"]["message"].split()) > 3


# --- the webhook ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(lambda _: None, id="missing"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda right: right[:-1] + b"0" if right[-1:] != b"0" else b"1" * 64, id="wrong"),
        pytest.param(lambda right: right.upper(), id="upper case"),
        pytest.param(lambda _: "ünsigned".encode(), id="non-ASCII"),
        pytest.param(lambda _: _sign(EVENT, "another")["x-metriport-signature"].encode(), id="other key"),
    ],
)
def test_a_call_that_is_not_signed_with_our_key_is_not_let_in(
    signature: Callable[[bytes], bytes | None],
) -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> tuple[httpx.Response, int]:
        assert clinic.adapter is not None
        stated = signature(_sign(EVENT, _keys(clinic)[0])["x-metriport-signature"].encode())
        headers = [] if stated is None else [(b"x-metriport-signature", stated)]
        before = await clinic.adapter.ledger.waiting(now=clinic.clock.now(), limit=9)
        answer = await http.post(ENTRY, content=EVENT, headers=headers)
        return answer, len(await clinic.adapter.ledger.waiting(now=clinic.clock.now(), limit=9)) - len(before)

    answer, kept = _at(visit)

    assert_error(answer, 401, "unverified")
    assert kept == 0


@pytest.mark.parametrize("number", [0, 1])
def test_while_a_key_is_replaced_both_count(number: int) -> None:
    def two_keys(settings: Settings) -> Settings:
        metriport = settings.metriport.model_dump() | {"webhook_keys": ["former", "next"]}
        return Settings.model_validate({**dict(settings), "metriport": metriport})

    async def visit(clinic: Site, http: httpx.AsyncClient) -> httpx.Response:
        return await http.post(ENTRY, content=EVENT, headers=_sign(EVENT, _keys(clinic)[number]))

    assert _at(visit, two_keys).status_code == 200


def test_a_ping_is_answered_with_its_word() -> None:
    answer = _at(_posted(b'{"ping": "b\\u00fcrk"}'))

    assert (answer.status_code, answer.json()) == (200, {"pong": "bürk"})


def test_a_ping_is_answered_though_the_ledger_is_not_there() -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> httpx.Response:
        async with _locked(clinic):
            return await _posted(b'{"ping": "x"}')(clinic, http)

    assert _at(visit).json() == {"pong": "x"}


def test_more_bytes_than_can_be_an_event_are_not_read() -> None:
    assert_error(_at(_posted(b" " * (MOST_BYTES + 1))), 413, "rejected")


@pytest.mark.parametrize("raw", [b"", b"\xff", b'{"meta": ', b"[]", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    assert_error(_at(_posted(raw)), 400, "rejected")


def test_a_caller_that_goes_away_in_the_middle_is_no_error_of_ours() -> None:
    async def visit(clinic: Site, _http: httpx.AsyncClient) -> list[dict[str, Any]]:
        assert clinic.adapter is not None
        said: list[dict[str, Any]] = []
        heard = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

        async def receive() -> Any:
            return next(heard)

        async def send(message: Any) -> None:
            said.append(message)

        scope = {"type": "http", "method": "POST", "path": ENTRY, "query_string": b"", "headers": []}
        await clinic.adapter.app(scope, receive, send)
        return said

    assert _at(visit)[0]["status"] == 400


def test_a_delivery_is_committed_before_it_is_answered() -> None:
    async def scenario() -> tuple[int, list[str]]:
        async with site(started=False, doorbell=False) as clinic:
            await clinic.start(idle=True)
            async with _http(clinic) as http:
                answer = await _posted(EVENT)(clinic, http)
            # Nobody had a turn between the answer and this moment.
            clinic.kill()
            successor = await clinic.start(idle=True)
            waiting = await successor.ledger.waiting(now=clinic.clock.now(), limit=99)
            return answer.status_code, [one.delivery_id for one in waiting]

    assert run(scenario()) == (200, ["m-1"])


def test_a_delivery_that_cannot_be_kept_is_not_answered_with_200() -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> httpx.Response:
        async with _locked(clinic):
            return await http.post(ENTRY, content=EVENT, headers=_sign(EVENT, _keys(clinic)[0]))

    assert_error(_at(visit), 503, "temporary")


def test_an_event_of_an_unknown_type_is_kept_and_counted() -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> tuple[int, str, str, str | None]:
        assert clinic.adapter is not None
        answer = await http.post(ENTRY, content=EVENT, headers=_sign(EVENT, _keys(clinic)[0]))
        before = (await http.get("/metrics")).text
        await clinic.passes(5)
        after = (await http.get("/metrics")).text
        async with clinic.adapter.insights._database.reading() as connection:
            deliveries = metadata.tables["deliveries"]
            query = sa.select(deliveries.c.note).where(deliveries.c.delivery_id == "m-1")
            note = (await connection.execute(query)).scalar_one()
        return answer.status_code, before, after, note

    status, before, after, note = _at(visit)

    assert status == 200
    assert "adapter_deliveries_waiting 1.0" in before
    assert "adapter_deliveries_waiting 0.0" in after
    assert note == "kept"


def test_a_delivery_that_comes_again_is_worked_on_again() -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> tuple[list[str], list[str]]:
        assert clinic.adapter is not None
        ledger, waiting = clinic.adapter.ledger, []
        for _ in range(2):
            await _posted(EVENT)(clinic, http)
            waiting.append([one.delivery_id for one in await ledger.waiting(limit=9, now=clinic.clock.now())])
            await clinic.passes(5)
        return waiting[0], waiting[1]

    first, again = _at(visit)

    assert "m-1" in first
    assert again == ["m-1"]


@pytest.mark.parametrize(
    ("ahead", "status"), [(-timedelta(days=3650), 200), (MOST_AHEAD, 200), (2 * MOST_AHEAD, 400)]
)
@pytest.mark.parametrize("body", [{"ping": "x"}, {"payload": {}}])
def test_a_call_may_be_old_but_not_from_the_future(
    ahead: timedelta, status: int, body: dict[str, Any]
) -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> httpx.Response:
        meta = {"messageId": "m-1", "type": "ping", "when": (clinic.clock.now() + ahead).isoformat()}
        return await _posted(json.dumps({"meta": meta, **body}).encode())(clinic, http)

    assert _at(visit).status_code == status


def test_what_is_taken_is_counted_by_type_and_what_is_refused_is_not() -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> set[str]:
        for kind in ("ping", "patient.admit", "patient.admit", "quokka", "wallaby"):
            await _posted(json.dumps({"meta": {"type": kind}, "ping": "x"}).encode())(clinic, http)
        await http.post(
            ENTRY, content=b'{"meta": {"type": "patient.transfer"}}', headers=_sign(b"", "another")
        )
        lines = (await http.get("/metrics")).text.splitlines()
        return {line for line in lines if line.startswith("adapter_deliveries_total")}

    # The site's own ping is one, too.
    assert _at(visit) == {
        'adapter_deliveries_total{kind="ping"} 2.0',
        'adapter_deliveries_total{kind="patient.admit"} 2.0',
        'adapter_deliveries_total{kind="other"} 2.0',
    }


@pytest.mark.parametrize("kind", EXAMPLE_TYPES)
def test_every_event_that_metriport_documents_is_taken_and_kept(kind: str) -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> tuple[int | None, list[tuple[str, bool]], str]:
        assert clinic.adapter is not None
        clinic.metriport.announce(kind, clinic.clock.now(), patientId=SANDBOX_PATIENTS[0].id)
        await clinic.passes(5)
        async with clinic.adapter.insights._database.reading() as connection:
            deliveries = metadata.tables["deliveries"]
            rows = await connection.execute(sa.select(deliveries.c.kind, deliveries.c.done))
            there = [(row.kind, row.done) for row in rows]
        shown = await clinic.adapter.metriport.webhook_status()
        return shown.failed, there, (await http.get("/metrics")).text

    failed, there, metrics = _at(visit)

    assert failed == 0
    assert there == [(kind, True)]
    assert f'adapter_deliveries_total{{kind="{kind}"}} 1.0' in metrics


# --- the doorbell -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/doorbell"), ("PUT", "/doorbell"), ("PUT", "/doorbell/Communication/x")]
)
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": SECRET}])
def test_a_bell_without_the_secret_does_not_ring(method: str, path: str, headers: dict[str, str]) -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> tuple[httpx.Response, int]:
        reads = len(clinic.fhir.requests)
        answer = await http.request(method, path, headers=headers)
        await clinic.passes(1)
        return answer, len(clinic.fhir.requests) - reads

    answer, reads = _at(visit)

    assert_error(answer, 401, "unverified")
    assert reads == 0


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        pytest.param("POST", "/doorbell", ("GET", "/Communication"), id="look at all"),
        pytest.param("PUT", "/doorbell/Communication/x", ("GET", "/Communication/x"), id="look at that one"),
        pytest.param("PUT", "/doorbell/Patient/x", ("GET", "/Communication"), id="what is none means all"),
    ],
)
def test_a_bell_with_the_secret_has_the_adapter_look(method: str, path: str, asked: tuple[str, str]) -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> tuple[int, list[tuple[str, str]]]:
        reads = len(clinic.fhir.requests)
        answer = await http.request(method, path, headers=BELL, content=b"whatever")
        await clinic.passes(1)
        return answer.status_code, [(one.method, one.path) for one in clinic.fhir.requests[reads:]]

    assert _at(visit) == (200, [asked])


def test_a_bell_without_a_secret_set_says_so() -> None:
    def no_secret(settings: Settings) -> Settings:
        return Settings.model_validate({**dict(settings), "watch": {"doorbell": "off"}})

    async def visit(_: Site, http: httpx.AsyncClient) -> httpx.Response:
        return await http.post("/doorbell", headers={"authorization": "Bearer "})

    assert_error(_at(visit, no_secret), 503, "not-configured")


# --- health, metrics, and the rest ------------------------------------------------------------------------------------


@asynccontextmanager
async def _locked(clinic: Site) -> AsyncIterator[None]:
    """The ledger's only connection is taken: its database answers nobody in time."""
    assert clinic._ledger is not None
    async with clinic._ledger._database._writer.connect():
        yield


def test_alive_is_alive_whatever_the_ledger_does() -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> httpx.Response:
        async with _locked(clinic):
            return await http.get("/health/live")

    assert _at(visit).json() == {"status": "live"}


def test_ready_means_that_the_ledger_answers() -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        well = await http.get("/health/ready")
        async with _locked(clinic):
            return well, await http.get("/health/ready")

    well, ill = _at(visit)

    assert (well.status_code, well.json()["status"]) == (200, "ready")
    assert (ill.status_code, ill.json()["status"]) == (503, "not-ready")
    assert ill.json()["parts"][0] == {"name": "ledger", "ok": False, "detail": "Temporary"}


def test_a_lane_that_is_stopped_is_said_and_takes_nothing_out_of_service() -> None:
    async def scenario() -> tuple[httpx.Response, str]:
        async with site(started=False, api_key="another-key") as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(60)
            async with _http(clinic) as http:
                return await http.get("/health/ready"), (await http.get("/metrics")).text

    ready, metrics = run(scenario())

    lane = ready.json()["parts"][1]
    assert ready.status_code == 200
    assert (lane["name"], lane["detail"].partition(":")[0]) == ("lane", "stopped")
    assert "adapter_lane_stopped 1.0" in metrics
    assert f'adapter_transmissions{{state="{State.WAITING.value}"}} 1.0' in metrics


def test_metrics_count_every_state_and_name_nobody() -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> httpx.Response:
        stage(clinic)
        clinic.write(communication())
        await clinic.passes(60)
        return await http.get("/metrics")

    answer = _at(visit)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.text.count("adapter_transmissions{") == len(State)
    assert 'adapter_transmissions{state="completed"} 1.0' in answer.text
    assert SANDBOX_PATIENTS[0].id not in answer.text
    assert "referral" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/nothing/here", 404),
        ("GET", ENTRY, 405),
        ("DELETE", "/doorbell", 405),
        ("POST", "/metrics", 405),
        ("PUT", "/doorbell/Communication/x/y", 404),
    ],
)
def test_what_is_not_there_has_the_same_shape(method: str, path: str, status: int) -> None:
    async def visit(_: Site, http: httpx.AsyncClient) -> httpx.Response:
        return await http.request(method, path)

    answer = _at(visit)

    assert_error(answer, status, "no-route")
    assert ("allow" in answer.headers) is (status == 405)


def test_an_error_nobody_thought_of_has_it_too_and_shows_nothing_of_itself() -> None:
    async def visit(clinic: Site, http: httpx.AsyncClient) -> httpx.Response:
        assert clinic.adapter is not None
        async with clinic.adapter.insights._database.writing() as connection:
            await connection.exec_driver_sql("UPDATE transmissions SET state = 'Robin Maple'")
        return await http.get("/metrics")

    async def broken(clinic: Site, http: httpx.AsyncClient) -> httpx.Response:
        stage(clinic)
        clinic.write(communication())
        await clinic.passes(60)
        return await visit(clinic, http)

    answer = _at(broken)

    assert_error(answer, 500, "internal")
    assert "Maple" not in answer.text
