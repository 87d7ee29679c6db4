"""What an answer to the send means (protocol §5): one value a row of the table."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Sent:
    """Accepted, under Metriport's id."""

    message_id: str


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Certainly not applied (no connection, 429): the same claim goes on after `retry_after_seconds`."""

    why: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Metriport refuses this message; `code` is the reason code, `detail` its own sentence."""

    code: str
    detail: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class LaneStopped:
    """The account or the route is refused, not this message: the lane stops, no message changes its end."""

    why: str


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """It may or may not have been applied."""

    why: str


@dataclass(frozen=True, kw_only=True)
class TooLate:
    """The send deadline had passed before the first byte: nothing was sent."""


Answer = Sent | Waiting | Refused | LaneStopped | Unknown | TooLate
