"""The send lane: one for the account, at most one Communication claimed ahead of its slot (protocol §4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from adapter.domain.message import Send
from adapter.domain.pacing import Slot
from adapter.domain.ranking import goes_next
from adapter.domain.rounds import PREPARATION
from adapter.domain.transmission import IN_FLIGHT, State
from adapter.errors import AdapterError, ConfigError, Rejected, Temporary, place
from adapter.pipelines.outbound.aside import Aside
from adapter.pipelines.outbound.claim import Claimed, claim
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.insist import insist, present_row
from adapter.pipelines.outbound.look import Wish
from adapter.pipelines.outbound.transmit import (
    Sending,
    settled_elsewhere,
    still_wanted,
    transmit,
)
from adapter.pipelines.outbound.unknown import unknown

_log = structlog.get_logger(__name__)

CLAIM_AHEAD_SECONDS: Final = 0.5
_LONGEST_PAUSE: Final = 300.0
_MOST_STOPS: Final = 5
_FRESH_SECONDS: Final = 60.0
_DOUBT_SECONDS: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A wish with its call, ready to be claimed. `at` is when that was (boot clock)."""

    wish: Wish
    send: Send
    at: float

    def is_old(self, *, now: float) -> bool:
        """Whether what it attaches may have been retracted meanwhile. What was claimed before keeps its plan."""
        return self.wish.row.state is State.READY and now - self.at > _FRESH_SECONDS


@dataclass(frozen=True, kw_only=True)
class _Trouble:
    """Why a claim could not go on: by Metriport's answer to it, or because a neighbour did not say what had to be known.

    A refusal is one of the account, the route or the right to read; anything else passes.
    """

    claimed: Claimed
    why: str
    is_answer: bool = False
    is_refusal: bool = False
    pause_seconds: float = 0.0


@dataclass(kw_only=True)
class Lane:
    """The pace of this account and the repeats of one claim; `stopped` says why nothing is sent, while nothing is.

    `freed` is told of a Communication that was set aside and needs the lane no more.
    """

    context: Context
    spread: Callable[[], float] = lambda: 1.0
    freed: Callable[[str], None] = lambda _: None
    _slots: list[Slot] = field(default_factory=list)
    _last: int | None = None
    _not_before: float = 0.0
    _pauses: int = 0
    _doubts_from: float = 0.0
    _by_doubt: bool = False
    _turn: int = 0
    aside: Aside = field(default_factory=Aside)
    stopped: str | None = None

    async def load(self) -> None:
        """Reads the account's latest slots, so that the pace holds over restarts and replicas."""
        pace, boot = self.context.policy.pace, self.context.clock.boot()
        latest = await self.context.ledger.latest(pace.sends_per_minute)
        self._last = latest[-1].id if latest else None
        self._slots = pace.followed_by(boot, [stored.took_seconds for stored in latest])
        self._not_before = max(self._not_before, boot + pace.interval_seconds)

    @property
    def next_start(self) -> float:
        """The boot-clock second of the next slot."""
        start = self.context.policy.pace.next_start(self._slots, now=self.context.clock.boot())
        return max(start, self._not_before)

    def choose(self, ready: list[Prepared]) -> Prepared:
        """Takes the one whose turn it is out of `ready`."""
        chosen = ready.pop(goes_next([prepared.wish.row.rank for prepared in ready], turn=self._turn))
        self._turn += 1
        return chosen

    async def until_slot(self, *, ahead: float = 0.0) -> None:
        """Waits until the next slot is no further away than `ahead` seconds."""
        while (wait := self.next_start - ahead - self.context.clock.boot()) > 0:
            await self.context.clock.sleep(wait)

    async def carry(self, prepared: Prepared) -> bool:
        """Takes one prepared message through claim and send to a state that needs no lane.

        `False` when it was not claimed, because somebody changed the Communication meanwhile: look at it again.

        Raises:
            Temporary, Rejected: it could not be claimed; nothing was sent.
            ConfigError: the ledger is not what it was; the process has to end.
        """
        claimed = await claim(self.context, prepared.wish, prepared.send)
        if claimed is None:
            return False
        self.context.uploads.forget(claimed.row.communication)
        await self._whatever_comes(claimed, self._until_done)
        return True

    async def resume(self, claimed: Claimed) -> None:
        """One more try for a claim that was set aside; where its trouble lasts, it is set aside again.

        Raises:
            ConfigError: the ledger is not what it was; the process has to end.
        """
        communication = claimed.row.communication
        try:
            await self._whatever_comes(claimed, self._once)
        except ConfigError:
            raise
        except Exception as trouble:  # noqa: BLE001  # it may have been the ledger's: the claim is kept
            kind = type(trouble).__name__
            _log.error("send.failed", communication=communication, error=kind, at=place(trouble))
            self.aside.add(claimed, now=self.context.clock.boot())
        if communication not in self.aside:
            self.aside.done(communication)
            self.freed(communication)

    async def _whatever_comes(self, claimed: Claimed, going: Callable[[Claimed], Awaitable[None]]) -> None:
        try:
            await going(claimed)
        except ConfigError:
            raise
        except Exception as trouble:  # noqa: BLE001  # nothing that was claimed may be forgotten
            _log.error(  # a traceback shows text that may be the patient's
                "send.interrupted" if isinstance(trouble, AdapterError) else "send.failed",
                communication=claimed.row.communication,
                error=type(trouble).__name__,
                at=place(trouble),
            )
            row = await insist(self.context, present_row, self.context, claimed.row)
            if row.state in IN_FLIGHT:
                await unknown(self.context, row, f"interrupted: {type(trouble).__name__}")

    async def _until_done(self, claimed: Claimed) -> None:
        """Tries until the claim needs the lane no more, or is set aside: then the trouble is its own.

        That it is, is plain when both neighbours answer to all else, time after time.
        """
        stops = 0
        going: Claimed | None = claimed
        while going is not None:
            went = await self._go(going)
            if not isinstance(went, _Trouble):
                going = went
                continue
            going = went.claimed
            self._pause(went.pause_seconds)
            if went.is_refusal:
                self._say_stopped(went.why)
            stops += await self._neighbours_answer()
            if stops >= _MOST_STOPS and self.aside.has_room:
                self._set_aside(went)
                return
            await self._make_room()  # and if that one went, this one may go as well: it is tried first

    async def _make_room(self) -> None:
        """Where no more may be set aside, one that was goes on by now, perhaps."""
        other = None if self.aside.has_room else self.aside.take(now=self.context.clock.boot())
        if other is not None:
            await self.resume(other)

    def _set_aside(self, trouble: _Trouble) -> None:
        communication = trouble.claimed.row.communication
        _log.error("send.set-aside", communication=communication, why=trouble.why, advice="others go on")
        if not trouble.is_answer:
            self._say_stopped(None)  # nothing was refused to the account
        self.aside.add(trouble.claimed, now=self.context.clock.boot())
        self._pauses = 0

    async def _once(self, claimed: Claimed) -> None:
        went: Claimed | _Trouble | None = claimed
        while isinstance(went, Claimed):
            went = await self._go(went)
        if went is not None:
            if went.is_answer and not went.is_refusal:
                self._pause(went.pause_seconds)
            self.aside.add(went.claimed, now=self.context.clock.boot())

    async def _go(self, claimed: Claimed) -> Claimed | _Trouble | None:
        """One go at a slot; the claim to go on with, or what it ran into; `None` when it needs the lane no more."""
        await self.until_slot()
        try:
            wanted = await self._wanted(claimed)
        except (Temporary, Rejected) as trouble:
            return _Trouble(claimed=claimed, why=str(trouble), is_refusal=isinstance(trouble, Rejected))
        if wanted is None:
            return None
        started = self.context.clock.boot()
        sending = await transmit(self.context, wanted, after=self._last)
        if sending.slot is None:
            # It may be that another replica sends as well: what is known of the slots is not all.
            await insist(self.context, self.load)
        else:
            self._slots = [*self._slots, Slot(started=started, ended=self.context.clock.boot())][-60:]
            self._last = sending.slot
        return self._after(sending)

    async def _wanted(self, claimed: Claimed) -> Claimed | None:
        """The claim, read again where it has to be; `None` when nothing is to be sent for it any more."""
        if claimed.row.state is State.WAITING and await settled_elsewhere(self.context, claimed):
            return None
        return await still_wanted(self.context, claimed)

    def _after(self, sending: Sending) -> Claimed | _Trouble | None:
        if sending.stopped or sending.pause_seconds:
            return _Trouble(
                claimed=sending.claimed,
                why=sending.stopped or "Metriport cannot take it yet",
                is_answer=True,
                is_refusal=sending.stopped is not None,
                pause_seconds=sending.pause_seconds,
            )
        self._say_stopped(None)
        if sending.again:
            return sending.claimed
        if sending.is_doubtful:
            # While Metriport is in trouble, the fewer are in doubt the better.
            self._pause(0.0)
        else:
            if self._pauses:
                self.aside.hurry(now=self.context.clock.boot())  # what kept all from going is over
            self._pauses = 0
        return None

    async def _neighbours_answer(self) -> bool:
        """Whether both answer to questions that have nothing to do with the message at hand."""
        context = self.context
        nothing = [*context.policy.marker.search(PREPARATION), ("_id", "none")]
        try:
            _ = [one async for one in context.fhir.search("Communication", nothing)]
        except (Temporary, Rejected):
            return False
        return await context.messages.is_open()

    async def doubt(self) -> None:
        """Metriport would not do something else: where it refuses the account, nothing is sent, either."""
        now = self.context.clock.boot()
        if self.stopped is None and now >= self._doubts_from:
            self._doubts_from = now + _DOUBT_SECONDS
            why = await self.context.messages.refusal()
            if why is not None and self.stopped is None:
                self._say_stopped(why)
                self._by_doubt = True

    async def look_again(self) -> None:
        """What a doubt stopped goes on as soon as the account is taken again, though nothing is to be sent."""
        if self._by_doubt and await self.context.messages.is_open() and self._by_doubt:
            self._say_stopped(None)

    def _pause(self, seconds: float) -> None:
        """Pushes the next slot back for all, longer each time in a row."""
        self._pauses += 1
        pause = max(seconds, min(5.0 * 2.0 ** min(self._pauses - 1, 10), _LONGEST_PAUSE))
        self._not_before = self.context.clock.boot() + pause * self.spread()

    def _say_stopped(self, why: str | None) -> None:
        """One line when the lane stops, one when it goes on."""
        self._by_doubt = False
        if why and not self.stopped:
            _log.error("lane.stopped", why=why, advice="it goes on by itself once that is mended")
        elif self.stopped and not why:
            _log.info("lane.goes-on")
            self.aside.hurry(now=self.context.clock.boot())
        self.stopped = why
