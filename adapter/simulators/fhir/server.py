"""One FHIR server's single interactions: from a request to the answer that HAPI would give.

https://hl7.org/fhir/R4/http.html
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import parse_qsl

from adapter.simulators.fhir import binary
from adapter.simulators.fhir.bundles import Bundles
from adapter.simulators.fhir.outcome import Refused, Resource, information
from adapter.simulators.fhir.search import parse
from adapter.simulators.fhir.store import Rules, Store, Version
from adapter.simulators.fhir.subscriptions import check
from adapter.simulators.fhir.types import TYPES
from adapter.simulators.fhir.wire import answer, http_date, loads, require_json
from adapter.simulators.http import Request, Response


class Server:
    """The store, its bundles, and the interactions on them."""

    def __init__(self, rules: Rules, seed: int) -> None:
        self.rules = rules
        self.store = Store(rules, seed)
        self.bundles = Bundles(self.store)

    def known(self, type_: str) -> str:
        """The resource type itself.

        Raises:
            Refused: it is none of R4.
        """
        if type_ not in TYPES:
            raise Refused(404, f"Unknown resource type {type_!r}")
        return type_

    def read(self, version: Version, request: Request) -> Response:
        """A version that was asked for."""
        headers = self._headers(version)
        if headers["ETag"] == request.headers.get("if-none-match"):
            return Response(status=304, headers=headers)
        return self._shown(200, version, request, headers)

    def content(self, version: Version) -> Response:
        """A Binary's bytes, wherever they are kept: HAPI's `$binary-access-read`.

        Raises:
            Refused: it has none.
        """
        if "data" not in version.content:
            raise Refused(400, f"Unable to find content in {version.key}")
        return binary.raw_answer(200, version.content, {})

    def search(
        self, type_: str, parameters: list[tuple[str, str]], link: str, request: Request, now: datetime
    ) -> Resource:
        """The first page of a search."""
        query = parse(type_, parameters, page_size=self.rules.page_size)
        fresh = "no-cache" in request.headers.get("cache-control", "")
        return self.bundles.search(query, link, now, fresh=fresh)

    def create(self, type_: str, request: Request, now: datetime) -> Response:
        """A new resource, or the one that `If-None-Exist` finds."""
        resource = self._body(type_, "", request)
        version = self.matching(type_, request.headers.get("if-none-exist", ""))
        status = 201 if version is None else 200
        if version is None:
            with self.store.transaction():
                version = self.write(type_, "", resource, now)[0]
        headers = self._headers(version)
        headers["Location"] = headers["Content-Location"]
        return self._shown(status, version, request, headers)

    def update(self, type_: str, id_: str, request: Request, now: datetime) -> Response:
        """The next version of a resource, or its first."""
        resource = self._body(type_, id_, request)
        with self.store.transaction():
            version, born = self.write(type_, id_, resource, now, request.headers.get("if-match"))
        return self._shown(201 if born else 200, version, request, self._headers(version))

    def delete(self, type_: str, id_: str, now: datetime) -> Response:
        """The end of a resource; that there was none is no error."""
        with self.store.transaction():
            gone = self.store.delete(type_, id_, now)
        return answer(200, information("Deleted" if gone else f"Not deleted: {type_}/{id_} was not there"))

    def write(
        self,
        type_: str,
        id_: str,
        resource: Resource,
        now: datetime,
        if_match: str | None = None,
        *,
        new_id: str = "",
    ) -> tuple[Version, bool]:
        """Writes within a transaction; without an id, under a new one. The version, and whether it is a birth."""
        if type_ == "Subscription":
            check(resource)
        if not id_:
            return self.store.create(type_, resource, now, id_=new_id), True
        return self.store.update(type_, id_, resource, now, if_match)

    def matching(self, type_: str, criteria: str) -> Version | None:
        """What a conditional create finds; None when it finds nothing, or is none.

        Raises:
            Refused: it finds several.
        """
        if not criteria:
            return None
        text = criteria.partition("?")[2] or criteria
        query = parse(type_, parse_qsl(text, keep_blank_values=True), page_size=self.rules.page_size)
        found = query.run(self.store.current(type_))
        if len(found) > 1:
            raise Refused(412, f"{type_}?{text} matched {len(found)} resources")
        return found[0] if found else None

    def _body(self, type_: str, id_: str, request: Request) -> Resource:
        if type_ == "Binary" and not binary.is_resource(request):
            return binary.from_raw(id_, request)
        require_json(request.headers)
        resource = loads(request.body, type_)
        if id_ and resource.get("id") != id_:
            raise Refused(400, f"The body's id is {resource.get('id')}, but {id_} stands in the URL")
        return resource

    def _headers(self, version: Version) -> dict[str, str]:
        return {
            "ETag": f'W/"{version.number}"',
            "Content-Location": f"{self.rules.base_url}/{version.key}/_history/{version.number}",
            "Last-Modified": http_date(version.at),
        }

    def _shown(self, status: int, version: Version, request: Request, headers: dict[str, str]) -> Response:
        if "return=minimal" in request.headers.get("prefer", ""):
            return Response(status=status, headers=headers)
        if version.type != "Binary":
            return answer(status, version.content, headers)
        headers |= binary.security_headers(version.content)
        resource = binary.shown(version.content, apart=not self.rules.strict)
        # With nothing to give raw, HAPI gives the resource, whatever was asked for.
        if "data" in resource and binary.wants_raw(request):
            return binary.raw_answer(status, resource, headers)
        return answer(status, resource, headers)
