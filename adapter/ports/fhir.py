"""The local FHIR server, as the pipelines need it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from adapter.domain.attachment import MOST_BYTES
from adapter.domain.resource import Resource


class Presence(StrEnum):
    """What a server knows of a resource."""

    THERE = "there"
    DELETED = "deleted"
    NEVER = "never"
    UNSEEN = "unseen"  # not there now; a server that gives all ids itself cannot tell whether it ever was


@dataclass(frozen=True, kw_only=True)
class Place:
    """A resource of the adapter's own making: whether it is there, and under which id of the server's if it is."""

    presence: Presence
    id: str

    @property
    def is_free(self) -> bool:
        """Whether it may be created: what somebody deleted stays so."""
        return self.presence in {Presence.NEVER, Presence.UNSEEN}


@dataclass(frozen=True, kw_only=True)
class History:
    """The versions that a server keeps of a resource, newest first; `whole` when the first of all is among them."""

    versions: Sequence[Resource]
    whole: bool


class FhirServer(Protocol):
    """A FHIR R4 server. Every call may raise `Temporary` or `Rejected`."""

    base_url: str

    async def read(self, type: str, id: str) -> Resource | None:
        """The resource; `None` when it does not exist or was deleted."""
        ...

    async def read_version(self, type: str, id: str, version: str) -> Resource | None:
        """One version of the resource."""
        ...

    async def read_bytes(self, binary_id: str, *, most_bytes: int = MOST_BYTES) -> bytes:
        """A Binary's content, raw, at most `most_bytes` + 1 of it. `Rejected` with 404 or 410: it does not exist."""
        ...

    async def replace(self, resource: Resource, *, version: str) -> Resource:
        """Updates that version of the resource, and no other (`If-Match`).

        Raises:
            Conflict: another version is current.
        """
        ...

    async def create_all(self, resources: Sequence[Resource]) -> list[str]:
        """Creates all of them under their ids, or none, and gives their ids on the server.

        A server that gives all ids itself keeps theirs as identifiers; references between them lead there as well.

        Raises:
            Conflict: one of them is there already, or was.
        """
        ...

    async def store_binary(
        self,
        id: str,
        *,
        content_type: str,
        content: Callable[[], AsyncIterator[bytes]],
        size: int,
        security_context: str | None,
    ) -> Resource | None:
        """Creates or replaces a Binary with the `size` bytes of `content`, without holding them.

        Where the server gives all ids itself, nothing is written yet: it gives the Binary that has to be created
        together with what refers to it.
        """
        ...

    async def locate(self, type: str, id: str) -> Place:
        """Where the resource is that was created under this id of the adapter's own."""
        ...

    async def find(self, type: str, parameters: Sequence[tuple[str, str]], *, limit: int) -> list[Resource]:
        """The first matches, asked for so that no value stands in a URL: for searches by what a patient is like."""
        ...

    async def transaction(self, bundle: Resource) -> Resource:
        """Carries the whole transaction out, or nothing of it.

        Raises:
            Conflict: an entry names a version that is not current.
        """
        ...

    def search(self, type: str, parameters: Sequence[tuple[str, str]]) -> AsyncIterator[Resource]:
        """All matches, page after page, never from a cache."""
        ...

    async def history(self, type: str, id: str) -> History | None:
        """All kept versions; `None` where the server keeps none."""
        ...
