"""Contract §6: messages that come in, in each shape that is not documented."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.contract.metriport.account import (
    DIALECTS,
    FACILITY,
    JANE,
    NOBODY,
    Account,
    account,
    person,
    refused,
)

ATTACHMENT = {
    "title": "report.pdf",
    "contentType": "application/pdf",
    "data": base64.b64encode(b"%PDF").decode(),
}


def receive(clinic: Account, **stated: Any) -> tuple[dict[str, Any], Any]:
    """The payload of the webhook, and what stands behind its link."""
    body = {"subject": "Reply", "body": "Seen.", "from": "ward@far.example", **stated}
    answer = clinic.ask("POST", "/_simulator/messages/inbound", body)
    assert answer.status == 201, answer.body
    (hook,) = clinic.hooks()
    assert hook["meta"]["type"] == "message.received"
    payload = hook["payload"]
    assert payload["id"] == answer.json["id"]
    url = next(payload[key] for key in ("url", "bundleUrl", "downloadUrl", "messageUrl") if key in payload)
    return payload, clinic.open("GET", url).json


@pytest.mark.parametrize(("dialect", "shape"), [("sdk", "message"), ("docs", "Bundle")])
def test_the_usual_shape(dialect: str, shape: str) -> None:
    clinic = account(dialect=dialect)
    clinic.listens()

    payload, content = receive(clinic)

    assert set(payload) == {"id", "url"}
    assert content.get("resourceType", "message") == shape


def test_a_patient_is_named_when_matched() -> None:
    clinic = account()
    clinic.listens()
    made = clinic.ask("POST", f"patient?facilityId={FACILITY}", person(externalId="mrn-1")).json["id"]

    assert receive(clinic, patientId=JANE)[0]["patientId"] == JANE
    payload, content = receive(clinic, patientId=made)
    assert (payload["patientId"], payload["externalId"], content["patientId"]) == (made, "mrn-1", made)


@pytest.mark.parametrize("key", ["url", "bundleUrl", "downloadUrl", "messageUrl"])
def test_the_key_of_the_link(key: str) -> None:
    clinic = account()
    clinic.listens()

    assert set(receive(clinic, urlKey=key)[0]) == {"id", key}


@DIALECTS
def test_a_bundle_with_attachments_by_link(dialect: str) -> None:
    clinic = account(dialect=dialect)
    clinic.listens()

    _, bundle = receive(clinic, attachments=[ATTACHMENT])

    communication, reference = (entry["resource"] for entry in bundle["entry"])
    attachment = reference["content"][0]["attachment"]
    found = clinic.open("GET", attachment["url"])
    assert communication["status"] == "completed"
    assert communication["sender"] == {"display": "ward@far.example"}
    assert communication["recipient"][0]["display"] == "referrals@harbor-family.example"
    assert (
        communication["payload"][1]["contentReference"]["reference"] == f"DocumentReference/{reference['id']}"
    )
    assert (attachment["title"], attachment["contentType"]) == ("report.pdf", "application/pdf")
    assert (found.headers["content-type"], found.body) == ("application/pdf", b"%PDF")


def test_a_bundle_with_attachments_inside() -> None:
    clinic = account()
    clinic.listens()

    _, bundle = receive(clinic, attachments=[ATTACHMENT, {}], attachmentsAs="inside")

    resources = [entry["resource"] for entry in bundle["entry"]]
    assert [one["resourceType"] for one in resources] == [
        "Communication", "Binary", "DocumentReference", "Binary", "DocumentReference",
    ]  # fmt: skip
    binary, reference = resources[1:3]
    assert reference["content"][0]["attachment"]["url"] == f"Binary/{binary['id']}"
    assert (binary["contentType"], binary["data"]) == ("application/pdf", ATTACHMENT["data"])
    assert resources[3]["contentType"] == "application/octet-stream"


@pytest.mark.parametrize(("placed", "key"), [("link", "url"), ("inside", "data")])
def test_a_communication(placed: str, key: str) -> None:
    clinic = account()
    clinic.listens()

    _, content = receive(clinic, content="communication", attachments=[ATTACHMENT], attachmentsAs=placed)

    text, attached = content["payload"]
    assert (content["resourceType"], text) == ("Communication", {"contentString": "Seen."})
    assert set(attached["contentAttachment"]) == {"contentType", "title", "size", "hash", key}


def test_a_communication_of_attachments_alone() -> None:
    clinic = account()
    clinic.listens()

    _, content = receive(clinic, content="communication", body=None, attachments=[ATTACHMENT])

    assert len(content["payload"]) == 1


def test_a_message_whose_attachments_are_documents_of_the_patient() -> None:
    clinic = account()
    clinic.listens()

    _, content = receive(
        clinic,
        content="message",
        patientId=JANE,
        attachments=[ATTACHMENT],
        intendedRecipientNpi=["1234567893"],
        destination="2.16.840.1.113883.3.99999.1",
    )

    listed = clinic.ask("GET", f"document?patientId={JANE}").json["documents"]
    assert content["direction"] == "inbound"
    assert content["status"] == "completed"
    assert content["attachments"] == [one["id"] for one in listed]
    assert (content["intendedRecipientNpi"], content["transportMethod"]) == (["1234567893"], "xdr")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"surprise": 1}, 400),
        ({"subject": 7}, 400),
        ({"patientId": 7}, 400),
        ({"patientId": NOBODY}, 404),
        ({"attachments": "x"}, 400),
        ({"attachments": ["x"]}, 400),
        ({"attachments": [{"data": "%%%"}]}, 400),
        ({"attachments": [{"data": "abc"}]}, 400),
        ({"attachments": [{"data": "\u00e9"}]}, 400),
        ({"attachments": [{"contentType": "a/b\r\nx: y"}]}, 400),
        ({"intendedRecipientNpi": "x"}, 400),
        ({"content": "letter"}, 400),
        ({"attachmentsAs": ["link"]}, 400),
        ({"urlKey": "href"}, 400),
    ],
)
def test_what_cannot_come_in(body: dict[str, Any], status: int) -> None:
    clinic = account()

    refused(clinic.ask("POST", "/_simulator/messages/inbound", body), status)
    assert clinic.world.messages == []
    assert clinic.world.documents == {}
