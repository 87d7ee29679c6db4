"""A ledger that goes back to an older state, from a backup or a lagging standby: the Communications know better."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.domain.mark import End, marks_on
from adapter.ledger.store import Store
from tests.integration.people import communication, stage
from tests.virtual.loop import run
from tests.virtual.site import Site, site
from tests.virtual.sqlite import image_of, in_thread_engine


async def _backup(clinic: Site) -> bytes:
    assert clinic._ledger is not None
    return await image_of(clinic._ledger._database._writer)


async def _roll_back(clinic: Site, backup: bytes) -> None:
    await clinic.lose_ledger()
    clinic._ledger = Store(in_thread_engine(image=lambda: backup))


def _versions(clinic: Site) -> list[dict[str, Any]]:
    return [one for one in clinic.fhir.history("Communication", "referral") if one]


# Seconds after the start at which the backup is made: claimed, on its way, accepted and not yet written, accepted.
@pytest.mark.parametrize("moment", [2.6, 3.005, 3.025, 4.0])
def test_an_older_ledger_takes_no_end_back(moment: float) -> None:
    async def scenario() -> tuple[int, Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(moment)
            backup = await _backup(clinic)
            await clinic.passes(60)
            await clinic.stop()
            await _roll_back(clinic, backup)
            ended = len(_versions(clinic))
            await clinic.start()
            await clinic.passes(900)
            return ended, clinic

    ended, clinic = run(scenario())

    versions = _versions(clinic)
    assert len(clinic.sends()) == 1
    assert {one["status"] for one in versions[ended - 1 :]} == {"completed"}
    assert marks_on(versions[-1])[0].end is End.COMPLETED
