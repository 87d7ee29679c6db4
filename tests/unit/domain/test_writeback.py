"""What the adapter writes on the author's Communication, and what it leaves alone."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

import pytest
import simplejson
from hypothesis import assume, given
from hypothesis import strategies as st

from adapter.domain.canonical import (
    COMMUNICATION_ID,
    INSTRUCTION_SYSTEM,
    REASON_SYSTEM,
    TRANSMISSION_EXTENSION,
)
from adapter.domain.mark import End, Mark, has_foreign_mark, marks_on
from adapter.domain.reasons import CODES, Reason, reason
from adapter.domain.resource import Resource, items
from adapter.domain.rounds import Verdict, decide
from adapter.domain.transmission import ENDED, State, Transmission
from adapter.domain.writeback import (
    OVERWRITTEN,
    TAKEN_BACK,
    authors_own,
    instant_text,
    needs_write,
    overtaken,
    status_for,
    written,
)
from tests.builders import MESSAGE, NOW, communication, concept, mark, transmission
from tests.unit.domain.json_values import any_json
from tests.unit.domain.test_rounds import STATUSES

FORMER: Final = "0195f2a0-7c1e-7a52-9d3b-5f60c2b1b000"
RESEND: Final = concept(INSTRUCTION_SYSTEM, "resend")
OWN_FIELDS: Final = {"status", "statusReason", "sent", "received", "identifier", "extension"}


def message_id(value: str = MESSAGE, **overrides: Any) -> dict[str, Any]:
    return {"system": COMMUNICATION_ID, "value": value, **overrides}


def claimed(
    status: str = "in-progress", *, marks: tuple[Mark, ...] = (mark(),), **overrides: Any
) -> Resource:
    """A Communication as the claim, or what came later, left it."""
    return communication(status=status, extension=[one.extension() for one in marks], **overrides)


# --- Any Communication, any transmission ----------------------------------------------------------------------

_MARKS = st.builds(
    mark,
    round=st.integers(1, 4),
    attempt=st.integers(1, 2),
    message=st.sampled_from([None, MESSAGE, FORMER]),
    end=st.none() | st.sampled_from(End),
)
_IDENTIFIERS = st.lists(
    st.sampled_from(
        [
            message_id(),
            message_id(FORMER),
            message_id(FORMER, use="old"),
            {"system": "urn:site", "value": "7"},
            {},
        ]
    ),
    max_size=4,
)
_CATEGORIES = st.lists(
    st.sampled_from(
        [
            RESEND,
            concept("urn:site", "note"),
            {"text": "resend"},
            {"coding": [*RESEND["coding"], {"system": "urn:site", "code": "again"}]},
        ]
    ),
    max_size=3,
)
_REASONS = st.sampled_from(
    [
        concept("urn:site", "moved", text="The patient has moved."),
        {"text": "Please hurry"},
        {"text": OVERWRITTEN},
        concept(REASON_SYSTEM, "delivery-unconfirmed"),
        reason("waiting-for-metriport", why="it said 429").concept(),
    ]
)
_AUTHORS = st.dictionaries(
    st.sampled_from(["note", "topic", "payload", "about", "inResponseTo", "_status", "_sent", "priority"]),
    any_json,
    max_size=4,
)


@st.composite
def communications(draw: st.DrawFn) -> Resource:
    optional = {
        "extension": st.lists(
            _MARKS.map(Mark.extension) | st.just({"url": "urn:site", "valueDecimal": Decimal("1.50")}),
            min_size=1,
            max_size=6,
        ),
        "identifier": _IDENTIFIERS.filter(bool),
        "category": _CATEGORIES.filter(bool),
        "statusReason": _REASONS,
        "sent": st.just("2026-01-01"),
        "received": st.just("2026-01-02"),
    }
    present = {name: draw(values) for name, values in optional.items() if draw(st.booleans())}
    return communication(status=draw(st.sampled_from(STATUSES)), **draw(_AUTHORS), **present)


TRANSMISSIONS = st.builds(
    transmission,
    state=st.sampled_from(State),
    round=st.integers(1, 4),
    attempt=st.integers(1, 2),
    message=st.sampled_from([None, MESSAGE]),
    reason=st.none() | st.sampled_from(sorted(CODES)).map(lambda code: Reason(code=code, sentence="So.")),
    note=st.sampled_from([None, OVERWRITTEN]),
    sent_at=st.sampled_from([None, NOW]),
    ended_at=st.just(NOW),
    due_at=st.sampled_from([None, NOW]),
)


def as_text(value: object) -> str:
    text: str = simplejson.dumps(value, use_decimal=True)
    return text


def of_others(found: Any) -> list[Any]:
    """Entries of `identifier` or `extension` that are not the adapter's."""
    return [
        entry
        for entry in found or []
        if entry.get("system") != COMMUNICATION_ID and entry.get("url") != TRANSMISSION_EXTENSION
    ]


@given(communications(), TRANSMISSIONS)
def test_only_the_adapters_own_fields_change(before: Resource, row: Transmission) -> None:
    untouched = copy.deepcopy(before)

    after = written(before, row)

    assert as_text(before) == as_text(untouched)
    kept = [name for name in before if name not in OWN_FIELDS | {"category"}]
    assert [name for name in after if name not in OWN_FIELDS | {"category"}] == kept
    assert as_text([after[name] for name in kept]) == as_text([before[name] for name in kept])
    for element in ("identifier", "extension"):
        assert as_text(of_others(after.get(element))) == as_text(of_others(before.get(element)))


@given(communications(), TRANSMISSIONS)
def test_of_category_only_the_resend_instruction_goes(before: Resource, row: Transmission) -> None:
    def others(resource: Resource) -> list[Any]:
        return [
            coding or entry
            for entry in resource.get("category", [])
            for coding in entry.get("coding", [None])
            if coding != RESEND["coding"][0]
        ]

    assert others(written(before, row)) == others(before)


@given(communications(), TRANSMISSIONS)
def test_writing_twice_changes_nothing_more(before: Resource, row: Transmission) -> None:
    assume(not overtaken(before, row))
    rounds = [mark.round for mark in marks_on(before)]
    assume(len(rounds) == len(set(rounds)))  # of several marks of one round, written by somebody, one is kept

    once = written(before, row)

    assert written(once, row) == once
    assert not needs_write(once, row)


@given(communications(), TRANSMISSIONS)
def test_what_was_written_carries_the_transmissions_mark(before: Resource, row: Transmission) -> None:
    later = {one.round for one in marks_on(before) if one.round > row.round}

    on_it = marks_on(written(before, row))

    assert row.mark in on_it or len(later) >= 1
    assert on_it == sorted(on_it, key=lambda one: one.progress, reverse=True)
    assert not has_foreign_mark(written(before, row))


@given(communications(), TRANSMISSIONS)
def test_a_message_id_stands_once_and_others_are_old(before: Resource, row: Transmission) -> None:
    edited = written(before, row)
    found = items(edited.get("identifier"))

    if row.message:
        assert any(entry.get("value") == row.message for entry in found)
    # Where the story went on, or its author asks again, the ids are another round's.
    if edited["status"] != "preparation" and not any(
        one.round > row.round or (one.round == row.round and one.end) for one in marks_on(before)
    ):
        former = [
            entry
            for entry in found
            if entry.get("system") == COMMUNICATION_ID and entry["value"] != row.message
        ]
        assert all(entry["use"] == "old" for entry in former)


# --- Status ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.READY, "in-progress"),
        (State.CLAIMED, "in-progress"),
        (State.INTENT, "in-progress"),
        (State.WAITING, "in-progress"),
        (State.UNKNOWN, "in-progress"),
        (State.SENT, "in-progress"),
        (State.COMPLETED, "completed"),
        (State.FAILED, "stopped"),
        (State.REFUSED, "not-done"),
        (State.HELD, "on-hold"),
        (State.WITHDRAWN, None),
    ],
)
def test_each_state_asks_for_its_status(state: State, status: str | None) -> None:
    assert status_for(transmission(state=state, due_at=NOW)) == status


UNCONFIRMED: Final = reason("delivery-unconfirmed", hours=72)


def test_without_an_acknowledgement_it_is_in_progress_while_it_is_asked_for_and_stopped_after() -> None:
    waiting = transmission(state=State.SENT, reason=UNCONFIRMED, due_at=NOW)
    given_up = transmission(state=State.SENT, reason=UNCONFIRMED, due_at=None)

    assert status_for(waiting) == "in-progress"
    assert status_for(given_up) == "stopped"
    assert status_for(transmission(state=State.SENT, due_at=None)) == "in-progress"


def test_a_late_answer_wins_over_having_given_up() -> None:
    given_up = transmission(state=State.SENT, message=MESSAGE, reason=UNCONFIRMED, due_at=None)
    stopped = written(claimed(), given_up)
    assert stopped["status"] == "stopped"

    late = written(stopped, transmission(state=State.COMPLETED, message=MESSAGE, ended_at=NOW))

    assert late["status"] == "completed"
    assert "statusReason" not in late
    assert late["received"] == "2026-03-01T12:00:00.000Z"


def test_the_claim_sets_in_progress_and_the_mark_and_takes_the_resend_out() -> None:
    wish = communication(category=[concept("urn:site", "note"), RESEND])
    plan = transmission(state=State.CLAIMED, destination="2.16.840", attachments=("d1",), digest="ab")

    after = written(wish, plan)

    assert after["status"] == "in-progress"
    assert marks_on(after) == [plan.mark]
    assert after["category"] == [concept("urn:site", "note")]
    assert set(after) - set(wish) == {"extension"}


def test_a_category_that_was_only_the_instruction_is_gone() -> None:
    assert "category" not in written(communication(category=[RESEND]), transmission(state=State.CLAIMED))


@pytest.mark.parametrize(
    "status", ["entered-in-error", "stopped", "not-done", "on-hold", "completed", "unknown"]
)
@pytest.mark.parametrize("state", [State.CLAIMED, State.SENT, State.UNKNOWN])
def test_the_authors_own_decision_stays(status: str, state: State) -> None:
    theirs = claimed(status, statusReason={"text": "Sent by fax instead"}, category=[RESEND])
    row = transmission(state=state, message=MESSAGE, sent_at=NOW, due_at=NOW, reason=UNCONFIRMED)

    after = written(theirs, row)

    assert authors_own(theirs, row.mark)
    assert {name for name in after if after[name] != theirs.get(name)} == {"identifier", "extension"}
    assert after["identifier"] == [message_id()]
    assert marks_on(after) == [row.mark]


@pytest.mark.parametrize(
    ("end", "status"), [(End.COMPLETED, "completed"), (End.FAILED, "stopped"), (End.REFUSED, "not-done")]
)
def test_an_old_copy_of_an_earlier_rounds_end_is_no_decision(end: End, status: str) -> None:
    copied = claimed(status, marks=(mark(end=end),))
    row = transmission(state=State.FAILED, round=2, message=MESSAGE, ended_at=NOW)
    taken_back = {**copied, "status": "entered-in-error"}

    assert not authors_own(copied, row.mark)
    assert written(copied, row)["status"] == "stopped"
    assert authors_own(taken_back, row.mark)


@pytest.mark.parametrize("state", sorted(ENDED))
def test_entered_in_error_outlives_every_end(state: State) -> None:
    after = written(claimed("entered-in-error"), transmission(state=state, ended_at=NOW))

    assert after["status"] == "entered-in-error"
    assert "received" not in after


def test_preparation_is_never_a_decision_against_us() -> None:
    assert not authors_own(communication(), mark())


def test_what_was_taken_back_is_not_left_as_if_it_were_on_its_way() -> None:
    """Its author's decision is lost where an older copy was saved over it."""
    row = transmission(state=State.WITHDRAWN)

    after = written(claimed("in-progress"), row)

    assert (after["status"], after["statusReason"]) == ("not-done", {"text": TAKEN_BACK})
    assert not needs_write(after, row)
    again = written({**after, "status": "preparation"}, transmission(state=State.CLAIMED, round=2))
    assert "statusReason" not in again


@pytest.mark.parametrize("status", ["stopped", "entered-in-error", "preparation"])
def test_a_withdrawn_round_leaves_the_status_to_the_author(status: str) -> None:
    after = written(claimed(status), transmission(state=State.WITHDRAWN))

    assert after["status"] == status
    assert marks_on(after)[0].end is End.WITHDRAWN


def test_a_stale_copy_gets_our_fields_back_and_says_so() -> None:
    stale = communication()
    row = transmission(state=State.SENT, message=MESSAGE, sent_at=NOW, due_at=NOW, note=OVERWRITTEN)

    after = written(stale, row)

    assert after["status"] == "in-progress"
    assert after["statusReason"] == {"text": OVERWRITTEN}
    assert after["sent"] == "2026-03-01T12:00:00.000Z"
    assert after["identifier"] == [message_id()]
    assert marks_on(after) == [row.mark]


def test_a_later_rounds_status_stays() -> None:
    second = claimed(
        marks=(mark(round=2, message=MESSAGE), mark(round=1)),
        identifier=[message_id()],
        sent="2026-03-02",
        statusReason={"text": "x"},
    )
    first = transmission(
        state=State.FAILED,
        message=FORMER,
        ended_at=NOW,
        sent_at=NOW,
        reason=reason("delivery-failed", detail="no"),
    )

    after = written(second, first)

    assert {name for name in after if after[name] != second[name]} == {"identifier", "extension"}
    assert after["identifier"] == [message_id(), message_id(FORMER, use="old")]
    assert marks_on(after) == [mark(round=2, message=MESSAGE), first.mark]


def test_what_a_later_round_has_already_retired_is_not_written_again() -> None:
    second = claimed(
        marks=(mark(round=2), mark(message=FORMER, end=End.FAILED)),
        identifier=[message_id(FORMER, use="old")],
    )
    first = transmission(
        state=State.FAILED, destination=mark().destination, digest=mark().digest, message=FORMER
    )

    assert not needs_write(second, first)


@pytest.mark.parametrize(
    ("state", "category"),
    [
        (State.REFUSED, None),
        (State.HELD, None),
        (State.FAILED, None),
        (State.WITHDRAWN, None),
        (State.COMPLETED, [RESEND]),
    ],
)
def test_a_new_wish_of_an_author_who_saw_the_end_is_not_written_over(
    state: State, category: list[Any] | None
) -> None:
    row = transmission(state=state, ended_at=NOW, message=MESSAGE, reason=UNCONFIRMED)
    told = written(claimed(), row)
    asked_again = {**told, "status": "preparation", **({"category": category} if category else {})}

    assert not needs_write(asked_again, row)
    assert decide(written(asked_again, row), row.mark).verdict is Verdict.OPEN


def test_completed_without_the_resend_instruction_is_put_back() -> None:
    row = transmission(state=State.COMPLETED, message=MESSAGE, ended_at=NOW)
    told = written(claimed(), row)

    assert written({**told, "status": "preparation"}, row)["status"] == "completed"


# --- Reason ---------------------------------------------------------------------------------------------------


def test_the_reason_is_written_as_code_and_sentence() -> None:
    why = reason("refused-no-recipient")

    after = written(communication(), transmission(state=State.REFUSED, reason=why))

    assert after["status"] == "not-done"
    assert after["statusReason"] == why.concept()


def test_a_note_follows_the_sentence() -> None:
    why = reason("outcome-unknown", why="no answer came")

    after = written(claimed(), transmission(state=State.UNKNOWN, reason=why, note=OVERWRITTEN))

    assert after["statusReason"] == {**why.concept(), "text": f"{why.sentence} {OVERWRITTEN}"}


@pytest.mark.parametrize(
    "theirs",
    [
        {"text": "Urgent, please"},
        concept("urn:site", "urgent"),
        concept("urn:site", "urgent", text=f"They said: {OVERWRITTEN}"),
        {"coding": []},
    ],
)
def test_the_authors_reason_stays_when_we_have_none(theirs: dict[str, Any]) -> None:
    after = written(claimed(statusReason=theirs), transmission(state=State.SENT, due_at=NOW))

    assert after["statusReason"] == theirs


@pytest.mark.parametrize(
    "ours", [*(Reason(code=code, sentence="x").concept() for code in sorted(CODES)), {"text": OVERWRITTEN}]
)
def test_our_own_reason_goes_when_it_is_over(ours: dict[str, Any]) -> None:
    after = written(claimed(statusReason=ours), transmission(state=State.SENT, due_at=NOW))

    assert "statusReason" not in after


# --- Identifiers and moments ----------------------------------------------------------------------------------


def test_a_former_rounds_message_id_becomes_old() -> None:
    site = {"system": "urn:site", "value": "7", "use": "usual"}
    before = communication(identifier=[message_id(FORMER, use="official"), site])

    claim = written(before, transmission(round=2, state=State.CLAIMED))
    sent = written(claim, transmission(round=2, state=State.SENT, message=MESSAGE, due_at=NOW))

    assert claim["identifier"] == [message_id(FORMER, use="old"), site]
    assert sent["identifier"] == [message_id(FORMER, use="old"), site, message_id()]


@pytest.mark.parametrize("present", [None, [], {}, "x"])
def test_an_id_is_written_where_there_was_no_list(present: object) -> None:
    row = transmission(state=State.SENT, message=MESSAGE, due_at=NOW)

    assert written(claimed(identifier=present), row)["identifier"] == [message_id()]


def test_entries_that_are_no_identifiers_are_left_alone() -> None:
    row = transmission(state=State.SENT, message=MESSAGE, due_at=NOW)

    assert written(claimed(identifier=[None, "x"]), row)["identifier"] == [None, "x", message_id()]


def test_completed_writes_when_it_was_received() -> None:
    row = transmission(state=State.COMPLETED, sent_at=NOW, ended_at=NOW + timedelta(seconds=90))

    after = written(claimed(), row)

    assert (after["sent"], after["received"]) == ("2026-03-01T12:00:00.000Z", "2026-03-01T12:01:30.000Z")


def test_only_completed_is_received() -> None:
    after = written(claimed(), transmission(state=State.FAILED, sent_at=NOW, ended_at=NOW))

    assert "received" not in after


def test_received_goes_when_metriport_takes_completed_back() -> None:
    done = written(claimed(), transmission(state=State.COMPLETED, message=MESSAGE, sent_at=NOW, ended_at=NOW))

    failed = written(done, transmission(state=State.FAILED, message=MESSAGE, sent_at=NOW, ended_at=NOW))

    assert failed["status"] == "stopped"
    assert "received" not in failed
    assert failed["sent"] == done["sent"]


def test_a_new_round_starts_without_the_former_ones_moments() -> None:
    done = written(claimed(), transmission(state=State.COMPLETED, message=FORMER, sent_at=NOW, ended_at=NOW))
    wish = {**done, "status": "preparation", "category": [RESEND]}

    again = written(wish, transmission(round=2, state=State.CLAIMED))

    assert again["status"] == "in-progress"
    assert not {"sent", "received", "category"} & set(again)


def test_moments_that_an_author_set_stay_until_we_know_better() -> None:
    theirs = communication(sent="2026-02-28", received="2026-02-28")

    after = written(theirs, transmission(state=State.CLAIMED))

    assert (after["sent"], after["received"]) == ("2026-02-28", "2026-02-28")


def test_a_rebuilt_row_that_does_not_know_when_it_was_sent_leaves_what_is_there() -> None:
    known = claimed(marks=(mark(message=MESSAGE),), sent="2026-02-28T08:00:00Z")

    after = written(known, transmission(state=State.SENT, message=MESSAGE, due_at=NOW))

    assert after["sent"] == "2026-02-28T08:00:00Z"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOW, "2026-03-01T12:00:00.000Z"),
        (NOW + timedelta(microseconds=1999), "2026-03-01T12:00:00.001Z"),
        (datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=2))), "2026-03-01T12:00:00.000Z"),
    ],
)
def test_instants_are_utc_to_the_millisecond(moment: datetime, text: str) -> None:
    assert instant_text(moment) == text


# --- Overtaken ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_it", "is_overtaken"),
    [
        ((), False),
        ((mark(),), False),
        ((mark(message=MESSAGE),), True),
        ((mark(end=End.HELD),), True),
        ((mark(attempt=2),), True),
        ((mark(round=2, message=MESSAGE),), False),
        ((mark(round=2), mark(message=MESSAGE)), True),
    ],
)
def test_a_communication_that_knows_more_of_the_round_has_overtaken_us(
    *, on_it: tuple[Mark, ...], is_overtaken: bool
) -> None:
    assert overtaken(claimed(marks=on_it), transmission(state=State.CLAIMED)) is is_overtaken


def test_what_we_wrote_ourselves_does_not_overtake_us() -> None:
    row = transmission(state=State.COMPLETED, message=MESSAGE, ended_at=NOW)

    assert not overtaken(written(claimed(), row), row)


def test_a_communication_in_line_needs_no_write() -> None:
    row = transmission(state=State.SENT, message=MESSAGE, sent_at=NOW, due_at=NOW)

    assert needs_write(claimed(), row)
    assert not needs_write(written(claimed(), row), row)
