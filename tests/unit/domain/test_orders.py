"""An operator's orders are what the author would write, and nothing that the author could not."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.domain.canonical import DIRECTION_SYSTEM, REASON_SYSTEM
from adapter.domain.mark import End
from adapter.domain.marker import Marker, wants_resend
from adapter.domain.orders import cancelled, retried
from adapter.domain.rounds import Verdict, decide
from adapter.errors import Unresolved
from tests.builders import communication, concept, mark

MARKER = Marker()


@pytest.mark.parametrize(
    ("status", "end"), [("stopped", End.FAILED), ("not-done", End.REFUSED), ("on-hold", End.HELD)]
)
def test_what_ended_badly_is_wished_for_again(status: str, end: End) -> None:
    wish = retried(communication(status=status), MARKER, resend=False)

    assert decide(wish, mark(end=end)).verdict is Verdict.OPEN


def test_what_was_delivered_is_sent_again_only_when_that_is_said() -> None:
    delivered = communication(status="completed", category=[concept("urn:own", "referral")])

    with pytest.raises(Unresolved, match="--resend"):
        retried(delivered, MARKER, resend=False)
    wish = retried(delivered, MARKER, resend=True)

    assert wants_resend(wish)
    assert wish["category"][0] == concept("urn:own", "referral")
    assert decide(wish, mark(end=End.COMPLETED)).verdict is Verdict.OPEN


@pytest.mark.parametrize("status", ["preparation", "in-progress", "entered-in-error", None])
def test_what_is_under_way_or_taken_back_is_not_retried(status: str | None) -> None:
    with pytest.raises(Unresolved):
        retried(communication(status=status), MARKER, resend=True)


@pytest.mark.parametrize("status", ["preparation", "in-progress", "on-hold"])
def test_what_is_open_is_taken_back(status: str) -> None:
    assert cancelled(communication(status=status), MARKER)["status"] == "not-done"


@pytest.mark.parametrize("status", ["completed", "stopped", "not-done", "entered-in-error"])
def test_what_has_ended_cannot_be_taken_back(status: str) -> None:
    with pytest.raises(Unresolved, match="nothing to take back"):
        cancelled(communication(status=status), MARKER)


@pytest.mark.parametrize(
    "other",
    [{"medium": None}, {"category": [concept(DIRECTION_SYSTEM, "inbound")]}],
    ids=["unmarked", "inbound"],
)
def test_what_is_not_ours_to_send_is_left_alone(other: dict[str, Any]) -> None:
    with pytest.raises(Unresolved):
        retried(communication(status="stopped", **other), MARKER, resend=False)
    with pytest.raises(Unresolved):
        cancelled(communication(**other), MARKER)


def test_what_was_given_up_is_sent_again_only_when_that_is_said() -> None:
    unconfirmed = concept(REASON_SYSTEM, "delivery-unconfirmed")
    given_up = communication(status="stopped", statusReason=unconfirmed)

    with pytest.raises(Unresolved, match=r"may have been delivered.*--resend"):
        retried(given_up, MARKER, resend=False)
    wish = retried(given_up, MARKER, resend=True)

    assert decide(wish, mark(message="m1"), is_unconfirmed=True).verdict is Verdict.OPEN
