"""The demo's people and messages: all of them, their texts and their numbers are invented."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from adapter.domain.canonical import (
    CHANNEL_SYSTEM,
    CONNECTION_TYPE,
    DIRECT_TELECOM,
    LOINC,
    NPI_SYSTEM,
    PATIENT_ID,
    URI_SYSTEM,
)

Json = dict[str, Any]

_PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One message of the demo, and the end that is right for it: status, reason, patient, number of attachments."""

    id: str
    title: str
    ends: str
    reason: str | None = None
    subject: str | None = None
    attachments: int | None = None
    communication: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A message that somebody sends in, as the simulator's control API takes it."""

    title: str
    stated: Json = field(repr=False)
    subject: str


@dataclass(frozen=True, kw_only=True)
class Cast:
    """Builds resources whose ids end alike, so that a demo can be repeated on the same server.

    `linked` are Metriport's ids of two patients; the destinations are entries of the network directory.
    """

    suffix: str
    linked: tuple[str, str]
    stranger: str
    oid: str
    direct: str
    full_mailbox: str
    npi: str

    def stage(self) -> list[Json]:
        """What is on the FHIR server before the first message, in an order that keeps references whole."""
        return [
            self._patient("maple", family="Maple", given="Robin", link=self.linked[0]),
            self._patient("birch", family="Birch", given="Sam", link=self.linked[1]),
            self._patient("aspen", family="Aspen", given="Kim", link=None),
            self._patient("brown", family="Brown", given="Ollie", link=None, born="1946-03-18"),
            {
                "resourceType": "Endpoint",
                "id": self._id("endpoint"),
                "status": "active",
                "connectionType": {"system": CONNECTION_TYPE, "code": "direct-project"},
                "payloadType": [{"text": "Clinical messages"}],
                "address": f"mailto:{self.direct}",
            },
            {
                "resourceType": "Organization",
                "id": self._id("harbor"),
                "name": "Harbor Heart Clinic",
                "endpoint": [{"reference": f"Endpoint/{self._id('endpoint')}"}],
            },
            {
                "resourceType": "Practitioner",
                "id": self._id("nakamura"),
                "identifier": [{"system": NPI_SYSTEM, "value": self.npi}],
                "name": [{"family": "Nakamura", "given": ["Ines"]}],
            },
            {
                "resourceType": "Practitioner",
                "id": self._id("okafor"),
                "name": [{"family": "Okafor", "given": ["Lio"]}],
                "telecom": [
                    {
                        "extension": [{"url": DIRECT_TELECOM, "valueBoolean": True}],
                        "system": "email",
                        "value": self.direct,
                    }
                ],
            },
            {
                "resourceType": "DocumentReference",
                "id": self._id("summary"),
                "status": "current",
                "type": {
                    "coding": [{"system": LOINC, "code": "34133-9", "display": "Summary of episode note"}],
                    "text": "Visit summary",
                },
                "subject": {"reference": f"Patient/{self._id('maple')}"},
                "description": "Visit summary",
                "content": [
                    {
                        "attachment": {
                            "contentType": "text/plain",
                            "title": "visit-summary.txt",
                            "data": _base64(b"Seen for palpitations. Holter requested.\n"),
                        }
                    }
                ],
            },
        ]

    def scenes(self) -> list[Scene]:
        """The messages, in the order in which they are written."""
        direct = {"identifier": {"system": URI_SYSTEM, "value": f"mailto:{self.direct}"}}
        oid = {"identifier": {"system": URI_SYSTEM, "value": f"urn:oid:{self.oid}"}}
        summary = {"contentReference": {"reference": f"DocumentReference/{self._id('summary')}"}}
        return [
            self._scene("A referral to a Direct address", "referral", recipient=[direct]),
            self._scene(
                "Two attachments",
                "attachments",
                recipient=[direct],
                payload=[{"contentString": "Please find both enclosed."}, _pdf("ecg.pdf"), summary],
            ),
            self._scene("To an organisation's OID", "oid", recipient=[oid]),
            self._scene(
                "Organisation's Endpoint, for one practitioner",
                "team",
                recipient=[
                    {"reference": f"Organization/{self._id('harbor')}"},
                    {"reference": f"Practitioner/{self._id('nakamura')}"},
                ],
            ),
            self._scene(
                "Practitioner's Direct telecom, another patient",
                "telecom",
                patient="birch",
                recipient=[{"reference": f"Practitioner/{self._id('okafor')}"}],
            ),
            self._scene(
                "Cannot be delivered: mailbox full",
                "full",
                ends="stopped",
                reason="delivery-failed",
                recipient=[{"display": self.full_mailbox}],
            ),
            self._scene(
                "Refused: two different destinations",
                "several",
                ends="not-done",
                reason="refused-several-destinations",
                recipient=[direct, oid],
            ),
            self._scene(
                "Held: the patient is not linked yet",
                "unlinked",
                ends="on-hold",
                reason="held-patient-unknown",
                patient="aspen",
                recipient=[direct],
            ),
            self._scene(
                "Urgent: written last, sent before others", "urgent", priority="stat", recipient=[direct]
            ),
        ]

    def letters(self) -> list[Letter]:
        """What others send in: for somebody whom the clinic has linked, and for somebody whom it has not."""
        files = [
            {"title": "holter.pdf", "contentType": "application/pdf", "data": _base64(_PDF)},
            {
                "title": "letter.txt",
                "contentType": "text/plain",
                "data": _base64(b"Thank you for the referral.\n"),
            },
        ]
        return [
            Letter(
                title="Received: two attachments, answered",
                subject=self._id("maple"),
                stated={
                    "patientId": self.linked[0],
                    "subject": f"Holter result ({self.suffix})",
                    "body": "The tracing and our letter are enclosed.",
                    "from": self.direct,
                    "attachments": files,
                },
            ),
            Letter(
                title="Received: for nobody known, matched by its Task",
                subject=self._id("brown"),
                stated={
                    "patientId": self.stranger,
                    "subject": f"New patient ({self.suffix})",
                    "body": "Could you take over the care of this patient?",
                    "from": self.direct,
                    "attachments": files[1:],
                },
            ),
        ]

    def reply(self, received: Json) -> Scene:
        """The answer to a received message: its sender is copied into the recipient, nothing else is needed."""
        return self._scene(
            "The answer to it",
            "reply",
            subject=received["subject"],
            recipient=[received["sender"]],
            inResponseTo=[{"reference": f"Communication/{received['id']}"}],
            payload=[{"contentString": "Thank you, received with both enclosures."}],
        )

    def _scene(
        self,
        title: str,
        name: str,
        *,
        ends: str = "completed",
        reason: str | None = None,
        patient: str = "maple",
        **elements: Any,
    ) -> Scene:
        communication: Json = {
            "resourceType": "Communication",
            "id": self._id(name),
            "status": "preparation",
            "medium": [{"coding": [{"system": CHANNEL_SYSTEM, "code": "metriport"}]}],
            "subject": {"reference": f"Patient/{self._id(patient)}"},
            "topic": {"text": f"{title} ({self.suffix})"},
            "payload": [
                {"contentString": "Palpitations since March, worse at night. Could you see the patient?"}
            ],
            **elements,
        }
        return Scene(
            id=communication["id"], title=title, communication=communication, ends=ends, reason=reason
        )

    def _patient(
        self, name: str, *, family: str, given: str, link: str | None, born: str = "1980-02-29"
    ) -> Json:
        identifier = {"identifier": [{"system": PATIENT_ID, "value": link}]} if link else {}
        return {
            "resourceType": "Patient",
            "id": self._id(name),
            "name": [{"family": family, "given": [given]}],
            "birthDate": born,
            **identifier,
        }

    def _id(self, name: str) -> str:
        return f"demo-{name}-{self.suffix}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _pdf(title: str) -> Mapping[str, Any]:
    attachment = {
        "contentType": "application/pdf",
        "title": title,
        "data": _base64(_PDF),
        "creation": datetime(2026, 3, 3, tzinfo=UTC).date().isoformat(),
    }
    return {"contentAttachment": attachment}
