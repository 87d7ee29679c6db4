"""What every test folder shares: the real neighbours, and the lines that say which of them a run had."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.integration.canary import everyday_leaks_in
from tests.neighbours import chromium as browser
from tests.neighbours import hapi, postgresql
from tests.neighbours.report import Missing, Report

# A busy machine is no finding. In CI the examples are the same each time; at a desk they are always others.
_ALWAYS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
_IN_CI = {"derandomize": True, "database": None} if os.environ.get("ADAPTER_TESTS_REQUIRE") else {}
settings.register_profile("adapter", _ALWAYS, **_IN_CI)
settings.load_profile("adapter")

_REPORT = pytest.StashKey[Report]()
_T = TypeVar("_T")


def pytest_configure(config: pytest.Config) -> None:
    # A run that was begun in the background ignores Ctrl-C, and so would every process that its tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_REPORT] = Report.from_environment()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Every test is a test of the log as well: whatever it has the adapter log, at debug level, tells of nobody."""
    report = yield
    if report.passed:
        logged = "\n".join(text for _, text in report.sections)
        # A process of its own leaves its log beside what else it has.
        folder = getattr(item, "funcargs", {}).get("tmp_path") if report.when == "teardown" else None
        files = [file.read_text("utf-8", "replace") for file in folder.rglob("*.log")] if folder else []
        if leaks := [leak for text in (logged, *files) for leak in everyday_leaks_in(text)]:
            report.outcome = "failed"
            report.longrepr = "\n".join(["The log tells of people:", *leaks[:10]])
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Outermost of its hooks, so that nothing but the closing line comes after it."""
    yield
    terminalreporter.config.stash[_REPORT].save()
    terminalreporter.section("neighbours")
    for line in terminalreporter.config.stash[_REPORT].lines():
        terminalreporter.line(line)


@pytest.fixture(autouse=True)
def _same_chances(request: pytest.FixtureRequest) -> None:
    """What is left to chance, pauses that are spread above all, comes out the same whenever the test is run."""
    random.seed(request.node.nodeid)


def _serve(config: pytest.Config, name: str, server: AbstractContextManager[_T]) -> Iterator[_T]:
    report = config.stash[_REPORT]
    with ExitStack() as stack:
        try:
            running = stack.enter_context(server)
        except Missing as missing:
            report.missing(name, str(missing))
        except RuntimeError as error:
            report.broke(name, str(error))
            raise
        report.ran(name)
        yield running


@pytest.fixture(scope="session")
def hapi_defaults(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a real HAPI as its official image comes: strict about references and ids."""
    log = tmp_path_factory.mktemp("hapi") / "defaults.log"
    yield from _serve(pytestconfig, "HAPI defaults", hapi.serving("defaults", log))


@pytest.fixture(scope="session")
def hapi_lax(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a real HAPI that lets everything through."""
    log = tmp_path_factory.mktemp("hapi") / "lax.log"
    yield from _serve(pytestconfig, "HAPI lax", hapi.serving("lax", log))


@pytest.fixture(scope="session")
def hapi_assigned(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a real HAPI that gives all ids itself."""
    log = tmp_path_factory.mktemp("hapi") / "assigned.log"
    yield from _serve(pytestconfig, "HAPI assigned", hapi.serving("assigned", log))


@pytest.fixture(scope="session")
def postgresql_server(pytestconfig: pytest.Config) -> Iterator[postgresql.Postgresql]:
    """A real PostgreSQL, one per run."""
    yield from _serve(pytestconfig, "PostgreSQL", postgresql.serving())


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: postgresql.Postgresql) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh database that the run's tests share."""
    with postgresql_server.database() as url:
        yield url


@pytest.fixture
def postgresql_database(postgresql_server: postgresql.Postgresql) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh database of this test's own."""
    with postgresql_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def chromium(pytestconfig: pytest.Config) -> str:
    """The path of a browser."""
    report = pytestconfig.stash[_REPORT]
    try:
        found = browser.executable()
    except Missing as missing:
        report.missing("Chromium", str(missing))
    report.ran("Chromium")
    return found
