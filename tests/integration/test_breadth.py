"""The many shapes in which a message may be written, each sent as it should be."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from adapter.domain.attachment import MOST_BYTES
from adapter.domain.canonical import DOCUMENT_ID, PATIENT_ID
from adapter.errors import MappingError
from adapter.pipelines.outbound.context import Policy
from adapter.pipelines.outbound.prepare import plan, render
from adapter.simulators.http import Request
from adapter.simulators.metriport import SANDBOX_PATIENTS
from tests.integration.people import communication, patient, stage
from tests.virtual.loop import run
from tests.virtual.site import API_KEY, METRIPORT_URL, Site, site

TEXT = b"Seen for palpitations."
DATA = base64.b64encode(TEXT).decode()


def _one(
    *resources: dict[str, Any], policy: Policy | None = None, before: Any = None, **elements: Any
) -> Site:
    """One message with these elements, these resources beside it."""

    async def scenario() -> Site:
        async with site(started=False) as clinic:
            clinic.fhir = clinic.lax_fhir()
            stage(clinic)
            for resource in resources:
                clinic.write(resource)
            if before:
                before(clinic)
            clinic.write(communication(**elements))
            await clinic.start(policy=policy)
            await clinic.passes(30)
            return clinic

    return run(scenario())


def _uploaded(clinic: Site) -> list[bytes | None]:
    sent = next(message for message in clinic.metriport.messages if message.direction == "outbound")
    return [clinic.metriport.documents[one].data for one in sent.attachments]


def _document(**elements: Any) -> dict[str, Any]:
    return {
        "resourceType": "DocumentReference",
        "id": "visit",
        "status": "current",
        "subject": {"reference": "Patient/maple"},
        "content": [{"attachment": {"contentType": "text/plain", "data": DATA}}],
        **elements,
    }


def _binary(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "Binary", "id": "file", "contentType": "text/plain", "data": DATA, **elements}


def _reference(reference: str) -> list[dict[str, Any]]:
    return [{"contentReference": {"reference": reference}}]


@pytest.mark.parametrize(
    ("resources", "payload"),
    [
        pytest.param([], [{"contentAttachment": {"data": DATA, "title": "a.txt"}}], id="inline data"),
        pytest.param([_binary()], [{"contentAttachment": {"url": "Binary/file"}}], id="a Binary by url"),
        pytest.param([_binary()], _reference("Binary/file"), id="a Binary by reference"),
        pytest.param([_binary()], _reference("Binary/file/_history/1"), id="one version of a Binary"),
        pytest.param(
            [_document()], _reference("DocumentReference/visit"), id="a DocumentReference with data"
        ),
        pytest.param(
            [
                _binary(securityContext={"reference": "DocumentReference/visit"}),
                _document(content=[{"attachment": {"url": "Binary/file"}}]),
            ],
            _reference("DocumentReference/visit"),
            id="a DocumentReference that guards its Binary",
        ),
        pytest.param(
            [_document(), _binary(securityContext={"reference": "DocumentReference/visit"})],
            _reference("Binary/file"),
            id="a Binary that a document of the patient guards",
        ),
        pytest.param(
            [
                {
                    "resourceType": "Media",
                    "id": "photo",
                    "status": "completed",
                    "subject": {"reference": "Patient/maple"},
                    "content": {"contentType": "text/plain", "data": DATA},
                }
            ],
            _reference("Media/photo"),
            id="a Media",
        ),
        pytest.param(
            [
                {
                    "resourceType": "DiagnosticReport",
                    "id": "report",
                    "status": "final",
                    "code": {"text": "CBC"},
                    "issued": "2026-03-01T08:00:00Z",
                    "subject": {"reference": "Patient/maple"},
                    "presentedForm": [{"contentType": "text/plain", "data": DATA}],
                }
            ],
            _reference("DiagnosticReport/report"),
            id="a DiagnosticReport",
        ),
    ],
)
def test_attachments_come_in_many_forms(
    resources: list[dict[str, Any]], payload: list[dict[str, Any]]
) -> None:
    clinic = _one(*resources, payload=payload)

    assert clinic.communication("referral")["status"] == "completed"
    assert _uploaded(clinic) == [TEXT]


def _presigned(clinic: Site) -> str:
    """A link to a file that Metriport holds."""
    now = clinic.clock.now()
    file = {"title": "a.txt", "contentType": "text/plain", "data": DATA}
    clinic.metriport.receive(now, subject="in", patientId=SANDBOX_PATIENTS[0].id, attachments=[file])
    document = next(iter(clinic.metriport.documents.values()))
    asked = Request(
        method="GET",
        path="/medical/v1/document/download-url",
        query=f"fileName={document.file_name}",
        headers={"x-api-key": API_KEY},
    )
    return str(json.loads(clinic.metriport.handle(asked, now).body)["url"])


def test_an_attachment_is_fetched_from_an_allowed_origin() -> None:
    def before(clinic: Site) -> None:
        clinic.write(_document(content=[{"attachment": {"url": _presigned(clinic)}}]))

    clinic = _one(
        before=before,
        policy=Policy(allowed_origins=frozenset({METRIPORT_URL})),
        payload=_reference("DocumentReference/visit"),
    )

    assert _uploaded(clinic) == [TEXT]


def test_one_that_is_too_large_there_is_refused_as_any_that_is() -> None:
    def before(clinic: Site) -> None:
        clinic.write(_document(content=[{"attachment": {"url": _presigned(clinic)}}]))
        next(iter(clinic.metriport.documents.values())).data = bytes(MOST_BYTES + 1)

    clinic = _one(
        before=before,
        policy=Policy(allowed_origins=frozenset({METRIPORT_URL})),
        payload=_reference("DocumentReference/visit"),
    )

    ended = clinic.communication("referral")
    assert ended["statusReason"]["coding"][0]["code"] == "refused-attachment-too-large"


def test_a_binary_whose_json_has_no_data_is_read_raw() -> None:
    clinic = _one(_binary(), before=lambda clinic: clinic.keep_apart(), payload=_reference("Binary/file"))

    assert _uploaded(clinic) == [TEXT]


def test_a_document_that_metriport_lists_is_passed_by_its_id() -> None:
    async def scenario() -> Site:
        async with site(started=False) as clinic:
            stage(clinic)
            await clinic.start()
            clinic.write(communication(payload=[{"contentAttachment": {"data": DATA}}]))
            await clinic.passes(20)
            known = clinic.metriport.messages[0].attachments[0]
            for number, value in enumerate([known, "0190e9b0-0000-7000-8000-00000000dddd"]):
                identifier = [{"system": DOCUMENT_ID, "value": value}]
                clinic.write(_document(id=f"d-{number}", identifier=identifier))
                payload = _reference(f"DocumentReference/d-{number}")
                clinic.write(communication(id=f"again-{number}", payload=payload))
                await clinic.passes(20)
            return clinic

    first, listed, unlisted = (message.attachments for message in run(scenario()).metriport.messages)

    assert listed == first
    assert unlisted != first


def test_a_long_text_goes_as_an_attachment_where_a_site_says_so() -> None:
    clinic = _one(policy=Policy(long_body="attach"), payload=[{"contentString": "x" * 5001}])

    assert clinic.metriport.messages[0].body is None
    assert _uploaded(clinic) == [b"x" * 5001]


def test_a_long_text_as_an_attachment_counts_as_one() -> None:
    payload = [{"contentString": "x" * 5001}, *[{"contentAttachment": {"data": DATA}}] * 5]
    clinic = _one(policy=Policy(long_body="attach"), payload=payload)

    assert (
        clinic.communication("referral")["statusReason"]["coding"][0]["code"]
        == "refused-too-many-attachments"
    )


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param(
            {"identifier": {"system": PATIENT_ID, "value": SANDBOX_PATIENTS[0].id}}, id="Metriport's own id"
        ),
        pytest.param({"identifier": {"system": "urn:mrn", "value": "17"}}, id="an identifier of the clinic"),
        pytest.param({"reference": "#someone"}, id="contained"),
    ],
)
def test_a_patient_is_named_in_many_ways(subject: dict[str, Any]) -> None:
    linked = patient()["identifier"]
    clinic = _one(
        patient(identifier=[*linked, {"system": "urn:mrn", "value": "17"}]),
        contained=[patient(id="someone")],
        subject=subject,
        payload=[{"contentString": "Hello"}],
    )

    assert clinic.metriport.messages[0].patient_id == SANDBOX_PATIENTS[0].id


def test_a_patient_that_does_not_exist_is_held() -> None:
    clinic = _one(subject={"reference": "Patient/nobody"})

    assert clinic.communication("referral")["statusReason"]["coding"][0]["code"] == "held-patient-unknown"


def test_a_contained_organisation_states_its_destination() -> None:
    organization = {
        "resourceType": "Organization",
        "id": "there",
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": "urn:oid:2.16.840.1.113883.3.99999.1"}],
    }
    clinic = _one(contained=[organization], recipient=[{"reference": "#there"}])

    assert clinic.metriport.messages[0].destination == "2.16.840.1.113883.3.99999.1"


def test_what_metriport_refuses_of_a_document_is_said() -> None:
    def before(clinic: Site) -> None:
        clinic.write(
            patient(identifier=[{"system": PATIENT_ID, "value": "0190e9b0-0000-7000-8000-0000000000ff"}])
        )

    clinic = _one(before=before, payload=[{"contentAttachment": {"data": DATA}}])

    assert clinic.communication("referral")["statusReason"]["coding"][0]["code"] == "held-patient-gone"


def test_a_template_that_changes_the_destination_is_not_followed(tmp_path: Any) -> None:
    (tmp_path / "outbound").mkdir()
    (tmp_path / "outbound" / "message.json.j2").write_text(
        '{"destination": "other@elsewhere.example", "subject": {{ subject }}, "body": {{ body }}}'
    )

    async def scenario() -> str:
        async with site(started=False) as clinic:
            stage(clinic)
            context = (await clinic.start(idle=True, mappings=tmp_path)).context
            planned = await plan(context, communication())
            with pytest.raises(MappingError) as raised:
                render(context, planned, [])  # type: ignore[arg-type]  # it can be planned
            return str(raised.value)

    assert "destination" in run(scenario())
