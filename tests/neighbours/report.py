"""Which neighbours a run had; a missing one is a skip at the desk and a failure where it is required."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

NAMES = ("HAPI defaults", "HAPI lax", "PostgreSQL", "Chromium")
UNASKED = "not asked for by the selected tests"


class Missing(Exception):
    """This machine has not got a neighbour; the text says what is missing."""


class Report:
    """What became of each neighbour in this run."""

    def __init__(self, required: frozenset[str]) -> None:
        self._required = required
        self._outcomes: dict[str, str] = {}

    @classmethod
    def from_environment(cls) -> Report:
        """`ADAPTER_TESTS_REQUIRE` names, by comma, what may not be missing: hapi, postgresql, chromium."""
        names = os.environ.get("ADAPTER_TESTS_REQUIRE", "")
        return cls(frozenset(name.strip().lower() for name in names.split(",") if name.strip()))

    def ran(self, name: str) -> None:
        """The neighbour answered."""
        self._outcomes[name] = "ran"

    def broke(self, name: str, why: str) -> None:
        """The neighbour is there, but did not start."""
        self._outcomes[name] = f"failed: {why.splitlines()[0]}"

    def missing(self, name: str, why: str) -> NoReturn:
        """Skips the test that asked, or fails it where the neighbour is required."""
        self._outcomes[name] = f"skipped: {why}"
        if name.partition(" ")[0].lower() in self._required:
            pytest.fail(f"{name} is required by ADAPTER_TESTS_REQUIRE: {why}", pytrace=False)
        pytest.skip(f"{name}: {why}")

    def lines(self) -> list[str]:
        """One line per neighbour, for the end of the run."""
        return [f"{name}: {self._outcomes.get(name, UNASKED)}" for name in NAMES]
