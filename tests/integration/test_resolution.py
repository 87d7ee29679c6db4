"""Outcomes that were not learned: each ends sent, held or withdrawn, once by Metriport's own record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from adapter.domain.mark import marks_on
from adapter.pipelines.outbound.context import Policy
from tests.integration.people import communication, stage
from tests.virtual.loop import run
from tests.virtual.site import Site, site

SEND = ("POST", "/medical/v1/message")
LIST = ("GET", "/medical/v1/message")
HOUR = 3600.0

APPLIED = [
    "apply-then-drop",
    "apply-then-500",
    "apply-late:5",
    "apply-late:170",
    "malformed",
    "no-id",
    "slow:40",
]
NOT_APPLIED = ["500", "503", "drop", "redirect"]


def _sent(
    *faults: str,
    wishes: tuple[dict[str, Any], ...] = ({},),
    before: Callable[[Site], None] = lambda _: None,
    during: Callable[[Site], None] = lambda _: None,
    at: float = 60.0,
    seconds: float = 900.0,
    policy: Policy | None = None,
    **options: Any,
) -> Site:
    """The wishes, whose first sends meet the faults, some time later; `during` happens after `at` seconds."""

    async def scenario() -> Site:
        async with site(started=False, **options) as clinic:
            stage(clinic)
            for fault in faults:
                clinic.metriport.add_fault(*SEND, fault)
            before(clinic)
            for wish in wishes:
                clinic.write(communication(**wish))
            await clinic.start(policy=policy)
            await clinic.passes(at)
            during(clinic)
            await clinic.passes(seconds - at)
            return clinic

    return run(scenario())


def _end(clinic: Site, id: str = "referral") -> tuple[str, str | None]:
    ended = clinic.communication(id)
    coding = ended.get("statusReason", {}).get("coding", [{}])[0]
    return ended["status"], coding.get("code")


COMPLETED = ("completed", None)
HELD = ("on-hold", "held-outcome-ambiguous")


@pytest.mark.parametrize("dialect", ["sdk", "docs", "docs-bare"])
@pytest.mark.parametrize("fault", APPLIED)
def test_what_was_applied_is_found_on_the_list_and_not_sent_again(fault: str, dialect: str) -> None:
    clinic = _sent(fault, dialect=dialect)

    assert _end(clinic) == COMPLETED
    assert len(clinic.sends()) == len(clinic.metriport.messages) == 1
    assert clinic.communication("referral")["identifier"][0]["value"] == clinic.metriport.messages[0].id
    assert marks_on(clinic.communication("referral"))[0].attempt == 1


@pytest.mark.parametrize("dialect", ["sdk", "docs", "docs-bare"])
@pytest.mark.parametrize("fault", NOT_APPLIED)
def test_what_was_not_applied_is_sent_once_more_under_a_new_claim(fault: str, dialect: str) -> None:
    clinic = _sent(fault, dialect=dialect)

    versions = [one for one in clinic.fhir.history("Communication", "referral") if one]
    marks = {mark.token: mark for version in versions for mark in marks_on(version)}
    assert _end(clinic) == COMPLETED
    assert len(clinic.sends()) == 2
    assert len(clinic.metriport.messages) == 1
    assert [mark.attempt for mark in marks.values()] == [1, 2]
    assert len({mark.digest for mark in marks.values()}) == 1


@pytest.mark.parametrize("fault", APPLIED + NOT_APPLIED)
def test_nothing_is_decided_before_the_list_can_be_believed(fault: str) -> None:
    clinic = _sent(fault, seconds=180, auto_complete_seconds=None)

    assert len(clinic.sends()) == 1
    assert _end(clinic) == ("in-progress", "outcome-unknown")


@pytest.mark.parametrize(
    ("first", "second"), [("500", "apply-then-drop"), ("drop", "503"), ("500", "apply-then-500")]
)
def test_after_a_second_unknown_it_is_found_or_held_and_never_sent_a_third_time(
    first: str, second: str
) -> None:
    clinic = _sent(first, second)

    applied = len(clinic.metriport.messages)
    assert len(clinic.sends()) == 2
    assert applied == (0 if second == "503" else 1)
    assert _end(clinic) == (COMPLETED if applied else HELD)
