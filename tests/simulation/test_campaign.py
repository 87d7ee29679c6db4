"""Nothing lost, nothing doubled, in as many histories as the time allows; the rest is for `make simulate`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.campaign import KINDS, side_by_side

RANDOM_SECONDS = float(os.environ.get("ADAPTER_SIMULATION_SECONDS", "20"))
_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("of", "stride", "seconds"), [("singles", 97, 12), ("pairs", 4973, 10), ("random", 1, RANDOM_SECONDS)]
)
def test_no_history_loses_or_doubles_a_message(of: str, stride: int, seconds: float, say: list[str]) -> None:
    figures = side_by_side(processes=1, start=0, of=of, step=stride, seconds=seconds)

    say += [f"{of}: {line}" for line in figures.lines()]
    assert not figures.failing
    assert {kind: figures.wrong[kind] for kind in KINDS} == dict.fromkeys(KINDS, 0)
    assert figures.recovered


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
