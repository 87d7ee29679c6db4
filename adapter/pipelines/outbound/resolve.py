"""Unknown outcomes, resolved by reading Metriport's list, never by sending again blindly (protocol §6).

The list is read first, the ledger's rows of the patient after it. So a message on the list that nobody owns yet was
posted by a row that is there to be seen: still on its way, and then nothing is decided for that patient and
destination; or unknown as well, and then it is part of the account, or not settled yet, and again nothing is decided.
What was posted later is not on that list. Where the ledger was lost meanwhile, a row of the same content may be
missing from the account; it then finds its own message taken, and is told by the rest of the list.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from adapter.domain import pauses
from adapter.domain.destination import same
from adapter.domain.mark import marks_on
from adapter.domain.message import Message, reference_of
from adapter.domain.reasons import reason
from adapter.domain.resolution import Ambiguous, Doubt, Found, NotSent, Verdict, resolve
from adapter.domain.resource import Resource, version_of
from adapter.domain.transmission import IN_FLIGHT, STATE_OF, State, Transmission
from adapter.domain.writeback import authors_own, edited_after
from adapter.errors import MappingError, Rejected, Temporary
from adapter.pipelines.outbound.again import Recalled, plan_anew, recall
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.evidence import Known, is_evidence
from adapter.pipelines.outbound.insist import change, present_row
from adapter.pipelines.outbound.lane import Prepared
from adapter.pipelines.outbound.look import Wish
from adapter.pipelines.outbound.owner import is_taken
from adapter.pipelines.outbound.park import tell
from adapter.pipelines.outbound.retract import retract
from adapter.pipelines.outbound.transmit import record_sent, withdraw
from adapter.pipelines.outbound.unknown import settled_at
from adapter.pipelines.outbound.writeback import write_back
from adapter.ports.ledger import Facts

_log = structlog.get_logger(__name__)

MOST_ATTEMPTS: Final = 2
MOST_READINGS: Final = 20
_UNMADE: Final = "the call that was claimed cannot be made any more"
_NOBODY: Final = "its subject no longer leads to a patient of Metriport's"
_ANOTHER: Final = "its subject leads to another patient of Metriport's than it did"
_APART: Final = timedelta(seconds=30)
_LONGEST_PAUSE: Final = timedelta(minutes=15)
_IN_FLIGHT_PAUSE: Final = timedelta(seconds=10)
# Who is to claim it knows so without the ledger: this is for the next one, should that process die before.
_UNTIL_CLAIMED: Final = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class _Case:
    """An unknown outcome with its Communication as it is now, and what is known of the claim.

    `candidates` are the messages on the list that may be it and belong to nobody.
    """

    row: Transmission
    present: Resource | None
    recalled: Recalled
    candidates: tuple[str, ...] = ()

    @property
    def note(self) -> str | None:
        """What is said when the author edited after the claim."""
        edited = self.present is None or self.recalled.version not in {None, version_of(self.present)}
        return edited_after(self.row.version or self.recalled.version) if edited else self.row.note

    def doubt(self, context: Context, patient: str) -> Doubt:
        """What is to be decided about it."""
        return Doubt(
            row=self.row,
            patient=patient,
            reference=reference_of(context.fhir.base_url, self.row.communication, round=self.row.round),
            send=self.recalled.send,
            since=self.recalled.since,
        )


# What the list says of each row and attempt: what was read before another attempt confirms nothing about that one.
_Reading = dict[tuple[int, int], Verdict]


@dataclass(kw_only=True)
class Resolver:
    """Resolves unknown outcomes, and remembers the readings of the list that have to be confirmed by a second one.

    `in_work` gives the Communications that wait for the lane, among them those that were shown not to be sent; `aside`
    are those that may wait for days, and of which certainly nothing was taken.
    """

    context: Context
    in_work: Callable[[], Container[str]] = frozenset
    aside: Container[str] = frozenset()
    _earlier: dict[tuple[str, str], tuple[float, _Reading]] = field(default_factory=dict)

    async def resolve(self, row: Transmission) -> list[Prepared]:
        """Resolves the row together with all others of its patient and destination, once its time has come.

        Only for who holds the lane: gives what was shown not to be sent, to be claimed for one more attempt.
        """
        row = await present_row(self.context, row)
        if row.state is not State.UNKNOWN or row.due_at is None or row.due_at > self.context.clock.now():
            return []
        try:
            return await self._resolve(row)
        except (Temporary, Rejected, MappingError) as trouble:
            say = _log.debug if isinstance(trouble, Temporary) else _log.info
            say(
                "outcome.not-learned",
                communication=row.communication,
                error=type(trouble).__name__,
                detail=str(trouble),
            )
            pause = pauses.after(trouble, _patience(self.context, row), now=self.context.clock.now())
            await self._later([row], pause, event="still-unknown")
            return []

    async def _resolve(self, row: Transmission) -> list[Prepared]:
        context, began = self.context, self.context.clock.now()
        case = await _look(context, row)
        if case is None:
            return []
        patient = case.recalled.patient
        if patient is None or row.patient not in {None, patient}:
            await _hold(context, case, _ANOTHER if patient else _NOBODY)
            return []
        if row.patient is None:
            await change(context, row, row.state, event="patient-known", patient=patient)
        listing = await context.messages.outbound(patient)
        rows = await context.ledger.of_patient(patient)
        account = [one for one in _account(rows, row.destination) if not self._is_aside(one)]
        if any(one.communication in self.in_work() for one in account if one.id != row.id):
            # It was shown not to be sent, and is about to be claimed: nothing is decided about it twice.
            await self._later([row], _IN_FLIGHT_PAUSE, event="another-in-doubt")
            return []
        ready_at = max(_ready_at(context, one) for one in account) if account else began
        if ready_at > began:
            doubtful = [one for one in account if one.state is State.UNKNOWN]
            await self._later(doubtful, ready_at - began, event="another-in-doubt")
            return []
        cases = [found for one in account if (found := await _look(context, one))]
        strayed = [one for one in cases if one.recalled.patient != patient]
        for one in strayed:
            await _hold(context, one, _ANOTHER)
        if strayed or len(cases) < len(account):
            return []
        doubts = [one.doubt(context, patient) for one in cases]
        unowned = await _unowned(context, listing.messages, doubts)
        cases = [
            replace(one, candidates=tuple(message.id for message in unowned if doubt.may_be(message)))
            for one, doubt in zip(cases, doubts, strict=True)
        ]
        known = Known(patient=patient, rows=rows, communications=[one.present or {} for one in cases])
        if not await is_evidence(context, listing, known, before=began - context.policy.list_lag):
            await self._read_again(cases, "Metriport's list is not whole")
            return []
        verdicts = resolve(doubts, unowned)
        # A reading that lacks something, or has several pages, needs a second that agrees.
        is_plain = listing.pages == 1 and all(isinstance(verdict, Found) for verdict in verdicts.values())
        of = (patient, str(row.destination))
        if not is_plain and not await self._is_confirmed(of, cases, verdicts):
            return []
        self._earlier.pop(of, None)
        return await self._apply(cases, verdicts)

    def _is_aside(self, row: Transmission) -> bool:
        """Whether it waits beside this process's lane; another life's claim of the same Communication is another matter."""
        waits = row.state in {State.CLAIMED, State.WAITING} and row.communication in self.aside
        return waits and row.token.startswith(f"{self.context.life}.")

    async def _is_confirmed(
        self, of: tuple[str, str], cases: Sequence[_Case], verdicts: dict[int, Verdict]
    ) -> bool:
        """Whether this process has read the same before; if not, it reads again later."""
        read_at = self.context.clock.boot()
        reading = {(case.row.id, case.row.attempt): verdicts[case.row.id] for case in cases}
        earlier_at, earlier = self._earlier.setdefault(of, (read_at, reading))
        if earlier != reading:
            self._earlier[of] = (read_at, reading)
            await self._read_again(cases, "Metriport's list keeps changing")
            return False
        if read_at - earlier_at < _APART.total_seconds():
            # Not counted as a reading: however often processes die after their first, the pause stays short.
            await self._later([case.row for case in cases], _APART, event="still-unknown")
            return False
        return True

    async def _read_again(self, cases: Sequence[_Case], why: str) -> None:
        """Later, longer each time; after many readings it is for a person to say."""
        for case in cases:
            if case.row.checks >= MOST_READINGS:
                said = f"{why}, after {case.row.checks} readings"
                await _hold(self.context, case, said, candidates=case.candidates)
        rows = [case.row for case in cases]
        pause = min(_APART * 2 ** max(0, min(row.checks for row in rows) - 1), _LONGEST_PAUSE)
        await self._later(rows, pause, event="still-unknown", readings=1)

    async def _later(
        self, rows: Sequence[Transmission], pause: timedelta, *, event: str, readings: int = 0
    ) -> None:
        now = self.context.clock.now()
        for row in rows:
            await self.context.ledger.change(
                row, row.state, now=now, event=event, due_at=now + pause, checks=row.checks + readings
            )

    async def _apply(self, cases: Sequence[_Case], verdicts: dict[int, Verdict]) -> list[Prepared]:
        """Records what was found first: that the others were not sent rests on it."""
        for case in cases:
            verdict = verdicts[case.row.id]
            if isinstance(verdict, Found) and not await _record(self.context, case, verdict):
                return []
        again: list[Prepared] = []
        for case in cases:
            verdict = verdicts[case.row.id]
            if isinstance(verdict, Ambiguous):
                await _hold(self.context, case, verdict.why, candidates=verdict.candidates)
            elif isinstance(verdict, NotSent):
                again.extend(await self._not_sent(case))
        return again

    async def _not_sent(self, case: _Case) -> list[Prepared]:
        context, row, present = self.context, case.row, case.present
        if present is None or authors_own(present, row.mark) or not context.policy.marker.on(present):
            await withdraw(context, row, present)
            return []
        doubtful = await _doubtful(context, row)
        if doubtful >= MOST_ATTEMPTS:
            await _hold(context, case, f"after {doubtful} attempts Metriport's list does not show it")
            return []
        if doubtful and context.policy.after_unknown == "hold":
            await _hold(context, case, "Metriport's list does not show it")
            return []
        # Without a digest nothing was planned that may go on: what its author wants by now is.
        send = case.recalled.send if row.digest else await plan_anew(context, present, round=row.round)
        if send is None or send.patient != case.recalled.patient:
            await _hold(context, case, f"Metriport's list does not show it, and {_UNMADE}")
            return []
        now = context.clock.now()
        # The FHIR server may refuse the claim, for days.
        again_at = now + max(_UNTIL_CLAIMED, _patience(context, row))
        shown = await context.ledger.change(
            row, row.state, now=now, event="not-sent", due_at=again_at, note=case.note
        )
        if shown is None:
            return []
        wish = Wish(communication=present, row=replace(shown, version=row.version or case.recalled.version))
        return [Prepared(wish=wish, send=send, at=context.clock.boot())]


async def _doubtful(context: Context, row: Transmission) -> int:
    """How many of the round's claims may have been sent: all, but those that the ledger knows never to have been taken.

    However often processes change while Metriport refuses the account, that ends no message. A ledger that does not know
    every claim knows nothing.
    """
    whats = [
        event.what for event in await context.ledger.timeline(row.communication) if event.round == row.round
    ]
    if whats.count("claimed") < row.attempt:
        return row.attempt
    return max(0, whats.count("intent") - whats.count("waiting") - whats.count("too-late"))


async def witness(context: Context, message_id: str) -> None:
    """A status event for an id that we do not know: is it one of the open unknowns (protocol §7)?

    Raises:
        Temporary: a neighbour could not answer; the event is to be looked at again.
    """
    if not await context.ledger.in_states(frozenset({State.UNKNOWN}), limit=1):
        return
    try:
        message = await context.messages.message(message_id)
        if message is None or message.patient is None or await is_taken(context, message.id):
            return
        account = _account(await context.ledger.of_patient(message.patient), message.destination)
        if any(row.state in IN_FLIGHT for row in account):
            return
        looked = [case for row in account if (case := await _look(context, row))]
        cases = [case for case in looked if case.recalled.patient == message.patient]
    except (Rejected, MappingError) as trouble:
        _log.warning("event.not-matched", message=message_id, error=type(trouble).__name__)
        return
    doubts = [case.doubt(context, message.patient) for case in cases]
    verdicts = resolve(doubts, [message], is_whole=False)
    for case in cases:
        verdict = verdicts[case.row.id]
        if isinstance(verdict, Found):
            await _record(context, case, verdict)


def _account(rows: Sequence[Transmission], destination: str | None) -> list[Transmission]:
    """Those that are unknown, or may become so, and went to that destination."""
    return [
        row
        for row in rows
        if row.state in IN_FLIGHT | {State.UNKNOWN}
        and (destination is None or same(row.destination or "", destination))
    ]


def _ready_at(context: Context, row: Transmission) -> datetime:
    """When Metriport's list tells about the row; one that is on its way has to come to its end first."""
    now = context.clock.now()
    return now + _IN_FLIGHT_PAUSE if row.state in IN_FLIGHT else settled_at(context, row.intent_at or now)


async def _look(context: Context, row: Transmission) -> _Case | None:
    """Reads the Communication and recalls the claim; `None` when the Communication knows more than the row did."""
    present = await context.fhir.read("Communication", row.communication)
    mark = next(
        (
            mark
            for mark in marks_on(present or {})
            if mark.round == row.round and mark.fits(row.communication)
        ),
        row.mark,
    )
    if mark.progress <= row.mark.progress:
        return _Case(row=row, present=present, recalled=await recall(context, row, present))
    # The ledger went back to an older state, from a backup or a standby. What we see first now settles from now on.
    now = context.clock.now()
    facts: Facts = {"token": mark.token, "attempt": mark.attempt}
    state = row.state
    if mark.message is not None:
        state = State.SENT
        facts |= {"message": mark.message, "reason": None, "due_at": now}
    elif mark.end is not None:
        state = STATE_OF[mark.end]
        facts |= {"ended_at": now, "due_at": None}
    else:
        facts |= {"intent_at": now, "due_at": settled_at(context, now)}
    await change(context, row, state, event="caught-up", **facts)
    return None


async def _unowned(context: Context, messages: Sequence[Message], doubts: Sequence[Doubt]) -> list[Message]:
    possible = [message for message in messages if any(doubt.may_be(message) for doubt in doubts)]
    return [message for message in possible if not await is_taken(context, message.id)]


async def _record(context: Context, case: _Case, found: Found) -> bool:
    row = replace(case.row, note=case.note)
    # First, so that a crash in between leaves the question open.
    await retract(context, found.message)
    recorded = await record_sent(context, row, found.message, sent_at=found.sent_at)
    if recorded:
        await write_back(context, recorded, communication=case.present)
    return recorded is not None


async def _hold(context: Context, case: _Case, why: str, *, candidates: Sequence[str] = ()) -> None:
    now = context.clock.now()
    named = f"{why} ({', '.join(candidates)})" if candidates else why
    held = await change(
        context,
        case.row,
        State.HELD,
        event="held",
        reason=reason("held-outcome-ambiguous", why=named),
        ended_at=now,
        due_at=None,
        write_at=now,
    )
    if held:
        await tell(context, held, communication=case.present, candidates=candidates)


def _patience(context: Context, row: Transmission) -> timedelta:
    """The pause before what could not be done is tried again: it may be for days."""
    waited = context.clock.now() - (row.intent_at or row.opened_at)
    return min(max(waited / 4, _APART), _LONGEST_PAUSE)
