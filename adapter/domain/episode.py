"""Episodes: a neighbour that cannot be worked with for a time. One beginning and one end, however many calls fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from adapter.errors import Conflict, Rejected, Temporary

QUIET_SECONDS: Final = 30.0

Hear = Callable[[str | None], None]
"""Told of each call to a neighbour: `None` when it answered, else what the trouble was, in words fit for a log."""


def nobody_hears(_trouble: str | None) -> None:
    """For calls that are in nobody's care."""


@contextmanager
def heard_by(hear: Hear) -> Iterator[None]:
    """One call to a neighbour. A refusal is an answer, too."""
    try:
        yield
    except Temporary as trouble:
        hear(str(trouble))
        raise
    except (Conflict, Rejected):
        hear(None)
        raise
    else:
        hear(None)


@dataclass(kw_only=True)
class Episode:
    """What a neighbour is like. `boot` gives seconds on a clock that never steps; `say` gets the beginning and the end.

    An episode begins when `patience` calls in a row failed: one that fails among many that do not is no trouble of
    the neighbour's. It ends when the neighbour has answered and no call has failed for `QUIET_SECONDS`, so that a
    neighbour that answers now and then is one episode.
    """

    name: str
    boot: Callable[[], float]
    say: Callable[[Episode], None]
    patience: int = 2
    is_open: bool = False
    why: str = ""
    failures: int = 0
    _answered_at: float | None = None
    _began_at: float = 0.0
    _failed_at: float = 0.0

    def hear(self, trouble: str | None) -> None:
        """Takes note of one call: `None` when it was answered, else what the trouble was."""
        if trouble is not None:
            self._fail(trouble)
        elif not self.is_open:
            self.failures = 0
        else:
            self._answered_at = self.boot() if self._answered_at is None else self._answered_at
            self.settle()

    def _fail(self, trouble: str) -> None:
        self._failed_at, self._answered_at = self.boot(), None
        self.failures += 1
        self.why = trouble
        if self.failures == 1:
            self._began_at = self._failed_at
        if not self.is_open and self.failures >= self.patience:
            self.is_open = True
            self.say(self)

    def settle(self) -> None:
        """Ends the episode when its time has come; to be called from time to time, as a neighbour may not be asked."""
        if self.is_open and self._answered_at and self.boot() - self._failed_at >= QUIET_SECONDS:
            self.is_open = False
            self.say(self)
            self.failures = 0

    @property
    def sentence(self) -> str:
        """What it is like, in words."""
        return f"trouble for {self.seconds:.0f} s: {self.why}" if self.is_open else "well"

    @property
    def seconds(self) -> float:
        """How long the episode lasts, up to the answer that may be its end."""
        return (self._answered_at or self.boot()) - self._began_at


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """Everybody the adapter depends on. A doorbell that did not ring once is worth seeing to."""

    fhir: Episode
    metriport: Episode
    ledger: Episode
    doorbell: Episode

    @classmethod
    def watched(cls, *, boot: Callable[[], float], say: Callable[[Episode], None]) -> Episodes:
        """All well."""
        return cls(
            fhir=Episode(name="fhir", boot=boot, say=say),
            metriport=Episode(name="metriport", boot=boot, say=say),
            ledger=Episode(name="ledger", boot=boot, say=say),
            doorbell=Episode(name="doorbell", boot=boot, say=say, patience=1),
        )

    def each(self) -> tuple[Episode, ...]:
        """All of them, brought up to date."""
        every = (self.fhir, self.metriport, self.ledger, self.doorbell)
        for episode in every:
            episode.settle()
        return every
