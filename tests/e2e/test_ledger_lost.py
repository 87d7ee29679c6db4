"""The ledger goes away under a real process (protocol §9): nothing is sent twice, nothing is forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
import pytest

from tests.e2e.kills import Play, Stage, theatre
from tests.e2e.machine import exit_code, machine, wait_until
from tests.integration.people import communication, patient
from tests.neighbours import postgresql
from tests.neighbours.postgresql import Postgresql
from tests.neighbours.simulator import free_port
from tests.neighbours.tunnel import tunnel


@contextmanager
def _sending(stage: Stage, *, messages: int = 3) -> Iterator[BaseProcess]:
    """An adapter in the middle of its work: one of the messages is sent."""
    stage.write(messages)
    process = stage.begin()
    try:
        wait_until(lambda: stage.sent)
        yield process
    finally:
        process.kill()
        process.join()


def _ended(process: BaseProcess) -> int | None:
    process.join(60)
    return process.exitcode


def _delete(ledger: Path) -> None:
    for file in ledger.parent.glob(f"{ledger.name}*"):
        file.unlink()


def _replace(ledger: Path) -> None:
    other = ledger.with_name("other")
    other.touch()
    other.rename(ledger)


@pytest.mark.parametrize(("lose", "word"), [(_delete, "deleted"), (_replace, "replaced")])
def test_a_ledger_that_is_gone_ends_the_process_and_the_next_goes_on(
    tmp_path: Path, lose: Callable[[Path], None], word: str
) -> None:
    with theatre(tmp_path) as here, here.stage(Play()) as stage:
        with _sending(stage) as process:
            lose(stage.folder / "ledger.db")
            ended = _ended(process)
        log = (stage.folder / "adapter.log").read_text()
        stage.live(None)
        wrong = [*stage.wrong()]

    assert ended == 1
    assert f"was {word} while the adapter ran; start it again" in log
    assert wrong == []


def test_the_command_ends_with_the_code_of_a_wrong_setting_when_its_ledger_is_gone(tmp_path: Path) -> None:
    with machine(tmp_path) as here, here.process("run", WATCH__DOORBELL="off") as process:
        wait_until((tmp_path / "ledger.sqlite3-wal").exists)
        here.save(patient())
        here.save(communication(id="first"))
        wait_until(lambda: here.metriport.messages)
        _delete(tmp_path / "ledger.sqlite3")
        here.save(communication(id="second"))
        _, said = process.communicate(timeout=400)

    assert process.returncode == 2
    assert "was deleted while the adapter ran; start it again" in said
    assert len(here.metriport.messages) == 1


def test_a_ledger_that_is_corrupt_is_moved_aside_and_the_work_goes_on(tmp_path: Path) -> None:
    with theatre(tmp_path) as here, here.stage(Play()) as stage:
        with _sending(stage):
            pass
        for name in ("ledger.db", "ledger.db-wal"):
            (stage.folder / name).write_bytes(b"no database " * 1000)
        stage.live(None)
        wrong = [*stage.wrong()]
        aside = [path.name for path in stage.folder.glob("ledger.db.corrupt-*")]

    assert wrong == []
    assert len([name for name in aside if not name.endswith(("-wal", "-shm"))]) == 1


def test_a_second_process_ends_with_a_sentence(tmp_path: Path) -> None:
    with machine(tmp_path) as here, here.process("run") as first:
        wait_until((tmp_path / "ledger.sqlite3-wal").exists)

        second = here.run("run", WEB__PORT=str(free_port()))

        assert first.poll() is None
    assert exit_code(second.exception) == 2
    assert "ledger.sqlite3 is in use by another process" in str(second.exception)
    assert "use PostgreSQL for several replicas" in str(second.exception)


def test_while_postgresql_is_away_everything_waits_and_then_goes_on_by_itself(
    postgresql_server: Postgresql, tmp_path: Path
) -> None:
    with (
        postgresql.serving() as server,  # one of its own: the run's is not to be stopped
        theatre(tmp_path, speed=10.0, postgresql=server) as here,
        here.stage(Play(database="postgresql")) as stage,
        _sending(stage) as process,
    ):
        ready = f"http://127.0.0.1:{stage.settings['web']['port']}/health/ready"
        well = httpx.get(ready, trust_env=False)
        with server.outage():
            ill = httpx.get(ready, trust_env=False, timeout=30)
            before = len(stage.sent)
            time.sleep(2)
            meanwhile = len(stage.sent) - before
        wait_until(stage.is_over)
        again = httpx.get(ready, trust_env=False)
        alive = process.is_alive()
        wrong = [*stage.wrong()]

    assert (well.status_code, ill.status_code, again.status_code) == (200, 503, 200)
    assert ill.json()["parts"][0] == {"name": "ledger", "ok": False, "detail": "Temporary"}
    assert meanwhile <= 1  # of which the intent had been committed
    assert alive
    assert wrong == []


def test_a_network_that_swallows_what_goes_to_postgresql_is_not_waited_for_without_end(
    postgresql_server: Postgresql, tmp_path: Path
) -> None:
    """No connection is closed and no error comes; what is connected then never works again."""
    with (
        theatre(tmp_path, speed=10.0, postgresql=postgresql_server) as here,
        here.stage(Play(database="postgresql")) as stage,
        tunnel(stage.settings["ledger"]["url"]) as way,
    ):
        stage.settings["ledger"]["url"] = way.url
        with _sending(stage) as process:
            ready = f"http://127.0.0.1:{stage.settings['web']['port']}/health/ready"
            with way.swallowing():
                ill = httpx.get(ready, trust_env=False, timeout=30)
                time.sleep(5)  # 50 s for the adapter
            wait_until(stage.is_over, seconds=60)
            again = httpx.get(ready, trust_env=False)
            alive = process.is_alive()
            wrong = [*stage.wrong()]
        events = [line["event"] for line in stage.log()]

    assert (ill.status_code, again.status_code) == (503, 200)
    assert ill.json()["parts"][0] == {"name": "ledger", "ok": False, "detail": "Temporary"}
    assert alive
    assert wrong == []
    assert events.count("neighbour.trouble") == 1
