"""One beginning and one end, however many calls fail in between."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.episode import QUIET_SECONDS, Episode, Episodes, heard_by
from adapter.errors import AdapterError, ConfigError, Conflict, Rejected, Temporary


@dataclass
class _Watched:
    """An episode, what it said, and its clock."""

    now: float = 100.0
    said: list[tuple[bool, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.episode = Episode(name="fhir", boot=lambda: self.now, say=self._say)

    def _say(self, episode: Episode) -> None:
        self.said.append((episode.is_open, self.now))

    def hears(self, *calls: str | None, every: float = 1.0) -> None:
        for call in calls:
            self.episode.hear(call)
            self.now += every


def test_one_call_that_fails_among_others_is_no_episode() -> None:
    watched = _Watched()

    watched.hears(None, "away", None, "away", None, "away")

    assert watched.said == []
    assert watched.episode.sentence == "well"


def test_it_begins_with_the_second_failure_in_a_row_and_counts_from_the_first() -> None:
    watched = _Watched()

    watched.hears("away", "away", "still away", every=5.0)

    assert watched.said == [(True, 105.0)]
    assert watched.episode.sentence == "trouble for 15 s: still away"


def test_it_ends_when_nothing_failed_for_a_while_though_nobody_asks() -> None:
    watched = _Watched()

    watched.hears("away", "away", None)
    watched.now += QUIET_SECONDS
    watched.episode.settle()

    assert [is_open for is_open, _ in watched.said] == [True, False]
    assert watched.episode.seconds == 2.0


def test_silence_alone_is_no_end() -> None:
    watched = _Watched()

    watched.hears("away", "away")
    watched.now += 10 * QUIET_SECONDS
    watched.episode.settle()

    assert [is_open for is_open, _ in watched.said] == [True]


def test_an_answer_between_failures_is_no_end() -> None:
    watched = _Watched()

    watched.hears(*("away", "away", None) * 50, every=10.0)

    assert [is_open for is_open, _ in watched.said] == [True]


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 100.0)), max_size=60))
def test_beginnings_and_ends_take_turns_and_are_apart(calls: list[tuple[bool, float]]) -> None:
    watched = _Watched()

    for fails, pause in calls:
        watched.hears("away" if fails else None, every=pause)

    assert [is_open for is_open, _ in watched.said] == [turn % 2 == 0 for turn in range(len(watched.said))]
    ends = [at for is_open, at in watched.said if not is_open]
    begins = [at for is_open, at in watched.said if is_open]
    assert all(end - begin >= QUIET_SECONDS for begin, end in zip(begins, ends, strict=False))


@pytest.mark.parametrize(
    ("error", "heard"),
    [
        (Temporary("away"), ["away"]),
        (Conflict("changed"), [None]),
        (Rejected("no", status=422), [None]),
        (ConfigError("replaced"), []),
    ],
)
def test_a_refusal_is_an_answer(error: AdapterError, heard: list[str | None]) -> None:
    told: list[str | None] = []

    with pytest.raises(type(error)), heard_by(told.append):
        raise error

    assert told == heard


def test_a_doorbell_is_given_no_second_chance() -> None:
    said: list[str] = []
    episodes = Episodes.watched(boot=lambda: 1.0, say=lambda episode: said.append(episode.name))

    for episode in episodes.each():
        episode.hear("once")

    assert said == ["doorbell"]
