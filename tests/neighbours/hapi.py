"""A real HAPI FHIR server, started by `docker/hapi/serve.py`: Docker when its daemon answers, else Java and Maven."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.neighbours.report import Missing

_SERVE = Path(__file__).resolve().parents[2] / "docker" / "hapi" / "serve.py"
_UNAVAILABLE = 69


@contextmanager
def serving(profile: str, log: Path) -> Iterator[str]:
    """The base URL of a server of that profile (`defaults`, `lax` or `assigned`), up while the block runs; its log goes to `log`.

    Raises:
        Missing: this machine can run none.
        RuntimeError: it did not start.
    """
    command = [sys.executable, str(_SERVE), "--profile", profile, "--log", str(log), "--tethered"]
    pipe = subprocess.PIPE
    # Its input stays open as long as this process lives: however the run ends, the server ends with it.
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        try:
            if not said.startswith("fhir ready at "):
                _refuse(process, log)
            yield said.split()[3]
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


def _refuse(process: subprocess.Popen[str], log: Path) -> None:
    _, reason = process.communicate()
    if process.returncode == _UNAVAILABLE:
        raise Missing(reason.strip())
    raise RuntimeError(f"HAPI did not start; its log is {log}\n{reason.strip()}")
