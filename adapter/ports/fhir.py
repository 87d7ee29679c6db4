"""The local FHIR server, as the pipelines need it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from adapter.domain.resource import Resource


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

    def search(self, type: str, parameters: Sequence[tuple[str, str]]) -> AsyncIterator[Resource]:
        """All matches, page after page, never from a cache."""
        ...

    async def history(self, type: str, id: str) -> list[Resource] | None:
        """All kept versions, newest first; `None` where the server keeps none."""
        ...
