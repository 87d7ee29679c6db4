"""The Subscription that rings the doorbell: what it has to say, and keeping it so (https://hl7.org/fhir/R4/subscription.html).

R4's Subscription has no identifier: the adapter's own is the one with its endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote, urlencode

from adapter.domain.canonical import own_id
from adapter.domain.marker import Marker
from adapter.domain.resource import Resource, obj, text, version_of
from adapter.domain.rounds import PREPARATION
from adapter.errors import ConfigError, Conflict, Rejected, Temporary
from adapter.fhir import wire
from adapter.fhir.client import FhirClient

REQUESTED: Final = "requested"  # until the server activates it, which takes HAPI some seconds
_ATTEMPTS: Final = 4
_READABLE: Final = ":/|,$"  # left as they are in the criteria: servers compare and people read it
_STOPPED: Final = ("error", "off")
_FORBIDDEN: Final = frozenset({401, 403})


class Outcome(StrEnum):
    """What had to be done."""

    CREATED = "created"
    REPAIRED = "repaired"
    KEPT = "kept"


@dataclass(frozen=True, kw_only=True)
class Ensured:
    """The Subscription as it is now. `differences` names the elements that were not as wanted.

    `status` proves little: HAPI leaves it `active` while every notification fails.
    """

    outcome: Outcome
    id: str
    status: str | None
    differences: tuple[str, ...] = ()


def criteria(marker: Marker, *, extra: Sequence[tuple[str, str]] = ()) -> str:
    """The search that a Communication has to fit to ring the doorbell; the sweep's own."""
    parameters = [*marker.search(PREPARATION), *extra]
    return "Communication?" + urlencode(parameters, quote_via=quote, safe=_READABLE, errors="replace")


def wanted(
    marker: Marker,
    *,
    public_url: str,
    secret: str,
    payload: bool,
    extra: Sequence[tuple[str, str]] = (),
) -> Resource:
    """The Subscription as it should be; its id follows from the endpoint `{public_url}/doorbell`.

    With `payload` a notification names its Communication.

    Raises:
        ConfigError: the address or the secret cannot be used.
    """
    if not secret:
        raise ConfigError(
            "watch.doorbell_secret is not set. Set ADAPTER_WATCH__DOORBELL_SECRET, or …SECRET_FILE."
        )
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ConfigError(
            "watch.doorbell_secret must be printable ASCII without blanks: it travels in an HTTP header."
        )
    endpoint = wire.base_of(public_url, setting="web.public_url") + "/doorbell"
    return {
        "resourceType": "Subscription",
        "id": own_id("subscription", endpoint),
        "status": REQUESTED,
        "reason": "Tells the messaging adapter that a Communication waits to be sent.",
        "criteria": criteria(marker, extra=extra),
        "channel": {
            "type": "rest-hook",
            "endpoint": endpoint,
            **({"payload": wire.FHIR_JSON} if payload else {}),
            "header": [f"Authorization: Bearer {secret}"],
        },
    }


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """The elements in which the Subscription on the server is not as wanted."""
    there, here = obj(found.get("channel")), obj(wanted.get("channel"))
    differing = [f"channel.{name}" for name in _CHANNEL if there.get(name) != here.get(name)]
    differing += [name for name in ("criteria", "end") if found.get(name) != wanted.get(name)]
    return (*differing, *(("status",) if found.get("status") in _STOPPED else ()))


_CHANNEL: Final = ("type", "endpoint", "payload", "header")


def repaired(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Resource:
    """The Subscription on the server made as wanted, whatever else it says left as it is."""
    channel = {name: value for name, value in obj(found.get("channel")).items() if name not in _CHANNEL}
    kept = {name: value for name, value in found.items() if name not in {"end", "error"}}
    return {**kept, **wanted, "id": found.get("id"), "channel": {**channel, **obj(wanted.get("channel"))}}


async def ensure(fhir: FhirClient, wanted: Resource) -> Ensured:
    """Creates the adapter's Subscription, or repairs it, or finds it in order. Nobody else's is touched.

    Raises:
        Rejected: the server takes no such Subscription.
        Temporary: not now.
    """
    return await _write(fhir, wanted, keep=lambda found: not differences(found, wanted))


async def renew(fhir: FhirClient, wanted: Resource) -> Ensured:
    """Writes it even if it is in order: one that does not ring is registered anew by that. Raises as `ensure` does."""
    return await _write(fhir, wanted, keep=lambda _: False)


async def _write(fhir: FhirClient, wanted: Resource, *, keep: Callable[[Resource], bool]) -> Ensured:
    for _ in range(_ATTEMPTS):
        try:
            return await _write_once(fhir, wanted, keep=keep)
        except Conflict:
            continue  # the server itself writes a new version when it activates one
    raise Temporary("Subscription: it changes each time it is to be written; next time, then.")


async def _write_once(fhir: FhirClient, wanted: Resource, *, keep: Callable[[Resource], bool]) -> Ensured:
    found = await _own(fhir, wanted)
    if found is None:
        return _ensured(Outcome.CREATED, await _create(fhir, wanted))
    if keep(found):
        return _ensured(Outcome.KEPT, found)
    written = await fhir.replace(repaired(found, wanted), version=version_of(found) or "")
    return _ensured(Outcome.REPAIRED, written, differences(found, wanted))


def _ensured(outcome: Outcome, resource: Resource, differing: tuple[str, ...] = ()) -> Ensured:
    return Ensured(
        outcome=outcome,
        id=str(resource.get("id")),
        status=text(resource.get("status")),
        differences=differing,
    )


async def _own(fhir: FhirClient, wanted: Resource) -> Resource | None:
    known = await fhir.read("Subscription", wanted["id"])
    if known is not None:
        return known
    # Where a server gave it another id, or a person made it.
    endpoint = wanted["channel"]["endpoint"]
    found = [
        subscription
        async for subscription in fhir.search("Subscription", [("url", endpoint)])
        if obj(subscription.get("channel")).get("endpoint") == endpoint
    ]
    return min(found, key=lambda one: str(one.get("id")), default=None)


async def _create(fhir: FhirClient, wanted: Resource) -> Resource:
    try:
        return await fhir.put(wanted)
    except Rejected as error:
        if error.status in _FORBIDDEN:
            raise
        # A server that gives all ids itself; one that wants no such Subscription refuses this one, too.
        return await fhir.create({name: value for name, value in wanted.items() if name != "id"})
