"""The timeline: codes, ids and times in order."""

from __future__ import annotations

from adapter.domain.reasons import reason
from adapter.domain.transmission import State
from adapter.ledger.store import Store
from adapter.ports.ledger import Event
from tests.contract.ledger.ledgers import NOW, after, on_ledger, opened


@on_ledger
async def test_lines_of_changes_and_notes_come_in_order(ledger: Store) -> None:
    row = await opened(ledger)
    await ledger.note("c1", round=1, what="doorbell", now=after(-5), note="version 3")
    await ledger.change(
        row,
        State.REFUSED,
        now=after(2),
        event="refused",
        reason=reason("refused-no-subject"),
        note="not a line of the timeline",
    )

    assert await ledger.timeline("c1") == [
        Event(at=NOW, round=1, what="opened"),
        Event(at=after(-5), round=1, what="doorbell", note="version 3"),
        Event(at=after(2), round=1, what="refused", note="refused-no-subject"),
    ]


@on_ledger
async def test_a_communication_has_its_own_lines_only(ledger: Store) -> None:
    await ledger.note("c1", round=1, what="seen", now=NOW)

    assert await ledger.timeline("c2") == []
