"""One look at a Communication: what does its author want, and what do we already know about it (protocol §3)?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog

from adapter.domain.attachment import has_attachments
from adapter.domain.mark import Mark, has_foreign_mark, marks_on, newest
from adapter.domain.marker import is_shown
from adapter.domain.ranking import Rank, priority_of
from adapter.domain.resource import Resource, instant, obj, version_of
from adapter.domain.rounds import IN_PROGRESS, PREPARATION, Verdict, decide, is_unconfirmed
from adapter.domain.transmission import State, Transmission
from adapter.domain.writeback import OVERWRITTEN, authors_own, instant_text, needs_write
from adapter.pipelines.each import each, over
from adapter.pipelines.outbound.ask import say_withdrawn_late
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.unknown import unknown
from adapter.pipelines.outbound.writeback import is_left, write_back
from adapter.ports.fhir import History

_log = structlog.get_logger(__name__)

_FIRST_VERSION = "1"
_COPIED = "copied-mark"
_AUTHORS = ("entered-in-error", "not-done", "stopped", "on-hold", "unknown")
_MINDED = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A Communication that a search or a doorbell showed. It may be stale; it carries no authority.

    It `is_heavy` when something is attached: to read and upload that can take minutes.
    """

    id: str
    rank: Rank
    is_heavy: bool = False


@dataclass(frozen=True, kw_only=True)
class Wish:
    """An open round: the Communication as read, and its row in `ready`.

    It `may_have_gone` when nobody can tell: a mark may have been overwritten that the history does not keep, and the
    ledger, which may be young or have gone back to an older state, does not know.
    """

    communication: Resource = field(repr=False)
    row: Transmission
    may_have_gone: bool = False

    @property
    def version(self) -> str:
        """The version that was read."""
        return version_of(self.communication) or ""


def sighting_of(communication: Resource, context: Context) -> Sighting:
    """The sighting of a search result; its age is that of the version that was found."""
    since = instant(obj(communication.get("meta")).get("lastUpdated")) or context.clock.now()
    return Sighting(
        id=str(communication.get("id")),
        rank=Rank(priority=priority_of(communication), since=since),
        is_heavy=has_attachments(communication),
    )


async def sweep(context: Context) -> AsyncIterator[Sighting]:
    """The queue itself: what is marked and in `preparation`. It empties itself, so there is no watermark."""
    parameters = [
        *context.policy.marker.search(PREPARATION),
        *context.policy.extra_search,
        ("_sort", "_lastUpdated"),
    ]
    async for communication in context.fhir.search("Communication", parameters):
        yield sighting_of(communication, context)


async def patrol(context: Context, *, in_flight: Callable[[], Container[str]]) -> int:
    """The slow sweep over `in-progress`: rounds that the ledger does not know are rebuilt from their marks.

    `in_flight` gives the Communications that this process is working on. Gives how many were rebuilt.
    """
    parameters = [*context.policy.marker.search(IN_PROGRESS), *context.policy.extra_search]

    async def compare(communication: Resource) -> bool:
        mark = newest(marks_on(communication))
        if mark is None or is_shown(communication) or has_foreign_mark(communication):
            return False
        if str(communication["id"]) in in_flight():
            return False
        return await _compare(context, sighting_of(communication, context), mark)

    found = context.fhir.search("Communication", parameters)
    return await each(found, compare, doing="patrol", all_of_them=True)


async def _compare(context: Context, sighting: Sighting, mark: Mark) -> bool:
    rows = await context.ledger.all_of(sighting.id)
    row = await _row_of(context, sighting, mark, rows)
    if row is None or row not in rows:
        return row is not None
    await _catch_up(context, sighting, mark, row)
    return False


async def _catch_up(context: Context, sighting: Sighting, mark: Mark, row: Transmission) -> None:
    """Has the row written where the Communication, whose newest mark that is, knows less of the story."""
    now = context.clock.now()
    if row.mark.progress > mark.progress and is_left(row, edited_at=sighting.rank.since, now=now):
        await context.ledger.change(row, row.state, now=now, event="behind", write_at=now)


async def _row_of(
    context: Context, sighting: Sighting, mark: Mark, rows: Sequence[Transmission]
) -> Transmission | None:
    """The newest claimed row, brought to what the mark tells: rebuilt, or of unknown outcome, where it knew of no claim.

    One that was opened for a further round, and not claimed yet, has nothing to say on the Communication.
    """
    row = next((one for one in rows if one.state is not State.READY or one.round == mark.round), None)
    if row is None or row.round < mark.round:
        return await _rebuild(context, sighting, mark)
    if row.state is State.READY and row.round == mark.round:
        # The claim landed after its writer had stopped waiting for it. Nothing was sent by it, but who can be sure?
        return await unknown(context, row, "the claim was found without a send", mark=mark)
    return row


async def mind_withdrawals(context: Context, *, in_flight: Callable[[], Container[str]]) -> None:
    """What its author took back after it had gone: a person is told, also where nothing else is to be written.

    Where an old copy of what was taken back was saved over its end, that goes back on; where one was saved over all that
    is ours, and the ledger is young, the history tells that there is something to find out.
    """
    since = instant_text(context.clock.now() - _MINDED)
    parameters = [
        *context.policy.marker.search(",".join(_AUTHORS)),
        *context.policy.extra_search,
        ("_lastUpdated", f"ge{since}"),
    ]

    async def mind(communication: Resource) -> None:
        mark = newest(marks_on(communication))
        rows = await context.ledger.all_of(str(communication["id"]))
        row = next((one for one in rows if one.state is not State.READY), None)
        sighting = sighting_of(communication, context)
        if mark is None and not rows and version_of(communication) != _FIRST_VERSION:
            mark = _known_mark(communication, rows, await _kept(context, communication))
        if mark is not None and not has_foreign_mark(communication) and sighting.id not in in_flight():
            row = await _row_of(context, sighting, mark, rows)
        if row is not None and row.message is not None and authors_own(communication, row.mark):
            await say_withdrawn_late(context, row)
            now = context.clock.now()
            if needs_write(communication, row) and is_left(row, edited_at=sighting.rank.since, now=now):
                await context.ledger.change(row, row.state, now=now, event="behind", write_at=now)
        elif row is not None and mark is not None:
            await _catch_up(context, sighting, mark, row)

    await each(context.fhir.search("Communication", parameters), mind, doing="withdrawals")


async def mind_old_copies(context: Context) -> None:
    """Where an old copy was saved over a further round, and shows how an earlier one ended, our fields go back on."""

    async def mind(row: Transmission) -> None:
        communication = await context.fhir.read("Communication", row.communication)
        mark = newest(marks_on(communication)) if communication else None
        if communication and mark:
            await _catch_up(context, sighting_of(communication, context), mark, row)

    rows = await context.ledger.further(since=context.clock.now() - _MINDED)
    await each(over(rows), mind, doing="old copies")


async def look(context: Context, sighting: Sighting) -> Wish | None:
    """Reads the Communication and does what it asks; gives the wish when a round is to open."""
    communication = await context.fhir.read("Communication", sighting.id)
    rows = await context.ledger.all_of(sighting.id)
    if communication is None or not context.policy.marker.on(communication):
        await _discard(context, rows, known=None)
        return None
    if has_foreign_mark(communication):
        await _report_copy(context, sighting.id)
        return None
    past = await _past(context, communication)
    known = _known_mark(communication, rows, past)
    decision = decide(communication, known, is_unconfirmed=_is_unconfirmed(communication, rows, known))
    if decision.verdict is not Verdict.OPEN:
        await _discard(context, rows, known=known)
        if decision.verdict is Verdict.PUT_BACK and known is not None:
            await _put_back(context, sighting, known, communication, rows)
        elif known is not None and rows and rows[0].round == known.round:
            # It may be a claim that nobody recorded.
            await _row_of(context, sighting, known, rows)
        return None
    if await _has_untold_end(context, communication, rows):
        return None
    rank = sighting_of(communication, context).rank
    row = await context.ledger.open(sighting.id, round=decision.round, rank=rank, now=context.clock.now())
    if row is None:
        return None
    row = replace(
        row, rank=replace(row.rank, priority=rank.priority)
    )  # as urgent as it is by now, for this time
    may_have_gone = not marks_on(communication) and not past.whole
    return Wish(communication=communication, row=row, may_have_gone=may_have_gone)


async def _discard(context: Context, rows: Sequence[Transmission], *, known: Mark | None) -> None:
    """Takes back the opening of a round for a wish which is no longer there, and of which nothing was ever claimed."""
    if rows and rows[0].state is State.READY and (known is None or known.round < rows[0].round):
        context.uploads.forget(rows[0].communication)
        await context.ledger.discard(rows[0], now=context.clock.now())


async def _report_copy(context: Context, id: str) -> None:
    """Says once that the Communication carries another one's mark; it is seen again at every sweep."""
    if any(event.what == _COPIED for event in await context.ledger.timeline(id)):
        return
    _log.warning("communication.copied-mark", communication=id, advice="remove the copied extension")
    await context.ledger.note(id, round=1, what=_COPIED, now=context.clock.now())


async def _past(context: Context, communication: Resource) -> History:
    """What was there before."""
    if communication.get("status") != PREPARATION or version_of(communication) == _FIRST_VERSION:
        return History(versions=[], whole=True)
    # A stale copy may have been saved over our mark, and the ledger may be young: only the history knows then.
    return await _kept(context, communication)


async def _kept(context: Context, communication: Resource) -> History:
    kept = await context.fhir.history("Communication", str(communication["id"]))
    return kept or History(versions=[], whole=False)


def _known_mark(communication: Resource, rows: Sequence[Transmission], past: History) -> Mark | None:
    # A row in `ready` is a round that was opened and never claimed: it stands for nothing yet.
    marks = [*marks_on(communication), *(row.mark for row in rows if row.state is not State.READY)]
    for version in past.versions:
        marks.extend(mark for mark in marks_on(version) if mark.fits(str(communication["id"])))
    return newest(marks)


def _is_unconfirmed(communication: Resource, rows: Sequence[Transmission], known: Mark | None) -> bool:
    """Whether the round's message was taken and never acknowledged, by the ledger, or as was written when that is young."""
    if known is None or known.message is None:
        return False
    return is_unconfirmed(communication) or any(
        row.is_unconfirmed and row.round == known.round for row in rows
    )


async def _has_untold_end(context: Context, communication: Resource, rows: Sequence[Transmission]) -> bool:
    """Whether the newest round's end still has to be written, over which nobody can have asked again: that goes first."""
    row = next((one for one in rows if one.state is not State.READY), None)
    if row is None or row.mark.end is None or row.write_at is None:
        return False
    now = context.clock.now()
    if is_left(row, edited_at=sighting_of(communication, context).rank.since, now=now):
        await context.ledger.change(row, row.state, now=now, event="behind", write_at=now)
    return True


async def _put_back(
    context: Context,
    sighting: Sighting,
    known: Mark,
    communication: Resource,
    rows: Sequence[Transmission],
) -> None:
    row = await _row_of(context, sighting, known, rows)
    if row is None:
        return
    noted = await context.ledger.change(
        row,
        row.state,
        now=context.clock.now(),
        event="overwritten",
        note=OVERWRITTEN,
        write_at=context.clock.now(),
    )
    if noted:
        await write_back(context, noted, communication=communication)


async def _rebuild(context: Context, sighting: Sighting, mark: Mark) -> Transmission | None:
    _log.info("transmission.rebuilt", communication=sighting.id, round=mark.round)
    now = context.clock.now()
    row = await context.ledger.restore(sighting.id, mark, rank=sighting.rank, now=now)
    if row is None and mark.message is not None and await _is_anothers(context, sighting.id, mark.message):
        # While its fields were overwritten, another wish of the same text found it. Whether there are two of them, the
        # list tells.
        bare = replace(mark, message=None, end=None)
        row = await context.ledger.restore(sighting.id, bare, rank=sighting.rank, now=now)
    if row is not None and row.state is State.UNKNOWN:
        return await unknown(context, row, "the claim was found without its outcome")
    return row


async def _is_anothers(context: Context, id: str, message: str) -> bool:
    owner = await context.ledger.by_message(message)
    return owner is not None and owner.communication != id
