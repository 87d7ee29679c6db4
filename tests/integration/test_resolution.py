"""Outcomes that were not learned: each ends sent, held or withdrawn, once by Metriport's own record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import pytest

from adapter.domain.canonical import COMMUNICATION_ID, NPI_SYSTEM, PATIENT_ID, URI_SYSTEM
from adapter.domain.mark import End, marks_on, with_mark
from adapter.domain.message import reference_of
from adapter.domain.ranking import Rank
from adapter.domain.transmission import State
from adapter.pipelines.outbound.context import Policy
from adapter.pipelines.outbound.track import recover
from adapter.simulators.http import Request, Response
from adapter.simulators.metriport import SANDBOX_PATIENTS
from adapter.worker import Rhythm
from tests.integration.people import ADDRESS, communication, patient, stage
from tests.virtual.loop import run
from tests.virtual.site import API_KEY, FHIR_URL, Site, site

SEND = ("POST", "/medical/v1/message")
LIST = ("GET", "/medical/v1/message")
HISTORY = ("GET", "/Communication/referral/_history", "405")
DAY = 86400.0
QUICK = Rhythm(track=2.0, sweep=120.0, answers=600.0, episodes=60.0)
LONG = Rhythm(sweep=600.0, patrol=3600.0, track=30.0, lease=3600.0, answers=3600.0, episodes=600.0)

APPLIED = [
    "apply-then-drop",
    "apply-then-500",
    "apply-late:5",
    "apply-late:150",
    "malformed",
    "no-id",
    "slow:40",
]
NOT_APPLIED = ["500", "503", "drop", "redirect"]

COMPLETED = ("completed", None)
UNKNOWN = ("in-progress", "outcome-unknown")
HELD = ("on-hold", "held-outcome-ambiguous")

Act = Callable[[Site], Awaitable[None] | None]


def _sent(
    *faults: str,
    wishes: tuple[dict[str, Any], ...] = ({},),
    before: Callable[[Site], None] = lambda _: None,
    during: Act = lambda _: None,
    at: float = 60.0,
    seconds: float = 900.0,
    policy: Policy | None = None,
    rhythm: Rhythm | None = None,
    ends_by_itself_after: float | None = 500.0,
    **options: Any,
) -> Site:
    """The wishes, whose first sends meet the faults, some time later; `during` happens after `at` seconds.

    By default no event tells about a message while its outcome is being resolved.
    """

    async def scenario() -> Site:
        async with site(
            started=False, doorbell=False, auto_complete_seconds=ends_by_itself_after, **options
        ) as clinic:
            stage(clinic)
            for fault in faults:
                clinic.metriport.add_fault(*SEND, fault)
            before(clinic)
            for wish in wishes:
                clinic.write(communication(**wish))
            await clinic.start(policy=policy, rhythm=rhythm or (QUICK if seconds < DAY else LONG))
            await clinic.passes(at)
            done = during(clinic)
            if done is not None:
                await done
            await clinic.passes(seconds - at)
            return clinic

    return run(scenario())


def _end(clinic: Site, id: str = "referral") -> tuple[str, str | None]:
    ended = clinic.communication(id)
    coding = ended.get("statusReason", {}).get("coding", [{}])[0]
    return ended["status"], coding.get("code")


def _ask(clinic: Site, **body: Any) -> None:
    """Somebody else sends with the same account."""
    asked = {"destination": ADDRESS, "subject": "Referral", "body": "Could you see the patient?", **body}
    answered = clinic.metriport.handle(
        Request(
            method="POST",
            path="/medical/v1/message",
            query=f"patientId={SANDBOX_PATIENTS[0].id}",
            headers={"x-api-key": API_KEY, "content-type": "application/json"},
            body=json.dumps(asked).encode(),
        ),
        clinic.clock.now(),
    )
    assert answered.status == 200


@pytest.mark.parametrize("dialect", ["sdk", "docs"])
@pytest.mark.parametrize("fault", APPLIED)
def test_what_was_applied_is_found_on_the_list_and_not_sent_again(fault: str, dialect: str) -> None:
    clinic = _sent(fault, dialect=dialect)

    assert _end(clinic) == COMPLETED
    assert len(clinic.sends()) == len(clinic.metriport.messages) == 1
    assert clinic.communication("referral")["identifier"][0]["value"] == clinic.metriport.messages[0].id
    assert [mark.attempt for mark in marks_on(clinic.communication("referral"))] == [1]


@pytest.mark.parametrize("dialect", ["sdk", "docs"])
@pytest.mark.parametrize("fault", NOT_APPLIED)
def test_what_was_not_applied_is_sent_once_more_under_a_new_claim(fault: str, dialect: str) -> None:
    clinic = _sent(fault, dialect=dialect)

    versions = [one for one in clinic.fhir.history("Communication", "referral") if one]
    marks = {mark.token: mark for version in versions for mark in marks_on(version)}
    assert _end(clinic) == COMPLETED
    assert len(clinic.sends()) == 2
    assert len(clinic.metriport.messages) == 1
    assert sorted(mark.attempt for mark in marks.values()) == [1, 2]
    assert len({mark.digest for mark in marks.values()}) == 1


@pytest.mark.parametrize("fault", ["drop", "apply-then-drop", "apply-late:170"])
def test_nothing_is_decided_before_the_list_can_be_believed(fault: str) -> None:
    clinic = _sent(fault, seconds=180)

    assert len(clinic.sends()) == 1
    assert _end(clinic) == UNKNOWN


@pytest.mark.parametrize(
    ("second", "end"), [("apply-then-drop", COMPLETED), ("503", HELD), ("apply-then-500", COMPLETED)]
)
def test_after_a_second_unknown_it_is_found_or_held_and_never_sent_a_third_time(
    second: str, end: tuple[str, str | None]
) -> None:
    clinic = _sent("500", second, seconds=1200)

    assert _end(clinic) == end
    assert len(clinic.sends()) == 2
    assert len(clinic.metriport.messages) == (end == COMPLETED)


@pytest.mark.parametrize("fault", ["apply-then-drop", "malformed", "drop"])
@pytest.mark.parametrize(
    ("trouble", "times"),
    [
        ("list-repeat", 2),
        ("list-move", 2),
        ("list-empty", 1),
        ("503", 3),
        ("429", 2),
        ("drop", 3),
        ("malformed", 2),
        ("slow:30", 1),
    ],
)
@pytest.mark.parametrize("dialect", ["sdk", "docs"])
def test_a_list_that_is_not_right_is_read_again(fault: str, trouble: str, times: int, dialect: str) -> None:
    clinic = _sent(
        fault,
        during=lambda clinic: clinic.metriport.add_fault(*LIST, trouble, times=times),
        at=175.0,
        seconds=1500,
        dialect=dialect,
    )

    assert _end(clinic) == COMPLETED
    assert len(clinic.metriport.messages) == 1


@pytest.mark.parametrize("dialect", ["sdk", "docs"])
def test_a_list_that_lags_is_waited_for(dialect: str) -> None:
    clinic = _sent(
        "apply-then-drop",
        before=lambda clinic: clinic.metriport.add_fault(*LIST, "list-lag:119"),
        dialect=dialect,
    )

    assert _end(clinic) == COMPLETED
    assert len(clinic.sends()) == 1


def test_an_empty_list_proves_nothing_while_it_lacks_what_was_sent() -> None:
    """The first message is known to be on the list, so a list without it is none."""
    clinic = _sent(
        wishes=({}, {"id": "second", "topic": {"text": "Second"}}),
        before=lambda clinic: clinic.metriport.add_fault(*LIST, "list-empty", times=4),
        during=lambda clinic: clinic.metriport.add_fault(*SEND, "apply-then-drop"),
        at=4.0,
        seconds=1500,
    )

    assert (_end(clinic), _end(clinic, "second")) == (COMPLETED, COMPLETED)
    assert len(clinic.metriport.messages) == 2


@pytest.mark.parametrize("fault", ["apply-then-drop", "drop"])
def test_a_list_that_never_adds_up_is_for_a_person_to_judge(fault: str) -> None:
    clinic = _sent(
        fault,
        before=lambda clinic: clinic.metriport.add_fault(*LIST, "list-repeat", times=1000),
        during=lambda clinic: _ask(clinic, subject="Another"),
        seconds=DAY,
        ends_by_itself_after=None,
    )

    assert _end(clinic) == HELD
    assert len(clinic.sends()) == 1
    [task] = clinic.fhir.resources("Task")
    ours = [one.id for one in clinic.metriport.messages if one.subject == "Referral"]
    assert task["code"]["coding"][0]["code"] == "confirm-outcome"
    candidates = [one["valueReference"]["identifier"]["value"] for one in task.get("input", [])]
    assert candidates == ours
    assert len(ours) == (fault == "apply-then-drop")


@pytest.mark.parametrize("shifts", [False, True])
def test_a_list_of_several_pages_is_read_twice_before_it_is_believed(*, shifts: bool) -> None:
    read_at: list[datetime] = []

    def two_on_a_page(clinic: Site) -> None:
        whole = clinic.metriport.handle

        def says(request: Request, now: datetime) -> Response | None:
            asked = dict(request.parameters)
            if (request.method, request.path) != LIST or asked.get("direction") != "outbound":
                return None
            if asked["count"] == "2":
                return whole(request, now)
            read_at.append(now)
            return whole(replace(request, query=urlencode({**asked, "count": "2"})), now)

        for number in range(3):
            _ask(clinic, subject=f"Another {number}")
        clinic.metriport.add_fault(*SEND, "apply-then-drop")
        clinic.stand_in(clinic.metriport, says)
        if shifts:
            clinic.metriport.add_fault(*LIST, "list-move")

    clinic = _sent(before=two_on_a_page)

    assert _end(clinic) == COMPLETED
    assert len(clinic.metriport.messages) == 4
    assert len(read_at) == (3 if shifts else 2)
    assert all(later - earlier >= timedelta(seconds=30) for earlier, later in pairwise(read_at))


def test_a_process_that_often_dies_between_two_readings_waits_no_longer_for_it() -> None:
    readings: list[int] = []

    async def dies(clinic: Site) -> None:
        for life in range(1, 7):
            while len(readings) < life:
                await clinic.passes(1.0)
                assert clinic.adapter is not None
                told = await clinic.adapter.ledger.timeline("referral")
                readings[:] = [1 for event in told if event.what == "still-unknown"]
            clinic.kill()
            await clinic.start(rhythm=Rhythm(track=2.0))
        await clinic.passes(120.0)

    clinic = _sent("drop", during=dies, seconds=61.0, ends_by_itself_after=0.0)

    assert readings == [1] * 6
    assert _end(clinic) == COMPLETED
    assert len(clinic.sends()) == 2


def test_a_process_that_dies_before_the_second_attempt_leaves_it_to_the_next() -> None:
    async def dies(clinic: Site) -> None:
        for number in range(40):
            clinic.write(communication(id=f"urgent-{number}", priority="stat", topic={"text": f"{number}"}))
        told: set[str] = set()
        while "not-sent" not in told:
            await clinic.passes(0.5)
            assert clinic.adapter is not None
            told = {event.what for event in await clinic.adapter.ledger.timeline("referral")}
        clinic.kill()
        assert _end(clinic) == UNKNOWN
        await clinic.start(rhythm=Rhythm(track=2.0))
        await clinic.passes(180.0)

    clinic = _sent(
        "drop",
        during=dies,
        at=185.0,
        seconds=186.0,
        rhythm=Rhythm(track=2.0),
        ends_by_itself_after=0.0,
    )

    assert _end(clinic) == COMPLETED
    assert Counter(message.subject for message in clinic.metriport.messages)["Referral"] == 1


def test_a_reading_from_before_the_second_attempt_confirms_none_after_it() -> None:
    """Read once, then stood still while another replica read twice and sent again."""

    async def stands_still(clinic: Site) -> None:
        told: set[str] = set()
        while "still-unknown" not in told:
            await clinic.passes(0.5)
            assert clinic.adapter is not None
            told = {event.what for event in await clinic.adapter.ledger.timeline("referral")}
        first = clinic.let_go()
        first.paused = True
        clinic.metriport.add_fault(*SEND, "apply-then-drop")
        await clinic.start(rhythm=Rhythm(track=2.0))
        while len(clinic.sends()) < 2:
            await clinic.passes(0.5)
        await clinic.passes(5.0)
        clinic.kill()
        clinic.go_on(first)
        clinic.metriport.add_fault(*LIST, "list-empty")
        await clinic.passes(700.0)

    clinic = _sent("drop", during=stands_still, seconds=61.0)

    assert _end(clinic) == COMPLETED
    assert len(clinic.sends()) == 2


def test_a_list_that_cannot_be_read_is_waited_for_however_long_it_takes() -> None:
    between: list[tuple[str, str | None]] = []

    def mend(clinic: Site) -> None:
        between.append(_end(clinic))
        clinic.metriport.clear_faults()

    clinic = _sent(
        "apply-then-drop",
        before=lambda clinic: clinic.metriport.add_fault(*LIST, "503", times=10_000),
        during=mend,
        at=2 * DAY,
        seconds=2 * DAY + 2000,
        ends_by_itself_after=None,
    )

    assert between == [UNKNOWN]
    assert _end(clinic) == ("in-progress", None)
    assert clinic.communication("referral")["identifier"][0]["value"] == clinic.metriport.messages[0].id


def test_an_event_tells_at_once_which_message_it_became() -> None:
    clinic = _sent("apply-then-drop", ends_by_itself_after=10.0, seconds=60)

    assert _end(clinic) == COMPLETED


@pytest.mark.parametrize("trouble", ["503", "malformed"])
def test_an_event_that_cannot_be_followed_now_is_followed_later(trouble: str) -> None:
    clinic = _sent(
        "apply-then-drop",
        before=lambda clinic: clinic.metriport.add_fault("GET", "/medical/v1/message/", trouble, times=2),
        ends_by_itself_after=10.0,
        seconds=150,
    )

    assert _end(clinic) == COMPLETED
    assert len(clinic.sends()) == 1


def test_an_event_that_may_not_be_followed_leaves_it_to_the_list() -> None:
    async def refuse(clinic: Site) -> None:
        clinic.metriport.set_keys("another-key")
        await clinic.passes(60)
        clinic.metriport.set_keys(API_KEY)

    clinic = _sent("apply-then-drop", during=refuse, at=20.0, ends_by_itself_after=30.0)

    assert _end(clinic) == COMPLETED
    assert len(clinic.sends()) == 1


def test_an_event_about_the_message_of_somebody_else_changes_nothing() -> None:
    clinic = _sent(
        "drop", during=lambda clinic: _ask(clinic, body="Hello."), ends_by_itself_after=5.0, seconds=120
    )

    assert _end(clinic) == UNKNOWN


def test_an_event_about_one_on_its_way_is_left_to_its_answer() -> None:
    """The second one, of the same text, is acknowledged before its send is answered."""
    clinic = _sent(
        "drop",
        "slow:19",
        wishes=({}, {"id": "second"}),
        ends_by_itself_after=5.0,
    )

    assert (_end(clinic), _end(clinic, "second")) == (COMPLETED, COMPLETED)
    assert len(clinic.metriport.messages) == 2
    assert marks_on(clinic.communication("second"))[0].attempt == 1


SAME = tuple({"id": id} for id in ("one", "two", "three"))


@pytest.mark.parametrize(
    "faults",
    [
        ("apply-then-drop", "drop", "apply-then-500"),
        ("drop", "drop", "apply-then-drop"),
        ("500", "503", "drop"),
        ("apply-then-drop", "apply-then-500", "no-id"),
    ],
)
@pytest.mark.parametrize("event", [500.0, 10.0])
def test_of_several_that_are_alike_as_many_are_sent_again_as_are_missing(
    faults: tuple[str, ...], event: float
) -> None:
    clinic = _sent(*faults, wishes=SAME, ends_by_itself_after=event, seconds=1500)

    ends = {one["id"]: _end(clinic, one["id"]) for one in SAME}
    given = [clinic.communication(one["id"])["identifier"][0]["value"] for one in SAME]
    assert set(ends.values()) == {COMPLETED}
    assert sorted(given) == sorted(message.id for message in clinic.metriport.messages)
    assert len(clinic.metriport.messages) == 3


def test_more_on_the_list_than_can_be_ours_is_for_a_person_to_judge() -> None:
    clinic = _sent("apply-then-drop", during=_ask)

    ids = sorted(message.id for message in clinic.metriport.messages)
    task = clinic.fhir.resources("Task")[0]
    assert _end(clinic) == HELD
    assert len(clinic.sends()) == 1
    assert [one["valueReference"]["identifier"] for one in task["input"]] == [
        {"system": COMMUNICATION_ID, "value": id} for id in ids
    ]
    assert all(id in task["description"] for id in ids)


def test_what_was_sent_before_is_not_taken_for_the_answer() -> None:
    """Somebody's message of the same text, an hour earlier."""

    async def scenario() -> Site:
        async with site(started=False, doorbell=False) as clinic:
            stage(clinic)
            _ask(clinic)
            await clinic.passes(3600)
            clinic.metriport.add_fault(*SEND, "drop")
            clinic.write(communication())
            await clinic.start()
            await clinic.passes(600)
            return clinic

    clinic = run(scenario())

    assert _end(clinic) == COMPLETED
    assert len(clinic.metriport.messages) == 2
    assert clinic.communication("referral")["identifier"][0]["value"] == clinic.metriport.messages[1].id


def _to(npi: str) -> dict[str, Any]:
    to = {"system": URI_SYSTEM, "value": f"mailto:{ADDRESS}"}
    person = {
        "resourceType": "Practitioner",
        "id": "who",
        "identifier": [{"system": NPI_SYSTEM, "value": npi}, to],
    }
    return {"id": f"to-{npi}", "contained": [person], "recipient": [{"reference": "#who"}]}


@pytest.mark.parametrize("dialect", ["sdk", "docs"])
@pytest.mark.parametrize("faults", [("apply-then-drop", "drop"), ("drop", "apply-then-drop")])
def test_the_same_text_to_two_people_reaches_each_of_them_once(faults: tuple[str, str], dialect: str) -> None:
    people = ("1234567893", "1245319599")
    clinic = _sent(*faults, wishes=tuple(_to(npi) for npi in people), dialect=dialect)

    assert {_end(clinic, f"to-{npi}") for npi in people} == {COMPLETED}
    assert Counter(message.npis[0] for message in clinic.metriport.messages) == dict.fromkeys(people, 1)


def test_nothing_is_decided_while_another_one_to_the_same_place_is_on_its_way() -> None:
    """The second one is on the list and not yet answered when the first one's time has come."""

    def write_second(clinic: Site) -> None:
        clinic.write(communication(id="second"))
        assert clinic.adapter is not None
        clinic.adapter.worker.ring(None)

    clinic = _sent("drop", "slow:19", during=write_second, at=175.0)

    attempts = [marks_on(clinic.communication(id))[0].attempt for id in ("referral", "second")]
    assert (_end(clinic), _end(clinic, "second")) == (COMPLETED, COMPLETED)
    assert len(clinic.metriport.messages) == 2
    assert attempts == [2, 1]


@pytest.mark.parametrize("status", ["entered-in-error", "stopped"])
def test_a_wish_that_was_taken_back_meanwhile_is_not_sent_again(status: str) -> None:
    def take_back(clinic: Site) -> None:
        clinic.write({**clinic.communication("referral"), "status": status})

    clinic = _sent("drop", during=take_back)

    assert clinic.communication("referral")["status"] == status
    assert marks_on(clinic.communication("referral"))[0].end is End.WITHDRAWN
    assert clinic.metriport.messages == []


def test_a_wish_whose_marker_was_taken_off_meanwhile_is_not_sent_again() -> None:
    def take_off(clinic: Site) -> None:
        present = clinic.communication("referral")
        clinic.write({name: value for name, value in present.items() if name != "medium"})

    clinic = _sent("drop", during=take_off)

    assert marks_on(clinic.communication("referral"))[0].end is End.WITHDRAWN
    assert clinic.metriport.messages == []


def test_a_wish_that_was_deleted_meanwhile_is_not_sent_again() -> None:
    clinic = _sent("drop", during=lambda clinic: clinic.delete("Communication/referral"))

    assert clinic.fhir.resources("Communication") == []
    assert clinic.metriport.messages == []


def _edit(clinic: Site) -> None:
    clinic.write({**clinic.communication("referral"), "payload": [{"contentString": "Never mind."}]})


@pytest.mark.parametrize("fault", ["drop", "apply-then-drop"])
def test_an_edit_after_the_claim_is_not_sent_and_that_is_said(fault: str) -> None:
    clinic = _sent(fault, during=_edit, ends_by_itself_after=None)

    assert clinic.communication("referral")["status"] == "in-progress"
    assert [message.body for message in clinic.metriport.messages] == ["Could you see the patient?"]
    assert "Version 1 was sent" in clinic.communication("referral")["statusReason"]["text"]


def test_an_edit_that_could_never_be_sent_hides_nothing_of_what_was() -> None:
    def empty(clinic: Site) -> None:
        clinic.write({**clinic.communication("referral"), "topic": {"text": ""}, "payload": []})

    clinic = _sent("drop", during=empty)

    assert [message.subject for message in clinic.metriport.messages] == ["Referral"]
    assert _end(clinic) == COMPLETED


@pytest.mark.parametrize(("fault", "end"), [("drop", HELD), ("apply-then-drop", COMPLETED)])
def test_an_edit_on_a_server_that_keeps_no_history_is_never_sent(
    fault: str, end: tuple[str, str | None]
) -> None:
    """What was sent is recognised by its digest; what was not cannot be made again."""

    def prepare(clinic: Site) -> None:
        clinic.fhir.add_fault(*HISTORY, times=1000)

    clinic = _sent(fault, before=prepare, during=_edit)

    assert _end(clinic) == end
    assert len(clinic.sends()) == 1


def test_a_site_may_want_no_second_attempt() -> None:
    clinic = _sent("drop", policy=Policy(after_unknown="hold"))

    assert _end(clinic) == HELD
    assert len(clinic.sends()) == 1


@pytest.mark.parametrize("fault", ["drop", "apply-then-drop", "apply-then-500"])
def test_a_reference_line_ends_each_text_and_finds_it_again(fault: str) -> None:
    line = reference_of(FHIR_URL, "referral", round=1)

    clinic = _sent(fault, during=_edit, policy=Policy(reference_line=True))

    assert clinic.communication("referral")["status"] == "completed"
    assert [message.body for message in clinic.metriport.messages] == [
        f"Could you see the patient?\n\n{line}"
    ]


def test_with_a_reference_line_the_same_text_of_others_does_not_matter() -> None:
    clinic = _sent("drop", during=_ask, policy=Policy(reference_line=True))

    assert _end(clinic) == COMPLETED
    assert len(clinic.metriport.messages) == 2


def test_a_setting_that_was_changed_meanwhile_changes_no_plan() -> None:
    async def restart(clinic: Site) -> None:
        await clinic.stop()
        await clinic.start(policy=Policy(reference_line=True))

    clinic = _sent("drop", during=restart)

    assert _end(clinic) == COMPLETED
    assert [message.body for message in clinic.metriport.messages] == ["Could you see the patient?"]


@pytest.mark.parametrize("units", [5000, 4981, 4980])
def test_the_limit_counts_the_reference_line(units: int) -> None:
    clinic = _sent(
        wishes=({"payload": [{"contentString": "x" * units}]},),
        policy=Policy(reference_line=True),
        seconds=60,
        ends_by_itself_after=1.0,
    )

    fits = units + len("\n\n") + len(reference_of(FHIR_URL, "referral", round=1)) <= 5000
    assert _end(clinic) == (COMPLETED if fits else ("not-done", "refused-body-too-long"))


def test_a_text_that_goes_as_a_file_leaves_the_reference_as_the_text() -> None:
    clinic = _sent(
        "apply-then-drop",
        "drop",
        wishes=({"payload": [{"contentString": "x" * 6000}]}, {"id": "second", "payload": [{"contentString": "y" * 6000}]}),
        policy=Policy(reference_line=True, long_body="attach"),
    )  # fmt: skip

    assert (_end(clinic), _end(clinic, "second")) == (COMPLETED, COMPLETED)
    assert {message.body for message in clinic.metriport.messages} == {
        reference_of(FHIR_URL, id, round=1) for id in ("referral", "second")
    }


@pytest.mark.parametrize("fault", ["apply-then-drop", "drop", "apply-then-500", "503"])
@pytest.mark.parametrize("history", [True, False])
def test_a_lost_ledger_changes_nothing(fault: str, *, history: bool) -> None:
    """Without it nobody remembers since when it may have been sent; then the server's history tells, or a person."""

    async def lose(clinic: Site) -> None:
        await clinic.stop()
        await clinic.lose_ledger()
        if not history:
            clinic.fhir.add_fault(*HISTORY, times=1000)
        await clinic.start()

    clinic = _sent(fault, during=lose, seconds=1500)

    applied = fault.startswith("apply")
    assert _end(clinic) == (HELD if applied and not history else COMPLETED)
    assert len(clinic.metriport.messages) == 1


def test_after_a_lost_ledger_the_communications_tell_whose_a_message_is() -> None:
    """The first one completed and is nobody's work any more; the second, of the same text, was never applied."""

    async def lose(clinic: Site) -> None:
        await clinic.stop()
        await clinic.lose_ledger()
        await clinic.start()

    clinic = _sent(
        wishes=({"id": "first"},),
        during=lambda clinic: _then(clinic, lose),
        at=40.0,
        ends_by_itself_after=5.0,
    )

    assert {_end(clinic, id) for id in ("first", "second")} == {COMPLETED}
    assert len(clinic.metriport.messages) == 2


async def _then(clinic: Site, lose: Callable[[Site], Awaitable[None]]) -> None:
    clinic.metriport.add_fault(*SEND, "drop")
    clinic.write(communication(id="second"))
    await clinic.passes(40)
    await lose(clinic)


@pytest.mark.parametrize("fault", ["apply-then-drop", "drop"])
@pytest.mark.parametrize("moved", [False, True], ids=["the same link", "another link by now"])
def test_after_a_lost_ledger_an_empty_list_lacks_what_the_communications_show(
    fault: str, *, moved: bool
) -> None:
    """The first one was sent, and no row says so any more: a list without it is none, unless it is on another one."""

    async def then(clinic: Site) -> None:
        clinic.metriport.complete(clinic.metriport.messages[0].id, clinic.clock.now())
        await clinic.passes(10)
        if moved:
            clinic.write(patient(identifier=[{"system": PATIENT_ID, "value": SANDBOX_PATIENTS[1].id}]))
        clinic.metriport.add_fault(*SEND, fault)
        clinic.write(communication(id="second"))
        await clinic.passes(40)
        await clinic.stop()
        await clinic.lose_ledger()
        await clinic.start()
        await clinic.passes(100)
        if not moved:
            clinic.metriport.add_fault(*LIST, "list-empty", times=4)

    clinic = _sent(wishes=({"id": "first"},), during=then, seconds=2400, ends_by_itself_after=None)

    assert (_end(clinic, "first"), _end(clinic, "second")) == (COMPLETED, ("in-progress", None))
    assert len(clinic.metriport.messages) == 2


def test_a_patient_who_is_no_longer_linked_is_for_a_person_to_judge() -> None:
    async def unlink(clinic: Site) -> None:
        await clinic.stop()
        await clinic.lose_ledger()
        clinic.write({"resourceType": "Patient", "id": "maple"})
        await clinic.start()

    clinic = _sent("apply-then-drop", during=unlink)

    assert _end(clinic) == HELD
    assert len(clinic.sends()) == 1


def _later_life(**facts: Any) -> Act:
    """The Communication as a later life left it, of which the ledger, set back, knows nothing."""

    def write(clinic: Site) -> None:
        present = clinic.communication("referral")
        messages = [message.id for message in clinic.metriport.messages]
        known = {"message": messages[0]} if facts.get("message") else {}
        mark = replace(marks_on(present)[0], **{**facts, **known})
        clinic.write({**present, "extension": with_mark(present, mark)})

    return write


@pytest.mark.parametrize(
    ("fault", "facts", "state"),
    [
        ("apply-then-drop", {"message": True}, State.COMPLETED),
        ("drop", {"attempt": 2, "end": End.REFUSED}, State.REFUSED),
        ("drop", {"attempt": 2, "end": End.HELD}, State.HELD),
        ("drop", {"attempt": 2, "end": End.WITHDRAWN}, State.WITHDRAWN),
        ("drop", {"attempt": 2}, State.HELD),
        ("apply-then-drop", {"attempt": 2}, State.COMPLETED),
    ],
)
def test_a_ledger_that_went_back_takes_over_what_the_communication_knows(
    fault: str, facts: dict[str, Any], state: State
) -> None:
    found: list[State] = []

    async def set_back(clinic: Site) -> None:
        written = _later_life(**facts)(clinic)
        assert written is None
        await clinic.passes(1200)
        assert clinic.adapter is not None
        row = await clinic.adapter.ledger.newest("referral")
        found.extend([row.state] if row else [])

    clinic = _sent(fault, during=set_back, seconds=1300)

    assert found == [state]
    assert len(clinic.sends()) == 1


def test_however_many_claims_an_earlier_life_left_behind_all_are_found() -> None:
    async def scenario() -> tuple[int, int]:
        async with site(started=False, doorbell=False) as clinic:
            adapter = await clinic.start(idle=True)
            rank = Rank(priority=3, since=clinic.clock.now())
            for number in range(1001):
                row = await adapter.ledger.open(f"c{number}", round=1, rank=rank, now=clinic.clock.now())
                assert row is not None
                await adapter.ledger.change(row, State.CLAIMED, now=clinic.clock.now(), event="claimed")
            found = await recover(adapter.context, in_flight=frozenset)
            return found, len(await adapter.ledger.in_states(frozenset({State.UNKNOWN}), limit=2000))

    assert run(scenario()) == (1001, 1001)
