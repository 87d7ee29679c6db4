"""Authors save what they have, when they like, without `If-Match`: nothing is sent twice, and our fields come back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from adapter.domain.canonical import COMMUNICATION_ID, INSTRUCTION_SYSTEM, TRANSMISSION_EXTENSION
from adapter.domain.mark import End, marks_on
from adapter.pipelines.outbound.context import Policy
from adapter.simulators.http import Request, Response
from adapter.simulators.metriport import FULL_MAILBOX
from tests.integration.canary import overhearing
from tests.integration.people import ADDRESS, communication, stage
from tests.virtual.loop import run
from tests.virtual.site import Site, site

# Seconds after the adapter's start at which an author saves: before the claim, between claim and POST, while it is
# under way, when it was accepted, when it was completed, and long after.
STAGES = [0.1, 2.4, 2.6, 2.9, 3.0, 3.01, 3.02, 3.03, 3.05, 3.1, 3.3, 4.0, 5.0, 5.02, 5.1, 6.0, 20.0, 90.0]


def _sent_once_and_completed(clinic: Site) -> None:
    ended = clinic.communication("referral")
    assert len(clinic.metriport.messages) == 1
    assert ended["status"] == "completed"
    assert [one["value"] for one in ended["identifier"] if one["system"] == COMMUNICATION_ID] == [
        clinic.metriport.messages[0].id
    ]
    assert marks_on(ended)[0].end is End.COMPLETED


@pytest.mark.parametrize("moment", STAGES)
def test_a_stale_copy_saved_over_our_fields_sends_nothing_twice(moment: float) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            stale = clinic.write(communication())
            await clinic.start()
            await clinic.passes(moment)
            clinic.write({**stale, "note": [{"text": "edited elsewhere"}]})
            await clinic.passes(700)
            return clinic

    clinic = run(scenario())

    _sent_once_and_completed(clinic)
    assert clinic.communication("referral")["note"] == [{"text": "edited elsewhere"}]


def test_stale_copies_at_every_stage_send_nothing_twice() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            stale = clinic.write(communication())
            await clinic.start()
            for _ in range(40):
                await clinic.passes(0.37)
                clinic.write(stale)
            await clinic.passes(1000)
            return clinic

    _sent_once_and_completed(run(scenario()))


@pytest.mark.parametrize("moment", [2.7, 3.02, 4.0, 30.0])
def test_a_server_without_history_leaves_the_ledger_to_know(moment: float) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            stale = clinic.write(communication())
            clinic.fhir.add_fault("GET", "/Communication/referral/_history", "501", times=1000)
            await clinic.start()
            await clinic.passes(moment)
            clinic.write(stale)
            await clinic.passes(400)
            return clinic

    _sent_once_and_completed(run(scenario()))


@pytest.mark.parametrize("moment", [2.7, 3.02, 4.0, 30.0])
def test_a_stale_copy_after_the_ledger_was_lost_sends_nothing_twice(moment: float) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            stale = clinic.write(communication())
            await clinic.start()
            await clinic.passes(moment)
            await clinic.stop()
            await clinic.lose_ledger()
            clinic.write(stale)
            await clinic.start()
            await clinic.passes(900)
            return clinic

    clinic = run(scenario())

    assert len(clinic.metriport.messages) <= 1
    assert clinic.communication("referral")["status"] in {"completed", "in-progress"}


def test_a_saved_copy_is_said_on_the_communication() -> None:
    async def scenario() -> dict[str, Any]:
        async with site(auto_complete_seconds=None, started=False) as clinic:
            stage(clinic)
            stale = clinic.write(communication())
            await clinic.start()
            await clinic.passes(10)
            clinic.write(stale)
            await clinic.passes(40)
            return clinic.communication("referral")

    ended = run(scenario())

    assert ended["status"] == "in-progress"
    assert "put its fields back" in ended["statusReason"]["text"]


def _again(status: str, **elements: Any) -> Any:
    """Ends once, then the author sets `preparation` again."""

    async def scenario() -> Site:
        async with site(auto_complete_seconds=None, started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(10)
            first = clinic.metriport.messages[0]
            if status == "completed":
                clinic.metriport.complete(first.id, clinic.clock.now())
            else:
                clinic.metriport.fail(first.id, "The mailbox is full.", clinic.clock.now())
            await clinic.passes(60)
            assert clinic.communication("referral")["status"] == status
            clinic.write({**clinic.communication("referral"), "status": "preparation", **elements})
            await clinic.passes(60)
            return clinic

    return run(scenario())


def test_preparation_after_a_failure_is_a_new_round() -> None:
    clinic = _again("stopped")

    ended = clinic.communication("referral")
    assert len(clinic.metriport.messages) == 2
    assert [mark.round for mark in marks_on(ended)] == [2, 1]
    uses = {one["value"]: one.get("use") for one in ended["identifier"]}
    assert uses == {clinic.metriport.messages[0].id: "old", clinic.metriport.messages[1].id: None}
    assert "statusReason" not in ended


@pytest.mark.parametrize("trouble", ["503", "422"])
def test_who_asks_again_before_the_failure_could_be_told_is_told_it_first(trouble: str) -> None:
    """To ask again is for those who know how it ended. A refused write is tried again after the edit, not a day later."""

    async def scenario() -> tuple[Any, Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication(recipient=[{"display": FULL_MAILBOX}]))
            await clinic.start()
            await clinic.passes(4)
            clinic.fhir.add_fault("PUT", "/Communication/referral", trouble, times=1)
            await clinic.passes(3)
            assert clinic.metriport.messages[0].status == "failed"
            clinic.write({**clinic.communication("referral"), "status": "preparation"})
            await clinic.passes(300)
            told = clinic.communication("referral")
            clinic.write({**told, "status": "preparation"})
            await clinic.passes(300)
            return told, clinic

    told, clinic = run(scenario())

    assert (told["status"], told["statusReason"]["coding"][0]["code"]) == ("stopped", "delivery-failed")
    assert [(mark.round, mark.end) for mark in marks_on(told)] == [(1, End.FAILED)]
    assert [mark.round for mark in marks_on(clinic.communication("referral"))] == [2, 1]
    assert len(clinic.metriport.messages) == 2


@pytest.mark.parametrize("times", [1, 2])
def test_who_asks_again_before_the_withdrawal_could_be_told_is_told_it_first(times: int) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.metriport.add_fault("POST", "/medical/v1/message", "429")
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(5)
            clinic.fhir.add_fault("PUT", "/Communication/referral", "503", times=times)
            clinic.write({**clinic.communication("referral"), "status": "preparation"})
            await clinic.passes(600)
            return clinic

    clinic = run(scenario())

    rounds = [marks_on(version or {}) for version in clinic.fhir.history("Communication", "referral")]
    assert [(mark.round, mark.end) for mark in rounds[-1]] == [(2, End.COMPLETED), (1, End.WITHDRAWN)]
    assert all(former.end is End.WITHDRAWN for marks in rounds for former in marks[1:])
    assert len(clinic.metriport.messages) == 1


def test_preparation_after_completed_needs_the_resend_instruction() -> None:
    clinic = _again("completed")

    assert len(clinic.metriport.messages) == 1
    assert clinic.communication("referral")["status"] == "completed"


def test_the_resend_instruction_opens_a_round_and_is_taken_off() -> None:
    clinic = _again("completed", category=[{"coding": [{"system": INSTRUCTION_SYSTEM, "code": "resend"}]}])

    assert len(clinic.metriport.messages) == 2
    assert "category" not in clinic.communication("referral")


def test_a_communication_deleted_after_its_second_round_is_not_made_again() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication(recipient=[{"display": FULL_MAILBOX}]))
            await clinic.start()
            await clinic.passes(60)
            clinic.write({**clinic.communication("referral"), "status": "preparation"})
            await clinic.passes(60)
            await clinic.delete("Communication/referral")
            await clinic.passes(700)
            return clinic

    clinic = run(scenario())

    assert len(clinic.metriport.messages) == 2
    assert clinic.fhir.resources("Communication") == []


@pytest.mark.parametrize("seconds", [1.0, 10.0], ids=["accepted", "failed"])
def test_an_old_copy_of_the_first_end_hides_nothing_of_the_round_that_was_asked_for_since(
    seconds: float,
) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(60)
            completed = clinic.communication("referral")
            assert completed["status"] == "completed"
            again = {"status": "preparation", "recipient": [{"display": FULL_MAILBOX}], **RESEND}
            clinic.write({**completed, **again})
            await clinic.passes(seconds)
            clinic.write({**completed, "note": [{"text": "edited elsewhere"}]})
            await clinic.passes(700)
            return clinic

    clinic = run(scenario())

    ended = clinic.communication("referral")
    assert len(clinic.metriport.messages) == 2
    assert (ended["status"], ended["statusReason"]["coding"][0]["code"]) == ("stopped", "delivery-failed")
    assert [(mark.round, mark.end) for mark in marks_on(ended)] == [(2, End.FAILED), (1, End.COMPLETED)]


@pytest.mark.parametrize("status", ["entered-in-error", "stopped", "not-done", "on-hold"])
def test_a_wish_withdrawn_before_the_claim_is_not_sent(status: str) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            mine = clinic.write(communication())
            await clinic.start()
            await clinic.passes(1.0)
            clinic.write({**mine, "status": status})
            await clinic.passes(60)
            return clinic

    clinic = run(scenario())

    assert clinic.metriport.messages == []
    assert clinic.communication("referral")["status"] == status
    assert TRANSMISSION_EXTENSION not in str(clinic.communication("referral"))


@pytest.mark.parametrize("status", ["entered-in-error", "stopped", "unknown"])
def test_an_authors_decision_after_the_send_stays_and_gets_the_identifier(status: str) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            await clinic.start()
            clinic.write(communication())
            await clinic.passes(3.5)
            clinic.write({**clinic.communication("referral"), "status": status})
            await clinic.passes(60)
            return clinic

    clinic = run(scenario())

    ended = clinic.communication("referral")
    assert ended["status"] == status
    assert ended["identifier"][0]["value"] == clinic.metriport.messages[0].id
    assert marks_on(ended)[0].end is End.COMPLETED
    tasks = clinic.fhir.resources("Task")
    assert [task["code"]["coding"][0]["code"] for task in tasks] == ["sent-but-withdrawn"]


def test_an_edit_between_claim_and_send_is_said_not_to_have_gone() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            await clinic.start()
            clinic.metriport.add_fault("POST", "/medical/v1/message", "429")
            clinic.write(communication())
            await clinic.passes(5.0)
            clinic.write({**clinic.communication("referral"), "note": [{"text": "later"}]})
            await clinic.passes(60)
            return clinic

    clinic = run(scenario())

    versions = [one for one in clinic.fhir.history("Communication", "referral") if one]
    assert len(clinic.metriport.messages) == 1
    assert any("Version 1 was sent" in str(version.get("statusReason")) for version in versions)
    assert clinic.communication("referral")["status"] == "completed"
    assert "statusReason" not in clinic.communication("referral")


def test_a_withdrawal_while_the_claim_waits_is_not_sent() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            await clinic.start()
            clinic.metriport.add_fault("POST", "/medical/v1/message", "429")
            clinic.write(communication())
            await clinic.passes(5.0)
            clinic.write({**clinic.communication("referral"), "status": "entered-in-error"})
            await clinic.passes(60)
            return clinic

    clinic = run(scenario())

    assert clinic.metriport.messages == []
    assert clinic.communication("referral")["status"] == "entered-in-error"
    assert marks_on(clinic.communication("referral"))[0].end is End.WITHDRAWN


def test_a_withdrawal_of_a_claim_that_no_ledger_recorded_is_not_sent_and_gets_its_end() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            clinic.fhir.add_fault("PUT", "/Communication/referral", "slow:2")
            await clinic.start()
            while not marks_on(clinic.communication("referral")):
                await clinic.passes(0.05)
            clinic.kill()
            await clinic.start()
            clinic.cut(fhir_server=True)
            await clinic.passes(60)
            clinic.cut()
            clinic.write({**clinic.communication("referral"), "status": "not-done"})
            # It is being looked at, as something to send, whenever those that were taken back are.
            clinic.fhir.add_fault("GET", "/Communication/referral", "slow:2", times=20)
            await clinic.passes(1500)
            return clinic

    clinic = run(scenario())

    assert clinic.metriport.messages == []
    assert clinic.communication("referral")["status"] == "not-done"
    assert [mark.end for mark in marks_on(clinic.communication("referral"))] == [End.WITHDRAWN]


def test_a_communication_deleted_after_the_send_is_not_made_again() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            await clinic.start()
            clinic.write(communication())
            await clinic.passes(3.5)
            await clinic.delete("Communication/referral")
            await clinic.passes(60)
            return clinic

    clinic = run(scenario())

    assert clinic.fhir.resources("Communication") == []
    assert clinic.fhir.history("Communication", "referral")[-1] is None


@pytest.mark.parametrize("recipient", [ADDRESS, FULL_MAILBOX])
def test_a_copy_with_our_mark_on_it_is_not_sent(recipient: str) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            await clinic.start()
            clinic.write(communication(recipient=[{"display": recipient}]))
            await clinic.passes(30)
            clinic.write({**clinic.communication("referral"), "id": "copy", "status": "preparation"})
            await clinic.passes(60)
            return clinic

    clinic = run(scenario())

    assert len(clinic.metriport.messages) == 1
    assert clinic.communication("copy")["status"] == "preparation"


def test_an_edit_before_the_claim_is_what_is_sent() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            mine = clinic.write(communication())
            await clinic.start()
            await clinic.passes(2.0)
            clinic.write({**mine, "topic": {"text": "Edited"}})
            await clinic.passes(60)
            return clinic

    assert [message.subject for message in run(scenario()).metriport.messages] == ["Edited"]


def test_a_communication_without_the_marker_is_never_sent() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication(medium=[{"coding": [{"system": "urn:x", "code": "fax"}]}]))
            await clinic.start()
            await clinic.passes(60)
            return clinic

    clinic = run(scenario())

    assert clinic.metriport.messages == []
    assert clinic.communication("referral")["status"] == "preparation"


@pytest.mark.parametrize(
    ("completes", "stale", "lost"),
    [(True, False, False), (True, True, False), (False, False, False), (True, False, True)],
    ids=["it was completed", "from an old copy", "it was accepted", "the ledger was lost"],
)
def test_a_withdrawal_after_the_send_is_told_a_person_though_nothing_is_to_be_written(
    *, completes: bool, stale: bool, lost: bool
) -> None:
    async def scenario() -> Site:
        async with site(started=False, auto_complete_seconds=1.0 if completes else None) as clinic:
            stage(clinic)
            mine = clinic.write(communication())
            await clinic.start()
            await clinic.passes(20)
            before = mine if stale else clinic.communication("referral")
            clinic.write({**before, "status": "entered-in-error"})
            if lost:
                await clinic.stop()
                await clinic.lose_ledger()
                await clinic.start()
            await clinic.passes(400)
            return clinic

    clinic = run(scenario())

    tasks = [one["code"]["coding"][0]["code"] for one in clinic.fhir.resources("Task")]
    ended = clinic.communication("referral")
    assert tasks == ["sent-but-withdrawn"]
    assert ended["status"] == "entered-in-error"
    assert [one["value"] for one in ended["identifier"]] == [clinic.metriport.messages[0].id]


def test_an_old_copy_of_what_was_taken_back_gets_its_end_back() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.metriport.add_fault("POST", "/medical/v1/message", "429", times=100)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(10)
            mine = clinic.write({**clinic.communication("referral"), "status": "entered-in-error"})
            await clinic.passes(120)
            assert [mark.end for mark in marks_on(clinic.communication("referral"))] == [End.WITHDRAWN]
            clinic.write({**mine, "note": [{"text": "a slip of the pen"}]})
            await clinic.passes(700)
            return clinic

    clinic = run(scenario())

    ended = clinic.communication("referral")
    assert [mark.end for mark in marks_on(ended)] == [End.WITHDRAWN]
    assert (ended["status"], ended["note"]) == ("entered-in-error", [{"text": "a slip of the pen"}])
    assert clinic.metriport.messages == []


def test_what_ended_otherwise_is_no_withdrawal() -> None:
    async def scenario() -> Site:
        async with site(started=False, auto_complete_seconds=None) as clinic:
            stage(clinic)
            for id in ("failed", "withdrawn"):
                clinic.write(communication(id=id, topic={"text": id}))
            clinic.write(communication(id="refused", payload=[]))
            clinic.write({**clinic.communication("withdrawn"), "status": "entered-in-error"})
            await clinic.start()
            await clinic.passes(20)
            clinic.metriport.fail(clinic.metriport.messages[0].id, "no", clinic.clock.now())
            await clinic.passes(700)
            return clinic

    clinic = run(scenario())

    ends = {one["id"]: one["status"] for one in clinic.fhir.resources("Communication")}
    assert ends == {"failed": "stopped", "refused": "not-done", "withdrawn": "entered-in-error"}
    assert clinic.fhir.resources("Task") == []


def test_a_copy_is_reported_and_not_sent() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            await clinic.start()
            clinic.write(communication())
            await clinic.passes(30)
            clinic.write({**clinic.communication("referral"), "id": "copy", "status": "preparation"})
            await clinic.passes(200)
            return clinic

    with overhearing(style="json") as heard:
        clinic = run(scenario())

    assert len(clinic.metriport.messages) == 1
    assert clinic.communication("copy")["meta"]["versionId"] == "1"
    assert heard.events().count("communication.copied-mark") == 1


def test_a_communication_deleted_before_the_claim_is_not_sent() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(1.0)
            await clinic.delete("Communication/referral")
            await clinic.passes(60)
            return clinic

    clinic = run(scenario())

    assert clinic.metriport.messages == []
    assert clinic.fhir.resources("Communication") == []


@pytest.mark.parametrize("status", ["not-done", "on-hold"])
def test_preparation_after_a_refusal_or_a_hold_is_a_new_round(status: str) -> None:
    bad: dict[str, Any] = {"not-done": {"payload": []}, "on-hold": {"recipient": [{"display": "Somebody"}]}}

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication(**bad[status]))
            await clinic.start()
            await clinic.passes(20)
            assert clinic.communication("referral")["status"] == status
            mended = {name: communication()[name] for name in bad[status]}
            clinic.write({**clinic.communication("referral"), "status": "preparation", **mended})
            await clinic.passes(60)
            return clinic

    clinic = run(scenario())

    ended = clinic.communication("referral")
    assert ended["status"] == "completed"
    assert [mark.round for mark in marks_on(ended)] == [2, 1]


RESEND: dict[str, Any] = {"category": [{"coding": [{"system": INSTRUCTION_SYSTEM, "code": "resend"}]}]}


@pytest.mark.parametrize("hours", [4, 31], ids=["it is still asked for", "it was given up"])
@pytest.mark.parametrize("instruction", [{}, RESEND], ids=["preparation alone", "with the instruction"])
@pytest.mark.parametrize("late", [False, True], ids=["no answer", "a late answer"])
def test_what_was_never_acknowledged_is_sent_again_when_that_is_said(
    hours: int, instruction: dict[str, Any], *, late: bool
) -> None:
    async def scenario() -> Site:
        async with site(auto_complete_seconds=None, started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            impatient = Policy(unconfirmed_after=timedelta(hours=3), given_up_after=timedelta(hours=24))
            await clinic.start(policy=impatient, rhythm=replace(clinic.slow(), sweep=600.0))
            await clinic.passes(hours * 3600)
            clinic.write({**clinic.communication("referral"), "status": "preparation", **instruction})
            await clinic.passes(1200)
            if late:
                clinic.metriport.complete(clinic.metriport.messages[0].id, clinic.clock.now())
            await clinic.passes(7200)
            return clinic

    clinic = run(scenario())

    ended = clinic.communication("referral")
    rounds = [(mark.round, mark.end) for mark in marks_on(ended)]
    first = End.COMPLETED if late else None
    if instruction:
        assert len(clinic.metriport.messages) == 2
        assert (ended["status"], rounds) == ("in-progress", [(2, None), (1, first)])
        assert "category" not in ended
    else:
        assert len(clinic.metriport.messages) == 1
        back = {4: "in-progress", 31: "stopped"}[hours]
        assert (ended["status"], rounds) == ("completed" if late else back, [(1, first)])


@pytest.mark.parametrize("elements", [{"payload": []}, {"recipient": [{"display": "Somebody"}]}])
def test_what_was_mended_before_its_refusal_could_be_written_goes(elements: dict[str, Any]) -> None:
    """The refusal of a version is never written over the next one."""

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication(**elements))
            refusals: list[bool] = []

            def mends(request: Request, _now: datetime) -> Response | None:
                is_refusal = request.method == "PUT" and b"delivery-reason" in request.body
                if is_refusal and not refusals:
                    refusals.append(True)
                    clinic.write(communication())
                return None

            clinic.stand_in(clinic.fhir, mends)
            await clinic.start()
            await clinic.passes(120)
            return clinic

    clinic = run(scenario())

    statuses = [one["status"] for one in clinic.fhir.history("Communication", "referral") if one]
    assert not {"not-done", "on-hold"} & set(statuses)
    assert clinic.communication("referral")["status"] == "completed"
    assert len(clinic.metriport.messages) == 1


def test_a_stale_copy_without_a_mark_opens_its_round_even_when_it_has_to_be_looked_at_twice() -> None:
    """Neither history nor the copy knows of the first round; its row does, though a new one is open already."""

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.fhir.add_fault("GET", "/Communication/referral/_history", "501", times=1000)
            clinic.write(communication(payload=[]))
            await clinic.start()
            await clinic.passes(20)
            assert clinic.communication("referral")["status"] == "not-done"
            clinic.fhir.add_fault("GET", "/Patient/maple", "503", times=4)
            clinic.write(communication())
            await clinic.passes(900)
            return clinic

    clinic = run(scenario())

    assert clinic.communication("referral")["status"] == "completed"
    assert len(clinic.metriport.messages) == 1


def test_a_resend_that_was_asked_for_is_not_lost_when_the_first_one_fails_meanwhile() -> None:
    async def scenario() -> Site:
        async with site(auto_complete_seconds=None, started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            impatient = Policy(unconfirmed_after=timedelta(hours=3))
            await clinic.start(policy=impatient, rhythm=replace(clinic.slow(), sweep=600.0))
            await clinic.passes(4 * 3600)
            clinic.fhir.add_fault("GET", "/Patient/", "503", times=4)
            clinic.write({**clinic.communication("referral"), "status": "preparation", **RESEND})
            await clinic.passes(5)
            clinic.metriport.fail(clinic.metriport.messages[0].id, "The mailbox is full.", clinic.clock.now())
            await clinic.passes(3600)
            return clinic

    clinic = run(scenario())

    assert len(clinic.metriport.messages) == 2
    assert [mark.round for mark in marks_on(clinic.communication("referral"))] == [2, 1]
