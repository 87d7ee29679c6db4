"""Nothing lost, nothing doubled, in as many histories as the time allows; the rest is for `make simulate`."""

from __future__ import annotations

import itertools
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.campaign import KINDS, go_on, length, side_by_side
from tests.simulation.exhaustive import Ground, grounds, named
from tests.simulation.history import Outcome, play
from tests.simulation.story import Strike

RANDOM_SECONDS = float(os.environ.get("ADAPTER_SIMULATION_SECONDS", "20"))
EVERY_GROUND = bool(os.environ.get("EVERY_GROUND"))
_KNOWN = 3000  # stories that `make simulate` has played: new ones are for it to find
_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("of", "some", "seconds"),
    [
        ("singles", 2, 12),
        ("pairs", 2, 20),
        ("random", None, RANDOM_SECONDS),
        ("authors", None, RANDOM_SECONDS / 5),
    ],
)
def test_no_history_loses_or_doubles_a_message(
    of: str, some: int | None, seconds: float, say: list[str]
) -> None:
    known = list(range(length(of) or _KNOWN))
    if some:
        random.Random(1).shuffle(known)

    figures = side_by_side(known, processes=1, of=of, some=some, seconds=seconds)

    say += [f"{of}: {line}" for line in figures.lines()]
    say.append(
        f"{of}: covered {'; '.join(f'{operation} met {fault}' for operation, fault in sorted(figures.covered))}"
    )
    assert not figures.failing
    assert {kind: figures.wrong[kind] for kind in KINDS} == dict.fromkeys(KINDS, 0)
    assert figures.recovered


def test_a_range_that_was_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    state = tmp_path / "reached.json"
    whole = list(go_on(tmp_path / "whole.json", of="random", start=40, until=43, processes=1))

    first = list(go_on(state, of="random", start=40, until=42, processes=1))
    again = list(go_on(state, of="random", start=40, until=43, processes=1))

    assert [at for at, _ in first] == [42]
    assert [at for at, _ in again] == [42, 43]
    assert again[-1][1].kept() == whole[-1][1].kept()
    assert again[-1][1].histories == 3


@pytest.mark.parametrize("seed", ["8", "9", "1113"])
def test_a_seed_is_the_same_history_whatever_else_is_different(seed: str) -> None:
    shown = {
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", seed],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout
        for salt in ("1", "2")
    }

    assert len(shown) == 1


@pytest.mark.parametrize(
    "ground",
    grounds() if EVERY_GROUND else [Ground(scenario="one", fault="drop")],
    ids=lambda ground: f"{ground.scenario}-{ground.fault}",
)
def test_a_crash_that_is_left_out_ends_like_the_one_before_it(ground: Ground) -> None:
    alone = play(ground.story())
    counted = {(crash.operation, crash.point) for crash in alone.crashes}
    ends = list[tuple[bool, tuple[str, ...]]]()
    for operation in range(1, alone.operations + 1):
        for point in ("before", "wire", "applied"):
            outcome = play(ground.story(Strike(operation=operation, point=point)))
            if _was_killed(outcome):
                ends.append(((operation, point) in counted, _told(outcome)))

    assert 0 < len(counted) < len(ends)
    for (_, before), (is_counted, told) in itertools.pairwise(ends):
        assert is_counted or told == before


def _was_killed(outcome: Outcome) -> bool:
    """A request that never reaches Metriport has no moment on the wire, nor after it was applied."""
    return any(line.endswith("is killed") for line in outcome.transcript)


def _told(outcome: Outcome) -> tuple[str, ...]:
    """What happened at Metriport, and how it ended: without times, lives, the ends of ids and which twin it was."""
    happened = (line[12:] for line in outcome.transcript if "#" not in line)
    told = (re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}|letter-\d+", "", line) for line in happened)
    return tuple(line for line in told if not line.startswith("life"))


def test_a_story_is_found_by_its_name() -> None:
    strikes = Strike(operation=17, point="applied"), Strike(operation=20, point="before")
    story = Ground(scenario="twins", fault="429:7").story(*strikes)

    assert named(story.name) == story
    assert named("one/none") == Ground(scenario="one", fault="none").story()
