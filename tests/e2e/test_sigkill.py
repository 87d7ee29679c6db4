"""SIGKILL at any moment of the real process: no message is sent twice, none is forgotten.

What counts is the record of the pretend Metriport, which outlives every life of the adapter.
"""

from __future__ import annotations

import json
import random
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from adapter.domain.canonical import PATIENT_ID
from adapter.simulators import fhir, metriport
from adapter.simulators.shell import utc_now
from tests.e2e.ehr import Ehr, End, message_of
from tests.e2e.process import Process
from tests.e2e.traps import Moment, Trapped
from tests.neighbours.simulator import free_port, serving

Json = dict[str, Any]

_SEEDS: Final = {"simulator": 20, "hapi_defaults": 21}
_COMPLETED: Final = End(status="completed")
_UNKNOWN: Final = End(status="in-progress", code="outcome-unknown")
_BUGS: Final = frozenset({"communication.failed", "loop.failed", "send.failed"})
_IDENTICAL: Final = "Please call us back"


@dataclass(kw_only=True)
class _Clinic:
    ehr: Ehr
    metriport: metriport.World
    traps: list[Trapped]
    process: Process
    ledger: Path
    wishes: dict[str, tuple[str, str]] = field(default_factory=dict)

    def write(self, count: int) -> None:
        """A batch; every third message has the same subject and text as the others of that third."""
        patient = f"{self.ehr.channel}-patient"
        link = {"system": PATIENT_ID, "value": metriport.SANDBOX_PATIENTS[0].id}
        self.ehr.save({"resourceType": "Patient", "id": patient, "identifier": [link]})
        for number in range(count):
            id = f"{self.ehr.channel}-{number}"
            subject, body = (
                (_IDENTICAL, _IDENTICAL) if number % 3 == 0 else (f"Result {number}", f"See result {number}.")
            )
            self.wishes[id] = (subject, body)
            text = {"contentString": body}
            self.ehr.save(self.ehr.wish(patient, text, id=id, subject=subject))

    def live_until(self, moment: Moment) -> None:
        """One life of the adapter, until it is killed at that moment."""
        with self.process.living():
            for trap in self.traps:
                trap.arm(self.process, moment)
            self.process.wait_until_up(60.0)
            self.process.wait(moment.seconds)

    def live_to_the_end(self, *, seconds: float) -> dict[str, End]:
        """The last life: until every message has ended or is known to be unknown; gives how they ended."""
        with self.process.living():
            return self.ehr.wait_until(
                lambda ends: all(end in (_COMPLETED, _UNKNOWN) for end in ends.values()), seconds=seconds
            )

    def posted(self) -> Counter[tuple[str, str]]:
        """What Metriport was sent, by subject and text."""
        return Counter((message.subject, str(message.body)) for message in self.metriport.messages)

    def lose_ledger(self) -> None:
        for file in self.ledger.parent.glob(f"{self.ledger.name}*"):
            file.unlink()


@contextmanager
def _clinic(folder: Path, hapi: str | None = None) -> Iterator[_Clinic]:
    with ExitStack() as stack:
        port, own = free_port(), free_port()
        world = metriport.World(
            public_url=f"http://127.0.0.1:{port}", limits=False, auto_complete_seconds=0.5
        )
        traps = [Trapped(world=world)]
        stack.enter_context(serving(traps[0], port))
        base_url = hapi
        if base_url is None:
            fhir_port = free_port()
            base_url = f"http://127.0.0.1:{fhir_port}/fhir"
            traps.append(Trapped(world=fhir.World(base_url=base_url)))
            stack.enter_context(serving(traps[1], fhir_port))
        ehr = stack.enter_context(Ehr(base_url, channel=f"kill-{secrets.token_hex(2)}"))
        key = world.set_webhook(f"http://127.0.0.1:{own}/webhooks/metriport", utc_now())
        ledger = folder / "ledger.sqlite3"
        process = Process(
            {
                "FHIR__BASE_URL": base_url,
                "WATCH__MARKER": ehr.marker,
                "WATCH__SWEEP_SECONDS": "1",
                "WATCH__PATROL_SECONDS": "2",
                "METRIPORT__BASE_URL": f"http://127.0.0.1:{port}",
                "METRIPORT__API_KEY": metriport.DEFAULT_API_KEY,
                "METRIPORT__WEBHOOK_KEYS": json.dumps([key]),
                "LEDGER__URL": f"sqlite+aiosqlite:///{ledger}",
                "WEB__PORT": str(own),
            },
            folder / "adapter.log",
        )
        yield _Clinic(ehr=ehr, metriport=world, traps=traps, process=process, ledger=ledger)


def _moments(count: int, *, seed: int, claims: bool) -> list[Moment]:
    """Random moments of all kinds: any time, in the middle of a send, and, on the pretend server, of a write."""
    numbers = random.Random(seed)
    kinds = ["time", "send"] + ["write"] * claims
    moments = []
    for _ in range(count):
        arrives = numbers.random() < 0.7
        match numbers.choice(kinds):
            case "time":
                moments.append(Moment(seconds=numbers.uniform(0.0, 6.0)))
            case "send":
                moments.append(
                    Moment(
                        method="POST",
                        path="/medical/v1/message",
                        count=numbers.randint(1, 2),
                        arrives=arrives,
                    )
                )
            case _:
                moments.append(
                    Moment(method="PUT", path="/Communication/", count=numbers.randint(1, 6), arrives=arrives)
                )
    return moments


@pytest.mark.parametrize("server", ["simulator", "hapi_defaults"])
def test_a_killed_adapter_sends_nothing_twice_and_forgets_nothing(
    server: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hapi = None if server == "simulator" else request.getfixturevalue(server)
    batch, kills = (9, 4) if hapi else (30, 10)
    moments = _moments(kills, seed=_SEEDS[server], claims=hapi is None)
    with _clinic(tmp_path, hapi) as clinic:
        clinic.write(batch)
        for moment in moments:
            clinic.live_until(moment)
        ends = clinic.live_to_the_end(seconds=400)
        messages = [message_of(communication) for communication in clinic.ehr.messages()]
    with capsys.disabled():
        print(f"\n{server}, seed {_SEEDS[server]}: killed", *moments, sep="\n  ")  # noqa: T201
        print(f"  ended: {Counter(str(end.code or end.status) for end in ends.values())}")  # noqa: T201

    assert _wrong(clinic, ends) == {}
    _assert_each_sent_once(clinic, ends)
    given = [message for message in messages if message]
    assert len({*given}) == len(given)
    assert {*given} <= {message.id for message in clinic.metriport.messages}
    assert {line["event"] for line in clinic.process.log()} & _BUGS == set()


def test_an_adapter_whose_ledger_was_deleted_sends_nothing_twice(tmp_path: Path) -> None:
    with _clinic(tmp_path) as clinic:
        clinic.write(6)
        clinic.live_until(Moment(method="POST", path="/medical/v1/message", count=3))
        clinic.lose_ledger()

        ends = clinic.live_to_the_end(seconds=200)
        clinic.lose_ledger()
        again = clinic.live_to_the_end(seconds=100)

    assert _wrong(clinic, ends) == {}
    _assert_each_sent_once(clinic, ends)
    assert again == ends


def _wrong(clinic: _Clinic, ends: dict[str, End]) -> dict[str, End | None]:
    """Every wish that neither completed nor is known to be unknown."""
    return {id: ends.get(id) for id in clinic.wishes if ends.get(id) not in (_COMPLETED, _UNKNOWN)}


def _assert_each_sent_once(clinic: _Clinic, ends: dict[str, End]) -> None:
    """By Metriport's record. Of an unknown one it may have a message or not; of a completed one it has one."""
    posted = clinic.posted()
    completed = Counter(wish for id, wish in clinic.wishes.items() if ends[id] == _COMPLETED)
    unknown = Counter(wish for id, wish in clinic.wishes.items() if ends[id] == _UNKNOWN)
    assert completed <= posted <= completed + unknown
