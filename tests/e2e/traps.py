"""Moments at which the adapter's process is killed, and neighbours that do it in the middle of a call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from adapter.simulators.http import Neighbour, Request, Response
from tests.e2e.process import Process

LIFE_SECONDS: Final = 25.0  # the longest that a life waits for its moment


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When the process dies: so many seconds after it is up, or in the middle of its n-th call of a kind."""

    seconds: float = LIFE_SECONDS
    method: str = ""
    path: str = ""
    count: int = 0
    arrives: bool = True

    def __str__(self) -> str:
        if not self.method:
            return f"{self.seconds:.1f} s after it is up"
        fate = "applied, its answer lost" if self.arrives else "lost on its way"
        return f"in its {self.count}. {self.method} …{self.path}, which is {fate}"


@dataclass(kw_only=True)
class Trapped:
    """A neighbour that kills the adapter in the middle of a call."""

    world: Neighbour
    process: Process | None = None
    moment: Moment | None = None
    seen: int = 0

    def arm(self, process: Process, moment: Moment) -> None:
        self.process, self.moment, self.seen = process, moment, 0

    def handle(self, request: Request, now: datetime) -> Response:
        moment, process = self.moment, self.process
        if not (moment and process and request.method == moment.method and moment.path in request.path):
            return self.world.handle(request, now)
        self.seen += 1
        if self.seen != moment.count:
            return self.world.handle(request, now)
        if moment.arrives:
            self.world.handle(request, now)
        process.kill()
        return Response(status=503)  # nobody is left to read it

    def calls_due(self, now: datetime) -> Any:
        return self.world.calls_due(now)

    def call_ended(self, call: Any, status: int | None, now: datetime) -> None:
        self.world.call_ended(call, status, now)

    def next_at(self) -> datetime | None:
        return self.world.next_at()
