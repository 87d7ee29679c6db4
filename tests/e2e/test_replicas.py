"""Replicas that are killed again and again: the short version of `python -m tests.e2e.replicas`. And what time it is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adapter.config import Settings
from adapter.wiring import adapter
from tests.e2e.hurried import HurriedClock
from tests.e2e.kills import Play, asked, set_clock, theatre
from tests.e2e.machine import wait_until
from tests.e2e.replicas import house, play
from tests.neighbours.postgresql import Postgresql


def test_replicas_with_different_clocks_that_are_killed_send_each_message_once(
    postgresql_server: Postgresql, tmp_path: Path
) -> None:
    report = play(
        tmp_path, postgresql_server, count=20, told=20, speed=12.0, every=25.0, most=3, patience=150.0
    )

    assert report.is_well, report.lines
    assert report.too_many == 0
    assert report.kills == 3


def test_replicas_share_the_work_and_one_of_them_sends(postgresql_server: Postgresql, tmp_path: Path) -> None:
    # Slowly: the lane's lease has to outlast the pauses of a busy machine.
    with house(tmp_path, postgresql_server, speed=4.0) as here:
        here.metriport.add_fault(
            "GET", "/_files/", "slow:8", times=1000
        )  # more than one of them can fetch at once
        here.write(40)
        here.play(every=1.0, most=0, seed=1, patience=150.0, told=40)
        report = here.report(40)

    assert report.is_well, report.lines
    assert report.how_many_did("transmission.sent") == 1
    assert report.how_many_did("message.received") > 1, report.lines


def test_the_work_of_a_killed_replica_is_taken_over_in_half_a_minute(
    postgresql_server: Postgresql, tmp_path: Path
) -> None:
    with house(tmp_path, postgresql_server, speed=1.0) as here:
        here.write(4)
        for replica in here.replicas:
            replica.start()
        wait_until(lambda: any(replica.has_sent for replica in here.replicas))
        [holder] = [replica for replica in here.replicas if replica.has_sent]

        holder.kill()
        killed, sent = time.monotonic(), here.report(4).posted
        wait_until(lambda: here.report(4).posted > sent)
        took = time.monotonic() - killed
        doubled = here.report(4).doubled

    assert took < 30.0
    assert doubled == 0


def test_what_time_it_is_says_the_database(postgresql_database: str) -> None:
    settings = Settings.model_validate(
        {"ledger": {"url": postgresql_database}, "metriport": {"api_key": "invented"}}
    )

    async def difference(skew: timedelta) -> timedelta:
        machine = HurriedClock(start=datetime.now(UTC), speed=1.0, skew=skew)
        async with adapter(settings, clock=machine) as running:
            return running.context.clock.now() - datetime.now(UTC)

    for skew in (timedelta(minutes=5), timedelta(minutes=-5)):
        assert abs(asyncio.run(difference(skew))) < timedelta(seconds=5)


def test_a_running_replica_follows_the_database_s_clock(
    postgresql_server: Postgresql, tmp_path: Path
) -> None:
    hour = timedelta(hours=1)
    with (
        theatre(tmp_path, postgresql=postgresql_server) as here,
        here.stage(Play(database="postgresql")) as stage,
    ):
        url = stage.settings["ledger"]["url"]
        process = stage.begin()

        def leases() -> list[Any]:
            return asked(url, "SELECT until FROM leases WHERE name = 'lane'")

        try:
            wait_until(lambda: asked(url, "SELECT to_regclass('leases')")[0][0] and leases())
            set_clock(url, replace(stage.clock, skew=hour))
            wait_until(lambda: leases()[0][0] > stage.clock.now() + hour)
        finally:
            process.kill()
            process.join()
