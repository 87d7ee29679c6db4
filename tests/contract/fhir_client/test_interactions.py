"""The simulator of a FHIR server has the interactions that the client uses, and no more (design, the surface)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx

from adapter.fhir.client import FhirClient
from adapter.simulators.fhir.routes import INTERACTIONS, interaction
from adapter.simulators.fhir.world import World
from adapter.simulators.shell import Shell
from tests.contract.fhir_client.servers import Server
from tests.contract.fhir_client.test_binary import blocks

BASIC: Final = {"resourceType": "Basic", "id": "b-1", "code": {"text": "any"}}
LARGE: Final = 12_000_000
MORE_THAN_A_PAGE: Final = 220


async def _search(fhir: FhirClient) -> None:
    for number in range(MORE_THAN_A_PAGE):
        await fhir.put({**BASIC, "id": f"many-{number}"})
    assert len([one async for one in fhir.search("Basic", [("_sort", "_lastUpdated")])]) >= MORE_THAN_A_PAGE


async def _read_bytes(fhir: FhirClient) -> None:
    await fhir.store_binary(
        "large", content_type="application/pdf", content=blocks(LARGE), size=LARGE, security_context=None
    )
    assert len(await fhir.read_bytes("large")) == LARGE


async def _replace(fhir: FhirClient) -> None:
    there = await fhir.put({**BASIC, "id": "replaced"})
    await fhir.replace({**there, "code": {"text": "other"}}, version=there["meta"]["versionId"])


async def _create_all(fhir: FhirClient) -> None:
    await fhir.create_all([{**BASIC, "id": "created"}])


_BUNDLE: Final = {"resourceType": "Bundle", "type": "transaction", "entry": []}
USES: Final[dict[str, Callable[[FhirClient], Awaitable[Any]]]] = {
    "capabilities": lambda fhir: fhir.capabilities(),
    "create": lambda fhir: fhir.create({name: value for name, value in BASIC.items() if name != "id"}),
    "create_all": _create_all,
    "delete": lambda fhir: fhir.delete("Basic", "b-1"),
    "find": lambda fhir: fhir.find("Basic", [("_id", "b-1")], limit=1),
    "history": lambda fhir: fhir.history("Basic", "b-1"),
    "locate": lambda fhir: fhir.locate("Basic", "b-1"),
    "put": lambda fhir: fhir.put(BASIC),
    "read": lambda fhir: fhir.read("Basic", "b-1"),
    "read_bytes": _read_bytes,
    "read_version": lambda fhir: fhir.read_version("Basic", "b-1", "1"),
    "replace": _replace,
    "search": _search,
    "store_binary": _read_bytes,
    "transaction": lambda fhir: fhir.transaction(_BUNDLE),
}


def _asked_by(use: Callable[[FhirClient], Awaitable[Any]]) -> set[tuple[str, str]]:
    asked: set[tuple[str, str]] = set()

    def notes(request: httpx.Request) -> None:
        asked.add(interaction(request.method, request.url.path.removeprefix("/fhir")))

    application = Shell(World(strict=False))
    server = Server(base_url="http://127.0.0.1:8081/fhir", way=lambda: httpx.ASGITransport(app=application))

    async def work(fhir: FhirClient) -> None:
        await fhir.put(BASIC)
        await use(fhir)

    server.but(notes).run(work)
    return asked


def test_every_use_of_a_server_is_known_here() -> None:
    public = {
        name
        for name, member in inspect.getmembers(FhirClient)
        if not name.startswith("_")
        and (inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member))
    }

    assert public == set(USES)


def test_the_simulator_has_what_the_client_asks_for_and_no_more() -> None:
    assert set().union(*(_asked_by(use) for use in USES.values())) == INTERACTIONS
