"""What lies beside a database file under SQLite's names: its own journal, or something of somebody else's.

SQLite looks at the name alone: whatever is called ``FILE-journal`` or ``FILE-wal`` it plays back, overwrites or removes
(sqlite.org/fileformat2.html, sections 3 and 4.6; tempfiles.html).
"""

from __future__ import annotations

from pathlib import Path

from harvester.database.header import HEADER_BYTES, JOURNAL_HEADER_BYTES, JOURNAL_MAGIC, MAGIC, Header
from harvester.durable import FILE, Disk, disk_error, kind_of
from harvester.errors import CacheError

_UNSYNCED = bytes(len(JOURNAL_MAGIC) + 4)
"""How a journal begins until its first sync: magic and number of records are written then."""


def journal_of(database: Path) -> Path:
    """The rollback journal's name."""
    return database.with_name(database.name + "-journal")


def foreign_beside(database: Path) -> Path | None:
    """What SQLite would take for its own beside this database, there or not, and didn't make. None where there is
    nothing such; a file without a byte, which a kill leaves before the first page, is nobody's, and SQLite leaves it or
    removes it. Not while this process reads or writes it. Raises CacheError where it can't be read."""
    if kind_of(journal := journal_of(database)) and not is_journal(journal):
        return journal
    if not _is_wal(database):
        for ending in ("-wal", "-shm"):
            kind = kind_of(log := database.with_name(database.name + ending))
            if kind and (kind != FILE or _head(log, 1)):
                return log
    return None


def is_journal(journal: Path) -> bool:
    """Is this file a rollback journal that SQLite made, or an empty one, whose database may have been taken away?"""
    if kind_of(journal) != FILE:
        return False
    head = _head(journal, JOURNAL_HEADER_BYTES)
    return head[:8] == JOURNAL_MAGIC[: len(head)] or head[:12] == _UNSYNCED[: len(head)]


def require_own_journal(database: Path) -> None:
    """Raises CacheError where SQLite, asked to read this database, would take somebody's file for its journal or log:
    it would play it back, remove it, or put another beside it."""
    found = foreign_beside(database)
    if found is not None and not found.name.endswith("-shm"):
        raise CacheError(
            f"{found} is no journal of SQLite's, which would take it for one",
            hint="Move it away; nothing was changed.",
            code="name_taken",
        )


def remove_journal(database: Path, disk: Disk) -> None:
    """Remove what SQLite left beside a database that goes; what somebody else put there stays. Raises CacheError."""
    if is_journal(journal := journal_of(database)):
        disk.remove(journal)


def _is_wal(database: Path) -> bool:
    if kind_of(database) != FILE:
        return False
    head = _head(database, HEADER_BYTES)
    return len(head) == HEADER_BYTES and head.startswith(MAGIC) and Header(head).is_wal


def _head(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except FileNotFoundError:
        return b""
    except OSError as cause:
        raise disk_error("read", path, cause) from cause
