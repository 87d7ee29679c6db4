"""The client on a server that gives all ids itself: what is created under ids of the adapter's is there once."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from adapter.domain.marker import Marker
from adapter.domain.resource import Resource
from adapter.errors import Conflict, Temporary
from adapter.fhir.client import FhirClient
from adapter.fhir.probe import Probe, probe
from adapter.ports.fhir import Place, Presence
from adapter.simulators.fhir.world import World
from adapter.simulators.shell import Shell
from tests.contract.fhir_client.servers import Server

BASE = "http://127.0.0.1:8081/fhir"


@pytest.fixture(params=["simulator", "hapi_assigned"])
def server(request: pytest.FixtureRequest) -> Server:
    """A pretend one, and HAPI with `client_id_strategy=NOT_ALLOWED`. That one lives on: tests keep to their own ids."""
    if request.param == "hapi_assigned":
        return Server(base_url=request.getfixturevalue("hapi_assigned"))
    application = Shell(World(base_url=BASE, client_ids=False))
    return Server(base_url=BASE, way=lambda: httpx.ASGITransport(app=application))


def on(server: Server, work: Callable[[FhirClient], Awaitable[Any]]) -> Any:
    """What the work gives, once the client knows the server."""

    async def knowing(fhir: FhirClient) -> Any:
        fhir.assigns_ids = True
        return await work(fhir)

    return server.run(knowing)


def letter(size: int = 100_000) -> Callable[[], AsyncIterator[bytes]]:
    """So many bytes, in pieces that are no multiple of three."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 1000):
            yield b"\x00\xff\n!" * 250 if start + 1000 <= size else b"?" * (size - start)

    return pieces


def message(own: str) -> list[Resource]:
    """A message with a document, and a question about it, under ids made of a test's own."""
    names = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"{own}/{name}")) for name in "abcd"]
    document = {"reference": f"DocumentReference/{names[1]}"}
    attachment = {"url": f"Binary/{names[3]}", "contentType": "application/pdf"}
    task = {"resourceType": "Task", "id": names[2], "status": "requested", "intent": "order"}
    return [
        {
            "resourceType": "Communication",
            "id": names[0],
            "status": "completed",
            "payload": [{"contentReference": document}],
        },
        {
            "resourceType": "DocumentReference",
            "id": names[1],
            "status": "current",
            "content": [{"attachment": attachment}],
        },
        {**task, "focus": {"reference": f"Communication/{names[0]}"}},
    ]


async def _create(fhir: FhirClient, own: str) -> list[str]:
    communication, document, task = message(own)
    binary = await fhir.store_binary(
        document["content"][0]["attachment"]["url"].removeprefix("Binary/"),
        content_type="application/pdf",
        content=letter(),
        size=100_000,
        security_context=f"DocumentReference/{document['id']}",
    )
    assert binary is not None
    return await fhir.create_all([communication, document, task, binary])


def test_references_lead_to_where_the_server_put_it(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> list[Any]:
        communication, document, task, binary = await _create(fhir, own)
        return [
            await fhir.read("Communication", communication),
            await fhir.read("DocumentReference", document),
            await fhir.read("Task", task),
            await fhir.read("Binary", binary),
            await fhir.read_bytes(binary),
        ]

    communication, document, task, binary, data = on(server, work)

    assert communication["payload"] == [
        {"contentReference": {"reference": f"DocumentReference/{document['id']}"}}
    ]
    assert document["content"][0]["attachment"]["url"] == f"Binary/{binary['id']}"
    assert task["focus"] == {"reference": f"Communication/{communication['id']}"}
    assert binary["securityContext"] == {"reference": f"DocumentReference/{document['id']}"}
    assert data == b"\x00\xff\n!" * 25_000


def test_what_is_created_twice_is_there_once(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> list[Any]:
        first = await fhir.create_all(message(own))
        return [first, await fhir.create_all(message(own)), await fhir.locate("Task", message(own)[2]["id"])]

    first, second, task = on(server, work)

    assert first == second
    assert task == Place(presence=Presence.THERE, id=first[2])


def test_what_is_not_there_may_have_been(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> list[Place]:
        [id] = await fhir.create_all(message(own)[1:2])
        await fhir.delete("DocumentReference", id)
        return [
            await fhir.locate("DocumentReference", message(own)[1]["id"]),
            await fhir.locate("Task", "nobody"),
        ]

    assert [place.presence for place in on(server, work)] == [Presence.UNSEEN, Presence.UNSEEN]


def test_of_several_that_are_there_none_is_chosen_to_be_it(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> None:
        [id] = await fhir.create_all(message(own)[1:2])
        there = await fhir.read("DocumentReference", id)
        assert there is not None
        await fhir.create({name: value for name, value in there.items() if name not in {"id", "meta"}})
        await fhir.create_all(message(own)[1:2])

    with pytest.raises(Conflict):
        on(server, work)


def test_an_answer_that_tells_no_ids_is_looked_after_later(server: Server, own: str) -> None:
    def silent(request: httpx.Request) -> httpx.Response | None:
        told = {"resourceType": "Bundle", "type": "transaction-response"}
        return httpx.Response(200, json=told) if request.method == "POST" else None

    with pytest.raises(Temporary, match="does not say where"):
        on(server.but(silent), lambda fhir: fhir.create_all(message(own)))


def test_an_empty_binary_has_no_data(server: Server) -> None:
    async def work(fhir: FhirClient) -> Resource | None:
        return await fhir.store_binary(
            "b", content_type="text/plain", content=letter(0), size=0, security_context=None
        )

    assert on(server, work) == {"resourceType": "Binary", "id": "b", "contentType": "text/plain"}


def test_it_is_found_out(server: Server) -> None:
    found = server.run(lambda fhir: probe(fhir, Marker()))

    assert found.ok(Probe.UPDATE_AS_CREATE) is False
    assert found.ok(Probe.PAGING) is True
    [said] = [one.sentence for one in found.findings if one.probe is Probe.UPDATE_AS_CREATE]
    assert "exactly once only if a search shows at once what was written" in said
