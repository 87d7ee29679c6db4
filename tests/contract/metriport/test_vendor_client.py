"""The vendor's own client library against the simulator: it is fetched for the run and never part of this tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import pytest

from adapter.simulators.metriport import DEFAULT_API_KEY, World
from tests.neighbours.simulator import free_port, serving

PACKAGE = "@metriport/api-sdk@18.20.0"
DRIVER = Path(__file__).with_name("vendor_client.mjs")


def missing(why: str) -> NoReturn:
    """Skips, or fails where `ADAPTER_TESTS_REQUIRE` has npm in it."""
    if "npm" in os.environ.get("ADAPTER_TESTS_REQUIRE", "").lower().split(","):
        pytest.fail(f"the vendor's client is required: {why}", pytrace=False)
    pytest.skip(f"the vendor's client: {why}")


def installed() -> Path:
    """The folder that the library is installed in; kept between runs."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        missing("node and npm are not on the path")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "metriport-fhir-adapter" / PACKAGE.replace("/", "-")
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        command = [str(npm), "install", "--prefix", place, *options, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            missing(f"npm could not install it: {(done.stderr.strip() or 'no reason given').splitlines()[0]}")
        # Whole or not at all: a run that is broken off leaves nothing that looks installed.
        shutil.copytree(place, folder, symlinks=True)
    return folder


def drive(folder: Path, base_url: str) -> dict[str, Any]:
    """What the library saw."""
    direct = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = ["node", str(DRIVER), str(folder), base_url, DEFAULT_API_KEY]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=direct)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_vendors_client_is_content_with_the_simulator() -> None:
    folder, port = installed(), free_port()
    world = World(public_url=f"http://127.0.0.1:{port}", auto_complete_seconds=0.2)

    with serving(world, port):
        seen = drive(folder, f"http://127.0.0.1:{port}")

    assert seen["settings"] == {
        "stored": True,
        "signed": True,
        "forged": False,
        "ping": "ping",
        "status": {
            "webhookEnabled": True,
            "webhookStatusDetail": "OK",
            "webhookRequestsProcessing": 0,
            "webhookRequestsFailed": 0,
        },
    }
    assert seen["facilities"] == {"read": "Pine Street Clinic", "versions": True, "listed": True}
    assert seen["patients"] == {
        "external": True,
        "matched": True,
        "unmatched": None,
        "changed": "Maple-Birch",
        "stale": {"status": 412, "title": "VersionMismatchError"},
        "pages": [2, 6, 2],
        "apart": True,
    }
    assert seen["documents"] == {"put": 200, "listed": [True], "dto": True, "read": True}
    assert seen["messages"] == {
        "statuses": ["processing"] * 4,
        "transports": ["direct", "direct", "direct", "xdr"],
        "total": 4,
        "all": True,
        "told": "completed",
        "ended": "completed",
        "unknown": {"status": 404, "title": "NotFoundError"},
        "nobody": {"status": 404, "title": "NotFoundError"},
    }
    assert seen["network"] == {
        "found": True,
        "messaging": True,
        "pages": [10, 10],
        "oid": [True],
        "destination": 1,
        "npi": True,
    }
    assert seen["consolidated"] == {
        "put": "transaction-response",
        "started": "processing",
        "requestId": True,
        "echo": {"case": "7"},
        "resources": ["Condition"],
        "one": "completed",
        "all": "completed",
        "count": [1, {"Condition": 1}],
    }
