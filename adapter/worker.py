"""The loops that drive the pipelines. Concurrency lives here only; every loop survives what its steps may raise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from adapter.dispatch import Dispatch
from adapter.domain.bell import Bell
from adapter.domain.episode import Episodes
from adapter.domain.pauses import spread, until_retry
from adapter.domain.reasons import Reason
from adapter.domain.transmission import State, Transmission
from adapter.errors import AdapterError, ConfigError, Conflict, MappingError, Rejected, Temporary, place
from adapter.loops import LONGEST_PAUSE, forever
from adapter.pipelines.each import each, over
from adapter.pipelines.inbound.context import Context as InboundContext
from adapter.pipelines.inbound.deliveries import Reader, work_off
from adapter.pipelines.inbound.elsewhere import follow_sent, show_sent
from adapter.pipelines.inbound.matching import apply_answers, close_settled
from adapter.pipelines.inbound.reconcile import reconcile
from adapter.pipelines.inbound.renewal import fetch_missed
from adapter.pipelines.outbound import settled
from adapter.pipelines.outbound.claim import suspect
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.lane import Lane, Prepared
from adapter.pipelines.outbound.look import (
    Sighting,
    look,
    mind_old_copies,
    mind_withdrawals,
    patrol,
    sighting_of,
    sweep,
)
from adapter.pipelines.outbound.park import park
from adapter.pipelines.outbound.prepare import complete, plan
from adapter.pipelines.outbound.queue import Queue
from adapter.pipelines.outbound.resolve import Resolver
from adapter.pipelines.outbound.track import due, each_due, is_to_write, recover
from adapter.ports.ledger import LANE
from adapter.reception import Reception

_log = structlog.get_logger(__name__)

_HORIZON = timedelta(days=30)  # how far back Metriport's list is read; what is older is taken in by hand
_DAY = timedelta(days=1)
_ASK_METRIPORT = frozenset({"track", "deliveries", "arrivals", "reconcile"})


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """How often each loop comes round, in seconds, and how much is done side by side."""

    sweep: float = 30.0
    patrol: float = 300.0
    track: float = 5.0
    lease: float = 15.0
    reconcile: float = 600.0
    answers: float = 30.0
    episodes: float = 5.0
    preparers: int = 4
    arrivals: int = 6
    ahead: int = 8


@dataclass(kw_only=True)
class Worker:
    """One process's share of the work."""

    context: Context
    inbound: InboundContext
    read_delivery: Reader
    episodes: Episodes
    rhythm: Rhythm = field(default_factory=Rhythm)
    queue: Queue = field(default_factory=Queue)
    bell: Bell = field(default_factory=Bell)

    def __post_init__(self) -> None:
        self.context.share.seconds = self.rhythm.lease  # renewed together with the lane
        self.queue.most_slow = max(1, self.rhythm.preparers - 1)  # one at least is always for what is quick
        self._dispatch = Dispatch(
            context=self.context,
            queue=self.queue,
            ahead=self.rhythm.ahead,
            begins=self._work_on,
            again=self._look_at,
            waits=self._wait,
        )
        self.silence = asyncio.Event()
        self.resolver = Resolver(context=self.context, in_work=self._in_flight, aside=self.lane.aside)
        self._look = asyncio.Event()
        self._work = asyncio.Event()
        self._mail = asyncio.Event()
        self._reception = Reception(context=self.inbound, most_at_once=self.rhythm.arrivals)
        self._read_whole: datetime | None = None
        self._patrolled = asyncio.Event()
        self._holds_lane = asyncio.Event()
        self._held_until = 0.0
        self._stopping = False

    def ring(self, sighting: Sighting | None) -> None:
        """A doorbell rang: look now, at one Communication or at all."""
        self.episodes.doorbell.hear(None)
        self.bell.rang(sighting.id if sighting else None, now=self.context.clock.boot())
        if sighting is None:
            self._look.set()
        else:
            self._look_at(sighting)

    @property
    def lane(self) -> Lane:
        """The send lane, as this process knows it."""
        return self._dispatch.lane

    def _in_flight(self) -> Container[str]:
        return self.queue.in_work

    def _look_at(self, sighting: Sighting) -> None:
        self.queue.add(sighting)
        self._work_on()

    def _work_on(self) -> None:
        self._work.set()

    def post(self) -> None:
        """A delivery was kept: work it off now."""
        self._mail.set()
        self._reception.bell.set()

    async def run(self) -> None:
        """Works until cancelled. What is claimed at that moment is carried to its end first, for some seconds."""
        loops = [
            self._loop("sweep", self._sweep, self.rhythm.sweep, self._look),
            self._loop("patrol", self._patrol, self.rhythm.patrol, None),
            self._loop("track", self._track, self.rhythm.track, None),
            self._loop("deliveries", self._deliveries, self.rhythm.sweep, self._mail),
            self._loop("arrivals", self._arrivals, self.rhythm.track, self._reception.bell),
            self._loop("reconcile", self._reconcile, self.rhythm.reconcile, None),
            self._loop("answers", self._answers, self.rhythm.answers, None),
            self._loop("lease", self._lease, self.rhythm.lease / 3, None, longest=self.rhythm.lease / 3),
            self._loop("episodes", self._settle, self.rhythm.episodes, None),
            self._send(),
            *(self._prepare() for _ in range(self.rhythm.preparers)),
        ]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            # Not `gather`: cancelled, it would cancel a send in the middle of its POST.
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            ended.pop().result()  # no loop ends but by an error
        finally:
            self._stopping = True
            await self._stop(tasks)

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        with suppress(TimeoutError):
            # A claim that is left behind would be of unknown outcome for minutes: give it time to end.
            async with asyncio.timeout(25):
                await asyncio.shield(self._dispatch.idle())
        going = [*tasks, *self._reception.tasks]
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)
        with suppress(AdapterError):
            await self.context.ledger.leave(self.context.life, LANE)

    async def _loop(
        self,
        name: str,
        step: Callable[[], Awaitable[None]],
        seconds: float,
        bell: asyncio.Event | None,
        *,
        longest: float = LONGEST_PAUSE,
    ) -> None:
        def is_said() -> bool:
            return name in _ASK_METRIPORT and self.lane.stopped is not None

        async def asks() -> None:
            try:
                await step()
            except Rejected:
                if name in _ASK_METRIPORT:
                    await self.lane.doubt()
                raise

        now = self.context.clock.now
        await forever(name, asks, seconds=seconds, now=now, longest=longest, bell=bell, is_said=is_said)

    async def _sweep(self) -> None:
        found = []
        async for sighting in sweep(self.context):
            found.append(sighting.id)
            self._look_at(sighting)
        if not self._holds_lane.is_set():
            self.queue.keep_only(found)  # what else was seen, another adapter did meanwhile
        silent = self.bell.swept(found, now=self.context.clock.boot())
        if silent:
            self.episodes.doorbell.hear(f"it did not ring for what a sweep found ({silent})")
            self.silence.set()
        if self._dispatch.is_idle:
            await self.lane.look_again()

    async def _settle(self) -> None:
        self.episodes.each()

    async def _patrol(self) -> None:
        await each(over(self._rounds()), lambda look: look(), doing="patrol")

    def _rounds(self) -> Iterator[Callable[[], Awaitable[object]]]:
        """What is looked at on a patrol; what one of it runs into keeps none of the others."""
        yield self._compare
        yield self._ready
        yield lambda: mind_withdrawals(self.context, in_flight=self._in_flight)
        yield lambda: mind_old_copies(self.context)
        if self._holds_lane.is_set():
            yield lambda: recover(self.context, in_flight=self._in_flight)
            yield lambda: settled.close_settled(self.context)
            yield lambda: close_settled(self.inbound)

    async def _compare(self) -> None:
        await patrol(self.context, in_flight=self._in_flight)
        self._patrolled.set()

    async def _ready(self) -> None:
        for row in await self.context.ledger.in_states(frozenset({State.READY})):
            if row.communication not in self.queue.in_work:
                self._look_at(Sighting(id=row.communication, rank=row.rank))  # its author may want it no more

    async def _deliveries(self) -> None:
        while await work_off(self.context, self.read_delivery):
            pass

    async def _arrivals(self) -> None:
        await self._reception.begin()

    async def _reconcile(self) -> None:
        await self._holds_lane.wait()
        now = self.context.clock.now()
        # A list may have come back short: most of the time its newest days are read, and all of it once a day.
        read = self._read_whole
        whole = read is None or now - read >= _DAY
        since = now - _HORIZON if read is None or whole else read - _DAY
        await fetch_missed(self.inbound, since=since)
        await reconcile(self.inbound, since=since)
        elsewhere = self.inbound.policy.elsewhere
        if elsewhere and self._patrolled.is_set():
            await show_sent(self.inbound, since=since)
        if elsewhere:
            await follow_sent(self.inbound)
        if whole and (not elsewhere or self._patrolled.is_set()):
            self._read_whole = now

    async def _answers(self) -> None:
        await self._holds_lane.wait()
        await apply_answers(self.inbound)

    async def _track(self) -> None:
        await each_due(self.context, self._advance, concerns=self._concerns)

    def _concerns(self, row: Transmission) -> bool:
        if row.communication in self.queue.in_work:
            return False
        return row.state is not State.UNKNOWN or self._holds_lane.is_set() or is_to_write(self.context, row)

    async def _advance(self, row: Transmission) -> None:
        await due(self.context, row)
        if row.state is State.UNKNOWN and self._holds_lane.is_set():
            self._take_again(await self.resolver.resolve(row))

    def _take_again(self, prepared: list[Prepared]) -> None:
        for one in prepared:
            self.queue.begin(one.wish.row.communication)
            self._dispatch.add(one)

    async def _lease(self) -> None:
        asked = self.context.clock.boot()
        try:
            holds = await self.context.ledger.take(
                self.context.life, LANE, now=self.context.clock.now(), seconds=self.rhythm.lease
            )
            await self.context.share.renew()
        except Temporary:
            if asked > self._held_until:
                self._holds_lane.clear()  # another may have taken it meanwhile
            raise
        if holds:
            self._held_until = asked + self.rhythm.lease
        if holds and not self._holds_lane.is_set():
            await self.lane.load()
            await recover(self.context, in_flight=self._in_flight)
            self._holds_lane.set()
        elif not holds:
            self._holds_lane.clear()

    async def _prepare(self) -> None:
        while True:
            await self._holds_lane.wait()
            now = self.context.clock.boot()
            sighting = self._next(now)
            if sighting is None:
                self._work.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._until_ready(now)):
                        await self._work.wait()
                continue
            await self._prepare_one(sighting)

    def _until_ready(self, now: float) -> float:
        at = self.queue.ready_at(now=now)
        return self.rhythm.sweep if at is None else at - now

    def _next(self, now: float) -> Sighting | None:
        if self._stopping:
            return None
        return self.queue.take(now=now, before=self._dispatch.to_beat)

    async def _prepare_one(self, sighting: Sighting) -> None:
        try:
            prepared = await self._to_call(sighting)
        except ConfigError:
            raise
        except (Temporary, Conflict, Rejected, MappingError) as error:
            await self._wait(sighting, error, "communication.waits")
            if isinstance(error, Temporary):
                await self.lane.doubt()
        except Exception as error:  # noqa: BLE001  # one bad message must not stop another; the text may be patient content
            await self._wait(sighting, error, "communication.failed")
        else:
            if prepared is None:
                self.queue.finished(sighting.id)
                return
            self.queue.prepared(sighting.id)
            self._dispatch.add(prepared)

    async def _wait(self, sighting: Sighting, error: Exception, event: str) -> None:
        """It is tried again later; log and timeline say when that begins and why, not each time."""
        why = type(error).__name__
        wait = self.queue.failed(
            sighting,
            why=why,
            now=self.context.clock.boot(),
            spread=spread(),
            at_least=until_retry(error, now=self.context.clock.now()),
        )
        self._work_on()  # whoever sleeps may have known of nothing that waits for a time
        if not wait.is_news:
            return
        say, said = _said_of(error)
        say(event, communication=sighting.id, error=why, pause_seconds=round(wait.seconds), **said)
        with suppress(Exception):  # the ledger may be what it waits for; the log has it all the same
            row = await self.context.ledger.newest(sighting.id)
            await self.context.ledger.note(
                sighting.id,
                round=row.round if row else 1,
                what="waits",
                now=self.context.clock.now(),
                note=": ".join([why, *said.values()]),
            )

    async def _to_call(self, sighting: Sighting) -> Prepared | None:
        wish = await look(self.context, sighting)
        if wish is None:
            return None
        # A doorbell says neither how urgent it is nor what is attached. Now that it is known: this one may have to wait.
        known = replace(sighting_of(wish.communication, self.context), rank=wish.row.rank)
        best = self._dispatch.to_beat
        if (best is not None and not known.rank < best) or not self.queue.may_go_on(known):
            self.queue.add(known)
            return None
        planned = await plan(self.context, wish.communication, round=wish.row.round)
        at = self.context.clock.boot()  # what is attached was looked at; to upload it may take long
        send = planned if isinstance(planned, Reason) else await complete(self.context, planned)
        if isinstance(send, Reason):
            await park(self.context, wish, send)
            return None
        if wish.may_have_gone:
            await suspect(self.context, wish, send)
            return None
        return Prepared(wish=wish, send=send, at=at)

    async def _send(self) -> None:
        while not self._stopping:
            await self._holds_lane.wait()
            await self._dispatch.wait()
            if self._holds_lane.is_set() and not self._stopping:
                await self._dispatch.carry_next()


def _said_of(error: Exception) -> tuple[Callable[..., None], dict[str, str]]:
    """How loud an error is said, and what of it: the text of an unforeseen one may be patient content."""
    if not isinstance(error, AdapterError):
        return _log.error, {"at": place(error)}
    # A neighbour's trouble has a line of its own (`domain.episode`).
    return (_log.info if isinstance(error, Temporary) else _log.warning), {"detail": str(error)}
