"""The mark: one round's plan as an extension on the Communication."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.canonical import TRANSMISSION_EXTENSION
from adapter.domain.mark import KEPT_MARKS, End, Mark, Token, has_foreign_mark, marks_on, newest, with_mark
from tests.builders import communication, mark, token
from tests.unit.domain.json_values import any_json, any_object, any_text

MARKS = st.builds(
    Mark,
    round=st.integers(1, 2**31 - 1),
    token=any_text,
    attempt=st.integers(1, 2**31 - 1),
    destination=st.none() | any_text,
    attachments=st.lists(any_text, max_size=5).map(tuple),
    digest=st.none() | any_text,
    message=st.none() | any_text,
    end=st.none() | st.sampled_from(End),
)


def part(url: str, **value: Any) -> dict[str, Any]:
    return {"url": url, **value}


def extension(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"url": TRANSMISSION_EXTENSION, "extension": list(parts)}


@given(MARKS)
def test_a_mark_comes_back_from_its_extension_through_json(one: Mark) -> None:
    sent = json.loads(json.dumps(communication(extension=[one.extension()])))

    assert marks_on(sent) == [one]


def test_a_mark_stands_on_the_resource_as_documented() -> None:
    full = mark(
        round=2,
        attempt=3,
        destination="2.16.840",
        attachments=("d1", "d2"),
        digest="ab",
        token="a.b.c",
        message="m1",
        end=End.FAILED,
    )

    assert full.extension() == extension(
        part("round", valuePositiveInt=2),
        part("destination", valueString="2.16.840"),
        part("attachment", valueString="d1"),
        part("attachment", valueString="d2"),
        part("digest", valueString="ab"),
        part("token", valueString="a.b.c"),
        part("attempt", valuePositiveInt=3),
        part("message", valueString="m1"),
        part("end", valueCode="failed"),
    )


def test_a_round_without_a_plan_has_only_what_there_is() -> None:
    refused = Mark(round=1, token="a.b.c", end=End.REFUSED)

    assert refused.extension() == extension(
        part("round", valuePositiveInt=1),
        part("token", valueString="a.b.c"),
        part("attempt", valuePositiveInt=1),
        part("end", valueCode="refused"),
    )


def test_a_mark_without_attempt_is_of_the_first() -> None:
    read = marks_on(
        communication(
            extension=[extension(part("round", valuePositiveInt=1), part("token", valueString="t"))]
        )
    )

    assert read == [Mark(round=1, token="t", attempt=1)]


@given(st.lists(MARKS, max_size=8), MARKS)
def test_at_most_five_marks_stay_newest_first_one_a_round(earlier: list[Mark], one: Mark) -> None:
    resource = communication(extension=[kept.extension() for kept in earlier])

    written = marks_on(communication(extension=with_mark(resource, one)))

    expected = [one, *(kept for kept in earlier if kept.round != one.round)]
    assert len(written) == min(len(expected), KEPT_MARKS)
    assert [kept.progress for kept in written] == sorted((kept.progress for kept in expected), reverse=True)[
        :KEPT_MARKS
    ]
    assert [kept for kept in written if kept.round == one.round] in ([one], [])


@given(st.lists(any_json), MARKS)
def test_extensions_of_others_stay_in_their_order(others: list[Any], one: Mark) -> None:
    resource = communication(extension=[mark(round=1).extension(), *others])
    foreign = [
        entry for entry in others if not isinstance(entry, dict) or entry.get("url") != TRANSMISSION_EXTENSION
    ]

    assert with_mark(resource, one)[: len(foreign)] == foreign


@pytest.mark.parametrize("present", [None, {}, "x", []])
def test_a_mark_is_written_where_there_was_no_list(present: object) -> None:
    assert with_mark(communication(extension=present), mark()) == [mark().extension()]


def test_writing_a_mark_again_changes_nothing() -> None:
    once = with_mark(communication(), mark())

    assert with_mark(communication(extension=once), mark()) == once


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (mark(round=1, attempt=9, message="m", end=End.FAILED), mark(round=2)),
        (mark(attempt=1), mark(attempt=2)),
        (mark(attempt=2), mark(attempt=1, message="m")),
        (mark(), mark(message="m")),
        (mark(message="m"), mark(message="m", end=End.COMPLETED)),
        (mark(), mark(end=End.HELD)),
    ],
)
def test_the_newest_mark_is_the_one_that_knows_most(less: Mark, more: Mark) -> None:
    assert newest([less, more]) is more
    assert newest([more, less]) is more


def test_of_no_marks_none_is_newest() -> None:
    assert newest([]) is None


@given(any_text, any_text, any_text)
def test_a_token_fits_the_resource_that_it_was_made_for(life: str, nonce: str, resource_id: str) -> None:
    minted = Token.mint(life=life, nonce=nonce, resource_id=resource_id)

    assert minted.fits(resource_id)
    assert not minted.fits(f"{resource_id}x")
    assert Token.parse(str(minted)) == (minted if (life + nonce).count(".") == 0 else None)


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c.d", "...."])
def test_what_has_not_three_parts_is_no_token(text: str) -> None:
    assert Token.parse(text) is None
    assert not mark(token=text).fits("c1")


def test_a_mark_fits_its_own_resource_only() -> None:
    assert mark(token=token("c1")).fits("c1")
    assert not mark(token=token("c1")).fits("c2")


def test_marks_made_for_the_resource_are_not_foreign() -> None:
    earlier = mark(round=1, end=End.FAILED).extension()

    assert not has_foreign_mark(communication(extension=[earlier, mark(round=2).extension()]))
    assert not has_foreign_mark(communication())


def test_a_copy_carries_a_foreign_mark() -> None:
    copied = communication(id="c2", extension=[mark(token=token("c1")).extension()])

    assert has_foreign_mark(copied)


def test_one_foreign_mark_among_own_ones_is_found() -> None:
    both = [mark(round=2).extension(), mark(round=1, token=token("c9")).extension()]

    assert has_foreign_mark(communication(extension=both))


def test_a_mark_on_a_resource_without_id_is_foreign() -> None:
    assert has_foreign_mark(communication(id=None, extension=[mark().extension()]))
    assert has_foreign_mark(communication(id=None, extension=[mark(token=token("None")).extension()]))


ROUND = part("round", valuePositiveInt=1)
TOKEN = part("token", valueString=token("c1"))


@pytest.mark.parametrize(
    "unreadable",
    [
        extension(),
        extension(ROUND),
        extension(TOKEN),
        {"url": TRANSMISSION_EXTENSION},
        {"url": TRANSMISSION_EXTENSION, "valueString": "x"},
        extension(part("round", valuePositiveInt=0), TOKEN),
        extension(part("round", valuePositiveInt=-1), TOKEN),
        extension(part("round", valuePositiveInt=True), TOKEN),
        extension(part("round", valuePositiveInt="1"), TOKEN),
        extension(part("round", valuePositiveInt=2**31), TOKEN),
        extension(part("round"), TOKEN),
        extension(ROUND, part("token", valueInteger=5)),
        extension(ROUND, part("token")),
        extension(ROUND, TOKEN, part("attempt", valuePositiveInt=0)),
        extension(ROUND, TOKEN, part("end", valueCode="done")),
        extension(ROUND, TOKEN, part("end", valueCode={})),
        extension(ROUND, TOKEN, part("message", valueInteger=5)),
        extension(ROUND, TOKEN, part("destination", valueReference={"reference": "Endpoint/e1"})),
        extension(ROUND, TOKEN, part("digest", valueBoolean=True)),
        extension(ROUND, TOKEN, part("attachment")),
        extension(ROUND, TOKEN, part("attachment", valueString="d1"), part("attachment", valueInteger=2)),
    ],
)
def test_an_unreadable_mark_is_no_mark_and_counts_as_foreign(unreadable: dict[str, Any]) -> None:
    resource = communication(extension=[unreadable])

    assert marks_on(resource) == []
    assert has_foreign_mark(resource)


@given(any_object, any_json)
def test_readers_of_marks_take_any_json(resource: dict[str, Any], parts: Any) -> None:
    hostile = {**resource, "extension": [{"url": TRANSMISSION_EXTENSION, "extension": parts}]}

    for one in (resource, hostile):
        assert all(isinstance(found, Mark) for found in marks_on(one))
        assert has_foreign_mark(one) in {True, False}
    assert all(marks_on(hostile)) or has_foreign_mark(hostile)


@given(any_text)
def test_any_text_may_stand_where_the_token_should(text: str) -> None:
    resource = communication(extension=[extension(ROUND, part("token", valueString=f"{text}.b.c"))])

    assert has_foreign_mark(resource)
