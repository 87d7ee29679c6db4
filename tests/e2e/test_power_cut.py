"""The power goes when the POST is about to leave: the intent is on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from adapter.domain.canonical import CHANNEL_SYSTEM, PATIENT_ID
from adapter.simulators.metriport import SANDBOX_PATIENTS
from adapter.simulators.shell import utc_now
from adapter.wiring import Transports
from tests.e2e.at_work import at_work, settings_for
from tests.e2e.machine import Machine, machine, wait_until
from tests.e2e.power import Disk, watched

_STATES = "SELECT communication, state FROM transmissions ORDER BY communication"


@dataclass(kw_only=True)
class _Looking(httpx.AsyncBaseTransport):
    """The way to Metriport; before a message sets out, it looks what the disk has."""

    disk: Disk
    found: list[dict[str, str]] = field(default_factory=list)
    inner: httpx.AsyncBaseTransport = field(default_factory=httpx.AsyncHTTPTransport)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if (request.method, request.url.path) == ("POST", "/medical/v1/message"):
            self.found.append(dict(self.disk.after_power_cut(_STATES, of="ledger.sqlite3")))
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


@contextmanager
def _synchronous(level: str | None) -> Iterator[None]:
    """Takes SQLite's synchronisation back behind the ledger's back."""

    def set_back(connection: Any, _record: object, _proxy: object) -> None:
        connection.cursor().execute(f"PRAGMA synchronous={level}")

    if level is None:
        yield
        return
    event.listen(sa.Pool, "checkout", set_back)
    try:
        yield
    finally:
        event.remove(sa.Pool, "checkout", set_back)


def _write(here: Machine) -> None:
    link = {"system": PATIENT_ID, "value": SANDBOX_PATIENTS[0].id}
    here.save({"resourceType": "Patient", "id": "p", "identifier": [link]})
    for id in ("a", "b"):
        here.save(
            {
                "resourceType": "Communication",
                "id": id,
                "status": "preparation",
                "medium": [{"coding": [{"system": CHANNEL_SYSTEM, "code": "metriport"}]}],
                "subject": {"reference": "Patient/p"},
                "recipient": [{"display": "intake@direct.lakeside.example"}],
                "topic": {"text": id},
                "payload": [{"contentString": id}],
            }
        )


def _found_on_disk(folder: Path, *, level: str | None) -> list[dict[str, str]]:
    """What the disk had of the rows when each of two POSTs set out."""
    for name in ("ledger", "saved"):
        (folder / name).mkdir()
    with watched(folder / "ledger", folder / "saved") as disk, machine(folder) as here, _synchronous(level):
        looking = _Looking(disk=disk)
        key = here.metriport.set_webhook(f"http://127.0.0.1:{here.port}/webhooks/metriport", utc_now())
        settings = settings_for(
            here.fhir_url,
            here.metriport_url,
            ledger=folder / "ledger" / "ledger.sqlite3",
            marker=f"medium={CHANNEL_SYSTEM}|metriport",
            webhook_key=key,
            port=here.port,
        )
        _write(here)
        with at_work(settings, transports=Transports(metriport=looking), sends_per_minute=120):
            wait_until(lambda: len(here.metriport.messages) == 2)
    return looking.found


def test_the_intent_of_what_is_posted_outlives_a_power_cut(tmp_path: Path) -> None:
    found = _found_on_disk(tmp_path, level=None)

    assert len(found) == 2
    first = next(id for id, state in found[0].items() if state == "intent")
    other = ({"a", "b"} - {first}).pop()
    assert found[1][other] == "intent"
    assert found[1][first] in {"sent", "completed"}


@pytest.mark.parametrize("level", ["OFF", "NORMAL"])
def test_without_full_synchronisation_it_would_not(tmp_path: Path, level: str) -> None:
    found = _found_on_disk(tmp_path, level=level)

    assert [state for rows in found for state in rows.values() if state == "intent"] == []
