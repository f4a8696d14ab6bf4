"""The one writer of a database file: whole transactions, each durable."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harvester.database.reading import BUSY_SECONDS, WRITTEN_HERE
from harvester.database.trouble import sqlite_errors
from harvester.durable import Disk, disk_error
from harvester.errors import CacheError
from harvester.loop import to_the_end

if TYPE_CHECKING:
    import aiosqlite

PAGE_SIZE = 16384
"""Of a database whose rows are tiny or large: with tiles of 25 to 40 KB a file is a tenth to a fifth smaller
than with large pages."""

LARGE_PAGE_SIZE = 65536
"""Several tiles to a page (SQLite file format, section 1.3.2): at 4 to 15 KB a tile they cost a third less CPU to write
and take 4 to 21 % less room, of which a page of 16384 bytes leaves up to half empty behind one tile."""

LARGE_PAGE_TILES = range(2_000, 18_001)
"""Bytes of a tile, on average, for which the large page is the better one."""

CACHE_KIB = 2048
"""Page cache of a writer: the inner pages of an index of 10^8 tiles. What a batch needs beyond it goes to the file
before the commit, under the journal: a larger cache, or holding the pages back, measured 10 to 20 % slower."""


# The standard module looks for an adapter of every value that is none of its four types, bytes among them, and makes an
# exception to say that there is none: 0.3 us a tile. This one gives back the very same object, to whoever uses SQLite.
sqlite3.register_adapter(bytes, bytes)


def page_size_for(bodies: Collection[bytes]) -> int:
    """The page size of a new file that begins with these tiles; bytes."""
    mean = sum(map(len, bodies)) // len(bodies) if bodies else 0
    return LARGE_PAGE_SIZE if mean in LARGE_PAGE_TILES else PAGE_SIZE


async def _connected(connection: aiosqlite.Connection) -> None:
    await connection


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
                WRITTEN_HERE.add(database._file)
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

    async def create_function(self, name: str, values: int, function: Callable[..., Any]) -> None:
        """Give SQL a function of so many values; the same values give the same result."""
        with sqlite_errors(self.path, "use"):
            await self._open.create_function(name, values, function, deterministic=True)

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
                WRITTEN_HERE.discard(self._file)

    @property
    def _open(self) -> aiosqlite.Connection:
        if self._connection is None:
            raise CacheError(f"{self.path} is closed already", hint="Open it again.")
        return self._connection
