"""Faults that a test orders, by method and path; each strikes so many times.

apply-then-drop      it is done, and the connection ends without an answer
apply-then-500       it is done, and answered with 500
apply-then-429       it is done, and answered with 429
apply-late:SECONDS   the connection ends at once; it is done so much later
drop                 the connection ends, and nothing is done
404, 500, 503        refused with that status
429, 429:SECONDS     refused as too many, without or with Retry-After
slow:SECONDS         answered so much later
malformed            done, and answered with something that is not JSON
no-id                done, and answered without an id
redirect             answered with 307 to another host
list-lag:SECONDS     what is sent is on the list only so much later, until the order is cleared
list-repeat          the list shows its first entry twice
list-move            a page lacks its first entry, as if it had moved to a page already read; the sum stays
list-empty           the list shows nothing
webhook-lost         the next webhook is never called
webhook-twice        it is called twice
webhook-late         it is called 60 seconds later
webhook-again        it is called at once, and 60 seconds later under the same id, with links made anew
url-expired          the next presigned link has expired already
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from adapter.simulators.http import Request, Response
from adapter.simulators.metriport.answers import Refusal, as_json

_SECONDS: Final = r":\d{1,6}(\.\d{1,6})?"
_SHAPE: Final = re.compile(
    rf"apply-then-(drop|500|429)|apply-late{_SECONDS}|drop|404|500|503|429(:\d{{1,6}})?|slow{_SECONDS}|malformed|no-id"
    rf"|redirect|list-lag{_SECONDS}|list-(repeat|move|empty)|webhook-(lost|twice|late|again)|url-expired",
    re.ASCII,
)
# Asked for by the part that they concern, not struck at a request.
INNER: Final = ("list-", "webhook-", "url-")


@dataclass(kw_only=True)
class Fault:
    """One order."""

    method: str
    path: str
    fault: str
    times: int = 1

    def __post_init__(self) -> None:
        if not _SHAPE.fullmatch(self.fault):
            raise Refusal(400, f"there is no fault {self.fault!r}")

    @property
    def argument(self) -> float:
        """The number behind the colon."""
        return float(self.fault.partition(":")[2] or 0)

    def fits(self, request: Request) -> bool:
        """Whether it strikes this request."""
        return (
            self.times > 0
            and not self.fault.startswith(INNER)
            and not request.path.startswith("/_simulator")
            and self.method in {"*", request.method}
            and request.path.rstrip("/").startswith(self.path.rstrip("*").rstrip("/"))
        )


Apply = Callable[[], Response]
Later = Callable[[float], None]


def strike(fault: Fault, apply: Apply, later: Later) -> Response:
    """The answer with the fault in it; `later` has the request done after so many seconds."""
    fault.times -= 1
    name = fault.fault.partition(":")[0]
    if name == "apply-late":
        later(fault.argument)
        return Response(status=0, drop=True)
    return _STRIKES[name](fault, apply)


def _applied(status: int) -> Callable[[Fault, Apply], Response]:
    def answer(_fault: Fault, apply: Apply) -> Response:
        apply()
        return Refusal(status, "The simulator was told to answer so.").response()

    return answer


def _refused(status: int) -> Callable[[Fault, Apply], Response]:
    def answer(fault: Fault, _apply: Apply) -> Response:
        headers = {"retry-after": str(int(fault.argument))} if fault.argument else None
        return Refusal(status, "The simulator was told to answer so.").response(headers)

    return answer


def _apply_then_drop(_fault: Fault, apply: Apply) -> Response:
    apply()
    return Response(status=0, drop=True)


def _drop(_fault: Fault, _apply: Apply) -> Response:
    return Response(status=0, drop=True)


def _slow(fault: Fault, apply: Apply) -> Response:
    done = apply()
    return Response(
        status=done.status, headers=done.headers, body=done.body, delay_seconds=fault.argument, drop=done.drop
    )


def _malformed(_fault: Fault, apply: Apply) -> Response:
    return Response(status=apply().status, headers={"content-type": "application/json"}, body=b'{"id": "01')


def _no_id(_fault: Fault, apply: Apply) -> Response:
    return as_json({"status": "processing"}, status=apply().status)


def _redirect(_fault: Fault, _apply: Apply) -> Response:
    return Response(status=307, headers={"location": "http://127.0.0.1:9/elsewhere"})


_STRIKES: Final[dict[str, Callable[[Fault, Apply], Response]]] = {
    "apply-then-drop": _apply_then_drop,
    "apply-then-500": _applied(500),
    "apply-then-429": _applied(429),
    "drop": _drop,
    "404": _refused(404),
    "500": _refused(500),
    "503": _refused(503),
    "429": _refused(429),
    "slow": _slow,
    "malformed": _malformed,
    "no-id": _no_id,
    "redirect": _redirect,
}
