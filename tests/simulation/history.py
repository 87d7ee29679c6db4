"""One history, from its story to its judgement."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import itertools
import random
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Final

import sqlalchemy as sa

from adapter.config import FhirGroup, Settings
from adapter.domain.received import communication_id
from adapter.mapping.engine import Mappings
from adapter.simulators import fhir, metriport
from tests.simulation.authors import Authors
from tests.simulation.clinicians import Clinicians
from tests.simulation.oracle import Judgement, judge
from tests.simulation.story import Shock, Story, Strike
from tests.simulation.theatre import Theatre, furnish_ledgers
from tests.virtual.loop import VirtualClock, run
from tests.virtual.site import ADAPTER_URL, API_KEY, FHIR_URL, METRIPORT_URL, SECRET

LONGEST_SECONDS: Final = 3.0 * 86400
_ROUND: Final = 150.0  # longer than the slowest loop of the adapter, one that fails included
_STEP: Final = 20.0
_LISTED_AFTER: Final = timedelta(minutes=30)
_PLAYS: Final = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one history came to; `digest` is equal for equal histories.

    Each of `crashes` would have left behind another world than the one before it, or the same at another time.
    """

    story: Story
    judgement: Judgement
    transcript: list[str] = field(repr=False)
    covered: set[tuple[str, str]] = field(repr=False)
    operations: int
    strikes: int
    crashes: list[Strike] = field(repr=False)
    seconds: float

    @property
    def recovered(self) -> int:
        """Messages that came to their proper end though something had struck."""
        return self.judgement.messages if self.strikes and not self.judgement.wrong else 0

    @property
    def digest(self) -> str:
        """SHA-256 of the transcript."""
        return hashlib.sha256("\n".join(self.transcript).encode()).hexdigest()


def play(story: Story, *, longest_seconds: float = LONGEST_SECONDS) -> Outcome:
    """Plays the story to its end, in virtual time; one that takes longer has none."""
    run(furnish_ledgers())
    _leave_out_the_modules()
    random.seed(story.seed)
    gc.disable()  # the frozen have many cycles, and looking for them takes a tenth of the time
    try:
        return run(_play(story, longest_seconds))
    finally:
        if next(_PLAYS) % 20 == 0:
            gc.collect()


@cache
def _leave_out_the_modules() -> None:
    """They stay, and need not be looked through by the collector again and again."""
    gc.freeze()


@cache
def _mappings() -> Mappings:
    return Mappings(directory=None)


async def _play(story: Story, longest_seconds: float) -> Outcome:
    loop = asyncio.get_running_loop()
    clock = VirtualClock(loop)
    world = metriport.World(
        api_key=API_KEY,
        public_url=METRIPORT_URL,
        dialect=story.dialect,
        auto_complete_seconds=None,
        seed=story.seed,
    )
    key = world.set_webhook(f"{ADAPTER_URL}/webhooks/metriport", clock.now())
    stage = Theatre(
        clock=clock,
        fhir=fhir.World(base_url=FHIR_URL),
        metriport=world,
        settings=_settings(key, story),
        doorbell=story.doorbell,
        mappings=_mappings(),
        story=story,
    )
    calls = asyncio.create_task(stage.make_calls())
    authors = Authors(stage=stage)
    clinicians = Clinicians(stage=stage, authors=authors)
    authors.furnish()
    acts = [
        *(asyncio.create_task(authors.write(letter)) for letter in story.letters),
        *(asyncio.create_task(authors.receive(arrival)) for arrival in story.arrivals),
        *(asyncio.create_task(authors.do(deed)) for deed in story.deeds),
        *(asyncio.create_task(clinicians.answer(answer)) for answer in story.answers),
        *(asyncio.create_task(_shock(stage, shock)) for shock in story.shocks),
    ]
    try:
        for _ in range(story.replicas):
            await stage.appear()
        await asyncio.gather(*acts)
        if not await _rests(stage, clinicians, longest_seconds):
            stage.failures.append("it never comes to rest")
        judgement = judge(stage, authors, clinicians)
    finally:
        for process in stage.living:
            process.life.dead = True
            stage._abandoned.extend(process.life.tasks)
        stage.bury()
        calls.cancel()
        await asyncio.gather(calls, *stage._abandoned, return_exceptions=True)
        await stage.close_ledgers()
    stage.say(f"{judgement}")
    return Outcome(
        story=story,
        judgement=judgement,
        transcript=stage.transcript,
        covered=stage.covered,
        operations=len(stage.operations),
        strikes=stage.strikes,
        crashes=stage.crashes,
        seconds=loop.time(),
    )


def _settings(key: str, story: Story) -> Settings:
    return Settings.model_validate(
        {
            "fhir": FhirGroup(base_url=FHIR_URL),
            "watch": {"doorbell": "rest-hook" if story.doorbell else "off", "doorbell_secret": SECRET},
            "metriport": {
                "base_url": METRIPORT_URL,
                "api_key": API_KEY,
                "webhook_keys": [key],
                "sends_per_minute": story.sends_per_minute,
            },
            "web": {"public_url": ADAPTER_URL},
        }
    )


async def _shock(stage: Theatre, shock: Shock) -> None:
    if shock.kind == "ledger-rolled-back":
        await asyncio.sleep(max(shock.at - shock.seconds, 0.0))
        await stage.remember_ledger()
        await asyncio.sleep(min(shock.seconds, shock.at))
    else:
        await asyncio.sleep(shock.at)
    living = [process for process in stage.living if not process.life.paused]
    if not living:
        return
    process = stage.numbers.choice(living)
    stage.strikes += 1
    stage.covered.add(("process", shock.kind))
    stage.say(f"{shock.kind} {shock.seconds:.1f}")
    match shock.kind:
        case "kill":
            stage.strike_down(process.life, absence=stage.story.absence)
        case "stop":
            with suppress(Exception):
                await stage.leave(process, absence=stage.story.absence)
        case "ledger-deleted":
            stage.replace_ledger(back=None)
        case "ledger-rolled-back":
            stage.replace_ledger(back=shock.seconds)
        case "pause":
            stage.pause(process, shock.seconds)
        case _:
            process.clock.skew += timedelta(
                seconds=shock.seconds if stage.numbers.random() < 0.5 else -shock.seconds
            )


async def _rests(stage: Theatre, clinicians: Clinicians, longest_seconds: float) -> bool:
    """Waits until nothing is scheduled anywhere, and one more round of every loop has changed nothing."""
    seen: object = None
    since = 0.0
    now = stage.clock.loop.time
    while now() < longest_seconds:
        print_ = None if clinicians.waits else await _print(stage)
        if print_ is None or print_ != seen:
            seen, since = print_, now()
        elif now() - since >= _ROUND:
            return True
        await stage.passes(_STEP)
    return False


async def _print(stage: Theatre) -> object:
    """What would differ if something had happened; `None` while something is still to come."""
    if stage.pending or not stage.living or stage._ledger is None:
        return None
    if stage.metriport.next_at() is not None or any(process.life.paused for process in stage.living):
        return None
    communications = stage.fhir.resources("Communication")
    waiting = (one["status"] == "preparation" and one["id"] in stage.letters for one in communications)
    if any(waiting) or _comes(stage):
        return None
    async with stage._ledger._database.reading() as connection:
        scheduled, *ledger = (await connection.execute(_LEDGER)).one()
    if scheduled:
        return None
    versions = tuple(one["meta"]["versionId"] for one in (*communications, *stage.fhir.resources("Task")))
    return (*ledger, versions, len(stage.posts), len(stage.processes))


def _comes(stage: Theatre) -> bool:
    """Whether a message has never been there that a reading of Metriport's list may still bring."""
    return any(
        not stage.fhir.history("Communication", communication_id(message.id))
        and stage.clock.now() - message.sent_at < _LISTED_AFTER
        for message in stage.metriport.messages
        if message.direction == "inbound"
    )


_LEDGER: Final = sa.text(
    "SELECT EXISTS (SELECT 1 FROM transmissions WHERE due_at IS NOT NULL OR write_at IS NOT NULL"
    " OR state IN ('claimed', 'intent', 'waiting'))"
    " OR EXISTS (SELECT 1 FROM deliveries WHERE NOT done), count(*), sum(generation) FROM transmissions"
)


__all__ = ["Outcome", "play", "replace"]
