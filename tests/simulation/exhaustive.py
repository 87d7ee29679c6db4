"""Small scenarios in full: every pair of crash operations, after every fault of the POST."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Final

from tests.simulation.operations import POST, POST_FAULTS
from tests.simulation.story import POINTS, Letter, Point, Story, Strike

# More than any of them comes to. In a series the numbers rise, and the first that is not reached ends it.
_MOST: Final = 170
# A crash after an answer is one before the next operation, but for what was done in between: both are tried.
_AROUND: Final[tuple[Point, ...]] = ("before", "applied")

SCENARIOS: Final[dict[str, tuple[Letter, ...]]] = {
    "one": (Letter(id="letter-0", text="one", at=0.0),),
    "fails": (Letter(id="letter-0", text="one", at=0.0, fails=(True,)),),
    "twins": (Letter(id="letter-0", text="twin", at=0.0), Letter(id="letter-1", text="twin", at=0.0)),
}


def singles() -> Iterator[Story]:
    """Every crash at every point of every operation, after every fault of the POST."""
    for scenario, fault in _grounds():
        for operation in range(1, _MOST + 1):
            for point in POINTS:
                strikes = [Strike(operation=operation, point=point)]
                yield _story(scenario, fault, strikes, series=(f"{scenario}/{fault}",))


def pairs() -> Iterator[Story]:
    """Every pair of crash operations, after every fault of the POST."""
    for scenario, fault in _grounds():
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


def _grounds() -> Iterator[tuple[str, str]]:
    return ((scenario, fault) for scenario in SCENARIOS for fault in POST_FAULTS)


def _story(scenario: str, fault: str, strikes: list[Strike], *, series: tuple[str, ...]) -> Story:
    story = Story(
        name=f"{scenario}/{fault}/{'+'.join(f'{one.operation}-{one.point}' for one in strikes)}",
        seed=1,
        series=series,
        letters=SCENARIOS[scenario],
        strikes=tuple(strikes),
        absence=5.0,
    )
    return story if fault == "none" else replace(story, faults={POST: (fault,)})
