"""Memory of the adapter's own process while 45 MB come in: the bytes are never in it at once."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from adapter.domain.canonical import PATIENT_ID
from adapter.domain.received import communication_id
from adapter.simulators import fhir, metriport
from adapter.simulators.shell import utc_now
from tests.e2e.ehr import Ehr
from tests.e2e.process import Process
from tests.neighbours.simulator import free_port, serving

Json = dict[str, Any]

_BYTES: Final = 45_000_000
_MOST_MORE: Final = 20_000_000  # above what it needs for a small message
_SECONDS: Final = 150.0


def _peak(process: Process) -> int:
    """The most memory that the process had resident since the last look, in bytes; the next look begins now."""
    place = Path(f"/proc/{process.pid}")
    lines = (place / "status").read_text().splitlines()
    (place / "clear_refs").write_text("5")  # proc(5): resets VmHWM
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _receive(url: str, data: bytes, **stated: Any) -> str:
    attached = {"title": "scan", "contentType": "application/dicom", "data": base64.b64encode(data).decode()}
    told = {"subject": "Scan", "body": "See the scan.", "attachments": [attached], **stated}
    answer = httpx.post(f"{url}/_simulator/messages/inbound", json=told, trust_env=False, timeout=60)
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def _wait_for(ehr: Ehr, message: str) -> Json:
    until = time.monotonic() + _SECONDS
    while (found := ehr.find(f"Communication/{communication_id(message)}")) is None:
        assert time.monotonic() < until, "the message is not there"
        time.sleep(0.2)
    return found


def _content(ehr: Ehr, communication: Json) -> bytes:
    reference = next(
        part["contentReference"] for part in communication["payload"] if "contentReference" in part
    )
    url = ehr.read(reference["reference"])["content"][0]["attachment"]["url"]
    return ehr.raw(url).content


@contextmanager
def _process(folder: Path, base_url: str, ehr: Ehr) -> Iterator[tuple[Process, str]]:
    port, own = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    world = metriport.World(public_url=url)
    with serving(world, port):
        key = world.set_webhook(f"http://127.0.0.1:{own}/webhooks/metriport", utc_now())
        linked = f"{secrets.token_hex(4)}-0000-4000-8000-000000000000"
        world.add_patients([{"id": linked, "firstName": "Robin", "lastName": "Maple"}])
        link = {"system": PATIENT_ID, "value": linked}
        ehr.save({"resourceType": "Patient", "id": f"{ehr.channel}-patient", "identifier": [link]})
        process = Process(
            {
                "FHIR__BASE_URL": base_url,
                "WATCH__MARKER": ehr.marker,
                "INBOUND__ALLOW_PRIVATE_ADDRESSES": "true",
                "INBOUND__SPOOL_DIRECTORY": str(folder),
                "METRIPORT__BASE_URL": url,
                "METRIPORT__API_KEY": metriport.DEFAULT_API_KEY,
                "METRIPORT__WEBHOOK_KEYS": json.dumps([key]),
                "LEDGER__URL": f"sqlite+aiosqlite:///{folder / 'ledger.sqlite3'}",
                "WEB__PORT": str(own),
            },
            folder / "adapter.log",
        )
        with process.living():
            process.wait_until_up(60.0)
            yield process, url


@pytest.mark.parametrize("server", ["simulator", "hapi_defaults"])
def test_a_large_attachment_is_never_in_memory(
    server: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    pretended = f"http://127.0.0.1:{port}/fhir"
    base_url = pretended if server == "simulator" else request.getfixturevalue(server)
    data = secrets.token_bytes(_BYTES)
    said = []
    with (
        serving(fhir.World(base_url=pretended), port),
        Ehr(base_url, channel=f"large-{secrets.token_hex(2)}") as ehr,
        _process(tmp_path, base_url, ehr) as (process, url),
    ):
        for place in ("link", "inside"):
            _wait_for(ehr, _receive(url, b"small", attachmentsAs=place, content="bundle"))
        _peak(process)
        time.sleep(1.0)
        idle = _peak(process)
        for place in ("link", "inside"):
            began = time.monotonic()
            found = _wait_for(ehr, _receive(url, data, attachmentsAs=place, content="bundle"))
            seconds, more = time.monotonic() - began, _peak(process) - idle
            assert hashlib.sha256(_content(ehr, found)).digest() == hashlib.sha256(data).digest()
            said.append((place, more, seconds))
    with capsys.disabled():
        for place, more, seconds in said:
            print(f"\n{server}: 45 MB by {place}: {more / 1e6:.1f} MB more than idle, {seconds:.1f} s")  # noqa: T201

    assert [place for place, more, _ in said if more > _MOST_MORE] == []
