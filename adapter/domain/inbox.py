"""What a received message looks like on the FHIR server: its own fields, and what mappings may not change (design §3)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from adapter.domain.canonical import (
    COMMUNICATION_ID,
    DIRECTION_SYSTEM,
    DOCUMENT_ID,
    NPI_SYSTEM,
    TASK_STATE_SYSTEM,
    TASK_SYSTEM,
    URI_SYSTEM,
)
from adapter.domain.destination import parse
from adapter.domain.marker import Marker, MarkerElement
from adapter.domain.reasons import TaskCode
from adapter.domain.received import Enclosure, Received
from adapter.domain.resource import LocalReference, Resource, has_code, identifiers, items, obj
from adapter.domain.tasks import task_id
from adapter.domain.writeback import instant_text

Reference = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An attachment whose bytes are on the FHIR server, as a Binary; `late`, to be created with its document.

    `was_there`: an earlier message brought it.
    """

    id: str
    binary: str
    size: int
    sha1: bytes
    content_type: str
    enclosure: Enclosure = field(repr=False)
    was_there: bool = False
    late: Resource | None = field(default=None, repr=False)

    @property
    def attachment(self) -> dict[str, Any]:
        """The Attachment of its DocumentReference."""
        return {
            "contentType": self.content_type,
            "url": f"Binary/{self.binary}",
            "size": self.size,
            "hash": base64.b64encode(self.sha1).decode(),
            "title": self.enclosure.title,
            "creation": self.enclosure.created,
        }


def told(received: Received, *, at: datetime) -> dict[str, Any]:
    """The message as mappings get it; `at` is when it came in, for one that does not tell."""
    return {
        "id": received.id,
        "subject": received.subject,
        "body": received.body,
        "sent": instant_text(received.sent_at) if received.sent_at else None,
        "received": instant_text(received.received_at or at),
    }


def organization(address: str | None, *, display: str | None = None) -> Reference | None:
    """An organisation by its address: as recipient of a Communication it states a destination."""
    if not (address or display):
        return None
    # What is no address is shown, and states no destination.
    stated = parse(address or "")
    value = f"mailto:{stated}" if stated and "@" in stated else f"urn:oid:{stated}"
    identifier = {"identifier": {"system": URI_SYSTEM, "value": value}} if stated else {}
    return {"type": "Organization", "display": display or address, **identifier}


def recipient_practitioner(npi: str, known: LocalReference | None) -> Reference:
    """A practitioner that the message is meant for."""
    if known:
        return {"reference": str(known)}
    return {"type": "Practitioner", "identifier": {"system": NPI_SYSTEM, "value": npi}}


def codes(marker: Marker) -> dict[str, list[dict[str, Any]]]:
    """`medium` and `category`: the marker, and that the message is inbound."""
    concept = {"coding": [{"system": marker.system, "code": marker.code}]}
    inbound = {"coding": [{"system": DIRECTION_SYSTEM, "code": "inbound"}]}
    if marker.element is MarkerElement.CATEGORY:
        return {"medium": [], "category": [concept, inbound]}
    return {"medium": [concept], "category": [inbound]}


def owned_communication(made: Resource, received: Received, documents: Sequence[Reference]) -> Resource:
    """The mapped Communication with what the adapter itself relies on, whatever the mapping made of it."""
    category = items(made.get("category"))
    if not has_code(category, DIRECTION_SYSTEM, "inbound"):
        category = [*category, {"coding": [{"system": DIRECTION_SYSTEM, "code": "inbound"}]}]
    payload = items(made.get("payload"))
    shown = {str(obj(part.get("contentReference")).get("reference")) for part in payload}
    missing = [{"contentReference": one} for one in documents if one["reference"] not in shown]
    complete = {"payload": [*payload, *missing]} if payload or missing else {}
    return {
        **made,
        "resourceType": "Communication",
        "id": received.communication,
        "status": "completed",
        "category": category,
        "identifier": _with_identifier(made, COMMUNICATION_ID, received.id),
        **complete,
    }


def owned_document(made: Resource, kept: Kept) -> Resource:
    """The same for a DocumentReference."""
    document = kept.enclosure.document
    contents = items(made.get("content")) or [{}]
    attachment = {**obj(contents[0].get("attachment")), "url": f"Binary/{kept.binary}"}
    identified = {"identifier": _with_identifier(made, DOCUMENT_ID, document)} if document else {}
    return {
        **made,
        "resourceType": "DocumentReference",
        "id": kept.id,
        "status": "current",
        "content": [{**contents[0], "attachment": attachment}, *contents[1:]],
        **identified,
    }


def owned_task(made: Resource, *, id: str, communication: str) -> Resource:
    """The same for the Task that asks whose it is."""
    return {
        **made,
        "resourceType": "Task",
        "id": id,
        "status": "requested",
        "code": concept(TASK_SYSTEM, TaskCode.MATCH_PATIENT.value),
        "businessStatus": concept(TASK_STATE_SYSTEM, "open"),
        "focus": {"reference": f"Communication/{communication}"},
    }


def chosen(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The person's choice: the references of each `output` of type `choice`, an empty one where there is none."""
    return [
        obj(output.get("valueReference"))
        for output in items(task.get("output"))
        if has_code([output.get("type")], TASK_SYSTEM, "choice")
        or obj(output.get("type")).get("text") == "choice"
    ]


def lost_message_task_id(name: str) -> str:
    """The id of the Task about it, found again when the message comes after all."""
    return task_id(name, round=0, code=TaskCode.FIX_DATA.value)


def lost_message_task(name: str, *, why: str, at: datetime) -> Resource:
    """The Task about a message that was announced and cannot be had: there is no Communication to point to."""
    return {
        "resourceType": "Task",
        "id": lost_message_task_id(name),
        "status": "requested",
        "intent": "order",
        "code": concept(TASK_SYSTEM, TaskCode.FIX_DATA.value),
        "businessStatus": concept(TASK_STATE_SYSTEM, "open"),
        "authoredOn": instant_text(at),
        "description": f"Metriport announced a received message that cannot be had: {why}. Look it up at Metriport, "
        f"or ask the sender to send it again. Metriport's id of it: {name}.",
    }


def saved(resource: Resource, *, version: str | None = None) -> dict[str, Any]:
    """The entry of a transaction that saves the resource; with `version`, only over that one."""
    url = f"{resource['resourceType']}/{resource['id']}"
    condition = {"ifMatch": f'W/"{version}"'} if version else {}
    return {"resource": resource, "request": {"method": "PUT", "url": url, **condition}}


def owned_by(binary: str, owner: str) -> dict[str, Any]:
    """The entry that changes a Binary's `securityContext` and leaves its bytes where they are."""
    return patched(f"Binary/{binary}", "/securityContext", {"reference": owner})


def patched(url: str, path: str, value: object) -> dict[str, Any]:
    """The entry of a transaction that sets one part of a resource and leaves the others (JSON Patch, RFC 6902)."""
    patch = [{"op": "add", "path": path, "value": value}]
    data = base64.b64encode(json.dumps(patch).encode()).decode()
    resource = {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": data}
    return {"resource": resource, "request": {"method": "PATCH", "url": url}}


def transaction(entries: Sequence[Mapping[str, Any]]) -> Resource:
    """All of the entries, or none."""
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def concept(system: str, code: str) -> dict[str, Any]:
    """A CodeableConcept of one coding."""
    return {"coding": [{"system": system, "code": code}]}


def _with_identifier(made: Mapping[str, Any], system: str, value: str) -> list[Any]:
    stated = items(made.get("identifier"))
    return [*stated] if value in identifiers(made, system) else [*stated, {"system": system, "value": value}]
