"""Received messages on a real HAPI server: every shape of content, whoever the patient, whatever is attached."""

from __future__ import annotations

import base64
import itertools
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from adapter.domain.canonical import COMMUNICATION_ID, PATIENT_ID
from adapter.domain.received import communication_id
from adapter.mapping import resources
from adapter.simulators import metriport
from adapter.simulators.shell import utc_now
from tests.e2e.at_work import at_work, settings_for
from tests.e2e.ehr import Ehr
from tests.neighbours.simulator import free_port, serving

Json = dict[str, Any]

ENTRIES: Final = [
    ("none", []),
    ("three", [b"%PDF-1.4 \x00\x01\n", b"plain words\n", b'{"a": 1.50}']),
    ("empty", [b""]),
    ("unknown type", [bytes(range(256))]),
]
TYPES: Final = ["application/pdf", "text/plain", "application/json"]
CONTENTS: Final = ("bundle", "communication", "message")
PLACES: Final = ("link", "inside")
PEOPLE: Final = ("matched", "external id only", "unmatched")


@dataclass(frozen=True, kw_only=True)
class Clinic:
    """A clinic at work, and who may be told of."""

    ehr: Ehr
    url: str
    known: str
    linked: str

    def receive(self, **stated: Any) -> str:
        """Somebody sends a message in; Metriport's id of it."""
        answer = httpx.post(f"{self.url}/_simulator/messages/inbound", json=stated, trust_env=False)
        assert answer.is_success, answer.text
        return str(answer.json()["id"])

    def wait_for(self, message: str, *, seconds: float = 60.0) -> None:
        """Until it is there."""
        until = time.monotonic() + seconds
        while self.find(message) is None:
            assert time.monotonic() < until, f"message {message} is not there after {seconds} s"
            time.sleep(0.1)

    def find(self, message: str) -> Json | None:
        """The received Communication."""
        return self.ehr.find(f"Communication/{communication_id(message)}")


@contextmanager
def clinic(base_url: str, folder: Path, *, dialect: str = "sdk") -> Iterator[Clinic]:
    """An adapter that receives what is sent in."""
    port, own = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    world = metriport.World(public_url=url, dialect=dialect)
    known = f"received-{secrets.token_hex(4)}"
    linked = f"{secrets.token_hex(4)}-0000-4000-8000-000000000000"
    world.add_patients([{"id": linked, "firstName": "Robin", "lastName": "Maple"}])
    with serving(world, port), Ehr(base_url, channel=known) as ehr:
        ehr.save(
            {
                "resourceType": "Patient",
                "id": known,
                "identifier": [{"system": PATIENT_ID, "value": linked}],
                "name": [{"family": "Maple", "given": ["Robin"]}],
            }
        )
        settings = settings_for(
            base_url,
            url,
            ledger=folder / "ledger.sqlite3",
            marker=ehr.marker,
            webhook_key=world.set_webhook(f"http://127.0.0.1:{own}/webhooks/metriport", utc_now()),
            port=own,
        )
        with at_work(settings):
            yield Clinic(ehr=ehr, url=url, known=known, linked=linked)


def _attached(data: bytes, content_type: str) -> Json:
    return {"title": "file", "contentType": content_type, "data": base64.b64encode(data).decode()}


def _whole(clinic: Clinic, message: str, expected: list[tuple[str, bytes]], *, owner: str | None) -> None:
    """The message is there as it was sent in, and everything of it belongs to whom it should."""
    found = clinic.find(message)
    assert found is not None
    assert list(resources.problems(found)) == []
    assert found["identifier"][0] == {"system": COMMUNICATION_ID, "value": message}
    assert found.get("subject") == ({"reference": owner} if owner else None)
    parts = [part["contentReference"] for part in found["payload"] if "contentReference" in part]
    references = [part["reference"] for part in parts]
    assert len(references) == len(expected)
    for reference, (content_type, data) in zip(references, expected, strict=True):
        document = clinic.ehr.read(reference)
        assert list(resources.problems(document)) == []
        assert document.get("subject") == ({"reference": owner} if owner else None)
        shown = document["content"][0]["attachment"]
        assert (shown["contentType"], shown["size"]) == (content_type, len(data))
        binary = clinic.ehr.read(shown["url"])
        assert binary["contentType"] == content_type
        assert binary["securityContext"] == {"reference": owner or reference}
        # HAPI answers with the resource when there are no bytes to answer with.
        assert (
            clinic.ehr.raw(shown["url"]).content if data else base64.b64decode(binary.get("data", ""))
        ) == data


@pytest.mark.parametrize("dialect", ["sdk", "docs"])
@pytest.mark.parametrize("profile", ["defaults", "lax"])
def test_every_shape_for_everybody_with_everything(
    hapi_defaults: str, hapi_lax: str, tmp_path: Path, profile: str, dialect: str
) -> None:
    base_url = {"defaults": hapi_defaults, "lax": hapi_lax}[profile]
    with clinic(base_url, tmp_path, dialect=dialect) as here:
        sent: list[tuple[str, list[tuple[str, bytes]], str | None]] = []
        for content, place, person, (_, entries) in itertools.product(CONTENTS, PLACES, PEOPLE, ENTRIES):
            if content == "message" and entries and person != "matched":
                continue  # only named there, and without Metriport's patient nobody can ask for them
            expected = [
                (kind if len(entries) > 1 else "application/x-unheard-of", data)
                for kind, data in zip(TYPES, entries, strict=False)
            ]
            owner = None if person == "unmatched" else f"Patient/{here.known}"
            message = here.receive(
                subject=f"{content}, {place}, {person}",
                body="Please see the attached.",
                attachments=[_attached(data, kind) for kind, data in expected],
                content=content,
                attachmentsAs=place,
                **({"patientId": here.linked} if person == "matched" else {}),
                **({"externalId": here.known} if person == "external id only" else {}),
            )
            sent.append((message, expected, owner))
        for message, expected, owner in sent:
            here.wait_for(message)
            _whole(here, message, expected, owner=owner)
