"""The local FHIR server: `ports.fhir.FhirServer` and what the edge itself needs beyond it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import httpx

from adapter.domain.attachment import MOST_BYTES
from adapter.domain.episode import Hear, nobody_hears
from adapter.domain.resource import Resource, items, local_reference, obj
from adapter.errors import AdapterError, ConfigError, Conflict, Rejected, Temporary
from adapter.fhir import binary, capabilities, own, wire
from adapter.fhir.answers import error_of_entry, is_absent
from adapter.fhir.capabilities import Capabilities
from adapter.fhir.transport import CONTENT_TIMEOUT, Reply, Transport, grouped
from adapter.ports.fhir import History, Place, Presence

PAGE_SIZE: Final = 200
MOST_PAGES: Final = 1000

# HAPI keeps the number of versions for a minute and leaves out the oldest of those written since, unless asked by time.
_EVER: Final = ("_since", "1970-01-01T00:00:00Z")
_COUNT: Final = ("_count", str(PAGE_SIZE))
_GONE: Final = 410
_NO_VERSION: Final = "0"
_NO_CONDITION: Final = frozenset({400, 404})  # what is said to a version that nothing can have, beside 412
_NO_HISTORY: Final = frozenset({400, 405, 501})
_NOT_RAW: Final = frozenset({400, 406, 415, 422})  # what is said to a form that is not taken


class FhirClient:
    """A FHIR R4 server over one pooled HTTP client, which stays the caller's to close.

    `authorization` is the whole header value; it goes to the base's origin and nowhere else.
    Resources come and go as plain JSON objects. `assigns_ids` is to be set where the server gives all ids itself.
    """

    assigns_ids = False

    def __init__(
        self,
        http: httpx.AsyncClient,
        base_url: str,
        *,
        authorization: str | None,
        now: Callable[[], datetime],
        hear: Hear = nobody_hears,
    ) -> None:
        self.base_url = wire.base_of(base_url)
        if authorization is not None and not (authorization.isascii() and authorization.isprintable()):
            raise ConfigError(
                "fhir.authorization has characters that an HTTP header cannot carry. Look for a line break at its end."
            )
        self._fhir = Transport(http, self.base_url, authorization=authorization, now=now, hear=hear)

    async def read(self, type: str, id: str) -> Resource | None:
        """The resource; `None` when it does not exist or was deleted."""
        if not (wire.is_type(type) and wire.is_id(id)):
            return None
        return await self._found(f"{type}/{id}", type=type, id=id)

    async def read_version(self, type: str, id: str, version: str) -> Resource | None:
        """One version of the resource."""
        if not (wire.is_type(type) and wire.is_id(id) and wire.is_id(version)):
            return None
        return await self._found(f"{type}/{id}/_history/{version}", type=type, id=id)

    async def _found(self, path: str, *, type: str, id: str) -> Resource | None:
        try:
            value = await self._fhir.execute(path, method="get")
        except Rejected as error:
            if is_absent(error):
                return None
            raise
        return wire.resource(value, what=f"GET {path}", type=type, id=id)

    async def locate(self, type: str, id: str) -> Place:
        """Where the resource is that was created under this id of the adapter's own; 410 says that it was deleted."""
        if self.assigns_ids:
            matches = [one async for one in self.search(type, own.criteria(id))]
            found = [str(one["id"]) for one in matches if own.bears(one, id)]
            if matches and not found:
                raise Temporary(
                    f"GET {type}: a search by identifier finds what does not have it. If this stays so, switch the "
                    "search parameter identifier on."
                )
            presence = Presence.THERE if found else Presence.UNSEEN
            return Place(presence=presence, id=min(found, default=id))
        path = wire.location(type, id)
        try:
            reply = await self._fhir.request("GET", path)
            wire.resource(reply.value, what=f"GET {path}", type=type, id=id)
        except Rejected as error:
            if not is_absent(error):
                raise
            return Place(presence=Presence.DELETED if error.status == _GONE else Presence.NEVER, id=id)
        return Place(presence=Presence.THERE, id=id)

    async def create_all(self, resources: Sequence[Resource]) -> list[str]:
        """Creates all of them under their ids, or none, and gives their ids on the server.

        HAPI creates under an `If-Match` that no version has, and takes it for nothing that is there or was deleted. By the
        standard it is refused for what is not there as well: then only the look before keeps others' work from harm.

        Raises:
            Conflict: one of them is there already, or was, perhaps by a request that a process made before it died; where
                the server gives all ids, of one there are several.
        """
        if self.assigns_ids:
            reply = await self._fhir.request("POST", "", data=own.posts(resources), patience=CONTENT_TIMEOUT)
            return own.ids(_carried_out(reply), resources, base_url=self.base_url)
        try:
            await self._put_all(resources, if_match=wire.etag(_NO_VERSION))
        except (Conflict, Rejected) as refusal:
            _raise_unless_conditional(refusal)
            for one in resources:
                place = await self.locate(wire.type_of(one), str(one["id"]))
                if not place.is_free:
                    raise
            await self._put_all(resources, if_match=None)
        return [str(one["id"]) for one in resources]

    async def _put_all(self, resources: Sequence[Resource], *, if_match: str | None) -> None:
        if len(resources) == 1:
            await self.put(resources[0], if_match=if_match)
        else:
            await self.transaction(own.puts(resources, if_match=if_match))

    async def find(self, type: str, parameters: Sequence[tuple[str, str]], *, limit: int) -> list[Resource]:
        """The first matches, by `POST {type}/_search`: what is searched for stands in no URL."""
        what = f"POST {type}/_search"
        asked = [*parameters, ("_count", str(limit))]
        reply = await self._fhir.request("POST", f"{type}/_search", form=asked)
        page = wire.resource(reply.value, what=what, type="Bundle")
        return list(wire.matches(page, type))[:limit]

    async def read_bytes(self, binary_id: str, *, most_bytes: int = MOST_BYTES) -> bytes:
        """A Binary's content, raw, at most `most_bytes` + 1 of it.

        Raises:
            Rejected: `answers.is_absent` tells whether the Binary does not exist.
        """
        path = wire.location("Binary", binary_id)
        body, kind = await self._fhir.content(path, most_bytes=most_bytes)
        shown = binary.shown(body, kind, id=binary_id)
        if shown is None:
            return body
        if "data" in shown or "_data" not in shown:
            return binary.data_of(shown, what=f"GET {path}")
        # HAPI's binary storage gives what is larger than 10 MB by this operation only.
        body, _ = await self._fhir.content(
            f"{path}/$binary-access-read", params={"path": "Binary"}, most_bytes=most_bytes
        )
        return body

    async def replace(self, resource: Resource, *, version: str) -> Resource:
        """Updates that version of the resource, and no other (`If-Match`).

        Raises:
            Conflict: another version is current, or the resource is gone.
        """
        path = _path(resource)
        try:
            reply = await self._fhir.request(
                "PUT", path, data=resource, headers={"If-Match": wire.etag(version)}
            )
        except Rejected as error:
            if is_absent(error):
                raise Conflict(f"PUT {path}: it no longer exists; read it again.") from error
            raise
        return await self._written(reply, what=f"PUT {path}", path=path)

    async def put(self, resource: Resource, *, if_match: str | None = None) -> Resource:
        """Creates or replaces the resource under its own id, with that entity tag as `If-Match` where one is given."""
        path = _path(resource)
        headers = {"If-Match": if_match} if if_match else None
        reply = await self._fhir.request("PUT", path, data=resource, headers=headers)
        return await self._written(reply, what=f"PUT {path}", path=path)

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

        On a server that gives all ids itself it is held and given, for `create_all`. The same content again makes no new
        version. It is tried as `create_all` does first: what a killed process sent, and arrives late, replaces nothing.
        """
        if self.assigns_ids:
            return await own.inline(
                id, content_type=content_type, content=content(), security_context=security_context
            )
        path = wire.location("Binary", id)

        async def store(if_match: str | None) -> None:
            if binary.goes_raw(content_type, size=size):
                raw = binary.Raw(
                    content_type=content_type, content=content(), size=size, security_context=security_context
                )
                try:
                    await self._fhir.store(path, raw, if_match=if_match)
                except Rejected as refusal:
                    if refusal.status not in _NOT_RAW:
                        raise
                else:
                    return
            document = binary.Document(
                id, content_type=content_type, content=content(), size=size, security_context=security_context
            )
            await self._fhir.store(path, document, if_match=if_match)

        try:
            await store(wire.etag(_NO_VERSION))
        except (Conflict, Rejected) as refusal:
            _raise_unless_conditional(refusal)
            await store(None)
        return None

    async def create(
        self, resource: Resource, *, if_none_exist: Sequence[tuple[str, str]] | None = None
    ) -> Resource:
        """Creates the resource under an id of the server's, unless one matches `if_none_exist` (that one, then).

        Raises:
            Conflict: several match.
        """
        type = wire.type_of(resource)
        headers = {"If-None-Exist": wire.query(if_none_exist)} if if_none_exist else None
        reply = await self._fhir.request("POST", type, data=resource, headers=headers)
        return await self._written(reply, what=f"POST {type}", path=type)

    async def delete(self, type: str, id: str) -> None:
        """Deletes the resource; one that does not exist is as good as deleted.

        Raises:
            Conflict: something on the server still refers to it.
        """
        path = wire.location(type, id)
        try:
            # HAPI 8.8 answers about one deletion in 300 with HAPI-0826 though nobody else is there; the next one works.
            with suppress(Conflict):
                await self._fhir.request("DELETE", path)
                return
            await self._fhir.request("DELETE", path)
        except Rejected as error:
            if not is_absent(error):
                raise

    async def transaction(self, bundle: Resource) -> Resource:
        """Carries the whole transaction out, or nothing of it; the server's response Bundle."""
        return _carried_out(await self._fhir.request("POST", "", data=bundle))

    async def search(
        self, type: str, parameters: Sequence[tuple[str, str]]
    ) -> AsyncGenerator[Resource, None]:
        """All matches, page after page, never from a cache.

        Raises:
            Temporary: it cannot be read to its end now.
            Rejected: the server does not take the search, or its next page is on another origin.
        """
        sized = parameters if any(name == "_count" for name, _ in parameters) else [*parameters, _COUNT]
        async for page in self._pages(type, sized):
            for match in wire.matches(page, type):
                yield match

    async def history(self, type: str, id: str) -> History | None:
        """All kept versions; `None` where the server keeps none."""
        if not (wire.is_type(type) and wire.is_id(id)):
            return None
        try:
            pages = [page async for page in self._pages(f"{type}/{id}/_history", [_EVER, _COUNT])]
        except Rejected as error:
            if is_absent(error) or error.status in _NO_HISTORY:
                return None
            raise
        versions = [version for page in pages for version in wire.versions(page)]
        return History(versions=versions, whole=wire.reaches_first(pages[-1]))

    async def _pages(
        self, path: str, parameters: Sequence[tuple[str, str]]
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        what = f"GET {path}"
        asked = wire.url_under(self.base_url, path, parameters)
        page = wire.resource(await self._page(path, parameters), what=what, type="Bundle")
        yield page
        seen = {asked}
        while (following := wire.next_link(page, asked=asked, base=self.base_url)) is not None:
            if following in seen or len(seen) >= MOST_PAGES:
                raise Temporary(f"{what}: the pages do not end (after {len(seen)} of them).")
            seen.add(following)
            asked = following
            page = wire.resource(await self._page(following, []), what=what, type="Bundle")
            yield page

    async def _page(self, path: str, parameters: Sequence[tuple[str, str]]) -> Any:
        return await self._fhir.execute(path, method="get", params=grouped(parameters))

    async def capabilities(self) -> Capabilities:
        """What the server says of itself."""
        statement = await self._fhir.execute("metadata", method="get")
        what = "GET metadata"
        return capabilities.read(wire.resource(statement, what=what, type="CapabilityStatement"))

    async def _written(self, reply: Reply, *, what: str, path: str) -> Resource:
        """The resource as the write left it; asked for when the answer to the write does not show it."""
        type, _, id = path.partition("/")
        if isinstance(reply.value, dict) and reply.value.get("resourceType") == type:
            return wire.resource(reply.value, what=what, type=type, id=id or None)
        place = local_reference(reply.location, base_url=self.base_url)
        known = id or (place.id if place and place.type == type else None)
        try:
            written = await self._read_back(type, known, reply.version) if known else None
        except AdapterError as error:
            # Whatever kept it from being read back, the write itself was taken.
            raise Temporary(f"{what}: the server took it and then could not show it.") from error
        if written is None:
            raise Temporary(f"{what}: the server took it and does not show it.")
        return written

    async def _read_back(self, type: str, id: str, version: str | None) -> Resource | None:
        # By version first: a plain read may already show somebody else's next edit.
        exact = await self.read_version(type, id, version) if version else None
        return exact or await self.read(type, id)


def _raise_unless_conditional(refusal: Conflict | Rejected) -> None:
    """Raises what is not refused for an `If-Match` that no version has."""
    if isinstance(refusal, Rejected) and refusal.status not in _NO_CONDITION:
        raise refusal


def _carried_out(reply: Reply) -> Resource:
    """The response Bundle. Some servers go through the entries one by one and say in each how that went.

    Raises:
        Conflict, Rejected, Temporary: as the first entry says that was not carried out.
    """
    what = "POST a transaction"
    bundle = wire.resource(reply.value, what=what, type="Bundle")
    for entry in items(bundle.get("entry")):
        error = error_of_entry(obj(entry.get("response")), what=what)
        if error is not None:
            raise error
    return bundle


def _path(resource: Resource) -> str:
    return wire.location(wire.type_of(resource), resource.get("id"))
