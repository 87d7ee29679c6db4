"""What the client makes of single exchanges, among them those that no good server would let happen."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import httpx
import pytest

from adapter.errors import AdapterError, ConfigError, Conflict, Rejected, Temporary
from adapter.fhir import transport
from adapter.fhir.client import FhirClient
from adapter.fhir.transport import Transport
from adapter.ports.fhir import FhirServer
from tests.contract.fhir_client.servers import BASE, NOW, Server, scripted

SECRET = "Zyxwvut"
TASK = {"resourceType": "Task", "id": "1", "status": "requested"}


def page(*resources: dict[str, Any], following: str | None = None) -> httpx.Response:
    link = [{"relation": "next", "url": following}] if following else []
    entry = [{"resource": resource} for resource in resources]
    return httpx.Response(200, json={"resourceType": "Bundle", "link": link, "entry": entry})


async def everything(fhir: FhirClient) -> list[str]:
    return [task["id"] async for task in fhir.search("Task", [("status", "requested"), ("status", SECRET)])]


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_it_is_the_port_that_the_pipelines_know() -> None:
    async def work(fhir: FhirServer) -> str:
        return fhir.base_url

    assert scripted().server.run(work) == BASE


def test_a_search_is_never_answered_from_a_cache_and_never_leniently() -> None:
    script = scripted(page(TASK))

    assert script.server.run(everything) == ["1"]
    assert script.asked[0].method == "GET"
    assert str(script.asked[0].url) == f"{BASE}/Task?status=requested&status={SECRET}&_count=200"
    assert script.asked[0].headers["cache-control"] == "no-cache"
    assert script.asked[0].headers["prefer"] == "handling=strict"
    assert script.asked[0].headers["accept"] == "application/fhir+json"


def test_a_page_size_that_is_asked_for_stands() -> None:
    script = scripted(page())

    async def work(fhir: FhirClient) -> list[Any]:
        return [task async for task in fhir.search("Task", [("_count", "1")])]

    assert script.server.run(work) == []
    assert script.asked[0].url.query == b"_count=1"


def test_a_replacement_names_its_version_and_keeps_its_numbers() -> None:
    script = scripted(
        httpx.Response(200, content=b'{"resourceType":"Task","id":"1","x":2.50}', headers={"etag": 'W/"8"'})
    )
    read = json.loads('{"resourceType": "Task", "id": "1"}')

    async def work(fhir: FhirClient) -> dict[str, Any]:
        return await fhir.replace({**read, "x": (await fhir.put(TASK))["x"]}, version="7")

    replaced = script.server.run(work)

    request = script.asked[1]
    assert (request.method, str(request.url)) == ("PUT", f"{BASE}/Task/1")
    assert request.headers["if-match"] == 'W/"7"'
    assert request.headers["prefer"] == "return=representation"
    assert request.headers["content-type"] == "application/fhir+json"
    assert request.content == b'{"resourceType":"Task","id":"1","x":2.50}'
    assert replaced["meta"] == {"versionId": "8"}
    assert "if-match" not in script.asked[0].headers


def test_credentials_go_with_every_request_to_the_base() -> None:
    script = scripted(page(TASK, following=f"{BASE}?p=2"), page())

    script.server.run(everything, authorization="Bearer t")

    assert [request.headers["authorization"] for request in script.asked] == ["Bearer t", "Bearer t"]


def test_without_credentials_none_are_sent() -> None:
    script = scripted(page())

    script.server.run(everything)

    assert "authorization" not in script.asked[0].headers


def test_another_origin_is_not_asked() -> None:
    script = scripted(page(TASK, following=f"https://evil.example/fhir?p={SECRET}"))

    with pytest.raises(Rejected, match=r"evil\.example:443.*fhir\.base_url") as caught:
        script.server.run(everything, authorization=f"Bearer {SECRET}")

    assert len(script.asked) == 1
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    script = scripted(httpx.Response(status, headers={"location": f"https://evil.example/{SECRET}"}))

    with pytest.raises(Temporary, match=r"redirects.*fhir\.base_url") as caught:
        script.server.run(everything)

    assert len(script.asked) == 1
    assert SECRET not in str(caught.value)


def test_credentials_in_the_base_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match=r"fhir\.base_url"):
        Server(base_url="https://me:pw@fhir.example.org/fhir", way=scripted().server.way).run(everything)


def test_content_is_asked_for_as_it_is() -> None:
    script = scripted(httpx.Response(200, content=b"\x00%PDF", headers={"content-type": "application/pdf"}))

    assert script.server.run(lambda fhir: fhir.read_bytes("b-1")) == b"\x00%PDF"
    assert script.asked[0].headers["accept"] == "*/*"
    assert script.asked[0].headers["accept-encoding"] == "identity"


def test_fhirpy_opens_no_session_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(aiohttp, "ClientSession", opened)
    script = scripted(page(TASK))

    async def work() -> list[Any]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(script)) as http:
            stock = Transport(http, BASE, authorization=None, now=lambda: NOW)
            found = await stock.resources("Task").search(status="requested").fetch()
            _, status = await stock.resources("Task").search(status="old").delete()
            return [repr(stock), status, *(task["id"] for task in found)]

    assert asyncio.run(work()) == [f"<Transport {BASE}>", 200, "1"]
    assert [request.method for request in script.asked] == ["GET", "DELETE"]


# --- what comes back --------------------------------------------------------------------------------------------------


def test_pages_are_read_to_the_end() -> None:
    second, third = {**TASK, "id": "2"}, {**TASK, "id": "3"}
    script = scripted(page(TASK, following=f"{BASE}?p=a|b"), page(second, following="?p=3"), page(third))

    assert script.server.run(everything) == ["1", "2", "3"]
    assert [str(request.url) for request in script.asked[1:]] == [f"{BASE}?p=a|b", f"{BASE}?p=3"]


def test_pages_that_lead_back_are_not_read_for_ever() -> None:
    script = scripted(page(TASK, following=f"{BASE}?p=2"))

    with pytest.raises(Temporary, match="do not end"):
        script.server.run(everything)

    assert len(script.asked) == 2


def test_pages_without_an_end_are_not_read_for_ever() -> None:
    asked = 0

    def endless(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return page(following=f"{BASE}?p={asked}")

    with pytest.raises(Temporary, match="do not end"):
        Server(base_url=BASE, way=lambda: httpx.MockTransport(endless)).run(everything)

    assert asked == 1000


@pytest.mark.parametrize("body", [b"", b"[]", b'{"resourceType":"OperationOutcome"}', b"<html>"])
def test_an_answer_that_is_no_bundle_is_no_result(body: bytes) -> None:
    with pytest.raises(Temporary, match="GET Task"):
        scripted(httpx.Response(200, content=body)).server.run(everything)


def test_an_answer_with_another_id_is_not_taken() -> None:
    script = scripted(httpx.Response(200, json={**TASK, "id": "2"}))

    with pytest.raises(Temporary, match="not the Task"):
        script.server.run(lambda fhir: fhir.read("Task", "1"))


@pytest.mark.parametrize(
    ("type", "id"), [("task", "1"), ("Task", ".."), ("Task", "a/b"), ("Task/1", "x"), ("Task", "")]
)
def test_what_cannot_exist_is_not_asked_for(type: str, id: str) -> None:
    script = scripted(httpx.Response(200, json=TASK))

    async def work(fhir: FhirClient) -> list[Any]:
        return [
            await fhir.read(type, id),
            await fhir.read_version(type, id, "1"),
            await fhir.history(type, id),
        ]

    assert script.server.run(work) == [None, None, None]
    assert script.asked == []


@pytest.mark.parametrize(
    "resource", [{}, {"resourceType": "Task"}, {"resourceType": "Task", "id": "../Patient/1"}]
)
def test_what_has_no_name_is_not_written(resource: dict[str, Any]) -> None:
    script = scripted(httpx.Response(200, json=TASK))

    for write in (
        lambda fhir: fhir.put(resource),
        lambda fhir: fhir.replace(resource, version="1"),
    ):
        with pytest.raises(Rejected, match="nothing was sent"):
            script.server.run(write)

    assert script.asked == []


@pytest.mark.parametrize("status", [404, 410])
def test_replacing_what_is_gone_is_a_conflict(status: int) -> None:
    with pytest.raises(Conflict, match="no longer exists"):
        scripted(httpx.Response(status)).server.run(lambda fhir: fhir.replace(TASK, version="1"))


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_a_refusal_is_passed_on_by_every_call(status: int) -> None:
    server = scripted(httpx.Response(status, json={"resourceType": "OperationOutcome"})).server

    for call in (
        lambda fhir: fhir.read("Task", "1"),
        lambda fhir: fhir.read_version("Task", "1", "1"),
        lambda fhir: fhir.read_bytes("1"),
        lambda fhir: fhir.replace(TASK, version="1"),
        lambda fhir: fhir.put(TASK),
        lambda fhir: fhir.create(TASK),
        lambda fhir: fhir.delete("Task", "1"),
        lambda fhir: fhir.transaction({"resourceType": "Bundle"}),
        lambda fhir: fhir.capabilities(),
        everything,
    ):
        with pytest.raises(Rejected) as caught:
            server.run(call)
        assert caught.value.status == status


@pytest.mark.parametrize("status", [400, 404, 405, 410, 501])
def test_a_server_without_history_has_none(status: int) -> None:
    assert scripted(httpx.Response(status)).server.run(lambda fhir: fhir.history("Task", "1")) is None


def test_a_history_that_may_not_be_read_is_refused() -> None:
    with pytest.raises(Rejected):
        scripted(httpx.Response(403)).server.run(lambda fhir: fhir.history("Task", "1"))


def test_a_deletion_is_tried_once_more_on_a_conflict() -> None:
    script = scripted(httpx.Response(409), httpx.Response(204))

    script.server.run(lambda fhir: fhir.delete("Task", "1"))

    assert [request.method for request in script.asked] == ["DELETE", "DELETE"]


def test_what_something_refers_to_is_not_deleted() -> None:
    script = scripted(httpx.Response(409))

    with pytest.raises(Conflict):
        script.server.run(lambda fhir: fhir.delete("Task", "1"))

    assert len(script.asked) == 2


def test_deleting_what_is_gone_is_done() -> None:
    scripted(httpx.Response(410)).server.run(lambda fhir: fhir.delete("Task", "1"))


def test_a_good_answer_without_a_body_is_enough_for_a_deletion() -> None:
    scripted(httpx.Response(204)).server.run(lambda fhir: fhir.delete("Task", "1"))


# --- servers that do not show what they wrote -------------------------------------------------------------------------


def test_what_was_written_is_read_by_its_version() -> None:
    script = scripted(
        httpx.Response(200, headers={"etag": 'W/"4"'}),
        httpx.Response(200, json={**TASK, "meta": {"versionId": "4"}}),
    )

    written = script.server.run(lambda fhir: fhir.put(TASK))

    assert written["meta"] == {"versionId": "4"}
    assert str(script.asked[1].url) == f"{BASE}/Task/1/_history/4"


def test_what_was_written_is_read_as_it_is_where_versions_cannot_be() -> None:
    outcome = {"resourceType": "OperationOutcome"}
    script = scripted(
        httpx.Response(200, json=outcome, headers={"etag": 'W/"4"'}),
        httpx.Response(404),
        httpx.Response(200, json=TASK),
    )

    assert script.server.run(lambda fhir: fhir.replace(TASK, version="3")) == TASK


def test_what_was_created_is_found_by_its_location() -> None:
    script = scripted(
        httpx.Response(201, headers={"location": f"{BASE}/Task/1/_history/1"}), httpx.Response(200, json=TASK)
    )

    assert script.server.run(lambda fhir: fhir.create(TASK)) == TASK


@pytest.mark.parametrize(
    "headers", [{}, {"location": "https://other.example/Task/1"}, {"location": "Patient/1"}]
)
def test_what_was_created_nowhere_is_not_found(headers: dict[str, str]) -> None:
    with pytest.raises(Temporary, match="does not show it") as caught:
        scripted(httpx.Response(201, headers=headers)).server.run(lambda fhir: fhir.create(TASK))

    assert caught.value.applied


@pytest.mark.parametrize("answer", [httpx.ConnectError("x"), httpx.Response(403), httpx.Response(503)])
def test_a_write_counts_as_applied_though_it_cannot_be_read_back(answer: httpx.Response | Exception) -> None:
    with pytest.raises(Temporary, match="the server took it") as caught:
        scripted(httpx.Response(200), answer).server.run(lambda fhir: fhir.put(TASK))

    assert caught.value.applied


# --- connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "applied"),
    [
        (httpx.ConnectError(SECRET), False),
        (httpx.ConnectTimeout(SECRET), False),
        (httpx.PoolTimeout(SECRET), False),
        (httpx.ProxyError(SECRET), False),
        (httpx.ReadTimeout(SECRET), True),
        (httpx.WriteTimeout(SECRET), True),
        (httpx.ReadError(SECRET), True),
        (httpx.RemoteProtocolError(SECRET), True),
        (ConnectionResetError(SECRET), True),
        (TimeoutError(SECRET), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_broken_connection_is_temporary(broken: Exception, *, applied: bool) -> None:
    server = scripted(broken).server

    for call in (lambda fhir: fhir.put(TASK), lambda fhir: fhir.read_bytes("1")):
        with pytest.raises(Temporary, match="FHIR server") as caught:
            server.run(call)
        assert caught.value.applied is applied
        assert SECRET not in str(caught.value)
        assert caught.value.__suppress_context__


def test_a_server_that_never_ends_its_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "WHOLE_SECONDS", 0.0)

    async def silent(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(Temporary, match="in time"):
        Server(base_url=BASE, way=lambda: httpx.MockTransport(silent)).run(
            lambda fhir: fhir.read("Task", "1")
        )


def test_a_url_that_is_too_long_is_refused_before_it_is_sent() -> None:
    script = scripted(page())

    async def work(fhir: FhirClient) -> list[Any]:
        return [task async for task in fhir.search("Task", [("code", SECRET * 20_000)])]

    with pytest.raises(Rejected, match="nothing was sent") as caught:
        script.server.run(work)

    assert SECRET not in str(caught.value)
    assert script.asked == []


def test_content_is_read_no_further_than_asked() -> None:
    read = 0

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            nonlocal read
            while True:
                read += 4
                yield b"abcd"

    script = scripted(httpx.Response(200, stream=Endless()))

    assert script.server.run(lambda fhir: fhir.read_bytes("b-1", most_bytes=9)) == b"abcdabcdab"
    assert read == 12


@pytest.mark.parametrize("status", [200, 400, 404, 409, 500, 302])
def test_no_error_tells_of_a_patient_or_a_key(status: int) -> None:
    body = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "diagnostics": SECRET}],
        "id": SECRET,
    }
    server = scripted(httpx.Response(status, json=body, headers={"location": SECRET, "etag": SECRET})).server
    resource = {**TASK, "description": SECRET}

    async def transact(fhir: FhirClient) -> Any:
        return await fhir.transaction({"resourceType": "Bundle", "entry": [resource]})

    for call in (
        everything,
        transact,
        lambda fhir: fhir.put(resource),
        lambda fhir: fhir.create(resource, if_none_exist=[("identifier", SECRET)]),
    ):
        with pytest.raises(AdapterError) as caught:
            server.run(call, authorization=f"Bearer {SECRET}")
        assert SECRET not in str(caught.value)
        assert SECRET not in repr(caught.value)
