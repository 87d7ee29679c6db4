"""Authors: they read, think for a while, and save, with and without `If-Match`."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from typing import Any, Final

from adapter.domain.canonical import CHANNEL_SYSTEM, DOCUMENT_ID, INSTRUCTION_SYSTEM, PATIENT_ID, URI_SYSTEM
from adapter.domain.mark import marks_on
from adapter.simulators.metriport import SANDBOX_PATIENTS
from adapter.simulators.metriport.records import Document
from tests.simulation.story import Arrival, Deed, Letter
from tests.simulation.theatre import Theatre

ADDRESSES: Final = {"heart": "referrals@harbor-heart.example", "kidney": "ines.nakamura@harbor-heart.example"}
STRANGER: Final = SANDBOX_PATIENTS[2].id
SHARED: Final = "0195f2a0-7c1e-7a52-9d3b-5f60c2b1d777"
_RESEND: Final = [{"coding": [{"system": INSTRUCTION_SYSTEM, "code": "resend"}]}]
_BLIND: Final = frozenset({"edit-blind", "blind-put", "wish-again-blind", "impatient"})
_OPEN: Final = frozenset({"preparation", "in-progress"})
_CLOSED: Final = frozenset({"stopped", "not-done", "on-hold"})
_ASKED_AGAIN_FROM: Final = {"wish-again": _CLOSED, "wish-again-blind": _CLOSED, "impatient": {"in-progress"}}
_TAKEN_BACK: Final = {"withdraw": "entered-in-error", "stop": "stopped", "not-done": "not-done"}


@dataclass(kw_only=True)
class Authors:
    """Who writes Communications; `saved` are the versions that are theirs, by letter; by `withdrawn` ones they took it back."""

    stage: Theatre
    saved: dict[str, set[int]] = field(default_factory=dict)
    withdrawn: dict[str, set[int]] = field(default_factory=dict)
    first: dict[str, dict[str, Any]] = field(default_factory=dict)
    received: dict[str, tuple[Arrival, list[bytes]]] = field(default_factory=dict)
    busy: int = 0
    notes: int = 0

    def furnish(self) -> None:
        """What is there before the first letter."""
        stage = self.stage
        patient = SANDBOX_PATIENTS[0].id
        stage.write(
            {
                "resourceType": "Patient",
                "id": "maple",
                "identifier": [{"system": PATIENT_ID, "value": patient}],
            }
        )
        stage.metriport.documents[SHARED] = Document(
            id=SHARED, patient_id=patient, announced={}, created_at=stage.clock.now(), data=b"shared"
        )
        stage.write(
            {
                "resourceType": "DocumentReference",
                "id": "shared",
                "status": "current",
                "subject": {"reference": "Patient/maple"},
                "identifier": [{"system": DOCUMENT_ID, "value": SHARED}],
                "content": [{"attachment": {"contentType": "text/plain", "data": "c2hhcmVk"}}],
            }
        )

    async def write(self, letter: Letter) -> None:
        """Writes the letter when its time has come."""
        self.busy += 1
        await asyncio.sleep(letter.at)
        self.first[letter.id] = self._save(_communication(letter)) or {}
        self.busy -= 1

    async def receive(self, arrival: Arrival) -> None:
        """Somebody elsewhere sends a message in."""
        await asyncio.sleep(arrival.at)
        stage = self.stage
        if arrival.fault != "none":
            stage.cover("webhook", arrival.fault)
            stage.metriport.add_fault("*", "*", arrival.fault)
        contents = [f"enclosure {place} of {arrival.at}".encode() for place in range(arrival.enclosures)]
        message = stage.metriport.receive(
            stage.clock.now(),
            patientId=SANDBOX_PATIENTS[0].id if arrival.known else STRANGER,
            subject="Result",
            attachments=[
                {"title": "result", "contentType": "text/plain", "data": base64.b64encode(content).decode()}
                for content in contents
            ],
        )
        stage.metriport.clear_faults()
        self.received[message.id] = (arrival, contents)
        stage.say(f"{message.id[:13]} comes in {arrival.fault}")
        await stage.passes(0.0)

    async def do(self, deed: Deed) -> None:
        """Reads, waits, saves; with `If-Match`, reads once more when it was too late."""
        self.busy += 1
        await asyncio.sleep(deed.at)
        for _ in range(2):
            present = self._read(deed.letter)
            wanted = self._wanted(deed, present) if present else None
            await asyncio.sleep(deed.gap)
            if wanted is None:
                break
            blind = deed.kind in _BLIND
            self.stage.say(f"{deed.letter}: {deed.kind} from version {wanted['meta']['versionId']}")
            self.stage.covered.add(("author", deed.kind))
            if deed.kind == "delete":
                self._delete(deed.letter)
                break
            saved = self._save(wanted, blind=blind)
            # By this deed, or as a copy of what was taken back by another.
            if saved and saved["status"] in _TAKEN_BACK.values():
                self.withdrawn.setdefault(deed.letter, set()).add(int(saved["meta"]["versionId"]))
            if saved or blind:
                break
        self.busy -= 1

    def _wanted(self, deed: Deed, present: dict[str, Any]) -> dict[str, Any] | None:
        status = present["status"]
        self.notes += 1
        note = [*present.get("note", []), {"text": f"note {self.notes}"}]
        match deed.kind:
            case "edit" | "edit-blind":
                return {**present, "note": note}
            case "blind-put":
                return {**self.first[deed.letter], "note": note}
            case "withdraw" | "stop" | "not-done" if deed.kind == "withdraw" or status in _OPEN:
                return {**present, "status": _TAKEN_BACK[deed.kind]}
            case "delete":
                return present
            case "copy" if marks_on(present):
                return {**present, "id": f"copy-of-{deed.letter}", "status": "preparation"}
            case "wish-again" | "wish-again-blind" | "impatient" if status in _ASKED_AGAIN_FROM[deed.kind]:
                return {**present, "status": "preparation"}
            case "resend" if status == "completed":
                return {**present, "status": "preparation", "category": _RESEND}
        return None

    def _read(self, letter: str) -> dict[str, Any] | None:
        return next((one for one in self.stage.fhir.resources("Communication") if one["id"] == letter), None)

    def _delete(self, letter: str) -> None:
        if self.stage.remove(f"Communication/{letter}"):
            versions = len(self.stage.fhir.history("Communication", letter))
            self.saved.setdefault(letter, set()).add(versions)

    def _save(self, resource: dict[str, Any], *, blind: bool = True) -> dict[str, Any] | None:
        if not blind:
            present = self._read(resource["id"])
            if present is None and resource["id"] not in self.stage.letters:
                return self.stage.write(resource)
            if present is None or present["meta"]["versionId"] != resource["meta"]["versionId"]:
                return None
        before = self._read(resource["id"])
        written = self.stage.write(resource)
        if before is None or before["meta"]["versionId"] != written["meta"]["versionId"]:
            self.saved.setdefault(resource["id"], set()).add(int(written["meta"]["versionId"]))
        return written


def _communication(letter: Letter) -> dict[str, Any]:
    payload: list[dict[str, Any]] = [{"contentString": letter.text}]
    if letter.enclosure == "own":
        payload.append({"contentAttachment": {"contentType": "text/plain", "data": "b3du"}})
    if letter.enclosure == "shared":
        payload.append({"contentReference": {"reference": "DocumentReference/shared"}})
    return {
        "resourceType": "Communication",
        "id": letter.id,
        "status": "preparation",
        "medium": [{"coding": [{"system": CHANNEL_SYSTEM, "code": "metriport"}]}],
        "subject": {"reference": "Patient/maple"},
        "recipient": [{"identifier": {"system": URI_SYSTEM, "value": f"mailto:{ADDRESSES[letter.to]}"}}],
        "topic": {"text": "Referral"},
        "payload": payload,
    }
