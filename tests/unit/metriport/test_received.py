"""What is behind the link of a received message: every shape of it, and nonsense."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.received import Enclosure, Inside, Linked, Named, Nowhere, Received, Source
from adapter.metriport.lifted import Lifted
from adapter.metriport.received import read
from tests.unit.domain.json_values import any_json

Json = dict[str, Any]

ID: Final = "0191d0a4-0000-7000-8000-000000000001"
DOCUMENT: Final = "0191d0a4-0000-7000-8000-000000000002"
LINK: Final = "https://files.metriport.example/1?signature=x"
DATA: Final = base64.b64encode(b"%PDF").decode()


def communication(**elements: Any) -> Json:
    """A Communication as Metriport documents it."""
    return {"resourceType": "Communication", "id": ID, **elements}


def a_document(**elements: Any) -> Json:
    """A DocumentReference whose bytes are behind a link."""
    content = [{"attachment": {"contentType": "application/pdf", "url": LINK}}]
    return {"resourceType": "DocumentReference", "id": DOCUMENT, "content": content, **elements}


def refers_to(reference: str) -> Json:
    """The part of a payload that refers to something."""
    return {"contentReference": {"reference": reference}}


def bundle(*resources: Json) -> Json:
    """A Bundle of these."""
    return {"resourceType": "Bundle", "entry": [{"resource": one} for one in resources]}


def received(content: object) -> Received:
    """The message in the content."""
    found = read(content)
    assert found is not None
    return found


def bytes_in(enclosure: Enclosure) -> bytes:
    """What an enclosure brings along."""
    assert isinstance(enclosure.source, Inside)
    return base64.b64decode(b"".join(enclosure.source.pieces()))


@given(any_json)
def test_nothing_raises(value: Any) -> None:
    for content in (value, communication(payload=value, sender=value, contained=value), bundle(value, value)):
        found = read(content)
        for one in found.enclosures if found else ():
            if isinstance(one.source, Inside):
                b"".join(one.source.pieces())


@given(
    st.dictionaries(st.sampled_from(["attachments", "from", "intendedRecipientNpi", "updatedAt"]), any_json)
)
def test_no_message_raises_either(elements: Json) -> None:
    assert received({**elements, "id": ID}).id == ID


@pytest.mark.parametrize(
    "content",
    [
        *(None, [], "x", {}, {"id": ""}, {"id": "x" * 129}, {"id": 7}, bundle()),
        *({"resourceType": "Bundle", "id": ID}, {"resourceType": "Patient", "id": ID}),
    ],
)
def test_what_has_no_messages_id_is_no_message(content: object) -> None:
    assert read(content) is None


@pytest.mark.parametrize(
    "wrapped",
    [
        communication(topic={"text": "Result"}),
        {"communication": communication(topic={"text": "Result"})},
        {"message": {"id": ID, "subject": "Result"}},
        {"bundle": bundle({"resourceType": "Patient"}, communication(topic={"text": "Result"}))},
        {"id": ID, "subject": "Result"},
    ],
)
def test_every_wrapping_is_taken_off(wrapped: Json) -> None:
    found = received(wrapped)

    assert (found.id, found.subject, found.enclosures) == (ID, "Result", ())


# --- Who ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "sender", "address"),
    [
        ({}, None, None),
        ({"from": "ward@direct.example"}, "ward@direct.example", "ward@direct.example"),
        ({"from": "Lakeside Clinic"}, "Lakeside Clinic", None),
        ({"sender": {"display": "urn:oid:1.2.840.1"}}, "urn:oid:1.2.840.1", "1.2.840.1"),
        ({"sender": {"name": "Lakeside", "oid": "1.2.840.1"}}, "Lakeside", "1.2.840.1"),
        ({"sender": {"name": "Lakeside", "destination": "a@b.example"}}, "Lakeside", "a@b.example"),
        ({"sender": {"identifier": {"value": "mailto:a@b.example"}}}, None, "a@b.example"),
        ({"sender": "Lakeside", "senderOid": "1.2.840.1"}, "Lakeside", "1.2.840.1"),
        ({"sender": ["Lakeside"], "from": "x"}, None, None),
    ],
)
def test_a_sender_is_told_in_many_ways(elements: Json, sender: str | None, address: str | None) -> None:
    for found in (received(communication(**elements)), received({"id": ID, **elements})):
        assert (found.sender, found.sender_address) == (sender, address)


def test_practitioners_are_told_in_two_ways() -> None:
    people = [
        {"type": "Practitioner", "display": "1234567893"},
        {"type": "Practitioner"},
        {"display": "a@b.example"},
    ]

    assert received(communication(recipient=people)).npis == ("1234567893",)
    assert received(communication(recipient=people)).destination == "a@b.example"
    assert received({"id": ID, "intendedRecipientNpi": ["1234567893", 7]}).npis == ("1234567893",)


def test_one_patient_in_the_content_is_the_person_and_two_are_nobody() -> None:
    robin, alex = ({"resourceType": "Patient", "name": [{"family": name}]} for name in ("Maple", "Birch"))

    assert received(bundle(communication(), robin)).person == robin
    assert received(communication(contained=[alex])).person == alex
    assert received(bundle(communication(contained=[alex]), robin)).person is None


@pytest.mark.parametrize(
    ("elements", "at"),
    [
        ({"sent": "2026-03-01T09:00:00Z", "received": "2026-03-01T09:00:05Z"}, "09:00:05"),
        ({"sent": "2026-03-01T09:00:00Z", "updatedAt": "2026-03-01T10:00:05+01:00"}, "09:00:05"),
        ({"sent": "2026-03-01T09:00:00Z", "received": "soon"}, "09:00:00"),
    ],
)
def test_when_it_was_received(elements: Json, at: str) -> None:
    found = received(communication(**elements))

    assert found.received_at is not None
    assert found.received_at.strftime("%H:%M:%S") == at


# --- Attachments ----------------------------------------------------------------------------------------------


def test_an_attachment_in_the_payload_itself() -> None:
    told = {"contentType": "application/pdf", "data": DATA, "title": "a.pdf", "creation": "2026-03-01"}
    [found] = received(
        communication(payload=[{"contentAttachment": told}, {"contentAttachment": {}}])
    ).enclosures

    assert bytes_in(found) == b"%PDF"
    assert (found.content_type, found.title, found.created) == ("application/pdf", "a.pdf", "2026-03-01")
    assert found.document is None


@pytest.mark.parametrize(
    "reference", [f"DocumentReference/{DOCUMENT}", f"https://x.example/fhir/DocumentReference/{DOCUMENT}"]
)
def test_a_document_that_came_along(reference: str) -> None:
    told = communication(payload=[refers_to(reference)])
    [found] = received(bundle(told, a_document(description="Tracing", date="2026-02"))).enclosures

    assert found.source == Linked(url=LINK)
    assert (found.document, found.description, found.created) == (DOCUMENT, "Tracing", "2026-02")


def test_a_document_that_nothing_refers_to_is_part_of_the_message() -> None:
    other = a_document(id=DOCUMENT.replace("2", "3"))
    told = communication(payload=[refers_to(f"DocumentReference/{DOCUMENT}")])

    assert [one.document for one in received(bundle(other, told, a_document())).enclosures] == [
        DOCUMENT,
        other["id"],
    ]


def test_a_document_that_did_not_come_along_has_to_be_asked_for() -> None:
    [found] = received(communication(payload=[refers_to(f"DocumentReference/{DOCUMENT}")])).enclosures

    assert (found.source, found.document) == (Named(document=DOCUMENT), DOCUMENT)


@pytest.mark.parametrize(
    "stated",
    [
        *({"reference": one} for one in ("DocumentReference/", "DocumentReference/\n", "#letter", "#")),
        *({"display": "Tracing"}, {"identifier": {"system": "x"}}, {"identifier": {"value": "a b"}}),
    ],
)
def test_what_is_told_of_and_nowhere_is_not_left_out(stated: Json) -> None:
    [found] = received(communication(payload=[{"contentReference": stated}])).enclosures

    assert found.source == Nowhere()
    assert received(communication(payload=[{"contentReference": {}}])).enclosures == ()


@pytest.mark.parametrize(
    "stated",
    [
        {"reference": f"urn:uuid:{DOCUMENT}"},
        {"reference": f"DocumentReference/{DOCUMENT}/_history/3"},
        {"identifier": {"value": DOCUMENT}},
    ],
)
def test_a_document_that_did_not_come_along_is_named_in_many_ways(stated: Json) -> None:
    [found] = received(communication(payload=[{"contentReference": stated}])).enclosures

    assert (found.source, found.document) == (Named(document=DOCUMENT), DOCUMENT)


@pytest.mark.parametrize(
    "reference",
    ["urn:uuid:d", "https://x.example/fhir/DocumentReference/7", "DocumentReference/d/_history/2"],
)
def test_what_came_along_is_found_by_what_the_bundle_calls_it(reference: str) -> None:
    """The resources have no ids of their own, or others."""
    place = reference.partition("/_history")[0]
    content = [{"attachment": {"url": "urn:uuid:b"}}]
    document = {"resourceType": "DocumentReference", "content": content}
    entries = [
        {"resource": communication(payload=[refers_to(reference), refers_to(reference)])},
        {"fullUrl": place, "resource": document},
        {"fullUrl": "urn:uuid:b", "resource": {"resourceType": "Binary", "data": DATA}},
    ]

    for listed in (entries, [{"resource": communication()}, *entries[1:]]):
        [found] = received({"resourceType": "Bundle", "entry": listed}).enclosures
        assert bytes_in(found) == b"%PDF"


def test_a_binary_that_nothing_refers_to_is_part_of_the_message() -> None:
    binary = {"resourceType": "Binary", "id": "b", "contentType": "text/plain", "data": DATA}
    [found] = received(bundle(communication(), binary)).enclosures

    assert (bytes_in(found), found.content_type) == (b"%PDF", "text/plain")


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "Media", "content": {"data": DATA}, "type": {"text": "Trace"}},
        {"resourceType": "DiagnosticReport", "presentedForm": [{"data": DATA}], "code": {"text": "Trace"}},
    ],
)
def test_other_resources_that_hold_attachments(resource: Json) -> None:
    named = {**resource, "id": "r"}
    by_reference = communication(payload=[refers_to(f"{resource['resourceType']}/r")])

    for told in (communication(), by_reference):
        [found] = received(bundle(told, named)).enclosures
        assert bytes_in(found) == b"%PDF"
        assert (found.type, found.document) == ({"coding": [], "text": "Trace"}, None)


def test_a_resource_that_is_no_document_is_kept_as_it_is() -> None:
    order = {"resourceType": "ServiceRequest", "id": "o", "intent": "order"}
    [found] = received(bundle(communication(payload=[refers_to("ServiceRequest/o")]), order)).enclosures

    assert json.loads(bytes_in(found)) == order
    assert (found.content_type, found.title) == ("application/fhir+json", "ServiceRequest")
    assert received(bundle(communication(), order)).enclosures == ()


@pytest.mark.parametrize("kind", ["DiagnosticReport", "Media"])
def test_a_report_without_a_file_is_a_file_only_where_the_message_refers_to_it(kind: str) -> None:
    report = {"resourceType": kind, "id": DOCUMENT, "status": "final"}
    [found] = received(bundle(communication(payload=[refers_to(f"{kind}/{DOCUMENT}")]), report)).enclosures

    assert json.loads(bytes_in(found)) == report
    assert received(bundle(communication(), report)).enclosures == ()


def test_a_binary_without_bytes_does_not_hide_where_they_are() -> None:
    stub = {"resourceType": "Binary", "id": "b"}
    link = "https://files.metriport.example/Binary/b"
    by_link = communication(payload=[{"contentAttachment": {"url": link}}])
    by_name = a_document(content=[{"attachment": {"url": "Binary/b"}}])

    assert [one.source for one in received(bundle(by_link, stub)).enclosures] == [Linked(url=link)]
    [named] = received(bundle(communication(), by_name, stub)).enclosures
    assert named.source == Named(document=DOCUMENT)
    [empty] = received(
        bundle(communication(payload=[{"contentAttachment": {"url": "Binary/b"}}]), stub)
    ).enclosures
    assert bytes_in(empty) == b""


def test_a_resource_with_long_data_in_it_is_not_kept_without_them() -> None:
    data = Lifted.of(lambda: iter([b""]))
    held = {"resourceType": "Basic", "id": "o", "extension": [{"valueAttachment": {"data": data}}]}
    [found] = received(bundle(communication(payload=[refers_to("Basic/o")]), held)).enclosures

    assert found.source == Nowhere()


def test_each_content_of_a_document_is_an_attachment() -> None:
    contents = [{"attachment": {"url": LINK}}, {"attachment": {"data": DATA}}, {"attachment": {}}, "x"]
    told = communication(payload=[refers_to(f"DocumentReference/{DOCUMENT}")])
    found = received(bundle(told, a_document(content=contents))).enclosures

    assert [one.document for one in found] == [DOCUMENT, f"{DOCUMENT}/2"]
    assert bytes_in(found[1]) == b"%PDF"


def test_several_files_of_a_document_are_told_apart_by_their_titles() -> None:
    contents = [{"attachment": one} for one in ({"size": 1}, {"title": "b.xml"}, {"size": 2})]
    found = received(bundle(communication(), a_document(content=contents))).enclosures

    assert [one.source for one in found] == [
        Named(document=DOCUMENT),
        Named(document=DOCUMENT, title="b.xml"),
        Nowhere(),
    ]


@pytest.mark.parametrize(
    ("attachment", "source"),
    [
        ({"data": "", "url": LINK}, Linked(url=LINK)),
        ({"id": DOCUMENT, "title": "a.pdf"}, Named(document=DOCUMENT)),
        ({"url": f"Binary/{DOCUMENT}"}, Named(document=DOCUMENT)),
        ({"url": "Binary/7"}, Nowhere()),
        ({"title": "a.pdf"}, Nowhere()),
    ],
)
def test_where_the_bytes_of_an_attachment_are(attachment: Json, source: Source) -> None:
    [found] = received(communication(payload=[{"contentAttachment": attachment}])).enclosures

    assert found.source == source


@pytest.mark.parametrize("attachment", [{"data": ""}, {"size": 0, "title": "empty.txt"}])
def test_an_attachment_may_be_empty(attachment: Json) -> None:
    [found] = received(communication(payload=[{"contentAttachment": attachment}])).enclosures

    assert bytes_in(found) == b""


def test_a_binary_that_lacks_the_bytes_it_should_have_is_not_taken_for_an_empty_one() -> None:
    content = [{"attachment": {"url": "Binary/b", "size": 4}}]
    binary = {"resourceType": "Binary", "id": "b"}
    [found] = received(bundle(communication(), a_document(content=content), binary)).enclosures

    assert found.source == Named(document=DOCUMENT)


def test_a_url_of_something_that_is_no_binary_leads_nowhere() -> None:
    told = communication(payload=[{"contentAttachment": {"url": "Patient/p"}}])
    [found] = received(bundle(told, {"resourceType": "Patient", "id": "p"})).enclosures

    assert found.source == Nowhere()


def test_a_document_without_bytes_has_to_be_asked_for() -> None:
    content = [{"attachment": {"title": "a.pdf", "url": "/somewhere"}}]
    [found] = received(bundle(communication(), a_document(content=content))).enclosures

    assert found.source == Named(document=DOCUMENT)
    assert found.title == "a.pdf"


@pytest.mark.parametrize("url", ["Binary/b1", "https://x.example/fhir/Binary/b1"])
def test_bytes_in_a_binary_that_came_along(url: str) -> None:
    binary = {"resourceType": "Binary", "id": "b1", "contentType": "text/plain", "data": DATA}
    by_document = a_document(content=[{"attachment": {"url": url}}])

    for content in (
        bundle(communication(), by_document, binary),
        bundle(communication(payload=[refers_to("Binary/b1")]), binary),
        bundle(communication(payload=[{"contentAttachment": {"url": url}}]), binary),
    ):
        assert [bytes_in(one) for one in received(content).enclosures] == [b"%PDF"]


def test_a_binary_without_bytes_is_an_empty_attachment() -> None:
    content = bundle(communication(payload=[refers_to("Binary/b")]), {"resourceType": "Binary", "id": "b"})

    assert [bytes_in(one) for one in received(content).enclosures] == [b""]


def test_a_contained_document() -> None:
    document = a_document(id="letter", content=[{"attachment": {"data": DATA}}])
    [found] = received(communication(contained=[document], payload=[refers_to("#letter")])).enclosures

    assert bytes_in(found) == b"%PDF"


@pytest.mark.parametrize("id", ["1", "letter", "DocumentReference-1"])
def test_only_ids_of_metriports_own_form_name_the_same_document_in_every_message(id: str) -> None:
    """`1` stands in the messages of others, too, and means something else there."""
    document = a_document(id=id, content=[{"attachment": {"data": DATA}}])
    found = [
        *received(bundle(communication(), document)).enclosures,
        *received(communication(contained=[document], payload=[refers_to(f"#{id}")])).enclosures,
        *received({"id": ID, "attachments": [{"id": id, "data": DATA}]}).enclosures,
    ]

    assert [one.document for one in found if isinstance(one.source, Inside)] == [None] * 3


def test_attachments_of_a_message() -> None:
    listed = [
        DOCUMENT,
        *({key: DOCUMENT} for key in ("id", "documentId", "documentReferenceId")),
        LINK,
        *({key: LINK} for key in ("url", "presignedUrl")),
        {"downloadUrl": LINK, "fileName": "a.pdf", "mimeType": "application/pdf"},
        {"data": DATA, "name": "b.txt"},
        {"title": "nothing"},
        7,
        *(None, {}, ""),
    ]
    *found, inside, nothing, junk = received({"id": ID, "attachments": listed}).enclosures

    assert [one.source for one in found] == [Named(document=DOCUMENT)] * 4 + [Linked(url=LINK)] * 4
    assert (found[-1].title, found[-1].content_type) == ("a.pdf", "application/pdf")
    assert (bytes_in(inside), inside.title) == (b"%PDF", "b.txt")
    assert (nothing.source, junk.source) == (Nowhere(), Nowhere())


@pytest.mark.parametrize("listed", [LINK, {"url": LINK}])
def test_a_single_attachment_may_stand_without_a_list(listed: object) -> None:
    [found] = received({"id": ID, "attachments": listed}).enclosures

    assert found.source == Linked(url=LINK)


@pytest.mark.parametrize("url", ["ftp://x.example/1", "file:///etc/passwd", "javascript:1", "x"])
def test_a_link_that_is_no_web_address_leads_nowhere(url: str) -> None:
    [found] = received(communication(payload=[{"contentAttachment": {"url": url}}])).enclosures

    assert found.source == Nowhere()


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ("2026", "2026"),
        ("2026-03-01", "2026-03-01"),
        ("2026-03-01T10:00:00+01:00", "2026-03-01T09:00:00.000Z"),
        ("2026-03-01 10:00", "2026-03-01T10:00:00.000Z"),
        ("20260301", "2026-03-01T00:00:00.000Z"),
        ("2026-13", None),
        ("yesterday", None),
        (7, None),
    ],
)
def test_a_time_is_kept_as_r4_takes_it(stated: object, kept: str | None) -> None:
    told = {"data": DATA, "creation": stated}

    [found] = received(communication(payload=[{"contentAttachment": told}])).enclosures

    assert found.created == kept


def test_the_kind_of_a_document_as_far_as_r4_takes_it() -> None:
    loinc = {"system": "http://loinc.org", "code": "18754-2", "display": "Holter"}
    wrong = [
        {"system": "LOINC", "code": "1"},
        {"system": "http://loinc.org", "code": "a b"},
        {"code": "1"},
        7,
    ]
    [found] = received(
        bundle(communication(), a_document(type={"coding": [loinc, *wrong], "text": "Holter"}))
    ).enclosures

    assert found.type == {"coding": [loinc], "text": "Holter"}
    [bare] = received(bundle(communication(), a_document(type={"coding": wrong}))).enclosures
    assert bare.type is None


@pytest.mark.parametrize("stated", ["pdf", "a/b\nc: d", "", 7, "a/b; x=\x00"])
def test_what_is_no_media_type_is_none(stated: object) -> None:
    told = {"data": DATA, "contentType": stated}

    [found] = received(communication(payload=[{"contentAttachment": told}])).enclosures

    assert found.content_type is None


def test_what_a_person_wrote_is_in_no_repr() -> None:
    secret = "quokka"
    attachment = {"data": secret, "title": secret, "url": f"https://{secret}.example"}
    content = communication(
        topic={"text": secret},
        sender={"display": secret},
        payload=[{"contentString": secret}, {"contentAttachment": attachment}],
        contained=[{"resourceType": "Patient", "name": [{"family": secret}]}],
    )

    assert secret not in repr(received(content)).lower()
    assert secret in json.dumps(content)
