"""Runs the whole suite as two: what needs no neighbour, and what real neighbours take part in.

Each is one pytest under coverage. The one computes, the other mostly waits, so together they take little longer than
the slower of them. What the second says is shown when the first is done; the exit status is 1 when either failed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent
REAL: Final = ("contract", "e2e")


def main() -> int:
    """The exit status."""
    folders = sorted(path.name for path in TESTS.iterdir() if any(path.glob("**/test_*.py")))
    alone = [name for name in folders if name not in REAL]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(_pytest(REAL), stdout=said, stderr=subprocess.STDOUT) as second,
    ):
        first = subprocess.run(_pytest(alone), check=False)
        second.wait()
        said.seek(0)
        sys.stdout.buffer.write(said.read())
    return int(bool(first.returncode or second.returncode))


def _pytest(folders: tuple[str, ...] | list[str]) -> list[str]:
    chosen = [f"tests/{name}" for name in folders]
    return [sys.executable, "-m", "coverage", "run", "-m", "pytest", *chosen]


if __name__ == "__main__":
    sys.exit(main())
