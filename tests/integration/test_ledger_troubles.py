"""The ledger's database away, slow, or no longer the one that was opened: nothing is sent twice, nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapter.domain.mark import Mark, Token, marks_on
from adapter.domain.outcome import TooLate
from adapter.domain.ranking import Rank
from adapter.domain.reasons import Reason, reason
from adapter.domain.transmission import State, Transmission
from adapter.errors import ConfigError
from adapter.pipelines.outbound.claim import claim
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.look import Sighting, Wish, look, patrol
from adapter.pipelines.outbound.park import park, state_for
from adapter.pipelines.outbound.prepare import complete, plan
from adapter.pipelines.outbound.resolve import witness
from adapter.pipelines.outbound.track import absorb, due, poll, recover
from adapter.pipelines.outbound.transmit import transmit
from adapter.pipelines.outbound.unknown import unknown
from adapter.ports.ledger import FinalStatus
from adapter.simulators.metriport import SANDBOX_PATIENTS
from tests.integration.canary import overhearing
from tests.integration.people import communication, stage
from tests.virtual.loop import START, run
from tests.virtual.site import LedgerFault, Site, site

RANK = Rank(priority=3, since=START)


def _sent(**faults: Any) -> Site:
    """One message sent while a ledger method fails."""

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            clinic.ledger_fails(**faults)
            await clinic.start()
            await clinic.passes(120)
            return clinic

    return run(scenario())


@pytest.mark.parametrize("before", [True, False], ids=["not done", "done, answer lost"])
@pytest.mark.parametrize("method", ["all_of", "open", "intend", "end", "latest", "take", "due", "in_states"])
def test_a_ledger_that_does_not_answer_a_step_delays_and_doubles_nothing(
    method: str, *, before: bool
) -> None:
    clinic = _sent(method=method, before=before)

    assert len(clinic.metriport.messages) == 1
    assert clinic.communication("referral")["status"] == "completed"


@pytest.mark.parametrize("before", [True, False], ids=["not done", "done, answer lost"])
@pytest.mark.parametrize("nth", range(5))
def test_any_one_change_that_is_not_answered_sends_nothing_twice(nth: int, *, before: bool) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(2.4)
            clinic.ledger_faults.append(_nth_change(nth, before=before))
            await clinic.passes(900)
            return clinic

    clinic = run(scenario())

    assert len(clinic.metriport.messages) <= 1
    ended = clinic.communication("referral")
    assert ended["status"] == "completed" or "outcome-unknown" in str(ended["statusReason"])


def _nth_change(nth: int, *, before: bool) -> LedgerFault:
    from adapter.errors import Temporary  # noqa: PLC0415  # the fault's own

    class Nth(LedgerFault):
        """Lets the first calls pass."""

        passed = 0

        @property
        def times(self) -> int:
            self.passed += self._left
            return int(self._left and self.passed > nth)

        @times.setter
        def times(self, left: int) -> None:
            self._left = max(left, 0)

    fault = Nth(method="change", error=Temporary("the ledger's database does not answer"), before=before)
    fault.times = 1
    return fault


def test_a_ledger_away_while_the_answer_is_recorded_forgets_nothing() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(3.005)
            for method in ("change", "end", "due", "take", "waiting", "all_of"):
                clinic.ledger_fails(method, times=6)
            await clinic.passes(900)
            return clinic

    clinic = run(scenario())

    assert len(clinic.sends()) == 1
    assert clinic.communication("referral")["status"] == "completed"


def test_a_lease_that_ended_while_the_ledger_did_not_answer_is_another_s() -> None:
    async def scenario() -> tuple[int, Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            await clinic.start()
            await clinic.passes(10)
            clinic.ledger_fails("take", times=9)
            await clinic.passes(30)
            clinic.write(communication())
            await clinic.passes(10)
            meanwhile = len(clinic.sends())
            await clinic.passes(120)
            return meanwhile, clinic

    meanwhile, clinic = run(scenario())

    assert (meanwhile, len(clinic.sends())) == (0, 1)


def test_a_ledger_file_that_was_replaced_ends_the_process() -> None:
    async def scenario(method: str) -> BaseException | None:
        async with site(started=False, doorbell=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            clinic.ledger_faults.append(
                LedgerFault(method=method, error=ConfigError("the ledger file was replaced"), times=1000)
            )
            await clinic.start()
            await clinic.passes(30)
            return await clinic.ended()

    for method in ("intend", "due", "all_of"):
        assert isinstance(run(scenario(method)), ConfigError)


def test_an_unforeseen_error_in_one_message_stops_no_other() -> None:
    async def scenario(method: str, times: int) -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            for number in range(3):
                clinic.write(communication(id=f"m-{number}", topic={"text": str(number)}))
            clinic.ledger_faults.append(LedgerFault(method=method, error=KeyError("surprise"), times=times))
            await clinic.start()
            await clinic.passes(200)
            return clinic

    for method in ("all_of", "due", "intend"):
        clinic = run(scenario(method, 1))
        ends = sorted(one["status"] for one in clinic.fhir.resources("Communication"))
        assert ends in (["completed"] * 3, ["completed", "completed", "in-progress"])
        assert len(clinic.metriport.messages) == ends.count("completed")


@pytest.mark.parametrize("method", ["intend", "end"])
def test_whatever_goes_wrong_after_the_claim_is_an_unknown_outcome(method: str) -> None:
    async def scenario() -> tuple[str, Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            clinic.ledger_faults.append(LedgerFault(method=method, error=KeyError("surprise")))
            await clinic.start()
            await clinic.passes(4)
            said = str(clinic.communication("referral").get("statusReason"))
            await clinic.passes(900)
            return said, clinic

    said, clinic = run(scenario())

    assert "outcome-unknown" in said
    assert len(clinic.metriport.messages) == 1
    assert clinic.communication("referral")["status"] == "completed"


def test_what_goes_wrong_after_the_end_changes_no_end() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            clinic.metriport.opt_out(SANDBOX_PATIENTS[0].id, "Patient has opted out from the networks")
            clinic.fhir.add_fault("*", "/Task", "503", times=5)
            await clinic.start()
            await clinic.passes(900)
            return clinic

    assert run(scenario()).communication("referral")["status"] == "on-hold"


def test_a_ledger_that_was_replaced_while_messages_are_tracked_ends_the_process() -> None:
    async def scenario() -> BaseException | None:
        async with site(started=False, auto_complete_seconds=None) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(20)
            clinic.ledger_faults.append(
                LedgerFault(method="change", error=ConfigError("the ledger file was replaced"), times=1000)
            )
            clinic.metriport.add_fault("*", "*", "webhook-lost")
            clinic.metriport.complete(clinic.metriport.messages[0].id, clinic.clock.now())
            await clinic.passes(120)
            return await clinic.ended()

    assert isinstance(run(scenario()), ConfigError)


async def _claimed(clinic: Site) -> tuple[Context, Any]:
    context = (await clinic.start(idle=True)).context
    wish = await look(context, Sighting(id="referral", rank=RANK))
    assert wish is not None
    planned = await plan(context, wish.communication)
    assert not isinstance(planned, Reason)
    send = await complete(context, planned)
    assert not isinstance(send, Reason)
    return context, await claim(context, wish, send)


def test_a_row_that_vanished_between_claim_and_intent_is_not_sent() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            context, claimed = await _claimed(clinic)
            stale = replace(claimed, row=replace(claimed.row, generation=99))
            sending = await transmit(context, stale, after=None)
            assert not sending.again
            return clinic

    assert run(scenario()).sends() == []


def test_an_intent_that_became_another_replica_s_meanwhile_is_left_to_it() -> None:
    async def scenario() -> tuple[Site, Any, Any, Any]:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            context, claimed = await _claimed(clinic)
            theirs: Any = claimed.row
            for state in (State.UNKNOWN, State.CLAIMED, State.INTENT):
                theirs = await context.ledger.change(
                    theirs, state, now=context.clock.now(), event=state.value, token="theirs"
                )
            clinic.ledger_fails("intend")
            sending = await transmit(context, claimed, after=None)
            return clinic, sending, theirs, await context.ledger.newest("referral")

    clinic, sending, theirs, row = run(scenario())

    assert clinic.sends() == []
    assert not sending.again
    assert row == theirs


def test_a_claim_whose_row_vanished_is_not_gone_on_with() -> None:
    async def scenario() -> Any:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            context = (await clinic.start(idle=True)).context
            wish = await look(context, Sighting(id="referral", rank=RANK))
            assert wish is not None
            planned = await plan(context, wish.communication)
            assert not isinstance(planned, Reason)
            send = await complete(context, planned)
            assert not isinstance(send, Reason)
            row = replace(wish.row, generation=99)
            return await claim(context, Wish(communication=wish.communication, row=row), send)

    assert run(scenario()) is None


def test_what_misses_its_deadline_is_not_posted_and_gets_another_slot() -> None:
    async def scenario() -> tuple[Site, Any]:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            context, claimed = await _claimed(clinic)
            late: Any = _Late()
            sending = await transmit(replace(context, messages=late), claimed, after=None)
            return clinic, sending

    clinic, sending = run(scenario())

    assert clinic.sends() == []
    assert sending.again
    assert sending.claimed.row.state is State.CLAIMED


class _Late:
    """A pause right before the first byte."""

    async def send(self, *_: Any, **__: Any) -> TooLate:
        return TooLate()


async def _row(context: Context, state: State, **facts: Any) -> Transmission:
    row: Any = await context.ledger.open("referral", round=1, rank=RANK, now=START)
    token = str(Token.mint(life="other", nonce="n", resource_id="referral"))
    for step in (State.CLAIMED, State.INTENT, State.SENT)[: list(State).index(state)]:
        extra = {"message": "m-1"} if step is State.SENT else {}
        row = await context.ledger.change(
            row, step, now=START, event=step.value, **{"token": token, **extra, **facts}
        )
    return row  # type: ignore[no-any-return]  # the last change was taken


def test_rows_that_somebody_else_moved_are_left_alone() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            context = (await clinic.start(idle=True)).context
            fresh = await _row(context, State.READY)
            stale = replace(fresh, generation=99)
            wish = Wish(communication=communication(meta={"versionId": "1"}), row=stale)
            await park(context, wish, reason("refused-no-content"))
            assert await unknown(context, stale, "nobody knows") is None
            await due(context, replace(stale, state=State.CLAIMED, due_at=START))
            return clinic

    assert run(scenario()).fhir.resources("Communication") == []


def test_a_status_of_a_message_that_metriport_does_not_know_is_no_evidence() -> None:
    async def scenario() -> tuple[Any, Any]:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            context, claimed = await _claimed(clinic)
            doubtful = await unknown(context, claimed.row, "nobody knows")
            await witness(context, "0190b1c2-0000-7000-8000-000000000001")
            return doubtful, await context.ledger.newest("referral")

    doubtful, row = run(scenario())

    assert doubtful is not None
    assert (row.state, row.message) == (State.UNKNOWN, None)


def test_a_stale_end_changes_nothing() -> None:
    async def scenario() -> list[str]:
        async with site(started=False, auto_complete_seconds=None) as clinic:
            stage(clinic)
            clinic.write(communication())
            adapter = await clinic.start()
            await clinic.passes(10)
            row = await adapter.ledger.newest("referral")
            assert row is not None
            clinic.metriport.complete(str(row.message), clinic.clock.now())
            await clinic.passes(10)
            await poll(adapter.context, row)
            status = FinalStatus(message=str(row.message), state=_completed(), at=clinic.clock.now())
            await absorb(adapter.context, status)
            return [str(one["status"]) for one in clinic.fhir.history("Communication", "referral") if one]

    assert run(scenario()) == ["preparation", "in-progress", "in-progress", "completed"]


def _completed() -> Any:
    from adapter.domain.message import MessageState  # noqa: PLC0415  # one use

    return MessageState.COMPLETED


def test_claims_in_work_are_not_recovered() -> None:
    async def scenario() -> int:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            context, _ = await _claimed(clinic)
            return await recover(context, in_flight=lambda: {"referral"})

    assert run(scenario()) == 0


def test_a_claim_that_landed_late_is_found_by_the_patrol() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            clinic.fhir.add_fault("PUT", "/Communication/", "apply-then-drop")
            clinic.fhir.add_fault("GET", "/Communication/referral", "drop", times=1)
            await clinic.start()
            await clinic.passes(2.4)
            clinic.fhir.add_fault("GET", "/Communication/referral", "drop", times=1)
            await clinic.passes(700)
            return clinic

    clinic = run(scenario())

    ended = clinic.communication("referral")
    assert len(clinic.metriport.messages) <= 1
    assert ended["status"] == "completed" or ended["statusReason"]["coding"][0]["code"] == "outcome-unknown"


def test_the_patrol_leaves_alone_what_is_not_ours() -> None:
    async def scenario() -> tuple[int, int, Site]:
        async with site(started=False, auto_complete_seconds=None) as clinic:
            stage(clinic)
            clinic.write(communication(id="no-mark", status="in-progress"))
            token = str(Token.mint(life="l", nonce="n", resource_id="another"))
            copied = Mark(round=1, token=token, destination="a@b.example", digest="d").extension()
            clinic.write(communication(id="copied", status="in-progress", extension=[copied]))
            own = str(Token.mint(life="l", nonce="n", resource_id="lost"))
            lost = Mark(round=1, token=own, destination="a@b.example", digest="d").extension()
            clinic.write(communication(id="lost", status="in-progress", extension=[lost]))
            context = (await clinic.start(idle=True)).context
            in_flight = await patrol(context, in_flight=lambda: {"lost"})
            return in_flight, await patrol(context, in_flight=frozenset), clinic

    in_flight, rebuilt, clinic = run(scenario())

    assert (in_flight, rebuilt) == (0, 1)
    assert "statusReason" not in clinic.communication("copied")
    assert clinic.communication("lost")["statusReason"]["coding"][0]["code"] == "outcome-unknown"


def test_the_patrol_writes_what_a_communication_lacks() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(60)
            claimed = next(
                one for one in clinic.fhir.history("Communication", "referral") if one and "extension" in one
            )
            clinic.write(claimed)
            await clinic.passes(700)
            return clinic

    clinic = run(scenario())

    assert clinic.communication("referral")["status"] == "completed"
    assert marks_on(clinic.communication("referral"))[0].message == clinic.metriport.messages[0].id


def test_held_reasons_hold_and_all_others_refuse() -> None:
    assert state_for(reason("held-patient-gone", detail="")) is State.HELD
    assert state_for(reason("refused-no-content")) is State.REFUSED


def test_a_communication_that_changes_faster_than_it_is_written_waits() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication(payload=[]))
            clinic.fhir.add_fault("PUT", "/Communication/", "409", times=7)
            await clinic.start()
            await clinic.passes(120)
            return clinic

    assert run(scenario()).communication("referral")["status"] == "not-done"


def test_an_unforeseen_error_in_the_step_of_one_message_is_said_and_the_step_taken_later() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            clinic.write(communication(id="other", topic={"text": "other"}))
            await clinic.start()
            await clinic.passes(3.1)
            clinic.fhir.add_fault("PUT", "/Communication/", "503", times=4)
            await clinic.passes(12)
            clinic.ledger_faults.append(LedgerFault(method="all_of", error=KeyError("Maple"), times=6))
            await clinic.passes(200)
            return clinic

    with overhearing(style="json") as heard:
        clinic = run(scenario())

    assert "transmission.failed" in heard.events()
    assert {one["status"] for one in clinic.fhir.resources("Communication")} == {"completed"}
