"""SIGKILL at any moment of the real process: each received message is there once and complete, and never without parts."""

from __future__ import annotations

import base64
import json
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from adapter.domain.canonical import COMMUNICATION_ID, PATIENT_ID
from adapter.simulators import fhir, metriport
from adapter.simulators.shell import utc_now
from tests.e2e.ehr import Ehr, message_of
from tests.e2e.process import Process
from tests.e2e.traps import Moment, Trapped
from tests.neighbours.simulator import free_port, serving

Json = dict[str, Any]

_SEED: Final = 33
_EACH_LIFE: Final = 3
_LONGEST: Final = 4.0  # seconds that a life waits for its moment
_BUGS: Final = frozenset({"loop.failed", "delivery.given-up"})
_KEY: Final = {"x-api-key": metriport.DEFAULT_API_KEY}


@dataclass(frozen=True, kw_only=True)
class _Sent:
    """A message as it was sent in."""

    subject: str
    parts: list[tuple[str, bytes]]
    matched: bool


@dataclass(kw_only=True)
class _Clinic:
    ehr: Ehr
    url: str
    traps: list[Trapped]
    process: Process
    linked: str
    patient: str = ""
    sent: dict[str, _Sent] = field(default_factory=dict)

    def furnish(self) -> None:
        link = {"system": PATIENT_ID, "value": self.linked}
        self.patient = self.ehr.create({"resourceType": "Patient", "identifier": [link]})

    def send_in(self) -> None:
        """One more message; every third is for nobody, every fifth like the others of that fifth."""
        number = len(self.sent)
        alike = number % 5 == 0
        subject = "Result" if alike else f"Result {number}"
        parts = [
            ("application/pdf", b"%PDF-1.4 \x00" + bytes(f"{0 if alike else number}/{part}", "ascii") * 5000)
            for part in range(3 if number % 2 else 1)
        ]
        told = {
            "subject": subject,
            "body": f"See {subject}.",
            "content": ("bundle", "communication")[number % 2],
            "attachmentsAs": ("link", "inside")[number // 2 % 2],
            "attachments": [
                {"title": "result.pdf", "contentType": kind, "data": base64.b64encode(data).decode()}
                for kind, data in parts
            ],
            **({"patientId": self.linked} if number % 3 else {}),
        }
        id = str(self._post("/_simulator/messages/inbound", told)["id"])
        self.sent[id] = _Sent(subject=subject, parts=parts, matched=bool(number % 3))
        if number % 4 == 0:
            self._newest_again()

    def _newest_again(self) -> None:
        """Somebody has the newest call made again, while the first one is on its way."""
        asked = {"count": "1", "sort": "createdAt=desc"}
        listed = httpx.get(
            f"{self.url}/settings/webhook/request", params=asked, headers=_KEY, trust_env=False
        )
        self._post(f"/settings/webhook/request/{listed.json()['requests'][0]['id']}/retry")

    def replay_the_failed(self) -> None:
        """What an operator does at Metriport after calls found nobody."""
        self._post("/settings/webhook/retry")

    def _post(self, path: str, body: Json | None = None) -> Any:
        answer = httpx.post(f"{self.url}{path}", json=body or {}, headers=_KEY, trust_env=False)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def live_until(self, moment: Moment) -> None:
        """One life, in which some messages come in, until it is killed at that moment."""
        with self.process.living():
            self.process.wait_until_up(60.0)
            for trap in self.traps:
                trap.arm(self.process, moment)
            for _ in range(_EACH_LIFE):
                self.send_in()
            self.replay_the_failed()
            self.process.wait(min(moment.seconds, _LONGEST))

    def live_to_the_end(self, *, seconds: float) -> None:
        """The last life: until every message is there."""
        until = time.monotonic() + seconds
        with self.process.living():
            self.process.wait_until_up(60.0)
            while {*self.sent} - {*self.there()} and time.monotonic() < until:
                self.replay_the_failed()
                time.sleep(0.5)
            time.sleep(1.0)  # whatever tells of them once more

    def there(self) -> dict[str, Json]:
        """The received Communications that anybody can see, by Metriport's id."""
        shown = list(self.ehr.messages())
        found = {str(message_of(one)): one for one in shown}
        assert len(found) == len(shown)
        return found

    def wrong_with(self, id: str, communication: Json) -> list[str]:
        """What the message lacks or has too much."""
        sent = self.sent[id]
        owner = f"Patient/{self.patient}" if sent.matched else None
        versions = [communication]
        found = []
        for part in communication["payload"]:
            if "contentReference" in part:
                document = self.ehr.read(part["contentReference"]["reference"])
                shown = document["content"][0]["attachment"]
                binary = self.ehr.read(shown["url"])
                found.append((binary["contentType"], base64.b64decode(binary["data"])))
                versions += [document, binary]
        checks = {
            "identifier": communication["identifier"][0] == {"system": COMMUNICATION_ID, "value": id},
            "subject line": communication["topic"]["text"] == sent.subject,
            "attachments": found == sent.parts,
            "patient": communication.get("subject", {}).get("reference") == owner,
            "versions": {one["meta"]["versionId"] for one in versions} == {"1"},
        }
        return [name for name, holds in checks.items() if not holds]

    def wrong(self) -> dict[str, list[str]]:
        """What is wrong with any message that can be seen."""
        looked = {id: self.wrong_with(id, one) for id, one in self.there().items()}
        return {id: wrong for id, wrong in looked.items() if wrong}


@contextmanager
def _clinic(folder: Path, *, client_ids: bool) -> Iterator[_Clinic]:
    with ExitStack() as stack:
        port, own = free_port(), free_port()
        url = f"http://127.0.0.1:{port}"
        world = metriport.World(public_url=url)
        linked = f"{secrets.token_hex(4)}-0000-4000-8000-000000000000"
        world.add_patients([{"id": linked, "firstName": "Robin", "lastName": "Maple"}])
        traps = [Trapped(world=world)]
        stack.enter_context(serving(traps[0], port))
        fhir_port = free_port()
        base_url = f"http://127.0.0.1:{fhir_port}/fhir"
        traps.append(Trapped(world=fhir.World(base_url=base_url, client_ids=client_ids)))
        stack.enter_context(serving(traps[1], fhir_port))
        ehr = stack.enter_context(Ehr(base_url, channel=f"mail-{secrets.token_hex(2)}"))
        key = world.set_webhook(f"http://127.0.0.1:{own}/webhooks/metriport", utc_now())
        process = Process(
            {
                "FHIR__BASE_URL": base_url,
                "WATCH__MARKER": ehr.marker,
                "WATCH__SWEEP_SECONDS": "1",
                "INBOUND__ALLOW_PRIVATE_ADDRESSES": "true",
                "METRIPORT__BASE_URL": url,
                "METRIPORT__API_KEY": metriport.DEFAULT_API_KEY,
                "METRIPORT__WEBHOOK_KEYS": json.dumps([key]),
                "LEDGER__URL": f"sqlite+aiosqlite:///{folder / 'ledger.sqlite3'}",
                "WEB__PORT": str(own),
            },
            folder / "adapter.log",
        )
        yield _Clinic(ehr=ehr, url=url, traps=traps, process=process, linked=linked)


def _moments(kills: int, *, client_ids: bool) -> list[Moment]:
    """Any time, and in the middle of a fetch, of storing bytes, and of the one transaction."""
    numbers = random.Random(_SEED)
    calls = [("GET", "/_files"), *([("PUT", "/Binary/")] if client_ids else []), ("POST", "/fhir")]
    moments = []
    for _ in range(kills):
        call = numbers.choice([None, *calls])
        count, arrives = numbers.randint(1, 5), numbers.random() < 0.7
        seconds = numbers.uniform(0.0, 1.0)
        if call is None:
            moments.append(Moment(seconds=seconds))
        else:
            moments.append(Moment(method=call[0], path=call[1], count=count, arrives=arrives))
    return moments


@pytest.mark.parametrize(("kills", "client_ids"), [(10, True), (5, False)], ids=["client ids", "server ids"])
def test_a_killed_adapter_has_each_message_once_and_none_in_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, kills: int, client_ids: bool
) -> None:
    moments = _moments(kills, client_ids=client_ids)
    seen = []
    with _clinic(tmp_path, client_ids=client_ids) as clinic:
        clinic.furnish()
        for moment in moments:
            clinic.live_until(moment)
            seen.append(len(clinic.there()))
            assert clinic.wrong() == {}
        clinic.live_to_the_end(seconds=120)
        missing = {*clinic.sent} - {*clinic.there()}
        wrong = clinic.wrong()
    with capsys.disabled():
        killed = (f"{moment}: {count} there" for moment, count in zip(moments, seen, strict=True))
        print(f"\nclient ids {client_ids}, seed {_SEED}: killed", *killed, sep="\n  ")  # noqa: T201

    assert len(clinic.sent) == kills * _EACH_LIFE
    assert missing == set()
    assert wrong == {}
    assert {line["event"] for line in clinic.process.log()} & _BUGS == set()
