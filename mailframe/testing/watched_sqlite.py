"""What SQLite does to its files, call by call, seen and failed on request.

SQLite does its input and output through a table of functions. While a `WatchedSqlite` is installed,
connections are opened with one of ours, which calls a watch and then SQLite's own. Locks and shared
memory are left alone: neither outlives the process.

Needs Python's ``sqlite3`` to use the shared library ``libsqlite3.so.0``, as on Linux distributions.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_void_p
from typing import Any

import attrs

from mailframe.testing.storage_calls import StorageCall, Watch

OK = 0
FULL = 13
CANTOPEN = 14
READONLY = 8
IOERR_READ = 10 | 1 << 8
IOERR_WRITE = 10 | 3 << 8
IOERR_FSYNC = 10 | 4 << 8
IOERR_TRUNCATE = 10 | 6 << 8
IOERR_DELETE = 10 | 10 << 8
# Of these SQLite syncs the folder at the first sync of the file, and so does its own table.
NEW_JOURNAL = 0x00000800 | 0x00080000  # SQLITE_OPEN_MAIN_JOURNAL, SQLITE_OPEN_WAL
CREATES = 0x00000004

Close = CFUNCTYPE(c_int, c_void_p)
Read = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
Sync = CFUNCTYPE(c_int, c_void_p, c_int)
# SQLite keeps the pointer to the name: it must be handed on as it came.
Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
Delete = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)


class Methods(Structure):
    """``sqlite3_io_methods``: the functions of an open file."""

    _fields_ = (
        ("iVersion", c_int),
        ("xClose", Close),
        ("xRead", Read),
        ("xWrite", Write),
        ("xTruncate", Truncate),
        ("xSync", Sync),
        *((f"other{n}", c_void_p) for n in range(13)),
    )


class File(Structure):
    """The beginning of ``sqlite3_file``."""

    _fields_ = (("methods", POINTER(Methods)),)


class System(Structure):
    """``sqlite3_vfs``: a table of functions."""

    _fields_ = (
        ("iVersion", c_int),
        ("szOsFile", c_int),
        ("mxPathname", c_int),
        ("pNext", c_void_p),
        ("zName", c_char_p),
        ("pAppData", c_void_p),
        ("xOpen", Open),
        ("xDelete", Delete),
        *((f"other{n}", c_void_p) for n in range(14)),
    )


@attrs.define
class _Open:
    """An open file."""

    path: str
    real: Any
    methods: Methods
    number: int
    syncs_folder: bool


_ever: list[Any] = []  # those that were ever installed: SQLite has pointers into them
_numbers = itertools.count(1 << 32)  # no descriptor is as large


class WatchedSqlite:
    """A table of functions to be used by all connections that are opened while it is installed.

    :param watch: who is told
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._library: Any = ctypes.CDLL("libsqlite3.so.0")
        self._library.sqlite3_vfs_find.restype = POINTER(System)
        self._real = self._library.sqlite3_vfs_find(None)
        self._system = System.from_buffer_copy(self._real.contents)
        self._system.zName = b"watched"
        self._system.xOpen = Open(self._open)
        self._system.xDelete = Delete(self._delete)
        self._files: dict[int, _Open] = {}
        self._own: list[Any] = []  # what SQLite has pointers to

    def __enter__(self) -> WatchedSqlite:
        _ever.append(self)
        self._library.sqlite3_vfs_register(ctypes.byref(self._system), 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._library.sqlite3_vfs_register(self._real, 1)
        self._library.sqlite3_vfs_unregister(ctypes.byref(self._system))

    # --- the system --------------------------------------------------------------------------

    def _open(self, system: int, name: int | None, file: int, flags: int, out: int) -> int:
        path = os.fsdecode(ctypes.string_at(name)) if name else ""
        call = StorageCall(operation="create" if flags & CREATES else "open", path=path)
        try:
            self._watch.before(call)
        except OSError:
            ctypes.cast(file, POINTER(c_void_p))[0] = None  # nothing is to be closed
            return CANTOPEN
        is_new = bool(flags & NEW_JOURNAL) and not os.path.exists(path)
        code: int = self._real.contents.xOpen(system, name, file, flags, out)
        if code == OK:
            opened = ctypes.cast(file, POINTER(File)).contents
            # A pointer of its own: the one in the file is about to change.
            real = ctypes.cast(ctypes.addressof(opened.methods.contents), POINTER(Methods))
            number = next(_numbers)
            ours = Methods.from_buffer_copy(real.contents)
            ours.xClose = Close(self._close)
            ours.xRead = Read(self._read)
            ours.xWrite = Write(self._write)
            ours.xTruncate = Truncate(self._truncate)
            ours.xSync = Sync(self._sync)
            self._files[file] = _Open(path, real, ours, number, is_new)
            self._own.append(ours)
            opened.methods = ctypes.pointer(ours)
            self._watch.after(attrs.evolve(call, descriptor=number))
        return code

    def _delete(self, system: int, name: int, sync_folder: int) -> int:
        call = StorageCall(
            operation="unlink",
            path=os.fsdecode(ctypes.string_at(name)),
            syncs_folder=bool(sync_folder),
        )
        return self._do(
            call, IOERR_DELETE, lambda: self._real.contents.xDelete(system, name, sync_folder)
        )

    # --- a file ------------------------------------------------------------------------------

    def _do(self, call: StorageCall, failed: int, act: Callable[[], int]) -> int:
        try:
            self._watch.before(call)
        except OSError:
            return failed
        code = act()
        if code == OK:
            self._watch.after(call)
        return code

    def _call(self, operation: str, file: int, **more: Any) -> StorageCall:
        opened = self._files[file]
        return StorageCall(operation=operation, path=opened.path, descriptor=opened.number, **more)

    def _close(self, file: int) -> int:
        opened = self._files.pop(file)
        code: int = opened.real.contents.xClose(file)
        self._watch.after(
            StorageCall(operation="close", path=opened.path, descriptor=opened.number)
        )
        return code

    def _read(self, file: int, octets: int, size: int, offset: int) -> int:
        real = self._files[file].real.contents
        try:
            self._watch.before(self._call("read", file))
        except OSError:
            return IOERR_READ
        code: int = real.xRead(file, octets, size, offset)
        return code

    def _write(self, file: int, octets: int, size: int, offset: int) -> int:
        real = self._files[file].real.contents
        call = self._call("write", file, octets=ctypes.string_at(octets, size), offset=offset)
        try:
            most = self._watch.before(call)
        except OSError as error:
            # As SQLite's own function has it: only this one means that there is no room.
            return FULL if error.errno == errno.ENOSPC else IOERR_WRITE
        if most is not None and most < size:
            # Its own function goes on after a short write; what it gives up with is this.
            real.xWrite(file, octets, most, offset)
            self._watch.after(attrs.evolve(call, octets=call.octets[:most]))
            return FULL
        code: int = real.xWrite(file, octets, size, offset)
        if code == OK:
            self._watch.after(call)
        return code

    def _truncate(self, file: int, size: int) -> int:
        real = self._files[file].real.contents
        return self._do(
            self._call("truncate", file, size=size),
            IOERR_TRUNCATE,
            lambda: real.xTruncate(file, size),
        )

    def _sync(self, file: int, flags: int) -> int:
        opened = self._files[file]
        call = self._call("fsync", file, syncs_folder=opened.syncs_folder)
        code = self._do(call, IOERR_FSYNC, lambda: opened.real.contents.xSync(file, flags))
        if code == OK:
            opened.syncs_folder = False
        return code
