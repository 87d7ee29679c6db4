"""Every FHIR server that the client has to get on with."""

from __future__ import annotations

import uuid

import httpx
import pytest

from adapter.simulators.fhir.world import World
from adapter.simulators.shell import Shell
from tests.contract.fhir_client.servers import Server


@pytest.fixture
def simulator() -> Server:
    """A fresh one."""
    application = Shell(World())
    return Server(base_url="http://127.0.0.1:8081/fhir", way=lambda: httpx.ASGITransport(app=application))


@pytest.fixture(params=["simulator", "hapi_defaults", "hapi_lax"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each server in turn. HAPI lives as long as the whole run, so tests keep to their own ids."""
    given = request.getfixturevalue(request.param)
    return given if isinstance(given, Server) else Server(base_url=given)


@pytest.fixture
def own() -> str:
    """An id that no other test has; not of digits alone, which HAPI's defaults refuse."""
    return f"t-{uuid.uuid4().hex}"
