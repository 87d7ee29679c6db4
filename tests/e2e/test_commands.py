"""Commands as processes: what they listen on, what a server that is no good makes of them, and how they end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from adapter.cli import demo as demo_command
from adapter.domain.canonical import TASK_SYSTEM
from adapter.errors import ConfigError
from adapter.simulators import fhir
from adapter.simulators.http import Request, Response
from tests.e2e.machine import Machine, machine, wait_until
from tests.integration import canary
from tests.integration.people import communication, patient
from tests.neighbours.simulator import free_port, serving

LONG = 120.0


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    """Both neighbours."""
    with machine(tmp_path) as both:
        yield both


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that somebody listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield str(other.getsockname()[1])


class Careless(fhir.World):
    """A FHIR server that takes an update of any version."""

    def handle(self, request: Request, now: datetime) -> Response:
        headers = {name: value for name, value in request.headers.items() if name != "if-match"}
        return super().handle(replace(request, headers=headers), now)


class Undiscerning(fhir.World):
    """A FHIR server that gives all ids itself, and finds anything by any identifier."""

    def __init__(self, *, base_url: str) -> None:
        super().__init__(base_url=base_url, client_ids=False)

    def handle(self, request: Request, now: datetime) -> Response:
        asked = "" if request.query.startswith("identifier=") else request.query
        return super().handle(replace(request, query=asked), now)


@contextmanager
def _at(world: Callable[..., fhir.World]) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}/fhir"
    with serving(world(base_url=url), port):
        yield url


def _ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit code once it has ended, and what it said on either stream."""
    out, err = process.communicate(timeout=LONG)
    return process.returncode, out, err


# --- run --------------------------------------------------------------------------------------------------------------


def test_run_refuses_a_server_that_could_let_a_message_go_twice(here: Machine) -> None:
    with _at(Careless) as url, here.process("run", FHIR__BASE_URL=url) as process:
        code, _, said = _ended(process)

    assert code == 2
    assert "ConfigError: fhir.base_url: " in said
    assert "If-Match" in said


def test_run_refuses_a_server_that_could_lose_what_comes_in(here: Machine) -> None:
    with _at(Undiscerning) as url:
        with here.process("run", FHIR__BASE_URL=url) as process:
            code, _, said = _ended(process)
        examined = here.run("doctor", "--json", FHIR__BASE_URL=url)

    assert code == 2
    assert "ConfigError: fhir.base_url: A search by identifier finds what does not have it." in said
    assert examined.exit_code == 1
    levels = {one["part"]: one["level"] for one in json.loads(examined.stdout)}
    assert levels["FHIR identifier-search"] == "failed"


def test_run_says_why_it_could_not_even_try(here: Machine) -> None:
    for method in ("PUT", "POST"):
        here.fhir.add_fault(method, "/Basic", "403", times=9)

    with here.process("run") as process:
        code, _, said = _ended(process)

    assert code == 2
    assert "ConfigError: fhir.base_url: No Basic resource may be created (HTTP 403)" in said


def test_run_begins_nothing_with_a_doorbell_that_cannot_ring(here: Machine) -> None:
    here.save(patient())
    here.save(communication())
    with here.process("run", WATCH__DOORBELL="rest-hook", WATCH__DOORBELL_SECRET="") as process:
        code, _, said = _ended(process)

    assert code == 2
    assert "watch.doorbell_secret is not set" in said
    assert here.fhir.history("Communication", "referral")[1:] == []
    assert not (here.folder / "ledger.sqlite3").exists()


def test_run_says_that_its_port_is_taken(here: Machine, taken: str) -> None:
    with here.process("run", WEB__PORT=taken) as process:
        code, _, said = _ended(process)

    assert code == 2
    assert (
        f"web.host, web.port: nobody can listen on 127.0.0.1, port {taken}: Address already in use." in said
    )


def test_run_says_that_its_host_is_none(here: Machine) -> None:
    host = f"{'x' * 300}.example"  # too long a label to be looked up
    with here.process("run", WEB__HOST=host) as process:
        code, _, said = _ended(process)

    assert code == 2
    assert f"web.host, web.port: nobody can listen on {host}, port {here.port}" in said


# --- simulate ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("metriport", "--auto-complete", "off", "--no-limits", "--dialect", "docs"), "/_simulator/messages"),
        (("metriport", "--auto-complete", "0.5"), "/_simulator/messages"),
        (("fhir", "--conflict", "412"), "/fhir/metadata"),
    ],
)
def test_a_pretend_neighbour_answers_until_ctrl_c(
    here: Machine, arguments: tuple[str, ...], path: str
) -> None:
    with here.process("simulate", *arguments, "--port", "0") as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = said.removeprefix("listening on ").strip()
        wait_until(lambda: _answers(f"{url}{path}"))
        process.send_signal(signal.SIGINT)

        assert _ended(process) == (0, "", "")
        assert not _answers(f"{url}{path}")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.ConnectError:
        return False


@pytest.mark.parametrize("stated", ["soon", "-1", "nan", "inf"])
def test_a_time_that_is_none_is_said(here: Machine, stated: str) -> None:
    done = here.run("simulate", "metriport", "--port", "0", "--auto-complete", stated)

    assert done.exit_code == 2
    assert "--auto-complete" in done.output
    assert "listening" not in done.output


def test_a_conflict_has_one_of_two_statuses(here: Machine) -> None:
    done = here.run("simulate", "fhir", "--port", "0", "--conflict", "418")

    assert done.exit_code == 2
    assert "409 or 412" in done.output
    assert "listening" not in done.output


def test_a_pretend_neighbour_says_that_its_port_is_taken(here: Machine, taken: str) -> None:
    done = here.run("simulate", "fhir", "--port", taken)

    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith(f"--port: nobody can listen on 127.0.0.1, port {taken}")


# --- demo -------------------------------------------------------------------------------------------------------------


def test_a_demo_ends_with_every_message_at_its_end_and_leaves_what_it_found(here: Machine) -> None:
    task = {"coding": [{"system": TASK_SYSTEM, "code": "match-patient"}]}
    others = {"resourceType": "Task", "id": "others", "status": "requested", "intent": "order", "code": task}
    here.save(patient())  # linked as one of the demo is
    here.save(communication(id="others", status="completed"))
    here.save({**others, "focus": {"reference": "Communication/others"}})

    with here.process("demo", "--once", "--fhir", here.fhir_url) as process:
        code, shown, said = _ended(process)

    assert (code, said) == (0, "")
    assert (shown.count("completed ✓"), shown.count("✓")) == (9, 12)
    states = {one["id"]: one["status"] for one in here.fhir.resources("Task")}
    assert states.pop("others") == "requested"
    assert "completed" in states.values()


def test_a_demo_ends_with_one_when_a_message_has_another_end(here: Machine) -> None:
    def full() -> dict[str, str] | None:
        return next((one for one in here.fhir.resources("Communication") if "-full-" in one["id"]), None)

    with here.process("demo", "--once", "--seconds", "900", "--fhir", here.fhir_url) as process:
        wait_until(full, seconds=LONG)
        here.save({**(full() or {}), "status": "entered-in-error"})
        code, shown, said = _ended(process)

    assert (code, said) == (1, "")
    assert (shown.count("completed ✓"), shown.count("✓")) == (9, 11)


def test_a_demo_ends_with_one_when_a_message_takes_too_long(here: Machine) -> None:
    with here.process("demo", "--once", "--seconds", "0.1") as process:
        assert _ended(process)[0] == 1


def test_a_demo_goes_on_until_ctrl_c(here: Machine) -> None:
    with here.process("demo", "--seconds", "0.1", "--fhir", f"{here.fhir_url}/") as process:
        assert process.stdout is not None
        shown = list(iter(process.stdout.readline, "Ctrl-C ends.\n"))
        process.send_signal(signal.SIGINT)

        assert _ended(process) == (0, "", "")
    assert f"FHIR server {here.fhir_url}\n" in shown


@pytest.mark.parametrize(("arguments", "code"), [(("--once",), 130), ((), 0)])
def test_a_demo_may_be_broken_off(here: Machine, arguments: tuple[str, ...], code: int) -> None:
    with here.process("demo", "--fhir", here.fhir_url, *arguments) as process:
        wait_until(lambda: here.fhir.resources("Communication"), seconds=LONG)
        process.send_signal(signal.SIGINT)

        assert _ended(process)[0] == code


def test_a_demo_refuses_a_server_that_could_let_a_message_go_twice(here: Machine) -> None:
    with _at(Careless) as url, here.process("demo", "--once", "--fhir", url) as process:
        code, _, said = _ended(process)

    assert code == 2
    assert "If-Match" in said


@pytest.mark.parametrize(
    ("asked", "fault", "error", "exit_code"),
    [
        ("PUT /Patient/", "422", "Rejected", 5),
        ("PUT /Patient/", "drop", "Temporary", 3),
        ("GET /Communication", "503", "Temporary", 3),
    ],
)
def test_a_demo_says_what_the_fhir_server_does_not_do(
    here: Machine, asked: str, fault: str, error: str, exit_code: int
) -> None:
    method, path = asked.split()
    here.fhir.add_fault(method, path, fault, times=99)

    with here.process("demo", "--once", "--fhir", here.fhir_url) as process:
        code, _, said = _ended(process)

    assert code == exit_code
    assert said.startswith(f"{error}: {method} {here.fhir_url}{path}")


HAPI = """
import os, pathlib, sys
pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
print({said!r}, flush=True)
{then}
"""


@pytest.fixture
def hapi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo looks for what starts HAPI; the way in which this process logs is put back."""
    script = tmp_path / "serve.py"
    monkeypatch.setattr(demo_command, "_HAPI", script)
    with canary.overhearing(style="console"):
        yield script


def test_a_demo_starts_a_hapi_and_ends_it(here: Machine, hapi: Path) -> None:
    hapi.write_text(HAPI.format(said=f"fhir ready at {here.fhir_url} (pretended)", then="sys.stdin.read()"))

    done = here.run("demo", "--once", "--seconds", "0.1", "--fhir", "hapi")

    assert done.exit_code == 1
    assert here.fhir.resources("Communication")
    with pytest.raises(ProcessLookupError):
        os.kill(int(hapi.with_name("pid").read_text()), 0)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (None, "needs a checkout"),
        (HAPI.format(said="no Java here", then="os._exit(69)"), "did not start on this machine"),
    ],
)
def test_a_demo_says_when_there_is_no_hapi(here: Machine, hapi: Path, script: str | None, why: str) -> None:
    if script is not None:
        hapi.write_text(script)

    done = here.run("demo", "--once", "--fhir", "hapi")

    assert isinstance(done.exception, ConfigError)
    assert why in str(done.exception)
