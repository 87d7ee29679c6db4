"""The SQLite file: one process has it, and notices when it is no longer there or no longer a database."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from adapter.errors import ConfigError

_COMPANIONS: Final = ("", "-wal", "-shm")
# SQLite's own codes for a file that it cannot make sense of (https://www.sqlite.org/rescode.html#corrupt).
_BROKEN: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE: Final = 0xFF


@dataclass(frozen=True, kw_only=True)
class LedgerFile:
    """The file as it was when it was opened."""

    path: Path
    device: int
    inode: int

    def check(self) -> None:
        """Whether the path still leads to the opened file: a deleted one keeps accepting commits.

        Raises:
            ConfigError: it does not; the process has to end.
        """
        try:
            now = self.path.stat()
        except OSError:
            raise ConfigError(
                f"the ledger file {self.path} was deleted while the adapter ran; start it again"
            ) from None
        if (now.st_dev, now.st_ino) != (self.device, self.inode):
            raise ConfigError(
                f"the ledger file {self.path} was replaced while the adapter ran; start it again"
            )


@contextmanager
def owned(path: Path, *, now: datetime) -> Iterator[LedgerFile]:
    """The file, sound and for this process alone; made when it is not there, moved aside when it is corrupt.

    Raises:
        ConfigError: another process has it, or it cannot be read and written there.
    """
    with _locked(path):
        try:
            _create(path)
            if not _is_sound(path):
                _move_aside(path, now=now)
                _create(path)
            found = path.stat()
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"ledger.url: {path} cannot be opened: {error}") from None
        yield LedgerFile(path=path, device=found.st_dev, inode=found.st_ino)


def check_place(path: Path) -> None:
    """Whether a ledger can be at that path.

    Raises:
        ConfigError: it cannot.
    """
    try:
        has_place = path.parent.is_dir()
    except OSError as error:
        raise ConfigError(f"ledger.url: {path} cannot be looked at: {error.strerror}.") from None
    if not has_place:
        raise ConfigError(f"ledger.url: there is no directory {path.parent}. Make it, or correct ledger.url.")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    check_place(path)
    lock = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"ledger.url: {lock} cannot be opened: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"the ledger file {path} is in use by another process (it holds {lock}). Stop it, give this one "
                "another ledger.url, or use PostgreSQL for several replicas."
            ) from None
        yield
    finally:
        # The lock file stays: removing it would let two processes lock two different files of that name.
        os.close(descriptor)


def _create(path: Path) -> None:
    # Webhook bodies are kept in it: for the owner's eyes only. SQLite gives its companions the same mode.
    path.touch(mode=0o600)


def _is_sound(path: Path) -> bool:
    # Read-only: SQLite would throw away the log of a file that it cannot read.
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            return connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & _PRIMARY_CODE in _BROKEN:
            return False
        raise


def _move_aside(path: Path, *, now: datetime) -> None:
    aside = path.with_name(f"{path.name}.corrupt-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")
    for companion in _COMPANIONS:
        part = path.with_name(path.name + companion)
        if part.exists():
            part.rename(aside.with_name(aside.name + companion))
    structlog.get_logger(__name__).error("ledger-corrupt", file=str(path), moved_to=str(aside))
