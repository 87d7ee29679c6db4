"""Nothing lost, nothing doubled, in as many histories as the time allows; the rest is for `make simulate`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.campaign import KINDS, go_on, side_by_side

RANDOM_SECONDS = float(os.environ.get("ADAPTER_SIMULATION_SECONDS", "20"))
_KNOWN = 3000  # stories that `make simulate` has played: new ones are for it to find
_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("of", "stride", "seconds"), [("singles", 97, 12), ("pairs", 4973, 10), ("random", 1, RANDOM_SECONDS)]
)
def test_no_history_loses_or_doubles_a_message(of: str, stride: int, seconds: float, say: list[str]) -> None:
    figures = side_by_side(processes=1, start=0, of=of, step=stride, seconds=seconds, most=_KNOWN)

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
