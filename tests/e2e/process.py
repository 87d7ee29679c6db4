"""The product as its users run it: the process `python -m adapter run`, with settings in its environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from adapter.config import PREFIX


class Process:
    """One adapter, run again and again: each life writes to the same log."""

    def __init__(self, settings: Mapping[str, str], log: Path) -> None:
        others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        stated = {"TELEMETRY__LOG_LEVEL": "debug", **settings}
        self._environment = {**others, **{f"{PREFIX}{name}": value for name, value in stated.items()}}
        self._log = log
        self._before = 0  # how long the log was when this life began
        self._running: subprocess.Popen[bytes] | None = None

    @contextmanager
    def living(self) -> Iterator[None]:
        """Starts it; it is dead when the block is left, however that happens."""
        with self._log.open("ab") as log:
            self._before = log.tell()
            self._running = subprocess.Popen(
                [sys.executable, "-m", "adapter", "run"], env=self._environment, stdout=log, stderr=log
            )
        try:
            yield
            assert self.died_by_signal(), f"it ended by itself: {self.log()[-3:]}"
        finally:
            self.kill()

    @property
    def pid(self) -> int:
        """The process of this life."""
        assert self._running is not None
        return self._running.pid

    def kill(self) -> None:
        """SIGKILL; it is dead when this returns. Twice does no harm."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()

    def wait_until_up(self, seconds: float) -> None:
        """Returns once this life says that it has started, or somebody killed it, or the time is over."""
        until = time.monotonic() + seconds
        while not self._is_up() and self._is_running() and time.monotonic() < until:
            time.sleep(0.02)

    def _is_up(self) -> bool:
        with self._log.open("rb") as log:
            log.seek(self._before)
            return b'"adapter.started"' in log.read()

    def _is_running(self) -> bool:
        return self._running is not None and self._running.poll() is None

    def wait(self, seconds: float) -> None:
        """Waits for somebody else to kill it, so long at most."""
        assert self._running is not None
        with suppress(subprocess.TimeoutExpired):
            self._running.wait(seconds)

    def died_by_signal(self) -> bool:
        """Whether it runs, or was killed: not when it ended by itself."""
        return self._running is not None and (self._running.poll() or -1) < 0

    def log(self) -> list[dict[str, object]]:
        """What it logged in all its lives; the line that a kill cut in two is left out."""
        lines: list[dict[str, object]] = []
        for line in self._log.read_text("utf-8", "replace").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append({"event": "unreadable", "line": line})
        return lines
