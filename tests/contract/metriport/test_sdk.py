"""The vendor's own client library against the pretend Metriport: what its schemas demand must hold."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from adapter.simulators.metriport import DEFAULT_API_KEY
from adapter.simulators.metriport import npi as numbers
from adapter.simulators.metriport.events import EXAMPLE_TYPES
from tests.contract.metriport.account import FACILITY, HOOK, JANE, account
from tests.contract.metriport.sockets import metriport
from tests.neighbours.report import missing

PACKAGE, VERSION = "@metriport/api-sdk", "18.20.0"
DRIVER = Path(__file__).with_name("sdk.mjs")
SECONDS = 60.0


def installed() -> Path:
    """The folder that holds the package, in the user's cache; skips where it cannot be had."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            missing("npm", f"the vendor's client needs {tool}, which is not on this machine")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "metriport-fhir-adapter" / "npm" / f"api-sdk-{VERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _install(Path(scratch) / "made")
            with suppress(OSError):  # another run has made it meanwhile
                (Path(scratch) / "made").rename(folder)
    return folder


def _install(folder: Path) -> None:
    folder.mkdir()
    (folder / "package.json").write_text('{"private": true}', "utf-8")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    try:
        made = subprocess.run(
            [*command, f"{PACKAGE}@{VERSION}"],
            cwd=folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        missing("npm", f"npm did not fetch {PACKAGE} {VERSION} within two minutes")
    if made.returncode:
        said = made.stderr.strip().splitlines()
        missing("npm", f"npm could not fetch {PACKAGE} {VERSION}: {said[0] if said else made.returncode}")


def events() -> list[list[str]]:
    """Every event as a receiver gets it. `message.received` is none of them: the package does not know it."""
    clinic = account()
    key = str(clinic.ask("POST", "/settings", {"webhookUrl": HOOK}).json["webhookKey"])
    for kind in EXAMPLE_TYPES:
        clinic.world.announce(kind, clinic.now, patientId=JANE)
    good, bad = clinic.sent(), clinic.sent()
    clinic.world.complete(good, clinic.now)
    clinic.world.fail(bad, "No such mailbox.", clinic.now)
    calls = clinic.world.calls_due(clinic.now)
    return [[key, call.body.decode(), call.headers["x-metriport-signature"]] for call in calls]


async def driven(folder: Path) -> dict[str, Any]:
    pipe = asyncio.subprocess.PIPE
    lines = "\n".join(json.dumps(one) for one in events())
    async with metriport(auto_complete_seconds=0.1) as (_, base), asyncio.timeout(SECONDS):
        process = await asyncio.create_subprocess_exec(
            "node", str(DRIVER), str(folder), base, DEFAULT_API_KEY, FACILITY, numbers.made(77),
            stdin=pipe, stdout=pipe, stderr=pipe,
        )  # fmt: skip
        out, err = await process.communicate(lines.encode())
    assert process.returncode == 0, err.decode()[-3000:]
    return dict(json.loads(out))


def test_the_vendors_own_client_drives_the_simulator() -> None:
    seen = asyncio.run(driven(installed()))

    told = seen.pop("events")
    assert {kind for kind, _ in told} == {"ping", "message.status", *EXAMPLE_TYPES}
    assert all(genuine for _, genuine in told)
    assert set(seen.pop("settings")) == {"id", "webhookUrl", "webhookKey"}
    assert seen.pop("webhookUrl").endswith("/hook")
    assert seen == {
        "facilities": 2,
        "facility": "Dale Clinic",
        "updated": "Oak",
        "stale": 412,
        "byExternalId": True,
        "matched": True,
        "unmatched": None,
        "read": True,
        "patients": 1,
        "put": 200,
        "documents": ["DocumentReference"],
        "downloaded": "%PDF-1.4",
        "converted": "text/html",
        "entries": [2, 2],
        "messages": ["processing"] * 4,
        "refused": "subject is required",
        "listed": [3, 2, 1, 0],
        "ended": "completed",
        "query": ["processing", "json", ["Patient", "DocumentReference"]],
        "single": True,
        "queries": 1,
        "count": {"Communication": 4, "DocumentReference": 1},
        "contributed": ["transaction-response", "string"],
        "networkQuery": 2,
        "webhookStatus": True,
    }
