"""What others sent from the account: shown where the site wants it, never sent by us, and never what is ours."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import pytest

from adapter.domain.canonical import COMMUNICATION_ID, DIRECTION_SYSTEM, NPI_SYSTEM, URI_SYSTEM
from adapter.domain.marker import SENT_ELSEWHERE
from adapter.mapping import resources
from adapter.simulators.http import Request, Response
from adapter.simulators.metriport import SANDBOX_PATIENTS
from adapter.worker import Rhythm
from tests.integration.people import ADDRESS, MEDIUM, communication, stage
from tests.virtual.loop import run
from tests.virtual.site import API_KEY, Site, site

Json = dict[str, Any]

KNOWN: Final = SANDBOX_PATIENTS[0].id
OTHER: Final = SANDBOX_PATIENTS[1].id
SOON: Final = Rhythm(reconcile=60.0, track=10.0, patrol=60.0)


def at(visit: Callable[[Site], Awaitable[None]], *, wanted: bool = True, **options: Any) -> Site:
    """A clinic whose adapter shows what others sent, if that is `wanted`."""

    async def scenario() -> Site:
        async with site(started=False, **{"auto_complete_seconds": 30.0, **options}) as clinic:
            shows = clinic.settings.inbound.model_copy(update={"sent_elsewhere": wanted})
            clinic.settings = clinic.settings.model_copy(update={"inbound": shows})
            stage(clinic)
            await clinic.start(rhythm=SOON)
            await visit(clinic)
            return clinic

    return run(scenario())


def others_send(clinic: Site, *, patient: str = KNOWN, **stated: Any) -> str:
    """Somebody else sends from the same account; Metriport's id of it."""
    body = {"destination": ADDRESS, "subject": "From the portal", "body": "Sent by hand.", **stated}
    request = Request(
        method="POST",
        path="/medical/v1/message",
        query=f"patientId={patient}",
        headers={"x-api-key": API_KEY, "content-type": "application/json"},
        body=json.dumps(body).encode(),
    )
    answer = clinic.metriport.handle(request, clinic.clock.now())
    assert answer.status == 200, answer.body
    return str(clinic.metriport.messages[-1].id)


def shown(clinic: Site) -> list[Json]:
    """The Communications that show what others sent."""
    return [one for one in clinic.fhir.resources("Communication") if SENT_ELSEWHERE in json.dumps(one)]


@pytest.mark.parametrize("dialect", ["sdk", "docs"])
def test_what_others_sent_is_shown_and_never_sent(dialect: str) -> None:
    async def visit(clinic: Site) -> None:
        others_send(clinic, intendedRecipientNpi=["1234567893"])
        await clinic.passes(900)

    clinic = at(visit, dialect=dialect)

    [found] = shown(clinic)
    assert list(resources.problems(found)) == []
    assert found["status"] == "completed"
    assert found["received"]
    assert found["identifier"] == [{"system": COMMUNICATION_ID, "value": clinic.metriport.messages[0].id}]
    assert found["subject"] == {"reference": "Patient/maple"}
    assert found["topic"] == {"text": "From the portal"}
    assert found["payload"] == [{"contentString": "Sent by hand."}]
    assert [one["identifier"] for one in found["recipient"]] == [
        {"system": URI_SYSTEM, "value": f"mailto:{ADDRESS}"},
        {"system": NPI_SYSTEM, "value": "1234567893"},
    ]
    assert "medium" not in found
    assert len(clinic.metriport.messages) == 1
    assert len(clinic.fhir.history("Communication", found["id"])) == 1


def test_by_default_nothing_of_it_is_shown() -> None:
    async def visit(clinic: Site) -> None:
        others_send(clinic)
        await clinic.passes(900)

    assert shown(at(visit, wanted=False)) == []


@pytest.mark.parametrize(
    ("reason", "status"),
    [(None, "completed"), ("The mailbox is full.", "stopped")],
    ids=["completed", "failed"],
)
def test_how_far_it_got_is_followed(reason: str | None, status: str) -> None:
    async def visit(clinic: Site) -> None:
        message = others_send(clinic)
        await clinic.passes(900)
        assert [one["status"] for one in shown(clinic)] == ["in-progress"]
        if reason:
            clinic.metriport.fail(message, reason, clinic.clock.now())
        else:
            clinic.metriport.complete(message, clinic.clock.now())
        await clinic.passes(120)

    clinic = at(visit, auto_complete_seconds=None)

    [found] = shown(clinic)
    assert found["status"] == status
    assert (reason or "") in found.get("statusReason", {}).get("text", "")
    assert list(resources.problems(found)) == []


def test_what_we_send_is_not_shown_a_second_time() -> None:
    async def visit(clinic: Site) -> None:
        clinic.write(communication())
        await clinic.passes(900)
        await clinic.stop()
        await clinic.lose_ledger()
        await clinic.start(rhythm=SOON)
        await clinic.passes(900)

    clinic = at(visit)

    assert len(clinic.metriport.messages) == 1
    assert [one["status"] for one in clinic.fhir.resources("Communication")] == ["completed"]


def test_while_an_outcome_is_open_nothing_of_that_patient_is_shown() -> None:
    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("POST", "/medical/v1/message", "apply-then-drop", times=1)
        clinic.write(communication())
        await clinic.passes(30)
        clinic.fhir.add_fault("GET", "/Communication/referral", "503", times=10_000)
        others_send(clinic)
        others_send(clinic, patient=OTHER)
        await clinic.passes(900)
        assert [one["identifier"][0]["value"] for one in shown(clinic)] == [clinic.metriport.messages[2].id]
        clinic.fhir.clear_faults()
        await clinic.passes(1800)

    clinic = at(visit)

    ours, *others = clinic.metriport.messages
    found = {one["identifier"][0]["value"] for one in shown(clinic)}
    assert found == {one.id for one in others}
    assert ours.id not in found
    assert clinic.communication("referral")["status"] == "completed"


def _taken_for_anothers(after: Callable[[Site], Awaitable[None]]) -> Site:
    """The one way for it: the answer got lost, so did the ledger, and the author closed it in an old copy without the mark."""

    async def visit(clinic: Site) -> None:
        clinic.metriport.add_fault("POST", "/medical/v1/message", "apply-then-drop", times=1)
        clinic.write(communication())
        await clinic.passes(20)
        assert clinic.communication("referral")["status"] == "in-progress"
        clinic.kill()
        await clinic.lose_ledger()
        clinic.write(communication(status="completed"))
        await clinic.start(rhythm=SOON)
        await clinic.passes(900)
        assert [one["status"] for one in shown(clinic)] == ["completed"]
        await after(clinic)

    return at(visit)


def test_one_that_turns_out_ours_is_entered_in_error_and_not_sent_again() -> None:
    async def after(clinic: Site) -> None:
        clinic.write(communication())
        await clinic.passes(1800)

    clinic = _taken_for_anothers(after)

    [ours] = clinic.metriport.messages
    assert [one["status"] for one in shown(clinic)] == ["entered-in-error"]
    assert clinic.communication("referral")["status"] == "completed"
    assert {"system": COMMUNICATION_ID, "value": ours.id} in clinic.communication("referral")["identifier"]


@pytest.mark.parametrize("times", [1, 30])
def test_somebody_who_edits_it_meanwhile_does_not_keep_it_from_being_retracted(times: int) -> None:
    async def after(clinic: Site) -> None:
        path = f"/Communication/{shown(clinic)[0]['id']}"
        clinic.fhir.add_fault("PUT", path, "409", times=times)
        clinic.write(communication())
        await clinic.passes(2400)

    clinic = _taken_for_anothers(after)

    assert [one["status"] for one in shown(clinic)] == ["entered-in-error"]
    assert clinic.communication("referral")["status"] == "completed"
    assert len(clinic.metriport.messages) == 1


def test_one_that_a_person_found_to_be_ours_before_is_left_alone() -> None:
    async def after(clinic: Site) -> None:
        clinic.write({**shown(clinic)[0], "status": "entered-in-error"})
        clinic.write(communication())
        await clinic.passes(1800)

    clinic = _taken_for_anothers(after)

    [found] = shown(clinic)
    assert len(clinic.fhir.history("Communication", found["id"])) == 2
    assert clinic.communication("referral")["status"] == "completed"
    assert len(clinic.metriport.messages) == 1


def test_while_open_rounds_cannot_be_searched_for_what_comes_in_is_listed_all_the_same() -> None:
    seen: list[tuple[int, int]] = []

    async def visit(clinic: Site) -> None:
        end = clinic.stand_in(
            clinic.fhir, lambda asked, _: Response(status=500) if "in-progress" in asked.query else None
        )
        others_send(clinic)
        clinic.clock.skew += timedelta(days=3)  # the newest days of the list do not show it
        await clinic.passes(300)
        clinic.metriport.add_fault("*", "*", "webhook-lost")
        clinic.metriport.receive(clinic.clock.now(), patientId=KNOWN, subject="Result", body="x")
        clinic.metriport.clear_faults()
        await clinic.passes(600)
        seen.append((len(clinic.fhir.resources("Communication")), len(shown(clinic))))
        end()
        await clinic.passes(600)

    clinic = at(visit)

    assert seen == [(1, 0)]
    assert len(shown(clinic)) == 1


def test_one_that_somebody_retracted_or_deleted_stays_so() -> None:
    async def visit(clinic: Site) -> None:
        others_send(clinic)
        others_send(clinic, subject="Another")
        await clinic.passes(900)
        first, second = shown(clinic)
        clinic.write({**first, "status": "entered-in-error"})
        await clinic.delete(f"Communication/{second['id']}")
        await clinic.stop()
        await clinic.lose_ledger()
        await clinic.start(rhythm=SOON)
        await clinic.passes(900)

    assert [one["status"] for one in shown(at(visit))] == ["entered-in-error"]


def test_an_end_that_could_not_be_written_is_written_the_next_time() -> None:
    async def visit(clinic: Site) -> None:
        message = others_send(clinic)
        await clinic.passes(900)
        clinic.fhir.add_fault("PUT", "/Communication/", "409", times=1)
        clinic.metriport.complete(message, clinic.clock.now())
        await clinic.passes(180)

    assert [one["status"] for one in shown(at(visit, auto_complete_seconds=None))] == ["completed"]


def test_one_that_is_made_a_wish_is_refused() -> None:
    async def visit(clinic: Site) -> None:
        others_send(clinic)
        await clinic.passes(900)
        clinic.write({**shown(clinic)[0], "medium": MEDIUM, "status": "preparation"})
        await clinic.passes(300)

    clinic = at(visit)

    [found] = shown(clinic)
    assert found["status"] == "not-done"
    assert found["statusReason"]["coding"][0]["code"] == "refused-inbound"
    assert len(clinic.metriport.messages) == 1
    assert found["category"][0]["coding"][0]["system"] == DIRECTION_SYSTEM
