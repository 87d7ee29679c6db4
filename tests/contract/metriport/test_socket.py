"""The pretend Metriport over real sockets, and through its shell in-process."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import Any

import httpx

from adapter.simulators.metriport import DEFAULT_API_KEY
from adapter.simulators.shell import Shell
from tests.contract.metriport.account import BASE, JANE, START, account, announcement
from tests.contract.metriport.sockets import Receiver, metriport, serving
from tests.neighbours.simulator import free_port

KEYED = {"x-api-key": DEFAULT_API_KEY}
LETTER = {"destination": "ward@far.example", "subject": "Referral", "body": "Please see."}


def test_a_message_is_sent_completed_and_told_by_a_webhook_that_is_really_called() -> None:
    async def run() -> None:
        receiver = Receiver()
        async with (
            serving(receiver, free_port(), lifespan="off") as hook,
            metriport(auto_complete_seconds=0.05) as (_, base),
            httpx.AsyncClient(base_url=base, headers=KEYED, trust_env=False) as http,
        ):
            settings = (await http.post("/settings", json={"webhookUrl": f"{hook}/hook"})).json()
            sent = (await http.post(f"/medical/v1/message?patientId={JANE}", json=LETTER)).json()
            await receiver.until(lambda calls: calls == 2)
            shown = (await http.get(f"/medical/v1/message/{sent['id']}")).json()

        ping, status = (json.loads(body) for _, body in receiver.calls)
        for headers, body in receiver.calls:
            expected = hmac.new(settings["webhookKey"].encode(), body, hashlib.sha256).hexdigest()
            assert headers["x-metriport-signature"] == expected
        assert ping["meta"]["type"] == "ping"
        assert status["payload"]["id"] == sent["id"]
        assert (status["payload"]["status"], shown["status"]) == ("completed", "completed")

    asyncio.run(run())


def test_documents_go_over_the_socket_by_their_links_alone() -> None:
    async def run() -> None:
        async with metriport() as (world, base), httpx.AsyncClient(trust_env=False) as http:
            made = (
                await http.post(
                    f"{base}/medical/v1/document/upload/?patientId={JANE}", headers=KEYED, json=announcement()
                )
            ).json()
            put = await http.put(made["uploadUrl"], content=b"%PDF", headers={"content-type": "a/b"})
            document = world.documents[made["documentReferenceId"]]
            answer = await http.get(
                f"{base}//medical/v1/document/download-url",
                headers=KEYED,
                params={"fileName": document.file_name},
            )
            found = await http.get(answer.json()["url"])

        assert put.status_code == 200
        assert (found.content, found.headers["content-type"]) == (b"%PDF", "a/b")

    asyncio.run(run())


def test_in_process_on_a_clock_of_the_test() -> None:
    async def run() -> None:
        clinic = account()
        app: Any = Shell(clinic.world, clock=lambda: START)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url=BASE, headers=KEYED
        ) as http:
            answer = await http.post("/medical/v1/message", params={"patientId": JANE}, json=LETTER)

        assert answer.json()["sentAt"] == "2026-07-01T12:00:00.000Z"
        assert clinic.world.requests[0].at == START

    asyncio.run(run())
