"""Fetched bytes on disk, until they are on the FHIR server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapter.errors import Temporary
from adapter.metriport.spool import SpooledFile, spool

FULL = Path("/dev/full")
OPEN = Path("/proc/self/fd")


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


def files_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


async def whole(spooled: SpooledFile) -> bytes:
    return b"".join([piece async for piece in spooled.chunks()])


@pytest.mark.parametrize("content", [[], [b""], [b"x"], [b"ab", b"", b"c" * 200_000, b"d"]], ids=len)
def test_everything_is_there_with_its_size_and_digest(content: list[bytes], tmp_path: Path) -> None:
    async def run() -> tuple[SpooledFile, bytes, bytes]:
        async with spool(pieces(*content), folder=tmp_path) as spooled:
            return spooled, await whole(spooled), await whole(spooled)

    spooled, once, again = asyncio.run(run())

    assert once == again == b"".join(content)
    assert (spooled.size, spooled.sha256) == (len(once), hashlib.sha256(once).hexdigest())


def test_any_part_can_be_read_by_itself() -> None:
    async def run() -> list[bytes]:
        async with spool(pieces(b"abc", b"def")) as spooled:
            return [
                spooled.read_at(2, 3),
                spooled.read_at(5, 100),
                spooled.read_at(6, 1),
                spooled.read_at(99, 1),
            ]

    assert asyncio.run(run()) == [b"cde", b"f", b"", b""]


def test_readers_do_not_disturb_one_another() -> None:
    async def run() -> list[tuple[bytes, bytes]]:
        async with spool(pieces(b"a" * 65_536, b"b" * 65_536)) as spooled:
            one, other = spooled.chunks(), spooled.chunks()
            return [(await anext(one), await anext(other)) for _ in range(2)]

    assert [(one[:1], other[:1]) for one, other in asyncio.run(run())] == [(b"a", b"a"), (b"b", b"b")]


def test_the_file_has_no_name_and_one_owner(tmp_path: Path) -> None:
    seen: list[tuple[list[str], int, int]] = []

    async def looking() -> AsyncIterator[bytes]:
        yield b"of a patient"
        seen.append((files_in(tmp_path), 0, 0))

    async def run() -> int:
        async with spool(looking(), folder=tmp_path) as spooled:
            facts = os.fstat(spooled.descriptor)
            seen.append((files_in(tmp_path), facts.st_nlink, stat.S_IMODE(facts.st_mode) & 0o077))
            return spooled.descriptor

    descriptor = asyncio.run(run())

    assert seen == [([], 0, 0), ([], 0, 0)]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"half"
        raise Temporary("the line broke")

    async def run() -> None:
        async with spool(breaking(), folder=tmp_path):
            raise AssertionError

    before = files_in(OPEN)
    with pytest.raises(Temporary, match="the line broke"):
        asyncio.run(run())

    assert files_in(tmp_path) == []
    assert files_in(OPEN) == before


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    async def run() -> None:
        async with spool(pieces(b"x"), folder=tmp_path / "missing"):
            raise AssertionError

    with pytest.raises(Temporary, match=r"missing: No such file or directory") as caught:
        asyncio.run(run())
    assert caught.value.applied is False


def test_a_full_disk_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: FULL.open("wb", buffering=0))

    async def run() -> None:
        async with spool(pieces(b"of a patient")):
            raise AssertionError

    with pytest.raises(Temporary, match="No space left on device") as caught:
        asyncio.run(run())
    assert "patient" not in str(caught.value)


def test_a_write_that_takes_only_a_part_is_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))

    async def run() -> bytes:
        async with spool(pieces(b"0123456789" * 3)) as spooled:
            return await whole(spooled)

    assert asyncio.run(run()) == b"0123456789" * 3


def test_a_large_content_is_not_in_memory() -> None:
    async def many() -> AsyncIterator[bytes]:
        block = bytes(1_000_000)
        for _ in range(60):
            yield block

    async def run() -> int:
        async with spool(many()) as spooled:
            return sum([len(piece) async for piece in spooled.chunks()])

    tracemalloc.start()
    try:
        size = asyncio.run(run())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size == 60_000_000
    assert peak < 5_000_000
