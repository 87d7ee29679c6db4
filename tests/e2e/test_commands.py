"""Commands in this process: signals, ports that are taken, neighbours that come late or are no good, and the demo."""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from adapter.cli import demo as demo_command
from adapter.cli import main
from adapter.cli import run as run_command
from adapter.cli.root import EXIT_CODES
from adapter.errors import (
    AdapterError,
    ConfigError,
    Conflict,
    IllegalTransition,
    MappingError,
    Rejected,
    Temporary,
    Unresolved,
    Unverified,
)
from adapter.simulators import fhir
from adapter.simulators.http import Request, Response
from tests.e2e.machine import Machine, machine, wait_until
from tests.integration import canary
from tests.integration.canary import Overheard
from tests.integration.people import communication, patient
from tests.neighbours.simulator import free_port, serving


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    """Both neighbours, and a patient."""
    with machine(tmp_path) as both:
        both.fhir.put(patient(), datetime.now(UTC))
        yield both


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Overheard]:
    """What is logged; the way in which this process logs is put back."""
    with canary.overhearing(style="json") as lines:
        # The runner would give the command a standard error of its own.
        monkeypatch.setattr(run_command, "configure", lambda **_: None)
        yield lines


@contextmanager
def _signalled(number: signal.Signals, when: Callable[[], object]) -> Iterator[None]:
    """Sends this process a signal once that is so; a signal that nobody waits for any more does nothing."""

    def send() -> None:
        try:
            wait_until(when, seconds=60)
        finally:
            os.kill(os.getpid(), number)

    before = signal.signal(number, lambda *_: None)
    if number is signal.SIGINT:
        signal.signal(number, signal.default_int_handler)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        sender.join()
        signal.signal(number, before)


# --- run --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_works_until_it_is_told_to_end(here: Machine, heard: Overheard, number: signal.Signals) -> None:
    here.save(communication())

    with _signalled(number, lambda: here.communication("referral")["status"] == "completed"):
        done = here.run("run")

    assert (done.exit_code, done.exception) == (0, None)
    assert "adapter.started" in heard.events()
    assert "adapter.stopping" in heard.events()
    assert json.loads(here.run("list", "--json").output)[0]["state"] == "completed"
    doctor = json.loads(here.run("doctor", "--json").output)
    assert {"part": "ledger", "level": "ok"}.items() <= doctor[-1].items()


def test_run_goes_on_when_the_fhir_server_comes_up(
    here: Machine, heard: Overheard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_command, "_PROBE_SECONDS", 0.05)
    port = free_port()
    late = fhir.World(base_url=f"http://127.0.0.1:{port}/fhir")
    late.put(patient(), datetime.now(UTC))
    late.put(communication(), datetime.now(UTC))

    def comes_up() -> bool:
        wait_until(lambda: "fhir.unreachable" in heard.events())
        with serving(late, port):
            wait_until(lambda: late.resources("Communication")[0]["status"] == "completed")
        return True

    with _signalled(signal.SIGTERM, comes_up):
        done = here.run("run", FHIR__BASE_URL=f"http://127.0.0.1:{port}/fhir")

    assert done.exit_code == 0


class Careless(fhir.World):
    """A FHIR server that takes an update of any version."""

    def handle(self, request: Request, now: datetime) -> Response:
        headers = {name: value for name, value in request.headers.items() if name != "if-match"}
        return super().handle(
            Request(
                method=request.method,
                path=request.path,
                query=request.query,
                headers=headers,
                body=request.body,
            ),
            now,
        )


@contextmanager
def _careless() -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}/fhir"
    with serving(Careless(base_url=url), port):
        yield url


@pytest.mark.usefixtures("heard")
def test_run_refuses_a_server_that_could_let_a_message_go_twice(here: Machine) -> None:
    with _careless() as url:
        done = here.run("run", FHIR__BASE_URL=url)

    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith("fhir.base_url: ")
    assert "If-Match" in str(done.exception)


@pytest.mark.usefixtures("heard")
def test_run_says_when_it_could_not_even_try(here: Machine) -> None:
    for method in ("PUT", "POST"):
        here.fhir.add_fault(method, "/Basic", "403", times=9)

    done = here.run("run")

    assert isinstance(done.exception, ConfigError)
    assert "No Basic resource may be created (HTTP 403)" in str(done.exception)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("host", "why"),
    [("127.0.0.1", "in use"), ("nowhere.invalid", ""), ("x" * 300 + ".example", ""), ("192.0.2.1", "assign")],
)
def test_run_says_where_it_cannot_listen(here: Machine, host: str, why: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = here.run("run", WEB__HOST=host, WEB__PORT=port)

    assert isinstance(done.exception, ConfigError)
    assert f"web.host, web.port: nobody can listen on {host}, port {port}" in str(done.exception)
    assert why in str(done.exception)


# --- doctor, subscribe, show ------------------------------------------------------------------------------------------


def test_doctor_finds_a_ledger_that_cannot_be_used(here: Machine) -> None:
    wrong = json.loads(here.run("doctor", "--json", LEDGER__URL="mysql://nobody").output)[-1]
    nothing_yet = json.loads(here.run("doctor", "--json").output)[-1]

    assert (wrong["part"], wrong["level"]) == ("ledger", "failed")
    assert "postgresql" in wrong["sentence"]
    assert (nothing_yet["part"], nothing_yet["level"]) == ("ledger", "warning")


def test_doctor_prints_brackets_as_they_are(here: Machine) -> None:
    done = here.run("doctor", FHIR__BASE_URL="http://[::1]:9/[/fhir]")

    assert done.exit_code == 1


def test_subscribe_says_what_it_did(here: Machine) -> None:
    first, second = here.run("subscribe"), here.run("subscribe")
    later = here.run("subscribe", WATCH__DOORBELL_PAYLOAD="false")

    outcomes = [done.output.partition(":")[0] for done in (first, second, later)]
    assert outcomes == ["created", "kept", "repaired"]
    assert f"http://127.0.0.1:{here.port}/doorbell" in first.output


@pytest.mark.usefixtures("heard")
def test_show_prints_what_metriport_says_as_it_is(here: Machine) -> None:
    here.metriport.opt_out(patient()["identifier"][0]["value"], "[/bold] opted out [red]")
    here.save(communication())
    with _signalled(signal.SIGTERM, lambda: here.communication("referral")["status"] == "on-hold"):
        here.run("run")

    shown = here.run("show", "Communication/referral").output
    listed = here.run("list").output

    assert "[/bold] opted out [red]" in shown
    assert "held-patient-opted-out" in shown
    assert "referral" in listed


# --- simulate ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("metriport", "--auto-complete", "off", "--no-limits", "--dialect", "docs"), "/_simulator/messages"),
        (("metriport", "--auto-complete", "0.5"), "/_simulator/messages"),
        (("fhir", "--conflict", "412"), "/fhir/metadata"),
    ],
)
def test_a_pretend_neighbour_answers_until_it_is_told_to_end(
    here: Machine, arguments: tuple[str, ...], path: str
) -> None:
    port = free_port()

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).is_success
        except httpx.ConnectError:
            return False

    with _signalled(signal.SIGINT, answers):
        done = here.run("simulate", *arguments, "--port", str(port))

    assert done.exit_code == 0
    assert done.output == f"listening on http://127.0.0.1:{port}\n"


@pytest.mark.parametrize("stated", ["soon", "-1", "nan", "inf"])
def test_a_time_that_is_none_is_said(here: Machine, stated: str) -> None:
    done = here.run("simulate", "metriport", "--port", "0", "--auto-complete", stated)

    assert done.exit_code == 2
    assert "--auto-complete" in done.output


def test_a_port_that_is_taken_is_said(here: Machine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = here.run("simulate", "fhir", "--port", str(taken.getsockname()[1]))

    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith("--port: nobody can listen on 127.0.0.1")


# --- demo -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """What the demo shows."""
    shown = StringIO()
    monkeypatch.setattr(demo_command, "console", Console(file=shown, width=120))
    return shown


@pytest.mark.usefixtures("heard")
def test_a_demo_goes_on_until_it_is_told_to_end(here: Machine, screen: StringIO) -> None:
    with _signalled(signal.SIGINT, lambda: "Ctrl-C ends." in screen.getvalue()):
        done = here.run("demo", "--seconds", "0.1", "--fhir", f"{here.fhir_url}/")

    assert done.exit_code == 0
    assert f"FHIR server {here.fhir_url}\n" in screen.getvalue()


@pytest.mark.usefixtures("heard", "screen")
def test_a_demo_that_is_broken_off_did_not_show_that_all_arrived(here: Machine) -> None:
    with _signalled(signal.SIGINT, lambda: here.fhir.resources("Communication")):
        done = here.run("demo", "--once", "--fhir", here.fhir_url)

    assert done.exit_code == 1


@pytest.mark.usefixtures("heard", "screen")
def test_a_demo_on_a_server_that_is_no_good_says_so(here: Machine) -> None:
    with _careless() as url:
        careless = here.run("demo", "--once", "--fhir", url)
    here.fhir.add_fault("GET", "/Communication", "503", times=99)
    broken = here.run("demo", "--once", "--fhir", here.fhir_url)
    here.fhir.add_fault("PUT", "/Patient/", "422")
    refusing = here.run("demo", "--once", "--fhir", here.fhir_url)

    assert isinstance(careless.exception, ConfigError)
    assert isinstance(broken.exception, Temporary)
    assert isinstance(refusing.exception, Rejected)


HAPI = """
import sys
print({said!r}, flush=True)
{then}
"""


@pytest.mark.usefixtures("heard")
def test_a_demo_starts_a_hapi_and_ends_it(
    here: Machine, screen: StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "serve.py"
    script.write_text(HAPI.format(said=f"fhir ready at {here.fhir_url} (pretended)", then="sys.stdin.read()"))
    monkeypatch.setattr(demo_command, "_HAPI", script)

    done = here.run("demo", "--once", "--seconds", "0.1", "--fhir", "hapi")

    assert done.exit_code == 1
    assert f"fhir ready at {here.fhir_url}" in screen.getvalue()
    assert here.fhir.resources("Communication")


@pytest.mark.usefixtures("heard", "screen")
def test_a_demo_says_when_there_is_no_hapi(
    here: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "serve.py"
    monkeypatch.setattr(demo_command, "_HAPI", script)
    nowhere = here.run("demo", "--once", "--fhir", "hapi")
    script.write_text(HAPI.format(said="no Java here", then=""))
    broken = here.run("demo", "--once", "--fhir", "hapi")

    assert "needs a checkout" in str(nowhere.exception)
    assert "did not start" in str(broken.exception)


# --- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a [/b] setting"), 2),
        (Temporary("gone"), 3),
        (Conflict("changed"), 4),
        (Rejected("refused", status=422), 5),
        (Unverified("who"), 6),
        (MappingError("wrong", template="t"), 7),
        (Unresolved("nobody", candidates=0), 8),
        (IllegalTransition("a bug"), 70),
        (AdapterError("a bug"), 70),
    ],
)
def test_every_error_has_its_exit_code_and_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: AdapterError, code: int
) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr("adapter.cli.app", fails)

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == code
    assert capsys.readouterr() == ("", f"{type(error).__name__}: {error}\n")
    assert {kind for kind, _, _ in EXIT_CODES} == {AdapterError, *AdapterError.__subclasses__()}


def test_the_package_is_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["adapter", "config", "schema"])

    with pytest.raises(SystemExit) as ended:
        runpy.run_module("adapter", run_name="__main__")

    assert ended.value.code == 0
    assert "properties" in json.loads(capsys.readouterr().out)
