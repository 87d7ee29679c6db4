"""Many histories: their figures, side by side in several processes, going on where an earlier run ended."""

from __future__ import annotations

import json
import math
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from tests.simulation import exhaustive
from tests.simulation.history import Outcome, play
from tests.simulation.story import DRAWN

_SILENT: Final = 50
# For each process, before what was reached is kept.
_AT_ONCE: Final = {"random": 500, "authors": 500, "singles": 4, "pairs": 4}
KINDS: Final = ("lost", "doubled", "unexpected", "spacing", "ends")


@dataclass(kw_only=True)
class Figures:
    """What a number of histories came to."""

    histories: int = 0
    messages: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    recovered: int = 0
    held: int = 0
    failing: list[str] = field(default_factory=list)
    covered: set[tuple[str, str]] = field(default_factory=set)

    def add(self, outcome: Outcome) -> None:
        """Counts one history."""
        judgement = outcome.judgement
        self.histories += 1
        self.messages += judgement.messages
        self.recovered += outcome.recovered
        self.held += judgement.held
        self.wrong.update({kind: len(getattr(judgement, kind)) for kind in KINDS})
        self.covered |= outcome.covered
        if judgement.wrong:
            self.failing.append(f"{outcome.story.name}: {'; '.join(judgement.wrong)}")

    def join(self, other: Figures) -> None:
        """Adds those of another run."""
        self.histories += other.histories
        self.messages += other.messages
        self.recovered += other.recovered
        self.held += other.held
        self.wrong.update(other.wrong)
        self.failing += other.failing
        self.covered |= other.covered

    def kept(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "wrong": dict(self.wrong), "covered": sorted(map(list, self.covered))}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Figures:
        """Those that were kept."""
        covered = {(operation, fault) for operation, fault in kept["covered"]}
        return cls(**{**kept, "wrong": Counter(kept["wrong"]), "covered": covered})

    def lines(self) -> list[str]:
        """The figures in words."""
        wrong = ", ".join(f"{kind} {self.wrong[kind]}" for kind in KINDS)
        return [
            (
                f"{self.histories} histories, {self.messages} messages: {wrong}, recovered {self.recovered}, "
                f"held for a person {self.held}; {len(self.covered)} pairs of operation and fault"
            ),
            *self.failing[:20],
        ]


def length(of: str) -> int | None:
    """How many numbers there are; of random ones there is no end."""
    return None if of in DRAWN else len(exhaustive.grounds(of.partition("/")[2]))


def histories(number: int, *, of: str, some: int | None = None) -> Iterator[Outcome]:
    """What that number comes to: the one history of a seed, or all on a ground of an exhaustive list.

    Of a list, a part is named by its scenario: `pairs/received`; `some` is how many crashes are tried where it branches.
    """
    name, _, scenario = of.partition("/")
    if name in DRAWN:
        yield play(DRAWN[name](number))
    else:
        every = {"singles": exhaustive.singles, "pairs": exhaustive.pairs}[name]
        yield from every(exhaustive.grounds(scenario)[number], most=some)


def side_by_side(
    numbers: Iterable[int], *, processes: int, of: str, seconds: float | None = None, some: int | None = None
) -> Figures:
    """The figures of all, played in several processes, or of those that the time is enough for."""
    figures = Figures()
    with multiprocessing.get_context("spawn").Pool(processes, _silenced) as pool:
        pool.apply(_silenced)  # to import all takes long on a busy machine, and is not the histories' time
        ends = time.monotonic() + seconds if seconds is not None else math.inf
        for part in pool.imap_unordered(partial(_played, of=of, some=some, ends=ends), numbers):
            figures.join(part)
    return figures


def _silenced() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_SILENT))


def _played(number: int, *, of: str, some: int | None, ends: float) -> Figures:
    figures = Figures()
    plan = histories(number, of=of, some=some)
    while time.monotonic() < ends and (outcome := next(plan, None)):
        figures.add(outcome)
    return figures


def go_on(
    state: Path, *, of: str, until: int, processes: int, start: int = 0
) -> Iterator[tuple[int, Figures]]:
    """Plays from number `start` up to `until`, a few at a time; tells how far that is and the figures of all.

    `state` remembers both by list and start, what went wrong as well: broken off, it goes on there.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    reached = json.loads(state.read_text()) if state.exists() else {}
    name = f"{of} from {start}" if start else of
    at, figures = start, Figures()
    if name in reached:
        at, figures = reached[name]["at"], Figures.of(reached[name]["figures"])
        yield at, figures
    until = min(until, length(of) or until)
    while at < until:
        count = min(_AT_ONCE[of.partition("/")[0]] * processes, until - at)
        part = side_by_side(range(at, at + count), processes=processes, of=of)
        at += count
        figures.join(part)
        state.write_text(json.dumps({**reached, name: {"at": at, "figures": figures.kept()}}))
        yield at, figures
