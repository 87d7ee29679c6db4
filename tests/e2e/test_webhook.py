"""`webhook setup` and `webhook status`, and the real receiver among callers that mean no good."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import Result

from adapter.metriport.webhook import sign
from adapter.simulators.http import Response
from adapter.simulators.metriport import SANDBOX_PATIENTS
from adapter.web.app import BODY_SECONDS, MOST_BYTES
from adapter.web.server import HEAD_SECONDS
from tests.e2e.machine import Machine, exit_code, machine, wait_until
from tests.integration.canary import Order, Talkative
from tests.neighbours.simulator import serving

ELSEWHERE = "https://elsewhere.example/hooks?token=s3cret"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path, serve_fhir=False) as one:
        yield one


def _address(here: Machine) -> str:
    return f"http://127.0.0.1:{here.port}/webhooks/metriport"


def _set_elsewhere(here: Machine) -> str:
    return here.metriport.set_webhook(ELSEWHERE, datetime.now(UTC))


def _key(here: Machine) -> str:
    """The key that is in force; setting the same address again changes nothing."""
    return here.metriport.set_webhook(_address(here), datetime.now(UTC))


def _ended(result: Result) -> int:
    """The exit code that a person sees."""
    return (
        exit_code(result.exception)
        if not isinstance(result.exception, SystemExit | None)
        else result.exit_code
    )


# --- setup ------------------------------------------------------------------------------------------------------------


def test_from_nothing_to_a_call_that_is_proven_to_arrive(here: Machine, tmp_path: Path) -> None:
    file = tmp_path / "webhook.key"

    first = here.run("webhook", "setup", "--key-file", str(file))

    assert _ended(first) == 1
    assert "Not proven yet" in first.stderr
    assert f"ADAPTER_METRIPORT__WEBHOOK_KEYS_FILE={file}" in first.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() == _key(here)
    assert file.read_text().strip() not in first.output

    with here.process("run", METRIPORT__WEBHOOK_KEYS_FILE=str(file)):
        again = here.run(
            "webhook",
            "setup",
            "--key-file",
            str(file),
            "--wait",
            "30",
            METRIPORT__WEBHOOK_KEYS_FILE=str(file),
        )
        here.metriport.announce("patient.admit", datetime.now(UTC), patientId=SANDBOX_PATIENTS[0].id)
        wait_until(lambda: '"status": "success"' in here.run("webhook", "status", "--json").stdout)
        shown = here.run("webhook", "status", "--json")
        table = here.run("webhook", "status")

    assert again.exit_code == 0, again.output
    assert "Proven" in again.stderr
    assert "metriport.webhook_keys has the key" in again.stderr
    state = json.loads(shown.stdout)
    (delivery,) = state.pop("deliveries")
    assert state == {
        "url": _address(here), "callsThisAdapter": True, "enabled": True, "detail": "OK", "processing": 0, "failed": 0
    }  # fmt: skip
    assert (delivery["type"], delivery["status"]) == ("patient.admit", "success")
    assert (shown.exit_code, table.exit_code) == (0, 0)
    assert "patient.admit" in table.stdout


def test_an_adapter_that_has_another_key_proves_nothing(here: Machine) -> None:
    with here.process("run", METRIPORT__WEBHOOK_KEYS="another"):
        result = here.run("webhook", "setup", "--print")
        wait_until(lambda: "answered 401" in here.run("webhook", "setup", "--print").stderr)

    assert _ended(result) == 1
    assert result.stdout == f"{_key(here)}\n"
    assert "add it to ADAPTER_METRIPORT__WEBHOOK_KEYS" in result.stderr


def test_without_an_address_from_outside_metriport_is_told_none(here: Machine) -> None:
    elsewhere = here.metriport_url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104  # this machine by another name
    result = here.run("webhook", "setup", "--print", METRIPORT__BASE_URL=elsewhere)

    shown = here.run("webhook", "status", METRIPORT__BASE_URL=elsewhere)

    assert "web.public_url is not set" in str(result.exception)
    assert "enabled" in shown.stdout
    assert not any((one.method, one.path) == ("POST", "/settings") for one in here.metriport.requests)


def test_without_a_place_for_the_key_nothing_is_done(here: Machine) -> None:
    result = here.run("webhook", "setup")

    assert _ended(result) == 2
    assert "--key-file" in str(result.exception)
    assert here.metriport.requests == []


def test_another_address_is_not_replaced_unless_told(here: Machine, tmp_path: Path) -> None:
    key, file = _set_elsewhere(here), tmp_path / "key"

    refused = here.run("webhook", "setup", "--key-file", str(file))
    before = _set_elsewhere(here)
    forced = here.run("webhook", "setup", "--key-file", str(file), "--force")

    assert _ended(refused) == 2
    assert "elsewhere.example" in str(refused.exception)
    assert "s3cret" not in str(refused.exception)
    assert before == key
    assert _ended(forced) == 1
    assert file.read_text().strip() == _key(here) != key


def test_another_key_is_not_replaced_unless_told(here: Machine, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("former\n")

    fresh = here.run("webhook", "setup", "--key-file", str(file))
    untouched = [one.method for one in here.metriport.requests]
    key = _key(here)
    known = here.run("webhook", "setup", "--key-file", str(file))
    kept = file.read_text()
    here.run("webhook", "setup", "--key-file", str(file), "--force")

    assert (_ended(fresh), _ended(known)) == (2, 2)
    assert untouched == ["GET"]
    assert kept == "former\n"
    assert file.read_text() == f"{key}\n"
    assert [one.name for one in tmp_path.iterdir()] == ["key"]


def test_a_file_that_has_the_key_among_others_stays_as_it_is(here: Machine, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"former\n{_key(here)}\n")

    assert _ended(here.run("webhook", "setup", "--key-file", str(file))) == 1
    assert file.read_text() == f"former\n{_key(here)}\n"


def test_a_file_that_cannot_be_written_is_said(here: Machine, tmp_path: Path) -> None:
    result = here.run("webhook", "setup", "--key-file", str(tmp_path / "nowhere" / "key"))

    assert _ended(result) == 2
    assert "cannot be written" in str(result.exception)
    assert _key(here) not in str(result.exception)


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_says_that_nobody_is_called(here: Machine) -> None:
    result = here.run("webhook", "status")

    assert _ended(result) == 1
    assert "calls nobody" in result.stdout
    assert "run webhook setup" in result.stdout


def test_status_says_that_somebody_else_is_called(here: Machine) -> None:
    _set_elsewhere(here)

    result = here.run("webhook", "status", "--json", "--limit", "0")

    assert _ended(result) == 1
    assert json.loads(result.stdout)["callsThisAdapter"] is False


@pytest.mark.parametrize("number", [0, 1, 2])
def test_status_shows_so_many_of_the_newest(here: Machine, number: int) -> None:
    _key(here)
    for kind in ("patient.admit", "patient.transfer", "patient.discharge"):
        here.metriport.announce(kind, datetime.now(UTC), patientId=SANDBOX_PATIENTS[0].id)

    shown = json.loads(here.run("webhook", "status", "--json", "--limit", str(number)).stdout)["deliveries"]

    assert [one["type"] for one in shown] == ["patient.discharge", "patient.transfer"][:number]


def test_a_webhook_that_metriport_switched_off_is_no_proof(tmp_path: Path) -> None:
    body = json.dumps(
        {"webhookEnabled": False, "webhookStatusDetail": "Request failed with status 401"}
    ).encode()
    answer = Response(status=200, headers={"content-type": "application/json"}, body=body)
    with machine(tmp_path, serve_fhir=False, serve_metriport=False) as here:
        off = Talkative(here.metriport)
        off.orders.append(Order(method="GET", path="/settings/webhook", answer=answer, times=99))
        with (
            serving(off, int(here.metriport_url.rpartition(":")[2])),
            here.process("run", METRIPORT__WEBHOOK_KEYS=_key(here)),
        ):
            wait_until(lambda: "switched off" in here.run("webhook", "setup", "--print").stderr)
            result = here.run("webhook", "setup", "--print")
            status = here.run("webhook", "status", "--limit", "0")

    assert (_ended(result), _ended(status)) == (1, 1)
    assert "Request failed with status 401" in result.stderr
    assert "not said" in status.stdout


# --- the receiver behind a socket -------------------------------------------------------------------------------------

KEY = "invented-webhook-key"
GIGABYTE = 1_000_000_000
_CHUNK = b"x" * 100_000


def _head(path: str, *headers: str, signature: str = "0" * 64) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "host: adapter",
        f"x-metriport-signature: {signature}",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


async def _told(port: int, head: bytes, *, chunked: bool = False, pause: float = 0.0) -> tuple[int, int]:
    """The answer's status, and how many bytes of a gigabyte had been sent by then."""
    loop = asyncio.get_running_loop()
    piece = b"x" if pause else _CHUNK
    framed = b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
    sent = 0
    # No stream: that forgets an answer that has come once the connection is reset.
    with socket.socket() as line:
        line.setblocking(False)  # noqa: FBT003
        await loop.sock_connect(line, ("127.0.0.1", port))
        answer = asyncio.create_task(loop.sock_recv(line, 1000))
        with suppress(ConnectionError):
            await loop.sock_sendall(line, head)
            while sent < GIGABYTE and not answer.done():
                await loop.sock_sendall(line, framed)
                sent += len(piece)
                await asyncio.sleep(pause)
        return int((await asyncio.wait_for(answer, 30)).split()[1]), sent


async def _pinged(port: int, times: int) -> list[float]:
    """How long each of so many good calls took."""
    raw = b'{"ping": "x"}'
    head = _head(
        "/webhooks/metriport", f"content-length: {len(raw)}", "connection: close", signature=sign(raw, KEY)
    )
    took = []
    for _ in range(times):
        began = asyncio.get_running_loop().time()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + raw)
        assert b'{"pong": "x"}' in await reader.read()
        writer.close()
        took.append(asyncio.get_running_loop().time() - began)
        await asyncio.sleep(0.2)
    return took


def _most_memory(process_id: int) -> int:
    """The most bytes that the process ever had in memory."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


@contextmanager
def _receiver(here: Machine) -> Iterator[int]:
    with here.process("run", METRIPORT__WEBHOOK_KEYS=KEY) as process:
        wait_until(lambda: asyncio.run(_listens(here.port)))
        yield process.pid
        process.terminate()
        assert process.wait(90) == 0


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def test_gigabytes_and_drips_are_refused_while_good_calls_are_answered(here: Machine) -> None:
    entry = "/webhooks/metriport"

    async def all_at_once() -> tuple[list[tuple[int, int]], list[float]]:
        declared, chunked = f"content-length: {GIGABYTE}", "transfer-encoding: chunked"
        calls = [
            _told(here.port, _head(entry, declared)),
            _told(here.port, _head(entry, chunked), chunked=True),
            _told(here.port, _head(entry, chunked, "content-encoding: gzip"), chunked=True),
            _told(here.port, _head("/doorbell", declared)),
            *[_told(here.port, _head(entry, chunked), chunked=True, pause=0.5) for _ in range(20)],
            *[_told(here.port, _head(entry, "content-length: 500"), pause=0.5) for _ in range(20)],
        ]
        pinging = asyncio.create_task(_pinged(here.port, 30))
        return await asyncio.gather(*calls), await pinging

    with _receiver(here) as process_id:
        asyncio.run(_pinged(here.port, 5))
        before = _most_memory(process_id)
        answers, took = asyncio.run(all_at_once())
        grown = _most_memory(process_id) - before

    statuses, sent = [status for status, _ in answers], [count for _, count in answers]
    assert statuses == [413, 413, 415, 401, *[408] * 40]
    # What the system's own buffers took is sent, and not read.
    assert max(sent[:3]) < GIGABYTE / 10
    assert max(sent[4:]) <= 2 * BODY_SECONDS + 10
    assert max(took) < 4
    assert grown < 5 * MOST_BYTES


async def _let_go(port: int, *pieces: bytes) -> tuple[bytes, float]:
    """What is heard on a connection that says these, one a second, until it is ended; and after how many seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = asyncio.create_task(reader.read())
    with suppress(ConnectionError):
        for piece in pieces:
            if heard.done():
                break
            writer.write(piece)
            await asyncio.sleep(1)
    said = await asyncio.wait_for(heard, 30)
    writer.close()
    return said, loop.time() - began


def test_who_is_slow_to_ask_is_not_waited_for(here: Machine) -> None:
    whole = b"GET /health/live HTTP/1.1\r\nhost: adapter\r\n\r\n"
    drip = [b"GET /health/live HTTP/1.1\r\n", *[b"x-more: x\r\n"] * 60]
    long = b"GET /health/live HTTP/1.1\r\nhost: adapter\r\ncontent-length: 1000000\r\n\r\n"

    async def all_at_once() -> list[tuple[bytes, float]]:
        calls = [
            _let_go(here.port),
            _let_go(here.port, *drip),
            _let_go(here.port, whole, *drip),
            _let_go(here.port, whole, b"", whole),
            _let_go(here.port, long),
            _let_go(here.port, long, *[b"x"] * 60),
        ]
        return await asyncio.gather(*calls)

    with _receiver(here):
        ends = asyncio.run(all_at_once())

    assert [said.count(b"200 OK") for said, _ in ends] == [0, 0, 1, 2, 1, 1]
    assert all(seconds < 3 * HEAD_SECONDS for _, seconds in ends)
