"""A real HAPI that gives all ids itself (`client_id_strategy=NOT_ALLOWED`): messages out and in, each there once."""

from __future__ import annotations

import base64
import secrets
import time
from pathlib import Path
from typing import Any

import httpx

from adapter.domain.canonical import COMMUNICATION_ID, PATIENT_ID
from adapter.simulators import metriport
from adapter.simulators.shell import utc_now
from tests.e2e.at_work import at_work, settings_for
from tests.e2e.clinic import attached, until
from tests.e2e.ehr import Ehr, message_of
from tests.neighbours.simulator import free_port, serving

CONTENTS = [("application/pdf", b"%PDF-1.4 \x00\x01\n"), ("text/plain", b"plain words\n")]


def _received(ehr: Ehr, message: str) -> list[dict[str, Any]]:
    own = {"system": COMMUNICATION_ID, "value": message}
    return [one for one in ehr.messages() if own in one.get("identifier", [])]


def _contents(ehr: Ehr, communication: dict[str, Any]) -> list[tuple[str, bytes]]:
    found = []
    for part in communication["payload"]:
        if "contentReference" in part:
            document = ehr.read(part["contentReference"]["reference"])
            assert document["subject"] == communication["subject"]
            binary = ehr.read(document["content"][0]["attachment"]["url"])
            found.append((binary["contentType"], base64.b64decode(binary["data"])))
    return found


def _lists_read(world: metriport.World) -> int:
    """How often Metriport was asked what came in."""
    return sum((one.method, one.path) == ("GET", "/medical/v1/message") for one in world.requests)


def test_messages_go_out_and_come_in_once(hapi_assigned: str, tmp_path: Path) -> None:
    port, own = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    world = metriport.World(public_url=url, auto_complete_seconds=0.5)
    key = world.set_webhook(f"http://127.0.0.1:{own}/webhooks/metriport", utc_now())
    linked = metriport.SANDBOX_PATIENTS[0].id
    with serving(world, port), Ehr(hapi_assigned, channel=f"ids-{secrets.token_hex(4)}") as ehr:
        settings = settings_for(
            hapi_assigned,
            url,
            ledger=tmp_path / "ledger.sqlite3",
            marker=ehr.marker,
            webhook_key=key,
            port=own,
        )
        subject = ehr.create(
            {"resourceType": "Patient", "identifier": [{"system": PATIENT_ID, "value": linked}]}
        )
        enclosed = {"contentAttachment": {"contentType": "text/plain", "data": "U2Vlbi4="}}
        out = ehr.create(ehr.wish(subject, enclosed, subject="Referral"))
        with at_work(settings):
            until(lambda: ehr.read(f"Communication/{out}")["status"] == "completed")
            files = [attached(data, kind) for kind, data in CONTENTS]
            stated = {"patientId": linked, "subject": "Result", "attachments": files}
            message = httpx.post(f"{url}/_simulator/messages/inbound", json=stated, trust_env=False).json()[
                "id"
            ]
            until(lambda: _received(ehr, message))
        for file in tmp_path.glob("ledger.sqlite3*"):
            file.unlink()
        before = _lists_read(world)
        with at_work(settings):
            until(lambda: _lists_read(world) > before)
            time.sleep(3)  # for whatever it might write again

        sent = [one for one in world.messages if one.direction == "outbound"]
        [received] = _received(ehr, message)
        assert message_of(ehr.read(f"Communication/{out}")) == sent[0].id
        assert len(sent) == 1
        assert received["subject"] == {"reference": f"Patient/{subject}"}
        assert _contents(ehr, received) == CONTENTS
