"""A clinic: FHIR server, Metriport, and an adapter that can be stopped, killed and started again."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from contextvars import Context as Variables
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import httpx

from adapter.config import FhirGroup, Settings
from adapter.domain.episode import Episodes
from adapter.domain.transmission import State
from adapter.errors import AdapterError, Temporary
from adapter.fhir.client import FhirClient
from adapter.ledger.clock import SharedClock
from adapter.ledger.insights import Insights
from adapter.ledger.store import Store
from adapter.mapping.engine import Mappings
from adapter.metriport import webhook
from adapter.metriport.client import MetriportClient
from adapter.metriport.content import WebContent
from adapter.pipelines.outbound.context import Context, Policy
from adapter.pipelines.share import Share
from adapter.simulators import fhir, metriport
from adapter.simulators.fhir import World as FhirWorld
from adapter.simulators.http import Call, Neighbour, Request, Response
from adapter.telemetry import Metrics
from adapter.wiring import Adapter, inbound_of, policy_of, wanted_subscription
from adapter.worker import Rhythm, Worker
from tests.virtual.looks import Changes, Looks
from tests.virtual.loop import LIFE, Life, VirtualClock
from tests.virtual.sqlite import migrated_engine

FHIR_URL = "http://fhir.test/fhir"
METRIPORT_URL = "http://metriport.test"
ADAPTER_URL = "http://adapter.test"
API_KEY = "virtual-key"
SECRET = "virtual-secret"

Latency = Callable[[], float]


@dataclass(kw_only=True)
class LedgerFault:
    """The next calls of a ledger method end with the error: `before` they are done, or after."""

    method: str
    error: Exception
    times: int = 1
    before: bool = True


@dataclass(kw_only=True)
class Rival:
    """Another replica: it notes something on a row right before a change of that name, or makes the same call first.

    After that call it moves the row on to `then`.
    """

    event: str | None = None
    method: str | None = None
    then: State | None = None
    times: int = 1
    met: int = 0

    def meets(self, method: str, event: object) -> bool:
        """Whether it comes before this call."""
        return self.times > 0 and (self.method == method or (event is not None and self.event == event))


class MortalStore:
    """The ledger as one process reaches it."""

    def __init__(self, looks: Looks, life: Life, faults: list[LedgerFault], rivals: list[Rival]) -> None:
        self._looks = looks
        self._life = life
        self._faults = faults
        self._rivals = rivals

    def __getattr__(self, name: str) -> Any:
        method, change = partial(self._looks.call, name), partial(self._looks.call, "change")

        async def call(*arguments: Any, **facts: Any) -> Any:
            await self._life.lives()
            rival = next((one for one in self._rivals if one.meets(name, facts.get("event"))), None)
            if rival is not None:
                rival.times, rival.met = rival.times - 1, rival.met + 1
                if rival.method:
                    theirs = await method(*arguments, **facts)
                    if rival.then:
                        await change(theirs, rival.then, now=facts["now"], event="rival")
                else:
                    row = arguments[0]
                    await change(row, row.state, now=facts["now"], event="rival")
            fault = next((one for one in self._faults if one.method == name and one.times > 0), None)
            if fault is None:
                return await method(*arguments, **facts)
            fault.times -= 1
            if not fault.before:
                await method(*arguments, **facts)
            raise fault.error

        return call


@dataclass(kw_only=True)
class Line(httpx.AsyncBaseTransport):
    """The way to a neighbour. A dead line answers nothing for ever: the process behind it was killed."""

    world: Neighbour
    clock: VirtualClock
    changed: asyncio.Event
    latency: Latency
    begun: list[tuple[datetime, str, str]] = field(default_factory=list)
    arrivals: list[tuple[datetime, str, str]] = field(default_factory=list)
    life: Life
    apart: list[bool] = field(default_factory=list)
    down: bool = False
    refused: list[datetime] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        self.begun.append((self.clock.now(), request.method, request.url.path))
        await self._pass(self.latency())
        if self.down:
            self.refused.append(self.clock.now())
            raise httpx.ConnectError("nobody listens", request=request)
        if "trace" in request.extensions:
            await request.extensions["trace"]("http11.send_request_headers.started", {})
        self.arrivals.append((self.clock.now(), request.method, request.url.path))
        response = self.world.handle(
            Request(
                method=request.method,
                path=request.url.path,
                query=request.url.query.decode(),
                headers={name.lower(): value for name, value in request.headers.items()},
                body=body,
            ),
            self.clock.now(),
        )
        self.changed.set()
        await self._pass(response.delay_seconds + self.latency())
        if response.drop:
            raise httpx.ReadError("the connection was dropped", request=request)
        content = response.body
        if self.apart and "/Binary/" in request.url.path and content.startswith(b"{"):
            binary = json.loads(content)
            content = json.dumps({name: value for name, value in binary.items() if name != "data"}).encode()
        return httpx.Response(
            response.status, headers=dict(response.headers), content=content, request=request
        )

    async def _pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.life.lives()


class _DeadInsights:
    async def summary(self, *, now: datetime) -> None:
        raise Temporary(f"the ledger's database does not answer at {now}")


@dataclass(kw_only=True)
class Site:
    """Everything in one thread. Use `site()`; then `start()` an adapter, write Communications, let time pass."""

    clock: VirtualClock
    fhir: fhir.World
    metriport: metriport.World
    latency: Latency = lambda: 0.01
    settings: Settings
    machine: VirtualClock | None = None  # the adapter's own clock, where it is not the neighbours'
    mappings: Mappings | None = None
    adapter: Adapter | None = None
    doorbell: bool = True
    ledger_faults: list[LedgerFault] = field(default_factory=list)
    rivals: list[Rival] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    _ledger: Store | None = None
    _lines: list[Line] = field(default_factory=list)
    _tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    _abandoned: list[Any] = field(default_factory=list)
    _http: list[Any] = field(default_factory=list)
    _apart: list[bool] = field(default_factory=list)
    _life: Life = field(default_factory=Life)
    _variables: Variables = field(default_factory=copy_context)
    _lives: list[Life] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(
        self,
        *,
        rhythm: Rhythm | None = None,
        policy: Policy | None = None,
        mappings: Path | None = None,
        idle: bool = False,
        probing: bool = False,
    ) -> Adapter:
        """Starts an adapter on the ledger that is there; an `idle` one does nothing by itself.

        A `probing` one tries first what the FHIR server can do, as `run` does.
        """
        self._begin_life()
        machine = self.machine or self.clock
        if self._ledger is None:
            self._ledger = await self._new_ledger()
        to_fhir, to_metriport, to_web = (
            self._line(self.fhir), self._line(self.metriport), self._line(self.metriport)
        )  # fmt: skip
        ledger: Any = self._mortal(self._ledger)
        http = httpx.AsyncClient(transport=to_fhir)
        metrics = Metrics()
        episodes = Episodes.watched(boot=machine.boot, say=metrics.say)
        self._ledger._database.hear = episodes.ledger.hear
        client = MetriportClient(
            base_url=METRIPORT_URL,
            api_key=API_KEY,
            now=machine.now,
            over=to_metriport,
            hear=episodes.metriport.hear,
        )
        server = FhirClient(http, FHIR_URL, authorization=None, now=machine.now, hear=episodes.fhir.hear)
        numbers = random.Random(len(self._lines))
        life = f"life{len(self._lines)}"
        context = Context(
            fhir=server,
            messages=client,
            documents=client,
            web=WebContent(now=machine.now, over=to_web),
            mappings=self.mappings or Mappings(directory=mappings),
            ledger=ledger,
            clock=machine,
            policy=policy or policy_of(self.settings),
            life=life,
            share=Share(leases=ledger, clock=machine, life=life),
            nonce=lambda: f"{numbers.getrandbits(48):012x}",
        )
        worker = Worker(
            context=context,
            episodes=episodes,
            inbound=inbound_of(context, self.settings, mail=client, web=context.web),
            read_delivery=webhook.final_status,
            rhythm=rhythm or Rhythm(),
        )
        self.adapter = Adapter(
            settings=self.settings,
            clock=SharedClock(machine),
            context=context,
            ledger=ledger,
            insights=Insights(self._ledger._database._writer),
            fhir=server,
            metriport=client,
            metrics=metrics,
            worker=worker,
        )
        self._http = [http, client]
        if probing:
            await self.adapter.probe()
        if not idle:
            self._tasks = [self._within(worker.run())]
        if self.doorbell and not idle:
            self._tasks.append(self._within(self.adapter.keep_doorbell()))
        return self.adapter

    def _begin_life(self) -> None:
        self._life = Life()
        self._lives.append(self._life)
        self._variables = copy_context()
        self._variables.run(LIFE.set, self._life)

    def _within(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Starts the work in the present process."""
        return asyncio.create_task(work, context=self._variables.copy())

    async def _new_ledger(self) -> Store:
        return Store(await migrated_engine())

    def _mortal(self, ledger: Store) -> Any:
        looks = Looks(store=ledger, changes=self.changes)
        return MortalStore(looks, self._life, self.ledger_faults, self.rivals)

    async def stop(self) -> None:
        """Stops the adapter as SIGTERM does."""
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self.adapter = None
        for one in self._http:
            await one.aclose()
        for result in ended:
            if isinstance(result, Exception):
                raise result

    def kill(self) -> None:
        """SIGKILL: nothing of the process goes on, no `finally` runs, its connections and its ledger are dead."""
        self._life.dead = True
        self._abandoned.extend(self._life.tasks)
        self._tasks = []
        self.adapter = None

    def let_go(self) -> Life:
        """Leaves the adapter to itself: another one may be started beside it, on its ledger."""
        life, self._tasks, self.adapter = self._life, [], None
        self._abandoned.extend(life.tasks)
        return life

    @property
    def life(self) -> Life:
        """The process that was started last."""
        return self._life

    def go_on(self, life: Life) -> None:
        """SIGCONT: what was paused goes on where it was."""
        life.paused = False
        self.clock.loop.resume(life)

    def bury(self) -> None:
        """At the end of a test: what was killed may end."""
        for life in self._lives:
            life.over = True
            self.clock.loop.resume(life)
        for task in self._abandoned:
            task.cancel()

    def slow(self) -> Rhythm:
        """Loops that come round rarely, for tests in which weeks pass."""
        rare = 7200.0
        return Rhythm(
            sweep=rare, patrol=rare, track=3600.0, lease=21600.0, episodes=rare, reconcile=rare, answers=rare
        )

    def without_client_ids(self) -> FhirWorld:
        """A FHIR server that gives all ids itself."""
        return FhirWorld(base_url=FHIR_URL, client_ids=False)

    def lax_fhir(self) -> FhirWorld:
        """A FHIR server that lets references to nothing through."""
        return FhirWorld(base_url=FHIR_URL, strict=False)

    async def ended(self) -> BaseException | None:
        """What the adapter ended with by itself; `None` while it runs."""
        ended = next((task for task in self._tasks if task.done()), None)
        if ended is None:
            return None
        self._tasks.remove(ended)
        return ended.exception()

    async def lose_ledger(self) -> None:
        """Deletes the ledger; only while no adapter runs."""
        assert self.adapter is None
        if self._ledger is not None:
            await self._ledger._database._writer.dispose()
        self._ledger = None

    def keep_apart(self) -> None:
        """Lets the FHIR server keep the content of Binaries out of their JSON, as some do with large ones."""
        self._apart.append(True)

    def dead_insights(self) -> Any:
        """Insights into a database that does not answer."""
        return _DeadInsights()

    def ledger_fails(
        self, method: str, *, times: int = 1, before: bool = True, refuses: bool = False
    ) -> None:
        """The ledger's database does not answer the next calls of the method, or refuses them."""
        error = (AdapterError if refuses else Temporary)("the ledger's database does not answer")
        self.ledger_faults.append(LedgerFault(method=method, error=error, times=times, before=before))

    def cut(self, *, fhir_server: bool = False, metriport_server: bool = False) -> None:
        """Takes a neighbour off the network, or puts it back."""
        for line in self._lines:
            line.down = fhir_server if line.world is self.fhir else metriport_server

    def stand_in(
        self, world: Neighbour, says: Callable[[Request, datetime], Response | None]
    ) -> Callable[[], None]:
        """Has requests answered in a neighbour's place, wherever `says` gives an answer; gives what ends that."""
        handle = world.handle

        def handled(request: Request, now: datetime) -> Response:
            return says(request, now) or handle(request, now)

        def end() -> None:
            world.handle = handle  # type: ignore[method-assign]

        world.handle = handled  # type: ignore[method-assign]
        return end

    async def passes(self, seconds: float) -> None:
        """Lets time pass. Whatever a test made happen in a neighbour's world is noticed first."""
        self._changed.set()
        await asyncio.sleep(seconds)

    def write(self, resource: dict[str, Any]) -> dict[str, Any]:
        """An author saves, without `If-Match`."""
        written = self.fhir.put(resource, self.clock.now())
        self._changed.set()
        return written

    async def delete(self, path: str) -> None:
        """An author deletes."""
        async with httpx.AsyncClient(transport=self._line(self.fhir)) as http:
            await http.delete(f"{FHIR_URL}/{path}")

    def communication(self, id: str) -> dict[str, Any]:
        """The Communication as it is now."""
        return next(one for one in self.fhir.resources("Communication") if one["id"] == id)

    def sends(self) -> list[datetime]:
        """When each POST of a message arrived at Metriport."""
        return _posts(line.arrivals for line in self._lines)

    def asked_by(self, life: Life, method: str, path: str) -> list[tuple[datetime, str]]:
        """What that process asked of either neighbour under a path that begins so, and when."""
        lines = [line.arrivals for line in self._lines if line.life is life]
        return [(at, there) for at, how, there in chain(*lines) if how == method and there.startswith(path)]

    def begins(self) -> list[datetime]:
        """When the adapter began each of them."""
        return _posts(line.begun for line in self._lines)

    def _line(self, world: Neighbour) -> Line:
        line = Line(
            world=world,
            clock=self.clock,
            changed=self._changed,
            latency=self.latency,
            life=self._life,
            apart=self._apart,
        )
        self._lines.append(line)
        return line

    async def make_calls(self) -> None:
        """Carries webhooks and notifications to the adapter, for ever."""
        while True:
            self._changed.clear()
            for world in (self.fhir, self.metriport):
                for call in world.calls_due(self.clock.now()):
                    self._abandoned.append(asyncio.create_task(self._call(world, call)))
            times = [at for world in (self.fhir, self.metriport) if (at := world.next_at()) is not None]
            wait = min((at - self.clock.now()).total_seconds() for at in times) if times else 3600.0
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), max(wait, 0.001))

    async def _call(self, world: Neighbour, call: Call) -> None:
        await asyncio.sleep(self.latency())
        status: int | None = None
        if self.adapter is not None:
            answering = self._within(_answered(self.adapter, call))
            await asyncio.wait({answering}, timeout=call.timeout_seconds)
            status = answering.result() if answering.done() else None
        world.call_ended(call, status, self.clock.now())


async def _answered(adapter: Adapter, call: Call) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(adapter.app)) as http:
        answer = await http.request(call.method, call.url, headers=dict(call.headers), content=call.body)
        return answer.status_code


def _posts(calls: Iterable[list[tuple[datetime, str, str]]]) -> list[datetime]:
    return sorted(
        at for line in calls for at, method, path in line if (method, path) == ("POST", "/medical/v1/message")
    )


@asynccontextmanager
async def site(
    *,
    latency: Latency = lambda: 0.01,
    doorbell: bool = True,
    started: bool = True,
    rhythm: Rhythm | None = None,
    **options: Any,
) -> AsyncIterator[Site]:
    """A clinic with an adapter at work; `options` go to the simulator of Metriport."""
    clock = VirtualClock(asyncio.get_running_loop())
    world = metriport.World(**{"api_key": API_KEY, "public_url": METRIPORT_URL, **options})
    key = world.set_webhook(f"{ADAPTER_URL}/webhooks/metriport", clock.now())
    settings = Settings.model_validate(
        {
            "fhir": FhirGroup(base_url=FHIR_URL),
            "watch": {"doorbell": "rest-hook" if doorbell else "off", "doorbell_secret": SECRET},
            "metriport": {"base_url": METRIPORT_URL, "api_key": API_KEY, "webhook_keys": [key]},
            "web": {"public_url": ADAPTER_URL},
        }
    )
    here = Site(
        clock=clock,
        fhir=fhir.World(base_url=FHIR_URL),
        metriport=world,
        latency=latency,
        settings=settings,
        doorbell=doorbell,
    )
    calls = asyncio.create_task(here.make_calls())
    try:
        if started:
            await here.start(rhythm=rhythm)
        yield here
        if here.adapter is not None:
            await here.stop()
    finally:
        here.bury()
        calls.cancel()
        await asyncio.gather(calls, *here._abandoned, return_exceptions=True)
        await here.lose_ledger()


def within(moments: list[datetime], seconds: float) -> int:
    """The most moments in any window of so many seconds."""
    window = timedelta(seconds=seconds)
    return max((sum(start <= at < start + window for at in moments) for start in moments), default=0)


__all__ = [
    "ADAPTER_URL",
    "FHIR_URL",
    "METRIPORT_URL",
    "Site",
    "replace",
    "site",
    "wanted_subscription",
    "within",
]
