"""One message as Metriport is to get it, and one as Metriport shows it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

MOST_NPIS: Final = 10
MOST_SUBJECT_UNITS: Final = 255
MOST_BODY_UNITS: Final = 5000


@dataclass(frozen=True, kw_only=True)
class Send:
    """The exact call: Metriport's patient id and the JSON body. Its text stays out of its repr."""

    patient: str
    body: Mapping[str, Any] = field(repr=False)

    @property
    def destination(self) -> str:
        """The OID or Direct address that it goes to."""
        return str(self.body["destination"])

    @property
    def attachments(self) -> tuple[str, ...]:
        """Metriport's document ids."""
        return tuple(self.body.get("attachments", ()))

    @property
    def npis(self) -> tuple[str, ...]:
        """The NPIs of the people meant at the destination."""
        return tuple(self.body.get("intendedRecipientNpi", ()))

    @property
    def digest(self) -> str:
        """SHA-256 of the call, hex: what the mark remembers of the text."""
        canonical = json.dumps(
            [self.patient, self.body], sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def reference_of(base_url: str, communication: str, *, round: int) -> str:
    """The short reference of a round: the same for each of its attempts, another for every other round."""
    name = f"{base_url}/Communication/{communication}/{round}"
    return f"[ref {hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}]"


class MessageState(StrEnum):
    """How far Metriport got with a message."""

    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message as Metriport shows it, whichever dialect it spoke."""

    id: str
    state: MessageState
    patient: str | None = None
    destination: str | None = None
    subject: str = field(default="", repr=False)
    body: str = field(default="", repr=False)
    attachments: frozenset[str] = frozenset()
    npis: tuple[str, ...] = ()
    sent_at: datetime | None = None
    completed_at: datetime | None = None
    detail: str | None = field(default=None, repr=False)
