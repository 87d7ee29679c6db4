"""Faults that a test orders: the next requests of a kind go wrong in a stated way."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from adapter.simulators.fhir.outcome import Refused
from adapter.simulators.fhir.wire import instant, refusal, without_newer
from adapter.simulators.http import Request, Response

_KINDS = re.compile(r"drop|apply-then-drop|(slow|unseen):\d+(\.\d+)?|429:\d+|(apply-then-)?[45]\d\d")


@dataclass(kw_only=True)
class Fault:
    """`drop`, `apply-then-drop`, a status such as `503`, `apply-then-503`; so many times.

    `429:SECONDS` says when to come again, `slow:SECONDS` answers so much later, and to a search with `unseen:SECONDS`
    nothing shows that was written in the last so many seconds.
    """

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

    def strike(self, apply: Callable[[], Response], now: datetime) -> Response:
        """The answer with the fault in it; `apply` does what the request asks for."""
        self.times -= 1
        name, _, seconds = self.fault.removeprefix("apply-then-").partition(":")
        if self.fault.startswith("apply-then-"):
            apply()
        if name == "drop":
            return Response(status=0, drop=True)
        if name == "slow":
            return replace(apply(), delay_seconds=float(seconds))
        if name == "unseen":
            return without_newer(apply(), instant(now - timedelta(seconds=float(seconds))))
        headers = {"Retry-After": seconds} if seconds else {}
        return refusal(Refused(int(name), f"The simulator was told to answer {name}", headers=headers))
