"""Runs the whole suite as five: what computes, in halves or unmeasured, what starts processes, and what HAPI takes part in.

Each is one pytest, four of them under coverage. The last two mostly wait, so they go before the halves, which take what
they leave, one for each core at the end. The first half is seen while it runs. What the others say is shown when each is
done, then what was covered, and at last which neighbours took part. The exit status is 1 when any failed, or something is
not covered.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.neighbours.report import FOLDER, Report

TESTS: Final = Path(__file__).parent
REAL: Final = ("contract", "e2e")
# Measured they would take three times as long, or play a third of the histories; and that one of so many came through a
# line would be no proof of it.
UNMEASURED: Final = (
    "integration/test_hostile_callers.py",
    "simulation",
)
# All that HAPI takes part in: a file that is missing here would start one of its own.
HAPI: Final = (
    "contract/fhir",
    "contract/fhir_client",
    "e2e/test_cost.py",
    "e2e/test_hl7_examples.py",
    "e2e/test_kills.py",
    "e2e/test_received*.py",
    "e2e/test_server_ids.py",
    "e2e/test_sigkill.py",
)


def main() -> int:
    """The exit status."""
    unmeasured = [TESTS / name for name in UNMEASURED]
    apart = {*unmeasured, *(TESTS / name for name in REAL)}
    measured = sorted(test for test in TESTS.glob("**/test_*.py") if apart.isdisjoint({test, *test.parents}))
    real = [path for name in REAL for path in (TESTS / name).iterdir() if _has_tests(path)]
    hapi = [path for pattern in HAPI for path in TESTS.glob(pattern)]
    others = [path for path in real if path not in hapi]
    # Their ledger never leaves the thread; to follow greenlets takes longer than all the rest of the measuring.
    half, other_half = (["nice", *_pytest(measured[first::2], measured="thread")] for first in range(2))
    with ExitStack() as stack:
        reports = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ[FOLDER] = str(reports)
        _coverage("erase")
        background = []
        for command in (
            _pytest(unmeasured),
            _pytest(hapi, measured="thread,greenlet"),
            _pytest(others, measured="thread,greenlet"),
            other_half,
        ):
            said = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
            background.append((stack.enter_context(process), said))
        failed = subprocess.run(half, check=False).returncode != 0
        for process, said in background:
            failed |= process.wait() != 0
            said.seek(0)
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()
        failed |= _coverage("combine", "--quiet") | _coverage("report")
        sys.stdout.write("\n".join(["", "Neighbours that took part:", *Report.joined(reports).lines(), ""]))
    return int(failed)


def _coverage(*arguments: str) -> bool:
    """Whether it failed."""
    return subprocess.run([sys.executable, "-m", "coverage", *arguments], check=False).returncode != 0


def _has_tests(path: Path) -> bool:
    return path.match("test_*.py") or any(path.glob("test_*.py"))


def _pytest(paths: list[Path], *, measured: str | None = None) -> list[str]:
    chosen = sorted(str(path.relative_to(TESTS.parent)) for path in paths)
    coverage = ["-m", "coverage", "run", f"--concurrency={measured}"] if measured else []
    return [sys.executable, *coverage, "-m", "pytest", *chosen]


if __name__ == "__main__":
    sys.exit(main())
