"""The closed list of reason codes and their sentences."""

from __future__ import annotations

import string
from typing import Final

import pytest

from adapter.domain.canonical import REASON_SYSTEM
from adapter.domain.reasons import CODES, Reason, TaskCode, reason, sentence_of, task_for

# The list as the design has it: a new code is a change of the public interface.
REFUSED: Final = [
    "no-subject",
    "group-subject",
    "no-subject-line",
    "subject-too-long",
    "no-content",
    "body-too-long",
    "too-many-attachments",
    "attachment-too-large",
    "attachment-unreadable",
    "attachment-origin",
    "attachment-other-patient",
    "attachment-not-current",
    "destination-invalid",
    "recipient-type",
    "no-recipient",
    "several-destinations",
    "too-many-npi",
    "inbound",
    "modifier-extension",
    "by-metriport",
]
HELD: Final = [
    "patient-unknown",
    "patient-ambiguous",
    "patient-incomplete",
    "patient-gone",
    "patient-opted-out",
    "destination-unknown",
    "destination-ambiguous",
    "document-preliminary",
    "restricted",
    "outcome-ambiguous",
]
OTHERS: Final = {"delivery-failed", "delivery-unconfirmed", "outcome-unknown", "waiting-for-metriport"}


def facts_of(code: str) -> dict[str, str]:
    """A fact for each place in the sentence."""
    places = {name for _, name, _, _ in string.Formatter().parse(sentence_of(code)) if name}
    return {place: f"<{place}>" for place in places}


def test_the_list_is_closed() -> None:
    assert {*(f"refused-{code}" for code in REFUSED), *(f"held-{code}" for code in HELD), *OTHERS} == CODES


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_sentence_renders_with_its_facts(code: str) -> None:
    facts = facts_of(code)

    made = reason(code, **facts)

    assert made.code == code
    assert made.sentence[0].isupper() or made.sentence.startswith("<where>")
    assert made.sentence.endswith(".")
    assert not set(made.sentence) & set("{}")
    assert all(fact in made.sentence for fact in facts.values())


@pytest.mark.parametrize("code", sorted(code for code in CODES if facts_of(code)))
def test_a_missing_fact_is_a_bug_that_is_seen(code: str) -> None:
    with pytest.raises(KeyError):
        reason(code)


def test_an_unknown_code_is_a_bug_that_is_seen() -> None:
    with pytest.raises(KeyError):
        reason("refused-for-fun")


def test_braces_in_a_fact_stay_as_they_are() -> None:
    assert "{why} {0}" in reason("delivery-failed", detail="{why} {0}").sentence


def test_a_reason_stands_on_the_communication_as_code_and_sentence() -> None:
    made = Reason(code="held-restricted", sentence="Because.")

    assert made.concept() == {
        "coding": [{"system": REASON_SYSTEM, "code": "held-restricted"}],
        "text": "Because.",
    }


def test_the_sentence_stays_out_of_the_repr() -> None:
    assert "Quillfeather" not in repr(reason("delivery-failed", detail="Quillfeather moved"))


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_person_is_asked_whenever_something_is_held_and_for_no_refusal(code: str) -> None:
    asked = code.startswith("held-") or code == "delivery-unconfirmed"

    assert (task_for(code) is not None) is asked


@pytest.mark.parametrize(
    ("code", "task"),
    [
        ("held-patient-ambiguous", TaskCode.MATCH_PATIENT),
        ("held-patient-unknown", TaskCode.FIX_DATA),
        ("held-destination-ambiguous", TaskCode.CHOOSE_DESTINATION),
        ("held-outcome-ambiguous", TaskCode.CONFIRM_OUTCOME),
    ],
)
def test_the_task_fits_the_reason(code: str, task: TaskCode) -> None:
    assert task_for(code) is task
