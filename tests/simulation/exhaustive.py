"""Small scenarios in full: every pair of crash operations, after every fault of the POST."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tests.simulation.operations import POST, POST_FAULTS
from tests.simulation.story import POINTS, Letter, Story, Strike

# A crash after an answer is one before the next operation, but for what was done in between: both are tried.
_FIRST: Final = 45
_SECOND: Final = 45

SCENARIOS: Final[dict[str, tuple[Letter, ...]]] = {
    "one": (Letter(id="letter-0", text="one", at=0.0),),
    "fails": (Letter(id="letter-0", text="one", at=0.0, fails=(True,)),),
    "twins": (Letter(id="letter-0", text="twin", at=0.0), Letter(id="letter-1", text="twin", at=0.0)),
}


def singles() -> Iterator[Story]:
    """Every crash at every point of every operation, after every fault of the POST."""
    for scenario, fault in _grounds():
        for operation in range(1, _FIRST + 1):
            for point in POINTS:
                name = f"{scenario}/{fault}/{operation}-{point}"
                yield _story(name, SCENARIOS[scenario], fault, [Strike(operation=operation, point=point)])


def pairs() -> Iterator[Story]:
    """Every pair of crash operations, after every fault of the POST."""
    for scenario, fault in _grounds():
        for first in range(1, _FIRST + 1):
            for second in range(1, _SECOND + 1):
                for point in ("before", "applied"):
                    name = f"{scenario}/{fault}/{first}-{point}+{second}-{point}"
                    strikes = [
                        Strike(operation=first, point=point),
                        Strike(operation=first + second, point=point),
                    ]
                    yield _story(name, SCENARIOS[scenario], fault, strikes)


def named(name: str) -> Story:
    """The story of that name."""
    return next(story for stories in (singles(), pairs()) for story in stories if story.name == name)


def _grounds() -> Iterator[tuple[str, str]]:
    return ((scenario, fault) for scenario in SCENARIOS for fault in POST_FAULTS)


def _story(name: str, letters: tuple[Letter, ...], fault: str, strikes: list[Strike]) -> Story:
    story = Story(name=name, seed=1, letters=letters, strikes=tuple(strikes), absence=5.0)
    return story if fault == "none" else replace(story, faults={POST: (fault,)})
