"""What the probe finds out, on servers as they are and on such as leave something out."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from adapter.domain.marker import Marker
from adapter.domain.resource import Resource
from adapter.errors import Temporary
from adapter.fhir.client import FhirClient
from adapter.fhir.probe import Probe, Probed, probe
from tests.contract.fhir_client.servers import Rule, Server


def probed(server: Server) -> Probed:
    return server.run(lambda fhir: probe(fhir, Marker()))


def sentence(found: Probed, asked: Probe) -> str:
    return next(finding.sentence for finding in found.findings if finding.probe is asked)


async def leftovers(fhir: FhirClient) -> list[Resource]:
    return [
        basic async for basic in fhir.search("Basic", [("_sort", "_lastUpdated")]) if "Probe" in str(basic)
    ]


def refusing(status: int, *methods: str, path: str = "/Basic") -> Rule:
    def rule(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(status) if request.method in methods and path in request.url.path else None

    return rule


def showing(*resources: Resource) -> Rule:
    """A search for Basic shows these, whatever is asked for."""
    entries = [{"resource": resource} for resource in resources]

    def rule(request: httpx.Request) -> httpx.Response | None:
        is_search = request.method == "GET" and request.url.path.endswith("/Basic")
        return httpx.Response(200, json={"resourceType": "Bundle", "entry": entries}) if is_search else None

    return rule


def test_a_good_server_passes_everything(server: Server) -> None:
    found = probed(server)

    assert {finding.probe for finding in found.findings} == set(Probe)
    assert [finding for finding in found.findings if finding.ok is not True] == []


def test_nothing_is_left_behind(server: Server) -> None:
    probed(server)

    assert server.run(leftovers) == []


def test_it_can_be_asked_twice(server: Server) -> None:
    probed(server)

    assert all(finding.ok for finding in probed(server).findings)


def test_a_server_that_ignores_if_match_is_found_out(server: Server) -> None:
    def ignoring(request: httpx.Request) -> None:
        request.headers.pop("if-match", None)

    found = probed(server.but(ignoring))

    assert found.ok(Probe.IF_MATCH) is False
    assert "run does not start" in sentence(found, Probe.IF_MATCH)


def test_a_server_that_gives_all_ids_itself_is_found_out(server: Server) -> None:
    def own_ids(request: httpx.Request) -> httpx.Response | None:
        is_new = request.method == "PUT" and "if-match" not in request.headers
        return httpx.Response(405) if is_new else None

    found = probed(server.but(own_ids))

    assert found.ok(Probe.UPDATE_AS_CREATE) is False
    assert found.ok(Probe.PAGING) is True
    assert found.ok(Probe.CLEAN_UP) is True


def _transactions(are_refused: Callable[[bytes], bool]) -> Rule:
    """A server that refuses some of them, or all."""

    def rule(request: httpx.Request) -> httpx.Response | None:
        is_refused = b'"transaction"' in request.content and are_refused(request.content)
        return httpx.Response(422) if is_refused else None

    return rule


# --- servers that leave something out, made from the simulator --------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "asked", "ok", "said"),
    [
        (refusing(403, "PUT", "POST"), Probe.UPDATE_AS_CREATE, None, "create, update and delete Basic"),
        (refusing(405, "GET", path="/_history"), Probe.HISTORY, False, "Keep versions"),
        (refusing(400, "GET", path="/Communication"), Probe.MARKER_SEARCH, False, "watch.marker"),
        (refusing(400, "GET", path="/Communication"), Probe.SORT, False, "_sort is refused"),
        (refusing(400, "GET"), Probe.PAGING, False, "HTTP 400"),
        (refusing(400, "GET", path="/Basic"), Probe.IDENTIFIER_SEARCH, False, "is refused (HTTP 400)"),
        (showing(), Probe.IDENTIFIER_SEARCH, None, "does not find at once"),
        (
            showing({"resourceType": "Basic", "id": "other"}),
            Probe.IDENTIFIER_SEARCH,
            False,
            "does not have it",
        ),
        (_transactions(lambda _: True), Probe.TRANSACTION, False, "Transactions are refused"),
        (_transactions(lambda asked: b"PATCH" in asked), Probe.TRANSACTION, False, "Allow PATCH"),
        (refusing(409, "DELETE"), Probe.CLEAN_UP, False, "could not delete Basic/"),
        (refusing(403, "DELETE"), Probe.CLEAN_UP, False, "could not delete Basic/"),
    ],
    ids=lambda value: value.value if isinstance(value, Probe) else None,
)
def test_what_is_left_out_is_found_out(
    simulator: Server, rule: Rule, asked: Probe, *, ok: bool | None, said: str
) -> None:
    found = probed(simulator.but(rule))

    assert found.ok(asked) is ok
    assert said in sentence(found, asked)


def test_what_could_not_be_tried_is_not_known(simulator: Server) -> None:
    found = probed(simulator.but(refusing(403, "PUT", "POST")))

    assert found.ok(Probe.IF_MATCH) is None
    assert Probe.IF_MATCH not in {finding.probe for finding in found.findings}


def _second_update(answer: Callable[[httpx.Request], httpx.Response]) -> Rule:
    return lambda request: (
        answer(request) if request.method == "PUT" and b"(second)" in request.content else None
    )


def _third_update(status: int) -> Rule:
    return lambda request: (
        httpx.Response(status) if request.method == "PUT" and b"(third)" in request.content else None
    )


def _without_version(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=json.loads(request.content))


def _with_the_same_version(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={**json.loads(request.content), "meta": {"versionId": "1"}})


@pytest.mark.parametrize(
    ("rule", "ok", "said"),
    [
        (_second_update(_without_version), False, "no new version"),
        (_second_update(_with_the_same_version), False, "no new version"),
        (_second_update(lambda _: httpx.Response(428)), None, "without If-Match"),
        (_second_update(lambda _: httpx.Response(409)), None, "without If-Match"),
        (_third_update(400), None, "HTTP 400"),
        (_third_update(412), True, "as it must be"),
        (_third_update(404), True, "as it must be"),
    ],
)
def test_versions_are_tried_with_care(simulator: Server, rule: Rule, *, ok: bool | None, said: str) -> None:
    found = probed(simulator.but(rule))

    assert found.ok(Probe.IF_MATCH) is ok
    assert said in sentence(found, Probe.IF_MATCH)


def test_who_probes_at_the_same_time_has_resources_of_its_own(simulator: Server) -> None:
    def made(by: str) -> set[str]:
        paths: set[str] = set()

        def noting(request: httpx.Request) -> None:
            if request.method in {"PUT", "DELETE"}:
                paths.add(request.url.path)

        assert simulator.but(noting).run(lambda fhir: probe(fhir, Marker(), by=by)).ok(Probe.IF_MATCH)
        return paths

    one, other = made("one"), made("other")

    assert len(one) == len(other) == 2
    assert one.isdisjoint(other)


def test_a_server_that_ignores_search_parameters_is_found_out(simulator: Server) -> None:
    def ignoring(request: httpx.Request) -> None:
        if request.url.path.endswith("/Communication"):
            request.url = request.url.copy_with(query=None)

    async def work(fhir: FhirClient) -> Probed:
        await fhir.put({"resourceType": "Communication", "id": "any", "status": "completed"})
        return await probe(fhir, Marker())

    found = simulator.but(ignoring).run(work)

    assert found.ok(Probe.MARKER_SEARCH) is False
    assert "ignores the parameter" in sentence(found, Probe.MARKER_SEARCH)
    assert found.ok(Probe.STRICT_SEARCH) is False


def test_a_search_that_shows_too_little_is_found_out(simulator: Server) -> None:
    def empty(request: httpx.Request) -> httpx.Response | None:
        wanted = request.method == "GET" and request.url.path.endswith("/Basic")
        return httpx.Response(200, json={"resourceType": "Bundle"}) if wanted else None

    found = probed(simulator.but(empty))

    assert found.ok(Probe.PAGING) is False
    assert "Of 2 resources just written, a search by page shows 0" in sentence(found, Probe.PAGING)


def test_a_server_that_announces_another_address_is_found_out(simulator: Server) -> None:
    def elsewhere(request: httpx.Request) -> httpx.Response | None:
        link = [{"relation": "next", "url": "http://internal.example:8080/fhir?_getpages=1"}]
        wanted = request.method == "GET" and request.url.path.endswith("/Basic")
        return httpx.Response(200, json={"resourceType": "Bundle", "link": link}) if wanted else None

    found = probed(simulator.but(elsewhere))

    assert found.ok(Probe.PAGING) is False
    assert "http://internal.example:8080" in sentence(found, Probe.PAGING)
    assert "fhir.base_url" in sentence(found, Probe.PAGING)


def test_a_server_that_goes_away_meanwhile_is_asked_later(simulator: Server) -> None:
    deleted: list[str] = []

    def ending(request: httpx.Request) -> httpx.Response | None:
        if request.method == "DELETE":
            deleted.append(request.url.path)
        return httpx.Response(503) if request.url.path.endswith("/_history") else None

    with pytest.raises(Temporary):
        probed(simulator.but(ending))

    assert len(deleted) == 2
