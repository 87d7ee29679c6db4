"""SIGKILL at the n-th operation: the short version of `python -m tests.e2e.kills`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.kills import Outcome, Play, Theatre, one_by_one, theatre
from tests.e2e.mortal import Doom
from tests.neighbours.postgresql import Postgresql


@pytest.fixture
def stage(tmp_path: Path, postgresql_server: Postgresql) -> Iterator[Theatre]:
    with theatre(tmp_path, postgresql=postgresql_server) as here:
        yield here


@pytest.mark.parametrize(("database", "stride"), [("sqlite", 1), ("postgresql", 8)])
def test_killed_after_any_operation_it_sends_once(stage: Theatre, database: str, stride: int) -> None:
    """The first POST goes wrong, so that the recovery has something to resolve: by turns applied and not, heard of and not."""
    faults = ("apply-then-drop", "drop", "apply-then-429", "500")

    def every_fourth(first: int) -> list[Outcome]:
        rest = Play(database=database, messages=1, fault=faults[first])
        return [*one_by_one(stage.play, rest, after=True, first=1 + first * stride, stride=4 * stride)]

    with ThreadPoolExecutor(4) as pool:
        outcomes = [one for part in pool.map(every_fourth, range(4)) for one in part]

    assert [(str(one.play), one.died_at, one.wrong) for one in outcomes if one.wrong] == []
    died_in = {name.rpartition("/")[0] or name for one in outcomes for name in one.died_at}
    assert sum(one.struck for one in outcomes) * stride > 20
    if database == "sqlite":
        assert {"ledger change", "FHIR PUT /fhir/Communication"} <= died_in


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_killed_again_in_its_recovery_it_sends_once(stage: Theatre, database: str) -> None:
    def twice(count: int) -> Outcome:
        dooms = (Doom(count=count, after=True), Doom(count=30 - count, after=False))
        return stage.play(Play(database=database, dooms=dooms))

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(twice, (10, 19)))

    assert [(str(one.play), one.died_at, one.wrong) for one in outcomes if one.wrong] == []
    assert sum(one.struck for one in outcomes) > len(outcomes)


def test_killed_between_real_neighbours_it_sends_once(
    hapi_defaults: str, postgresql_server: Postgresql, tmp_path: Path
) -> None:
    with (
        theatre(tmp_path, speed=5.0, hapi=hapi_defaults, postgresql=postgresql_server) as stage,
        ThreadPoolExecutor(3) as pool,
    ):
        plays = [
            Play(
                server="hapi", database=database, messages=2, dooms=(Doom(count=count, after=count % 2 == 0),)
            )
            for database, counts in (("sqlite", (8, 12)), ("postgresql", (11,)))
            for count in counts
        ]
        outcomes = list(pool.map(stage.play, plays))

    assert [(str(one.play), one.died_at, one.wrong) for one in outcomes if one.wrong] == []
    assert [one.struck for one in outcomes] == [1, 1, 1]
