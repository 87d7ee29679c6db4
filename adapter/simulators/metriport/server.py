"""The state of the pretend Metriport, and what several endpoints share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from adapter.simulators.metriport import links
from adapter.simulators.metriport.answers import Refusal
from adapter.simulators.metriport.directory import FACILITIES, SANDBOX_PATIENTS
from adapter.simulators.metriport.faults import Fault
from adapter.simulators.metriport.ids import Ids
from adapter.simulators.metriport.limits import Limits
from adapter.simulators.metriport.records import Document, File, Message
from adapter.simulators.metriport.webhooks import Webhooks

UPLOAD_LIFE: Final = timedelta(minutes=10)
LINK_LIFE: Final = timedelta(minutes=3)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How this Metriport behaves."""

    api_keys: frozenset[str]
    public_url: str
    dialect: str
    failed_as: str
    auto_complete_seconds: float | None


@dataclass(kw_only=True)
class Server:
    """Everything that endpoints read and change."""

    rules: Rules
    ids: Ids
    limits: Limits
    webhooks: Webhooks
    messages: dict[str, Message] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    queries: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    network_queries: dict[str, dict[str, Any]] = field(default_factory=dict)
    contributed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    opted_out: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    patients: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {patient.id: patient.record() for patient in SANDBOX_PATIENTS}
    )
    facilities: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {str(one["id"]): dict(one) for one in FACILITIES}
    )
    agenda: list[tuple[datetime, Callable[[datetime], None]]] = field(default_factory=list)

    def at(self, moment: datetime, action: Callable[[datetime], None]) -> None:
        """Has something done at that time."""
        self.agenda.append((moment, action))
        self.agenda.sort(key=lambda entry: entry[0])

    def patient(self, patient_id: str | None) -> dict[str, Any]:
        """The patient, or 404."""
        if patient_id is None:
            raise Refusal(400, "Missing patientId query param")
        if patient_id not in self.patients:
            raise Refusal(404, f"Could not find patient {patient_id}")
        return self.patients[patient_id]

    def about(self, patient_id: str) -> dict[str, Any]:
        """How an event names a patient: its id, and the account's own one if there is one."""
        external = self.patients.get(patient_id, {}).get("externalId")
        return {"patientId": patient_id, **({"externalId": external} if external else {})}

    def known_as(self, external_id: str | None) -> str | None:
        """The id of the patient with the account's own id."""
        own = (id for id, one in self.patients.items() if one.get("externalId") == external_id)
        return next(own, None) if external_id else None

    def etag(self) -> str:
        """A new version of a record."""
        return self.ids.secret(64)

    def fault(self, kind: str) -> Fault | None:
        """Takes one order of an inner kind."""
        found = next((one for one in self.faults if one.times > 0 and one.fault.startswith(kind)), None)
        if found:
            found.times -= 1
        return found

    def link(self, path: str, now: datetime, *, life: timedelta = LINK_LIFE) -> str:
        """A presigned link that ends with `life`."""
        ends = now - timedelta(seconds=1) if self.fault("url-expired") else now + life
        return links.signed(self.rules.public_url, path, ends)

    def share(self, file: File, now: datetime, *, life: timedelta = LINK_LIFE) -> str:
        """A presigned link to some bytes."""
        name = self.ids.new(now)
        self.files[name] = file
        return self.link(f"/_files/{name}", now, life=life)
