"""A message that somebody sent in, and the names that its resources have on the FHIR server (design §3, Inbound)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from adapter.domain.attachment import Stated
from adapter.domain.canonical import own_id
from adapter.domain.resource import text

_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,80}/[\w!#$&^.+-]{1,120}(\s*;[\x20-\x7e]{1,200})?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What Metriport's call tells: where the message is to be had, and whose it is when it was matched.

    The links are presigned and live minutes; `patient` is Metriport's id, `external_id` the account's own. `named` is
    likely the message's id: good for telling a person, and for finding out that what cannot be had by this call came by
    another way.
    """

    links: tuple[str, ...] = field(repr=False)
    patient: str | None = None
    external_id: str | None = None
    named: str | None = None


@dataclass(frozen=True, kw_only=True)
class Linked:
    """The bytes are behind a presigned link, which lives minutes and is a credential."""

    url: str = field(repr=False)
    stated: Stated = field(default_factory=Stated)


@dataclass(frozen=True, kw_only=True)
class Inside:
    """The bytes are in the content itself; each call gives its base64 anew, piece by piece, as it stands there."""

    pieces: Callable[[], Iterator[bytes]] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Named:
    """Only Metriport's document id is told; the bytes have to be asked for.

    `title` names one of several files of the document; without it the first is meant.
    """

    document: str
    title: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Nowhere:
    """An attachment is told of, and nothing tells where its bytes are."""


Source = Linked | Inside | Named | Nowhere


@dataclass(frozen=True, kw_only=True)
class Enclosure:
    """One attachment of a received message, before its bytes were fetched. `document` is Metriport's id of it."""

    source: Source
    content_type: str | None = None
    document: str | None = None
    title: str | None = field(default=None, repr=False)
    description: str | None = field(default=None, repr=False)
    created: str | None = None
    type: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Received:
    """One message from somebody else. `patient` is Metriport's id, `external_id` the account's own.

    `person` is a FHIR Patient, when the content tells one: only good for finding candidates. `disputed` when call and
    content tell different patients: then it is not certain whose the message is, whatever else they tell.
    """

    id: str
    patient: str | None = None
    external_id: str | None = None
    disputed: bool = False
    person: Mapping[str, Any] | None = field(default=None, repr=False)
    subject: str = field(default="", repr=False)
    body: str = field(default="", repr=False)
    sender: str | None = field(default=None, repr=False)
    sender_address: str | None = None
    destination: str | None = None
    npis: tuple[str, ...] = ()
    sent_at: datetime | None = None
    received_at: datetime | None = None
    enclosures: tuple[Enclosure, ...] = ()

    @property
    def communication(self) -> str:
        """The id of its Communication on the FHIR server."""
        return communication_id(self.id)


def communication_id(message: str) -> str:
    """The same message always has the same Communication, whoever tells of it and however often."""
    return own_id("communication", message)


def document_name(message: str, *, document: str | None, sha256: str, copies: int) -> str:
    """What an attachment's ids are made from: Metriport's document id, else the message's and its bytes.

    `copies` counts equal attachments before it in the same message.
    """
    name = document or f"{message}/{sha256}"
    return f"{name}/{copies + 1}" if copies else name


def document_id(name: str) -> str:
    """The id of an attachment's DocumentReference."""
    return own_id("documentreference", name)


def binary_id(name: str) -> str:
    """The id of an attachment's Binary."""
    return own_id("binary", name)


def media_type(value: object) -> str | None:
    """The media type in the form that R4 and HTTP take; `None` when it is none."""
    stated = text(value) or ""
    return " ".join(stated.split()) if _MEDIA_TYPE.fullmatch(stated) else None
