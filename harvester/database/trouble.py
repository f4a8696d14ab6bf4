"""SQLite's exceptions as errors with a remedy."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from harvester.durable import disk_full, file_size_limit, too_large
from harvester.errors import CacheError

REFUSED = "A trigger or a condition in the file itself refuses it: take that out, or write to another output."

_NOT_WRITTEN = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_FSYNC)


def damaged(path: Path, what: str) -> CacheError:
    """The CacheError for a database that cannot be trusted."""
    hint = "Move the file away, or replace it with --mode overwrite."
    if not _shows_its_tables(path):  # nothing is replaced of which nobody can see what it holds
        hint = "Move the file away; then run the same command again."
    return CacheError(f"{path} is damaged: {what}", hint=hint, code="damaged")


def _shows_its_tables(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
    except (sqlite3.Error, UnicodeDecodeError):
        return False
    return True


@contextmanager
def sqlite_errors(path: Path, what: str) -> Iterator[None]:
    """Turn SQLite's exceptions into CacheError; ``what`` is the verb for the message."""
    try:
        yield
    except sqlite3.Error as cause:
        raise _translated(path, what, cause) from cause
    except UnicodeDecodeError as cause:  # of the message that names what is broken, by its broken name
        raise damaged(path, "the names of its tables are no text") from cause


def _translated(path: Path, what: str, cause: sqlite3.Error) -> CacheError:
    # The low byte of an extended result code is the primary one.
    extended = getattr(cause, "sqlite_errorcode", 0) or 0
    code = extended & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return disk_full(path)
    if extended in _NOT_WRITTEN and file_size_limit() is not None:
        # SQLite does not say why; where the system limits the size of files, this is how it comes.
        return too_large(path, f"{cause}, perhaps because it may not grow")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        hint = "Close the program that has it open, then run the same command again."
        return CacheError(f"cannot {what} {path}: another program holds it", hint=hint, code="in_use")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, str(cause))
    if extended == sqlite3.SQLITE_READONLY_DBMOVED:
        hint = "Leave a cache alone while a run writes it; then run the same command again."
        return CacheError(f"{path} was moved or removed while it was being written", hint=hint, code="moved")
    if extended in (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY):
        hint = "Run the harvest again: it takes the half-written part back."
        return CacheError(
            f"cannot {what} {path}: its last writer was killed while writing", hint=hint, code="half_written"
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        hint = "Check that the path exists and the permissions of the file and its folder."
        return CacheError(f"cannot {what} {path}: {cause}", hint=hint, code="permission")
    if code == sqlite3.SQLITE_CONSTRAINT:
        return CacheError(f"cannot {what} {path}: {cause}", hint=REFUSED, code="refused")
    return CacheError(f"cannot {what} {path}: {cause}", hint="Check the disk, then run the same command again.")
