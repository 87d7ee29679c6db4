"""Messages of every shape on a real HAPI: calls lost, doubled and late, SIGKILLs, a clinician who says whose each is.

`STORM=100 python -m pytest tests/e2e/test_received_storm.py` sends in a hundred and kills ten times; without it there
are thirty and five.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from adapter.domain.canonical import PATIENT_ID, TASK_SYSTEM
from adapter.simulators import metriport
from adapter.simulators.http import Call, Request, Response
from adapter.simulators.shell import utc_now
from tests.e2e.ehr import Ehr, message_of
from tests.e2e.process import Process
from tests.e2e.traps import Moment, Trapped
from tests.neighbours.simulator import free_port, serving

Json = dict[str, Any]

MESSAGES: Final = int(os.environ.get("STORM", "30"))
SEED: Final = 8
KILLS: Final = 10 if "STORM" in os.environ else 5
LATE: Final = timedelta(seconds=6)
AGO: Final = timedelta(minutes=10)  # the list is believed at once about what is as old as that

CONTENTS: Final = ("bundle", "communication", "message")
PLACES: Final = ("link", "inside")
PEOPLE: Final = ("matched", "unmatched", "external id only")
PARTS: Final[tuple[list[tuple[str, bytes]], ...]] = (
    [],
    [("application/pdf", b"%PDF-1.4 \x00\x01\n" * 3000), ("text/plain", b"plain words\n"), ("application/json", b'{"a": 1.50}')],
    [("text/plain", b"")],
    [("application/x-unheard-of", bytes(range(256)))],
)  # fmt: skip
SHAPES: Final = [
    shape
    for shape in itertools.product(CONTENTS, PLACES, PEOPLE, PARTS)
    # Such attachments are only named there, and without Metriport's patient nobody can ask for them.
    if shape[0] != "message" or not shape[3] or shape[2] == "matched"
]


@dataclass(kw_only=True)
class Stormy:
    """Metriport, some time ago. Of three messages one is never told of, one is told of twice, and one late."""

    world: metriport.World
    fates: dict[str, int] = field(default_factory=dict)
    late: list[tuple[datetime, Call]] = field(default_factory=list)

    def handle(self, request: Request, now: datetime) -> Response:
        return self.world.handle(request, now - AGO)

    def calls_due(self, now: datetime) -> list[Call]:
        due = [call for at, call in self.late if at <= now]
        self.late = [(at, call) for at, call in self.late if at > now]
        for call in self.world.calls_due(now - AGO):
            message = json.loads(call.body).get("payload", {}).get("id")
            fate = 1 if message is None or message in self.fates else len(self.fates) % 3
            if message is not None:
                self.fates.setdefault(message, fate)
            if fate == 2:
                self.late.append((now + LATE, call))
            due += [call, call] if fate == 1 else []
        return due

    def call_ended(self, call: Call, status: int | None, now: datetime) -> None:
        self.world.call_ended(call, status, now - AGO)

    def next_at(self) -> datetime | None:
        next_at = self.world.next_at()
        times = [at for at, _ in self.late] + ([next_at + AGO] if next_at else [])
        return min(times, default=None)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A message as it was sent in; what is not `certain` a clinician may have to match."""

    parts: list[tuple[str, bytes]]
    certain: bool


@dataclass(kw_only=True)
class Ward:
    """A clinic in the storm."""

    ehr: Ehr
    url: str
    trap: Trapped
    process: Process
    linked: str
    patient: str = ""
    another: str = ""
    sent: dict[str, Sent] = field(default_factory=dict)
    matched: dict[str, str] = field(default_factory=dict)

    def furnish(self) -> None:
        link = {"system": PATIENT_ID, "value": self.linked}
        self.patient = self.ehr.create({"resourceType": "Patient", "identifier": [link]})
        self.another = self.ehr.create({"resourceType": "Patient"})

    def send_in(self) -> None:
        number = len(self.sent)
        content, place, person, parts = SHAPES[number * 7 % len(SHAPES)]
        told = {
            "subject": f"Result {number}",
            "body": "See the attached.",
            "content": content,
            "attachmentsAs": place,
            "attachments": [
                {"title": f"{number}-{part}", "contentType": kind, "data": base64.b64encode(data).decode()}
                for part, (kind, data) in enumerate(parts)
            ],
            **({"patientId": self.linked} if person == "matched" else {}),
            **({"externalId": self.patient} if person == "external id only" else {}),
        }
        answer = httpx.post(f"{self.url}/_simulator/messages/inbound", json=told, trust_env=False)
        assert answer.is_success, answer.text
        self.sent[str(answer.json()["id"])] = Sent(parts=parts, certain=person == "matched")

    def live(self, moment: Moment, count: int) -> None:
        """One life, in which some messages come in, until it is killed."""
        with self.process.living():
            self.process.wait_until_up(60.0)
            self.trap.arm(self.process, moment)
            for _ in range(count):
                self.send_in()
            self.clinician()
            self.process.wait(min(moment.seconds, 3.0))

    def live_to_the_end(self, *, seconds: float) -> None:
        until = time.monotonic() + seconds
        with self.process.living():
            while {*self.sent} - {*self.there()} and time.monotonic() < until:
                time.sleep(0.5)
            self.clinician()
            while self.moving() and time.monotonic() < until:
                time.sleep(0.5)

    def there(self) -> dict[str, Json]:
        shown = list(self.ehr.messages())
        found = {str(message_of(one)): one for one in shown}
        assert len(found) == len(shown)
        return found

    def clinician(self) -> None:
        """Answers every other question that is open, half of them with another Patient than one would think."""
        nobodys = [
            one for one in self.there().values() if "subject" not in one and one["id"] not in self.matched
        ]
        for number, one in enumerate(nobodys[::2]):
            [task] = self.ehr.search("Task", focus=f"Communication/{one['id']}")
            patient = f"Patient/{self.another if number % 2 else self.patient}"
            kind = {"coding": [{"system": TASK_SYSTEM, "code": "choice"}]}
            output = [{"type": kind, "valueReference": {"reference": patient}}]
            self.ehr.save({**task, "status": "completed", "output": output})
            self.matched[one["id"]] = patient

    def moving(self) -> bool:
        """Whether an answer is still to be carried out."""
        return any("subject" not in one for one in self.there().values() if one["id"] in self.matched)

    def wrong_with(self, id: str, communication: Json) -> list[str]:
        sent, found, owners = self.sent[id], [], [communication.get("subject")]
        for part in communication["payload"]:
            if "contentReference" in part:
                document = self.ehr.read(part["contentReference"]["reference"])
                binary = self.ehr.read(document["content"][0]["attachment"]["url"])
                found.append((binary["contentType"], base64.b64decode(binary.get("data", ""))))
                owner = binary["securityContext"]
                owners += [
                    document.get("subject"),
                    owner if owner["reference"].startswith("Patient/") else None,
                ]
        stated = [one and one["reference"] for one in owners]
        chosen = self.matched.get(communication["id"]) if "subject" in communication else None
        usual = f"Patient/{self.patient}"
        checks = {
            "attachments": found == sent.parts,
            "one owner": len({*stated}) == 1,
            "owner": stated[0] == usual if sent.certain else stated[0] in {chosen or usual, chosen},
        }
        return [name for name, holds in checks.items() if not holds]

    def wrong(self) -> dict[str, list[str]]:
        looked = {id: self.wrong_with(id, one) for id, one in self.there().items()}
        return {id: wrong for id, wrong in looked.items() if wrong}

    def wrong_for_good(self) -> dict[str, list[str]]:
        """What is wrong at a second look as well: HAPI ends a dead client's transaction, perhaps between two readings."""
        first = self.wrong()
        if first:
            time.sleep(2.0)
        return {id: wrong for id, wrong in self.wrong().items() if id in first} if first else {}


@contextmanager
def ward(base_url: str, folder: Path) -> Iterator[Ward]:
    port, own = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    world = metriport.World(public_url=url)
    linked = f"{secrets.token_hex(4)}-0000-4000-8000-000000000000"
    world.add_patients([{"id": linked, "firstName": "Robin", "lastName": "Maple"}])
    trap = Trapped(world=Stormy(world=world))
    with serving(trap, port), Ehr(base_url, channel=f"storm-{secrets.token_hex(2)}") as ehr:
        settings = {
            "FHIR__BASE_URL": base_url,
            "WATCH__MARKER": ehr.marker,
            "WATCH__SWEEP_SECONDS": "1",
            "INBOUND__ALLOW_PRIVATE_ADDRESSES": "true",
            "INBOUND__RECONCILE_SECONDS": "2",
            "METRIPORT__BASE_URL": url,
            "METRIPORT__API_KEY": metriport.DEFAULT_API_KEY,
            "METRIPORT__WEBHOOK_KEYS": json.dumps(
                [world.set_webhook(f"http://127.0.0.1:{own}/webhooks/metriport", utc_now() - AGO)]
            ),
            "LEDGER__URL": f"sqlite+aiosqlite:///{folder / 'ledger.sqlite3'}",
            "WEB__PORT": str(own),
        }
        process = Process(settings, folder / "adapter.log")
        yield Ward(ehr=ehr, url=url, trap=trap, process=process, linked=linked)


def moments() -> list[Moment]:
    numbers = random.Random(SEED)
    return [
        Moment(method="GET", path="/_files", count=numbers.randint(1, 9), arrives=numbers.random() < 0.7)
        if number % 2
        else Moment(seconds=numbers.uniform(0.0, 2.0))
        for number in range(KILLS)
    ]


def test_each_message_is_there_once_and_no_match_is_undone(
    hapi_defaults: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began, seen = time.monotonic(), []
    with ward(hapi_defaults, tmp_path) as here:
        here.furnish()
        for moment in moments():
            here.live(moment, MESSAGES // KILLS)
            seen.append(len(here.there()))
            assert here.wrong_for_good() == {}
            here.clinician()
        here.live_to_the_end(seconds=200 + MESSAGES)
        missing, wrong, moving = {*here.sent} - {*here.there()}, here.wrong(), here.moving()
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{len(here.sent)} messages, seed {SEED}: there at each kill {seen}, {len(here.matched)} matched by a "
            f"clinician, {time.monotonic() - began:.0f} s"
        )

    assert len(here.sent) == MESSAGES
    assert (missing, wrong, moving) == (set(), {}, False)
    assert {line["event"] for line in here.process.log()} & {"loop.failed", "delivery.failed"} == set()
