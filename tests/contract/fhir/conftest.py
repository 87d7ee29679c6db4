"""One suite for the pretend FHIR server and the real one, each strict (HAPI's defaults) and lax."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from adapter.simulators.fhir import World
from tests.contract.fhir.server import Fhir, connected
from tests.neighbours import endpoint as listener
from tests.neighbours import simulator


@contextmanager
def _pretend(*, strict: bool) -> Iterator[str]:
    port = simulator.free_port()
    base_url = f"http://127.0.0.1:{port}/fhir"
    with simulator.serving(World(base_url=base_url, strict=strict), port):
        yield base_url


@pytest.fixture(scope="session")
def simulator_strict() -> Iterator[str]:
    """The base URL of a pretend server as strict as HAPI comes."""
    with _pretend(strict=True) as base_url:
        yield base_url


@pytest.fixture(scope="session")
def simulator_lax() -> Iterator[str]:
    """The base URL of a pretend server that lets everything through."""
    with _pretend(strict=False) as base_url:
        yield base_url


@pytest.fixture(scope="session")
def endpoint() -> Iterator[listener.Endpoint]:
    """Where Subscriptions deliver."""
    with listener.listening() as one:
        yield one


_SERVERS = {
    "simulator-strict": "simulator_strict",
    "simulator-lax": "simulator_lax",
    "hapi-defaults": "hapi_defaults",
    "hapi-lax": "hapi_lax",
}


@pytest.fixture(params=_SERVERS)
def fhir(request: pytest.FixtureRequest) -> Iterator[Fhir]:
    """A server, with a name of this test's own in everything it stores."""
    base_url = request.getfixturevalue(_SERVERS[request.param])
    with connected(base_url, strict=not request.param.endswith("lax")) as server:
        yield server
