"""Replicas that are killed again and again: the short version of `python -m tests.e2e.replicas`."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.replicas import play
from tests.neighbours.postgresql import Postgresql
from tests.virtual.site import within


def test_replicas_with_different_clocks_that_are_killed_send_each_message_once(
    postgresql_server: Postgresql, tmp_path: Path
) -> None:
    report = play(tmp_path, postgresql_server, count=60, speed=15.0, every=30.0, patience=120.0)

    assert (report.doubled, report.lost) == (0, 0), report.lines
    assert within(report.arrivals, 60.0) <= 20
    assert report.too_many == 0
    assert report.kills > 3
