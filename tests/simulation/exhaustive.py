"""Small scenarios in full: every pair of crash operations, after every fault of the POST.

Of a message that comes in: after every fault of the first link.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Final

from tests.simulation.operations import CONTENT, FAULTS, POST, POST_FAULTS
from tests.simulation.story import POINTS, Arrival, Letter, Point, Story, Strike

# More than any of them comes to. In a series the numbers rise, and the first that is not reached ends it.
_MOST: Final = 170
# A crash after an answer is one before the next operation, but for what was done in between: both are tried.
_AROUND: Final[tuple[Point, ...]] = ("before", "applied")

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


def singles(of: str = "") -> Iterator[Story]:
    """Every crash at every point of every operation, after every fault; of one scenario, or of all."""
    for scenario, fault in _grounds(of):
        for operation in range(1, _MOST + 1):
            for point in POINTS:
                strikes = [Strike(operation=operation, point=point)]
                yield _story(scenario, fault, strikes, series=(f"{scenario}/{fault}",))


def pairs(of: str = "") -> Iterator[Story]:
    """Every pair of crash operations, after every fault; of one scenario, or of all."""
    for scenario, fault in _grounds(of):
        for first in range(1, _MOST + 1):
            for point, then in product(_AROUND, _AROUND):
                for second in range(first + 1, _MOST + 1):
                    strikes = [Strike(operation=first, point=point), Strike(operation=second, point=then)]
                    ground = f"{scenario}/{fault}"
                    yield _story(
                        scenario, fault, strikes, series=(ground, f"{ground}/{first}-{point}/{then}")
                    )


def named(name: str) -> Story:
    """The story of that name."""
    return next(story for stories in (singles(), pairs()) for story in stories if story.name == name)


def _grounds(of: str) -> Iterator[tuple[str, str]]:
    for scenario, parts in SCENARIOS.items():
        faults = POST_FAULTS if isinstance(parts[0], Letter) else ("none", *FAULTS[CONTENT])
        if of in {"", scenario}:
            yield from ((scenario, fault) for fault in faults)


def _story(scenario: str, fault: str, strikes: list[Strike], *, series: tuple[str, ...]) -> Story:
    parts = SCENARIOS[scenario]
    story = Story(
        name=f"{scenario}/{fault}/{'+'.join(f'{one.operation}-{one.point}' for one in strikes)}",
        seed=1,
        series=series,
        letters=tuple(part for part in parts if isinstance(part, Letter)),
        arrivals=tuple(part for part in parts if isinstance(part, Arrival)),
        strikes=tuple(strikes),
        absence=5.0,
        dialect=_DIALECTS.get(scenario, "sdk"),
    )
    met = POST if story.letters else CONTENT
    return story if fault == "none" else replace(story, faults={met: (fault,)})
