"""The mark: one round's plan, kept as an extension on the Communication (protocol §2).

It is the truth about what we meant to send; the ledger may be lost, the mark is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from adapter.domain.canonical import TRANSMISSION_EXTENSION
from adapter.domain.resource import Resource, entries, extensions, items

KEPT_MARKS: Final = 5
_MOST_POSITIVE: Final = 2**31 - 1  # https://hl7.org/fhir/R4/datatypes.html#positiveInt


class End(StrEnum):
    """How a round ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    HELD = "held"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, kw_only=True)
class Token:
    """Who claimed, bound to the resource: a copied mark does not fit its new resource's id.

    Text form `life.nonce.seal`; the seal is the first 16 hex digits of SHA-256 over life, nonce and resource id.
    """

    life: str
    nonce: str
    seal: str

    @classmethod
    def mint(cls, *, life: str, nonce: str, resource_id: str) -> Token:
        """A new token for this resource."""
        return cls(life=life, nonce=nonce, seal=_seal(life, nonce, resource_id))

    @classmethod
    def parse(cls, text: str) -> Token | None:
        """The token in its text form; `None` when it is not one."""
        parts = text.split(".")
        return cls(life=parts[0], nonce=parts[1], seal=parts[2]) if len(parts) == 3 else None  # noqa: PLR2004

    def fits(self, resource_id: str) -> bool:
        """Whether the token was minted for this resource."""
        return self.seal == _seal(self.life, self.nonce, resource_id)

    def __str__(self) -> str:
        return f"{self.life}.{self.nonce}.{self.seal}"


def _seal(life: str, nonce: str, resource_id: str) -> str:
    # JSON can carry half a surrogate pair, UTF-8 cannot.
    return hashlib.sha256(f"{life}/{nonce}/{resource_id}".encode(errors="surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One round's plan and what became of it. A round that never had a plan (refused, held) has no destination."""

    round: int
    token: str
    attempt: int = 1
    destination: str | None = None
    attachments: tuple[str, ...] = ()
    digest: str | None = None
    message: str | None = None
    end: End | None = None

    @property
    def progress(self) -> tuple[int, bool, bool, int]:
        """Orders marks of one Communication by how far they know the story; greater knows more.

        A round whose message is known needs no further attempt: that one was claimed before it was learned.
        """
        return (self.round, self.end is not None, self.message is not None, self.attempt)

    def fits(self, resource_id: str) -> bool:
        """Whether the mark belongs on the resource with that id."""
        token = Token.parse(self.token)
        return token is not None and token.fits(resource_id)

    def extension(self) -> dict[str, Any]:
        """The mark as a FHIR extension."""
        parts: list[tuple[str, str, object]] = [
            ("round", "valuePositiveInt", self.round),
            ("destination", "valueString", self.destination),
            *(("attachment", "valueString", attachment) for attachment in self.attachments),
            ("digest", "valueString", self.digest),
            ("token", "valueString", self.token),
            ("attempt", "valuePositiveInt", self.attempt),
            ("message", "valueString", self.message),
            ("end", "valueCode", self.end.value if self.end else None),
        ]
        return {
            "url": TRANSMISSION_EXTENSION,
            "extension": [{"url": url, kind: value} for url, kind, value in parts if value is not None],
        }


def newest(marks: Iterable[Mark]) -> Mark | None:
    """The mark that knows most; `None` of none."""
    return max(marks, key=lambda mark: mark.progress, default=None)


def marks_on(communication: Mapping[str, Any]) -> list[Mark]:
    """The readable marks on the Communication, newest first."""
    read = [_read(extension) for extension in extensions(communication, TRANSMISSION_EXTENSION)]
    return sorted((mark for mark in read if mark), key=lambda mark: mark.progress, reverse=True)


def has_foreign_mark(communication: Mapping[str, Any]) -> bool:
    """Whether a mark is unreadable or was made for another resource: a copy that somebody made."""
    resource_id = communication.get("id")
    return any(
        (mark := _read(extension)) is None or not isinstance(resource_id, str) or not mark.fits(resource_id)
        for extension in extensions(communication, TRANSMISSION_EXTENSION)
    )


def with_mark(communication: Resource, mark: Mark) -> list[dict[str, Any]]:
    """`extension` of the Communication with this round's mark on it, newest first, at most `KEPT_MARKS` of them."""
    others = [entry for entry in entries(communication.get("extension")) if not _is_mark(entry)]
    earlier = [kept for kept in marks_on(communication) if kept.round != mark.round]
    marks = sorted([mark, *earlier], key=lambda kept: kept.progress, reverse=True)[:KEPT_MARKS]
    return [*others, *(kept.extension() for kept in marks)]


def _is_mark(entry: object) -> bool:
    return isinstance(entry, dict) and entry.get("url") == TRANSMISSION_EXTENSION


def _read(extension: Mapping[str, Any]) -> Mark | None:
    parts: dict[str, Any] = {}
    attachments: list[object] = []
    for part in items(extension.get("extension")):
        value = next((part[key] for key in part if key.startswith("value")), None)
        if part.get("url") == "attachment":
            attachments.append(value)
        else:
            parts[str(part.get("url"))] = value
    try:
        end = parts.get("end")
        return Mark(
            round=_positive(parts["round"]),
            token=_string(parts["token"]),
            attempt=_positive(parts.get("attempt", 1)),
            destination=_stated(parts.get("destination")),
            attachments=tuple(_string(attachment) for attachment in attachments),
            digest=_stated(parts.get("digest")),
            message=_stated(parts.get("message")),
            end=End(end) if end is not None else None,
        )
    except (KeyError, ValueError):
        return None


def _positive(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_POSITIVE:
        raise ValueError
    return value


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004  caught in `_read`: the mark is unreadable
    return value


def _stated(value: object) -> str | None:
    return None if value is None else _string(value)
