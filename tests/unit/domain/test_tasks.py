"""Tasks: the same question is asked once."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.canonical import CANONICAL, NAMESPACE
from adapter.domain.reasons import CODES, TaskCode, reason
from adapter.domain.tasks import task, task_id
from tests.builders import NOW

QUESTIONS = st.tuples(
    st.from_regex(r"[A-Za-z0-9\-.]{1,64}", fullmatch=True), st.integers(1, 99), st.sampled_from(sorted(CODES))
)


def test_ids_are_the_same_for_ever() -> None:
    assert uuid.uuid5(uuid.NAMESPACE_URL, CANONICAL) == NAMESPACE
    assert task_id("c1", round=1, code="held-restricted") == str(
        uuid.uuid5(NAMESPACE, "task/c1/1/held-restricted")
    )


@given(QUESTIONS, QUESTIONS)
def test_the_same_question_has_the_same_id_and_another_question_another(
    one: tuple[str, int, str], other: tuple[str, int, str]
) -> None:
    first, second = (
        task_id(communication, round=round, code=code) for communication, round, code in (one, other)
    )

    assert (first == second) is (one == other)


def test_a_task_asks_about_the_communication() -> None:
    why = reason("held-destination-unknown", why="nobody was found")

    made = task("c1", round=2, reason=why, code=TaskCode.CHOOSE_DESTINATION, now=NOW)

    assert made == {
        "resourceType": "Task",
        "id": task_id("c1", round=2, code="held-destination-unknown"),
        "status": "requested",
        "intent": "order",
        "code": {"coding": [{"system": f"{CANONICAL}/CodeSystem/task", "code": "choose-destination"}]},
        "businessStatus": {"coding": [{"system": f"{CANONICAL}/CodeSystem/task-state", "code": "open"}]},
        "focus": {"reference": "Communication/c1"},
        "authoredOn": "2026-03-01T12:00:00.000Z",
        "reasonCode": {
            "coding": [
                {"system": f"{CANONICAL}/CodeSystem/delivery-reason", "code": "held-destination-unknown"}
            ]
        },
        "description": why.sentence,
    }
