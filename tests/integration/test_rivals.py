"""Another replica changes the row at the very moment of our own change: ours is not made, and nothing goes twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from adapter.domain.mark import marks_on, with_mark
from adapter.domain.transmission import State
from adapter.ports.ledger import LANE
from adapter.simulators.metriport import SANDBOX_PATIENTS
from adapter.worker import Rhythm
from tests.integration.people import communication, stage
from tests.virtual.loop import run
from tests.virtual.site import Rival, Site, site

SEND = ("POST", "/medical/v1/message")
ANY = ("*", "*")


def _met(
    rival: Rival,
    *,
    before: Callable[[Site], None] = lambda _: None,
    during: Callable[[Site], object] = lambda _: None,
    at: float = 20.0,
    then: float = 400.0,
    slow: bool = False,
    **options: Any,
) -> Site:
    """One message and a rival, who is met once; then the adapter is started anew, and all comes to its end."""

    async def scenario() -> Site:
        async with site(started=False, **options) as clinic:
            stage(clinic)
            clinic.rivals.append(rival)
            before(clinic)
            clinic.write(communication())
            await clinic.start(rhythm=clinic.slow() if slow else None)
            await clinic.passes(at)
            during(clinic)
            await clinic.passes(then)
            assert rival.met == 1
            await clinic.stop()
            await clinic.start()
            await clinic.passes(900)
            return clinic

    return run(scenario())


@pytest.mark.parametrize(
    ("event", "faults"),
    [
        ("claimed", []),
        ("intent", []),
        ("sent", []),
        ("completed", []),
        ("written", []),
        ("waiting", ["429"]),
        ("unknown", ["apply-then-drop"]),
        ("unknown", ["drop"]),
        ("sent", ["apply-then-500"]),
        ("not-sent", ["drop"]),
        ("sent", ["429", "apply-then-429"]),
        ("sent", ["apply-then-drop", "webhook-lost"]),
    ],
)
def test_nothing_is_sent_twice_and_nothing_is_forgotten(event: str, faults: list[str]) -> None:
    def order(clinic: Site) -> None:
        for fault in faults:
            clinic.metriport.add_fault(*(ANY if fault.startswith("webhook") else SEND), fault)

    clinic = _met(Rival(event=event), before=order)

    assert len(clinic.metriport.messages) == 1
    assert clinic.communication("referral")["status"] == "completed"


def test_an_end_by_refusal_is_found_again() -> None:
    def opt_out(clinic: Site) -> None:
        clinic.metriport.opt_out(SANDBOX_PATIENTS[0].id, "Patient has opted out from the networks")

    clinic = _met(Rival(event="held"), before=opt_out)

    assert clinic.metriport.messages == []
    assert clinic.communication("referral")["status"] == "on-hold"


def test_an_outcome_that_a_person_is_asked_about_is_found_again() -> None:
    clinic = _met(
        Rival(event="held"),
        before=lambda clinic: clinic.metriport.add_fault(*SEND, "drop", times=2),
        then=1800.0,
    )

    assert clinic.metriport.messages == []
    assert clinic.communication("referral")["status"] == "on-hold"


def test_a_round_that_another_opened_and_claimed_first_is_left_to_it() -> None:
    """Its claim never comes to be on the Communication, so in the end a person is asked."""
    clinic = _met(Rival(method="open", then=State.CLAIMED))

    assert clinic.sends() == []
    assert clinic.communication("referral")["statusReason"]["coding"][0]["code"] == "held-outcome-ambiguous"


def test_a_withdrawal_is_found_again() -> None:
    clinic = _met(
        Rival(event="withdrawn"),
        before=lambda clinic: clinic.metriport.add_fault(*SEND, "429", times=3),
        during=lambda clinic: clinic.write(
            {**clinic.communication("referral"), "status": "entered-in-error"}
        ),
        at=5,
    )

    assert clinic.metriport.messages == []
    assert clinic.communication("referral")["status"] == "entered-in-error"


def test_a_stale_copy_is_mended_once() -> None:
    clinic = _met(Rival(event="overwritten"), during=lambda clinic: clinic.write(communication()))

    assert len(clinic.metriport.messages) == 1
    assert clinic.communication("referral")["status"] == "completed"


def test_a_round_that_another_rebuilt_first_is_mended_all_the_same() -> None:
    async def scenario() -> tuple[Site, Rival]:
        rival = Rival(method="restore")
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(30)
            await clinic.stop()
            await clinic.lose_ledger()
            clinic.rivals.append(rival)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(900)
            return clinic, rival

    clinic, rival = run(scenario())

    assert rival.met == 1
    assert len(clinic.metriport.messages) == 1
    assert clinic.communication("referral")["status"] == "completed"


def test_what_no_acknowledgement_came_for_is_asked_about_once() -> None:
    clinic = _met(Rival(event="unconfirmed"), then=80 * 3600.0, slow=True, auto_complete_seconds=None)

    assert len(clinic.metriport.messages) == 1
    assert clinic.communication("referral")["statusReason"]["coding"][0]["code"] == "delivery-unconfirmed"
    assert len(clinic.fhir.resources("Task")) == 1


def test_a_claim_that_another_replica_carried_further_is_left_to_it() -> None:
    """Seen when the Communication is read again before the second go: it has a message's id already."""

    def carry_on(clinic: Site) -> None:
        clinic.metriport.add_fault("GET", "/medical/v1/message", "list-empty", times=2)
        ours = clinic.communication("referral")
        sent = replace(marks_on(ours)[0], message=clinic.metriport.messages[0].id)
        clinic.write({**ours, "extension": with_mark(ours, sent)})

    clinic = _met(
        Rival(event="waiting", times=0, met=1),
        before=lambda clinic: clinic.metriport.add_fault(*SEND, "apply-then-429"),
        during=carry_on,
        at=4,
    )

    assert len(clinic.sends()) == 1
    assert clinic.communication("referral")["status"] == "completed"


def test_of_two_alike_the_one_that_was_taken_is_not_taken_for_the_other() -> None:
    """The second gets a 429 and looks at the list before it goes again: what it finds there is the first's."""

    def another(clinic: Site) -> None:
        clinic.metriport.add_fault(*SEND, "429")
        clinic.write(communication(id="second"))

    clinic = _met(Rival(event="written"), during=another)

    assert len(clinic.metriport.messages) == 2
    assert {clinic.communication(name)["status"] for name in ("referral", "second")} == {"completed"}


def test_what_another_found_out_of_two_alike_is_learned_before_the_other_is_resolved() -> None:
    """Its ledger is gone, so the second's mark alone tells; by the list the first could be either."""

    async def scenario() -> Site:
        async with site(started=False, auto_complete_seconds=None) as clinic:
            stage(clinic)
            await clinic.start(rhythm=Rhythm(patrol=7200.0))
            for name in ("first", "second"):
                clinic.metriport.add_fault(*SEND, "apply-then-drop")
                clinic.write(communication(id=name))
                await clinic.passes(20)
            theirs = clinic.communication("second")
            found = replace(marks_on(theirs)[0], message=clinic.metriport.messages[0].id)
            clinic.write({**theirs, "extension": with_mark(theirs, found)})
            await clinic.passes(600)
            return clinic

    clinic = run(scenario())

    assert len(clinic.sends()) == 2
    found = [marks_on(clinic.communication(name))[0].message for name in ("second", "first")]
    assert found == [one.id for one in clinic.metriport.messages]


def test_a_lane_that_another_took_while_a_slot_was_waited_for_is_left_to_it() -> None:
    async def scenario() -> tuple[int, Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication())
            adapter = await clinic.start(rhythm=Rhythm(lease=0.6))
            await clinic.passes(1)
            ledger = adapter.context.ledger
            await ledger.leave(adapter.context.life, LANE)
            assert await ledger.take("another", LANE, now=clinic.clock.now(), seconds=30)
            await clinic.passes(25)
            meanwhile = len(clinic.sends())
            await clinic.passes(60)
            return meanwhile, clinic

    meanwhile, clinic = run(scenario())

    assert (meanwhile, len(clinic.sends())) == (0, 1)
    assert clinic.communication("referral")["status"] == "completed"
