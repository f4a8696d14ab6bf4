"""What SQLite does to its files, step by step: a VFS between it and the system that tells of every write and sync.

``with watching_sqlite(watch):`` makes it the default for every connection that Python's ``sqlite3`` opens meanwhile, so
the code under test is what it always is: its own connections, its own pragmas. Each file is opened by the system's own
VFS; only its writing methods are led past ``watch`` (SQLite C interface: ``sqlite3_vfs``, ``sqlite3_io_methods``).
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

_OK = 0
_IOERR_WRITE = 10 | 3 << 8
_IOERR_FSYNC = 10 | 4 << 8
_IOERR_TRUNCATE = 10 | 6 << 8
_IOERR_DELETE = 10 | 10 << 8
"""SQLite result codes: the extended ones name the operation that failed."""

_JOURNALS = 0x0800 | 0x4000 | 0x80000
"""SQLITE_OPEN_MAIN_JOURNAL, SUPER_JOURNAL, WAL: the first sync of one that was created syncs its folder, too."""

NAME = b"watched"

_METHOD_COUNTS = {1: 12, 2: 16, 3: 18}
"""Function pointers of ``sqlite3_io_methods`` by its version; an older table ends sooner."""

_CLOSE = CFUNCTYPE(c_int, c_void_p)
_WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)
_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
"""Names are passed on as the pointers they came as: SQLite keeps them, and a URI's parameters lie behind them."""

_CLOSES, _WRITES, _TRUNCATES, _SYNCS = 0, 2, 3, 4
"""Places of these methods in the table."""


class _Methods(ctypes.Structure):
    _fields_ = (("version", c_int), ("functions", c_void_p * 18))


class _File(ctypes.Structure):
    _fields_ = (("methods", POINTER(_Methods)),)


class _Vfs(ctypes.Structure):
    _fields_ = (
        ("version", c_int),
        ("file_bytes", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", c_void_p),
        ("delete", c_void_p),
        ("others", c_void_p * 14),
    )


class SqliteWatch:
    """What is told. ``step`` comes before an operation: what it raises makes the operation fail (SQLITE_IOERR).

    The others come after one that succeeded. All are called in whatever thread SQLite works in.
    """

    def step(self, name: str, path: Path) -> None:
        """About to ``sqlite_write``, ``sqlite_sync``, ``sqlite_truncate`` or ``sqlite_delete``."""

    def created(self, path: Path) -> None:
        """A file is there that was not."""

    def written(self, path: Path, offset: int, data: bytes) -> None:
        """Bytes were written."""

    def truncated(self, path: Path, size: int) -> None:
        """The file's length was set."""

    def synced(self, path: Path) -> None:
        """What was written is durable."""

    def folder_synced(self, path: Path) -> None:
        """Names in this folder are durable."""

    def removed(self, path: Path) -> None:
        """The file is gone."""


@contextmanager
def watching_sqlite(watch: SqliteWatch) -> Iterator[None]:
    """Tell ``watch`` what SQLite does to every file that is opened inside the block, in any thread.

    Raises RuntimeError where this Python keeps SQLite's functions to itself (see ``can_watch``).
    """
    shim = _shim()
    shim.begin(watch)
    try:
        yield
    finally:
        shim.end()


def can_watch() -> bool:
    """Can the SQLite of this Python be reached? Not where it was built in with its functions hidden."""
    with suppress(RuntimeError):
        _shim()
        return True
    return False


@cache
def _shim() -> _Shim:
    # Never freed: SQLite keeps pointers into it as long as the process lives.
    return _Shim(_library())


def _library() -> Any:
    """The library that the ``sqlite3`` module uses: through the module, through the program, or by its name."""
    import _sqlite3

    mine = sqlite3.connect(":memory:")
    try:
        (source,) = mine.execute("SELECT sqlite_source_id()").fetchone()
    finally:
        mine.close()
    for name in (getattr(_sqlite3, "__file__", None), None, "sqlite3"):
        with suppress(OSError, AttributeError, TypeError):
            library = ctypes.CDLL(name)
            library.sqlite3_sourceid.restype = c_char_p
            if library.sqlite3_sourceid().decode() == source:
                library.sqlite3_vfs_find.restype = POINTER(_Vfs)
                return library
    raise RuntimeError("the SQLite of this Python cannot be reached")


def _path(name: int) -> Path:
    return Path(os.fsdecode(ctypes.string_at(name)))


class _Opened:
    """One open file."""

    __slots__ = ("base", "path", "syncs_folder")

    def __init__(self, path: Path, base: int, syncs_folder: bool) -> None:
        self.path = path
        self.base = base
        self.syncs_folder = syncs_folder


class _Shim:
    """A copy of the default VFS with its own ``open`` and ``delete``."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._base = library.sqlite3_vfs_find(None)
        base = self._base.contents
        self._base_open = _OPEN(base.open)
        self._base_delete = _DELETE(base.delete)
        self._watch: SqliteWatch | None = None
        self._files: dict[int, _Opened] = {}
        self._tables: dict[int, _Methods] = {}
        self._originals: dict[int, tuple[Any, Any, Any, Any]] = {}
        self._callbacks = {
            _CLOSES: _CLOSE(self._close),
            _WRITES: _WRITE(self._write),
            _TRUNCATES: _TRUNCATE(self._truncate),
            _SYNCS: _SYNC(self._sync),
        }
        self._open_callback, self._delete_callback = _OPEN(self._open), _DELETE(self._delete)
        self._vfs = _Vfs()
        ctypes.pointer(self._vfs)[0] = base
        self._vfs.next = None
        self._vfs.name = NAME
        self._vfs.open = ctypes.cast(self._open_callback, c_void_p)
        self._vfs.delete = ctypes.cast(self._delete_callback, c_void_p)

    def begin(self, watch: SqliteWatch) -> None:
        if self._watch is not None:
            raise RuntimeError("SQLite is being watched already")
        self._watch = watch
        self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)

    def end(self) -> None:
        self._library.sqlite3_vfs_register(self._base, 1)
        self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs))
        self._watch = None

    def _before(self, name: str, path: Path) -> bool:
        if self._watch is not None:
            try:
                self._watch.step(name, path)
            except BaseException:
                # Nothing may be raised through SQLite; who raised has remembered why.
                return False
        return True

    def _after(self, result: int, tell: Callable[[SqliteWatch], None]) -> int:
        if result == _OK and self._watch is not None:
            tell(self._watch)
        return result

    # ---- of the VFS

    def _open(self, vfs: int, name: int | None, file: int, flags: int, out: int | None) -> int:
        path = None if name is None else _path(name)
        was_there = path is not None and path.exists()
        result: int = self._base_open(ctypes.addressof(self._base.contents), name, file, flags, out)
        if result != _OK or path is None:
            return result
        handle = _File.from_address(file)
        base = ctypes.cast(handle.methods, c_void_p).value or 0
        self._files[file] = _Opened(path, base, not was_there and bool(flags & _JOURNALS))
        handle.methods = ctypes.pointer(self._table(base))
        return self._after(_OK, lambda watch: None if was_there else watch.created(path))

    def _delete(self, vfs: int, name: int, syncs_folder: int) -> int:
        path = _path(name)
        if not self._before("sqlite_delete", path):
            return _IOERR_DELETE
        result: int = self._base_delete(ctypes.addressof(self._base.contents), name, syncs_folder)
        self._after(result, lambda watch: watch.removed(path))
        return self._after(result, lambda watch: watch.folder_synced(path.parent) if syncs_folder else None)

    # ---- of a file

    def _table(self, base: int) -> _Methods:
        """The file's own methods, with four of them led past us."""
        if base not in self._tables:
            table = _Methods()
            table.version = c_int.from_address(base).value
            count = _METHOD_COUNTS[min(table.version, 3)]
            start = base + _Methods.functions.offset
            for place in range(count):
                table.functions[place] = c_void_p.from_address(start + place * ctypes.sizeof(c_void_p)).value
            self._originals[base] = (
                _CLOSE(table.functions[_CLOSES]),
                _WRITE(table.functions[_WRITES]),
                _TRUNCATE(table.functions[_TRUNCATES]),
                _SYNC(table.functions[_SYNCS]),
            )
            for place, callback in self._callbacks.items():
                table.functions[place] = ctypes.cast(callback, c_void_p).value
            self._tables[base] = table
        return self._tables[base]

    def _close(self, file: int) -> int:
        opened = self._files.pop(file)
        _File.from_address(file).methods = ctypes.cast(opened.base, POINTER(_Methods))
        result: int = self._originals[opened.base][0](file)
        return result

    def _write(self, file: int, data: int, size: int, offset: int) -> int:
        opened = self._files[file]
        if not self._before("sqlite_write", opened.path):
            return _IOERR_WRITE
        result = self._originals[opened.base][1](file, data, size, offset)
        return self._after(result, lambda watch: watch.written(opened.path, offset, ctypes.string_at(data, size)))

    def _truncate(self, file: int, size: int) -> int:
        opened = self._files[file]
        if not self._before("sqlite_truncate", opened.path):
            return _IOERR_TRUNCATE
        result = self._originals[opened.base][2](file, size)
        return self._after(result, lambda watch: watch.truncated(opened.path, size))

    def _sync(self, file: int, flags: int) -> int:
        opened = self._files[file]
        if not self._before("sqlite_sync", opened.path):
            return _IOERR_FSYNC
        result = self._originals[opened.base][3](file, flags)
        self._after(result, lambda watch: watch.synced(opened.path))
        first, opened.syncs_folder = opened.syncs_folder, False
        return self._after(result, lambda watch: watch.folder_synced(opened.path.parent) if first else None)
