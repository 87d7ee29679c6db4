"""The adapter's Subscription on each FHIR server: made once, mended when somebody changed it, nobody else's touched."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import httpx
import pytest

from adapter.domain.marker import Marker
from adapter.domain.resource import Resource, version_of
from adapter.errors import Conflict, Rejected, Temporary
from adapter.fhir.client import FhirClient
from adapter.fhir.subscription import Ensured, Outcome, differences, ensure, wanted
from tests.contract.fhir_client.servers import Server

SECRET = "a-secret-of-the-doorbell"


def subscription(own: str, *, secret: str = SECRET, payload: bool = True) -> Resource:
    # Nothing carries this test's code, so nothing rings.
    return wanted(Marker(code=own), public_url=f"http://127.0.0.1:9/{own}", secret=secret, payload=payload)


async def at_endpoint(fhir: FhirClient, own: str) -> list[Resource]:
    endpoint = f"http://127.0.0.1:9/{own}/doorbell"
    return [found async for found in fhir.search("Subscription", [("url", endpoint)])]


async def activated(fhir: FhirClient, id: str) -> None:
    """Waits until the server has activated it. HAPI writes back what it read before, over what came in between."""
    for _ in range(300):
        if ((await fhir.read("Subscription", id)) or {}).get("status") == "active":
            return
        await asyncio.sleep(0.05)
    raise AssertionError


async def remove(fhir: FhirClient, id: str) -> None:
    """Deletes it, also while the server is busy activating it."""
    for _ in range(400):
        with suppress(Conflict):
            await fhir.delete("Subscription", id)
            return
        await asyncio.sleep(0.05)
    raise AssertionError


def refusing_client_ids(request: httpx.Request) -> httpx.Response | None:
    return httpx.Response(405) if request.method == "PUT" and "if-match" not in request.headers else None


def test_it_is_created_once(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> tuple[list[Ensured], list[Resource]]:
        try:
            return [await ensure(fhir, subscription(own)) for _ in range(3)], await at_endpoint(fhir, own)
        finally:
            await remove(fhir, subscription(own)["id"])

    ensured, found = server.run(work)

    assert [one.outcome for one in ensured] == [Outcome.CREATED, Outcome.KEPT, Outcome.KEPT]
    assert [one["id"] for one in found] == [subscription(own)["id"]]
    assert differences(found[0], subscription(own)) == ()


@pytest.mark.parametrize(
    ("secret", "payload", "differing"),
    [
        ("another-secret", True, ("channel.header",)),
        ("a-secret-of-the-doorbell", False, ("channel.payload",)),
    ],
    ids=["another secret", "no payload"],
)
def test_it_is_mended_when_the_settings_change(
    server: Server, own: str, *, secret: str, payload: bool, differing: tuple[str, ...]
) -> None:
    changed = subscription(own, secret=secret, payload=payload)

    async def work(fhir: FhirClient) -> tuple[Ensured, Resource | None]:
        try:
            await ensure(fhir, subscription(own))
            await activated(fhir, changed["id"])
            return await ensure(fhir, changed), await fhir.read("Subscription", changed["id"])
        finally:
            await remove(fhir, changed["id"])

    ensured, read = server.run(work)

    assert (ensured.outcome, ensured.differences) == (Outcome.REPAIRED, differing)
    assert read is not None
    assert differences(read, changed) == ()


def test_one_that_was_switched_off_is_switched_on(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> tuple[Ensured, Resource | None]:
        id = subscription(own)["id"]
        try:
            await fhir.put({**subscription(own), "status": "off"})
            return await ensure(fhir, subscription(own)), await fhir.read("Subscription", id)
        finally:
            await remove(fhir, id)

    ensured, read = server.run(work)

    assert (ensured.outcome, ensured.differences) == (Outcome.REPAIRED, ("status",))
    assert read is not None
    assert read["status"] in {"requested", "active"}


def test_one_that_was_deleted_is_made_again(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> Ensured:
        id = subscription(own)["id"]
        try:
            # Off, for HAPI may bring back one that it is just activating.
            await fhir.put({**subscription(own), "status": "off"})
            await remove(fhir, id)
            return await ensure(fhir, subscription(own))
        finally:
            await remove(fhir, id)

    assert server.run(work).outcome is Outcome.CREATED


def test_another_adapters_is_left_alone(server: Server, own: str) -> None:
    theirs, ours = subscription(f"{own}-theirs"), subscription(own)

    async def work(fhir: FhirClient) -> list[Any]:
        try:
            await ensure(fhir, theirs)
            await ensure(fhir, ours)
            read = await fhir.read("Subscription", theirs["id"])
            return [theirs["id"] == ours["id"], differences(read or {}, theirs)]
        finally:
            await remove(fhir, theirs["id"])
            await remove(fhir, ours["id"])

    assert server.run(work) == [False, ()]


def test_a_server_that_gives_ids_itself_has_it_once(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> tuple[list[Ensured], list[Resource]]:
        outcomes = [await ensure(fhir, subscription(own)) for _ in range(2)]
        outcomes.append(await ensure(fhir, subscription(own, secret="another-secret")))
        found = await at_endpoint(fhir, own)
        for one in found:
            await remove(fhir, one["id"])
        return outcomes, found

    ensured, found = server.but(refusing_client_ids).run(work)

    assert [one.outcome for one in ensured] == [Outcome.CREATED, Outcome.KEPT, Outcome.REPAIRED]
    assert [one["id"] for one in found] == [ensured[0].id]
    assert ensured[0].id != subscription(own)["id"]


def test_anothers_is_left_alone_though_the_search_shows_it(simulator: Server, own: str) -> None:
    theirs = subscription(f"{own}-theirs")

    def ignoring(request: httpx.Request) -> None:
        if request.method == "GET" and request.url.path.endswith("/Subscription"):
            request.url = request.url.copy_with(query=None)

    async def work(fhir: FhirClient) -> tuple[Ensured, Resource | None]:
        await ensure(fhir, theirs)
        return await ensure(fhir, subscription(own)), await fhir.read("Subscription", theirs["id"])

    ensured, read = simulator.but(ignoring).run(work)

    assert ensured.outcome is Outcome.CREATED
    assert read is not None
    assert differences(read, theirs) == ()


@pytest.mark.parametrize("status", [401, 403])
def test_an_account_without_the_right_is_told(simulator: Server, own: str, status: int) -> None:
    def forbidding(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(status) if request.method == "PUT" else None

    with pytest.raises(Rejected) as caught:
        simulator.but(forbidding).run(lambda fhir: ensure(fhir, subscription(own)))

    assert caught.value.status == status


def test_one_that_changes_all_the_time_is_left_for_later(simulator: Server, own: str) -> None:
    def changing(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(409) if "if-match" in request.headers else None

    async def work(fhir: FhirClient) -> None:
        await ensure(fhir, subscription(own))
        await ensure(fhir, subscription(own, secret="another-secret"))

    with pytest.raises(Temporary, match="next time"):
        simulator.but(changing).run(work)


def test_a_change_in_between_is_no_hindrance(simulator: Server, own: str) -> None:
    refused: list[httpx.Request] = []

    def changing_once(request: httpx.Request) -> httpx.Response | None:
        if "if-match" not in request.headers or refused:
            return None
        refused.append(request)
        return httpx.Response(412)

    async def work(fhir: FhirClient) -> tuple[Ensured, Resource | None]:
        await ensure(fhir, subscription(own))
        ensured = await ensure(fhir, subscription(own, secret="another-secret"))
        return ensured, await fhir.read("Subscription", ensured.id)

    ensured, read = simulator.but(changing_once).run(work)

    assert ensured.outcome is Outcome.REPAIRED
    assert read is not None
    assert version_of(read) is not None
    assert read["channel"]["header"] == ["Authorization: Bearer another-secret"]
