"""Faults that a test orders: the next requests of a kind go wrong in a stated way."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from adapter.simulators.fhir.outcome import Refused
from adapter.simulators.fhir.wire import refusal
from adapter.simulators.http import Request, Response

_KINDS = re.compile(r"drop|apply-then-drop|slow:\d+(\.\d+)?|(apply-then-)?[45]\d\d")


@dataclass(kw_only=True)
class Fault:
    """`drop`, `apply-then-drop`, `slow:SECONDS`, a status such as `503`, or `apply-then-503`; so many times."""

    method: str
    path_prefix: str
    fault: str
    times: int

    def __post_init__(self) -> None:
        if not _KINDS.fullmatch(self.fault):
            raise ValueError(f"unknown fault {self.fault!r}")

    def fits(self, request: Request) -> bool:
        """Whether it strikes this request; `*` is any method."""
        method_fits = self.method in {"*", request.method}
        return self.times > 0 and method_fits and request.path.startswith(self.path_prefix)

    def strike(self, apply: Callable[[], Response]) -> Response:
        """The answer with the fault in it; `apply` does what the request asks for."""
        self.times -= 1
        name = self.fault.removeprefix("apply-then-")
        if name != self.fault:
            apply()
        if name == "drop":
            return Response(status=0, drop=True)
        if name.startswith("slow:"):
            return replace(apply(), delay_seconds=float(name.removeprefix("slow:")))
        return refusal(Refused(int(name), f"The simulator was told to answer {name}"))
