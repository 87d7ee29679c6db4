"""Stories in which one guard of the protocol is all that stands between an author and a wrong end."""

from __future__ import annotations

from typing import Final

from tests.simulation.story import Deed, Letter, Shock, Story

_ONE: Final = Letter(id="letter-0", text="one", at=0.0)
_SLOW: Final = Letter(id="letter-0", text="one", at=0.0, ends_after=400.0)


def _story(name: str, *letters: Letter, **parts: object) -> Story:
    return Story(name=name, seed=1, letters=letters, absence=5.0, **parts)  # type: ignore[arg-type]


NAMED: Final = {
    story.name: story
    for story in (
        _story(
            "ledger-lost-in-a-send",
            _ONE,
            post_fault="slow:15",
            shocks=(Shock(at=8.0, kind="ledger-deleted", seconds=0.0),),
        ),
        _story(
            "stale-copy-and-a-young-ledger",
            _SLOW,
            shocks=(Shock(at=30.0, kind="ledger-deleted", seconds=0.0),),
            deeds=(Deed(at=32.0, letter="letter-0", kind="blind-put", gap=0.0),),
        ),
        _story("edit-before-the-claim", _ONE, deeds=(Deed(at=1.0, letter="letter-0", kind="edit", gap=0.0),)),
        _story(
            "edit-in-a-send",
            _ONE,
            post_fault="slow:15",
            deeds=(Deed(at=8.0, letter="letter-0", kind="edit", gap=0.0),),
        ),
        _story("lagging-list", _ONE, list_lag=115.0, post_fault="apply-then-drop"),
    )
}
