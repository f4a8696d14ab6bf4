"""SQLite as the project uses it: readers that change nothing, one writer of whole transactions, errors with remedy."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from harvester.durable import Disk, disk_error, disk_full
from harvester.errors import CacheError
from harvester.loop import to_the_end

if TYPE_CHECKING:
    import aiosqlite

PAGE_SIZE = 16384
"""A 15 KB tile fills one page; measured faster than 4096 and than 65536 for tiles of 1 to 40 KB."""

BUSY_SECONDS = 20.0
"""How long to wait for another process: a reader holds the file for one query, a commit for as long as a sync takes."""

CACHE_KIB = 2048
"""Page cache of a writer: the inner pages of an index of 10^8 tiles. What a batch needs beyond it goes to the file
before the commit, under the journal: a larger cache, or holding the pages back, measured 10 to 20 % slower."""

MAGIC = b"SQLite format 3\x00"

HEADER_BYTES = 100
"""SQLite file format, section 1.3: 0 magic · 16 page size (u16, 1 = 65536) · 18, 19 write and read version (2 = WAL) ·
24 change counter (u32) · 28 size in pages (u32) · 92 change counter that the size is valid for (u32)."""

JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"

JOURNAL_HEADER_BYTES = 28
"""SQLite file format, section 3: 0 magic · 8 records (u32) · 12 nonce (u32) · 16 pages of the database before the
transaction (u32) · 20 sector size (u32) · 24 page size (u32)."""

_WAL = 2

_WRITTEN_HERE: set[tuple[int, int]] = set()
"""Device and inode of the files that this process writes. A POSIX lock belongs to the process and ends when *any* of
its descriptors on the file is closed: none but SQLite may open and close these (sqlite.org/howtocorrupt.html, 2.2)."""


def is_written_here(path: Path) -> bool:
    """Does this process write this database? Then its file must not be opened but by SQLite."""
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) in _WRITTEN_HERE


async def _connected(connection: aiosqlite.Connection) -> None:
    await connection


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


def is_unborn(path: Path) -> bool:
    """Was the first transaction of this file never finished, or not yet? Whatever its bytes are, SQLite will make it
    empty, as it was: its journal says so. After a power cut those bytes may be any part of what was being written.
    """
    try:
        with path.with_name(path.name + "-journal").open("rb") as file:
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


def damaged(path: Path, what: str) -> CacheError:
    """The CacheError for a database that cannot be trusted."""
    hint = "Move the file away, or replace it with --mode overwrite."
    return CacheError(f"{path} is damaged: {what}", hint=hint, code="damaged")


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
    return CacheError(f"cannot {what} {path}: {cause}", hint="Check the disk, then run the same command again.")


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing on disk, not even by files beside it. Raises CacheError.

    One exception: what a killed writer left half done is taken back first, by its journal, as every SQLite reader does.
    """
    if is_written_here(path):
        return open_beside_writer(path)
    header = read_header(path)
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
    """A read-only connection to a database that this process writes."""
    return _connect(path, "mode=ro")


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
    return "file://" + ("" if place.startswith("/") else "/") + quote(place)


class Database:
    """The one writer of a database file: rollback journal (TRUNCATE), synchronous FULL, whole transactions.

    ``disk.step`` is called as ``sqlite_begin``, ``sqlite_commit`` and ``sqlite_committed``.
    """

    def __init__(self, path: Path, disk: Disk, connection: aiosqlite.Connection) -> None:
        self.path = path
        self._disk = disk
        self._connection: aiosqlite.Connection | None = connection
        self._rollback_journal = False
        self._writing = asyncio.Lock()
        self._file: tuple[int, int] | None = None

    @classmethod
    async def open(
        cls, path: Path, *, disk: Disk, page_size: int = PAGE_SIZE, busy_seconds: float = BUSY_SECONDS
    ) -> Database:
        """Open or create (then with ``page_size``); what a killed writer left half done is rolled back."""
        import aiosqlite

        with sqlite_errors(path, "open"):
            connection = aiosqlite.connect(path, timeout=busy_seconds, isolation_level=None)
            database = cls(path, disk, connection)
            try:
                # Broken off, the thread would make the file later on: when nobody is left to close or remove it.
                await to_the_end(_connected(connection))
                await database.execute(f"PRAGMA page_size={page_size}")
                await database.execute("PRAGMA synchronous=FULL")
                await database.execute(f"PRAGMA cache_size={-CACHE_KIB}")
                await database.execute("PRAGMA temp_store=MEMORY")
                await database.execute("SELECT count(*) FROM sqlite_master")
                # A WAL database of another program stays one until something is written (see ``leave_wal``).
                mode = (await database.execute("PRAGMA journal_mode"))[0][0]
                if mode != "wal":
                    await database.execute("PRAGMA journal_mode=TRUNCATE")
                    database._rollback_journal = True
                found = path.stat()
                database._file = (found.st_dev, found.st_ino)
                _WRITTEN_HERE.add(database._file)
            except BaseException:
                await database.close()
                raise
        return database

    async def execute(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """Run one statement; gives its rows."""
        with sqlite_errors(self.path, "use"):
            return list(await self._open.execute_fetchall(sql, values))

    async def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> int:
        """Run one statement for many rows; gives how many rows it inserted, changed or deleted."""
        connection = self._open
        with sqlite_errors(self.path, "write"):
            before = connection.total_changes
            await (await connection.executemany(sql, rows)).close()
            return connection.total_changes - before

    @property
    def is_wal(self) -> bool:
        """Is it a WAL database, as another program made it? Then ``leave_wal`` comes before the first transaction."""
        return not self._rollback_journal

    async def leave_wal(self) -> None:
        """Turn a WAL database into one with a rollback journal; nobody else may have it open."""
        await self.execute("PRAGMA journal_mode=TRUNCATE")
        self._rollback_journal = True

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """One durable transaction around the block; rolled back when the block or the commit fails or is cancelled."""
        async with self._writing:
            try:
                self._step("sqlite_begin")
                await self.execute("BEGIN IMMEDIATE")
                yield
                self._step("sqlite_commit")
                await self.execute("COMMIT")
                self._step("sqlite_committed")
            except BaseException:
                with suppress(CacheError, asyncio.CancelledError):
                    await asyncio.shield(self._roll_back())
                raise

    async def _roll_back(self) -> None:
        # Some errors (a full disk) have rolled back already; then there is no transaction, and that is as good.
        with suppress(CacheError):
            await self.execute("ROLLBACK")

    def _step(self, name: str) -> None:
        try:
            self._disk.step(name, self.path)
        except OSError as cause:
            raise disk_error("write", self.path, cause) from cause

    async def close(self) -> None:
        """Close; the journal file goes. May be called twice."""
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        with sqlite_errors(self.path, "close"):
            await to_the_end(self._close(connection))

    async def _close(self, connection: aiosqlite.Connection) -> None:
        try:
            if self._rollback_journal:
                await connection.execute_fetchall("PRAGMA journal_mode=DELETE")
        except sqlite3.Error:
            pass  # A damaged or foreign file: there is nothing to tidy up, and the first error is the one to tell.
        finally:
            await connection.close()
            if self._file is not None:
                _WRITTEN_HERE.discard(self._file)

    @property
    def _open(self) -> aiosqlite.Connection:
        if self._connection is None:
            raise CacheError(f"{self.path} is closed already", hint="Open it again.")
        return self._connection
