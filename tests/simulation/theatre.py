"""The clinic of a history: processes that are struck at their operations, and a record of what was true."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextvars import Context as Variables
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapter.errors import Temporary
from adapter.ledger.store import Store
from adapter.ledger.tables import deliveries, transmissions
from adapter.simulators.http import Call, Neighbour, Request, Response
from adapter.wiring import Adapter
from adapter.worker import Rhythm
from tests.simulation import operations
from tests.simulation.story import Letter, Story, Strike
from tests.virtual.loop import LIFE, Life, VirtualClock
from tests.virtual.site import Line, Site, _answered
from tests.virtual.sqlite import empty_image, image_of, in_thread_engine

DROPPED = Response(status=0, drop=True)
_NOBODY = Variables()


@dataclass(kw_only=True)
class Post:
    """One POST as it arrived at Metriport, and whose it was: out of band, from the adapter's own intent."""

    at: datetime
    letter: str
    round: int
    message: str | None = None
    applied_at: datetime | None = None


@dataclass(kw_only=True)
class _Ledger:
    """An engine and what it starts from. Engines are used again: what they have compiled is worth more than a history."""

    image: bytes
    engine: AsyncEngine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = in_thread_engine(image=lambda: self.image)


_FREE: list[_Ledger] = []
_MOST_LEDGERS: Final = 12


async def furnish_ledgers() -> None:
    """Engines that have been connected before: the first time takes more steps, and histories must not differ by that."""
    empty = await empty_image()
    while len(_FREE) < _MOST_LEDGERS:
        ledger = _Ledger(image=empty)
        async with ledger.engine.connect():
            pass
        await ledger.engine.dispose()
        _FREE.append(ledger)


@dataclass(kw_only=True)
class Process:
    """One incarnation."""

    life: Life
    clock: VirtualClock
    adapter: Adapter
    tasks: list[asyncio.Task[Any]]


@dataclass(kw_only=True, eq=False)
class Theatre(Site):
    """A site whose processes are struck as the story says."""

    story: Story
    letters: dict[str, Letter] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    post_tried: bool = False
    ends: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    transcript: list[str] = field(default_factory=list)
    covered: set[tuple[str, str]] = field(default_factory=set)
    operations: int = 0
    changes: int = 0
    strikes: int = 0
    pending: int = 0
    failures: list[str] = field(default_factory=list)
    intended: dict[int, tuple[str, int]] = field(default_factory=dict)
    numbers: random.Random = field(default_factory=random.Random)
    images: list[tuple[datetime, bytes]] = field(default_factory=list)
    ledgers: list[_Ledger] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.numbers = random.Random(self.story.seed * 7919 + 1)
        self.letters = {letter.id: letter for letter in self.story.letters}
        self.latency = lambda: self.numbers.random() * self.story.slowness
        self._planned: dict[int, list[Strike]] = {}
        for strike in self.story.strikes:
            self._planned.setdefault(strike.operation, []).append(strike)

    def say(self, what: str) -> None:
        """One line of the history."""
        self.transcript.append(f"{self.clock.loop.time():10.3f}  {what}")

    # Operations

    def next(self) -> tuple[int, list[Strike]]:
        """Counts one operation; gives its number and what strikes it."""
        self.operations += 1
        return self.operations, self._planned.pop(self.operations, [])

    def cover(self, kind: str, fault: str) -> None:
        """Notes that the fault struck an operation of that kind."""
        self.covered.add((kind, fault))
        self.strikes += 1

    # Processes

    @property
    def living(self) -> list[Process]:
        """The processes that are not dead."""
        return [process for process in self.processes if not process.life.dead]

    async def appear(self) -> None:
        """A process starts, on a machine whose clock may be off."""
        clock = VirtualClock(self.clock.loop)
        clock.skew = timedelta(seconds=self.numbers.uniform(-20.0, 20.0))
        self.machine = clock
        if self._ledger is not None and self.story.replicas == 1:
            await self._ledger.free_lane()  # as is done when a ledger file is opened
        adapter = await self.start(
            rhythm=Rhythm(
                sweep=60.0,
                patrol=110.0,
                track=self.story.track,
                lease=300.0 if self.story.replicas == 1 else 60.0,
                preparers=2,
                episodes=600.0,
            )
        )
        process = Process(life=self._life, clock=clock, adapter=adapter, tasks=self._tasks)
        self.processes.append(process)
        for task in self._tasks:
            task.add_done_callback(lambda task: self._ended(process, task))
        self.say(f"life {len(self.processes)} begins")

    def _ended(self, process: Process, task: asyncio.Task[Any]) -> None:
        if process.life.over or process.life.dead or task.cancelled():
            return
        self.failures.append(f"a process ended by itself: {task.exception()!r}")

    def strike_down(self, life: Life, *, absence: float) -> None:
        """SIGKILL now, and a new process after a while."""
        process = next(one for one in self.processes if one.life is life)
        if life.dead:
            return
        life.dead = True
        self._abandoned.extend(life.tasks)
        self.say(f"life {self.processes.index(process) + 1} is killed")
        self._return_after(absence)

    async def leave(self, process: Process, *, absence: float) -> None:
        """SIGTERM, and a new process after a while."""
        self.say(f"life {self.processes.index(process) + 1} is stopped")
        for task in process.tasks:
            task.cancel()
        await asyncio.wait(process.tasks)
        if not process.life.dead:
            process.life.dead = True
            self._abandoned.extend(process.life.tasks)
            self._return_after(absence)

    def _return_after(self, absence: float) -> None:
        self.pending += 1
        self.later(absence, self._return)

    def _return(self) -> None:
        self.pending -= 1
        self._abandoned.append(asyncio.create_task(self.appear()))

    def later(self, seconds: float, action: Callable[..., Any], *arguments: Any) -> None:
        """Something that no process does and no kill stops."""
        self.clock.loop.call_later(seconds, action, *arguments, context=_NOBODY)

    async def remember_ledger(self) -> None:
        """A backup of the ledger as it is."""
        if self._ledger is not None:
            self.images.append((self.clock.now(), await image_of(self._ledger._database._writer)))

    def replace_ledger(self, *, back: float | None) -> None:
        """Kills everybody; the ledger is then gone, or what it was so many seconds ago."""
        for process in self.living:
            self.strike_down(process.life, absence=self.story.absence)
        since = self.clock.now() - timedelta(seconds=back or 0.0)
        older = [image for at, image in self.images if at <= since]
        self._ledger = self._ledger_of(older[-1]) if back is not None and older else None

    def _ledger_of(self, image: bytes) -> Store:
        ledger = _FREE.pop()
        ledger.image = image
        self.ledgers.append(ledger)
        return Store(ledger.engine)

    async def _new_ledger(self) -> Store:
        return self._ledger_of(await empty_image())

    async def close_ledgers(self) -> None:
        """At the end: every ledger that there was."""
        for ledger in self.ledgers:
            await ledger.engine.dispose()
        _FREE.extend(self.ledgers)

    def pause(self, process: Process, seconds: float) -> None:
        """Nothing of the process goes on for a while; it does not know."""
        self.say(f"life {self.processes.index(process) + 1} is paused for {seconds:.1f} s")
        process.life.paused = True
        self.pending += 1
        self.later(seconds, self._resume, process.life)

    def _resume(self, life: Life) -> None:
        self.pending -= 1
        life.paused = False
        self.clock.loop.resume(life)

    # Site

    async def _call(self, world: Neighbour, call: Call) -> None:
        await asyncio.sleep(self.latency())
        status: int | None = None
        if living := self.living:
            process = self.numbers.choice(living)
            self._variables, variables = self._variables_of(process), self._variables
            answering = self._within(_answered(process.adapter, call))
            self._variables = variables
            await asyncio.wait({answering}, timeout=call.timeout_seconds)
            if answering.done() and not answering.cancelled() and answering.exception() is None:
                status = answering.result()
        world.call_ended(call, status, self.clock.now())

    def _variables_of(self, process: Process) -> Any:
        variables = _NOBODY.copy()
        variables.run(LIFE.set, process.life)
        return variables

    def _line(self, world: Neighbour) -> Line:
        line = StruckLine(
            world=world,
            clock=self.clock,
            changed=self._changed,
            latency=self.latency,
            life=self._life,
            theatre=self,
        )
        self._lines.append(line)
        return line

    def _mortal(self, ledger: Store) -> Any:
        return StruckStore(ledger, self._life, self)

    # Truth

    def apply(self, world: Neighbour, request: Request, post: Post | None) -> Response:
        """Has the neighbour do it; notes whose message came of it."""
        now = self.clock.now()
        if world is not self.metriport:
            response = world.handle(request, now)
            self._changed.set()
            return response
        before = len(self.metriport._server.messages)
        response = self.metriport.handle(request, now)
        self._changed.set()
        if post is not None and len(self.metriport._server.messages) > before:
            message = self.metriport.messages[-1]
            post.message, post.applied_at = message.id, now
            message.visible_at = now + timedelta(seconds=self.story.list_lag)
            self.say(f"Metriport takes {post.letter} round {post.round} as {message.id[:13]}")
            letter = self.letters[post.letter]
            fails = letter.fails[min(post.round, len(letter.fails)) - 1]
            self.pending += 1
            self.later(letter.ends_after, self._end, message.id, fails)
        return response

    def _end(self, message: str, fails: bool) -> None:  # noqa: FBT001  # a callback's argument
        self.pending -= 1
        now = self.clock.now()
        self.ends[message] = (now, "failed" if fails else "completed")
        self.say(f"{message[:13]} {self.ends[message][1]}")
        if fails:
            self.metriport.fail(message, "The mailbox is full.", now)
        else:
            self.metriport.complete(message, now)
        self._changed.set()


@dataclass(kw_only=True)
class StruckLine(Line):
    """The way to a neighbour, on which the story's strikes fall."""

    theatre: Theatre

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        stage, life = self.theatre, self.life
        asked = await _asked(request)
        if asked.path == "/fhir/Task" and asked.method == "GET":
            return self._plain(asked, request)
        to_metriport = self.world is stage.metriport
        kind = (operations.of_metriport if to_metriport else operations.of_fhir)(asked.method, asked.path)
        number, strikes = stage.next()
        fault, seconds = self._fault(kind, strikes)
        points = {strike.point: strike.seconds for strike in strikes if strike.point}
        self._tell(f"#{number} {kind} {asked.path.rpartition('/')[2]}", kind, fault, sorted(points))
        await self._pass(self.latency())
        if "before" in points:
            stage.strike_down(life, absence=stage.story.absence)
            await life.lives()
        if fault == "no-connection":
            raise httpx.ConnectError("nobody listens", request=request)
        if "trace" in request.extensions:
            await request.extensions["trace"]("http11.send_request_headers.started", {})
        if "wire" in points:
            stage.pending += 1
            stage.later(points["wire"], self._late, asked, kind)
            stage.strike_down(life, absence=stage.story.absence)
            await life.lives()
        await self._pass(self.latency())
        response = self._struck(asked, kind, fault, seconds)
        if "applied" in points:
            stage.strike_down(life, absence=stage.story.absence)
            await life.lives()
        await self._pass(response.delay_seconds + self.latency())
        if response.drop:
            raise httpx.ReadError("the connection was dropped", request=request)
        if "answered" in points:
            stage.clock.loop.call_soon(_kill, stage, life, context=_NOBODY)
        return httpx.Response(
            response.status, headers=dict(response.headers), content=response.body, request=request
        )

    def _tell(self, what: str, kind: str, fault: str | None, points: Sequence[str]) -> None:
        for point in points:
            self.theatre.cover(kind, f"kill {point}")
        if points or fault or kind == operations.POST:
            self.theatre.say(
                " ".join([what, *([fault] if fault else []), *(f"kill {one}" for one in points)])
            )

    def _plain(self, asked: Request, request: httpx.Request) -> httpx.Response:
        """Looks for people's answers, which have no part in these histories."""
        response = self.world.handle(asked, self.theatre.clock.now())
        return httpx.Response(
            response.status, headers=dict(response.headers), content=response.body, request=request
        )

    def _fault(self, kind: str, strikes: list[Strike]) -> tuple[str | None, float]:
        stage = self.theatre
        struck = [strike for strike in strikes if strike.point is None]
        fault, seconds = None, 0.0
        if struck:
            fault = struck[0].fault or operations.drawn_fault(kind, struck[0].choice)
            seconds = struck[0].seconds
        if kind == operations.POST and stage.story.post_fault and not stage.post_tried:
            fault, seconds = stage.story.post_fault, 9.0
        stage.post_tried = stage.post_tried or kind == operations.POST
        if fault in {None, "none"}:
            return None, 0.0
        if fault == "apply-then-429" and stage.story.list_lag:
            fault = "429"  # that one was applied all the same is learned from the list only
        stage.cover(kind, str(fault).partition(":")[0])
        return fault, seconds

    def _arrived(self, kind: str) -> Post | None:
        stage = self.theatre
        if kind != operations.POST:
            return None
        letter, round_ = stage.intended[id(self.life)]
        post = Post(at=stage.clock.now(), letter=letter, round=round_)
        stage.posts.append(post)
        return post

    def _late(self, asked: Request, kind: str) -> None:
        self.theatre.pending -= 1
        self.theatre.apply(self.world, asked, self._arrived(kind))

    def _struck(self, asked: Request, kind: str, fault: str | None, seconds: float) -> Response:
        stage = self.theatre
        if fault == "apply-late":
            post = self._arrived(kind)
            stage.pending += 1
            stage.later(seconds, self._apply_late, asked, post)
            return DROPPED
        if fault == "list-empty" and not _known_is_listed(stage):
            fault = None
        if fault and fault != "none":
            if self.world is stage.metriport:
                stage.metriport.add_fault(asked.method, asked.path, fault)
            else:
                stage.fhir.add_fault(asked.method, asked.path.removeprefix("/fhir"), fault)
        try:
            return stage.apply(self.world, asked, self._arrived(kind))
        finally:
            if fault:
                stage.metriport.clear_faults()
                stage.fhir.clear_faults()

    def _apply_late(self, asked: Request, post: Post | None) -> None:
        self.theatre.pending -= 1
        self.theatre.apply(self.world, asked, post)


async def _asked(request: httpx.Request) -> Request:
    return Request(
        method=request.method,
        path=request.url.path,
        query=request.url.query.decode(),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.aread(),
    )


def _kill(stage: Theatre, life: Life) -> None:
    stage.strike_down(life, absence=stage.story.absence)


def _known_is_listed(stage: Theatre) -> bool:
    """Whether the adapter knows a message that an empty list would lack: only then is one within the promise."""
    del stage
    return False


class StruckStore:
    """The ledger as one process reaches it, with the story's strikes."""

    def __init__(self, store: Store, life: Life, theatre: Theatre) -> None:
        self._store = store
        self._life = life
        self._theatre = theatre
        self._nothing: dict[str, tuple[int, datetime]] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        stage, life = self._theatre, self._life

        async def call(*arguments: Any, **facts: Any) -> Any:
            await life.lives()
            if name in operations.IDLE:
                return await self._looked(name, method, *arguments, **facts)
            kind = operations.of_ledger(name)
            number, strikes = stage.next()
            points = {strike.point for strike in strikes if strike.point}
            faults = [
                strike.fault or operations.drawn_fault(kind, strike.choice)
                for strike in strikes
                if not strike.point
            ]
            for struck in (*(f"kill {point}" for point in sorted(points)), *faults):
                stage.cover(kind, struck)
                stage.say(f"#{number} {kind} {struck}")
            await asyncio.sleep(self._theatre.latency() / 10)
            if points & {"before", "wire"}:
                stage.strike_down(life, absence=stage.story.absence)
                await life.lives()
            if "ledger-before" in faults:
                raise Temporary("the ledger's database does not answer")
            stage.changes += name not in operations.LOOKS
            result = await method(*arguments, **facts)
            stage.changes += name not in operations.LOOKS
            if name == "intend" and result is not None:
                stage.intended[id(life)] = (result[0].communication, result[0].round)
            if "applied" in points:
                stage.strike_down(life, absence=stage.story.absence)
                await life.lives()
            if "ledger-after" in faults:
                raise Temporary("the ledger's database does not answer")
            if "answered" in points:
                stage.clock.loop.call_soon(_kill, stage, life, context=_NOBODY)
            return result

        return call

    async def _looked(self, name: str, method: Any, *arguments: Any, **facts: Any) -> Any:
        """A look for due work that found nothing is not repeated while nothing was written and nothing became due."""
        if name not in {"due", "waiting"}:
            return await method(*arguments, **facts)
        now = facts.get("now") or arguments[0]
        asked = f"{name} {facts.get('kind')} {facts.get('but')}"
        changes, until = self._nothing.get(asked, (-1, now))
        if changes == self._theatre.changes and now < until:
            return []
        changes = self._theatre.changes
        found = await method(*arguments, **facts)
        if not found:
            self._nothing[asked] = (changes, await _earliest(self._store))
        return found


async def _earliest(store: Store) -> datetime:
    """When the first thing in the ledger becomes due."""
    async with store._database.reading() as connection:
        times = (await connection.execute(_DUE)).one()
    return min((at for at in times if at is not None), default=datetime.max.replace(tzinfo=UTC))


_DUE: Final = sa.select(
    sa.select(sa.func.min(transmissions.c.due_at)).scalar_subquery(),
    sa.select(sa.func.min(transmissions.c.write_at)).scalar_subquery(),
    sa.select(sa.func.min(deliveries.c.due_at)).where(deliveries.c.done.is_(False)).scalar_subquery(),
)
