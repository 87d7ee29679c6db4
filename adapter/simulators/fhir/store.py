"""The resources and all their versions, with the rules under which HAPI takes a write."""

from __future__ import annotations

import copy
import random
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from adapter.simulators.fhir.outcome import Refused, Resource
from adapter.simulators.fhir.paths import at
from adapter.simulators.fhir.references import local_targets, normalise
from adapter.simulators.fhir.types import CODES
from adapter.simulators.fhir.wire import instant

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_STICKY = ("tag", "security")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the server is set up; `strict` is the official HAPI image's default, else everything is let through.

    Without `client_ids` it gives all ids itself.
    """

    base_url: str
    conflict: int = 409
    page_size: int = 20
    strict: bool = True
    client_ids: bool = True


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a resource; a deletion has no content. `targets`: what it referred to, and was there."""

    type: str
    id: str
    number: int
    at: datetime
    method: str
    content: Resource
    deleted: bool = False
    targets: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """`Type/id`."""
        return f"{self.type}/{self.id}"


class Store:
    """Every version of every resource."""

    def __init__(self, rules: Rules, seed: int) -> None:
        self.rules = rules
        self._random = random.Random(seed)  # noqa: S311 -- ids that are the same in each run, no secrets
        self._versions: dict[str, tuple[Version, ...]] = {}
        self._next_id = 1000
        self._written: dict[str, None] = {}
        self._committed: list[Version] = []

    def new_uuid(self) -> str:
        """The next id of this world's own making."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def new_id(self) -> str:
        """An id that the server assigns: a number as in HAPI's defaults, else a UUID."""
        if not self.rules.strict:
            return self.new_uuid()
        self._next_id += 1
        return str(self._next_id - 1)

    def history(self, key: str) -> tuple[Version, ...]:
        """All versions of a resource, oldest first."""
        return self._versions.get(key, ())

    def newest(self, key: str) -> Version | None:
        """The newest version, a deletion too; None when there never was one."""
        versions = self.history(key)
        return versions[-1] if versions else None

    def read(self, key: str) -> Version:
        """The current version.

        Raises:
            Refused: 404 when there never was one, 410 when it is deleted.
        """
        newest = self.newest(key)
        if newest is None:
            raise Refused(404, f"Resource {key} is not known")
        return self.alive(newest)

    def read_version(self, key: str, number: str) -> Version:
        """That version.

        Raises:
            Refused: 404 when there is none, 410 when it is a deletion.
        """
        self._known(key)
        for version in self.history(key):
            if str(version.number) == number:
                return self.alive(version)
        raise Refused(404, f"Version {number} is not known for resource {key}")

    def _known(self, key: str) -> None:
        if key not in self._versions:
            raise Refused(404, f"Resource {key} is not known")

    def alive(self, version: Version) -> Version:
        """The version itself unless it is a deletion, which is a 410."""
        if version.deleted:
            where = f"{self.rules.base_url}/{version.key}/_history/{version.number}"
            raise Refused(410, f"Resource was deleted at {instant(version.at)}", headers={"Location": where})
        return version

    def current(self, type_: str | None = None) -> Iterator[Version]:
        """The newest version of each resource that is not deleted, in the order of their birth."""
        for versions in tuple(self._versions.values()):
            if not versions[-1].deleted and type_ in {None, versions[-1].type}:
                yield versions[-1]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes of the block, or none; references are checked at its end."""
        kept = dict(self._versions)
        self._written = {}
        try:
            yield
            for key in self._written:
                self._seal(key)
        except Refused:
            self._versions = kept
            raise
        self._committed += [self._versions[key][-1] for key in self._written]

    def take_committed(self) -> list[Version]:
        """The versions that were written since the last call."""
        committed, self._committed = self._committed, []
        return committed

    def create(self, type_: str, resource: Resource, now: datetime, *, id_: str = "") -> Version:
        """A new resource under an id of the server's: that one when it was asked for before, with `new_id`."""
        return self._append(type_, id_ or self.new_id(), resource, now, "POST")

    def update(
        self, type_: str, id_: str, resource: Resource, now: datetime, if_match: str | None = None
    ) -> tuple[Version, bool]:
        """The next version, or the present one when nothing changes; and whether the resource came to be with it.

        `If-Match` on a resource that never was creates it, and one that names a deletion brings it back: HAPI 8.8.

        Raises:
            Refused: the id is not one that a client may give, or the version is not the present one.
        """
        newest = self.newest(f"{type_}/{id_}")
        if newest is None:
            self._check_client_id(id_)
            return self._append(type_, id_, resource, now, "POST"), True
        if if_match is not None and _version_of(if_match) != str(newest.number):
            raise Refused(
                self.rules.conflict,
                f"Version {_version_of(if_match)} of {newest.key} is not the current one, {newest.number}",
            )
        if newest.deleted:
            return self._append(type_, id_, resource, now, "PUT"), True
        made = self._prepared(type_, id_, resource, newest)
        if _without_stamp(made) == _without_stamp(newest.content):
            return newest, False
        return self._append(type_, id_, resource, now, "PUT"), False

    def delete(self, type_: str, id_: str, now: datetime) -> Version | None:
        """The deletion; None when there was nothing to delete."""
        newest = self.newest(f"{type_}/{id_}")
        if newest is None or newest.deleted:
            return None
        gone = replace(newest, number=newest.number + 1, at=now, method="DELETE", content={}, deleted=True)
        return self._add(gone)

    def _check_client_id(self, id_: str) -> None:
        if not self.rules.client_ids:
            raise Refused(
                404, f"No resource exists on this server with id {id_}, and clients may not assign one"
            )
        if not _ID.fullmatch(id_):
            raise Refused(400, f"{id_} is not a valid FHIR id")
        if self.rules.strict and id_.isdigit():
            raise Refused(
                400, f"Clients may not assign the id {id_}: it has no character that is not a digit"
            )

    def _append(self, type_: str, id_: str, resource: Resource, now: datetime, method: str) -> Version:
        newest = self.newest(f"{type_}/{id_}")
        number = newest.number + 1 if newest else 1
        made = self._prepared(type_, id_, resource, newest)
        made["meta"] = {"versionId": str(number), "lastUpdated": instant(now), **made["meta"]}
        return self._add(Version(type=type_, id=id_, number=number, at=now, method=method, content=made))

    def _add(self, version: Version) -> Version:
        self._versions[version.key] = (*self.history(version.key), version)
        self._written[version.key] = None
        return version

    def _prepared(self, type_: str, id_: str, resource: Resource, newest: Version | None) -> Resource:
        content = copy.deepcopy(
            {name: value for name, value in resource.items() if name not in {"id", "meta"}}
        )
        meta = _sticky_meta(resource.get("meta", {}), newest.content if newest else None)
        made = {"resourceType": type_, "id": id_, "meta": meta, **content}
        normalise(made, base_url=self.rules.base_url, external_allowed=not self.rules.strict)
        _check_codes(made)
        return made

    def _seal(self, key: str) -> None:
        version = self._versions[key][-1]
        if version.deleted:
            self._check_unreferenced(key)
            return
        targets = local_targets(version.content)
        there = {text for _, text in targets if self._is_alive(text)}
        if self.rules.strict:
            for path, text in targets:
                if text not in there:
                    raise Refused(400, f"Resource {text} not found, specified in path: {path}")
        self._versions[key] = (*self._versions[key][:-1], replace(version, targets=frozenset(there)))

    def _is_alive(self, key: str) -> bool:
        newest = self.newest(key)
        return newest is not None and not newest.deleted

    def _check_unreferenced(self, key: str) -> None:
        if not self.rules.strict:
            return
        for version in self.current():
            if key in version.targets:
                raise Refused(409, f"Unable to delete {key}: {version.key} refers to it")


def _version_of(if_match: str) -> str:
    return if_match.strip().removeprefix("W/").strip('"')


def _sticky_meta(given: Resource, before: Resource | None) -> Resource:
    # Tags and labels stay until they are removed by an operation of their own; profiles go with the version.
    meta = {
        name: value for name, value in given.items() if name not in {"versionId", "lastUpdated", "source"}
    }
    for name in _STICKY:
        kept = list(meta.get(name, []))
        kept += [coding for coding in (before or {}).get("meta", {}).get(name, []) if coding not in kept]
        if kept:
            meta[name] = kept
    return copy.deepcopy(meta)


def _without_stamp(resource: Resource) -> Resource:
    meta = {
        name: value for name, value in resource["meta"].items() if name not in {"versionId", "lastUpdated"}
    }
    for name in _STICKY:
        meta[name] = sorted(map(str, meta.get(name, [])))
    return {**resource, "meta": meta}


def _check_codes(resource: Resource) -> None:
    for element, codes in CODES.items():
        type_, _, path = element.partition(".")
        if type_ == resource["resourceType"]:
            for code in at(resource, path):
                if code not in codes.split():
                    raise Refused(400, f"{element} has the unknown code {code!r}")
