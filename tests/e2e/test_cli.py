"""The command line against neighbours on loopback sockets: what it says, and with which exit code it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from typer.testing import CliRunner, Result

from adapter.cli import app, main
from adapter.cli.root import EXIT_CODES, console
from adapter.domain.mark import Mark, Token
from adapter.errors import AdapterError, ConfigError, Unresolved
from adapter.simulators import fhir, metriport
from adapter.simulators.fhir import subscriptions
from adapter.simulators.http import Request
from adapter.simulators.metriport import SANDBOX_PATIENTS
from adapter.simulators.shell import utc_now
from tests.e2e.machine import wait_until
from tests.integration.people import ADDRESS, communication, patient
from tests.neighbours.simulator import free_port, serving


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    """Both neighbours, and an environment that leads to them."""
    fhir_port, metriport_port = free_port(), free_port()
    here = Clinic(fhir_port, metriport_port)
    for name, value in here.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    with serving(here.fhir, fhir_port), serving(here.metriport, metriport_port):
        here.fhir.put(patient(), utc_now())
        yield here


class Clinic:
    """The neighbours' worlds and where they are."""

    def __init__(self, fhir_port: int, metriport_port: int) -> None:
        self.base_url = f"http://127.0.0.1:{fhir_port}/fhir"
        self.metriport_url = f"http://127.0.0.1:{metriport_port}"
        self.fhir = fhir.World(base_url=self.base_url)
        self.metriport = metriport.World(public_url=self.metriport_url)
        self.port = free_port()
        self.key = self.metriport.set_webhook(f"http://127.0.0.1:{self.port}/webhooks/metriport", utc_now())

    def environment(self, folder: Path) -> dict[str, str]:
        """The adapter's settings."""
        return {
            "ADAPTER_FHIR__BASE_URL": self.base_url,
            "ADAPTER_METRIPORT__BASE_URL": self.metriport_url,
            "ADAPTER_METRIPORT__API_KEY": metriport.DEFAULT_API_KEY,
            "ADAPTER_INBOUND__ALLOW_PRIVATE_ADDRESSES": "true",
            "ADAPTER_METRIPORT__WEBHOOK_KEYS": json.dumps([self.key]),
            "ADAPTER_LEDGER__URL": f"sqlite+aiosqlite:///{folder / 'ledger.sqlite3'}",
            "ADAPTER_WATCH__DOORBELL": "rest-hook",
            "ADAPTER_WATCH__DOORBELL_SECRET": "secret",
            "ADAPTER_WATCH__SWEEP_SECONDS": "0.5",
            "ADAPTER_WEB__PORT": str(self.port),
            "ADAPTER_TELEMETRY__LOG_LEVEL": "debug",
        }


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def _levels(result: Result) -> dict[str, str]:
    return {one["part"]: one["level"] for one in json.loads(result.stdout)}


def test_doctor_says_that_all_is_well(clinic: Clinic) -> None:
    assert _run("subscribe").stdout.startswith("created")
    wait_until(lambda: clinic.fhir.resources("Subscription")[0]["status"] == "active")
    result = _run("doctor", "--json")

    assert result.exit_code == 0, result.stdout
    assert {level for part, level in _levels(result).items() if part != "ledger"} == {"ok"}


def test_doctor_finds_a_subscription_that_the_server_never_activates(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "ACTIVATION", timedelta(days=1))
    _run("subscribe")
    result = _run("doctor", "--json")
    [doorbell] = [one for one in json.loads(result.stdout) if one["part"] == "doorbell"]

    assert result.exit_code == 0
    assert doorbell["level"] == "warning"
    assert "resthook_enabled" in doorbell["sentence"]


def test_doctor_shows_a_table_to_people(clinic: Clinic) -> None:
    result = _run("doctor")

    assert result.exit_code == 0
    assert "warning" in result.stdout  # no Subscription yet, no ledger yet
    assert "subscribe" in result.stdout


@pytest.mark.parametrize(
    ("setting", "value", "part"),
    [
        ("ADAPTER_METRIPORT__API_KEY", "wrong", "Metriport"),
        ("ADAPTER_METRIPORT__API_KEY", "", "settings"),
        ("ADAPTER_FHIR__BASE_URL", "http://127.0.0.1:9/fhir", "FHIR server"),
        ("ADAPTER_WATCH__DOORBELL_SECRET", "", "doorbell"),
        ("ADAPTER_LEDGER__URL", "postgresql+psycopg://nobody@127.0.0.1:9/none", "ledger"),
        ("ADAPTER_LEDGER__URL", "mysql://nobody@127.0.0.1:9/none", "ledger"),
        ("ADAPTER_LEDGER__URL", "sqlite+aiosqlite:////nowhere/at/all/ledger.db", "ledger"),
    ],
)
def test_doctor_finds_what_is_wrong(
    clinic: Clinic, setting: str, value: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setting, value)
    result = _run("doctor", "--json")

    assert result.exit_code == 1
    assert _levels(result)[part] == "failed"


@pytest.mark.parametrize(
    ("setting", "value", "level", "word"),
    [
        ("ATTACHMENTS__ALLOWED_ORIGINS", '["files.example"]', "failed", "allowed_origins"),
        ("ATTACHMENTS__ALLOWED_ORIGINS", '["https://files.example/pdf"]', "failed", "allowed_origins"),
        ("INBOUND__ALLOWED_HOSTS", '["https://files.example"]', "failed", "allowed_hosts"),
        ("INBOUND__SPOOL_DIRECTORY", "/nowhere/at/all", "failed", "spool_directory"),
        ("WEB__PUBLIC_URL", "adapter.example", "failed", "public_url"),
        ("PATIENTS__EXTERNAL_ID_SYSTEM", "mrn", "warning", "external_id_system"),
    ],
)
def test_doctor_finds_a_setting_that_is_of_no_use(
    clinic: Clinic, *, setting: str, value: str, level: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ADAPTER_{setting}", value)
    [found] = [one for one in json.loads(_run("doctor", "--json").stdout) if one["part"] == "settings"]

    assert found["level"] == level
    assert word in found["sentence"]


def test_doctor_finds_that_nobody_elsewhere_can_call(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = clinic.metriport_url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104  # this machine by another name
    monkeypatch.setenv("ADAPTER_METRIPORT__BASE_URL", elsewhere)

    assert _levels(_run("doctor", "--json"))["settings"] == "warning"


def test_doctor_finds_a_broken_mapping(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "outbound").mkdir(parents=True)
    (tmp_path / "site" / "outbound" / "text.json.j2").write_text("{{ nothing }}")
    monkeypatch.setenv("ADAPTER_MAPPINGS__DIRECTORY", str(tmp_path / "site"))

    assert _levels(_run("doctor", "--json"))["mappings"] == "failed"


def test_doctor_finds_a_mappings_folder_that_is_not_there(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPTER_MAPPINGS__DIRECTORY", str(tmp_path / "nowhere"))

    assert _levels(_run("doctor", "--json"))["mappings"] == "failed"


def test_doctor_finds_a_changed_subscription(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    _run("subscribe")
    monkeypatch.setenv("ADAPTER_WATCH__DOORBELL_PAYLOAD", "false")

    assert _levels(_run("doctor", "--json"))["doorbell"] == "warning"
    assert _run("subscribe").stdout.startswith("repaired")
    assert _run("subscribe").stdout.startswith("kept")


def test_doctor_says_how_it_works_without_doorbell_and_webhook(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPTER_WATCH__DOORBELL", "off")
    monkeypatch.setenv("ADAPTER_METRIPORT__WEBHOOK_KEYS", "[]")
    levels = _levels(_run("doctor", "--json"))

    assert (levels["doorbell"], levels["webhook"]) == ("ok", "warning")


@pytest.mark.parametrize(
    ("setting", "value", "level", "advice"),
    [
        ("ADAPTER_WEB__PUBLIC_URL", "https://adapter.example", "warning", "webhook setup"),
        ("ADAPTER_METRIPORT__WEBHOOK_KEYS", '["an older one"]', "failed", "webhook_keys"),
    ],
)
def test_doctor_finds_a_webhook_that_does_not_lead_here(
    clinic: Clinic, *, setting: str, value: str, level: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setting, value)
    found = {one["part"]: one for one in json.loads(_run("doctor", "--json").stdout)}

    assert found["webhook"]["level"] == level
    assert advice in found["webhook"]["sentence"]


def test_doctor_says_that_the_webhook_could_not_be_looked_up(clinic: Clinic) -> None:
    clinic.metriport.add_fault("GET", "/settings", "503")

    assert _levels(_run("doctor", "--json"))["webhook"] == "warning"


def test_retry_and_cancel_do_what_an_ehr_would_do(clinic: Clinic) -> None:
    clinic.fhir.put(communication(status="on-hold"), utc_now())

    def status() -> str:
        return str(clinic.fhir.resources("Communication")[0]["status"])

    assert _run("retry", "Communication/referral").stdout.startswith("Communication/referral is in prep")
    assert status() == "preparation"
    assert _run("cancel", "referral").stdout.startswith("Communication/referral is not-done")
    assert status() == "not-done"


def test_an_order_for_what_is_not_there_is_refused(clinic: Clinic) -> None:
    assert isinstance(_run("retry", "nobody").exception, Unresolved)


@pytest.mark.parametrize(
    ("fault", "found"), [("slow:0.5", {"made_anew": 2, "listed": 0}), ("503", {"made_anew": 0, "listed": 2})]
)
def test_reconcile_brings_in_what_no_call_told_of_and_rebuilds_what_was_claimed(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, fault: str, found: dict[str, int]
) -> None:
    monkeypatch.setattr("adapter.cli.reconcile._LEASE_SECONDS", 1.0)  # it has to be held anew on the way
    clinic.metriport.add_fault("GET", "/settings/webhook/request", fault)
    clinic.metriport.add_fault("POST", "/", "webhook-lost", times=2)
    long_ago = utc_now() - timedelta(hours=2)
    for number in range(2):
        clinic.metriport.receive(
            long_ago, patientId=SANDBOX_PATIENTS[0].id, subject=f"Result {number}", body="x"
        )
    token = str(Token.mint(life="gone", nonce="n", resource_id="referral"))
    mark = Mark(round=1, token=token, destination=ADDRESS, digest="0" * 64)
    clinic.fhir.put(communication(status="in-progress", extension=[mark.extension()]), utc_now())

    report = json.loads(_run("reconcile", "--json").stdout)
    again = _run("reconcile")

    assert report == {"rebuilt": 1, "received": 2, "waiting": 0, "sent_elsewhere": 0, **found}
    assert "0 sends rebuilt" in again.stdout
    received = [one for one in clinic.fhir.resources("Communication") if one["id"] != "referral"]
    assert {one["topic"]["text"] for one in received} == {"Result 0", "Result 1"}
    listed = json.loads(_run("list", "--received", "--json").stdout)
    assert {one["communication"] for one in listed} == {one["id"] for one in received}
    assert {(one["state"], one["patient"]) for one in listed} == {("written", "maple")}
    assert _run("list", "--received").stdout.count("Patient/maple") == 2
    shown = _run("show", listed[0]["message"]).stdout
    assert f"Communication/{listed[0]['communication']} received: written" in shown


def test_reconcile_completes_a_ledger_that_is_old_or_half_there(clinic: Clinic, tmp_path: Path) -> None:
    def wish(name: str, *, round: int = 1, message: str | None = None) -> None:
        token = str(Token.mint(life="gone", nonce="n", resource_id=name))
        mark = Mark(round=round, token=token, destination=ADDRESS, digest="0" * 64, message=message)
        claimed = communication(id=name, status="in-progress", extension=[mark.extension()])
        clinic.fhir.put(claimed, utc_now())

    def rebuilt() -> int:
        return int(json.loads(_run("reconcile", "--json").stdout)["rebuilt"])

    def known() -> dict[str, tuple[int, str]]:
        listed = json.loads(_run("list", "--json").stdout)
        listed.sort(key=lambda one: int(one["round"]))
        return {one["communication"]: (one["round"], one["state"]) for one in listed}  # of the newest rounds

    def changed(statement: str) -> None:
        with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as ledger, ledger:
            ledger.execute(statement)

    wish("doubtful")
    assert rebuilt() == 1
    older = (tmp_path / "ledger.sqlite3").read_bytes()
    wish("sent", message="m1")
    wish("second-round", round=2)
    assert rebuilt() == 2
    whole = {"sent": (1, "sent"), "doubtful": (1, "unknown"), "second-round": (2, "unknown")}
    assert known() == whole

    changed("DELETE FROM transmissions WHERE communication = 'sent'")
    assert (rebuilt(), known()) == (1, whole)
    changed("UPDATE transmissions SET round = 1, state = 'ready' WHERE communication = 'second-round'")
    assert (rebuilt(), known()) == (1, whole)
    for leftover in tmp_path.glob("ledger.sqlite3-*"):
        leftover.unlink()
    (tmp_path / "ledger.sqlite3").write_bytes(older)
    assert (rebuilt(), known()) == (2, whole)


def test_a_reconcile_that_was_killed_is_begun_anew_without_loss(clinic: Clinic, tmp_path: Path) -> None:
    clinic.metriport.add_fault("POST", "/", "webhook-lost", times=5)
    for number in range(5):
        clinic.metriport.receive(utc_now() - timedelta(hours=2), subject=f"Result {number}", body="x")
    clinic.fhir.add_fault("GET", "/Communication/", "slow:0.5", times=100)
    killed = _adapter(tmp_path, "reconcile")
    _until(lambda: clinic.fhir.resources("Communication"), killed)
    killed.kill()
    killed.wait(90)
    there = len(clinic.fhir.resources("Communication"))
    clinic.fhir.clear_faults()

    assert "could not be had" not in _run("reconcile").stdout
    assert 1 <= there < 5
    found = clinic.fhir.resources("Communication")
    assert sorted(one["topic"]["text"] for one in found) == [f"Result {number}" for number in range(5)]
    assert {len(clinic.fhir.history("Communication", one["id"])) for one in found} == {1}


def test_reconcile_shows_people_how_far_it_is(clinic: Clinic) -> None:
    for number in range(3):
        clinic.metriport.add_fault("*", "", "webhook-lost")
        clinic.metriport.receive(utc_now(), patientId=SANDBOX_PATIENTS[0].id, subject=f"Result {number}")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "adapter", "reconcile"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b"".join(_read_until_closed(ours))
    os.close(ours)

    assert process.returncode == 0
    assert b"received messages" in shown
    assert b"Metriport's list" in shown
    assert b"100%" in shown
    assert b"worked off" in shown


def _read_until_closed(terminal: int) -> Iterator[bytes]:
    with suppress(OSError):  # what Linux says of a terminal whose other side is gone
        while piece := os.read(terminal, 10_000):
            yield piece


def test_reconcile_asks_anew_for_what_came_with_dead_links(clinic: Clinic) -> None:
    clinic.metriport.add_fault("POST", "/", "webhook-lost")
    clinic.metriport.receive(utc_now() - timedelta(hours=2), subject="Result", body="x")
    clinic.metriport.add_fault("GET", "/_files", "url-expired")

    report = json.loads(_run("reconcile", "--json").stdout)

    assert (report["waiting"], len(clinic.fhir.resources("Communication"))) == (0, 1)


def test_reconcile_says_how_much_could_not_be_had(clinic: Clinic) -> None:
    clinic.metriport.add_fault("POST", "/", "webhook-lost")
    clinic.metriport.receive(
        utc_now() - timedelta(hours=2), patientId=SANDBOX_PATIENTS[0].id, subject="Result"
    )
    for method in ("GET", "POST"):
        clinic.fhir.add_fault(method, "/Patient", "503", times=9)

    assert "2 could not be had now" in _run("reconcile").stdout  # neither by its call nor by the list
    assert clinic.fhir.resources("Communication") == []


def test_reconcile_shows_what_others_sent(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTER_INBOUND__SENT_ELSEWHERE", "true")
    stated = {"destination": ADDRESS, "subject": "From the portal", "body": "x"}
    request = Request(
        method="POST",
        path="/medical/v1/message",
        query=f"patientId={SANDBOX_PATIENTS[0].id}",
        headers={"x-api-key": metriport.DEFAULT_API_KEY, "content-type": "application/json"},
        body=json.dumps(stated).encode(),
    )
    clinic.metriport.handle(request, utc_now() - timedelta(hours=2))

    assert "1 messages that others sent are shown now" in _run("reconcile").stdout
    assert json.loads(_run("reconcile", "--json").stdout)["sent_elsewhere"] == 0
    assert [one["topic"]["text"] for one in clinic.fhir.resources("Communication")] == ["From the portal"]


def test_reconcile_leaves_the_work_to_a_replica_that_does_it(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql_database: str
) -> None:
    monkeypatch.setenv("ADAPTER_LEDGER__URL", postgresql_database)
    process = _adapter(tmp_path)
    try:
        clinic.fhir.put(communication(), utc_now())
        _until(lambda: clinic.metriport.messages, process)
        refused = _run("reconcile")
    finally:
        process.kill()
        process.wait(90)

    assert isinstance(refused.exception, ConfigError)
    assert "Another adapter is at work" in str(refused.exception)


def test_preview_shows_the_exact_call(clinic: Clinic, tmp_path: Path) -> None:
    attachment = {"contentAttachment": {"contentType": "text/plain", "title": "a.txt", "data": "aGVsbG8="}}
    written = communication(
        payload=[{"contentString": "Hello"}, attachment],
        note=[{"text": "mine"}],
        priority="urgent",
        reasonCode=[{"text": "has a topic already"}],
    )
    clinic.fhir.put(written, utc_now())
    (tmp_path / "wish.json").write_text(json.dumps(written))

    stored, file = (
        json.loads(_run("preview", source).stdout)
        for source in ("Communication/referral", str(tmp_path / "wish.json"))
    )

    assert stored["call"] == file["call"]
    assert stored["call"]["body"]["subject"] == "Referral"
    assert stored["uploads"] == [
        {"where": "payload[1]", "title": "a.txt", "contentType": "text/plain", "bytes": 5}
    ]
    assert stored["notTransmitted"] == ["note", "priority", "reasonCode"]
    assert stored["wouldBeSent"]
    assert clinic.metriport.messages == []


def test_preview_says_why_there_is_no_call(clinic: Clinic) -> None:
    clinic.fhir.put(communication(payload=[]), utc_now())
    result = _run("preview", "Communication/referral")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["reason"]["code"] == "refused-no-content"


def test_preview_tells_what_a_site_s_template_transmits(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "outbound").mkdir(parents=True)
    template = (
        '{"subject": {{ communication | each("reasonCode.text") | first_text | plain }}, "body": "Hello"}'
    )
    (tmp_path / "site" / "outbound" / "text.json.j2").write_text(template)
    monkeypatch.setenv("ADAPTER_MAPPINGS__DIRECTORY", str(tmp_path / "site"))
    clinic.fhir.put(communication(reasonCode=[{"text": "Reason"}]), utc_now())

    shown = json.loads(_run("preview", "Communication/referral").stdout)

    assert shown["call"]["body"]["subject"] == "Reason"
    assert shown["notTransmitted"] == ["topic"]


@pytest.mark.parametrize(
    ("elements", "why"),
    [({"status": "completed"}, "status is completed"), ({"medium": []}, "marker: medium=")],
)
def test_preview_says_that_nobody_asks_for_it(clinic: Clinic, elements: dict[str, Any], why: str) -> None:
    clinic.fhir.put(communication(**elements), utc_now())
    result = _run("preview", "Communication/referral")
    shown = json.loads(result.stdout)

    assert result.exit_code == 1
    assert why in shown["notAsked"]
    assert (shown["wouldBeSent"], shown["call"]["body"]["subject"]) == (False, "Referral")


@pytest.mark.parametrize("content", ["no json", "[]", '{"resourceType": "Patient"}'])
def test_preview_refuses_what_is_no_communication(clinic: Clinic, tmp_path: Path, content: str) -> None:
    (tmp_path / "wish.json").write_text(content)
    result = _run("preview", str(tmp_path / "wish.json"))

    assert isinstance(result.exception, AdapterError)
    assert "wish.json" in str(result.exception)


def test_preview_of_nothing_says_so(clinic: Clinic) -> None:
    assert "does not exist" in str(_run("preview", "Communication/nobody").exception)


def _adapter(folder: Path, command: str = "run") -> subprocess.Popen[bytes]:
    """The real process, with the environment of this one."""
    with (folder / "process.log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "adapter", command], stderr=log, stdout=log)


def _until(condition: Any, process: subprocess.Popen[bytes], seconds: float = 120.0) -> Any:
    """Waits for the condition; the process must live."""
    for _ in range(int(seconds * 10)):
        found = condition()
        if found:
            return found
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError("it did not happen in time")


def _is_live(clinic: Clinic) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{clinic.port}/health/live", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_sends_and_ends_when_told(clinic: Clinic, tmp_path: Path, number: signal.Signals) -> None:
    process = _adapter(tmp_path)
    try:
        clinic.fhir.put(communication(), utc_now())
        _until(lambda: clinic.metriport.messages, process)
        process.send_signal(number)
        assert process.wait(90) == 0
    finally:
        process.kill()

    assert _levels(_run("doctor", "--json"))["ledger"] == "ok"
    shown = json.loads(_run("show", "Communication/referral", "--json").stdout)
    listed = json.loads(_run("list", "--json").stdout)
    assert [one["communication"] for one in listed] == ["referral"]
    assert [one["what"] for one in shown["timeline"]][:3] == ["opened", "claimed", "intent"]
    assert "referral" in _run("list", "--state", "sent", "--state", "completed").stdout
    assert "claimed" in _run("show", "referral").stdout


_UUID: Final = "5f0c2b1e-8a51-4c0e-9f5e-0c3f3a1b2c3d"


def test_show_says_why_and_what_it_does_not_know(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = _adapter(tmp_path)
    try:
        for id in ("referral", _UUID):
            clinic.fhir.put(communication(id=id, payload=[]), utc_now())
            _until(lambda id=id: clinic.fhir.history("Communication", id)[1:], process)
    finally:
        process.terminate()
        process.wait(90)

    assert "refused-no-content" in _run("show", "referral").stdout
    monkeypatch.setattr(console, "width", 80)
    assert _UUID in _run("list").stdout  # an id is to be copied, and never cut
    assert "nothing about nobody" in str(_run("show", "nobody").exception)


def test_run_waits_for_a_fhir_server_that_is_not_up_yet(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("ADAPTER_FHIR__BASE_URL", f"http://127.0.0.1:{port}/fhir")
    process = _adapter(tmp_path)
    try:
        _until(lambda: _is_live(clinic), process)
        late = fhir.World(base_url=f"http://127.0.0.1:{port}/fhir")
        with serving(late, port):
            late.put(patient(), utc_now())
            late.put(communication(), utc_now())
            _until(lambda: clinic.metriport.messages, process)
            process.terminate()
            assert process.wait(40) == 0
    finally:
        process.kill()


def test_every_error_ends_with_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADAPTER_WEB__PORT", "many")
    monkeypatch.setattr(sys, "argv", ["metriport-adapter", "config", "show"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert "web.port" in capsys.readouterr().err
    assert [code for kind, code, _ in EXIT_CODES if kind is AdapterError] == [70]


def test_an_unforeseen_error_says_where_and_nothing_of_what_it_was_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["metriport-adapter", "config", "show"])
    monkeypatch.setattr("adapter.cli.configuration.load", _fails)

    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr().err
    assert ended.value.code == 70
    assert "ValueError" in said
    assert "configuration.py:" in said
    assert "Robin" not in said
    assert "Traceback" not in said


def _fails(_config: object) -> None:
    raise ValueError("Robin Maple")


def test_what_cannot_be_carried_in_a_header_is_said_as_a_setting(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("Bearer x\n", "Bearer é"):
        monkeypatch.setenv("ADAPTER_FHIR__AUTHORIZATION", value)

        with pytest.raises(ConfigError, match=r"fhir\.authorization"):
            raise _run("preview", "Communication/referral").exception or AssertionError


def test_a_state_is_of_what_was_sent(clinic: Clinic) -> None:
    with pytest.raises(ConfigError, match="--state"):
        raise _run("list", "--received", "--state", "sent").exception or AssertionError
