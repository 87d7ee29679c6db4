"""Whose a received message is: certain or asked, whatever ids it tells and whatever the server refuses."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import pytest

from adapter.domain.canonical import PATIENT_ID
from adapter.simulators.metriport import SANDBOX_PATIENTS
from tests.integration.people import patient
from tests.integration.test_received import KNOWN, at, contents, inbound, message
from tests.virtual.site import Site

Json = dict[str, Any]

OWN: Final = "urn:own"
OTHER: Final = SANDBOX_PATIENTS[1].id


async def _tell(clinic: Site, **ids: Any) -> None:
    """A message for nobody, told of again with these ids in the call."""
    now = clinic.clock.now()
    clinic.metriport.receive(now, **message(patientId=None, attachments=[]))
    call = json.loads(clinic.metriport.calls_due(now)[-1].body)
    body = {**call, "payload": {**call["payload"], **ids}}
    clinic.metriport.announce("message.received", now, body=body)
    await clinic.passes(2)


def _told(*people: Json, system: str | None = None, **ids: Any) -> str | None:
    """The subject of a message that was told of so, where these Patients are known."""

    async def visit(clinic: Site) -> None:
        await _own_system(clinic, system)
        for one in people:
            clinic.write(one)
        await _tell(clinic, **ids)

    clinic = at(visit)

    [found] = inbound(clinic)
    assert ("subject" in found) == (clinic.fhir.resources("Task") == [])
    subject: str | None = found.get("subject", {}).get("reference")
    return subject


async def _own_system(clinic: Site, system: str | None) -> None:
    await clinic.stop()
    own = clinic.settings.patients.model_copy(update={"external_id_system": system})
    clinic.settings = clinic.settings.model_copy(update={"patients": own})
    await clinic.start()


def someone(id: str, value: str, **elements: Any) -> Json:
    """A Patient with an id of the account's own."""
    return {"resourceType": "Patient", "id": id, "identifier": [{"system": OWN, "value": value}], **elements}


def test_ids_that_lead_to_different_patients_are_nobodys_for_certain() -> None:
    assert _told(someone("birch", "1"), patientId=KNOWN, externalId="birch") is None
    assert _told(someone("birch", "1"), patientId=KNOWN, externalId="maple") == "Patient/maple"
    assert _told(someone("birch", "1"), patientId=KNOWN, externalId="nobody") == "Patient/maple"


def test_a_patient_who_is_not_in_use_any_more_gets_no_message() -> None:
    assert _told(someone("birch", "1", active=False), externalId="birch") is None
    assert _told(patient(active=False), patientId=KNOWN) is None
    assert _told(patient(active=True), patientId=KNOWN) == "Patient/maple"


ALMOST: Final = {
    "comma": "a7,a8",
    "comma at the end": "a8,",
    "bar": "|a8",
    "its system": f"{OWN}|a8",
    "other system": f"{PATIENT_ID}|a8",
    "dollar": "a7$a8",
    "backslash": "a8\\",
    "escaped": "a7\\,a8",
    "asterisk": "a8*",
    "other case": "A8",
    "space before": " a8",
    "space after": "a8 ",
    "space inside": "a 8",
    "only space": " ",
    "empty": "",
    "very long": "a8" * 5000,
    "as long as can be": "a8" * 500,
    "wide digit": "a\uff18",
    "accent": "a8\u0301",
    "invisible": "a8\u200b",
    "NUL": "a8\x00",
    "line end": "a8\n",
    "half a character": "a8\ud800",
    "path": "../Patient/a8",
    "query": "a8?x=1",
    "version": "a8/_history/1",
    "escaped in a URL": "a%38",
}


@pytest.mark.parametrize("name", ["patientId", "externalId"])
@pytest.mark.parametrize("system", [OWN, None])
def test_an_id_is_taken_literally(name: str, system: str | None) -> None:
    """A Patient has the id `a8`, in every place where it could be looked for; the messages tell almost that."""

    async def visit(clinic: Site) -> None:
        await _own_system(clinic, system)
        linked = [{"system": PATIENT_ID, "value": "a8"}, {"system": OWN, "value": "a8"}]
        clinic.write(someone("a8", "a8", identifier=linked))
        clinic.write(someone("long", ("a8" * 500)[:999] + "…"))
        for value in ALMOST.values():
            await _tell(clinic, **{name: value})
        await _tell(clinic, **{name: "a8"})

    found = inbound(at(visit))

    owners = [one.get("subject", {}).get("reference") for one in found]
    assert dict(zip([*ALMOST, "itself"], owners, strict=True)) == {
        **dict.fromkeys(ALMOST),
        "itself": "Patient/a8",
    }


@pytest.mark.parametrize("value", ["7", "7,8", "7|8", "7$8", "7\\8", " 7", "7 8", "Ä7", "7" * 1000])
def test_an_own_id_finds_its_patient(value: str) -> None:
    assert _told(someone("its", value), someone("eight", "8"), system=OWN, externalId=value) == "Patient/its"


def test_an_own_id_is_one_of_its_own_system_and_not_a_former_one() -> None:
    elsewhere = someone("elm", "7", identifier=[{"system": "urn:others", "value": "8"}, {"value": "8"}])
    former = someone("fir", "9", identifier=[{"system": OWN, "value": "8", "use": "old"}])

    assert _told(elsewhere, former, system=OWN, externalId="8") is None


def test_a_patient_who_was_merged_into_another_gets_no_message() -> None:
    merged = [{"other": {"reference": "Patient/maple"}, "type": "replaced-by"}]
    related = [{"other": {"reference": "Patient/maple"}, "type": "seealso"}]

    assert _told(someone("birch", "1", link=merged), externalId="birch") is None
    assert _told(someone("birch", "1", link=related), externalId="birch") == "Patient/birch"


def test_an_own_id_does_not_count_against_a_link_to_somebody_else() -> None:
    assert _told(patientId=OTHER, externalId="maple") is None
    assert _told(externalId="maple") == "Patient/maple"


@pytest.mark.parametrize("refused", [None, "/medical/v1/patient"])
def test_all_patients_with_the_messages_ids_are_candidates(refused: str | None) -> None:
    """Also where Metriport does not say who that is."""

    async def visit(clinic: Site) -> None:
        if refused:
            clinic.metriport.add_fault("GET", refused, "503", times=1000)
        clinic.write(patient(id="twin", name=[{"family": "Birch"}]))
        clinic.write(someone("own", "1"))
        await _tell(clinic, patientId=KNOWN, externalId="own")

    [task] = at(visit).fhir.resources("Task")

    offered = {one["valueReference"]["reference"]: _marks(one) for one in task["input"]}
    assert {*offered} == {"Patient/maple", "Patient/twin", "Patient/own"}
    assert {marks["identifier"] for marks in offered.values()} == {"agrees"}


def _marks(candidate: Json) -> dict[str, str]:
    marks = [part["extension"] for part in candidate["extension"]]
    return {field["valueCode"]: mark["valueCode"] for field, mark in marks}


async def _content(clinic: Site, content: Json, **ids: Any) -> None:
    """A call whose link leads to this content."""
    now = clinic.clock.now()
    link = clinic.metriport.share(content, now)
    clinic.metriport.announce("message.received", now, body={"payload": {"url": link, **ids}})
    await clinic.passes(20)


def _communication(number: int, **elements: Any) -> Json:
    id = f"0191d0a4-0000-7000-8000-00000000000{number}"
    return {"resourceType": "Communication", "id": id, "topic": {"text": "Result"}, **elements}


def _bundle(*resources: Json) -> Json:
    return {"resourceType": "Bundle", "entry": [{"resource": one} for one in resources]}


@pytest.mark.parametrize(
    ("called", "subject"), [(KNOWN, "Patient/maple"), (None, "Patient/maple"), (OTHER, None)]
)
def test_a_call_and_a_content_that_disagree_leave_it_to_a_person(
    called: str | None, subject: str | None
) -> None:
    ids = {"patientId": called} if called else {}

    async def visit(clinic: Site) -> None:
        told = {"id": "0191d0a4-0000-7000-8000-000000000001", "patientId": KNOWN, "subject": "Result"}
        await _content(clinic, told, **ids)

    clinic = at(visit)

    [found] = inbound(clinic)
    assert found.get("subject", {}).get("reference") == subject
    assert len(clinic.fhir.resources("Task")) == (subject is None)


@pytest.mark.parametrize("refused", ["/Practitioner/_search", "/Patient/_search"])
def test_searches_that_are_only_a_help_may_be_refused(refused: str) -> None:
    async def visit(clinic: Site) -> None:
        clinic.fhir.add_fault("POST", refused, "400", times=100)
        meant = [{"type": "Practitioner", "display": "1234567893"}]
        person = {"resourceType": "Patient", "name": [{"family": "Maple"}]}
        await _content(clinic, _bundle(_communication(1, recipient=meant), person))

    clinic = at(visit)

    [found] = inbound(clinic)
    [task] = clinic.fhir.resources("Task")
    assert [one["identifier"]["value"] for one in found["recipient"]] == ["1234567893"]
    assert ("input" in task) == (refused != "/Patient/_search")


@pytest.mark.parametrize("family", ["Map\ud800le", "Maple,Birch", "Maple\\", "x" * 10_000])
def test_a_name_that_is_hard_to_search_for_keeps_no_message_out(family: str) -> None:
    async def visit(clinic: Site) -> None:
        person = {"resourceType": "Patient", "name": [{"family": family}], "birthDate": "1980-02-01"}
        await _content(clinic, _bundle(_communication(1), person))

    assert len(inbound(at(visit))) == 1


def test_a_document_that_has_a_number_in_its_message_is_not_the_one_of_another_message() -> None:
    async def visit(clinic: Site) -> None:
        clinic.write(someone("birch", "1", identifier=[{"system": PATIENT_ID, "value": OTHER}]))
        for number, person in enumerate((KNOWN, OTHER)):
            told = {"attachment": {"data": base64.b64encode(bytes([number])).decode()}}
            document = {"resourceType": "DocumentReference", "id": "1", "content": [told]}
            await _content(clinic, _bundle(_communication(number), document), patientId=person)

    clinic = at(visit)

    brought = {one["subject"]["reference"]: contents(clinic, one)[0][1] for one in inbound(clinic)}
    owners = {one["subject"]["reference"] for one in clinic.fhir.resources("DocumentReference")}
    assert brought == {"Patient/maple": b"\x00", "Patient/birch": b"\x01"}
    assert owners == {*brought}


def test_a_recipient_that_is_no_address_is_shown_as_it_is() -> None:
    async def visit(clinic: Site) -> None:
        named = [{"type": "Organization", "display": "Harbor Family Practice"}]
        await _content(clinic, _communication(1, recipient=named), patientId=KNOWN)

    [found] = inbound(at(visit))

    assert found["recipient"] == [{"type": "Organization", "display": "Harbor Family Practice"}]
