"""A step for each of many."""

from __future__ import annotations

import asyncio

import pytest

from adapter.errors import AdapterError, ConfigError, Rejected, Temporary
from adapter.pipelines.each import each, over

NOT_NOW = Temporary("not now")
NEVER = Rejected("never", status=422)


def _each(*things: int | Exception, all_of_them: bool = False) -> tuple[int, list[int | Exception]]:
    taken: list[int | Exception] = []

    async def step(thing: int | Exception) -> int:
        taken.append(thing)
        if isinstance(thing, Exception):
            raise thing
        return thing

    return asyncio.run(each(over(things), step, doing="test", all_of_them=all_of_them)), taken


@pytest.mark.parametrize("error", [NOT_NOW, NEVER, ValueError("?")])
def test_what_one_runs_into_keeps_no_other_from_its_step(error: Exception) -> None:
    assert _each(1, error, 0, 1) == (2, [1, error, 0, 1])


@pytest.mark.parametrize("error", [NOT_NOW, NEVER, ValueError("?")])
def test_when_no_step_went_well_it_is_said(error: Exception) -> None:
    with pytest.raises(type(error)):
        _each(error, error)


def test_when_all_of_them_count_one_is_enough() -> None:
    with pytest.raises(AdapterError):
        _each(1, NOT_NOW, 1, all_of_them=True)


def test_nothing_to_do_is_well() -> None:
    assert _each() == (0, [])


def test_a_process_that_has_to_end_ends() -> None:
    with pytest.raises(ConfigError):
        _each(1, ConfigError("the ledger is gone"), 1)
