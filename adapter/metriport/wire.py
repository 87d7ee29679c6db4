"""Metriport's JSON, read and judged: everything that can be decided from bytes.

Metriport speaks two dialects: FHIR Communications as its documentation has it, bare or wrapped, and the
Messages of its published client library (https://docs.metriport.com/medical-api/getting-started/message-delivery).
Readers take both at once and never raise; what they cannot read is absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from adapter.domain.message import Message, MessageState
from adapter.domain.outcome import Answer, LaneStopped, Refused, Sent, Unknown, Waiting
from adapter.domain.resource import codings, instant, items, obj, text
from adapter.domain.text import clip, normalise
from adapter.errors import AdapterError, Rejected, Temporary
from adapter.ports.metriport import Listing

MOST_RETRY_SECONDS: Final = 300.0
_MOST_DETAIL: Final = 1000

_ID: Final = re.compile(r"[!-~]{1,128}")
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SECONDS: Final = re.compile(r"\d{1,9}(\.\d+)?", re.ASCII)


# --- JSON ---------------------------------------------------------------------------------------------------


def read_json(body: bytes) -> Any:
    """The JSON value; `None` when the bytes are none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def identifier(value: object) -> str | None:
    """An id that can stand in a URL, a database and a log: 1 to 128 visible ASCII characters."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def moment(value: object) -> datetime | None:
    """A timestamp in UTC."""
    found = instant(value)
    try:
        return found.astimezone(UTC) if found else None
    except OverflowError:
        return None


def sentence(value: object) -> str | None:
    """Somebody else's sentence, fit to be stored: no control characters, no halves of characters, not too long."""
    return clip(normalise(value), _MOST_DETAIL) or None if isinstance(value, str) else None


# --- Errors -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Metriport's error shape. The detail may name the patient: for the resource, never for a log."""

    name: str
    title: str | None = None
    detail: str = field(repr=False)


def read_problem(status: int, body: bytes) -> Problem | None:
    """The error, when it is in Metriport's own shape `{"status", "name", "title", "detail"}`.

    A gateway's `{"message"}`, a framework's `{"detail"}` and a proxy's page are not, whatever their status.
    """
    found = obj(read_json(body))
    name, title, detail = text(found.get("name")), sentence(found.get("title")), sentence(found.get("detail"))
    if found.get("status") != status or not name or not (title or detail):
        return None
    return Problem(name=name, title=title, detail=detail or title or "")


def describe(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """The answer in words that may be logged: status, kind of error, Metriport's request id."""
    problem = read_problem(status, body)
    facts = []
    if problem:
        facts = [word for word in (problem.name, problem.title) if word and _WORD.fullmatch(word)]
    request_id = headers.get("x-metriport-request-id", "")
    if _WORD.fullmatch(request_id):
        facts.append(f"request {request_id}")
    return f"Metriport answered {status}" + (f" ({', '.join(facts)})" if facts else "")


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds to wait by `Retry-After`, as seconds or as a date (RFC 9110 §10.2.3), never more than the cap."""
    stated = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(stated):
        return min(float(stated), MOST_RETRY_SECONDS)
    try:
        date = parsedate_to_datetime(stated)
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds.total_seconds()), MOST_RETRY_SECONDS)


_KEY_REFUSED: Final = "the API key is refused: check metriport.api_key"
_NO_ROUTE: Final = "there is no such route: check metriport.base_url"
_HINTS: Final = {401: _KEY_REFUSED, 403: _KEY_REFUSED, 404: _NO_ROUTE, 405: _NO_ROUTE}


def _what_to_do(status: int) -> str:
    return _HINTS.get(status, "the account or the route is refused: check metriport.base_url and the account")


# --- What an answer to the send means (protocol §5) ---------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes
    now: datetime

    @property
    def words(self) -> str:
        return describe(self.status, self.headers, self.body)


_Meaning = Callable[[_Reply], Answer]

_PATIENT_WITHHELD: Final = re.compile(r"\bopt(ed)?[ -]?out\b|\btreatment relationship\b", re.IGNORECASE)


def _accepted(reply: _Reply) -> Answer:
    message_id = identifier(_unwrapped(read_json(reply.body)).get("id"))
    return Sent(message_id=message_id) if message_id else Unknown(why=f"{reply.words} without a message id")


def _throttled(reply: _Reply) -> Answer:
    return Waiting(why=reply.words, retry_after_seconds=retry_after(reply.headers, now=reply.now))


def _refused(reply: _Reply) -> Answer:
    problem = read_problem(reply.status, reply.body)
    if problem is None:
        return _lane_stopped(reply)
    withheld = _PATIENT_WITHHELD.search(f"{problem.title} {problem.detail}")
    return Refused(
        code="held-patient-opted-out" if withheld else "refused-by-metriport", detail=problem.detail
    )


def _patient_gone(reply: _Reply) -> Answer:
    problem = read_problem(reply.status, reply.body)
    return Refused(code="held-patient-gone", detail=problem.detail) if problem else _lane_stopped(reply)


def _lane_stopped(reply: _Reply) -> Answer:
    return LaneStopped(why=f"{reply.words}; {_what_to_do(reply.status)}")


def _unknown(reply: _Reply) -> Answer:
    return Unknown(why=reply.words)


_BY_STATUS: Final[dict[int, _Meaning]] = {
    400: _refused,
    404: _patient_gone,
    408: _unknown,
    409: _unknown,
    413: _refused,
    422: _refused,
    429: _throttled,
}
_BY_CLASS: Final[dict[int, _Meaning]] = {2: _accepted, 4: _lane_stopped}


def answer_to_send(status: int, headers: Mapping[str, str], body: bytes, *, now: datetime) -> Answer:
    """What the answer to the POST means; anything that proves nothing is `Unknown`. Header names are lower case."""
    meaning = _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, _unknown)
    return meaning(_Reply(status=status, headers=headers, body=body, now=now))


# --- What an answer to anything else means ------------------------------------------------------------------

_ABOUT_THE_REQUEST: Final = frozenset({400, 404, 413, 422})
_PASSING: Final = frozenset({408, 409, 425, 429})
_CLASSES: Final = {3: "redirects are not followed; check metriport.base_url", 5: "it is tried again later"}


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, *, doing: str, now: datetime
) -> AdapterError | None:
    """The error that the answer to a read or an upload is; `None` for a 2xx.

    `Rejected.issues` holds Metriport's sentence when it refuses this very request, and is empty when the
    account or the route is refused.
    """
    if status // 100 == 2:  # noqa: PLR2004
        return None
    said = f"{doing}: {describe(status, headers, body)}"
    if status // 100 == 4 and status not in _PASSING:  # noqa: PLR2004
        problem = read_problem(status, body) if status in _ABOUT_THE_REQUEST else None
        if problem:
            return Rejected(f"{said}.", status=status, issues=(problem.detail,))
        return Rejected(f"{said}; {_what_to_do(status)}.", status=status)
    wait = retry_after(headers, now=now)
    return Temporary(
        f"{said}; {_CLASSES.get(status // 100, _CLASSES[5])}.",
        retry_at=None if wait is None else now + timedelta(seconds=wait),
        applied=status != 429,  # noqa: PLR2004
    )


# --- Messages -----------------------------------------------------------------------------------------------

_STATES: Final = {
    "completed": MessageState.COMPLETED,
    "failed": MessageState.FAILED,
    # "failed" is no code of R4's event-status; these are what a strict server can say instead.
    "stopped": MessageState.FAILED,
    "not-done": MessageState.FAILED,
    "entered-in-error": MessageState.FAILED,
}


def read_message(value: object) -> Message | None:
    """One message in either dialect, subject and body normalised; `None` when it has no id."""
    found = _unwrapped(value)
    message_id = identifier(found.get("id"))
    if message_id is None:
        return None
    state = _STATES.get((text(found.get("status")) or "").lower(), MessageState.PROCESSING)
    payload = items(found.get("payload"))
    ended = found.get("completedAt") or found.get("received") or found.get("updatedAt")
    return Message(
        id=message_id,
        state=state,
        patient=identifier(found.get("patientId")) or _target(found.get("subject"), "Patient"),
        destination=text(found.get("destination")) or _destination(found),
        subject=normalise(text(found.get("subject")) or text(obj(found.get("topic")).get("text")) or ""),
        body=normalise(text(found.get("body")) or _joined(payload)),
        attachments=_attachments(found, payload),
        npis=_npis(found),
        sent_at=moment(found.get("sentAt") or found.get("sent")),
        completed_at=None if state is MessageState.PROCESSING else moment(ended),
        detail=sentence(found.get("reason")) or _status_reason(found),
    )


def _unwrapped(value: object) -> Mapping[str, Any]:
    found = obj(value)
    return obj(found.get("communication")) or obj(found.get("message")) or found


def _target(reference: object, type: str) -> str | None:
    head, _, tail = (text(obj(reference).get("reference")) or "").rpartition("/")
    return identifier(tail) if head.rpartition("/")[2] == type else None


def _destination(communication: Mapping[str, Any]) -> str | None:
    """The organisation among the recipients; practitioners are the intended persons there."""
    shown = [one for one in items(communication.get("recipient")) if one.get("type") != "Practitioner"]
    return next((display for one in shown if (display := text(one.get("display")))), None)


def _joined(payload: list[Mapping[str, Any]]) -> str:
    return "\n\n".join(part for one in payload if (part := text(one.get("contentString"))))


def _attachments(found: Mapping[str, Any], payload: list[Mapping[str, Any]]) -> frozenset[str]:
    plain = found.get("attachments")
    ids = [identifier(one) for one in plain] if isinstance(plain, list) else []
    ids += [_target(one.get("contentReference"), "DocumentReference") for one in payload]
    return frozenset(one for one in ids if one)


def _npis(found: Mapping[str, Any]) -> tuple[str, ...]:
    plain = found.get("intendedRecipientNpi")
    people = [one for one in items(found.get("recipient")) if one.get("type") == "Practitioner"]
    shown = [*(plain if isinstance(plain, list) else ()), *(one.get("display") for one in people)]
    return tuple(npi for one in shown if (npi := text(one)))


def _status_reason(communication: Mapping[str, Any]) -> str | None:
    concept = obj(communication.get("statusReason"))
    shown = [concept.get("text"), *(coding.get("display") for coding in codings(concept))]
    return next((found for one in shown if (found := sentence(one))), None)


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of the list. What is `unreadable` in it proves nothing either way, so the list is not whole."""

    messages: tuple[Message, ...]
    unreadable: int = 0
    total: int | None = None
    next_page: str | None = field(default=None, repr=False)


def read_listing_page(value: object) -> Page | None:
    """A page of List Messages; `None` when it is none."""
    found = obj(value)
    rows = found.get("messages")
    if not isinstance(rows, list):
        return None
    messages = [read_message(row) for row in rows]
    meta = obj(found.get("meta"))
    total, link = meta.get("itemsInTotal"), meta.get("nextPage")
    next_page = text(link)
    no_link = not isinstance(found.get("meta"), dict) or (link is not None and next_page is None)
    return Page(
        messages=tuple(one for one in messages if one),
        unreadable=messages.count(None) + no_link,
        total=total if isinstance(total, int) else None,
        next_page=next_page,
    )


def listing(pages: Sequence[Page]) -> Listing:
    """The pages as one reading: whole when the last one ends the list, every row was read, and the sums agree."""
    found = {one.id: one for page in pages for one in page.messages}
    totals = {page.total for page in pages} - {None}
    ended = bool(pages) and pages[-1].next_page is None
    whole = ended and not any(page.unreadable for page in pages) and totals <= {len(found)}
    return Listing(messages=tuple(found.values()), whole=whole, pages=len(pages))


# --- Documents ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the bytes of a new document go."""

    document_id: str
    url: str = field(repr=False)


def read_place(value: object) -> Place | None:
    """The answer to an upload's start; `None` when it has no id or no URL."""
    document_id = identifier(obj(value).get("documentReferenceId"))
    url = text(obj(value).get("uploadUrl"))
    return Place(document_id=document_id, url=url) if document_id and url else None


def read_documents(value: object) -> frozenset[str] | None:
    """The ids in a list of documents, as DocumentReferences or flat; `None` when it is no such list."""
    rows = obj(value).get("documents")
    if not isinstance(rows, list):
        return None
    return frozenset(one for row in items(rows) if (one := identifier(row.get("id"))))
