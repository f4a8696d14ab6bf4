"""The hashes of a file's pictures, kept in the file itself: so whoever adds to it finds every picture that is there.

harvester_new_hashes   entries   hashes and places of one batch, or more: pairs of 64-bit numbers, little-endian
harvester_hashes       hash, picture   sorted; what was in the other table when that had grown to ``MOST``

The pictures themselves are numbered as they come, and batches of hashes follow one another, so writing does not slow
down as the file grows: to put each hash into its place at once would rewrite nearly the whole table with every batch.
A place is the picture's id where that is a number, else its rowid. The tables are trusted as long as nobody else wrote
to the file (FileState); then, and in a file that another program made, all pictures are read once. An entry may outlive
its picture: the bytes decide, always.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import xxhash

from harvester.caches.known import Known, as_ints
from harvester.caches.mbtiles_schema import Schema
from harvester.database import Database

NEW, SORTED = "harvester_new_hashes", "harvester_hashes"

MOST = 1 << 19
"""Hashes in memory: 8 MB, and as much again while they are sorted. The sorted table is rewritten for each so many."""

LOOKED_UP = 400
"""Hashes in one query."""

READ_AT_ONCE = 8192
"""Pictures that are hashed by one query: where it can be broken off."""

OUTLIVED = 1 << 16
"""Entries of pictures that are gone, beyond as many as there are pictures, before all are read again."""


def signed_hash(body: object) -> int:
    """The hash of a picture as SQLite keeps it: xxh3-64 as a signed number."""
    value = xxhash.xxh3_64_intdigest(body) if isinstance(body, bytes) else 0
    return value - (1 << 64) if value >> 63 else value


class PictureIndex:
    """Where the pictures of one file are, by hash. ``entries``: how many the file's tables have, None where they can't
    be trusted. Everything happens inside the caller's transactions; after one that failed it is to be made anew."""

    def __init__(self, database: Database, schema: Schema, entries: int | None, *, most: int = MOST) -> None:
        self._database = database
        self._schema = schema
        self._entries = entries
        self._most = most
        self._known = Known()
        self._is_loaded = False
        self._has_sorted = False
        self._has_read = False

    @property
    def has_read(self) -> bool:
        """Were all pictures read just now?"""
        return self._has_read

    @property
    def entries(self) -> int | None:
        """Hashes in the file; None where they can't be trusted."""
        return self._entries

    async def find(self, names: Sequence[int]) -> dict[int, list[int]]:
        """The places of those of these hashes (unsigned) that are known."""
        await self._load()
        found: dict[int, list[int]] = {}
        wanted = as_ints(names)
        for position, place in self._known.find(wanted):
            found.setdefault(names[position], []).append(place)
        if self._has_sorted:
            by_sign = dict(zip(wanted.tolist(), names, strict=True))
            ordered = sorted(by_sign)
            for first in range(0, len(ordered), LOOKED_UP):
                part = ordered[first : first + LOOKED_UP]
                marks = ",".join("?" * len(part))
                sql = f"SELECT hash, picture FROM {SORTED} WHERE hash IN ({marks})"
                for name, place in await self._database.execute(sql, part):
                    if not isinstance(place, int):  # somebody else's
                        continue
                    found.setdefault(by_sign[name], []).append(place)
        return found

    async def add(self, names: Sequence[int], places: Sequence[int]) -> None:
        """Remember where pictures are, by hash (unsigned)."""
        if names:
            await self._load()
            await self._add(as_ints(names), np.array(places, np.int64))

    async def drop_if_outlived(self) -> None:
        """Pictures are gone: where most entries speak of such, the next that adds pictures reads them all again."""
        if self._entries is not None:
            ((pictures,),) = await self._database.execute(f"SELECT count(*) FROM {self._schema.pictures}")
            if self._entries > 2 * pictures + OUTLIVED:
                await self._drop()

    # ------------------------------------------------------------------------------------------ the tables

    async def _load(self) -> None:
        if self._is_loaded:
            return
        sql = f"SELECT name FROM sqlite_master WHERE name IN ('{NEW}', '{SORTED}')"
        tables = {name for (name,) in await self._database.execute(sql)}
        held = await self._read_new() if self._entries is not None and NEW in tables else None
        if held is None:
            await self._drop()
            await self._database.execute(f"CREATE TABLE {NEW} (entries BLOB NOT NULL)")
            self._entries, self._is_loaded = 0, True
            await self._read_pictures()
            self._has_read = True
            return
        self._has_sorted = SORTED in tables
        self._known.add(held[:, 0].copy(), held[:, 1].copy())
        self._is_loaded = True

    async def _read_new(self) -> np.ndarray | None:
        """The pairs that are not sorted yet, shape (n, 2); None where the table holds something else."""
        rows = [row[0] for row in await self._database.execute(f"SELECT * FROM {NEW}")]
        if any(not isinstance(row, bytes) or len(row) % 16 for row in rows):
            return None
        return np.frombuffer(b"".join(rows), "<i8").astype(np.int64).reshape(-1, 2)

    async def _drop(self) -> None:
        for table in (NEW, SORTED):
            await self._database.execute(f"DROP TABLE IF EXISTS {table}")
        self._known, self._entries, self._is_loaded, self._has_sorted = Known(), None, False, False

    async def _read_pictures(self) -> None:
        """Hash every picture once, in the order in which they lie."""
        schema = self._schema
        await self._database.create_function("harvester_hash", 1, signed_hash)
        place, order = (schema.id_column if schema.id_is_number else "rowid"), schema.row_order
        sql = (
            f"SELECT {order}, {place}, harvester_hash(CAST(tile_data AS BLOB)) FROM {schema.pictures} WHERE {{}}"
            f" ORDER BY {order} LIMIT {READ_AT_ONCE}"
        )
        rows = await self._database.execute(sql.format("1"))
        while rows:
            # A column of numbers may hold anything: what is none can't be found, and is another program's.
            pairs = np.array([(name, at) for _, at, name in rows if isinstance(at, int)], np.int64).reshape(-1, 2)
            await self._add(pairs[:, 0], pairs[:, 1])
            rows = await self._database.execute(sql.format(f"{order} > ?"), (rows[-1][0],))

    async def _add(self, names: np.ndarray, places: np.ndarray) -> None:
        if not len(names):
            return
        self._known.add(names, places)
        pairs = np.stack((names, places), axis=1).astype("<i8").tobytes()
        await self._database.execute(f"INSERT INTO {NEW} VALUES (?)", (pairs,))
        self._entries = (self._entries or 0) + len(names)
        if len(self._known) >= self._most:
            await self._sort()

    async def _sort(self) -> None:
        """Put what is in memory into its place."""
        await self._database.execute(
            f"CREATE TABLE IF NOT EXISTS {SORTED} (hash INTEGER NOT NULL, picture INTEGER NOT NULL,"
            " PRIMARY KEY (hash, picture)) WITHOUT ROWID"
        )
        await self._database.executemany(f"INSERT OR IGNORE INTO {SORTED} VALUES (?, ?)", _rows(*self._known.take()))
        await self._database.execute(f"DELETE FROM {NEW}")
        self._has_sorted = True


def _rows(names: np.ndarray, places: np.ndarray) -> Iterator[tuple[int, int]]:
    for first in range(0, len(names), READ_AT_ONCE):
        part = slice(first, first + READ_AT_ONCE)
        yield from zip(names[part].tolist(), places[part].tolist(), strict=True)
