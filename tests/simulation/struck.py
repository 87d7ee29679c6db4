"""What a process of a history reaches its neighbours and its ledger by: on these ways the story's strikes fall."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextvars import Context as Variables
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx

from adapter.errors import Temporary
from adapter.simulators.http import Request, Response
from tests.simulation import operations
from tests.simulation.story import Point, Strike
from tests.virtual.looks import Looks
from tests.virtual.loop import Life
from tests.virtual.site import Line

if TYPE_CHECKING:
    from tests.simulation.theatre import Post, Theatre

DROPPED = Response(status=0, drop=True)
NOBODY = Variables()


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
        number, strikes = stage.next(kind)
        fault, seconds = self._fault(kind, strikes)
        points: dict[str, float] = {strike.point: strike.seconds for strike in strikes if strike.point}
        if fault and fault.startswith("kill:"):
            points, fault = {fault.removeprefix("kill:"): seconds}, None
        self._tell(f"#{number} {kind} {asked.path.rpartition('/')[2]}", kind, fault, sorted(points))
        await self._pass(self.latency())
        if "before" in points:
            stage.strike_down(life, absence=stage.story.absence)
            await life.lives()
        await stage.stand_still(life, fault, "pause:")
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
        response = await self._struck(asked, kind, fault, seconds)
        await stage.stand_still(life, fault, "pause-after:")
        if "applied" in points:
            stage.strike_down(life, absence=stage.story.absence)
            await life.lives()
        await self._pass(response.delay_seconds + self.latency())
        if response.drop:
            raise httpx.ReadError("the connection was dropped", request=request)
        if "answered" in points:
            stage.clock.loop.call_soon(_kill, stage, life, context=NOBODY)
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
        if ordered := stage.ordered(kind):
            fault, seconds = ordered, 9.0
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
        return stage.arrived(letter, round_)

    def _late(self, asked: Request, kind: str) -> None:
        self.theatre.pending -= 1
        self.theatre.apply(self.world, asked, self._arrived(kind))

    async def _struck(self, asked: Request, kind: str, fault: str | None, seconds: float) -> Response:
        stage = self.theatre
        if fault == "apply-late":
            post = self._arrived(kind)
            stage.pending += 1
            stage.later(seconds, self._apply_late, asked, post)
            return DROPPED
        if fault == "list-empty" and not await stage.knows_a_message():
            fault = None  # that it is empty, nobody could tell: the list is whole, as is promised
        if fault and fault != "none" and not fault.startswith("pause"):
            if self.world is stage.metriport:
                stage.metriport.add_fault(asked.method, asked.path, fault)
            else:
                stage.fhir.add_fault(asked.method, asked.path.removeprefix("/fhir"), fault)
        try:
            post = self._arrived(kind)
            if post is not None and stage.is_refused(post):
                return Response(status=403)
            return _cut(stage.apply(self.world, asked, post), kind, keep=stage.story.history)
        finally:
            if fault:
                stage.metriport.clear_faults()
                stage.fhir.clear_faults()

    def _apply_late(self, asked: Request, post: Post | None) -> None:
        self.theatre.pending -= 1
        self.theatre.apply(self.world, asked, post)


def _cut(response: Response, kind: str, *, keep: int | None) -> Response:
    """The answer of a server that keeps the last versions only, or none of them."""
    if kind != operations.HISTORY or keep is None or response.status // 100 != 2:
        return response
    if keep == 0:
        return Response(status=501)
    bundle = json.loads(response.body)
    kept = {**bundle, "entry": bundle["entry"][:keep]}
    return replace(response, body=json.dumps(kept).encode())


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


class StruckStore:
    """The ledger as one process reaches it, with the story's strikes."""

    def __init__(self, looks: Looks, life: Life, theatre: Theatre) -> None:
        self._looks = looks
        self._life = life
        self._theatre = theatre

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **facts: Any) -> Any:
            await self._life.lives()
            if name in operations.IDLE:
                return await self._looks.call(name, *arguments, **facts)
            return await self._struck(name, *arguments, **facts)

        return call

    async def _struck(self, name: str, *arguments: Any, **facts: Any) -> Any:
        stage, life = self._theatre, self._life
        points, faults = self._what_strikes(operations.of_ledger(name))
        await asyncio.sleep(stage.latency() / 10)
        if points & {"before", "wire"}:
            await self._die()
        for fault in faults:
            await stage.stand_still(life, fault, "pause:")
        if "ledger-before" in faults:
            raise Temporary("the ledger's database does not answer")
        result = await self._looks.call(name, *arguments, **facts)
        if name == "intend" and result is not None:
            stage.intended[id(life)] = (result[0].communication, result[0].round)
        if "applied" in points:
            await self._die()
        for fault in faults:
            await stage.stand_still(life, fault, "pause-after:")
        if "ledger-after" in faults:
            raise Temporary("the ledger's database does not answer")
        if "answered" in points:
            stage.clock.loop.call_soon(_kill, stage, life, context=NOBODY)
        return result

    async def _die(self) -> None:
        self._theatre.strike_down(self._life, absence=self._theatre.story.absence)
        await self._life.lives()

    def _what_strikes(self, kind: str) -> tuple[set[Point], list[str]]:
        stage = self._theatre
        number, strikes = stage.next(kind)
        points = {strike.point for strike in strikes if strike.point}
        faults = [
            strike.fault or operations.drawn_fault(kind, strike.choice)
            for strike in strikes
            if not strike.point
        ]
        if ordered := stage.ordered(kind):
            faults.append(ordered)
        for struck in (*(f"kill {point}" for point in sorted(points)), *faults):
            stage.cover(kind, struck.partition(":")[0])
            stage.say(f"#{number} {kind} {struck}")
        return points, faults
