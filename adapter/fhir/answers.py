"""What an HTTP answer of a FHIR server means to the adapter: one table over all statuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import simplejson

from adapter.domain.resource import codings, items, obj, text
from adapter.errors import AdapterError, Conflict, Rejected, Temporary
from adapter.fhir import wire

MOST_ISSUES: Final = 5
LONGEST_ISSUE: Final = 300

_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f]+")
_GONE: Final = 410
_STATUS: Final = re.compile(r"[1-5]\d\d")
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One HTTP answer, fully read. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


class Meaning(Enum):
    """What the caller can do about it."""

    GOOD = "good"
    ABSENT = "absent"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    REDIRECTED = "redirected"
    NOT_APPLIED = "not applied"
    TEMPORARY = "temporary"


# https://hl7.org/fhir/R4/http.html#Status-Codes; HAPI says 409 where the specification says 412.
_OF_STATUS: Final[Mapping[int, Meaning]] = {
    404: Meaning.ABSENT,
    408: Meaning.TEMPORARY,
    409: Meaning.CONFLICT,
    410: Meaning.ABSENT,
    412: Meaning.CONFLICT,
    425: Meaning.NOT_APPLIED,
    429: Meaning.NOT_APPLIED,
    501: Meaning.REJECTED,
}
_OF_CLASS: Final[Mapping[int, Meaning]] = {
    2: Meaning.GOOD,
    3: Meaning.REDIRECTED,
    4: Meaning.REJECTED,
}
_ADVICE: Final[Mapping[int, str]] = {
    400: "the request does not pass the server's rules; its own words are in the issues",
    401: "the server does not know the adapter; check fhir.authorization",
    403: "the adapter's account may not do this; give it the right on the server",
    405: "the server does not offer this interaction; run doctor",
    501: "the server does not offer this interaction; run doctor",
    413: "it is larger than the server takes; raise the server's limit",
    415: "the server does not take FHIR JSON",
    422: "the resource does not pass the server's rules; its own words are in the issues",
}
_OTHER_ADVICE: Final = "the server's own words are in the issues"


def meaning_of(status: int) -> Meaning:
    """The meaning of any HTTP status; what the table does not know may be better tomorrow."""
    return _OF_STATUS.get(status) or _OF_CLASS.get(status // 100, Meaning.TEMPORARY)


def is_absent(error: Rejected) -> bool:
    """Whether the rejection says that the resource does not exist or was deleted."""
    return meaning_of(error.status) is Meaning.ABSENT


def error_in(answer: Answer, *, what: str, now: datetime) -> AdapterError | None:
    """The error that the answer to `what` is, if it is one. No text of the answer gets into its message."""
    status = answer.status
    match meaning_of(status):
        case Meaning.GOOD:
            return None
        case Meaning.CONFLICT:
            return Conflict(
                f"{what}: somebody else changed it first (HTTP {status}); read it again.",
                version=wire.version_in(answer.headers.get("etag")),
            )
        case Meaning.ABSENT:
            return _absent(answer, what=what)
        case Meaning.REJECTED:
            return Rejected(
                f"{what}: refused with HTTP {status}; {_ADVICE.get(status, _OTHER_ADVICE)}.",
                status=status,
                issues=issues_in(answer.body),
            )
        case Meaning.REDIRECTED:
            return Temporary(
                f"{what}: the server redirects (HTTP {status}), which is not followed. "
                "Set fhir.base_url to where it redirects to.",
                applied=False,
            )
        case other:
            return Temporary(
                f"{what}: the server cannot answer now (HTTP {status}).",
                retry_at=wire.retry_at(answer.headers.get("retry-after"), now=now),
                applied=other is Meaning.TEMPORARY,
            )


def error_of_entry(response: Mapping[str, Any], *, what: str) -> AdapterError | None:
    """The error that a response in a Bundle's entry is, if it is one; none of it where it states no status."""
    status = _STATUS.match(str(response.get("status", "")))
    if status is None or meaning_of(int(status[0])) is Meaning.GOOD:
        return None
    body = simplejson.dumps(response.get("outcome") or {}).encode()
    return error_in(Answer(status=int(status[0]), body=body), what=what, now=_NEVER)


def _absent(answer: Answer, *, what: str) -> AdapterError:
    # A proxy says 404 while the server behind it starts, and that must not read as "the resource is gone".
    if answer.status == _GONE or not answer.body.strip() or _outcome(answer.body):
        return Rejected(
            f"{what}: does not exist on the server (HTTP {answer.status}).",
            status=answer.status,
            issues=issues_in(answer.body),
        )
    return Temporary(
        f"{what}: HTTP {answer.status}, but not in a FHIR server's words. If this stays so, check that "
        "fhir.base_url is the server's FHIR base.",
        applied=False,
    )


def _outcome(body: bytes) -> Mapping[str, Any]:
    try:
        value = obj(simplejson.loads(body.decode("utf-8-sig")))
    except (ValueError, RecursionError):
        return {}
    return value if value.get("resourceType") == "OperationOutcome" else {}


def issues_in(body: bytes) -> tuple[str, ...]:
    """The server's own sentences in an OperationOutcome, each on one line and not too long.

    They may quote the resource: meant for the resource, never for a log.
    """
    issues = items(_outcome(body).get("issue"))
    grave = [issue for issue in issues if issue.get("severity") in ("fatal", "error")]
    sentences = [_sentence(issue) for issue in grave or issues]
    return tuple(dict.fromkeys(sentence for sentence in sentences if sentence))[:MOST_ISSUES]


def _sentence(issue: Mapping[str, Any]) -> str:
    details = obj(issue.get("details"))
    said = (
        text(issue.get("diagnostics"))
        or text(details.get("text"))
        or next((display for coding in codings(details) if (display := text(coding.get("display")))), None)
        or text(issue.get("code"))
        or ""
    )
    line = _BLANK.sub(" ", said).strip()
    return line if len(line) <= LONGEST_ISSUE else line[: LONGEST_ISSUE - 1] + "…"
