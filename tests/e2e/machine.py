"""The command line on this machine: in this process, or as its users start it, between neighbours behind sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from typer.testing import CliRunner, Result

from adapter.cli import app
from adapter.cli.root import EXIT_CODES
from adapter.config import PREFIX
from adapter.errors import AdapterError
from adapter.simulators import fhir, metriport
from adapter.simulators.http import Neighbour
from tests.neighbours.simulator import free_port, serving

SECRET = "invented-doorbell-secret"


@dataclass(kw_only=True)
class Machine:
    """Both neighbours, a folder of one's own, and the settings that name them."""

    folder: Path
    fhir: fhir.World
    metriport: metriport.World
    fhir_url: str
    metriport_url: str
    port: int
    settings: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, **settings: str) -> Result:
        """One command in this process, with these settings in the environment."""
        environment = {name: None for name in os.environ if name.upper().startswith(PREFIX)}
        stated = {f"{PREFIX}{name}": value for name, value in {**self.settings, **settings}.items()}
        result = CliRunner().invoke(app, arguments, env={**environment, **stated})
        if result.exception is not None and not isinstance(result.exception, SystemExit | AdapterError):
            raise result.exception
        return result

    @contextmanager
    def process(self, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
        """One command as a process in the folder; it is dead when the block is left."""
        with started(*arguments, folder=self.folder, settings={**self.settings, **settings}) as process:
            yield process

    def save(self, resource: Mapping[str, Any]) -> None:
        """An author saves."""
        path = f"{self.fhir_url}/{resource['resourceType']}/{resource['id']}"
        assert httpx.put(path, json=resource, trust_env=False).is_success

    def communication(self, id: str) -> dict[str, Any]:
        """The Communication as it is now."""
        return next(one for one in self.fhir.resources("Communication") if one["id"] == id)


def exit_code(error: BaseException | None) -> int:
    """The exit code that `main` makes of an error."""
    return next(code for kind, code, _ in EXIT_CODES if isinstance(error, kind))


@contextmanager
def started(
    *arguments: str, folder: Path, settings: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """`python -m adapter …` in the folder, with these settings and no others."""
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    environment |= {f"{PREFIX}{name}": value for name, value in (settings or {}).items()}
    root = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-m", "adapter", *arguments],
        env={**environment, "PYTHONPATH": root, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    except BaseException:
        # Why it did not do what was waited for: its log, and where each thread was.
        process.send_signal(signal.SIGABRT)
        said = process.communicate(timeout=60)
        sys.stdout.write("\n".join([f"{' '.join(arguments)} ended with {process.returncode}", *said]))
        raise
    finally:
        process.kill()
        process.communicate()


@contextmanager
def machine(folder: Path, *, serve_fhir: bool = True, serve_metriport: bool = True) -> Iterator[Machine]:
    """Both neighbours behind sockets while the block runs."""
    ports = free_port(), free_port(), free_port()
    fhir_url, metriport_url = f"http://127.0.0.1:{ports[0]}/fhir", f"http://127.0.0.1:{ports[1]}"
    here = Machine(
        folder=folder,
        fhir=fhir.World(base_url=fhir_url),
        metriport=metriport.World(public_url=metriport_url, auto_complete_seconds=0.5),
        fhir_url=fhir_url,
        metriport_url=metriport_url,
        port=ports[2],
        settings={
            "FHIR__BASE_URL": fhir_url,
            "METRIPORT__BASE_URL": metriport_url,
            "METRIPORT__API_KEY": metriport.DEFAULT_API_KEY,
            "LEDGER__URL": f"sqlite+aiosqlite:///{folder / 'ledger.sqlite3'}",
            "WATCH__SWEEP_SECONDS": "1",
            "WATCH__DOORBELL": "rest-hook",
            "WATCH__DOORBELL_SECRET": SECRET,
            "WEB__PORT": str(ports[2]),
        },
    )
    worlds: list[tuple[Neighbour, int, bool]] = [
        (here.fhir, ports[0], serve_fhir),
        (here.metriport, ports[1], serve_metriport),
    ]
    with ExitStack() as stack:
        for world, port, wanted in worlds:
            if wanted:
                stack.enter_context(serving(world, port))
        try:
            yield here
        except BaseException:
            for one in (*here.fhir.resources("Communication"), *here.fhir.resources("Task")):
                said = (one["resourceType"], one["id"], one["meta"]["versionId"], one["status"])
                sys.stdout.write(f"{said} {one.get('statusReason')}\n")
            raise


def wait_until(done: Callable[[], object], *, seconds: float = 400.0) -> None:
    """Waits until that is so; by default longer than it takes to find out what became of a send without an answer.

    Raises:
        TimeoutError: it is not after that time.
    """
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"not so after {seconds} s")
        time.sleep(0.05)
