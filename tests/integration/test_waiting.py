"""What cannot be worked on now waits and is tried again; its timeline and the metrics say so, not the log alone."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.people import communication, stage
from tests.virtual.loop import run
from tests.virtual.site import ADAPTER_URL, Site, site

FILE = [{"contentAttachment": {"data": base64.b64encode(b"Seen for palpitations.").decode()}}]


async def _waits(clinic: Site) -> list[tuple[int, str | None]]:
    """Round and kind of error of each `waits` in what `show` shows; the sentence about it follows."""
    assert clinic.adapter is not None
    story = await clinic.adapter.insights.story("referral")
    assert story is not None
    waits = [
        (event.round, str(event.note).partition(": ")) for event in story.events if event.what == "waits"
    ]
    assert all(sentence for _, (_, _, sentence) in waits)
    return [(round_, kind) for round_, (kind, _, _) in waits]


async def _failing(clinic: Site) -> float:
    """What the metrics say of how many wait."""
    assert clinic.adapter is not None
    over = httpx.ASGITransport(clinic.adapter.app)
    async with httpx.AsyncClient(transport=over, base_url=ADAPTER_URL) as http:
        lines = (await http.get("/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("adapter_communications_failing"))


def _break_mapping(_: Site, directory: Path) -> None:
    (directory / "outbound").mkdir()
    (directory / "outbound" / "text.json.j2").write_text(
        '{"subject": {{ communication.nowhere }}, "body": ""}'
    )


def _mend_mapping(_: Site, directory: Path) -> None:
    (directory / "outbound" / "text.json.j2").unlink()


def _refuse_reads(clinic: Site, _: Path) -> None:
    clinic.fhir.add_fault("GET", "/Patient/maple", "403", times=1000)


def _allow_reads(clinic: Site, _: Path) -> None:
    clinic.fhir.clear_faults()


def _expire_places(clinic: Site, _: Path) -> None:
    clinic.metriport.add_fault("*", "", "url-expired", times=1000)


def _renew_places(clinic: Site, _: Path) -> None:
    clinic.metriport.clear_faults()


@pytest.mark.parametrize(
    ("breaks", "mends", "why"),
    [
        pytest.param(_break_mapping, _mend_mapping, "MappingError", id="a broken mapping"),
        pytest.param(_refuse_reads, _allow_reads, "Rejected", id="a refused read"),
        pytest.param(_expire_places, _renew_places, "Temporary", id="an upload place that refuses"),
    ],
)
def test_a_communication_that_waits_says_so_once_and_goes_when_it_can(
    breaks: Any, mends: Any, why: str, tmp_path: Path
) -> None:
    async def scenario() -> tuple[list[Any], float, list[Any], float, Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication(payload=FILE))
            breaks(clinic, tmp_path)
            await clinic.start(mappings=tmp_path, rhythm=clinic.slow())
            await clinic.passes(3600)
            during, failing = await _waits(clinic), await _failing(clinic)
            assert clinic.communication("referral")["status"] == "preparation"
            mends(clinic, tmp_path)
            await clinic.stop()
            await clinic.start(mappings=tmp_path)
            await clinic.passes(60)
            return during, failing, await _waits(clinic), await _failing(clinic), clinic

    during, failing, after, still_failing, clinic = run(scenario())

    assert (during, failing) == ([(1, why)], 1.0)
    assert (after, still_failing) == ([(1, why)], 0.0)
    assert clinic.communication("referral")["status"] == "completed"
    assert len(clinic.metriport.messages) == 1


def test_a_second_episode_and_another_reason_are_said_again() -> None:
    async def scenario() -> list[Any]:
        async with site(started=False, auto_complete_seconds=None) as clinic:
            stage(clinic)
            clinic.fhir.add_fault("GET", "/Patient/maple", "503", times=2)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(12)
            clinic.fhir.add_fault("GET", "/Patient/maple", "403", times=2)
            await clinic.passes(300)
            clinic.metriport.fail(clinic.metriport.messages[0].id, "no", clinic.clock.now())
            await clinic.passes(5)
            clinic.fhir.add_fault("GET", "/Patient/maple", "403", times=2)
            clinic.write({**clinic.communication("referral"), "status": "preparation"})
            await clinic.passes(120)
            return await _waits(clinic)

    assert run(scenario()) == [(1, "Temporary"), (1, "Rejected"), (2, "Rejected")]


def test_a_claim_that_the_server_refuses_waits_too() -> None:
    async def scenario() -> tuple[list[Any], float, str]:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            clinic.fhir.add_fault("PUT", "/Communication/", "422", times=5)
            await clinic.start()
            await clinic.passes(20)
            waits, failing = await _waits(clinic), await _failing(clinic)
            await clinic.passes(400)
            return waits, failing, clinic.communication("referral")["status"]

    assert run(scenario()) == ([(1, "Rejected")], 1.0, "completed")


@pytest.mark.parametrize("method", ["newest", "note"])
def test_a_ledger_that_cannot_take_the_line_keeps_nothing_from_going(method: str) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            clinic.fhir.add_fault("GET", "/Communication/referral", "503")
            clinic.ledger_fails(method, times=3)
            await clinic.start()
            await clinic.passes(200)
            return clinic

    assert run(scenario()).communication("referral")["status"] == "completed"
