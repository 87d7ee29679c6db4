"""Search results in pages and histories, as HAPI bundles them, with what it remembers for a minute."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, quote, urlencode

from adapter.simulators.fhir.outcome import Refused, Resource
from adapter.simulators.fhir.search import MAX_COUNT, Query
from adapter.simulators.fhir.store import Store, Version
from adapter.simulators.fhir.wire import instant

_REMEMBERED = timedelta(seconds=60)
# HAPI runs a search in strides; the total is known when the first stride was the last.
_STRIDE = 13
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_STATUS = {"POST": "201 Created", "PUT": "200 OK", "DELETE": "200 OK"}


@dataclass(frozen=True)
class _Found:
    keys: tuple[str, ...]
    at: datetime


class Bundles:
    """Makes the bundles. A search is remembered by its id; its pages show each resource as it is by then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._searches: dict[str, _Found] = {}
        self._reusable: dict[str, str] = {}
        self._totals: dict[str, tuple[int, datetime]] = {}

    def search(self, query: Query, self_link: str, now: datetime, *, fresh: bool) -> Resource:
        """The first page. Unless a fresh one is asked for, the same search of the last minute is shown again."""
        id_ = self._reusable.get(query.canonical)
        if fresh or id_ is None or now - self._searches[id_].at >= _REMEMBERED:
            found = query.run(self._store.current(query.type))
            id_ = self._store.new_uuid()
            self._searches[id_] = _Found(tuple(version.key for version in found), now)
            if not fresh:
                self._reusable[query.canonical] = id_
        if query.counts_only:
            return self._bundle(id_, "searchset", now, total=len(self._searches[id_].keys))
        return self._page(id_, 0, query.count, self_link, now)

    def page(self, parameters: dict[str, str], self_link: str, now: datetime) -> Resource:
        """A further page; its link is opaque to the client.

        Raises:
            Refused: the search is not known.
        """
        id_ = parameters["_getpages"]
        if id_ not in self._searches:
            raise Refused(410, f"Search {id_} does not exist and may have expired")
        return self._page(id_, int(parameters["_getpagesoffset"]), int(parameters["_count"]), self_link, now)

    def _page(self, id_: str, offset: int, count: int, self_link: str, now: datetime) -> Resource:
        keys = self._searches[id_].keys
        known = offset > 0 or len(keys) <= max(_STRIDE, count)
        links = [("self", self_link)]
        if offset + count < len(keys):
            links.append(("next", self._link(id_, offset + count, count)))
        if offset:
            links.append(("previous", self._link(id_, max(0, offset - count), count)))
        newest = [self._store.newest(key) for key in keys[offset : offset + count]]
        entries = [
            {
                "fullUrl": f"{self._store.rules.base_url}/{version.key}",
                "resource": version.content,
                "search": {"mode": "match"},
            }
            for version in newest
            if version is not None and not version.deleted
        ]
        return self._bundle(
            id_, "searchset", now, total=len(keys) if known else None, links=links, entries=entries
        )

    def _link(self, id_: str, offset: int, count: int) -> str:
        query = {"_getpages": id_, "_getpagesoffset": offset, "_count": count, "_bundletype": "searchset"}
        return f"{self._store.rules.base_url}?{urlencode(query)}"

    def history(self, key: str, query: str, now: datetime) -> Resource:
        """The versions of a resource, newest first.

        HAPI remembers the number of versions for a minute, unless `_since` is given, and shows that many: after a
        write within the minute the oldest are missing.

        Raises:
            Refused: there is no such resource, or `_since` is no instant.
        """
        versions = self._store.history(key)[::-1]
        if not versions:
            raise Refused(404, f"Resource {key} is not known")
        given = dict(parse_qsl(query))
        total: int | None = None
        if "_since" in given:
            since = _instant(given["_since"])
            versions = tuple(version for version in versions if version.at >= since)
        else:
            total = self._total(key, len(versions), now)
            versions = versions[:total]
        count = min(int(given.get("_count", self._store.rules.page_size)), MAX_COUNT)
        offset = int(given.get("_offset", 0))
        here = f"{self._store.rules.base_url}/{key}/_history"
        links = [("self", f"{here}?{query}" if query else here)]
        if offset + count < len(versions):
            onward = {**given, "_count": str(count), "_offset": str(offset + count)}
            links.append(("next", f"{here}?{urlencode(onward, quote_via=quote)}"))
        entries = [self._past(version) for version in versions[offset : offset + count]]
        return self._bundle(self._store.new_uuid(), "history", now, total=total, links=links, entries=entries)

    def _total(self, key: str, present: int, now: datetime) -> int:
        total, at = self._totals.get(key, (present, now))
        if now - at >= _REMEMBERED:
            total, at = present, now
        self._totals[key] = (total, at)
        return total

    def _past(self, version: Version) -> Resource:
        entry: Resource = {"fullUrl": f"{self._store.rules.base_url}/{version.key}"}
        if not version.deleted:
            entry["resource"] = version.content
        entry["request"] = {"method": version.method, "url": f"{version.key}/_history/{version.number}"}
        entry["response"] = {"status": _STATUS[version.method], "etag": f'W/"{version.number}"'}
        return entry

    def _bundle(
        self,
        id_: str,
        type_: str,
        now: datetime,
        *,
        total: int | None,
        links: Sequence[tuple[str, str]] = (),
        entries: Sequence[Resource] = (),
    ) -> Resource:
        bundle: Resource = {
            "resourceType": "Bundle",
            "id": id_,
            "meta": {"lastUpdated": instant(now)},
            "type": type_,
        }
        if total is not None:
            bundle["total"] = total
        if links:
            bundle["link"] = [{"relation": relation, "url": url} for relation, url in links]
        if entries:
            bundle["entry"] = list(entries)
        return bundle


def _instant(text: str) -> datetime:
    if not _INSTANT.fullmatch(text):
        raise Refused(400, f"Invalid instant: {text!r}")
    return datetime.fromisoformat(text)
