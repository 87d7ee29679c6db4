"""The clinic of a history: processes that are struck at their operations, and a record of what was true."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapter.ledger.store import Store
from adapter.ledger.tables import transmissions
from adapter.simulators.http import Call, Neighbour, Request, Response
from adapter.wiring import Adapter
from adapter.worker import Rhythm
from tests.simulation.operations import POST, changes
from tests.simulation.story import Letter, Story, Strike
from tests.simulation.struck import NOBODY, StruckLine, StruckStore
from tests.virtual.looks import Looks
from tests.virtual.loop import LIFE, Life, VirtualClock
from tests.virtual.site import Line, Site, _answered
from tests.virtual.sqlite import empty_image, image_of, in_thread_engine

_MOMENT: Final = 1.0
_SHOWN_AFTER: Final = timedelta(minutes=5)  # the list's lag, and as much again for clocks and slow answers


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
    ends: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    transcript: list[str] = field(default_factory=list)
    covered: set[tuple[str, str]] = field(default_factory=set)
    operations: list[tuple[str, float]] = field(default_factory=list)
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
        self._ordered = {kind: list(faults) for kind, faults in self.story.faults.items()}
        self._met: set[int] = set()
        self._planned: dict[int, list[Strike]] = {}
        for strike in self.story.strikes:
            self._planned.setdefault(strike.operation, []).append(strike)

    def say(self, what: str) -> None:
        """One line of the history."""
        self.transcript.append(f"{self.clock.loop.time():10.3f}  {what}")

    def remove(self, path: str) -> bool:
        """An author deletes; the server will not while a Task refers to it."""
        response = self.fhir.handle(Request(method="DELETE", path=f"/fhir/{path}"), self.clock.now())
        self._changed.set()
        return response.status < 300

    def found(self, type_: str, id: str) -> dict[str, Any]:
        """The resource as it is on the FHIR server; empty where there is none."""
        return next((one for one in self.fhir.resources(type_) if one["id"] == id), {})

    # Operations

    def next(self, kind: str) -> tuple[int, list[Strike]]:
        """Notes one operation; gives its number and what strikes it."""
        self.operations.append((kind, self.clock.loop.time()))
        number = len(self.operations)
        return number, self._planned.pop(number, [])

    @property
    def crashes(self) -> list[Strike]:
        """Every crash there might have been that leaves another world behind, or the same at another time.

        A process that dies takes nothing with it but what it had in mind. So a crash before an operation is the one after
        the last change, unless time has passed since, or the operation's fault is used up by it; and after a look, it is
        the one before it.
        """
        found, before = list[Strike](), -_MOMENT
        for number, (kind, at) in enumerate(self.operations, start=1):
            if at - before >= _MOMENT or number in self._met:
                found.append(Strike(operation=number, point="before"))
            if changes(kind):
                if not kind.startswith("ledger "):
                    found.append(Strike(operation=number, point="wire"))
                found.append(Strike(operation=number, point="applied"))
            before = at
        return found

    def ordered(self, kind: str) -> str | None:
        """What the story has in store for the next operation of that kind."""
        faults = self._ordered.get(kind)
        if not faults:
            return None
        self._met.add(len(self.operations))
        return faults.pop(0)

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
            await self._ledger.end_leases()  # as is done when a ledger file is opened
        adapter = await self.start(
            rhythm=Rhythm(
                sweep=60.0,
                patrol=110.0,
                track=self.story.track,
                lease=300.0 if self.story.replicas == 1 else 60.0,
                preparers=2,
                episodes=600.0,
                reconcile=110.0 if self.story.arrivals else 7200.0,
                answers=110.0 if self.story.arrivals else 7200.0,
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
        going: set[asyncio.Task[Any]] = set(process.tasks)
        while going and not process.life.dead:  # a kill may come while it is stopping
            _, going = await asyncio.wait(going, timeout=1.0)
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
        self.clock.loop.call_later(seconds, action, *arguments, context=NOBODY)

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

    async def stand_still(self, life: Life, fault: str | None, name: str) -> None:
        """With the fault of that name the process is paused here: what calls this goes on when it does."""
        if fault and fault.startswith(name):
            self.pause(
                next(one for one in self.processes if one.life is life), float(fault.removeprefix(name))
            )
            await asyncio.sleep(0)

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
        variables = NOBODY.copy()
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
        return StruckStore(Looks(store=ledger, changes=self.changes), self._life, self)

    # Truth

    async def knows_a_message(self) -> bool:
        """Whether the ledger has recorded a message that is so old that Metriport has to show it."""
        assert self._ledger is not None
        since = self.clock.now() - _SHOWN_AFTER
        visible = [one.id for one in self.metriport.messages if one.sent_at <= since]
        known = sa.select(transmissions.c.id).where(transmissions.c.message.in_(visible)).limit(1)
        async with self._ledger._database.reading() as connection:
            return (await connection.execute(known)).first() is not None

    def arrived(self, letter: str, round_: int) -> Post:
        """A POST is at Metriport."""
        post = Post(at=self.clock.now(), letter=letter, round=round_)
        self.posts.append(post)
        return post

    def is_refused(self, post: Post) -> bool:
        """Whether Metriport's firewall dislikes the letter at this moment."""
        seconds = self.story.refused.get(post.letter, 0.0)
        first = next(one.at for one in self.posts if one.letter == post.letter)
        if post.at - first >= timedelta(seconds=seconds):
            return False
        self.cover(POST, "403")
        self.say(f"{post.letter} is refused")
        return True

    def apply(self, world: Neighbour, request: Request, post: Post | None) -> Response:
        """Has the neighbour do it; notes whose message came of it."""
        now = self.clock.now()
        if world is not self.metriport:
            response = world.handle(request, now)
            self._changed.set()
            return response
        before = len(self.metriport.messages)
        response = self.metriport.handle(request, now)
        self._changed.set()
        if post is not None and len(self.metriport.messages) > before:
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
        letter = self.letters[next(post.letter for post in self.posts if post.message == message)]
        self.say(f"{message[:13]} {self.ends[message][1]} {letter.call}")
        if letter.call != "none":
            self.cover("webhook of an end", letter.call)
            self.metriport.add_fault("*", "*", letter.call)
        if fails:
            self.metriport.fail(message, "The mailbox is full.", now)
        else:
            self.metriport.complete(message, now)
        self.metriport.clear_faults()
        self._changed.set()
