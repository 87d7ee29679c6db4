"""SIGKILL before or after the n-th operation of a real process, for n = 1, 2, 3 … until n is not reached.

`python -m tests.e2e.kills` plays all of it: both databases, every number, crossed with what can become of a POST, each
also with a second kill during the recovery. What counts is the record of the pretend neighbours, which outlive the
adapter. One play is repeated with `--play`, as its line in the report says.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from adapter.domain.canonical import PATIENT_ID
from adapter.domain.received import communication_id
from adapter.simulators import fhir, metriport
from tests.e2e.ehr import Ehr, End, end_of, message_of
from tests.e2e.hurried import HurriedClock
from tests.e2e.mortal import Doom, Life, begin
from tests.e2e.town import Town
from tests.integration.canary import everyday_leaks_in
from tests.neighbours import postgresql
from tests.neighbours.postgresql import Postgresql
from tests.neighbours.simulator import free_port

POST: Final = "/medical/v1/message"
FAULTS: Final = (
    "none", "apply-then-drop", "apply-then-500", "apply-then-429", "apply-late:30", "drop", "500", "503", "429", "429:7",
    "slow:15", "malformed", "no-id", "redirect",
)  # fmt: skip
DATABASES: Final = ("sqlite", "postgresql")
SECOND: Final = (0, 5, 14, 23)
SPEED: Final = 20.0
PATIENCE: Final = (
    240.0  # seconds of real time, for a life that comes to its end in five on a machine of its own
)

_RECEIVED: Final = "RUNHIA=="
_COMPLETED: Final = End(status="completed")
_ASKED: Final = End(status="on-hold", code="held-outcome-ambiguous")
_TO_A_PERSON: Final = "after 2 attempts"
_BUGS: Final = frozenset(
    {"communication.failed", "loop.failed", "send.failed", "delivery.failed", "claim.row-lost"}
)


@dataclass(frozen=True, kw_only=True)
class Play:
    """How many messages there are, what becomes of the first POST, and when the adapter dies in all lives but the last.

    The third message has an attachment, the others are alike. One more comes in, with an attachment too, while nobody
    listens.
    """

    server: str = "simulator"
    database: str = "sqlite"
    messages: int = 3
    fault: str = "none"
    dooms: tuple[Doom, ...] = ()

    def __str__(self) -> str:
        return "/".join([self.server, self.database, str(self.messages), self.fault, *map(str, self.dooms)])

    @staticmethod
    def named(name: str) -> Play:
        """The play of that name."""
        server, database, messages, fault, *dooms = name.split("/")
        deaths = [doom.split() for doom in dooms]
        return Play(
            server=server,
            database=database,
            messages=int(messages),
            fault=fault,
            dooms=tuple(Doom(count=int(number), after=when == "after") for when, number in deaths),
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a play ended: what was wrong, how many kills struck, and in which operations."""

    play: Play
    wrong: list[str]
    struck: int
    died_at: list[str]
    ends: dict[str, End]


@dataclass(kw_only=True)
class Stage:
    ehr: Ehr
    folder: Path
    clock: HurriedClock
    metriport: metriport.World
    settings: dict[str, Any]
    wishes: dict[str, str] = field(default_factory=dict)
    received: str = ""
    died_at: list[str] = field(default_factory=list)
    gave_up: list[str] = field(default_factory=list)

    def write(self, messages: int) -> None:
        """The last of three has an attachment, the others are alike; all go to one place."""
        patient = f"{self.ehr.channel}-patient"
        link = {"system": PATIENT_ID, "value": metriport.SANDBOX_PATIENTS[0].id}
        self.ehr.save({"resourceType": "Patient", "id": patient, "identifier": [link]})
        attached = {"contentAttachment": {"contentType": "text/plain", "title": "ecg.txt", "data": "RUNH"}}
        for number in range(3 - messages, 3):
            id, subject = f"{self.ehr.channel}-{number}", "ECG" if number == 2 else "Call"
            self.wishes[id] = subject
            enclosed = [attached] if number == 2 else []
            text = {"contentString": f"{subject}, please."}
            self.ehr.save(self.ehr.wish(patient, text, *enclosed, id=id, subject=subject))
        part = {"title": "ecg.txt", "contentType": "text/plain", "data": _RECEIVED}
        to = metriport.SANDBOX_PATIENTS[0].id
        self.received = self.metriport.receive(
            self.clock.now(), patientId=to, subject="Result", attachments=[part]
        ).id

    def begin(self, doom: Doom | None = None) -> BaseProcess:
        """Starts the adapter."""
        self.operations.write_text("")
        log = self.folder / "adapter.log"
        return begin(
            Life(settings=self.settings, log=log, operations=self.operations, clock=self.clock, doom=doom)
        )

    @property
    def operations(self) -> Path:
        """The names of this life's operations."""
        return self.folder / "operations.txt"

    def live(self, doom: Doom | None) -> bool:
        """One life, until it is killed by itself (gives `True`), or all has ended."""
        process = self.begin(doom)
        try:
            until = time.monotonic() + PATIENCE
            while process.is_alive() and not self.is_over() and time.monotonic() < until:
                process.join(0.1)
            ended = process.exitcode
        finally:
            process.kill()
            process.join()
        if ended == -signal.SIGKILL and doom:
            self.died_at.append(self.operations.read_text().splitlines()[doom.count - 1])
        elif ended is not None:
            self.gave_up.append(f"ended by itself with {ended}, {[*self.log()][-1:]}")
        return ended is not None

    @property
    def sent(self) -> list[str]:
        """The subjects of what was sent."""
        return [one.subject for one in self.metriport.messages if one.direction == "outbound"]

    def is_over(self) -> bool:
        """Whether nothing is under way any more, here or there."""
        quiet = self.metriport.next_at() is None
        ends = self.ehr.ends()
        here = communication_id(self.received) in ends
        return quiet and here and all(end in (_COMPLETED, _ASKED) for end in ends.values())

    def wrong(self) -> Iterator[str]:
        """By the neighbours' records: each wish was sent once and shows its own message, or a person was asked.

        What came in is there once, whole from its first version on.
        """
        every = [*self.ehr.messages()]
        yield from self._wrongly_received([one for one in every if one["id"] not in self.wishes])
        shown = {one["id"]: one for one in every if one["id"] in self.wishes}
        ends = {id: end_of(one) for id, one in shown.items()}
        wished = Counter(self.wishes.values())
        completed = Counter(subject for id, subject in self.wishes.items() if ends[id] == _COMPLETED)
        posted = Counter(self.sent)
        if not completed <= posted <= wished:
            yield f"posted {dict(posted)}, completed {dict(completed)}"
        for id, end in ends.items():
            if end not in (_COMPLETED, _ASKED):
                yield f"{id} ended {end}"
            if end == _ASKED and _TO_A_PERSON not in shown[id]["statusReason"]["text"]:
                yield f"{id}: {shown[id]['statusReason']['text']}"
        given = [message for one in shown.values() if (message := message_of(one))]
        known = {message.id for message in self.metriport.messages}
        if len({*given}) != len(given) or not {*given} <= known:
            yield f"messages {given}"
        yield from sorted(_BUGS & {line["event"] for line in self.log()})
        yield from everyday_leaks_in((self.folder / "adapter.log").read_text("utf-8", "replace"))

    def _wrongly_received(self, found: list[dict[str, Any]]) -> Iterator[str]:
        if [(one["id"], one["meta"]["versionId"]) for one in found] != [
            (communication_id(self.received), "1")
        ]:
            yield f"received once, there are {[(one['id'], one['meta']['versionId']) for one in found]}"
        for one in found:
            contents = [
                self.ehr.read(document["content"][0]["attachment"]["url"]).get("data")
                for part in one["payload"]
                if "contentReference" in part
                for document in [self.ehr.read(part["contentReference"]["reference"])]
            ]
            if contents != [_RECEIVED]:
                yield f"received with {len(contents)} attachments, or with other ones"

    def log(self) -> Iterator[dict[str, Any]]:
        """What the adapter said in all its lives; a kill may cut a line in two."""
        for line in (self.folder / "adapter.log").read_text("utf-8", "replace").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                yield {"event": "unreadable", "line": line}


@dataclass(frozen=True, kw_only=True)
class Theatre:
    """Where plays are played, several at a time. `servers` are the real ones: HAPI's base URL, PostgreSQL."""

    town: Town
    folder: Path
    hapi: str | None = None
    postgresql: Postgresql | None = None

    def play(self, play: Play) -> Outcome:
        """Plays it, and judges."""
        with self.stage(play) as stage:
            stage.write(play.messages)
            struck = 0
            for doom in play.dooms:
                if not stage.live(doom):
                    break
                struck += 1
            if not stage.is_over():
                stage.live(None)
            return Outcome(
                play=play,
                wrong=[*stage.wrong(), *stage.gave_up],
                struck=struck,
                died_at=stage.died_at,
                ends=stage.ehr.ends(),
            )

    @contextmanager
    def stage(self, play: Play) -> Iterator[Stage]:
        """Neighbours and a ledger of its own, before anything has happened."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self.folder)))
            base_url = stack.enter_context(self._server(play))
            world, url = stack.enter_context(self.town.serving(lambda url: metriport.World(public_url=url)))
            if play.fault != "none":
                world.add_fault("POST", POST, play.fault)
            own = free_port()
            key = world.set_webhook(f"http://127.0.0.1:{own}/webhooks/metriport", self.town.clock.now())
            ehr = stack.enter_context(Ehr(base_url, channel=f"nth-{secrets.token_hex(3)}"))
            account = {
                "base_url": url,
                "api_key": metriport.DEFAULT_API_KEY,
                "webhook_keys": [key],
                "list_lag_seconds": 0,
            }
            yield Stage(
                ehr=ehr,
                folder=folder,
                clock=self.town.clock,
                metriport=world,
                settings={
                    "fhir": {"base_url": base_url},
                    "watch": {"marker": ehr.marker, "sweep_seconds": 5, "patrol_seconds": 30},
                    "metriport": account,
                    "ledger": {"url": stack.enter_context(self._ledger(play, folder))},
                    "web": {"port": own},
                    "inbound": {"allow_private_addresses": True},
                },
            )

    @contextmanager
    def _server(self, play: Play) -> Iterator[str]:
        if play.server == "hapi":
            assert self.hapi is not None
            yield self.hapi
        else:
            with self.town.serving(lambda url: fhir.World(base_url=f"{url}/fhir")) as (_, url):
                yield f"{url}/fhir"

    def _ledger(self, play: Play, folder: Path) -> AbstractContextManager[str]:
        if play.database == "sqlite":
            return nullcontext(f"sqlite:///{folder}/ledger.db")
        assert self.postgresql is not None
        return hurried_database(self.postgresql, self.town.clock)


@contextmanager
def hurried_database(server: Postgresql, clock: HurriedClock) -> Iterator[str]:
    """The URL of an empty database whose clock is hurried like all others."""
    with server.database() as url:
        name = sa.make_url(url).database
        # Found before the one of that name in pg_catalog.
        asked(url, f"ALTER DATABASE {name} SET search_path = public, pg_catalog")
        set_clock(url, clock)
        yield url


def set_clock(url: str, clock: HurriedClock) -> None:
    """From now on that is the database's clock."""
    start = f"timestamptz '{clock.start.isoformat()}'"
    hurried = f"{start} + (pg_catalog.clock_timestamp() - {start}) * {clock.speed}"
    skewed = f"SELECT {hurried} + interval '{clock.skew.total_seconds()} s'"
    name = "FUNCTION public.clock_timestamp() RETURNS timestamptz"
    asked(url, f"CREATE OR REPLACE {name} LANGUAGE sql AS $$ {skewed} $$")


def asked(url: str, statement: str) -> list[Any]:
    """What the database answers to a statement, beside the adapter."""
    place = sa.make_url(url)
    where = f"host={place.query['host']} user=postgres dbname={place.database}"
    with psycopg.connect(where, autocommit=True) as connection:
        answer = connection.execute(statement.encode())
        return answer.fetchall() if answer.description else []


@contextmanager
def theatre(
    folder: Path, *, speed: float = SPEED, hapi: str | None = None, postgresql: Postgresql | None = None
) -> Iterator[Theatre]:
    """A theatre in the folder, for plays with the real neighbours that are given."""
    with Town(HurriedClock(start=datetime.now(UTC), speed=speed)) as town:
        yield Theatre(town=town, folder=folder, hapi=hapi, postgresql=postgresql)


def one_by_one(
    play: Callable[[Play], Outcome], rest: Play, *, after: bool, first: int = 1, stride: int = 1
) -> Iterator[Outcome]:
    """The rest with a first kill at one operation after another, until one is not reached."""
    for count in itertools.count(first, stride):
        outcome = play(replace(rest, dooms=(Doom(count=count, after=after), *rest.dooms)))
        yield outcome
        if not outcome.struck:
            return


def main() -> int:
    """Exit code 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.kills", description=__doc__)
    parser.add_argument("--play", help="this play only, as the report names it")
    parser.add_argument("--at-once", type=int, default=6)
    parser.add_argument("--databases", nargs="*", choices=DATABASES, default=DATABASES)
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=FAULTS)
    parser.add_argument("--second", type=int, nargs="*", default=SECOND, help="in the recovery; 0 is none")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--messages", type=int, choices=(1, 2, 3), default=3)
    options = parser.parse_args()
    logging.disable()  # the pretend neighbours drop connections as they are told to
    with (
        tempfile.TemporaryDirectory(prefix="adapter-kills-") as folder,
        postgresql.serving() as server,
        theatre(Path(folder), postgresql=server) as stage,
    ):
        if not options.play:
            return _all(stage, options)
        outcome = stage.play(Play.named(options.play))
        _say(f"{outcome.play}: {outcome.ends}", *outcome.died_at, *(outcome.wrong or ["all is well"]))
        return bool(outcome.wrong)


def _all(stage: Theatre, options: argparse.Namespace) -> int:
    plays, kills, failing = 0, 0, 0
    ends: Counter[str] = Counter()

    def series(what: tuple[str, str, int, bool]) -> list[Outcome]:
        database, fault, second, after = what
        then = (Doom(count=second, after=not after),) if second else ()
        play = Play(database=database, messages=options.messages, fault=fault, dooms=then)
        return [*one_by_one(stage.play, play, after=after, stride=options.stride)]

    with ThreadPoolExecutor(options.at_once) as pool:
        whats = itertools.product(options.databases, options.faults, options.second, (False, True))
        for outcomes in pool.map(series, whats):
            plays += len(outcomes)
            kills += sum(outcome.struck for outcome in outcomes)
            ends.update(str(end.code or end.status) for one in outcomes for end in one.ends.values())
            wrong = [one for one in outcomes if one.wrong]
            failing += len(wrong)
            _say(
                f"{outcomes[-1].play} not reached; {plays} plays, {kills} kills, {dict(ends)}, {failing} wrong",
                *(f"  {one.play} (in {one.died_at}): {one.wrong}" for one in wrong),
            )
    return bool(failing)


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
