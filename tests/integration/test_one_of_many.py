"""One message that a neighbour takes ill keeps no other from going, waits with bounds, and is never lost in silence."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import pytest

from adapter.domain.attachment import Content
from adapter.domain.canonical import DOCUMENT_ID, NPI_SYSTEM, PATIENT_ID
from adapter.pipelines.outbound.context import Policy
from adapter.pipelines.outbound.uploads import Uploads
from adapter.simulators.http import Request, Response
from adapter.simulators.metriport import SANDBOX_PATIENTS
from tests.integration.canary import overhearing
from tests.integration.people import communication, patient, stage
from tests.virtual.loop import run
from tests.virtual.site import Site, site

MESSAGES: Final = "/medical/v1/message"
FORBIDDEN: Final = Response(status=403, body=b"<html>the firewall does not like this text</html>")
GONE: Final = Response(
    status=404,
    body=json.dumps(
        {"status": 404, "name": "NotFoundError", "title": "NotFoundError", "detail": "No such patient."}
    ).encode(),
)
BROKEN: Final = Response(status=500)
DATA: Final = base64.b64encode(b"Seen for palpitations.").decode()
FILE: Final = [{"contentAttachment": {"contentType": "text/plain", "data": DATA}}]

Says = Callable[[Request, datetime], Response | None]


def _second_patient(clinic: Site) -> None:
    link = {"system": PATIENT_ID, "value": SANDBOX_PATIENTS[1].id}
    clinic.write(patient(id="cedar", identifier=[link]))


def _bad(**elements: Any) -> dict[str, Any]:
    """A message for a patient of its own."""
    return communication(
        id="bad", subject={"reference": "Patient/cedar"}, topic={"text": "taken ill"}, **elements
    )


def _good(number: int) -> dict[str, Any]:
    return communication(id=f"good-{number}", topic={"text": f"good {number}"})


def _subjects(clinic: Site) -> list[str]:
    return sorted(str(message.subject) for message in clinic.metriport.messages)


def _code(clinic: Site, id: str) -> str | None:
    reason = clinic.communication(id).get("statusReason")
    return reason["coding"][0]["code"] if reason else None


def _refuses_its_text(request: Request, _now: datetime) -> Response | None:
    return FORBIDDEN if request.method == "POST" and b"taken ill" in request.body else None


def _list_of_its_patient(answer: Response) -> Says:
    """Its first POST is throttled; after that the list of its patient cannot be had."""
    throttled: list[bool] = []

    def says(request: Request, _now: datetime) -> Response | None:
        if request.method == "POST" and b"taken ill" in request.body and not throttled:
            throttled.append(True)
            return Response(status=429)
        is_list = request.method == "GET" and request.path == MESSAGES
        return answer if is_list and SANDBOX_PATIENTS[1].id in request.query else None

    return says


def _throttles_its_text(request: Request, _now: datetime) -> Response | None:
    is_it = request.method == "POST" and b"taken ill" in request.body
    return Response(status=429) if is_it else None


@pytest.mark.parametrize(
    "says",
    [
        pytest.param(lambda: _refuses_its_text, id="its text is refused by a firewall"),
        pytest.param(lambda: _throttles_its_text, id="it alone is throttled"),
        pytest.param(lambda: _list_of_its_patient(GONE), id="its patient is gone"),
        pytest.param(lambda: _list_of_its_patient(BROKEN), id="the list of its patient fails"),
    ],
)
@pytest.mark.parametrize("restarts", [False, True])
def test_a_message_that_cannot_go_on_waits_beside_the_lane(
    says: Callable[[], Says], *, restarts: bool
) -> None:
    """Others go on; it is tried ever more rarely, changes no end, and goes when it can."""

    async def scenario() -> tuple[list[str], int, dict[str, Any], Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            _second_patient(clinic)
            end = clinic.stand_in(clinic.metriport, says())
            clinic.write(_bad())
            await clinic.start()
            await clinic.passes(10)
            for number in range(3):
                clinic.write(_good(number))
            await clinic.passes(1200)
            assert clinic.adapter is not None
            assert b"adapter_sends_set_aside 1.0" in await clinic.adapter.metrics_text()
            if restarts:
                await clinic.stop()
                await clinic.start()
            await clinic.passes(3 * 3600)
            gone, tried, bad = _subjects(clinic), len(clinic.sends()), clinic.communication("bad")
            end()
            await clinic.passes(3600)
            return gone, tried, bad, clinic

    with overhearing(style="json") as heard:
        gone, tried, bad, clinic = run(scenario())

    assert gone == ["good 0", "good 1", "good 2"]
    assert tried < 60
    assert bad["status"] == "in-progress"
    assert _subjects(clinic) == ["good 0", "good 1", "good 2", "taken ill"]
    assert {one["status"] for one in clinic.fhir.resources("Communication")} == {"completed"}
    assert 1 <= heard.events().count("send.set-aside") <= 1 + restarts
    assert clinic.fhir.resources("Task") == []


def test_what_was_throttled_with_all_others_goes_as_soon_as_they_do() -> None:
    def throttles(request: Request, _now: datetime) -> Response | None:
        return Response(status=429) if (request.method, request.path) == ("POST", MESSAGES) else None

    async def scenario() -> tuple[int, Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            end = clinic.stand_in(clinic.metriport, throttles)
            for number in range(6):
                clinic.write(_good(number))
            adapter = await clinic.start()
            await clinic.passes(6 * 3600)
            waits = len(adapter.worker.lane.aside)
            end()
            while not clinic.metriport.messages:
                await clinic.passes(5)
            await clinic.passes(60)
            return waits, clinic

    waits, clinic = run(scenario())

    assert waits in {2, 3}  # one may be on its way
    assert {one["status"] for one in clinic.fhir.resources("Communication")} == {"completed"}


def test_what_waits_beside_the_lane_keeps_no_other_in_doubt() -> None:
    """Both are for the same patient and the same place."""

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.stand_in(clinic.metriport, _refuses_its_text)
            clinic.write(communication(id="bad", topic={"text": "taken ill"}))
            await clinic.start()
            await clinic.passes(1200)
            clinic.metriport.add_fault("POST", MESSAGES, "apply-then-drop")
            clinic.write(_good(0))
            await clinic.passes(1200)
            return clinic

    clinic = run(scenario())

    assert clinic.communication("good-0")["status"] == "completed"
    assert _subjects(clinic) == ["good 0"]
    assert _code(clinic, "bad") == "waiting-for-metriport"


def test_what_waits_beside_the_lane_goes_on_though_others_are_in_trouble_too() -> None:
    """No more than three wait there: the fourth, whose trouble lasts, must not keep them from going when theirs is over."""
    ill = [b"ill 0", b"ill 1", b"ill 2"]

    def refuses(request: Request, _now: datetime) -> Response | None:
        refused = request.method == "POST" and any(one in request.body for one in [*ill, b"taken ill"])
        return FORBIDDEN if refused else None

    async def scenario() -> tuple[int, Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.stand_in(clinic.metriport, refuses)
            for number in range(3):
                clinic.write(communication(id=f"ill-{number}", topic={"text": f"ill {number}"}))
            adapter = await clinic.start()
            await clinic.passes(3600)
            waits = len(adapter.worker.lane.aside)
            clinic.write(communication(id="bad", topic={"text": "taken ill"}))
            await clinic.passes(3600)
            ill.clear()
            clinic.write(_good(0))
            await clinic.passes(2 * 3600)
            return waits, clinic

    waits, clinic = run(scenario())

    assert waits in {2, 3}  # one may be on its way
    assert _subjects(clinic) == ["good 0", "ill 0", "ill 1", "ill 2"]
    assert _code(clinic, "bad") == "waiting-for-metriport"


@pytest.mark.parametrize("withdrawn", [False, True])
def test_what_its_author_mends_beside_the_lane_goes_as_it_is_then(*, withdrawn: bool) -> None:
    """Also between two tries, with nobody having seen that it was taken back."""

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            end = clinic.stand_in(clinic.metriport, _refuses_its_text)
            clinic.write(communication(id="bad", topic={"text": "taken ill"}))
            await clinic.start()
            await clinic.passes(3600)
            if withdrawn:
                clinic.write({**clinic.communication("bad"), "status": "entered-in-error"})
            clinic.write(
                {**clinic.communication("bad"), "status": "preparation", "topic": {"text": "mended"}}
            )
            end()
            await clinic.passes(1500)
            return clinic

    clinic = run(scenario())

    assert _subjects(clinic) == ["mended"]
    assert clinic.communication("bad")["status"] == "completed"


def test_what_loses_its_marker_beside_the_lane_is_not_sent() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            end = clinic.stand_in(clinic.metriport, _refuses_its_text)
            clinic.write(communication(id="bad", topic={"text": "taken ill"}))
            await clinic.start()
            await clinic.passes(1200)
            clinic.write({**clinic.communication("bad"), "medium": []})
            end()
            await clinic.passes(3600)
            return clinic

    clinic = run(scenario())

    assert clinic.metriport.messages == []
    assert clinic.communication("bad")["status"] == "not-done"


@pytest.mark.parametrize("hold", [False, True])
def test_however_often_processes_change_no_message_ends_by_that(*, hold: bool) -> None:
    async def scenario() -> tuple[list[str], Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            end = clinic.stand_in(clinic.metriport, _refuses_its_text)
            clinic.write(communication(id="bad", topic={"text": "taken ill"}))
            policy = Policy(after_unknown="hold" if hold else "resend")
            for _ in range(4):
                await clinic.start(policy=policy)
                await clinic.passes(1200)
                await clinic.stop()
            statuses = [one["status"] for one in clinic.fhir.history("Communication", "bad") if one]
            end()
            await clinic.start(policy=policy)
            await clinic.passes(1800)
            return statuses, clinic

    statuses, clinic = run(scenario())

    assert set(statuses) == {"preparation", "in-progress"}
    assert clinic.communication("bad")["status"] == "completed"
    assert clinic.fhir.resources("Task") == []


def test_a_message_whose_files_are_slow_to_read_goes() -> None:
    def slow(request: Request, now: datetime) -> Response | None:
        if request.method == "GET" and "/Binary/" in request.path:
            return dataclasses.replace(handled[0](request, now), delay_seconds=25)
        return None

    handled: list[Callable[[Request, datetime], Response]] = []

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            for number in range(3):
                own = {"reference": "Patient/maple"}
                clinic.write(
                    {
                        "resourceType": "Binary",
                        "id": f"b-{number}",
                        "contentType": "text/plain",
                        "securityContext": own,
                        "data": DATA,
                    }
                )
            handled.append(clinic.fhir.handle)
            clinic.stand_in(clinic.fhir, slow)
            files = [{"contentReference": {"reference": f"Binary/b-{number}"}} for number in range(3)]
            clinic.write(communication(payload=files))
            await clinic.start()
            await clinic.passes(1200)
            return clinic

    assert run(scenario()).communication("referral")["status"] == "completed"


def test_its_author_takes_back_what_waits_beside_the_lane() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            _second_patient(clinic)
            clinic.stand_in(clinic.metriport, _refuses_its_text)
            clinic.write(_bad())
            await clinic.start()
            await clinic.passes(1200)
            clinic.write({**clinic.communication("bad"), "status": "entered-in-error"})
            await clinic.passes(1200)
            clinic.write(
                {**clinic.communication("bad"), "status": "preparation", "topic": {"text": "mended"}}
            )
            await clinic.passes(600)
            return clinic

    clinic = run(scenario())

    assert _subjects(clinic) == ["mended"]
    assert clinic.communication("bad")["status"] == "completed"


@pytest.mark.parametrize("upset", ["nothing", "restart", "replica", "hold", "flapping"])
def test_where_nothing_may_be_sent_though_the_account_can_be_read_no_message_changes_its_end(
    upset: str,
) -> None:
    """Few are claimed, none is in doubt by that, and all go once the account may send again."""

    def no_posts(request: Request, _now: datetime) -> Response | None:
        return FORBIDDEN if (request.method, request.path) == ("POST", MESSAGES) else None

    async def scenario() -> tuple[list[str], bool, Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            policy = Policy(after_unknown="hold") if upset == "hold" else None
            end = clinic.stand_in(clinic.metriport, no_posts)
            for number in range(8):
                clinic.write(_good(number))
            adapter = await clinic.start(policy=policy)
            await clinic.passes(3600)
            if upset == "restart":
                await clinic.stop()
                adapter = await clinic.start()
            elif upset == "replica":
                clinic.let_go().paused = True
                adapter = await clinic.start()
            elif upset == "flapping":
                end()
                await clinic.passes(4)
                end = clinic.stand_in(clinic.metriport, no_posts)
            await clinic.passes(3600)
            during = [one["status"] for one in clinic.fhir.resources("Communication")]
            stopped = adapter.worker.lane.stopped is not None
            end()
            await clinic.passes(3600)
            return during, stopped, clinic

    during, stopped, clinic = run(scenario())

    assert set(during) <= {"in-progress", "preparation", *(["completed"] if upset == "flapping" else [])}
    assert during.count("in-progress") <= 4 * (2 if upset in {"restart", "replica"} else 1)  # in each life
    assert stopped
    assert {one["status"] for one in clinic.fhir.resources("Communication")} == {"completed"}
    assert _subjects(clinic) == [f"good {number}" for number in range(8)]


def test_what_the_fhir_server_hides_after_its_claim_is_set_aside() -> None:
    async def scenario() -> tuple[list[str], Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            _second_patient(clinic)
            ends: list[Callable[[], None]] = []

            def hides(request: Request, _now: datetime) -> Response | None:
                return Response(status=403) if request.path.endswith("/Communication/bad") else None

            def throttles(request: Request, _now: datetime) -> Response | None:
                if request.method == "POST" and b"taken ill" in request.body and not ends:
                    ends.append(clinic.stand_in(clinic.fhir, hides))
                    return Response(status=429)
                return None

            clinic.stand_in(clinic.metriport, throttles)
            clinic.write(_bad())
            await clinic.start()
            await clinic.passes(10)
            clinic.write(_good(0))
            await clinic.passes(600)
            sent = _subjects(clinic)
            ends[0]()
            await clinic.passes(3600)
            return sent, clinic

    sent, clinic = run(scenario())

    assert sent == ["good 0"]
    assert _subjects(clinic) == ["good 0", "taken ill"]
    assert clinic.communication("bad")["status"] == "completed"


def test_while_the_fhir_server_is_away_no_message_is_set_aside() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.metriport.add_fault("POST", MESSAGES, "429")
            clinic.write(_good(0))
            await clinic.start()
            await clinic.passes(5)
            clinic.cut(fhir_server=True)
            await clinic.passes(1200)
            clinic.cut()
            await clinic.passes(600)
            return clinic

    with overhearing(style="json") as heard:
        clinic = run(scenario())

    assert clinic.communication("good-0")["status"] == "completed"
    assert "send.set-aside" not in heard.events()


def test_what_is_retracted_while_the_lane_waits_is_not_sent() -> None:
    document = {
        "resourceType": "DocumentReference",
        "id": "letter",
        "status": "current",
        "subject": {"reference": "Patient/maple"},
        "content": [{"attachment": {"contentType": "text/plain", "data": DATA}}],
    }

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(document)
            clinic.metriport.add_fault("POST", MESSAGES, "429:300", times=2)
            clinic.write(_good(0))
            await clinic.start()
            await clinic.passes(5)
            clinic.write(
                communication(payload=[{"contentReference": {"reference": "DocumentReference/letter"}}])
            )
            await clinic.passes(30)
            clinic.write({**document, "status": "entered-in-error"})
            await clinic.passes(1200)
            return clinic

    clinic = run(scenario())

    assert _subjects(clinic) == ["good 0"]
    assert _code(clinic, "referral") == "refused-attachment-not-current"


def test_what_waits_for_long_is_uploaded_once_and_goes() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.metriport.add_fault("POST", MESSAGES, "429:200", times=3)
            clinic.write(_good(0))
            await clinic.start()
            await clinic.passes(5)
            clinic.write(communication(payload=FILE))
            await clinic.passes(1500)
            return clinic

    clinic = run(scenario())

    assert {one["status"] for one in clinic.fhir.resources("Communication")} == {"completed"}
    assert len(clinic.metriport.documents) == 1


@pytest.mark.parametrize("mended", [False, True], ids=["the same", "other bytes"])
def test_a_claim_that_is_refused_for_long_uploads_each_file_once(*, mended: bool) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.write(communication(payload=FILE * 2))
            clinic.fhir.add_fault("PUT", "/Communication/", "422", times=6)
            await clinic.start()
            await clinic.passes(100)
            if mended:
                other = base64.b64encode(b"Seen for palpitations, twice.").decode()
                again = [{"contentAttachment": {"contentType": "text/plain", "data": other}}]
                clinic.write(communication(payload=[*FILE, *again]))
            await clinic.passes(900)
            return clinic

    clinic = run(scenario())

    assert clinic.communication("referral")["status"] == "completed"
    assert len(clinic.metriport.documents) == (3 if mended else 2)
    assert len(set(clinic.metriport.messages[0].attachments)) == 2


def test_an_upload_that_hangs_keeps_plain_messages_and_other_files_from_going_for_minutes_at_most() -> None:
    def hangs(request: Request, _now: datetime) -> Response | None:
        is_upload = request.method == "POST" and request.path.endswith("/document/upload")
        return Response(status=504, delay_seconds=250) if is_upload and b"taken ill" in request.body else None

    async def scenario() -> tuple[list[str], list[str]]:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.stand_in(clinic.metriport, hangs)
            ill = [{"contentAttachment": {"contentType": "text/plain", "data": DATA, "title": "taken ill"}}]
            for number in range(14):
                clinic.write(communication(id=f"ill-{number}", payload=ill))
            await clinic.start()
            await clinic.passes(30)
            clinic.write(_good(0))
            await clinic.passes(60)
            plain = _subjects(clinic)
            await clinic.passes(3600)
            clinic.write(communication(id="file", topic={"text": "with a file"}, payload=FILE))
            await clinic.passes(600)
            return plain, _subjects(clinic)

    plain, all_of_them = run(scenario())

    assert plain == ["good 0"]
    assert all_of_them == ["good 0", "with a file"]


def test_what_a_doorbell_showed_without_its_files_waits_for_its_place_too() -> None:
    """The doorbell of an id alone does not say that something is attached."""

    def hangs(request: Request, _now: datetime) -> Response | None:
        is_upload = request.method == "POST" and request.path.endswith("/document/upload")
        return Response(status=504, delay_seconds=250) if is_upload else None

    async def scenario() -> tuple[list[str], Site]:
        async with site(started=False, rhythm=None) as clinic:
            stage(clinic)
            end = clinic.stand_in(clinic.metriport, hangs)
            await clinic.start()
            await clinic.passes(5)
            for number in range(8):
                clinic.write(communication(id=f"ill-{number}", payload=FILE))
            await clinic.passes(5)
            clinic.write(_good(0))
            await clinic.passes(20)
            plain = _subjects(clinic)
            end()
            await clinic.passes(2400)
            return plain, clinic

    plain, clinic = run(scenario())

    assert plain == ["good 0"]
    assert {one["status"] for one in clinic.fhir.resources("Communication")} == {"completed"}


def test_statuses_that_fail_keep_no_other_from_its_own() -> None:
    async def scenario() -> dict[str, Any]:
        async with site(started=False, auto_complete_seconds=None) as clinic:
            stage(clinic)
            clinic.metriport.add_fault("*", "", "webhook-lost", times=1000)
            for number in range(12):
                clinic.write(_good(number))
            await clinic.start()
            await clinic.passes(60)
            ill = {message.id for message in clinic.metriport.messages[:11]}

            def fails(request: Request, _now: datetime) -> Response | None:
                is_status = request.method == "GET" and request.path.rpartition("/")[2] in ill
                return BROKEN if is_status else None

            await clinic.stop()
            clinic.stand_in(clinic.metriport, fails)
            well = clinic.metriport.messages[11]
            clinic.metriport.complete(well.id, clinic.clock.now())
            await clinic.passes(3600)
            await clinic.start()
            await clinic.passes(30)
            return clinic.communication(f"good-{str(well.subject).split()[1]}")

    assert run(scenario())["status"] == "completed"


def test_a_second_attempt_whose_claim_is_refused_is_not_tried_ever_again_at_once() -> None:
    async def scenario() -> tuple[int, Site]:
        async with site(started=False) as clinic:
            stage(clinic)
            clinic.metriport.add_fault("POST", MESSAGES, "500")
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(60)
            tried: list[datetime] = []

            def refuses(request: Request, now: datetime) -> Response | None:
                if request.method == "PUT" and b'"valuePositiveInt":2' in request.body.replace(b" ", b""):
                    tried.append(now)
                    return Response(status=422)
                return None

            end = clinic.stand_in(clinic.fhir, refuses)
            await clinic.passes(6 * 3600)
            end()
            await clinic.passes(3600)
            return len(tried), clinic

    tried, clinic = run(scenario())

    assert 3 <= tried <= 60
    assert clinic.communication("referral")["status"] == "completed"


def test_a_patient_who_is_gone_is_said_where_a_listed_document_was_to_be_looked_up() -> None:
    document = {
        "resourceType": "DocumentReference",
        "id": "letter",
        "status": "current",
        "identifier": [{"system": DOCUMENT_ID, "value": "0195f2a0-7c1e-7a52-9d3b-5f60c2b1d001"}],
        "subject": {"reference": "Patient/maple"},
        "content": [{"attachment": {"contentType": "text/plain", "data": DATA}}],
    }

    def scenario_with(answer: Response) -> Any:
        def says(request: Request, _now: datetime) -> Response | None:
            return answer if (request.method, request.path) == ("GET", "/medical/v1/document") else None

        async def scenario() -> tuple[str, str | None, list[str]]:
            async with site(started=False) as clinic:
                stage(clinic)
                clinic.write(document)
                end = clinic.stand_in(clinic.metriport, says)
                reference = {"contentReference": {"reference": "DocumentReference/letter"}}
                clinic.write(communication(payload=[reference]))
                await clinic.start()
                await clinic.passes(120)
                found = clinic.communication("referral")["status"], _code(clinic, "referral")
                end()
                await clinic.passes(400)
                return *found, _subjects(clinic)

        return run(scenario())

    assert scenario_with(GONE) == ("on-hold", "held-patient-gone", [])
    assert scenario_with(FORBIDDEN) == ("preparation", None, ["Referral"])


@pytest.mark.parametrize(
    ("further", "code"),
    [
        pytest.param({"display": "Somebody at the harbour"}, "held-destination-unknown", id="nobody known"),
        pytest.param({"reference": "Organization/inland"}, "held-destination-unknown", id="no address"),
        pytest.param({"reference": "Practitioner/okafor"}, None, id="meant by an NPI"),
    ],
)
def test_a_further_recipient_is_not_left_out_in_silence(further: dict[str, Any], code: str | None) -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            npi = {"system": NPI_SYSTEM, "value": "1234567893"}
            clinic.write({"resourceType": "Organization", "id": "inland", "name": "Inland Clinic"})
            clinic.write({"resourceType": "Practitioner", "id": "okafor", "identifier": [npi]})
            clinic.write(communication(recipient=[*communication()["recipient"], further]))
            await clinic.start()
            await clinic.passes(60)
            return clinic

    clinic = run(scenario())

    assert _code(clinic, "referral") == code
    if code:
        assert "recipient[1]" in clinic.communication("referral")["statusReason"]["text"]
        assert clinic.metriport.messages == []
    else:
        assert clinic.communication("referral")["status"] == "completed"


@pytest.mark.parametrize("status", [422, 403])
def test_a_write_back_that_was_refused_is_tried_after_the_next_edit_and_when_access_is_given(
    status: int,
) -> None:
    """A refused resource waits for an edit, or a day; a right that the adapter lacks may come back at any time."""

    def refuses(request: Request, _now: datetime) -> Response | None:
        is_end = b'"completed"' in request.body
        return Response(status=status) if request.method == "PUT" and is_end else None

    async def scenario() -> tuple[str, str, str]:
        async with site(started=False) as clinic:
            stage(clinic)
            end = clinic.stand_in(clinic.fhir, refuses)
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(1200)
            during = clinic.communication("referral")["status"]
            end()
            await clinic.passes(1200)
            ended = clinic.communication("referral")["status"]
            clinic.write({**clinic.communication("referral"), "note": [{"text": "mended"}]})
            await clinic.passes(400)
            return during, ended, clinic.communication("referral")["status"]

    with overhearing(style="json") as heard:
        during, ended, edited = run(scenario())

    assert (during, ended) == ("in-progress", "completed" if status == 403 else "in-progress")
    assert edited == "completed"
    said = [json.loads(line) for line in heard.lines() if "communication.write-refused" in line]
    levels = [record["level"] for record in said]
    assert levels == ["error", *["info"] * (len(levels) - 1)]


def test_rows_of_wishes_that_are_no_longer_there_come_to_their_end() -> None:
    def stays(request: Request, _now: datetime) -> Response | None:
        return Response(status=503) if "/Patient/" in request.path else None

    async def scenario() -> tuple[dict[str, str], list[str]]:
        async with site(started=False) as clinic:
            stage(clinic)
            end = clinic.stand_in(clinic.fhir, stays)
            for id in ("taken-back", "deleted", "unmarked", "wanted"):
                clinic.write(communication(id=id, topic={"text": id}))
            adapter = await clinic.start()
            await clinic.passes(60)
            clinic.write({**clinic.communication("taken-back"), "status": "entered-in-error"})
            await clinic.delete("Communication/deleted")
            clinic.write({**clinic.communication("unmarked"), "medium": []})
            await clinic.passes(700)
            end()
            await clinic.passes(700)
            rows = [await adapter.ledger.newest(id) for id in ("taken-back", "deleted", "unmarked", "wanted")]
            return {row.communication: row.state.value for row in rows if row}, _subjects(clinic)

    states, sent = run(scenario())

    assert states == {"wanted": "completed"}
    assert sent == ["wanted"]


def test_what_was_uploaded_is_remembered_for_so_many_messages_and_no_more() -> None:
    uploads = Uploads(most=2)
    content = Content(where="payload[0]", content_type="text/plain", data=b"Seen for palpitations.")

    for number in range(3):
        uploads.keep(f"c-{number}", content, patient="p", document=f"d-{number}")

    assert [uploads.find(f"c-{number}", content, patient="p") for number in range(3)] == [None, "d-1", "d-2"]
    assert uploads.find("c-2", content, patient="another") is None
    assert uploads.find("c-2", dataclasses.replace(content, data=b"Seen for nothing."), patient="p") is None
