"""What became of sends whose outcome was not learned."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.message import Message, MessageState, Send, reference_of
from adapter.domain.resolution import Ambiguous, Doubt, Found, NotSent, resolve
from tests.builders import DESTINATION, DOCUMENT, METRIPORT_PATIENT, NOW, transmission

TEXTS = ("Within two weeks.", "Within three weeks.", "")


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def send(text: str = TEXTS[0], **body: Any) -> Send:
    said = {
        "destination": DESTINATION,
        "subject": "Follow-up",
        "body": text,
        "attachments": [DOCUMENT],
        **body,
    }
    return Send(patient=METRIPORT_PATIENT, body={name: value for name, value in said.items() if value})


def doubt(number: int = 1, text: str = TEXTS[0], *, since: datetime | None = NOW, **overrides: Any) -> Doubt:
    """The unknown outcome of one call; `call` is what is claimed, `send=None` that it cannot be made again."""
    call = overrides.pop("call", send(text))
    row = transmission(
        id=number, destination=call.destination, attachments=call.attachments, digest=call.digest
    )
    reference = reference_of("http://fhir.test", f"c{number}", round=1)
    return Doubt(
        **{"row": row, "patient": METRIPORT_PATIENT, "reference": reference, "send": call, "since": since}
        | overrides
    )


def listed(id: str = "m1", text: str = TEXTS[0], *, at: float = 1.0, **overrides: Any) -> Message:
    message = Message(
        id=id,
        state=MessageState.PROCESSING,
        patient=METRIPORT_PATIENT,
        destination=DESTINATION,
        subject="Follow-up",
        body=text,
        attachments=frozenset({DOCUMENT}),
        sent_at=after(at),
    )
    return replace(message, **overrides)


def test_what_is_listed_was_sent_and_what_is_not_was_not() -> None:
    doubts = [doubt(1), doubt(2, TEXTS[1])]

    assert resolve(doubts, [listed()]) == {1: Found(message="m1", sent_at=after(1)), 2: NotSent()}


@given(
    st.lists(st.tuples(st.sampled_from(TEXTS), st.integers(0, 600)), max_size=6),
    st.lists(st.tuples(st.sampled_from(TEXTS), st.integers(0, 600)), max_size=6),
    st.randoms(use_true_random=False),
)
def test_of_each_content_as_many_are_found_as_fit_the_oldest_first(
    claims: list[tuple[str, int]], sent: list[tuple[str, int]], numbers: Any
) -> None:
    """Whatever the order: each message goes to one row at most, and none to a row that began after it."""
    doubts = [doubt(n, text, since=after(10 * at)) for n, (text, at) in enumerate(claims)]
    messages = [listed(f"m{n}", text, at=10 * at) for n, (text, at) in enumerate(sent)]

    verdicts = resolve(doubts, messages)

    numbers.shuffle(doubts)
    numbers.shuffle(messages)
    assert resolve(doubts, messages) == verdicts
    assert set(verdicts) == {one.row.id for one in doubts}
    taken = [verdict.message for verdict in verdicts.values() if isinstance(verdict, Found)]
    assert len(set(taken)) == len(taken)
    by_id = {message.id: message for message in messages}
    for text in TEXTS:
        alike = [one for one in doubts if one.send and one.send.body.get("body", "") == text]
        fitting = [message for message in messages if any(one.is_told_by(message) for one in alike)]
        ends = [verdicts[one.row.id] for one in alike]
        if any(isinstance(end, Ambiguous) for end in ends):
            assert {end.candidates for end in ends if isinstance(end, Ambiguous)} == {
                tuple(sorted(message.id for message in fitting))
            }
            assert len(ends) == sum(isinstance(end, Ambiguous) for end in ends)
            continue
        assert sum(isinstance(end, Found) for end in ends) == len(fitting)
        for one, end in zip(alike, ends, strict=True):
            assert not isinstance(end, Found) or one.is_told_by(by_id[end.message])


def test_the_oldest_message_goes_to_the_oldest_claim() -> None:
    doubts = [doubt(2, since=after(60)), doubt(1, since=after(0)), doubt(3, since=after(120))]
    messages = [listed("late", at=130), listed("early", at=5)]

    assert resolve(doubts, messages) == {
        1: Found(message="early", sent_at=after(5)),
        2: Found(message="late", sent_at=after(130)),
        3: NotSent(),
    }


def test_a_message_that_was_heard_of_alone_goes_to_the_youngest_claim_before_it() -> None:
    doubts = [doubt(1, since=after(0)), doubt(2, since=after(300)), doubt(3, since=after(900))]

    verdicts = resolve(doubts, [listed(at=301)], is_whole=False)

    assert [n for n, verdict in verdicts.items() if isinstance(verdict, Found)] == [2]


def test_more_than_there_are_claims_is_nothing_to_go_by() -> None:
    verdicts = resolve([doubt(1)], [listed("b"), listed("a")])

    assert verdicts[1] == Ambiguous(
        why="messages on Metriport's list may be it, and it is not certain which", candidates=("a", "b")
    )


def test_the_digest_tells_without_the_text() -> None:
    assert resolve([doubt(send=None)], [listed()]) == {1: Found(message="m1", sent_at=after(1))}
    assert resolve([doubt(call=send(""), send=None)], [listed(text="")]) == {
        1: Found(message="m1", sent_at=after(1))
    }


@pytest.mark.parametrize(
    "other",
    [
        {"attachments": frozenset()},
        {"patient": "0195f2a0-7c1e-7a52-9d3b-5f60c2b1a002"},
        {"destination": "other@direct.lakeside.example"},
        {"sent_at": after(-600)},
    ],
)
def test_without_the_text_the_rest_still_speaks_against_a_message(other: dict[str, Any]) -> None:
    assert resolve([doubt(send=None)], [listed(**other)]) == {1: NotSent()}


@pytest.mark.parametrize("other", [{"body": "Other words."}, {"npis": ("1234567893",)}, {"subject": "Other"}])
def test_without_the_text_what_does_not_speak_against_it_is_a_candidate(other: dict[str, Any]) -> None:
    verdict = resolve([doubt(send=None)], [listed(**other)])[1]

    assert isinstance(verdict, Ambiguous)
    assert verdict.candidates == ("m1",)


def test_a_message_that_may_be_either_of_two_decides_neither() -> None:
    """A list that does not show for whom it is meant."""
    doubts = [
        doubt(n, call=send(intendedRecipientNpi=[npi])) for n, npi in enumerate(("1234567893", "1245319599"))
    ]

    hidden, shown = resolve(doubts, [listed()]), resolve(doubts, [listed(npis=("1245319599",))])

    assert all(isinstance(verdict, Ambiguous) for verdict in hidden.values())
    assert shown == {0: NotSent(), 1: Found(message="m1", sent_at=after(1))}


def test_the_digest_decides_between_two_of_which_one_has_lost_its_text() -> None:
    doubts = [doubt(1), doubt(2, TEXTS[1], send=None)]

    assert resolve(doubts, [listed()]) == {1: Found(message="m1", sent_at=after(1)), 2: NotSent()}


def test_where_nobody_remembers_since_when_a_message_may_be_an_older_one() -> None:
    verdict = resolve([doubt(since=None)], [listed()])[1]

    assert isinstance(verdict, Ambiguous)
    assert resolve([doubt(since=None)], [listed(text="Other words.")]) == {1: NotSent()}


@pytest.mark.parametrize("known", [{}, {"send": None}, {"since": None}, {"send": None, "since": None}])
def test_a_reference_names_its_round_whatever_else_is_known(known: dict[str, Any]) -> None:
    one, other = doubt(1, **known), doubt(2)
    message = listed(text=f"Rewritten by Metriport. {one.reference}", at=-500)

    assert resolve([one, other], [message]) == {1: Found(message="m1", sent_at=message.sent_at), 2: NotSent()}


def test_references_differ_by_place_communication_and_round_only() -> None:
    one = reference_of("http://fhir.test", "c1", round=1)

    assert one == reference_of("http://fhir.test", "c1", round=1)
    others = {
        reference_of("http://other.test", "c1", round=1),
        reference_of("http://fhir.test", "c2", round=1),
        reference_of("http://fhir.test", "c1", round=2),
    }
    assert one not in others
    assert len(others) == 3
