"""Whose a received message is, on a real HAPI server: by its ids, or by what a person answers in the Task."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, Final

import pytest

from adapter.mapping import resources
from tests.e2e.clinic import Clinic, assert_whole, attached, clinic, until

Json = dict[str, Any]

OWN: Final = "urn:example:account"
PARTS: Final = [
    ("application/pdf", b"%PDF-1.4 \x00\x01\n"),
    ("text/plain", b"plain words\n"),
    ("image/png", b""),
]
SENDER: Final = "intake@direct.lakeside.example"


@pytest.fixture(scope="module", params=["defaults", "lax"])
def here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """A clinic where own ids are identifiers of `OWN`, and where a practitioner and another Patient are known."""
    base_url = request.getfixturevalue(f"hapi_{request.param}")
    with clinic(base_url, tmp_path_factory.mktemp("clinic"), external_id_system=OWN) as made:
        made.ehr.save({"resourceType": "Patient", "id": f"{made.known}-other"})
        made.ehr.save({"resourceType": "Practitioner", "id": f"{made.known}-doctor"})
        yield made


def _unmatched(here: Clinic, **stated: Any) -> str:
    """A message for nobody, which is there."""
    message = here.receive(
        **{
            "subject": "Holter result",
            "body": "Please see the tracing.",
            "from": SENDER,
            "attachments": [attached(data, kind) for kind, data in PARTS],
            **stated,
        }
    )
    here.wait_for(message)
    return message


def _state(task: Json) -> tuple[str, str]:
    return task["status"], task["businessStatus"]["coding"][0]["code"]


def _versions(here: Clinic, message: str) -> list[str]:
    return [one["meta"]["versionId"] for one in here.parts(message)]


@pytest.mark.parametrize("content", ["bundle", "communication"])
def test_an_answer_moves_the_whole_message_in_one_transaction(here: Clinic, content: str) -> None:
    message = _unmatched(here, content=content)
    assert_whole(here, message, PARTS, owner=None)
    assert _state(here.task(message)) == ("requested", "open")

    here.answer(message, {"valueReference": here.patient})
    until(lambda: "subject" in here.wait_for(message))

    task = here.task(message)
    assert_whole(here, message, PARTS, owner=here.patient["reference"])
    assert list(resources.problems(task)) == []
    assert _state(task) == ("completed", "applied")
    assert _versions(here, message) == ["2"] * 7
    # HAPI stamps what one transaction wrote with the moment at which that began.
    assert len({one["meta"]["lastUpdated"] for one in [*here.parts(message), task]}) == 1


@pytest.mark.parametrize("status", ["rejected", "cancelled"])
def test_a_rejected_message_stays_unassigned(here: Clinic, status: str) -> None:
    message = _unmatched(here)

    here.answer(message, status=status)

    assert _state(here.wait_until_applied(message)) == (status, "applied")
    assert _versions(here, message) == ["1"] * 7
    assert_whole(here, message, PARTS, owner=None)


def test_a_wrong_choice_is_said_in_the_task_and_moves_nothing(
    here: Clinic, request: pytest.FixtureRequest
) -> None:
    other, doctor = (
        {"reference": f"Patient/{here.known}-other"},
        {"reference": f"Practitioner/{here.known}-doctor"},
    )
    wrong: list[list[Json]] = [
        [],
        [{"valueString": "the tall one"}],
        [{"valueReference": {"identifier": {"system": OWN, "value": "nobody"}}}],
        [{"valueReference": doctor}],
        [{"valueReference": here.patient}, {"valueReference": other}],
    ]
    if request.node.callspec.params["here"] == "lax":  # the other does not take such a Task
        wrong.append([{"valueReference": {"reference": "Patient/nobody"}}])
    messages = [_unmatched(here, attachments=[]) for _ in wrong[1:]] + [_unmatched(here)]
    for message, choices in zip(messages, wrong, strict=True):
        here.answer(message, *choices)
    until(lambda: {here.task(message)["status"] for message in messages} == {"requested"})
    for message in messages:
        assert "exactly one" in here.task(message)["statusReason"]["text"]
        assert {*_versions(here, message)} == {"1"}
        here.answer(message, {"valueReference": here.patient})
    for message in messages:
        assert "statusReason" not in here.wait_until_applied(message)
        assert here.wait_for(message)["subject"] == here.patient
    assert_whole(here, messages[-1], PARTS, owner=here.patient["reference"])


def test_edits_and_the_match_stay_however_often_the_message_is_told_of(here: Clinic) -> None:
    note = {"note": [{"text": "Called the family."}], "topic": {"text": "Holter result, seen"}}
    message = _unmatched(here)
    call = here.newest_call()
    here.ehr.save({**here.wait_for(message), **note})
    here.answer(message, {"valueReference": here.patient})
    here.wait_until_applied(message)
    here.ehr.save({**here.wait_for(message), "status": "entered-in-error"})
    before = [*here.parts(message), here.task(message)]

    kept, _ = here.calls()
    for _ in range(3):
        here.call_again(call)
    until(lambda: here.calls() == (kept + 3, kept + 3))

    found = here.wait_for(message)
    assert (found["note"], found["topic"]) == (note["note"], note["topic"])
    assert (found["status"], found["subject"]) == ("entered-in-error", here.patient)
    assert [*here.parts(message), here.task(message)] == before


def test_a_reply_that_copies_the_sender_goes_to_whom_it_came_from(here: Clinic) -> None:
    received = here.wait_for(_unmatched(here, patientId=here.linked))
    reply = f"{here.known}-{secrets.token_hex(2)}"
    here.ehr.save(
        {
            "resourceType": "Communication",
            "id": reply,
            "status": "preparation",
            "medium": received["medium"],
            "inResponseTo": [{"reference": f"Communication/{received['id']}"}],
            "subject": received["subject"],
            "recipient": [received["sender"]],
            "topic": {"text": f"Re: {received['topic']['text']}"},
            "payload": [{"contentString": "Thank you."}],
        }
    )

    until(lambda: here.ehr.read(f"Communication/{reply}")["status"] == "completed")

    [sent] = [one for one in here.world.messages if one.direction == "outbound"]
    assert (sent.destination, sent.patient_id) == (SENDER, here.linked)


def test_own_ids_are_taken_literally(here: Clinic) -> None:
    name = f"a{secrets.token_hex(3)}"  # a letter in any case: one value differs by nothing else
    values = {
        f"{here.known}-{number}": f"{name}{value}"
        for number, value in enumerate(("7", "7,8", "7|8", "7$8", "7\\8", "Ä 7"))
    }
    for id, value in values.items():
        here.ehr.save({"resourceType": "Patient", "id": id, "identifier": [{"system": OWN, "value": value}]})
    almost = [
        f"x,{name}7",
        f"{name}7,",
        f"x|{name}7",
        f"x${name}7",
        f"{name}7\\",
        f"{name}7 ",
        f" {name}7",
        f"{name}7*",
        f"{name.upper()}7",
        f"{name}ä 7",
        f"{name}7" * 100,
    ]

    told = {value: here.receive(subject="Result", externalId=value) for value in [*values.values(), *almost]}

    found = {
        value: here.wait_for(message).get("subject", {}).get("reference") for value, message in told.items()
    }
    assert found == {**{value: f"Patient/{id}" for id, value in values.items()}, **dict.fromkeys(almost)}


def test_all_patients_with_the_messages_id_are_offered(here: Clinic) -> None:
    value = f"{here.known},|$"
    twins = [f"{here.known}-twin-{number}" for number in (1, 2)]
    for id in twins:
        here.ehr.save({"resourceType": "Patient", "id": id, "identifier": [{"system": OWN, "value": value}]})

    message = _unmatched(here, externalId=value, attachments=[])

    task = here.task(message)
    assert list(resources.problems(task)) == []
    assert [one["valueReference"]["reference"] for one in task["input"]] == [f"Patient/{id}" for id in twins]
    assert {mark["valueCode"] for one in task["input"] for mark in one["extension"][0]["extension"]} == {
        "identifier",
        "agrees",
    }
