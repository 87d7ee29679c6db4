"""Runs the whole suite as three: what computes, what starts processes, and what real HAPI takes part in.

Each is one pytest under coverage. The first computes, the others mostly wait, so together they take little longer than
the slowest of them. What the others say is shown when the first is done; the exit status is 1 when any failed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent
REAL: Final = ("contract", "e2e")
# A file that is missing here runs all the same, with a HAPI of its own: one does, so that all take equally long.
HAPI: Final = (
    "contract/fhir",
    "contract/fhir_client",
    "e2e/test_cost.py",
    "e2e/test_hl7_examples.py",
    "e2e/test_kills.py",
    "e2e/test_received*.py",
)


def main() -> int:
    """The exit status."""
    alone = [path for path in TESTS.iterdir() if path.name not in REAL and any(path.glob("**/test_*.py"))]
    real = [path for name in REAL for path in (TESTS / name).iterdir() if _has_tests(path)]
    hapi = [path for pattern in HAPI for path in TESTS.glob(pattern)]
    others = [path for path in real if path not in hapi]
    with ExitStack() as stack:
        background = []
        for paths in (hapi, others):
            said = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(
                _pytest(paths, "thread,greenlet"), stdout=said, stderr=subprocess.STDOUT
            )
            background.append((stack.enter_context(process), said))
        # Their ledger never leaves the thread; to follow greenlets takes longer than all the rest of the measuring.
        failed = subprocess.run(_pytest(alone, "thread"), check=False).returncode != 0
        for process, said in background:
            failed |= process.wait() != 0
            said.seek(0)
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()
    return int(failed)


def _has_tests(path: Path) -> bool:
    return path.match("test_*.py") or any(path.glob("test_*.py"))


def _pytest(paths: list[Path], concurrency: str) -> list[str]:
    chosen = sorted(str(path.relative_to(TESTS.parent)) for path in paths)
    coverage = [sys.executable, "-m", "coverage", "run", f"--concurrency={concurrency}"]
    return [*coverage, "-m", "pytest", *chosen]


if __name__ == "__main__":
    sys.exit(main())
