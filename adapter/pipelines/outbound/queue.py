"""Which Communication is looked at next: a plain data structure, no clock, no waiting."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace

from adapter.domain.ranking import Rank, goes_next
from adapter.pipelines.outbound.look import Sighting

_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 300.0


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Why a Communication is tried again later, and when; `is_news` when it waits only now, or for another reason."""

    why: str
    seconds: float
    until: float
    times: int
    is_news: bool


@dataclass(kw_only=True)
class Queue:
    """Sightings waiting to be prepared, each Communication once. Times are seconds on the boot clock.

    A Communication is *in work* from `take` until `finished` or `failed`. One that is sighted again meanwhile is
    looked at once more: what is known of it may be older than the sighting.

    What has attachments, or failed before, may take minutes: of these no more than `most_slow` are taken at a time, so
    that others are not kept waiting by them; and what failed before goes after what was never tried.
    """

    most_slow: int = 1
    _waiting: dict[str, Sighting] = field(default_factory=dict)
    _in_work: set[str] = field(default_factory=set)
    _slow: set[str] = field(default_factory=set)
    _failures: dict[str, Wait] = field(default_factory=dict)
    _taken: int = 0

    def add(self, sighting: Sighting) -> None:
        """Takes note of a sighting; one that waits already keeps its place, unless it is more urgent now."""
        waiting = self._waiting.setdefault(sighting.id, sighting)
        if sighting.rank.priority < waiting.rank.priority:
            rank = replace(waiting.rank, priority=sighting.rank.priority)
            self._waiting[sighting.id] = replace(waiting, rank=rank)

    def keep_only(self, ids: Container[str]) -> None:
        """Forgets what waits and is not among these."""
        for id in [id for id in self._waiting if id not in ids]:
            del self._waiting[id]
            self._failures.pop(id, None)

    def take(self, *, now: float, before: Rank | None = None) -> Sighting | None:
        """The sighting whose turn it is, of those that go `before`; `None` when none can be worked on now."""
        ready = [
            sighting
            for sighting in self._waiting.values()
            if sighting.id not in self._in_work
            and ((failure := self._failures.get(sighting.id)) is None or failure.until <= now)
            and (before is None or sighting.rank < before)
            and (self._has_room or not self._is_slow(sighting))
        ]
        if not ready:
            return None
        ready = [sighting for sighting in ready if sighting.id not in self._failures] or ready
        sighting = ready[goes_next([one.rank for one in ready], turn=self._taken)]
        self._taken += 1
        del self._waiting[sighting.id]
        self._in_work.add(sighting.id)
        if self._is_slow(sighting):
            self._slow.add(sighting.id)
        return sighting

    @property
    def _has_room(self) -> bool:
        return len(self._slow) < self.most_slow

    def _is_slow(self, sighting: Sighting) -> bool:
        return sighting.is_heavy or sighting.id in self._failures

    def may_go_on(self, sighting: Sighting) -> bool:
        """Whether one in work, which turned out to be as it is sighted now, has a place among the slow if it needs one."""
        if not self._is_slow(sighting) or sighting.id in self._slow:
            return True
        if self._has_room:
            self._slow.add(sighting.id)
            return True
        return False

    def prepared(self, communication: str) -> None:
        """The Communication is in work still, and only waits for the lane."""
        self._slow.discard(communication)

    def begin(self, communication: str) -> None:
        """The Communication is in work from now on, without a sighting."""
        self._in_work.add(communication)

    def finished(self, communication: str) -> None:
        """The Communication is no longer in work."""
        self._in_work.discard(communication)
        self._slow.discard(communication)
        self._failures.pop(communication, None)

    def claimed(self, communication: str) -> None:
        """It left `preparation` by our claim: what was sighted before that is answered. A later wish is found again."""
        self.finished(communication)
        self._waiting.pop(communication, None)

    def failed(
        self, sighting: Sighting, *, why: str, now: float, spread: float = 1.0, at_least: float = 0.0
    ) -> Wait:
        """It could not be worked on now: it waits again, longer each time, and as long as it was told to."""
        earlier = self._failures.get(sighting.id)
        times = earlier.times + 1 if earlier else 1
        seconds = max(min(_FIRST_PAUSE * 2.0 ** min(times - 1, 20), _LONGEST_PAUSE), at_least) * spread
        wait = Wait(
            why=why,
            seconds=seconds,
            until=now + seconds,
            times=times,
            is_news=earlier is None or earlier.why != why,
        )
        self._failures[sighting.id] = wait
        self._in_work.discard(sighting.id)
        self._slow.discard(sighting.id)
        self.add(sighting)
        return wait

    def ready_at(self, *, now: float) -> float | None:
        """When the next of those that failed may be tried again; `None` when nothing waits for a time alone."""
        if not self._has_room:
            return None
        waits = (wait for id, wait in self._failures.items() if id in self._waiting)
        return min((wait.until for wait in waits if wait.until > now), default=None)

    @property
    def failing(self) -> int:
        """How many could not be worked on when they were last tried."""
        return len(self._failures)

    @property
    def in_work(self) -> frozenset[str]:
        """The Communications in work."""
        return frozenset(self._in_work)

    def __len__(self) -> int:
        return len(self._waiting)
