"""A cache's database while it is written: one connection that writes, and one beside it that only looks."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harvester.caches.addresses import Address
from harvester.database import REFUSED, Database, Header, damaged, open_beside_writer, page_size_for, read_header
from harvester.durable import Disk, disk_full
from harvester.edges import Stored
from harvester.errors import CacheError

QUICK_CHECK_BYTES = 1 << 30
"""Larger files are not read from end to end at every start (only their header and schema are); ``verify`` does that."""

ASKED_TOGETHER = 400
"""Addresses in one query: statements of this length are still quick to compile."""


@contextmanager
def saying_what_is_needed(path: Path, batch: Sequence[Stored]) -> Iterator[None]:
    """SQLite says that the disk is full, and not for how much: at least the bodies of the batch have no place."""
    try:
        yield
    except CacheError as error:
        if error.code != "disk_full":
            raise
        raise disk_full(path, sum(len(stored.body) for stored in batch)) from error


def require_taken(path: Path, taken: int, tiles: int) -> None:
    """Raises CacheError, inside of the transaction, where fewer rows were written than tiles: what the file has of its
    own (a trigger, a column that ignores what it doesn't take) left some out without a word."""
    if taken < tiles:
        raise CacheError(
            f"{path} does not take {tiles - taken:,} of {tiles:,} tiles: what it has of its own leaves them out",
            hint=REFUSED,
            code="refused",
        )


async def remove_tiles(database: Database, table: str, addresses: Sequence[Address]) -> None:
    """Take the tiles at these addresses out of a table, inside the caller's transaction; those that aren't there are
    gone already. Raises CacheError where some are there afterwards: what the file has of its own (a trigger) keeps or
    brings them back without a word, and how many rows went says nothing of that."""
    await database.executemany(
        f"DELETE FROM {table} WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?", addresses
    )
    left = 0
    for start in range(0, len(addresses), ASKED_TOGETHER):
        values = ",".join(f"({z},{x},{y})" for z, x, y in addresses[start : start + ASKED_TOGETHER])
        # CROSS JOIN: one seek for each address. Row values with IN would be a scan of the whole table.
        sql = (
            f"WITH wanted (z, x, y) AS (VALUES {values}) SELECT count(*) FROM wanted CROSS JOIN {table}"
            " ON zoom_level = z AND tile_column = x AND tile_row = y"
        )
        left += (await database.execute(sql))[0][0]
    if left:
        raise CacheError(
            f"{database.path} does not let go of {left:,} of {len(addresses):,} tiles that are to be removed:"
            " what it has of its own keeps them",
            hint=REFUSED,
            code="refused",
        )


class WrittenFile:
    """One database file with its connections, opened when they are needed. ``looking``: None until then."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self.looking: sqlite3.Connection | None = None
        self._disk = disk
        self._database: Database | None = None

    async def begin(self) -> Header | None:
        """Connect to what is there, which must be writable; gives its header, None where there is nothing yet."""
        if read_header(self.path) is None:
            return None
        self._disk.close(self._disk.open(self.path, write=True))
        await self.connect()
        # Only now: opening has rolled back what a killed writer left, and between transactions no lock can be lost.
        return read_header(self.path)

    async def check(self) -> None:
        """Raise CacheError where SQLite finds the file unsound; a large one is left to ``verify``."""
        if self.path.stat().st_size <= QUICK_CHECK_BYTES:
            database = await self.connect()
            found = [row[0] for row in await database.execute("PRAGMA quick_check(1)")]
            if found != ["ok"]:
                raise damaged(self.path, str(found[0]))

    async def connect(self, bodies: Collection[bytes] = ()) -> Database:
        """The connection that writes; both are there then. A new file is made for tiles like ``bodies``."""
        if self._database is None:
            self._database = await Database.open(self.path, disk=self._disk, page_size=page_size_for(bodies))
        if self.looking is None:
            self.looking = open_beside_writer(self.path)
        return self._database

    async def connect_to_write(self, bodies: Collection[bytes] = ()) -> Database:
        """The same, before a transaction: a file with a write-ahead log has left it."""
        database = await self.connect(bodies)
        if database.is_wal and self.looking is not None:
            self.looking.close()
            self.looking = None
            await database.leave_wal()
            self.looking = open_beside_writer(self.path)
        return database

    async def close(self) -> None:
        """Close the file; no journal stays. May be called twice."""
        if self.looking is not None:
            self.looking.close()
            self.looking = None
        if self._database is not None:
            await self._database.close()
