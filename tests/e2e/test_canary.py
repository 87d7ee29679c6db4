"""The real process at its most talkative: its log, its files and what its commands show hold nothing of a patient."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from adapter.domain.marker import is_inbound
from adapter.simulators import metriport
from tests.e2e.machine import SECRET, Machine, machine, wait_until
from tests.integration import canary
from tests.integration.canary import leaks_in, says
from tests.integration.test_received_canary import READABLE, contents, tell

AUTHORIZATION = f"Bearer {says('fhir-token')}"
SECRETS = (SECRET, metriport.DEFAULT_API_KEY, "_uploads", "signature=", "expires=")


def _ended(here: Machine, *ids: str) -> bool:
    return all(here.communication(id)["status"] not in {"preparation", "in-progress"} for id in ids)


def _bad_calls(here: Machine) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{here.port}", trust_env=False) as http:
        told = {"x-metriport-signature": says("signature"), "authorization": f"Bearer {says('bearer')}"}
        http.post("/webhooks/metriport", content=says("webhook").encode(), headers=told)
        http.post("/doorbell", content=says("notification").encode(), headers=told)
        http.put(f"/{says('path')}", params={"q": says("query")}, headers=told)
        http.get("/metrics", headers=told)


def _receive(here: Machine) -> None:
    """Messages in every shape come in, and one that cannot be read."""
    for content in contents([*READABLE, "odd data"]):
        tell(here.metriport, content, datetime.now(UTC))
    httpx.get(f"{here.metriport_url}/_simulator/messages", trust_env=False)  # it looks what it has to do


def _is_all_there(here: Machine) -> bool:
    received = [one for one in here.fhir.resources("Communication") if is_inbound(one)]
    lost = [one for one in here.fhir.resources("Task") if "focus" not in one]
    return (len(received), len(lost)) == (len(READABLE), 1)


def _messages(here: Machine) -> None:
    here.save(canary.a_patient())
    here.save(canary.a_stranger())
    here.save(canary.a_document("current"))
    reference = {"contentReference": {"reference": "DocumentReference/current"}}
    here.save(canary.a_message("good", payload=[{"contentString": says("body")}, reference]))
    here.save(canary.a_message("refused", payload=[canary.an_attachment(data="quokka!")]))
    here.save(canary.a_message("held", subject={"reference": "Patient/stranger", "display": says("held")}))
    here.save(canary.a_message("failed", recipient=[{"display": metriport.FULL_MAILBOX}]))


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_process_at_its_most_talkative_says_nothing(tmp_path: Path, style: str) -> None:
    settings = {
        "TELEMETRY__LOG_LEVEL": "debug",
        "TELEMETRY__LOG_FORMAT": style,
        "FHIR__AUTHORIZATION": AUTHORIZATION,
        "INBOUND__ALLOW_PRIVATE_ADDRESSES": "true",
        "INBOUND__SPOOL_DIRECTORY": str(tmp_path),
    }
    with machine(tmp_path) as here:
        url = f"http://127.0.0.1:{here.port}/webhooks/metriport"
        key = here.metriport.set_webhook(url, datetime.now(UTC))
        _messages(here)
        # One answer that is cut off, and one that never comes.
        here.metriport.add_fault("POST", "/medical/v1/document/upload", "malformed")
        here.fhir.add_fault("GET", "/Patient/", "drop")
        with here.process("run", **settings, METRIPORT__WEBHOOK_KEYS=key) as process:
            wait_until(lambda: _ended(here, "good", "refused", "held", "failed"))
            _bad_calls(here)
            _receive(here)
            wait_until(lambda: _is_all_there(here))
            process.send_signal(signal.SIGTERM)
            out, said = process.communicate(timeout=90)
            assert process.returncode == 0
        listed = here.run("list").output + here.run("list", "--json").output
        shown = here.run("show", "failed").output

    files = [path for path in tmp_path.rglob("*") if "ledger.sqlite3" not in path.name and path.is_file()]
    written = [path.read_text("utf-8", "replace") for path in files] + [path.name for path in files]
    assert {here.communication(id)["status"] for id in ("good", "failed")} == {"completed", "stopped"}
    assert "communication.waits" in said
    assert "transmission.ended" in said
    assert "request.refused" in said
    assert "message.received" in said
    assert "delivery.given-up" in said
    assert "delivery-failed" in shown
    for text in (out, said, listed, shown, *written):
        assert leaks_in(text.splitlines(), secrets=(*SECRETS, key)) == []
