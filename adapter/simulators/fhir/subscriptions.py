"""rest-hook Subscriptions: activated, matched, delivered and retried as HAPI does it.

https://hl7.org/fhir/R4/subscription.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from adapter.simulators.fhir.outcome import Refused, Resource
from adapter.simulators.fhir.search import Query, parse
from adapter.simulators.fhir.store import Store, Version
from adapter.simulators.fhir.types import TYPES
from adapter.simulators.fhir.wire import dumps
from adapter.simulators.http import Call

ACTIVATION = timedelta(milliseconds=500)
POLL = timedelta(milliseconds=100)
_WORKERS = 2
_GIVE_UP = timedelta(seconds=60)
_FIRST_WAIT, _WAIT_FACTOR, _LONGEST_WAIT = 1.0, 1.1, 6.0
_NOT_YET = datetime.max.replace(tzinfo=UTC)
_OK = range(200, 300)


def check(resource: Resource) -> None:
    """Refuses a Subscription that could never work."""
    if "status" not in resource:
        raise Refused(422, "Subscription.status must be given on this server")
    if resource["status"] not in {"requested", "active"}:
        return
    try:
        _criteria(resource)
    except Refused as refused:
        raise Refused(422, f"Invalid Subscription.criteria: {refused.sentence}") from None
    channel = resource.get("channel", {})
    if channel.get("type") == "rest-hook" and not channel.get("endpoint"):
        raise Refused(422, "A rest-hook Subscription must have a channel.endpoint")


def _criteria(resource: Resource) -> Query:
    type_, _, text = resource.get("criteria", "").partition("?")
    if type_ not in TYPES:
        raise Refused(422, f"{type_!r} is no resource type")
    return parse(type_, parse_qsl(text, keep_blank_values=True), page_size=1)


@dataclass(kw_only=True)
class _Delivery:
    subscription: str
    version: Version
    due: datetime
    ends: datetime = _NOT_YET
    wait: float = _FIRST_WAIT
    in_flight: bool = False


class Subscriptions:
    """What each Subscription still has to tell; it lives in memory, and a restart loses it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._activations: dict[str, datetime] = {}
        self._waiting: list[_Delivery] = []
        self._calls: dict[str, _Delivery] = {}
        self._silent: set[str] = set()

    def silence(self) -> None:
        """The Subscriptions of now stay `active` and tell nothing more, until they are written anew."""
        self._silent |= {version.key for version in self._active()}

    def forget(self) -> None:
        """What a restart of the server loses."""
        self._waiting.clear()
        self._calls.clear()

    def saw(self, versions: Iterable[Version], now: datetime) -> None:
        """Takes note of what was written."""
        for version in versions:
            if version.deleted:
                continue
            if version.type == "Subscription" and version.content["status"] == "requested":
                self._activations[version.id] = now + ACTIVATION
                self._silent.discard(version.key)
            for subscription in self._active():
                query = _criteria(subscription.content)
                if query.type == version.type and query.matches(version):
                    delivery = _Delivery(subscription=subscription.key, version=version, due=now + POLL)
                    self._waiting.append(delivery)

    def _active(self) -> Iterator[Version]:
        for version in self._store.current("Subscription"):
            channel = version.content.get("channel", {})
            rings = version.content["status"] == "active" and version.key not in self._silent
            if rings and channel.get("type") == "rest-hook":
                yield version

    def activate(self, now: datetime) -> None:
        """Activates the Subscriptions whose time has come."""
        for id_, due in list(self._activations.items()):
            newest = self._store.newest(f"Subscription/{id_}")
            if due > now:
                continue
            del self._activations[id_]
            if newest and newest.content.get("status") == "requested":
                with self._store.transaction():
                    self._store.update("Subscription", id_, {**newest.content, "status": "active"}, now)

    def calls_due(self, now: datetime) -> list[Call]:
        """The calls to make now; two at a time for each Subscription, and a failing one keeps its place."""
        active = {version.key: version for version in self._active()}
        self._waiting = [one for one in self._waiting if one.subscription in active]
        calls = []
        for delivery in self._startable():
            if delivery.due <= now:
                delivery.in_flight = True
                delivery.ends = min(delivery.ends, now + _GIVE_UP)
                call = _call(active[delivery.subscription].content, delivery.version, self._store.new_uuid())
                self._calls[call.id] = delivery
                calls.append(call)
        return calls

    def _startable(self) -> Iterator[_Delivery]:
        workers: dict[str, int] = {}
        for delivery in sorted(self._waiting, key=lambda one: one.ends):
            workers[delivery.subscription] = workers.get(delivery.subscription, 0) + 1
            if workers[delivery.subscription] <= _WORKERS and not delivery.in_flight:
                yield delivery

    def call_ended(self, call: Call, status: int | None, now: datetime) -> None:
        """Takes the answer. With a payload it has to be a success; without, any answer counts as delivered."""
        delivery = self._calls.pop(call.id, None)
        if delivery is None:
            return
        delivery.in_flight = False
        delivered = status is not None and (status in _OK or call.method == "POST")
        if delivered or now >= delivery.ends:
            self._waiting = [one for one in self._waiting if one is not delivery]
            return
        delivery.due = now + timedelta(seconds=delivery.wait)
        delivery.wait = min(delivery.wait * _WAIT_FACTOR, _LONGEST_WAIT)

    def next_at(self) -> datetime | None:
        """When something is to be done next."""
        due = [*self._activations.values(), *(delivery.due for delivery in self._startable())]
        return min(due, default=None)


def _call(subscription: Resource, version: Version, id_: str) -> Call:
    channel = subscription["channel"]
    lines = (line.partition(":") for line in channel.get("header", []))
    headers = {name.strip(): value.strip() for name, _, value in lines}
    endpoint = channel["endpoint"].rstrip("/")
    if not channel.get("payload"):
        return Call(id=id_, method="POST", url=endpoint, headers=headers)
    own = {"Content-Type": "application/fhir+json; charset=UTF-8", "If-Match": f'W/"{version.number}"'}
    return Call(
        id=id_,
        method="PUT",
        url=f"{endpoint}/{version.key}",
        headers={**own, **headers},
        body=dumps(version.content),
    )
