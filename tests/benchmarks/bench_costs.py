"""What safety costs, as ratios measured in one run. They are printed and decide nothing."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import simplejson

from adapter.domain.ranking import Rank
from adapter.domain.transmission import State
from adapter.ledger.store import open_ledger
from adapter.mapping.engine import Mappings
from tests.builders import NOW, communication

ROUNDS = 300


def _seconds(action: Callable[[], object]) -> float:
    """The median of many runs."""
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return median(taken)


def test_a_ledger_change_against_a_bare_durable_commit(tmp_path: Path) -> None:
    bare = sqlite3.connect(tmp_path / "bare.sqlite3", isolation_level=None)
    bare.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (i INTEGER)")
    commit = _seconds(lambda: bare.execute("INSERT INTO t VALUES (1)"))
    bare.close()

    async def changes() -> list[float]:
        taken = []
        async with open_ledger(f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}", now=NOW) as ledger:
            row = await ledger.open("c", round=1, rank=Rank(priority=0, since=NOW), now=NOW)
            for _ in range(ROUNDS):
                assert row is not None
                started = time.perf_counter()
                row = await ledger.change(row, State.READY, now=NOW, event="measured")
                taken.append(time.perf_counter() - started)
        return taken

    change = median(asyncio.run(changes()))
    print(
        f"\nledger change / bare durable commit: {change / commit:.1f} ({change * 1e3:.2f} ms, {commit * 1e3:.2f} ms)"
    )


def test_numbers_kept_as_text_against_plain_parsing() -> None:
    text = json.dumps({"entry": [communication() for _ in range(50)]})
    kept = _seconds(lambda: simplejson.loads(text, use_decimal=True))
    plain = _seconds(lambda: json.loads(text))
    print(f"\nparsing with numbers kept / plain: {kept / plain:.1f}")


def test_a_sandboxed_mapping_against_writing_the_json() -> None:
    mappings = Mappings(directory=None)
    resource = communication()
    rendered = _seconds(
        lambda: mappings.render("outbound/text", communication=resource, default_subject=None)
    )
    written = _seconds(lambda: json.dumps(resource))
    print(f"\nrendering subject and text / writing the Communication as JSON: {rendered / written:.0f}")
