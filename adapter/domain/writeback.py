"""What the adapter writes on a Communication: its own fields, computed from the present state (design §3, protocol §7)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from adapter.domain.canonical import COMMUNICATION_ID, REASON_SYSTEM
from adapter.domain.mark import End, Mark, marks_on, newest, with_mark
from adapter.domain.marker import wants_resend, without_resend
from adapter.domain.resource import Resource, codings, entries, items, version_of
from adapter.domain.rounds import IN_PROGRESS, PREPARATION, STATUS_OF_END, Verdict, decide, is_our_status
from adapter.domain.transmission import END_OF, State, Transmission

OVERWRITTEN: Final = (
    "An older copy was saved over this Communication while it was under way; the adapter put its fields back."
)

TAKEN_BACK: Final = "It was taken back before it was sent; an older copy was saved over that."
_EDITED: Final = "what was changed after that was not"


def edited_after(version: str | None) -> str:
    """What is said when the author went on editing after the claim."""
    return f"Version {version} was sent; {_EDITED}."


def instant_text(moment: datetime) -> str:
    """A FHIR instant in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def status_for(transmission: Transmission) -> str | None:
    """The Communication status that the transmission asks for; `None` leaves the author's."""
    if transmission.state is State.SENT and _gave_up(transmission):
        return "stopped"
    return STATUS_OF_END[END_OF.get(transmission.state)]


def _gave_up(transmission: Transmission) -> bool:
    return transmission.due_at is None and transmission.reason is not None


def authors_own(communication: Mapping[str, Any], known: Mark) -> bool:
    """Whether the status is a decision of the author's that the adapter leaves alone.

    One that the adapter wrote for the newest mark that is there, of an earlier round perhaps, is an old copy's.
    """
    if communication.get("status") == PREPARATION:
        return False
    marks = marks_on(communication)
    ours = (newest(marks), newest([*marks, known]))
    return not any(mark and is_our_status(communication, mark) for mark in ours)


def overtaken(communication: Mapping[str, Any], transmission: Transmission) -> bool:
    """Whether the Communication already knows more of this round than the transmission does."""
    return any(
        mark.round == transmission.round and mark.progress > transmission.mark.progress
        for mark in marks_on(communication)
    )


def written(communication: Resource, transmission: Transmission) -> Resource:
    """The Communication with the adapter's fields as the transmission now has them; all else as it was.

    The author's own decision on `status` stays, a later round's status stays, and so does a new wish: then the mark
    and the identifier are all that is written. One that was taken back, and of which an older copy was saved over that,
    is not left as if it were on its way.
    """
    edited = copy.deepcopy(communication)
    edited["extension"] = with_mark(communication, transmission.mark)
    former = _is_former(communication, transmission)
    _set(edited, "identifier", _identifiers(communication, transmission.message, former=former))
    if former or authors_own(communication, transmission.mark):
        return edited
    status = status_for(transmission)
    if status is not None:
        edited["status"] = status
    _set(edited, "statusReason", _status_reason(communication, transmission))
    if transmission.state is State.WITHDRAWN and communication.get("status") == IN_PROGRESS:
        edited |= {"status": "not-done", "statusReason": {"text": TAKEN_BACK}}
    _set_moments(edited, transmission, marks_on(communication))
    if wants_resend(communication):
        _set(edited, "category", without_resend(communication))
    return edited


def _is_former(communication: Mapping[str, Any], transmission: Transmission) -> bool:
    """Whether the story went on: a later round is there, or an author asks again.

    Who does so saw this round's end, or mended what was refused or held before that could be written.
    """
    marks = marks_on(communication)
    # What was unconfirmed may have failed since its author asked for it once more.
    failed = transmission.state is State.FAILED and wants_resend(communication)
    unconfirmed = transmission.is_unconfirmed or failed
    seen = any(mark.round == transmission.round and mark.end is not None for mark in marks)
    answered = seen or unconfirmed or _is_mended(communication, transmission)
    decision = decide(communication, transmission.mark, is_unconfirmed=unconfirmed)
    asks_again = answered and decision.verdict is Verdict.OPEN
    return asks_again or any(mark.round > transmission.round for mark in marks)


def _is_mended(communication: Mapping[str, Any], transmission: Transmission) -> bool:
    """Whether this is another version than the one that was refused or held without ever being claimed."""
    judged = transmission.version
    return transmission.claimed_at is None and judged is not None and judged != version_of(communication)


def _set_moments(edited: Resource, transmission: Transmission, before: list[Mark]) -> None:
    """`sent` and `received` of this round; those of an earlier one go, and a `received` that proved wrong."""
    if transmission.sent_at:
        edited["sent"] = instant_text(transmission.sent_at)
    elif transmission.message is None and any(mark.message for mark in before):
        edited.pop("sent", None)
    if transmission.state is State.COMPLETED and transmission.ended_at:
        edited["received"] = instant_text(transmission.ended_at)
    elif any(mark.end is End.COMPLETED for mark in before):
        edited.pop("received", None)


def _set(resource: Resource, element: str, value: object) -> None:
    if value:
        resource[element] = value
    else:
        resource.pop(element, None)


def _identifiers(communication: Mapping[str, Any], message: str | None, *, former: bool) -> list[Any]:
    """Metriport's ids: the present round's in use, those of other rounds `old`."""
    present = entries(communication.get("identifier"))
    kept = present if former else [_retired(entry, message) for entry in present]
    if message is None or any(_is_id(entry) and entry.get("value") == message for entry in items(kept)):
        return kept
    own = {"system": COMMUNICATION_ID, "value": message}
    return [*kept, {**own, "use": "old"} if former else own]


def _is_id(entry: Mapping[str, Any]) -> bool:
    return entry.get("system") == COMMUNICATION_ID


def _retired(entry: Any, message: str | None) -> Any:
    is_former = isinstance(entry, dict) and _is_id(entry) and entry.get("value") != message
    return {**entry, "use": "old"} if is_former else entry


def _status_reason(communication: Mapping[str, Any], transmission: Transmission) -> dict[str, Any] | None:
    concept = transmission.reason.concept() if transmission.reason else {}
    sentences = [sentence for sentence in (concept.get("text"), transmission.note) if sentence]
    if sentences:
        return {**concept, "text": " ".join(sentences)}
    present = communication.get("statusReason")
    return present if isinstance(present, dict) and not _is_ours(present) else None


def _is_ours(concept: Mapping[str, Any]) -> bool:
    coded = [coding.get("system") == REASON_SYSTEM for coding in codings(concept)]
    said = str(concept.get("text"))
    return any(coded) or (
        not coded and any(sentence in said for sentence in (OVERWRITTEN, TAKEN_BACK, _EDITED))
    )


def needs_write(communication: Resource, transmission: Transmission) -> bool:
    """Whether writing would change anything."""
    return written(communication, transmission) != communication
