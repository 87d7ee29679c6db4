"""The pairs in `fixtures/`: what an EHR writes and the call that comes of it, what comes in and what is then stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import pytest

from adapter.mapping import resources
from adapter.mapping.engine import Mappings
from adapter.pipelines.inbound.context import RECEIVED
from adapter.ports.ledger import Delivery
from adapter.simulators.http import Neighbour, Request, Response
from adapter.simulators.metriport import World
from tests.virtual.loop import run
from tests.virtual.site import Site, site

Json = dict[str, Any]

FIXTURES: Final = Path(__file__).parents[2] / "fixtures"
_SEND: Final = "/medical/v1/message"


def _folders(direction: str) -> list[str]:
    return sorted(folder.name for folder in (FIXTURES / direction).iterdir())


def _read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_bytes())


class _Line:
    """Metriport, and the files of one folder below any link; keeps the messages that are posted."""

    def __init__(self, world: Neighbour, folder: Path) -> None:
        self._world = world
        self._folder = folder
        self.posted: list[Json] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def handle(self, request: Request, now: datetime) -> Response:
        """Answers one request."""
        stated = self._folder / request.path.lstrip("/")
        file = stated if stated.is_file() else stated.with_name(f"{stated.name}.json")
        if request.method == "GET" and file.is_file():
            return Response(status=200, headers={"content-type": "application/json"}, body=file.read_bytes())
        if (request.method, request.path) == ("POST", _SEND):
            self.posted.append({"query": request.query, "body": json.loads(request.body)})
        return self._world.handle(request, now)


def _clinic(clinic: Site, folder: Path) -> _Line:
    line = _Line(clinic.metriport, folder)
    clinic.metriport = cast("World", line)
    clinic.write(_read(FIXTURES, "patient.json"))
    return line


@pytest.mark.parametrize("name", _folders("outbound"))
def test_a_message_out_is_this_call(name: str) -> None:
    folder = FIXTURES / "outbound" / name

    async def scenario() -> tuple[Site, _Line]:
        async with site(started=False) as clinic:
            line = _clinic(clinic, folder)
            for resource in _read(folder, "server.json") if (folder / "server.json").exists() else []:
                clinic.write(resource)
            clinic.write(_read(folder, "communication.json"))
            await clinic.start()
            await clinic.passes(15)
            return clinic, line

    clinic, line = run(scenario())

    assert {"uploads": list(_uploads(clinic)), "calls": _numbered(clinic, line)} == _read(folder, "call.json")
    assert clinic.communication(name)["status"] == "completed"


def _numbered(clinic: Site, line: _Line) -> Any:
    """The calls; Metriport's ids of the uploaded documents as `document-1` and so on."""
    told = json.dumps(line.posted)
    for number, id in enumerate(clinic.metriport.documents, start=1):
        told = told.replace(id, f"document-{number}")
    return json.loads(told)


def _uploads(clinic: Site) -> Iterator[Json]:
    for document in clinic.metriport.documents.values():
        yield {
            "announced": document.announced,
            "contentType": document.content_type,
            "bytes": len(document.data or b""),
        }


async def _received(folder: Path, *, mappings: Path | None = None) -> Site:
    async with site(started=False) as clinic:
        _clinic(clinic, folder)
        adapter = await clinic.start(mappings=mappings)
        delivery = _read(folder, "delivery.json")
        await adapter.ledger.keep(
            Delivery(
                delivery_id=delivery["meta"]["messageId"],
                kind=RECEIVED,
                received_at=clinic.clock.now(),
                body=(folder / "delivery.json").read_bytes(),
                message=delivery["payload"]["id"],
            )
        )
        await clinic.passes(20)
        return clinic


@pytest.mark.parametrize("name", _folders("inbound"))
def test_what_comes_in_is_stored_like_this(name: str) -> None:
    folder = FIXTURES / "inbound" / name

    stored = list(_stored(run(_received(folder))))

    assert stored == _read(folder, "resources.json")
    assert [problem for one in stored for problem in resources.problems(one)] == []


@pytest.mark.parametrize("name", ["communication", "documentreference"])
def test_a_site_overrides_one_mapping_of_what_comes_in(name: str, tmp_path: Path) -> None:
    folder = FIXTURES / "inbound" / "message-with-documents"
    packaged = Mappings(directory=None).source(f"inbound/{name}").read_text("utf-8")
    own = packaged.replace('"resourceType":', '"language": "en", "resourceType":', 1)
    (tmp_path / "inbound").mkdir()
    (tmp_path / "inbound" / f"{name}.json.j2").write_text(own, "utf-8")

    stored = {one["resourceType"]: one for one in _stored(run(_received(folder, mappings=tmp_path)))}

    usual = {one["resourceType"]: one for one in _read(folder, "resources.json")}
    kind = {"communication": "Communication", "documentreference": "DocumentReference"}[name]
    assert stored.pop(kind) == {**usual.pop(kind), "language": "en"}
    assert stored == usual


def _stored(clinic: Site) -> Iterator[Json]:
    """Everything but the Patient; without what the server itself adds."""
    for kind in ("Communication", "DocumentReference", "Binary", "Task"):
        for one in clinic.fhir.resources(kind):
            yield {name: value for name, value in one.items() if name != "meta"}
