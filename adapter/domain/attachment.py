"""What may be attached, and what is wrong with what may not (design §3, "attachments")."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from adapter.domain.reasons import Reason, reason
from adapter.domain.resource import codings, items, obj, text

MOST_ATTACHMENTS: Final = 5
MOST_BYTES: Final = 50_000_000  # "50 MB at most per file"
_SHA1_BYTES: Final = 20

_CONFIDENTIALITY: Final = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
_RESTRICTED: Final = frozenset({"R", "V"})


@dataclass(frozen=True, kw_only=True)
class Content:
    """The bytes of one attachment with what describes them. The bytes stay out of its repr."""

    where: str
    content_type: str
    data: bytes = field(repr=False)
    title: str | None = field(default=None, repr=False)
    created: str | None = None
    type_text: str | None = field(default=None, repr=False)
    type_codings: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A document that Metriport already lists for the patient: passed by its id, not uploaded again."""

    where: str
    document_id: str


def payloads_of(communication: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The parts of the payload that attach something, each with where it is."""
    return [
        (f"payload[{index}]", payload)
        for index, payload in enumerate(items(communication.get("payload")))
        if "contentAttachment" in payload or "contentReference" in payload
    ]


def has_attachments(communication: Mapping[str, Any]) -> bool:
    """Whether the Communication attaches anything."""
    return bool(payloads_of(communication))


def decode(data: object, *, where: str) -> bytes | Reason:
    """The bytes of base64 `data`; white space in it is allowed (R4 base64Binary)."""
    if not isinstance(data, str):
        return unreadable(where, "its data is not a string")
    decoded = _decoded(data)
    return unreadable(where, "its data is not base64") if decoded is None else decoded


def _decoded(data: str) -> bytes | None:
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except ValueError:  # binascii.Error is one
        return None


def unreadable(where: str, why: str) -> Reason:
    """The refusal of an attachment that cannot be read."""
    return reason("refused-attachment-unreadable", where=where, why=why)


def check_bytes(attachment: Mapping[str, Any], data: bytes, *, where: str) -> Reason | None:
    """What is wrong with the bytes by the Attachment's own statements, or by Metriport's limit."""
    if not data:
        return unreadable(where, "it is empty")
    if len(data) > MOST_BYTES:
        return reason("refused-attachment-too-large", where=where, limit=MOST_BYTES)
    why = stated(attachment).misfit(size=len(data), sha1=hashlib.sha1(data, usedforsecurity=False).digest())
    return unreadable(where, why) if why else None


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What an Attachment says of its bytes; `None` where it says nothing."""

    size: int | Decimal | None = None
    sha1: bytes | None = None

    def misfit(self, *, size: int, sha1: bytes) -> str | None:
        """In what these bytes are others; `None` when they fit."""
        if self.size is not None and self.size != size:
            return f"its size is stated as {self.size} bytes and is {size}"
        if self.sha1 is not None and self.sha1 != sha1:
            return "its bytes do not fit its hash"
        return None


def stated(attachment: Mapping[str, Any]) -> Stated:
    """What the Attachment says of its bytes."""
    size, digest = attachment.get("size"), attachment.get("hash")
    # A whole number of more than 18 digits arrives as Decimal. `True` is an int to Python, and no size.
    counted = isinstance(size, int | Decimal) and not isinstance(size, bool)
    sha1 = _decoded(digest) if isinstance(digest, str) else None
    # R4 says SHA-1; FIPS 180 in an older build. A digest of another length is somebody's own and proves nothing.
    proves = sha1 is not None and len(sha1) == _SHA1_BYTES
    return Stated(size=size if counted else None, sha1=sha1 if proves else None)


@dataclass(frozen=True, kw_only=True)
class _StatusRule:
    current: frozenset[str]
    unfinished: frozenset[str] = frozenset()


_STATUS: Final[dict[str, _StatusRule]] = {
    "DocumentReference": _StatusRule(current=frozenset({"current"})),
    "Media": _StatusRule(
        current=frozenset({"completed"}), unfinished=frozenset({"preparation", "in-progress"})
    ),
    "DiagnosticReport": _StatusRule(
        current=frozenset({"final", "amended", "corrected", "appended"}),
        unfinished=frozenset({"registered", "partial", "preliminary"}),
    ),
}
DOCUMENT_TYPES: Final = frozenset({*_STATUS, "Binary"})


def check_document(document: Mapping[str, Any], *, where: str) -> Reason | None:
    """Why the document may not leave as it is: not current, not finished, restricted, or not understood."""
    if document.get("modifierExtension") or document.get("implicitRules"):
        return reason("refused-modifier-extension", where=where)
    rule = _STATUS.get(str(document.get("resourceType")))
    status = text(document.get("status"))
    if rule and status in rule.unfinished:
        return reason("held-document-preliminary", where=where, status=status)
    if rule and status not in rule.current:
        return reason("refused-attachment-not-current", where=where, status=_code(status))
    doc_status = document.get("docStatus")
    if doc_status == "preliminary":
        return reason("held-document-preliminary", where=where, status=doc_status)
    if doc_status == "entered-in-error":
        return reason("refused-attachment-not-current", where=where, status=doc_status)
    return _check_labels(document, where=where)


def _check_labels(document: Mapping[str, Any], *, where: str) -> Reason | None:
    labels = [*items(obj(document.get("meta")).get("security"))]
    for concept in items(document.get("securityLabel")):
        labels.extend(codings(concept))
    for label in labels:
        if label.get("system") == _CONFIDENTIALITY and text(label.get("code")) in _RESTRICTED:
            return reason("held-restricted", where=where, label=label["code"])
    return None


def _code(status: str | None) -> str:
    return status if status and status.replace("-", "").isalpha() else "without a known status"


def attachments_of(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The Attachments that a DocumentReference, Media or DiagnosticReport consists of."""
    match document.get("resourceType"):
        case "DocumentReference":
            return [obj(content.get("attachment")) for content in items(document.get("content"))]
        case "Media":
            return items([document.get("content")])
        case _:
            return items(document.get("presentedForm"))


def owner_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The reference to whom the document is about."""
    element = "securityContext" if document.get("resourceType") == "Binary" else "subject"
    return obj(document.get(element))


def describe(document: Mapping[str, Any]) -> tuple[str | None, tuple[Mapping[str, Any], ...]]:
    """The document's type as text and as codings."""
    concept = obj(document.get("type") or document.get("code"))
    found = codings(concept)
    displays = (display for one in found if (display := text(one.get("display"))))
    return text(concept.get("text")) or next(displays, None), tuple(found)
