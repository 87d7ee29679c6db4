"""What an answer to the POST means, how a message's end is learned, and what happens while a neighbour is away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from adapter.domain.mark import End, marks_on
from adapter.domain.transmission import State
from adapter.errors import Temporary
from adapter.pipelines.outbound.track import put_off
from adapter.simulators.metriport import SANDBOX_PATIENTS
from tests.integration.people import communication, patient, stage
from tests.virtual.loop import run
from tests.virtual.site import Site, site

SEND = ("POST", "/medical/v1/message")


def _after(
    *,
    before: Callable[[Site], None] = lambda _: None,
    during: Callable[[Site], None] | None = None,
    seconds: float = 60.0,
    then: float = 0.0,
    **options: Any,
) -> Site:
    """One message from the start; `during` happens after `seconds`, and `then` more seconds pass."""

    async def scenario() -> Site:
        async with site(started=False, **options) as clinic:
            stage(clinic)
            before(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(seconds)
            if during:
                during(clinic)
            await clinic.passes(then)
            return clinic

    return run(scenario())


def _code(clinic: Site) -> str | None:
    reason = clinic.communication("referral").get("statusReason")
    return reason["coding"][0]["code"] if reason else None


def test_a_message_that_is_acknowledged_is_completed() -> None:
    clinic = _after()

    ended = clinic.communication("referral")
    message = clinic.metriport.messages[0]
    assert ended["status"] == "completed"
    assert ended["sent"] < ended["received"]
    assert ended["identifier"][0]["value"] == message.id
    assert marks_on(ended)[0].end is End.COMPLETED
    assert "statusReason" not in ended


@pytest.mark.parametrize("dialect", ["sdk", "docs"])
def test_both_dialects_are_understood(dialect: str) -> None:
    clinic = _after(dialect=dialect)

    assert clinic.communication("referral")["status"] == "completed"


@pytest.mark.parametrize("fault", ["429", "429:7"])
def test_what_was_not_taken_yet_waits_and_goes_with_the_same_claim(fault: str) -> None:
    clinic = _after(before=lambda clinic: clinic.metriport.add_fault(*SEND, fault, times=2), seconds=120)

    versions = clinic.fhir.history("Communication", "referral")
    tokens = {mark.token for version in versions if version for mark in marks_on(version)}
    assert len(clinic.sends()) == 3
    assert len(clinic.metriport.messages) == 1
    assert clinic.communication("referral")["status"] == "completed"
    assert len(tokens) == 1
    assert any("waiting-for-metriport" in str(version) for version in versions)


def test_a_429_that_was_applied_all_the_same_is_found_on_the_list() -> None:
    clinic = _after(before=lambda clinic: clinic.metriport.add_fault(*SEND, "apply-then-429"), seconds=120)

    assert len(clinic.sends()) == 1
    assert len(clinic.metriport.messages) == 1
    assert clinic.communication("referral")["status"] == "completed"


def test_a_list_that_does_not_add_up_says_nothing_of_a_429() -> None:
    def trouble(clinic: Site) -> None:
        clinic.metriport.add_fault(*SEND, "apply-then-429")
        clinic.metriport.add_fault("GET", "/medical/v1/message", "list-move", times=3)

    clinic = _after(before=trouble, seconds=300)

    assert len(clinic.sends()) == 1
    assert len(clinic.metriport.messages) == 1
    assert clinic.communication("referral")["status"] == "completed"


def test_metriport_unreachable_for_minutes_loses_and_doubles_nothing() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            for number in range(5):
                clinic.write(communication(id=f"m-{number}", topic={"text": str(number)}))
            await clinic.start()
            clinic.cut(metriport_server=True)
            await clinic.passes(300)
            clinic.cut()
            await clinic.passes(400)
            return clinic

    clinic = run(scenario())

    assert sorted(message.subject for message in clinic.metriport.messages) == ["0", "1", "2", "3", "4"]
    assert {one["status"] for one in clinic.fhir.resources("Communication")} == {"completed"}


def test_the_fhir_server_away_for_minutes_loses_and_doubles_nothing() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            for number in range(5):
                clinic.write(communication(id=f"m-{number}", topic={"text": str(number)}))
            await clinic.start()
            await clinic.passes(7)
            clinic.cut(fhir_server=True)
            await clinic.passes(300)
            clinic.cut()
            await clinic.passes(600)
            return clinic

    clinic = run(scenario())

    assert sorted(message.subject for message in clinic.metriport.messages) == ["0", "1", "2", "3", "4"]
    assert {one["status"] for one in clinic.fhir.resources("Communication")} == {"completed"}


def test_a_refused_key_stops_the_lane_and_changes_no_end() -> None:
    async def scenario() -> tuple[Site, str, str | None]:
        async with site(started=False, api_key="another-key") as clinic:
            stage(clinic)
            clinic.write(communication())
            adapter = await clinic.start()
            await clinic.passes(60)
            status, stopped = clinic.communication("referral")["status"], adapter.worker.lane.stopped
            clinic.metriport.set_keys("virtual-key")
            await clinic.passes(400)
            assert adapter.worker.lane.stopped is None
            return clinic, status, stopped

    clinic, status, stopped = run(scenario())

    assert status == "in-progress"
    assert stopped
    assert clinic.communication("referral")["status"] == "completed"
    assert len(clinic.metriport.messages) == 1


def test_a_webhook_that_never_comes_is_made_up_for_by_asking() -> None:
    clinic = _after(before=lambda clinic: clinic.metriport.add_fault("*", "", "webhook-lost"), seconds=90)

    assert clinic.communication("referral")["status"] == "completed"


@pytest.mark.parametrize("fault", ["webhook-twice", "webhook-late"])
def test_webhooks_that_repeat_or_come_late_change_nothing(fault: str) -> None:
    clinic = _after(before=lambda clinic: clinic.metriport.add_fault("*", "", fault), seconds=120)

    versions = [one for one in clinic.fhir.history("Communication", "referral") if one]
    assert clinic.communication("referral")["status"] == "completed"
    assert [one["status"] for one in versions] == ["preparation", "in-progress", "in-progress", "completed"]


def test_a_status_that_comes_before_its_id_is_joined_to_it() -> None:
    clinic = _after(auto_complete_seconds=0.0, latency=lambda: 0.05)

    assert clinic.communication("referral")["status"] == "completed"


def test_a_failed_delivery_says_metriports_reason() -> None:
    clinic = _after(
        during=lambda clinic: clinic.metriport.fail(
            clinic.metriport.messages[0].id, "The mailbox is full.", clinic.clock.now()
        ),
        seconds=10,
        then=10,
        auto_complete_seconds=None,
    )

    ended = clinic.communication("referral")
    assert ended["status"] == "stopped"
    assert _code(clinic) == "delivery-failed"
    assert "The mailbox is full." in ended["statusReason"]["text"]


@pytest.mark.parametrize("last", ["completed", "failed"])
def test_two_contradicting_ends_are_settled_by_metriports_record(last: str) -> None:
    def contradict(clinic: Site) -> None:
        message, now = clinic.metriport.messages[0], clinic.clock.now()
        if last == "completed":
            clinic.metriport.complete(message.id, now)
        else:
            clinic.metriport.fail(message.id, "no", now)

    def end(clinic: Site) -> None:
        message, now = clinic.metriport.messages[0], clinic.clock.now()
        if last == "completed":
            clinic.metriport.fail(message.id, "no", now)
        else:
            clinic.metriport.complete(message.id, now)

    async def scenario() -> Site:
        async with site(auto_complete_seconds=None, started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(10)
            end(clinic)
            await clinic.passes(10)
            contradict(clinic)
            await clinic.passes(30)
            return clinic

    clinic = run(scenario())

    assert clinic.communication("referral")["status"] == {"completed": "completed", "failed": "stopped"}[last]
    assert ("statusReason" in clinic.communication("referral")) is (last == "failed")


def test_a_late_word_that_metriports_record_does_not_bear_out_changes_nothing() -> None:
    def contradict(clinic: Site) -> None:
        message, now = clinic.metriport.messages[0], clinic.clock.now()
        clinic.metriport.fail(message.id, "no", now)
        clinic.metriport.complete(message.id, now)

    clinic = _after(during=contradict, seconds=20, then=30)

    assert clinic.communication("referral")["status"] == "completed"
    assert len([one for one in clinic.fhir.history("Communication", "referral") if one]) == 4


def test_no_acknowledgement_is_said_after_three_days_and_given_up_after_thirty() -> None:
    async def scenario() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], Site]:
        async with site(auto_complete_seconds=None, started=False, doorbell=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start(rhythm=clinic.slow())
            await clinic.passes(80 * 3600)
            unconfirmed = clinic.communication("referral")
            await clinic.passes(28 * 86400)
            given_up = clinic.communication("referral")
            clinic.metriport.complete(clinic.metriport.messages[0].id, clinic.clock.now())
            await clinic.passes(7200)
            return unconfirmed, given_up, clinic.communication("referral"), clinic

    unconfirmed, given_up, late, clinic = run(scenario())

    assert (unconfirmed["status"], unconfirmed["statusReason"]["coding"][0]["code"]) == (
        "in-progress", "delivery-unconfirmed",
    )  # fmt: skip
    assert (given_up["status"], given_up["statusReason"]["coding"][0]["code"]) == (
        "stopped",
        "delivery-unconfirmed",
    )
    assert late["status"] == "completed"
    assert len(clinic.fhir.resources("Task")) == 1


def test_claims_of_an_earlier_life_are_unknown() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(2.9)
            assert clinic.communication("referral")["status"] == "in-progress"
            clinic.kill()
            await clinic.start()
            await clinic.passes(150)
            return clinic

    clinic = run(scenario())

    assert len(clinic.sends()) <= 1
    assert _code(clinic) == "outcome-unknown"


def test_a_ledger_that_was_lost_is_rebuilt_from_the_marks() -> None:
    async def scenario() -> tuple[Site, Any]:
        async with site(auto_complete_seconds=None, started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(10)
            await clinic.stop()
            await clinic.lose_ledger()
            adapter = await clinic.start()
            await clinic.passes(400)
            rebuilt = await adapter.ledger.newest("referral")
            clinic.metriport.complete(clinic.metriport.messages[0].id, clinic.clock.now())
            await clinic.passes(30)
            return clinic, rebuilt

    clinic, rebuilt = run(scenario())

    assert rebuilt.state is State.SENT
    assert rebuilt.message == clinic.metriport.messages[0].id
    assert clinic.communication("referral")["status"] == "completed"


def test_a_claim_whose_answer_got_lost_is_recognised_by_its_token() -> None:
    clinic = _after(before=lambda clinic: clinic.fhir.add_fault("PUT", "/Communication/", "apply-then-drop"))

    assert clinic.communication("referral")["status"] == "completed"
    assert len(clinic.metriport.messages) == 1


def test_a_claim_that_was_not_taken_is_made_again() -> None:
    clinic = _after(before=lambda clinic: clinic.fhir.add_fault("PUT", "/Communication/", "drop"))

    assert clinic.communication("referral")["status"] == "completed"
    assert len(clinic.metriport.messages) == 1


def test_a_write_back_that_is_refused_is_tried_again_a_day_later() -> None:
    async def scenario() -> tuple[str, Site]:
        async with site(started=False, doorbell=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start(rhythm=clinic.slow())
            await clinic.passes(3.3)
            clinic.fhir.add_fault("PUT", "/Communication/", "422")
            await clinic.passes(7200)
            between = clinic.communication("referral")["status"]
            await clinic.passes(90000)
            return between, clinic

    between, clinic = run(scenario())

    assert between == "in-progress"
    assert clinic.communication("referral")["status"] == "completed"


@pytest.mark.parametrize("status", ["422", "503"])
def test_a_refusal_that_cannot_be_written_yet_is_not_a_new_wish(status: str) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication(payload=[]))
            clinic.fhir.add_fault("PUT", "/Communication/", status, times=3)
            await clinic.start(rhythm=clinic.slow() if status == "422" else None)
            await clinic.passes(5 * 86400 if status == "422" else 600)
            return clinic

    clinic = run(scenario())

    ended = clinic.communication("referral")
    assert (ended["status"], _code(clinic)) == ("not-done", "refused-no-content")
    assert [mark.round for mark in marks_on(ended)] == [1]


def test_an_edit_after_such_a_refusal_is_a_new_wish() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication(payload=[]))
            clinic.fhir.add_fault("PUT", "/Communication/", "422")
            await clinic.start()
            await clinic.passes(30)
            clinic.write(communication())
            await clinic.passes(60)
            return clinic

    clinic = run(scenario())

    assert clinic.communication("referral")["status"] == "completed"
    assert len(clinic.metriport.messages) == 1


def test_a_task_that_is_refused_keeps_nothing_else_from_being_written() -> None:
    def prepare(clinic: Site) -> None:
        clinic.write(patient(identifier=[]))
        clinic.fhir.add_fault("PUT", "/Task/", "422")

    clinic = _after(before=prepare)

    assert _code(clinic) == "held-patient-unknown"
    assert clinic.fhir.resources("Task") == []


def test_an_opted_out_patient_is_held() -> None:
    def opt_out(clinic: Site) -> None:
        clinic.metriport.opt_out(SANDBOX_PATIENTS[0].id, "Patient has opted out from the networks")

    clinic = _after(before=opt_out)

    assert clinic.communication("referral")["status"] == "on-hold"
    assert _code(clinic) == "held-patient-opted-out"


def test_a_row_whose_step_somebody_else_did_meanwhile_is_not_put_off() -> None:
    async def scenario() -> Site:
        async with site() as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.passes(60)
            assert clinic.adapter is not None
            [row] = await clinic.adapter.ledger.all_of("referral")

            await put_off(clinic.adapter.context, row, Temporary("not now"))

            assert await clinic.adapter.ledger.due(clinic.clock.now() + timedelta(days=1), limit=5) == []
            return clinic

    assert run(scenario()).communication("referral")["status"] == "completed"
