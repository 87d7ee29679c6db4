"""When a round may open: the table of the design's "status found when the adapter looks" and of protocol §3."""

from __future__ import annotations

from itertools import product
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.canonical import INSTRUCTION_SYSTEM, REASON_SYSTEM
from adapter.domain.mark import End, Mark
from adapter.domain.rounds import STATUS_OF_END, Decision, Verdict, decide, is_our_status
from tests.builders import communication, concept, mark
from tests.unit.domain.json_values import any_object

# https://hl7.org/fhir/R4/valueset-event-status.html
STATUSES: Final = (
    "preparation",
    "in-progress",
    "not-done",
    "on-hold",
    "stopped",
    "completed",
    "entered-in-error",
    "unknown",
)
RESEND: Final = [concept(INSTRUCTION_SYSTEM, "resend")]
UNCONFIRMED: Final = concept(REASON_SYSTEM, "delivery-unconfirmed")
IN_FLIGHT: Final = (mark(round=3), mark(round=3, message="m1"))
ENDED: Final = tuple(mark(round=3, end=end) for end in End)


def test_the_first_wish_opens_round_one() -> None:
    assert decide(communication(), None) == Decision(verdict=Verdict.OPEN, round=1)


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "preparation"])
@pytest.mark.parametrize("category", [None, RESEND])
def test_without_a_mark_only_preparation_is_a_wish(status: str, category: object) -> None:
    assert decide(communication(status=status, category=category), None) == Decision(verdict=Verdict.NOTHING)


@pytest.mark.parametrize("known", IN_FLIGHT)
@pytest.mark.parametrize("category", [None, RESEND])
def test_preparation_while_the_round_has_not_ended_is_no_wish(known: Mark, category: object) -> None:
    assert decide(communication(category=category), known) == Decision(verdict=Verdict.PUT_BACK, round=3)


@pytest.mark.parametrize("end", [End.REFUSED, End.HELD, End.WITHDRAWN, End.FAILED])
@pytest.mark.parametrize("category", [None, RESEND])
def test_preparation_after_an_end_without_delivery_opens_the_next_round(end: End, category: object) -> None:
    found = decide(communication(category=category), mark(round=3, end=end))

    assert found == Decision(verdict=Verdict.OPEN, round=4)


def test_preparation_after_completed_is_put_back() -> None:
    found = decide(communication(), mark(round=3, message="m1", end=End.COMPLETED))

    assert found == Decision(verdict=Verdict.PUT_BACK, round=3)


def test_after_completed_the_resend_instruction_opens_the_next_round() -> None:
    found = decide(communication(category=RESEND), mark(round=3, message="m1", end=End.COMPLETED))

    assert found == Decision(verdict=Verdict.OPEN, round=4)


@pytest.mark.parametrize("known", [*IN_FLIGHT, *ENDED])
@pytest.mark.parametrize("status", [status for status in STATUSES if status != "preparation"])
@pytest.mark.parametrize("category", [None, RESEND])
def test_any_other_status_is_ours_or_the_authors(known: Mark, status: str, category: object) -> None:
    ours = {
        None: {"in-progress"},
        End.COMPLETED: {"in-progress", "completed"},
        End.FAILED: {"in-progress", "stopped"},
        End.REFUSED: {"in-progress", "not-done"},
        End.HELD: {"in-progress", "on-hold"},
        End.WITHDRAWN: {"in-progress"},
    }

    found = decide(communication(status=status, category=category), known)

    expected = Verdict.OURS if status in ours[known.end] else Verdict.AUTHORS
    assert found == Decision(verdict=expected, round=3)


@pytest.mark.parametrize("known", IN_FLIGHT)
def test_stopped_for_want_of_an_acknowledgement_is_ours(known: Mark) -> None:
    found = decide(communication(status="stopped", statusReason=UNCONFIRMED), known)

    assert found.verdict is Verdict.OURS


@pytest.mark.parametrize("status", ["entered-in-error", "not-done", "on-hold", "completed", "unknown"])
def test_our_reason_beside_another_status_does_not_make_it_ours(status: str) -> None:
    found = decide(communication(status=status, statusReason=UNCONFIRMED), mark())

    assert found.verdict is Verdict.AUTHORS


@pytest.mark.parametrize(
    "status_reason",
    [
        None,
        concept(REASON_SYSTEM, "delivery-failed"),
        concept("urn:site", "delivery-unconfirmed"),
        [UNCONFIRMED],
        {"text": "delivery-unconfirmed"},
    ],
)
def test_stopped_for_another_reason_is_the_authors(status_reason: object) -> None:
    found = decide(communication(status="stopped", statusReason=status_reason), mark())

    assert found.verdict is Verdict.AUTHORS


def test_what_we_write_for_an_end_is_ours() -> None:
    for end, status in STATUS_OF_END.items():
        if status is not None:
            assert is_our_status(communication(status=status), mark(end=end))


def test_a_round_opens_in_no_other_case() -> None:
    opened = {
        (known.end if known else "none", bool(category))
        for status, known, category in product(STATUSES, [None, *IN_FLIGHT, *ENDED], [None, RESEND])
        if decide(communication(status=status, category=category), known).verdict is Verdict.OPEN
    }

    assert opened == {
        ("none", False),
        ("none", True),
        *product([End.REFUSED, End.HELD, End.WITHDRAWN, End.FAILED], [False, True]),
        (End.COMPLETED, True),
    }


@given(any_object, st.sampled_from([None, *IN_FLIGHT, *ENDED]))
def test_deciding_takes_any_json(resource: dict[str, Any], known: Mark | None) -> None:
    found = decide(resource, known)

    if resource.get("status") != "preparation":
        assert found.verdict is not Verdict.OPEN


@pytest.mark.parametrize(("category", "verdict"), [(None, Verdict.PUT_BACK), (RESEND, Verdict.OPEN)])
def test_what_was_never_acknowledged_is_wished_for_again_with_the_instruction(
    category: object, verdict: Verdict
) -> None:
    found = decide(communication(category=category), mark(round=3, message="m1"), is_unconfirmed=True)

    assert found == Decision(verdict=verdict, round=4 if verdict is Verdict.OPEN else 3)
