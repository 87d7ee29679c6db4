"""Contract §1: the published limits, per account and minute."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.metriport.account import FACILITY, JANE, Account, account, person, refused

CALLS: list[tuple[str, str, dict[str, Any], int]] = [
    ("POST", f"message?patientId={JANE}", {"destination": "a@b.example", "subject": "s", "body": "b"}, 20),
    ("POST", f"patient?facilityId={FACILITY}", person(), 15),
    ("PUT", f"patient/{JANE}?facilityId={FACILITY}", person(), 15),
    ("POST", f"patient/{JANE}/consolidated/query", {}, 120),
    ("PUT", f"patient/{JANE}/consolidated", {"resourceType": "Bundle", "type": "collection", "entry": []}, 120),
    ("POST", f"network/query?patientId={JANE}", {"sources": ["hie"]}, 20),
    ("POST", f"network/query?patientId={JANE}", {"sources": ["lab"]}, 20),
    ("POST", f"network/query?patientId={JANE}", {"sources": ["pharmacy"]}, 20),
]  # fmt: skip
EACH = pytest.mark.parametrize(("method", "path", "body", "most"), CALLS)


@EACH
def test_one_more_than_the_limit_is_refused(method: str, path: str, body: Any, most: int) -> None:
    clinic = account(limits=True)

    answers = [clinic.ask(method, path, body) for _ in range(most + 1)]

    assert {one.status for one in answers[:-1]} <= {200, 201}
    refused(answers[-1], 429)
    assert not {name.lower() for name in answers[-1].headers} & {"retry-after", "x-ratelimit-remaining"}


def test_the_words_for_sends_and_that_nothing_was_sent() -> None:
    clinic = account(limits=True)
    for _ in range(20):
        clinic.sent()

    assert refused(clinic.send(), 429) == "Too many message sends, please try again later."
    assert len(clinic.world.messages) == 20


def test_the_minute_slides_to_the_second() -> None:
    clinic = account(limits=True)
    clinic.sent()
    clinic.passes(30)
    for _ in range(19):
        clinic.sent()

    clinic.passes(30)

    # The first send is exactly a minute old and counts no more; the others do.
    assert [clinic.send().status for _ in range(2)] == [200, 429]


def test_refused_calls_count_too() -> None:
    clinic = account(limits=True)
    for _ in range(20):
        clinic.sent()
    clinic.passes(59)
    assert [clinic.send().status for _ in range(20)] == [429] * 20

    clinic.passes(1)

    assert clinic.send().status == 429


def test_patient_creation_and_update_share_a_limit() -> None:
    clinic = account(limits=True)
    for _ in range(15):
        clinic.ask("POST", f"patient?facilityId={FACILITY}", person())

    refused(clinic.ask("PUT", f"patient/{JANE}?facilityId={FACILITY}", person()), 429)


def test_two_keys_share_the_limits_of_the_account() -> None:
    clinic = account(limits=True, api_key="one,two")

    def sends(key: str) -> list[int]:
        clinic.key = key
        return [clinic.send().status for _ in range(10)]

    assert set(sends("one") + sends("two")) == {200}
    assert set(sends("one")) == {429}


def reads(clinic: Account) -> set[int]:
    return {clinic.ask("GET", "message").status for _ in range(300)}


def test_reads_have_no_limit() -> None:
    assert reads(account(limits=True)) == {200}


def test_limits_can_be_switched_off() -> None:
    clinic = account(limits=False)

    assert {clinic.send().status for _ in range(50)} == {200}


@pytest.mark.parametrize("fault", ["drop", "500", "429", "redirect", "apply-late:30", "slow:1"])
def test_a_send_that_goes_wrong_has_arrived(fault: str) -> None:
    clinic = account(limits=True)
    clinic.world.add_fault("POST", "/medical/v1/message", fault, times=20)
    for _ in range(20):
        clinic.send()
    clinic.world.clear_faults()

    refused(clinic.send(), 429)


def test_what_is_done_late_counts_when_it_arrives_and_only_then() -> None:
    clinic = account(limits=True)
    clinic.world.add_fault("POST", "/medical/v1/message", "apply-late:61")
    clinic.send()
    clinic.passes(60)
    for _ in range(20):
        clinic.sent()

    clinic.passes(1)
    clinic.world.calls_due(clinic.now)

    assert len(clinic.world.messages) == 21
