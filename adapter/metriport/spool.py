"""Where fetched bytes are until they are on the FHIR server (`ports.mail.Spool`)."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from adapter.errors import Temporary

_PIECE: Final = 65_536


@dataclass(frozen=True, kw_only=True)
class SpooledFile:
    """Bytes in a file without a name."""

    size: int
    sha256: str
    sha1: bytes
    descriptor: int

    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` of them from `offset` on; none at the end."""
        return os.pread(self.descriptor, size, offset)

    async def chunks(self) -> AsyncIterator[bytes]:
        """All of them, anew at each call."""
        offset = 0
        while piece := self.read_at(offset, _PIECE):
            offset += len(piece)
            yield piece


@asynccontextmanager
async def spool(chunks: AsyncIterator[bytes], *, folder: Path | None = None) -> AsyncIterator[SpooledFile]:
    """Takes them all in, on disk; lets go of them at the end. Unset, the folder is the system's (`TMPDIR`).

    The file has no name from the moment it is open, and is its owner's alone: whatever ends the process, nothing of
    a patient stays behind. It is written without a thread, as what is just written stands in the system's memory.

    Raises:
        Temporary: the folder cannot be written to, or is full.
    """
    with _open(folder) as file:
        digest, stated, size = hashlib.sha256(), hashlib.sha1(usedforsecurity=False), 0
        async for chunk in chunks:
            with _typed(folder):
                _write(file.fileno(), chunk)
            digest.update(chunk)
            stated.update(chunk)
            size += len(chunk)
        yield SpooledFile(
            size=size, sha256=digest.hexdigest(), sha1=stated.digest(), descriptor=file.fileno()
        )


def _open(folder: Path | None) -> IO[bytes]:
    with _typed(folder):
        return tempfile.TemporaryFile(dir=folder, buffering=0)  # gone with its last descriptor; mode 0600


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


@contextmanager
def _typed(folder: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno or 0)
        where = folder or tempfile.gettempdir()
        raise Temporary(f"Keeping fetched bytes in {where}: {why}. Make room there.", applied=False) from None
