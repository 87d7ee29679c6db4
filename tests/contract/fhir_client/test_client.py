"""The client against each FHIR server: what the pipelines build on."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

import httpx
import pytest

from adapter.domain.resource import Resource, version_of
from adapter.errors import Conflict, Rejected
from adapter.fhir.answers import is_absent
from adapter.fhir.client import FhirClient
from adapter.ports.fhir import History
from tests.contract.fhir_client.servers import Rule, Server

SYSTEM = "urn:example:test"


def communication(id: str, **elements: Any) -> Resource:
    return {"resourceType": "Communication", "id": id, "status": "completed", **elements}


def without_id(resource: Resource) -> Resource:
    return {name: value for name, value in resource.items() if name != "id"}


def test_what_is_put_can_be_read(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> tuple[Resource, Resource | None]:
        return await fhir.put(communication(own)), await fhir.read("Communication", own)

    put, read = server.run(work)

    assert put == read
    assert version_of(put) == "1"
    assert put["status"] == "completed"


def test_what_never_existed_reads_as_none(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> list[Any]:
        return [await fhir.read("Communication", own), await fhir.read_version("Communication", own, "1")]

    assert server.run(work) == [None, None]


def test_what_was_deleted_reads_as_none(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> list[Any]:
        await fhir.put(communication(own))
        await fhir.delete("Communication", own)
        await fhir.delete("Communication", own)
        return [await fhir.read("Communication", own), await fhir.read_version("Communication", own, "2")]

    assert server.run(work) == [None, None]


def test_what_never_existed_can_be_deleted(server: Server, own: str) -> None:
    server.run(lambda fhir: fhir.delete("Communication", own))


def test_a_number_keeps_its_precision(server: Server, own: str) -> None:
    extension = {"url": "urn:example:amount", "valueDecimal": Decimal("1.50")}

    async def work(fhir: FhirClient) -> Resource:
        put = await fhir.put(communication(own, extension=[extension]))
        return await fhir.replace({**put, "status": "stopped"}, version="1")

    amount = server.run(work)["extension"][0]["valueDecimal"]

    assert str(amount) == "1.50"


def test_text_in_any_script_comes_back(server: Server, own: str) -> None:
    said = "Größe 5 µg — 患者 🩺\nzwei"

    put = server.run(lambda fhir: fhir.put(communication(own, payload=[{"contentString": said}])))

    assert put["payload"][0]["contentString"] == said


def test_the_current_version_can_be_replaced(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> Resource:
        put = await fhir.put(communication(own))
        return await fhir.replace({**put, "status": "stopped"}, version=version_of(put) or "")

    replaced = server.run(work)

    assert (version_of(replaced), replaced["status"]) == ("2", "stopped")


def test_a_stale_version_cannot_be_replaced(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> Resource | None:
        put = await fhir.put(communication(own))
        await fhir.put(communication(own, status="stopped"))
        with pytest.raises(Conflict):
            await fhir.replace({**put, "status": "on-hold"}, version="1")
        return await fhir.read("Communication", own)

    read = server.run(work)

    assert read is not None
    assert (version_of(read), read["status"]) == ("2", "stopped")


def test_a_deleted_resource_is_not_brought_back_by_a_replacement(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> Resource | None:
        put = await fhir.put(communication(own))
        await fhir.delete("Communication", own)
        with pytest.raises(Conflict):
            await fhir.replace({**put, "status": "on-hold"}, version="1")
        return await fhir.read("Communication", own)

    assert server.run(work) is None


def test_a_former_version_can_be_read(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> Resource | None:
        await fhir.put(communication(own))
        await fhir.put(communication(own, status="stopped"))
        return await fhir.read_version("Communication", own, "1")

    former = server.run(work)

    assert former is not None
    assert former["status"] == "completed"


def test_the_history_has_all_versions_newest_first(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> History | None:
        await fhir.put(communication(own))
        await fhir.put(communication(own, status="stopped"))
        await fhir.delete("Communication", own)
        await fhir.put(communication(own, status="on-hold"))
        return await fhir.history("Communication", own)

    history = server.run(work)

    assert history is not None
    assert history.whole
    assert [(version_of(version), version["status"]) for version in history.versions] == [
        ("4", "on-hold"),
        ("2", "stopped"),
        ("1", "completed"),
    ]


def test_what_never_existed_has_no_history(server: Server, own: str) -> None:
    assert server.run(lambda fhir: fhir.history("Communication", own)) is None


def test_a_search_finds_all_pages_and_at_once(server: Server, own: str) -> None:
    ids = [f"{own}-{number}" for number in range(5)]

    async def work(fhir: FhirClient) -> list[str]:
        parameters = [("identifier", f"{SYSTEM}|{own}"), ("_count", "2")]
        assert [found async for found in fhir.search("Communication", parameters)] == []
        for id in ids:
            await fhir.put(communication(id, identifier=[{"system": SYSTEM, "value": own}]))
        return [found["id"] async for found in fhir.search("Communication", parameters)]

    assert sorted(server.run(work)) == ids


def test_parameters_of_the_same_name_all_count(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> list[str]:
        for id, value in (("a", "x"), ("b", "y")):
            await fhir.put(
                communication(
                    f"{own}-{id}",
                    identifier=[{"system": SYSTEM, "value": own}, {"system": SYSTEM, "value": own + value}],
                )
            )
        parameters = [("identifier", f"{SYSTEM}|{own}"), ("identifier", f"{SYSTEM}|{own}y")]
        return [found["id"] async for found in fhir.search("Communication", parameters)]

    assert server.run(work) == [f"{own}-b"]


def test_an_unknown_parameter_is_refused_in_the_servers_words(server: Server) -> None:
    async def work(fhir: FhirClient) -> list[Resource]:
        return [found async for found in fhir.search("Communication", [("no-such-parameter", "1")])]

    with pytest.raises(Rejected) as caught:
        server.run(work)

    assert caught.value.status == 400
    assert "no-such-parameter" in caught.value.issues[0]


def test_content_comes_back_byte_for_byte(server: Server, own: str) -> None:
    content = bytes(range(256)) * 40
    binary = {"resourceType": "Binary", "id": own, "contentType": "application/pdf"}

    async def work(fhir: FhirClient) -> list[bytes]:
        await fhir.put({**binary, "data": base64.b64encode(content).decode()})
        return [await fhir.read_bytes(own), await fhir.read_bytes(own, most_bytes=99)]

    assert server.run(work) == [content, content[:100]]


def test_content_that_does_not_exist_is_told_apart(server: Server, own: str) -> None:
    with pytest.raises(Rejected) as caught:
        server.run(lambda fhir: fhir.read_bytes(own))

    assert is_absent(caught.value)


def test_what_is_created_gets_an_id(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> tuple[Resource, Resource | None]:
        created = await fhir.create(without_id(communication(own)))
        return created, await fhir.read("Communication", created["id"])

    created, read = server.run(work)

    assert created == read
    assert created["id"] != own


def test_what_already_exists_is_not_created_again(server: Server, own: str) -> None:
    fresh = without_id(communication(own, identifier=[{"system": SYSTEM, "value": own}]))

    async def work(fhir: FhirClient) -> list[str]:
        unless = [("identifier", f"{SYSTEM}|{own}")]
        return [(await fhir.create(fresh, if_none_exist=unless))["id"] for _ in range(2)]

    first, second = server.run(work)

    assert first == second


def test_an_ambiguous_condition_is_a_conflict(server: Server, own: str) -> None:
    fresh = without_id(communication(own, identifier=[{"system": SYSTEM, "value": own}]))

    async def work(fhir: FhirClient) -> None:
        await fhir.create(fresh)
        await fhir.create(fresh)
        await fhir.create(fresh, if_none_exist=[("identifier", f"{SYSTEM}|{own}")])

    with pytest.raises(Conflict):
        server.run(work)


def test_a_transaction_is_carried_out_whole(server: Server, own: str) -> None:
    answer = {"resource": communication(own, inResponseTo=[{"reference": f"Communication/{own}-1"}])}
    question = {"resource": communication(f"{own}-1")}
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {**entry, "request": {"method": "PUT", "url": f"Communication/{entry['resource']['id']}"}}
            for entry in (answer, question)
        ],
    }

    async def work(fhir: FhirClient) -> tuple[Resource, Resource | None]:
        return await fhir.transaction(bundle), await fhir.read("Communication", own)

    response, read = server.run(work)

    assert response["type"] == "transaction-response"
    assert [entry["response"]["status"][:3] for entry in response["entry"]] == ["201", "201"]
    assert read is not None


def test_a_transaction_that_fails_leaves_nothing(server: Server, own: str) -> None:
    stale = {"method": "PUT", "url": f"Communication/{own}-1", "ifMatch": 'W/"7"'}
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"resource": communication(own), "request": {"method": "PUT", "url": f"Communication/{own}"}},
            {"resource": communication(f"{own}-1", status="stopped"), "request": stale},
        ],
    }

    async def work(fhir: FhirClient) -> Resource | None:
        await fhir.put(communication(f"{own}-1"))
        with pytest.raises(Conflict):
            await fhir.transaction(bundle)
        return await fhir.read("Communication", own)

    assert server.run(work) is None


def test_what_no_server_takes_is_rejected_in_its_words(server: Server, own: str) -> None:
    with pytest.raises(Rejected) as caught:
        server.run(lambda fhir: fhir.put({"resourceType": "Communications", "id": own}))

    assert caught.value.issues


def _refusing(status: int | None) -> Rule:
    """As the standard has it: no version is matched by what is not there."""

    def rule(request: httpx.Request) -> httpx.Response | None:
        conditional = "if-match" in request.headers or b"ifMatch" in request.content
        return httpx.Response(status) if status and conditional else None

    return rule


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("status", [None, 412, 404, 400])
def test_all_are_created_or_none(server: Server, own: str, *, count: int, status: int | None) -> None:
    wanted = [communication(f"{own}{number}") for number in range(count)]

    async def work(fhir: FhirClient) -> list[Any]:
        return [
            await fhir.create_all(wanted),
            *[await fhir.read("Communication", one["id"]) for one in wanted],
        ]

    ids, *read = server.but(_refusing(status)).run(work)

    assert ids == [one["id"] for one in read] == [one["id"] for one in wanted]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("status", [None, 412])
@pytest.mark.parametrize("deleted", [False, True])
def test_what_is_there_or_was_is_never_created_again(
    server: Server, own: str, *, count: int, status: int | None, deleted: bool
) -> None:
    wanted = [communication(f"{own}{number}") for number in reversed(range(count))]

    async def work(fhir: FhirClient) -> list[Any]:
        await fhir.put(communication(f"{own}0", status="stopped"))
        if deleted:
            await fhir.delete("Communication", f"{own}0")
        with pytest.raises(Conflict):
            await fhir.create_all(wanted)
        return [await fhir.read("Communication", f"{own}{number}") for number in range(2)]

    there, new = server.but(_refusing(status)).run(work)

    assert (there and there["status"]) == (None if deleted else "stopped")
    assert new is None


def test_what_is_refused_for_itself_is_refused(server: Server, own: str) -> None:
    with pytest.raises(Rejected) as raised:
        server.but(_refusing(422)).run(lambda fhir: fhir.create_all([communication(own)]))

    assert raised.value.status == 422


def test_the_server_says_what_it_can(server: Server) -> None:
    stated = server.run(lambda fhir: fhir.capabilities())

    assert stated.is_r4
    assert stated.transaction
    assert stated.of("Communication").versioned_update
    assert stated.of("Communication").history
    assert stated.searches("Communication", "medium")
    assert stated.searches("Communication", "no-such-parameter") is False
