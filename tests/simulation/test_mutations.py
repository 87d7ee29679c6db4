"""Each guard taken out once: the stories named beside it go wrong, and so does the random one of its seed."""

from __future__ import annotations

import pytest

from tests.simulation.history import play
from tests.simulation.mutations import MUTATIONS
from tests.simulation.named import NAMED
from tests.simulation.story import Story, drawn

_LONGEST_SECONDS = 6.0 * 3600


def _wrong(story: Story) -> list[str]:
    return play(story, longest_seconds=_LONGEST_SECONDS).judgement.wrong


@pytest.mark.parametrize(
    ("guard", "story"),
    [(guard, story) for guard, mutation in MUTATIONS.items() for story in mutation.stories],
)
def test_without_the_guard_the_story_ends_wrong(
    guard: str, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _wrong(NAMED[story]) == []

    MUTATIONS[guard].without(monkeypatch)

    assert _wrong(NAMED[story])


@pytest.mark.parametrize(
    "guard", [guard for guard, mutation in MUTATIONS.items() if mutation.seed is not None]
)
def test_without_the_guard_a_random_story_ends_wrong(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stories are drawn differently now, `python -m tests.simulation --without GUARD` finds another seed."""
    mutation = MUTATIONS[guard]
    assert _wrong(drawn(mutation.seed or 0)) == []

    mutation.without(monkeypatch)

    assert _wrong(drawn(mutation.seed or 0))
