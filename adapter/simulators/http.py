"""What a pretend neighbour is asked, what it answers, and what it calls by itself; values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from urllib.parse import parse_qsl


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request, fully read. Header names are lower case; `query` is the raw query string."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The decoded query parameters, in order, repeats kept."""
        return parse_qsl(self.query, keep_blank_values=True)


@dataclass(frozen=True, kw_only=True)
class Response:
    """One answer. `delay_seconds` passes before it is sent; with `drop` the connection ends without it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_seconds: float = 0.0
    drop: bool = False


@dataclass(frozen=True, kw_only=True)
class Call:
    """One HTTP call that the neighbour itself makes: a webhook, a Subscription notification."""

    id: str
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    timeout_seconds: float = 10.0


class Neighbour(Protocol):
    """A pretend neighbour's world. Times are aware; `now` never goes back between calls."""

    def handle(self, request: Request, now: datetime) -> Response:
        """Answers one request."""
        ...

    def calls_due(self, now: datetime) -> Sequence[Call]:
        """Hands out, once, the calls whose time has come, and does whatever else was due."""
        ...

    def call_ended(self, call: Call, status: int | None, now: datetime) -> None:
        """Tells how a call ended; `None` when there was no answer."""
        ...

    def next_at(self) -> datetime | None:
        """When something is due next; `None` when nothing is."""
        ...
