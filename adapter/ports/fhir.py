"""The local FHIR server, as the pipelines need it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from enum import StrEnum
from typing import Protocol

from adapter.domain.resource import Resource


class Presence(StrEnum):
    """What a server knows of an id."""

    THERE = "there"
    DELETED = "deleted"
    NEVER = "never"


class FhirServer(Protocol):
    """A FHIR R4 server. Every call may raise `Temporary` or `Rejected`."""

    base_url: str

    async def read(self, type: str, id: str) -> Resource | None:
        """The resource; `None` when it does not exist or was deleted."""
        ...

    async def read_version(self, type: str, id: str, version: str) -> Resource | None:
        """One version of the resource."""
        ...

    async def read_bytes(self, binary_id: str) -> bytes:
        """A Binary's content, raw."""
        ...

    async def replace(self, resource: Resource, *, version: str) -> Resource:
        """Updates that version of the resource, and no other (`If-Match`).

        Raises:
            Conflict: another version is current.
        """
        ...

    async def put(self, resource: Resource) -> Resource:
        """Creates or replaces the resource under its own id."""
        ...

    async def store_binary(
        self,
        id: str,
        *,
        content_type: str,
        content: Callable[[], AsyncIterator[bytes]],
        size: int,
        security_context: str | None,
    ) -> None:
        """Creates or replaces a Binary with the `size` bytes of `content`, without holding them."""
        ...

    async def presence(self, type: str, id: str) -> Presence:
        """Whether the resource is there, was deleted, or never was."""
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

    async def history(self, type: str, id: str) -> list[Resource] | None:
        """All kept versions, newest first; `None` where the server keeps none."""
        ...
