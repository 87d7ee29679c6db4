"""The ledger is disposable: beside a FHIR server full of messages in every state, whatever there is of it is enough."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any, Final

import pytest

from adapter.domain.canonical import PATIENT_ID
from adapter.domain.mark import End, marks_on
from adapter.ledger.store import Store
from adapter.simulators.http import Request, Response
from adapter.simulators.metriport import SANDBOX_PATIENTS
from tests.integration.people import communication, patient, stage
from tests.virtual.loop import run
from tests.virtual.site import Site, site
from tests.virtual.sqlite import image_of, in_thread_engine

ELSEWHERE: Final = {"display": "intake@direct.lakeside.example"}
SEND: Final = ("POST", "/medical/v1/message")
ENDS: Final = {
    "completed": ("completed", End.COMPLETED, 1),
    "failed": ("stopped", End.FAILED, 1),
    "sent": ("completed", End.COMPLETED, 1),
    "twice": ("completed", End.COMPLETED, 2),
    "refused": ("not-done", End.REFUSED, 0),
    "held": ("on-hold", End.HELD, 0),
    "withdrawn": ("entered-in-error", End.WITHDRAWN, 0),
    "unknown": ("completed", End.COMPLETED, 1),
    "overwritten": ("completed", End.COMPLETED, 1),
    "claimed": ("completed", End.COMPLETED, 1),
    "ready": ("completed", End.COMPLETED, 1),
}


def _write(clinic: Site, id: str, **elements: Any) -> dict[str, Any]:
    return clinic.write(communication(id=id, topic={"text": id}, **elements))


def _sent(clinic: Site, id: str) -> list[str]:
    return [message.id for message in clinic.metriport.messages if message.subject == id]


async def _fill(clinic: Site) -> bytes:
    """A message in every state, and a backup of the ledger from the middle of it all; the adapter was killed."""
    stage(clinic)
    await clinic.start()
    for id in ("completed", "failed", "twice", "sent"):
        _write(clinic, id)
    stale = _write(clinic, "overwritten")
    _write(clinic, "refused", payload=[])
    _write(clinic, "held", recipient=[{"display": "Somebody at the harbour"}])
    await clinic.passes(30)
    clinic.metriport.complete(_sent(clinic, "completed")[0], clinic.clock.now())
    for id in ("failed", "twice"):
        clinic.metriport.fail(_sent(clinic, id)[0], "The mailbox is full.", clinic.clock.now())
    await clinic.passes(10)
    backup = await _image(clinic)
    clinic.write({**clinic.communication("twice"), "status": "preparation"})
    await clinic.passes(10)
    clinic.metriport.add_fault(*SEND, "429")
    _write(clinic, "withdrawn")
    await clinic.passes(5)
    clinic.write({**clinic.communication("withdrawn"), "status": "entered-in-error"})
    await clinic.passes(60)
    clinic.metriport.add_fault(*SEND, "apply-then-drop")
    _write(clinic, "unknown")
    await clinic.passes(20)
    clinic.metriport.add_fault(*SEND, "429")
    _write(clinic, "claimed")
    await clinic.passes(5)
    clinic.kill()
    clinic.write(stale)
    _write(clinic, "ready")
    return backup


async def _image(clinic: Site) -> bytes:
    assert clinic._ledger is not None
    return await image_of(clinic._ledger._database._writer)


async def _put_back(clinic: Site, image: bytes, *statements: str) -> None:
    await clinic.lose_ledger()
    clinic._ledger = Store(in_thread_engine(image=lambda: image))
    async with clinic._ledger._database.writing() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
    # Each connection of the virtual database begins with the image anew: this one is kept.
    await clinic._ledger.end_leases()


@pytest.mark.parametrize("kind", ["kept", "empty", "old", "half-written", "without its work list"])
def test_work_is_rebuilt_from_the_marks(kind: str) -> None:
    async def scenario() -> Site:
        async with site(started=False, auto_complete_seconds=None) as clinic:
            backup = await _fill(clinic)
            now = await _image(clinic)
            if kind == "empty":
                await clinic.lose_ledger()
            elif kind == "old":
                await _put_back(clinic, backup)
            elif kind == "half-written":
                half = "DELETE FROM transmissions WHERE id % 2 = 0"
                await _put_back(clinic, now, "DELETE FROM slots", "DELETE FROM timeline", half)
            elif kind == "without its work list":
                await _put_back(clinic, now, "DELETE FROM slots", "DELETE FROM transmissions")
            await clinic.start()
            await clinic.passes(700)
            for id, (status, _, times) in ENDS.items():
                if status == "completed" and times:
                    clinic.metriport.complete(_sent(clinic, id)[-1], clinic.clock.now())
            await clinic.passes(60)
            return clinic

    clinic = run(scenario())

    found = {
        id: (
            clinic.communication(id)["status"],
            marks_on(clinic.communication(id))[0].end,
            len(_sent(clinic, id)),
        )
        for id in ENDS
    }
    assert found == ENDS
    assert [mark.round for mark in marks_on(clinic.communication("twice"))] == [2, 1]
    assert [task["focus"]["reference"] for task in clinic.fhir.resources("Task")] == ["Communication/held"]


@pytest.mark.parametrize("payload", ["text", "file"])
@pytest.mark.parametrize("gone", [True, False], ids=["it was sent", "it was not"])
def test_where_nothing_can_tell_whether_it_went_that_is_found_out_first(payload: str, *, gone: bool) -> None:
    """A fresh ledger, a server without history, and a Communication that is not in its first version."""
    parts: list[dict[str, Any]] = [{"contentString": "Could you see the patient?"}]
    if payload == "file":
        parts.append({"contentAttachment": {"contentType": "text/plain", "data": "U2Vlbi4="}})

    async def scenario() -> tuple[int, Site]:
        async with site(started=False, doorbell=False) as clinic:
            stage(clinic)
            stale = clinic.write(communication(payload=parts))
            clinic.fhir.add_fault("GET", "/Communication/referral/_history", "501", times=1000)
            if gone:
                await clinic.start()
                await clinic.passes(30)
                await clinic.stop()
                await clinic.lose_ledger()
            clinic.write({**stale, "note": [{"text": "saved from an old window"}]})
            before = len(clinic.sends())
            await clinic.start()
            await clinic.passes(170)
            assert len(clinic.sends()) == before  # the list may lag
            await clinic.passes(600)
            return before, clinic

    before, clinic = run(scenario())

    ended = clinic.communication("referral")
    assert len(clinic.metriport.messages) == 1
    if gone:
        assert (ended["status"], len(clinic.sends())) == ("on-hold", before)
        assert ended["statusReason"]["coding"][0]["code"] == "held-outcome-ambiguous"
        assert clinic.metriport.messages[0].id in ended["statusReason"]["text"]
        assert [task["focus"]["reference"] for task in clinic.fhir.resources("Task")] == [
            "Communication/referral"
        ]
    else:
        assert ended["status"] == "completed"


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(
            {"payload": [{"contentString": "Could you see the patient? Our fax is 12."}]}, id="text"
        ),
        pytest.param({"topic": {"text": "Referral, please"}}, id="subject line"),
        pytest.param({"subject": {"reference": "Patient/cedar"}}, id="another patient"),
        pytest.param({"recipient": [ELSEWHERE]}, id="another place"),
    ],
)
@pytest.mark.parametrize("after", [0.0, 60.0, 190.0])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another in doubt"])
def test_where_nothing_can_tell_an_edit_does_not_send_it_a_second_time(
    edit: dict[str, Any], after: float, *, beside: bool
) -> None:
    async def scenario() -> Site:
        async with site(started=False, doorbell=False) as clinic:
            stage(clinic)
            link = {"system": PATIENT_ID, "value": SANDBOX_PATIENTS[1].id}
            clinic.write(patient(id="cedar", identifier=[link]))
            stale = clinic.write(communication())
            clinic.fhir.add_fault("GET", "/Communication/referral/_history", "501", times=1000)
            await clinic.start()
            await clinic.passes(30)
            await clinic.stop()
            await clinic.lose_ledger()
            if beside:
                clinic.fhir.add_fault("GET", "/Communication/other/_history", "501", times=1000)
                clinic.write(communication(id="other", status="on-hold", topic={"text": "other"}))
                clinic.write(communication(id="other", topic={"text": "other"}))
                await clinic.passes(2)
            clinic.write({**stale, **(edit if not after else {})})
            await clinic.start()
            await clinic.passes(after)
            if after:
                clinic.write({**clinic.communication("referral"), **edit})
            await clinic.passes(900)
            return clinic

    clinic = run(scenario())

    ended = clinic.communication("referral")
    sent = [message for message in clinic.metriport.messages if message.subject != "other"]
    # Nobody can know that it once was another patient's.
    unknowable = "subject" in edit and not after
    assert (ended["status"], len(sent)) == (("completed", 2) if unknowable else ("on-hold", 1))


def test_a_subject_that_goes_back_and_forth_in_doubt_sends_nothing_twice() -> None:
    """Another message for the patient that it had in between is in doubt as well, and settled before."""

    async def scenario() -> Site:
        async with site(started=False, doorbell=False) as clinic:
            stage(clinic)
            link = {"system": PATIENT_ID, "value": SANDBOX_PATIENTS[1].id}
            clinic.write(patient(id="cedar", identifier=[link]))
            cedar, maple = ({"subject": {"reference": f"Patient/{one}"}} for one in ("cedar", "maple"))
            stale = clinic.write(communication(**cedar))
            for id in ("other", "referral"):
                clinic.fhir.add_fault("GET", f"/Communication/{id}/_history", "501", times=1000)
            await clinic.start()
            await clinic.passes(30)
            await clinic.stop()
            await clinic.lose_ledger()
            clinic.write(communication(id="other", status="on-hold", topic={"text": "other"}))
            clinic.write(communication(id="other", topic={"text": "other"}))
            await clinic.passes(2)
            clinic.write({**stale, **maple})
            await clinic.start()
            await clinic.passes(60)
            clinic.write({**clinic.communication("referral"), **cedar})
            await clinic.passes(1500)
            return clinic

    clinic = run(scenario())

    assert sorted(message.subject for message in clinic.metriport.messages) == ["Referral", "other"]
    assert clinic.communication("referral")["status"] == "on-hold"


def test_what_was_only_suspected_to_have_gone_goes_as_its_author_wants_it_by_then() -> None:
    def file(text: str) -> dict[str, Any]:
        data = base64.b64encode(text.encode()).decode()
        return {"contentAttachment": {"contentType": "text/plain", "data": data}}

    async def scenario() -> Site:
        async with site(started=False, doorbell=False) as clinic:
            stage(clinic)
            clinic.fhir.add_fault("GET", "/Communication/referral/_history", "501", times=1000)
            clinic.write(communication(topic={"text": "draft"}))
            clinic.write(communication(payload=[file("old")]))
            await clinic.start()
            await clinic.passes(60)
            assert clinic.communication("referral")["status"] == "in-progress"
            new = {"recipient": [ELSEWHERE], "payload": [file("new")]}
            clinic.write({**clinic.communication("referral"), **new})
            await clinic.passes(900)
            return clinic

    clinic = run(scenario())

    [sent] = clinic.metriport.messages
    [document] = sent.attachments
    assert sent.destination == "intake@direct.lakeside.example"
    assert clinic.metriport.documents[document].data == b"new"
    assert clinic.communication("referral")["status"] == "completed"


def test_a_copy_owns_no_message_of_what_it_was_made_from() -> None:
    """The copy has the id of the message; what it was made from has lost it, as the ledger and the history have."""

    async def scenario() -> Site:
        async with site(started=False, doorbell=False) as clinic:
            stage(clinic)
            for id in ("referral", "copy"):
                clinic.fhir.add_fault("GET", f"/Communication/{id}/_history", "501", times=1000)
            stale = clinic.write(communication())
            await clinic.start()
            await clinic.passes(60)
            await clinic.stop()
            await clinic.lose_ledger()
            clinic.write({**clinic.communication("referral"), "id": "copy"})
            clinic.write(stale)
            await clinic.start()
            await clinic.passes(900)
            return clinic

    clinic = run(scenario())

    assert len(clinic.metriport.messages) == 1
    assert clinic.communication("referral")["status"] == "on-hold"


def test_what_is_taken_back_while_it_is_only_suspected_to_have_gone_stays_so() -> None:
    """The plan goes on the version that was read, like any claim."""

    async def scenario() -> Site:
        async with site(started=False, doorbell=False) as clinic:
            stage(clinic)
            clinic.fhir.add_fault("GET", "/Communication/referral/_history", "501", times=1000)
            clinic.write(communication(topic={"text": "draft"}))
            clinic.write(communication())

            def takes_back(request: Request, _now: datetime) -> Response | None:
                if request.method == "PUT" and request.path.endswith("/Communication/referral"):
                    end()
                    clinic.write({**clinic.communication("referral"), "status": "not-done"})
                return None

            end = clinic.stand_in(clinic.fhir, takes_back)
            await clinic.start()
            await clinic.passes(900)
            return clinic

    clinic = run(scenario())

    assert clinic.metriport.messages == []
    assert clinic.communication("referral")["status"] == "not-done"
    assert "extension" not in clinic.communication("referral")


@pytest.mark.parametrize("history", [True, False])
def test_a_first_version_is_sent_without_asking(history: bool) -> None:  # noqa: FBT001
    async def scenario() -> Site:
        async with site(started=False, doorbell=False) as clinic:
            stage(clinic)
            if not history:
                clinic.fhir.add_fault("GET", "/Communication/referral/_history", "501", times=1000)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(30)
            return clinic

    assert run(scenario()).communication("referral")["status"] == "completed"


@pytest.mark.parametrize("kept", [None, 1, 2], ids=["no history", "the last version", "the last two"])
@pytest.mark.parametrize("ledger", ["rolled back", "lost", "kept"])
def test_a_history_that_was_cut_proves_nothing(ledger: str, kept: int | None) -> None:
    """A round ended and another was sent; the ledger knows only the first, and an old copy is saved over the rest."""

    def cuts(request: Request, now: datetime) -> Response | None:
        if not request.path.endswith("/_history"):
            return None
        if kept is None:
            return Response(status=501)
        answer = whole[0](request, now)
        bundle = json.loads(answer.body)
        bundle["entry"] = bundle["entry"][:kept]
        return Response(status=200, headers=answer.headers, body=json.dumps(bundle).encode())

    async def scenario() -> Site:
        async with site(started=False, doorbell=False) as clinic:
            stage(clinic)
            whole.append(clinic.fhir.handle)
            clinic.stand_in(clinic.fhir, cuts)
            stale = clinic.write(communication())
            clinic.write(communication(payload=[]))
            await clinic.start()
            await clinic.passes(200)
            assert clinic.communication("referral")["status"] == "not-done"
            backup = await _image(clinic)
            mended = {"status": "preparation", "payload": communication()["payload"]}
            clinic.write({**clinic.communication("referral"), **mended})
            await clinic.passes(300)
            assert len(clinic.metriport.messages) == 1
            await clinic.stop()
            if ledger == "lost":
                await clinic.lose_ledger()
            elif ledger == "rolled back":
                await _put_back(clinic, backup)
            clinic.write({**stale, "note": [{"text": "from an old window"}]})
            clinic.write({**stale, "note": [{"text": "from an old window, again"}]})
            await clinic.start()
            await clinic.passes(2000)
            return clinic

    whole: list[Any] = []
    clinic = run(scenario())

    assert len(clinic.metriport.messages) == 1
    expected = {"completed"} if ledger == "kept" else {"completed", "on-hold"}
    assert clinic.communication("referral")["status"] in expected


def test_whose_message_was_taken_for_another_ones_of_the_same_text_is_sent_all_the_same() -> None:
    """Nothing showed any more whose it was when the second one looked for its own; there are to be two of them."""

    async def scenario() -> Site:
        async with site(started=False, doorbell=False) as clinic:
            stage(clinic)
            stale = clinic.write(communication(id="first"))
            await clinic.start()
            await clinic.passes(20)
            await clinic.stop()
            await clinic.lose_ledger()
            clinic.write(stale)
            clinic.write(communication(id="second"))
            clinic.fhir.add_fault("GET", "/Communication/first", "drop", times=4)
            clinic.metriport.add_fault(*SEND, "429")
            await clinic.start()
            await clinic.passes(900)
            return clinic

    clinic = run(scenario())

    owners = {id: marks_on(clinic.communication(id))[0].message for id in ("second", "first")}
    assert [clinic.communication(id)["status"] for id in owners] == ["completed", "completed"]
    assert list(owners.values()) == [message.id for message in clinic.metriport.messages]


def test_what_was_taken_back_over_all_that_is_ours_is_found_out_all_the_same() -> None:
    async def scenario() -> Site:
        async with site(started=False, doorbell=False, auto_complete_seconds=None) as clinic:
            stage(clinic)
            clinic.metriport.add_fault(*SEND, "apply-then-drop")
            stale = clinic.write(communication())
            await clinic.start()
            await clinic.passes(10)
            clinic.kill()
            await clinic.lose_ledger()
            clinic.write({**stale, "status": "entered-in-error"})
            await clinic.start()
            await clinic.passes(900)
            return clinic

    clinic = run(scenario())

    [message] = clinic.metriport.messages
    assert clinic.communication("referral")["status"] == "entered-in-error"
    assert marks_on(clinic.communication("referral"))[0].message == message.id
    assert [task["code"]["coding"][0]["code"] for task in clinic.fhir.resources("Task")] == [
        "sent-but-withdrawn"
    ]
