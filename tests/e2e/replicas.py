"""Replicas on one PostgreSQL, their clocks minutes apart, one after another killed and started again.

`python -m tests.e2e.replicas` plays it with 200 messages at the real pace, which takes a quarter of an hour;
`--speed 20` lets the clocks of everything run so many times as fast.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx

from adapter.domain.canonical import PATIENT_ID
from adapter.simulators import fhir, metriport
from tests.e2e.ehr import Ehr, end_of
from tests.e2e.hurried import HurriedClock
from tests.e2e.kills import POST, hurried_database
from tests.e2e.mortal import Life, begin
from tests.e2e.town import Town
from tests.neighbours import postgresql
from tests.neighbours.postgresql import Postgresql
from tests.neighbours.simulator import free_port
from tests.virtual.site import within

WORK: Final = ("transmission.sent", "transmission.ended", "message.received")
SKEWS: Final = (timedelta(0), timedelta(minutes=5), timedelta(minutes=-5))


@dataclass(frozen=True, kw_only=True)
class Report:
    """What Metriport and the FHIR server have in the end."""

    wished: int
    told: int
    posted: Counter[str]
    ends: Counter[str]
    received: Counter[str]
    arrivals: list[datetime]
    too_many: int
    kills: int
    shares: list[Counter[str]]

    @property
    def lines(self) -> list[str]:
        """For people."""
        minutes = (self.arrivals[-1] - self.arrivals[0]).total_seconds() / 60
        return [
            f"{self.wished} wishes, {sum(self.posted.values())} posted, {self.doubled} doubled, {self.lost} lost",
            f"ends: {dict(self.ends)}; {self.kills} kills; {minutes:.1f} minutes",
            f"{self.told} came in, {len(self.received)} are there, {self.received.total()} in all",
            *(f"one of them did {dict(share)}" for share in self.shares),
            f"most arrivals in a minute: {within(self.arrivals, 60.0)}; answered with 429: {self.too_many}",
        ]

    @property
    def doubled(self) -> int:
        """Messages that were sent more than once."""
        return sum(count - 1 for count in self.posted.values())

    @property
    def lost(self) -> int:
        """Wishes that were neither sent nor put before a person."""
        return self.wished - self.ends["completed"] - self.ends["held-outcome-ambiguous"]

    @property
    def is_well(self) -> bool:
        """Whether nothing was lost or doubled, out or in, and Metriport was never asked too often."""
        once = len(self.received) == self.received.total() == self.told
        return once and not (self.doubled or self.lost) and within(self.arrivals, 60.0) <= 20

    def how_many_did(self, what: str) -> int:
        """How many of them did that at all."""
        return sum(share[what] > 0 for share in self.shares)


@dataclass(kw_only=True)
class Replica:
    """One of them, and the process that it is now."""

    life: Life
    process: multiprocessing.process.BaseProcess | None = None

    @property
    def has_sent(self) -> bool:
        """Whether it has sent anything."""
        return self.share["transmission.sent"] > 0

    @property
    def share(self) -> Counter[str]:
        """What it did of the work in all its lives; a kill may have cut a line of its log in two."""
        log = self.life.log
        lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
        return Counter(event for line in lines for event in WORK if f'"event": "{event}"' in line)

    def start(self) -> None:
        """Starts it."""
        self.process = begin(self.life)

    def see_to(self) -> None:
        """What a supervisor does: one that ended by itself is started again."""
        if self.process is not None and not self.process.is_alive():
            self.start()

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.join()


@dataclass(kw_only=True)
class House:
    """Their neighbours, and what was counted."""

    ehr: Ehr
    clock: HurriedClock
    metriport: metriport.World
    metriport_url: str
    replicas: list[Replica]
    kills: int = 0
    told: int = 0
    wishes: set[str] = field(default_factory=set)

    def write(self, count: int, *, first: int = 0) -> None:
        """So many wishes."""
        patient = f"{self.ehr.channel}-patient"
        link = {"system": PATIENT_ID, "value": metriport.SANDBOX_PATIENTS[0].id}
        self.ehr.save({"resourceType": "Patient", "id": patient, "identifier": [link]})
        self.wishes.update(f"{self.ehr.channel}-{number}" for number in range(first, first + count))
        self.ehr.save_all(
            self.ehr.wish(
                patient,
                {"contentString": "See the result."},
                id=f"{self.ehr.channel}-{number}",
                subject=f"Result {number}",
            )
            for number in range(first, first + count)
        )

    def tell(self) -> None:
        """A message comes in, with an attachment."""
        told = {
            "patientId": metriport.SANDBOX_PATIENTS[0].id,
            "subject": f"Letter {self.told}",
            "attachments": [{"title": "letter.txt", "contentType": "text/plain", "data": "UmVzdWx0"}],
        }
        url = f"{self.metriport_url}/_simulator/messages/inbound"
        answer = httpx.post(url, json=told, trust_env=False)
        assert answer.is_success, answer.text
        self.told += 1

    def play(self, *, every: float, most: int, seed: int, patience: float, told: int = 0) -> None:
        """Kills one of them every so many seconds, `most` times, and starts it again, until nothing is under way.

        Meanwhile so many messages come in.
        """
        numbers = random.Random(seed)
        for replica in self.replicas:
            replica.start()
        until, next_kill = time.monotonic() + patience, self.clock.boot() + every
        while time.monotonic() < until and not self.is_over():
            time.sleep(0.2)
            for replica in self.replicas:
                replica.see_to()
            if self.told < told:
                self.tell()
            if self.clock.boot() >= next_kill and self.kills < most:
                replica = numbers.choice(self.replicas)
                replica.kill()
                self.kills += 1
                replica.start()
                next_kill = self.clock.boot() + every * numbers.uniform(0.5, 1.5)

    def is_over(self) -> bool:
        """Whether nothing is under way."""
        is_sent = self.ehr.how_many("preparation,in-progress") == 0
        return is_sent and self.ehr.how_many(None) >= len(self.wishes) + self.told

    def report(self, wished: int) -> Report:
        """What there is now."""
        asked = [one for one in self.metriport.requests if (one.method, one.path) == ("POST", POST)]
        arrivals = [one.at for one in asked]
        messages = list(self.ehr.messages())
        ends = {one["id"]: end_of(one) for one in messages}
        return Report(
            wished=wished,
            told=self.told,
            posted=Counter(one.subject for one in self.metriport.messages if one.direction == "outbound"),
            ends=Counter(str(end.code or end.status) for id, end in ends.items() if id in self.wishes),
            received=Counter(one["topic"]["text"] for one in messages if one["id"] not in self.wishes),
            arrivals=arrivals,
            too_many=sum(one.status == 429 for one in asked),
            kills=self.kills,
            shares=[replica.share for replica in self.replicas],
        )


@contextmanager
def house(folder: Path, server: Postgresql, *, speed: float) -> Iterator[House]:
    """Three replicas that are not started yet; the clocks run so many times as fast."""
    with ExitStack() as stack:
        town = stack.enter_context(Town(HurriedClock(start=datetime.now(UTC), speed=speed)))
        _, fhir_url = stack.enter_context(
            town.serving(lambda url: fhir.World(base_url=f"{url}/fhir", page_size=200))
        )
        world, url = stack.enter_context(town.serving(lambda url: metriport.World(public_url=url)))
        ehr = stack.enter_context(Ehr(f"{fhir_url}/fhir", channel=f"replicas-{secrets.token_hex(3)}"))
        ports = [free_port() for _ in SKEWS]
        # One of them is called; what it does not hear while it is dead, the others ask for.
        key = world.set_webhook(f"http://127.0.0.1:{ports[0]}/webhooks/metriport", town.clock.now())
        settings: dict[str, Any] = {
            "fhir": {"base_url": f"{fhir_url}/fhir"},
            "watch": {"marker": ehr.marker},
            "metriport": {"base_url": url, "api_key": metriport.DEFAULT_API_KEY, "webhook_keys": [key]},
            "inbound": {"allow_private_addresses": True},
            "ledger": {"url": stack.enter_context(hurried_database(server, town.clock))},
        }
        replicas = [
            Replica(
                life=Life(
                    settings={**settings, "web": {"port": port}},
                    log=folder / f"{port}.log",
                    operations=folder / "operations.txt",
                    clock=replace(town.clock, skew=skew),
                )
            )
            for port, skew in zip(ports, SKEWS, strict=True)
        ]
        try:
            yield House(ehr=ehr, clock=town.clock, metriport=world, metriport_url=url, replicas=replicas)
        finally:
            for replica in replicas:
                replica.kill()


def play(
    folder: Path,
    server: Postgresql,
    *,
    count: int,
    speed: float,
    every: float,
    most: int,
    patience: float,
    seed: int = 1,
    told: int = 0,
) -> Report:
    """So many messages out and in, three replicas; one is killed about every so many seconds, `most` times."""
    with house(folder, server, speed=speed) as here:
        here.write(count)
        here.play(every=every, most=most, seed=seed, patience=patience, told=told)
        return here.report(count)


def main() -> int:
    """Exit code 1 when one was doubled or lost, or too many came in a minute."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.replicas", description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--told", type=int, default=100, help="messages that come in")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds from kill to kill")
    parser.add_argument("--most", type=int, default=1000, help="kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=2400.0, help="seconds of real time")
    options = vars(parser.parse_args())
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="adapter-replicas-") as folder, postgresql.serving() as server:
        report = play(Path(folder), server, **options)
    sys.stdout.write("\n".join([*report.lines, ""]))
    return int(not report.is_well)


if __name__ == "__main__":
    sys.exit(main())
