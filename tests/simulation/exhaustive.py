"""Small scenarios in full: every crash, and every pair of crashes, after every fault of the POST.

Of a message that comes in: after every fault of the first link.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.simulation.history import Outcome, play
from tests.simulation.operations import CONTENT, FAULTS, POST, POST_FAULTS
from tests.simulation.story import POINTS, Arrival, Letter, Point, Story, Strike

_ONE: Final = Letter(id="letter-0", text="one", at=0.0)
SCENARIOS: Final[dict[str, tuple[Letter | Arrival, ...]]] = {
    "one": (_ONE,),
    "fails": (replace(_ONE, fails=(True,)),),
    "twins": (_ONE, replace(_ONE, id="letter-1")),
    "enclosed": (replace(_ONE, enclosure="own"),),
    "received": (Arrival(at=0.0, enclosures=2),),
    "documented": (_ONE,),
}
_DIALECTS: Final = {"documented": "docs"}  # the others speak the SDK's


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A small scenario and what becomes of its first POST, or of its first link."""

    scenario: str
    fault: str

    def story(self, *strikes: Strike) -> Story:
        """What happens there when that strikes; its name tells all of it."""
        parts = SCENARIOS[self.scenario]
        struck = "+".join(f"{one.operation}-{one.point}" for one in strikes)
        story = Story(
            name="/".join(filter(None, (self.scenario, self.fault, struck))),
            seed=1,
            letters=tuple(part for part in parts if isinstance(part, Letter)),
            arrivals=tuple(part for part in parts if isinstance(part, Arrival)),
            strikes=strikes,
            absence=5.0,
            dialect=_DIALECTS.get(self.scenario, "sdk"),
        )
        met = POST if story.letters else CONTENT
        return story if self.fault == "none" else replace(story, faults={met: (self.fault,)})


def grounds(of: str = "") -> Sequence[Ground]:
    """Those of one scenario, or of all."""
    return [
        Ground(scenario=scenario, fault=fault)
        for scenario, parts in SCENARIOS.items()
        for fault in (POST_FAULTS if isinstance(parts[0], Letter) else ("none", *FAULTS[CONTENT]))
        if of in {"", scenario}
    ]


def singles(ground: Ground, *, most: int | None = None) -> Iterator[Outcome]:
    """Every crash at every point of every operation; or so many of them."""
    alone = play(ground.story())
    every = [
        Strike(operation=operation, point=point)
        for operation in range(1, alone.operations + 1)
        for point in POINTS
    ]
    yield from (play(ground.story(strike)) for strike in _some(every, most, ground))


def pairs(ground: Ground, *, most: int | None = None) -> Iterator[Outcome]:
    """Every pair of crashes, those first that strike alone; or so many after so many of them.

    Crashes that would leave behind the same world at the same time are one: `Outcome.crashes`.
    """
    alone = play(ground.story())
    yield alone
    for first in _some(alone.crashes, most, ground):
        once = play(ground.story(first))
        yield once
        later = [crash for crash in once.crashes if crash.operation > first.operation]
        yield from (play(ground.story(first, second)) for second in _some(later, most, ground))


def _some(every: Sequence[Strike], most: int | None, ground: Ground) -> Sequence[Strike]:
    if most is None or most >= len(every):
        return every
    return random.Random(f"{ground}").sample(every, most)


def named(name: str) -> Story:
    """The story of that name."""
    scenario, fault, *struck = name.split("/")
    points: dict[str, Point] = {point: point for point in POINTS}
    parts = (one.partition("-") for one in "+".join(struck).split("+") if one)
    strikes = [Strike(operation=int(number), point=points[point]) for number, _, point in parts]
    return Ground(scenario=scenario, fault=fault).story(*strikes)
