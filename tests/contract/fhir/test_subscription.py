"""rest-hook Subscriptions, with a payload and without. https://hl7.org/fhir/R4/subscription.html"""

from __future__ import annotations

from typing import Any

import pytest
import simplejson

from tests.contract.fhir.server import Fhir, body, eventually, refused
from tests.neighbours.endpoint import Endpoint

SECRET = "Bearer not-a-real-secret"


def _subscription(fhir: Fhir, endpoint: Endpoint, **channel: Any) -> dict[str, Any]:
    return {
        "resourceType": "Subscription",
        "id": fhir.id("s"),
        "status": "requested",
        "reason": "test",
        "criteria": f"Communication?status=preparation&medium=urn:m|{fhir.tag}",
        "channel": {
            "type": "rest-hook",
            "endpoint": f"{endpoint.url}/{fhir.tag}/bell",
            "header": [f"Authorization: {SECRET}"],
            **channel,
        },
    }


def _status(fhir: Fhir) -> str:
    return str(body(fhir.get(f"Subscription/{fhir.id('s')}"))["status"])


def _subscribed(fhir: Fhir, endpoint: Endpoint, **channel: Any) -> None:
    assert fhir.put(_subscription(fhir, endpoint, **channel)).status_code == 201
    assert eventually(lambda: _status(fhir) == "active")


def _written(fhir: Fhir, name: str = "c", **elements: Any) -> dict[str, Any]:
    medium = [{"coding": [{"system": "urn:m", "code": fhir.tag}]}]
    return fhir.stored("Communication", name, medium=medium, **{"status": "preparation", **elements})


def test_a_requested_subscription_becomes_active_with_a_version_of_its_own(
    fhir: Fhir, endpoint: Endpoint
) -> None:
    _subscribed(fhir, endpoint)

    assert body(fhir.get(f"Subscription/{fhir.id('s')}"))["meta"]["versionId"] == "2"


def test_with_a_payload_the_resource_is_put_below_the_endpoint(fhir: Fhir, endpoint: Endpoint) -> None:
    _subscribed(fhir, endpoint, payload="application/fhir+json")

    written = _written(fhir, extension=[{"url": "http://a.example/n", "valueString": "x"}])

    (received,) = endpoint.wait_for(fhir.tag, 1)
    assert (received.method, received.path) == ("PUT", f"/{fhir.tag}/bell/Communication/{fhir.id('c')}")
    assert received.headers["authorization"] == SECRET
    assert received.headers["content-type"].lower() == "application/fhir+json; charset=utf-8"
    assert received.headers["if-match"] == 'W/"1"'
    sent = body(fhir.get(f"Communication/{fhir.id('c')}"))
    assert simplejson.loads(received.body)["extension"] == sent["extension"] == written["extension"]
    assert simplejson.loads(received.body)["meta"]["versionId"] == "1"


def test_without_a_payload_nothing_but_the_call_arrives(fhir: Fhir, endpoint: Endpoint) -> None:
    _subscribed(fhir, endpoint)

    _written(fhir)

    (received,) = endpoint.wait_for(fhir.tag, 1)
    assert (received.method, received.path, received.body) == ("POST", f"/{fhir.tag}/bell", b"")
    assert received.headers["authorization"] == SECRET


def test_only_what_fits_the_criteria_is_told(fhir: Fhir, endpoint: Endpoint) -> None:
    _subscribed(fhir, endpoint, payload="application/fhir+json")
    _written(fhir, "other", status="completed")
    fhir.stored("Communication", "unmarked", status="preparation")

    _written(fhir, "told")
    _written(fhir, "told", sent="2024-05-06T07:08:09Z")

    received = endpoint.wait_for(fhir.tag, 2)
    assert [one.path.rpartition("/")[2] for one in received] == [fhir.id("told")] * 2
    assert sorted(one.headers["if-match"] for one in received) == ['W/"1"', 'W/"2"']


def test_with_a_payload_a_failing_endpoint_is_tried_again(fhir: Fhir, endpoint: Endpoint) -> None:
    endpoint.statuses[fhir.tag] = 503
    _subscribed(fhir, endpoint, payload="application/fhir+json")

    _written(fhir)

    assert len(endpoint.wait_for(fhir.tag, 2)) == 2
    endpoint.statuses[fhir.tag] = 200
    endpoint.wait_for(fhir.tag, 3)
    assert _status(fhir) == "active"


def test_without_a_payload_an_error_counts_as_delivered(fhir: Fhir, endpoint: Endpoint) -> None:
    endpoint.statuses[fhir.tag] = 503
    _subscribed(fhir, endpoint)

    _written(fhir, "first")
    endpoint.wait_for(fhir.tag, 1)
    _written(fhir, "second")

    assert not eventually(lambda: len(endpoint.received(fhir.tag)) > 2, seconds=2.5)


def test_a_transaction_is_told_of_too(fhir: Fhir, endpoint: Endpoint) -> None:
    _subscribed(fhir, endpoint, payload="application/fhir+json")
    medium = [{"coding": [{"system": "urn:m", "code": fhir.tag}]}]
    resource = {
        "resourceType": "Communication",
        "id": fhir.id("c"),
        "status": "preparation",
        "medium": medium,
    }
    request = {"method": "PUT", "url": f"Communication/{fhir.id('c')}"}

    fhir.post(
        "",
        {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [{"resource": resource, "request": request}],
        },
    )

    assert len(endpoint.wait_for(fhir.tag, 1)) == 1


def _goes_quiet(fhir: Fhir, endpoint: Endpoint) -> bool:
    """Whether, before long, what is written is not told any more: HAPI takes note of the change with its next poll."""
    names = (f"n{number}" for number in range(100))

    def quiet() -> bool:
        name = next(names)
        _written(fhir, name)
        return not eventually(
            lambda: any(one.path.endswith(fhir.id(name)) for one in endpoint.received(fhir.tag)), seconds=1
        )

    return eventually(quiet)


def test_a_subscription_that_is_off_tells_nothing(fhir: Fhir, endpoint: Endpoint) -> None:
    _subscribed(fhir, endpoint, payload="application/fhir+json")

    fhir.put({**_subscription(fhir, endpoint, payload="application/fhir+json"), "status": "off"})

    assert _goes_quiet(fhir, endpoint)


def test_a_subscription_that_is_gone_tells_nothing(fhir: Fhir, endpoint: Endpoint) -> None:
    _subscribed(fhir, endpoint, payload="application/fhir+json")

    fhir.delete(f"Subscription/{fhir.id('s')}")

    assert _goes_quiet(fhir, endpoint)


def test_a_deletion_is_not_told(fhir: Fhir, endpoint: Endpoint) -> None:
    _written(fhir)
    _subscribed(fhir, endpoint, payload="application/fhir+json")

    fhir.delete(f"Communication/{fhir.id('c')}")

    assert not eventually(lambda: endpoint.received(fhir.tag), seconds=1.5)


@pytest.mark.parametrize(
    "change",
    [
        {"criteria": "nonsense"},
        {"criteria": "Communication?nonesuch=1"},
        {"status": None},
        {"channel": {"type": "rest-hook"}},
    ],
    ids=["no-type", "unknown-parameter", "no-status", "no-endpoint"],
)
def test_a_subscription_that_cannot_work_is_refused(
    fhir: Fhir, endpoint: Endpoint, change: dict[str, Any]
) -> None:
    subscription = {**_subscription(fhir, endpoint), **change}

    answer = fhir.put({name: value for name, value in subscription.items() if value is not None})

    assert refused(answer, 422)


@pytest.mark.parametrize(
    "query",
    [
        "url={url}",
        "url={url}&status=active,requested",
        "url={url}&type=rest-hook",
        "url:below={url}",
        "url={url}&criteria=Communication",
    ],
)
def test_subscriptions_are_found_by(fhir: Fhir, endpoint: Endpoint, query: str) -> None:
    fhir.put(_subscription(fhir, endpoint))
    url = f"{endpoint.url}/{fhir.tag}/bell"

    assert fhir.found(f"Subscription?{query.format(url=url)}") == ["s"]
    assert fhir.found(f"Subscription?url={url}&status=off") == []
    assert fhir.found(f"Subscription?url={endpoint.url}") == []
