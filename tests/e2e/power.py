"""What a power cut would leave of SQLite's files: their bytes as of the last time that SQLite had them synchronised.

A shim over SQLite's own layer for the operating system (https://www.sqlite.org/vfs.html), put in through its C
interface: it copies a file whenever SQLite asks for an fsync of it, right after that was done.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_OK: Final = 0
# https://www.sqlite.org/c3ref/vfs.html and https://www.sqlite.org/c3ref/io_methods.html
_AFTER_OPEN: Final = ctypes.c_void_p * 15
_BEFORE_SYNC: Final = ctypes.c_void_p * 4
_AFTER_SYNC: Final = ctypes.c_void_p * 13
_Sync: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_Open: Final = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
)


class _Methods(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("before", _BEFORE_SYNC),
        ("sync", _Sync),
        ("after", _AFTER_SYNC),
    )


class _Vfs(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("size_of_file", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", _Open),
        ("after", _AFTER_OPEN),
    )


@dataclass(kw_only=True)
class Disk:
    """The files of one folder as a power cut would leave them."""

    folder: Path
    saved: Path
    synchronised: list[str] = field(default_factory=list)
    _copying: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, path: Path) -> None:
        """The file's bytes are safe as they are now."""
        if path.parent == self.folder:
            with self._copying:
                self.synchronised.append(path.name)
                shutil.copy(path, self.saved / path.name)

    def after_power_cut(self, query: str, *, of: str) -> list[Any]:
        """What the database of that name would answer when the power is back; nothing, where not even a table is."""
        left = self.saved / "left"
        left.mkdir(exist_ok=True)
        with self._copying:
            for name in (of, f"{of}-wal"):
                if (self.saved / name).exists():
                    shutil.copy(self.saved / name, left / name)
        with closing(sqlite3.connect(left / of)) as connection:
            try:
                return connection.execute(query).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return []


@contextmanager
def watched(folder: Path, saved: Path) -> Iterator[Disk]:
    """Watches what SQLite does in the folder while the block runs; copies go to `saved`."""
    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    library.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
    library.sqlite3_vfs_register.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.sqlite3_vfs_unregister.argtypes = [ctypes.c_void_p]
    usual = library.sqlite3_vfs_find(None)
    disk = Disk(folder=folder.resolve(), saved=saved)
    shim = _Shim(disk, usual.contents)
    place = ctypes.byref(shim.vfs)
    assert library.sqlite3_vfs_register(place, 1) == _OK
    try:
        yield disk
    finally:
        library.sqlite3_vfs_register(usual, 1)
        library.sqlite3_vfs_unregister(place)
        _FOR_EVER.append(shim)  # a connection may still be closed by its methods


class _Shim:
    def __init__(self, disk: Disk, usual: _Vfs) -> None:
        self._disk = disk
        self._open_as_usual = usual.open
        self._methods: dict[int, _Methods] = {}
        self._names: dict[int, Path] = {}
        self._syncs: list[Any] = []
        self._here = _Open(self._open)
        self.vfs = _Vfs.from_buffer_copy(usual)
        self.vfs.name = b"watched"
        self.vfs.open = self._here

    def _open(self, vfs: int, name: int | None, file: int, flags: int, out: int | None) -> int:
        # The name stays an address: SQLite goes on using it.
        result = int(self._open_as_usual(vfs, name, file, flags, out))
        place = ctypes.c_void_p.from_address(file)
        if result == _OK and name is not None and place.value is not None:
            self._names[file] = Path(ctypes.string_at(name).decode())
            place.value = ctypes.addressof(self._shimmed(place.value))
        return result

    def _shimmed(self, address: int) -> _Methods:
        if address not in self._methods:
            usual = _Methods.from_address(address)
            copy = _Methods.from_buffer_copy(usual)
            copy.sync = self._syncing(usual.sync)
            self._methods[address] = copy
        return self._methods[address]

    def _syncing(self, as_usual: Any) -> Any:
        def sync(file: int, flags: int) -> int:
            result = int(as_usual(file, flags))
            if result == _OK:
                self._disk.keep(self._names[file])
            return result

        made = _Sync(sync)
        self._syncs.append(made)
        return made


_FOR_EVER: Final[list[_Shim]] = []
