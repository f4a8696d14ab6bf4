"""Databases opened to be read: nothing on disk is changed, and no lock of this process's own writer is lost."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from harvester.database.beside import require_own_journal
from harvester.database.header import read_header
from harvester.database.trouble import sqlite_errors
from harvester.errors import CacheError

BUSY_SECONDS = 20.0
"""How long to wait for another process: a reader holds the file for one query, a commit for as long as a sync takes."""

BESIDE_KIB = 256
"""Page cache of a connection beside the writer's. It asks for one block after the other, for which the inner pages are
enough; SQLite's own 2 MB fill as a cache grows, and 10^6 tiles then take 4 to 6 MB more than 10^4."""

WRITTEN_HERE: set[tuple[int, int]] = set()
"""Device and inode of the files that this process writes. A POSIX lock belongs to the process and ends when *any* of
its descriptors on the file is closed: none but SQLite may open and close these (sqlite.org/howtocorrupt.html, 2.2)."""


def is_written_here(path: Path) -> bool:
    """Does this process write this database? Then its file must not be opened but by SQLite."""
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) in WRITTEN_HERE


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing on disk, not even by files beside it. Raises CacheError.

    One exception: what a killed writer left half done is taken back first, by its journal, as every SQLite reader does.
    """
    if is_written_here(path):
        return open_beside_writer(path)
    header = read_header(path)
    require_own_journal(path)
    if header is None:
        if path.exists():
            raise CacheError(f"{path} is empty", hint="Run the harvest that makes it.", code="missing")
        raise CacheError(f"{path} does not exist", hint="Check the path.", code="missing")
    options = "mode=ro"
    if header.is_wal:
        # A WAL database can't be read without making a -shm file, unless nothing is pending and nobody has it open.
        log, shared = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
        if not log.exists() or not log.stat().st_size:
            options = "mode=ro&immutable=1"
        elif not shared.exists():
            hint = "Open it once with the program that wrote it, so that it completes its -wal file."
            raise CacheError(f"{path} was left half written by another program", hint=hint, code="half_written")
    try:
        return _connect(path, options)
    except CacheError as error:
        if error.code != "half_written" or not _roll_back(path):
            raise
    return _connect(path, options)


def _roll_back(path: Path) -> bool:
    """Let SQLite play back a journal; False when it may not write here."""
    try:
        connection = sqlite3.connect(f"{_uri(path)}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    except sqlite3.Error:
        return False
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except (sqlite3.Error, UnicodeDecodeError):
        return False
    finally:
        connection.close()
    return True


def open_beside_writer(path: Path) -> sqlite3.Connection:
    """A read-only connection to a database that this process writes. It remembers little: a run has several."""
    connection = _connect(path, "mode=ro")
    connection.execute(f"PRAGMA cache_size={-BESIDE_KIB}")
    return connection


def _connect(path: Path, options: str) -> sqlite3.Connection:
    with sqlite_errors(path, "open"):
        connection = sqlite3.connect(
            f"{_uri(path)}?{options}", uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
    return connection


def _uri(path: Path) -> str:
    place = path.absolute().as_posix()
    return "file://" + ("" if place.startswith("/") else "/") + quote(os.fsencode(place))


class OpenedDatabase:
    """A database that is read until ``close`` or the end of the ``with`` block."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = connection

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise CacheError(f"{self.path} is closed already", hint="Open it again.")
        return self._connection

    def _query(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """All rows at once: a statement left open would keep a writer in another process from committing."""
        connection = self._open
        with sqlite_errors(self.path, "read"):
            return connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Release the file. May be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
