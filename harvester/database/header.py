"""What the first bytes of a database file, and of its journal, say without SQLite."""

from __future__ import annotations

from pathlib import Path

from harvester.database.trouble import damaged
from harvester.durable import FILE, disk_error, kind_of
from harvester.errors import CacheError

MAGIC = b"SQLite format 3\x00"

HEADER_BYTES = 100
"""SQLite file format, section 1.3: 0 magic · 16 page size (u16, 1 = 65536) · 18, 19 write and read version (2 = WAL) ·
24 change counter (u32) · 28 size in pages (u32) · 92 change counter that the size is valid for (u32)."""

JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"

JOURNAL_HEADER_BYTES = 28
"""SQLite file format, section 3: 0 magic · 8 records (u32) · 12 nonce (u32) · 16 pages of the database before the
transaction (u32) · 20 sector size (u32) · 24 page size (u32)."""

_WAL = 2


class Header:
    """What the first 100 bytes of a database file say."""

    def __init__(self, data: bytes) -> None:
        size = int.from_bytes(data[16:18], "big")
        self.page_size = 65536 if size == 1 else size
        self.is_wal = _WAL in data[18:20]
        self.changes = int.from_bytes(data[24:28], "big")
        """Grows by one with each transaction of a rollback-journal database, whoever writes it."""
        pages_valid = data[92:96] == data[24:28]
        self.pages = int.from_bytes(data[28:32], "big") if pages_valid else 0
        """Size of the file in pages, 0 where the header does not say."""


def read_header(path: Path) -> Header | None:
    """The header of a database file; None when there is no file, an empty one, or one that is not born yet (see
    ``is_unborn``). Raises CacheError when it is another.

    Not while this process is in a transaction on it (see ``is_written_here``).
    """
    _require_file(path)
    _require_file(path.with_name(path.name + "-journal"))
    try:
        with path.open("rb") as file:
            data = file.read(HEADER_BYTES)
            size = file.seek(0, 2)
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise disk_error("read", path, cause) from cause
    if not size or is_unborn(path):
        return None
    if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
        raise CacheError(
            f"{path} is not an SQLite database",
            hint="Choose another output, or move the file away.",
            code="not_a_cache",
        )
    header = Header(data)
    if header.pages * header.page_size > size and not _has_journal(path):
        raise damaged(path, f"{size:,} bytes of {header.pages * header.page_size:,} are there")
    return header


def _require_file(path: Path) -> None:
    """Nothing, or a file. SQLite would wait for the other end of a pipe, and make what a link promises."""
    kind = kind_of(path)
    if kind not in ("", FILE):
        raise CacheError(
            f"{path} is {kind}, and no database",
            hint="Choose another output, or move it away; nothing was changed.",
            code="not_a_cache",
        )


def is_unborn(path: Path) -> bool:
    """Was the first transaction of this file never finished, or not yet? Whatever its bytes are, SQLite will make it
    empty, as it was: its journal says so. After a power cut those bytes may be any part of what was being written.
    """
    journal = path.with_name(path.name + "-journal")
    if kind_of(journal) != FILE:
        return False
    try:
        with journal.open("rb") as file:
            data = file.read(JOURNAL_HEADER_BYTES)
        # Another process may have finished in between: then there is no journal any more.
        return data.startswith(JOURNAL_MAGIC) and len(data) == JOURNAL_HEADER_BYTES and data[16:20] == bytes(4)
    except OSError:
        return False


def _has_journal(path: Path) -> bool:
    """Was a writer killed, or is one at work? Then the header may be ahead of the file, and SQLite knows what to do."""
    try:
        return path.with_name(path.name + "-journal").stat().st_size > 0
    except OSError:
        return False
