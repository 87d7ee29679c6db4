"""Which neighbours a run had; a missing one is a skip at the desk and a failure where it is required."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NoReturn

import pytest

NAMES = ("HAPI defaults", "HAPI lax", "HAPI assigned", "PostgreSQL", "Chromium")
UNASKED = "not asked for by the selected tests"
FOLDER = "ADAPTER_TESTS_REPORT"


class Missing(Exception):
    """This machine has not got a neighbour; the text says what is missing."""


class Report:
    """What became of each neighbour in this run."""

    def __init__(self, required: frozenset[str]) -> None:
        self._required = required
        self._outcomes: dict[str, str] = {}

    @classmethod
    def from_environment(cls) -> Report:
        """`ADAPTER_TESTS_REQUIRE` names, by comma, what may not be missing: hapi, postgresql, chromium, npm."""
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
        # `make test` runs what the machine can; its last lines name the neighbour. CI requires all of them.
        pytest.skip(f"{name}: {why}")

    def save(self) -> None:
        """Leaves it in the folder that the environment names, for who runs several sessions."""
        if folder := os.environ.get(FOLDER):
            Path(folder, f"{os.getpid()}.json").write_text(json.dumps(self._outcomes), "utf-8")

    @classmethod
    def joined(cls, folder: Path) -> Report:
        """What became of each in all the sessions that left theirs; of two outcomes the worse."""
        report = cls(frozenset())
        for file in folder.iterdir():
            for name, outcome in json.loads(file.read_text("utf-8")).items():
                report._outcomes[name] = min(outcome, report._outcomes.get(name, outcome), key=_worst_first)
        return report

    def lines(self) -> list[str]:
        """One line per neighbour, for the end of the run."""
        return [f"{name}: {self._outcomes.get(name, UNASKED)}" for name in NAMES]


def _worst_first(outcome: str) -> int:
    return ("failed", "skipped", "ran").index(outcome.partition(":")[0])


def missing(name: str, why: str) -> NoReturn:
    """For what is a tool of one test and no neighbour of its own line: skips, or fails where it is required."""
    Report.from_environment().missing(name, why)
