"""Stories in which one guard of the protocol is all that stands between an author and a wrong end."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.simulation.operations import CLAIM, CONTENT, LISTING, POST
from tests.simulation.story import Arrival, Deed, Letter, Shock, Story

_ONE: Final = Letter(id="letter-0", text="one", at=0.0)
_SLOW: Final = Letter(id="letter-0", text="one", at=0.0, ends_after=400.0)
_OTHER: Final = Letter(id="letter-1", text="other", at=400.0, ends_after=400.0)
_SAME: Final = Letter(id="letter-1", text="one", at=0.0)
_TO_ANOTHER: Final = Letter(id="letter-1", text="one", at=0.0, to="kidney", ends_after=400.0)


def _story(name: str, *letters: Letter, **parts: object) -> Story:
    return Story(**{"name": name, "seed": 1, "letters": letters, "absence": 5.0, **parts})  # type: ignore[arg-type]


NAMED: Final = {
    story.name: story
    for story in (
        _story(
            "ledger-lost-in-a-send",
            _ONE,
            faults={POST: ("slow:15",)},
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
            faults={POST: ("slow:15",)},
            deeds=(Deed(at=8.0, letter="letter-0", kind="edit", gap=0.0),),
        ),
        _story("lagging-list", _SLOW, list_lag=115.0, faults={POST: ("apply-then-drop",)}),
        _story(
            "pause-before-the-first-byte", _ONE, replicas=2, faults={"ledger intend": ("pause-after:900",)}
        ),
        _story(
            "impatient-author", _SLOW, deeds=(Deed(at=30.0, letter="letter-0", kind="impatient", gap=0.0),)
        ),
        _story("completed-at-once", replace(_ONE, ends_after=0.0), slowness=0.2, seed=3),
        _story(
            "one-message-for-two",
            replace(_ONE, ends_after=0.0),
            _SAME,
            faults={POST: ("slow:40",)},
            shocks=(Shock(at=175.0, kind="ledger-rolled-back", seconds=5.0),),
            replicas=2,
            absence=20.0,
            track=3.0,
            seed=905,
        ),
        _story(
            "answers-out-of-turn",
            replace(_ONE, ends_after=400.0),
            _SAME,
            replace(_SAME, id="letter-2"),
            faults={POST: ("apply-then-drop", "slow:15", "apply-then-drop")},
            shocks=(Shock(at=13.9, kind="pause", seconds=300.0),),
            slowness=0.2,
            seed=6,
        ),
        _story(
            "claim-unrecorded-and-overwritten",
            _ONE,
            faults={CLAIM: ("kill:applied",)},
            deeds=(Deed(at=4.0, letter="letter-0", kind="blind-put", gap=0.0),),
        ),
        _story(
            "claim-unrecorded-and-withdrawn",
            _ONE,
            faults={CLAIM: ("kill:applied",)},
            deeds=(Deed(at=4.0, letter="letter-0", kind="withdraw", gap=0.0),),
        ),
        _story("same-words-to-two", _ONE, _TO_ANOTHER, faults={POST: ("drop", "apply-then-drop")}),
        _story(
            "list-without-what-is-known",
            _ONE,
            _OTHER,
            faults={POST: ("none", "apply-then-drop"), LISTING: ("list-empty",) * 10},
        ),
        _story(
            "list-without-what-is-shown",
            replace(_ONE, fails=(True,)),
            replace(_OTHER, at=200.0, ends_after=900.0),
            faults={POST: ("none", "apply-then-drop"), LISTING: ("list-empty",) * 10},
            shocks=(Shock(at=215.0, kind="ledger-deleted", seconds=0.0),),
        ),
        _story(
            "spoiled-until-the-link-is-dead",
            arrivals=(Arrival(at=1.0),),
            faults={CONTENT: ("malformed",) * 8, LISTING: ("500",) * 60},
        ),
    )
}
