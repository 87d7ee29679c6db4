"""Tasks about held rounds: open while a person has to act, closed by themselves when the reason is gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.integration.people import communication, patient, stage
from tests.virtual.loop import run
from tests.virtual.site import Site, site

UNLINKED = patient(identifier=[])


def _held(visit: Callable[[Site], Awaitable[None]], *, lax: bool = False) -> Site:
    """A referral is held, as its patient is not linked; then the visit, and time enough to see what changed."""

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            if lax:
                clinic.fhir = clinic.lax_fhir()
            stage(clinic)
            clinic.write(UNLINKED)
            await clinic.start()
            clinic.write(communication())
            await clinic.passes(400)
            await visit(clinic)
            await clinic.passes(400)
            return clinic

    return run(scenario())


def _tasks(clinic: Site) -> list[tuple[str, str]]:
    return [
        (task["status"], task["businessStatus"]["coding"][0]["code"])
        for task in clinic.fhir.resources("Task")
    ]


async def _nothing(clinic: Site) -> None:
    pass


def test_a_question_stays_while_the_reason_does() -> None:
    clinic = _held(_nothing)

    assert clinic.communication("referral")["status"] == "on-hold"
    assert _tasks(clinic) == [("requested", "open")]


def test_what_went_after_all_is_asked_no_more() -> None:
    async def mend(clinic: Site) -> None:
        clinic.write(patient())
        clinic.write({**clinic.communication("referral"), "status": "preparation"})

    clinic = _held(mend)

    assert clinic.communication("referral")["status"] == "completed"
    assert _tasks(clinic) == [("cancelled", "applied")]


def test_a_new_round_that_is_held_asks_anew_and_only_once() -> None:
    async def again(clinic: Site) -> None:
        clinic.write({**clinic.communication("referral"), "status": "preparation"})

    clinic = _held(again)

    assert sorted(_tasks(clinic)) == [("cancelled", "applied"), ("requested", "open")]


def test_what_the_author_took_back_is_asked_no_more() -> None:
    async def withdraw(clinic: Site) -> None:
        clinic.write({**clinic.communication("referral"), "status": "entered-in-error"})

    assert _tasks(_held(withdraw)) == [("cancelled", "applied")]


def test_what_was_deleted_is_asked_no_more() -> None:
    async def delete(clinic: Site) -> None:
        await clinic.delete("Communication/referral")

    assert _tasks(_held(delete, lax=True)) == [("cancelled", "applied")]


def test_a_lost_ledger_closes_no_question() -> None:
    async def lose_ledger(clinic: Site) -> None:
        await clinic.stop()
        await clinic.lose_ledger()
        await clinic.start()

    assert _tasks(_held(lose_ledger)) == [("requested", "open")]


def test_a_person_who_is_at_it_is_not_disturbed() -> None:
    """Somebody else's edit in between, or a refusal of the server, puts the closing off."""

    async def mend(clinic: Site) -> None:
        clinic.fhir.add_fault("PUT", "/Task/", "409", times=1)
        await mended(clinic)
        await clinic.passes(600)

    async def mended(clinic: Site) -> None:
        clinic.write(patient())
        clinic.write({**clinic.communication("referral"), "status": "preparation"})

    assert _tasks(_held(mend)) == [("cancelled", "applied")]


def test_other_tasks_are_left_alone() -> None:
    other: dict[str, Any] = {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "focus": {"reference": "Patient/maple"},
    }

    async def add(clinic: Site) -> None:
        [ours] = clinic.fhir.resources("Task")
        clinic.write(
            {**other, "id": "theirs", "code": ours["code"], "businessStatus": ours["businessStatus"]}
        )

    clinic = _held(add)

    assert _tasks(clinic) == [("requested", "open")] * 2


def test_whose_a_received_message_is_stays_asked() -> None:
    async def receive(clinic: Site) -> None:
        clinic.metriport.receive(clinic.clock.now(), subject="Holter result", body="Regular.")

    assert _tasks(_held(receive)) == [("requested", "open")] * 2
