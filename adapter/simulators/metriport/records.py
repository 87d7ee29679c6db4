"""What the pretend Metriport holds: messages, documents, files behind links."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(kw_only=True)
class Message:
    """One message, in or out."""

    id: str
    direction: str
    sent_at: datetime
    updated_at: datetime
    patient_id: str | None = None
    status: str = "processing"
    destination: str = ""
    subject: str = ""
    body: str | None = None
    attachments: list[str] = field(default_factory=list)
    npis: list[str] = field(default_factory=list)
    reason: str | None = None
    sender: str | None = None
    visible_at: datetime | None = None
    completes_at: datetime | None = None


@dataclass(kw_only=True)
class Document:
    """One document: announced, and usable once its bytes are there."""

    id: str
    patient_id: str
    announced: dict[str, Any]
    created_at: datetime
    data: bytes | None = None
    content_type: str = "application/octet-stream"

    @property
    def file_name(self) -> str:
        """`content.attachment.title`, which names the file for downloads."""
        return f"{self.id}.bin"


@dataclass(frozen=True, kw_only=True)
class File:
    """What a presigned download link leads to."""

    data: bytes
    content_type: str = "application/json"
