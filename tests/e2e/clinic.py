"""A clinic at work on a FHIR server, and somebody who sends messages in."""

from __future__ import annotations

import base64
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import httpx

from adapter.domain.canonical import COMMUNICATION_ID, PATIENT_ID, TASK_SYSTEM
from adapter.domain.received import communication_id
from adapter.domain.tasks import task_id
from adapter.mapping import resources
from adapter.simulators import metriport
from adapter.simulators.shell import utc_now
from adapter.wiring import Transports
from tests.e2e.at_work import at_work, settings_for
from tests.e2e.ehr import Ehr
from tests.neighbours.simulator import free_port, serving

Json = dict[str, Any]

_KEY: Final = {"x-api-key": metriport.DEFAULT_API_KEY}
_CHOICE: Final = {"coding": [{"system": TASK_SYSTEM, "code": "choice"}]}


@dataclass(frozen=True, kw_only=True)
class Clinic:
    """A clinic, its own name, and who may be told of: the Patient `known`, whom Metriport knows as `linked`."""

    ehr: Ehr
    url: str
    world: metriport.World
    known: str
    linked: str
    ledger: Path

    @property
    def patient(self) -> Json:
        """A reference to the known Patient."""
        return {"reference": f"Patient/{self.known}"}

    def receive(self, **stated: Any) -> str:
        """Somebody sends a message in; Metriport's id of it."""
        return str(self._post("/_simulator/messages/inbound", stated).json()["id"])

    def newest_call(self) -> str:
        """Metriport's id of the call that it made last."""
        asked = {"count": "1", "sort": "createdAt=desc"}
        listed = httpx.get(
            f"{self.url}/settings/webhook/request", params=asked, headers=_KEY, trust_env=False
        )
        return str(listed.json()["requests"][0]["id"])

    def call_again(self, call: str) -> None:
        """Somebody has Metriport make that call again: under a new id, with fresh links."""
        self._post(f"/settings/webhook/request/{call}/retry", {})

    def _post(self, path: str, body: Json) -> httpx.Response:
        answer = httpx.post(f"{self.url}{path}", json=body, headers=_KEY, trust_env=False, timeout=60)
        assert answer.is_success, answer.text
        return answer

    def wait_for(self, message: str, *, seconds: float = 60.0) -> Json:
        """The received Communication, once it is there."""
        found: Json = until(lambda: self.find(message), seconds=seconds)
        return found

    def calls(self) -> tuple[int, int]:
        """How many of Metriport's calls were kept, and how many of them are worked off."""
        with closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)) as ledger:
            found: tuple[int, int] = ledger.execute("select count(*), total(done) from deliveries").fetchone()
            return found

    def find(self, message: str) -> Json | None:
        """The received Communication."""
        return self.ehr.find(f"Communication/{communication_id(message)}")

    def parts(self, message: str) -> list[Json]:
        """The received Communication, its documents and their Binaries."""
        found = [self.ehr.read(f"Communication/{communication_id(message)}")]
        for part in found[0].get("payload", []):
            if "contentReference" in part:
                document = self.ehr.read(part["contentReference"]["reference"])
                found += [document, self.ehr.read(document["content"][0]["attachment"]["url"])]
        return found

    def task(self, message: str) -> Json:
        """The Task that asks whose the message is."""
        name = task_id(communication_id(message), round=1, code="held-patient-unknown")
        return self.ehr.read(f"Task/{name}")

    def answer(self, message: str, *choices: Json, status: str = "completed") -> None:
        """A person answers the Task."""
        output = {"output": [{"type": _CHOICE, **one} for one in choices]} if choices else {}
        self.ehr.save({**self.task(message), "status": status, **output})

    def wait_until_applied(self, message: str) -> Json:
        """The Task, once the adapter has carried out what it says."""
        until(lambda: self.task(message)["businessStatus"]["coding"][0]["code"] == "applied")
        return self.task(message)


def until(look: Callable[[], Any], *, seconds: float = 60.0) -> Any:
    """What the look gives, once it gives anything."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.05)
    return found


@contextmanager
def clinic(
    base_url: str,
    folder: Path,
    *,
    dialect: str = "sdk",
    external_id_system: str | None = None,
    transports: Transports | None = None,
) -> Iterator[Clinic]:
    """An adapter that receives what is sent in."""
    port, own, ledger = free_port(), free_port(), folder / "ledger.sqlite3"
    url = f"http://127.0.0.1:{port}"
    world = metriport.World(public_url=url, dialect=dialect)
    known = f"received-{secrets.token_hex(4)}"
    linked = f"{secrets.token_hex(4)}-0000-4000-8000-000000000000"
    own_id = {} if external_id_system else {"externalId": known}
    world.add_patients([{"id": linked, "firstName": "Robin", "lastName": "Maple", **own_id}])
    with serving(world, port), Ehr(base_url, channel=known) as ehr:
        ehr.save(
            {
                "resourceType": "Patient",
                "id": known,
                "identifier": [{"system": PATIENT_ID, "value": linked}],
                "name": [{"family": "Maple", "given": ["Robin"]}],
            }
        )
        settings = settings_for(
            base_url,
            url,
            ledger=ledger,
            marker=ehr.marker,
            webhook_key=world.set_webhook(f"http://127.0.0.1:{own}/webhooks/metriport", utc_now()),
            port=own,
        )
        patients = settings.patients.model_copy(update={"external_id_system": external_id_system})
        with at_work(settings.model_copy(update={"patients": patients}), transports=transports):
            yield Clinic(ehr=ehr, url=url, world=world, known=known, linked=linked, ledger=ledger)


def attached(data: bytes, content_type: str) -> Json:
    """An attachment as the simulator's control API takes it."""
    return {"title": "file", "contentType": content_type, "data": base64.b64encode(data).decode()}


def assert_whole(
    clinic: Clinic, message: str, expected: Sequence[tuple[str, bytes]], *, owner: str | None
) -> None:
    """The message is there as it was sent in, and everything of it belongs to whom it should."""
    found = clinic.find(message)
    assert found is not None
    assert list(resources.problems(found)) == []
    assert found["identifier"][0] == {"system": COMMUNICATION_ID, "value": message}
    assert found.get("subject") == ({"reference": owner} if owner else None)
    parts = [part["contentReference"] for part in found.get("payload", []) if "contentReference" in part]
    references = [part["reference"] for part in parts]
    assert len(references) == len(expected)
    for reference, (content_type, data) in zip(references, expected, strict=True):
        document = clinic.ehr.read(reference)
        assert list(resources.problems(document)) == []
        assert document.get("subject") == ({"reference": owner} if owner else None)
        shown = document["content"][0]["attachment"]
        assert (shown["contentType"], shown["size"]) == (content_type, len(data))
        binary = clinic.ehr.read(shown["url"])
        assert binary["contentType"] == content_type
        assert binary["securityContext"] == {"reference": owner or reference}
        # HAPI answers with the resource when there are no bytes to answer with.
        content = clinic.ehr.raw(shown["url"]).content if data else base64.b64decode(binary.get("data", ""))
        assert sha256(content).digest() == sha256(data).digest()
