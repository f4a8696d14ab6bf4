"""Pictures stored once: which id a tile's bytes have in a shared MBTiles schema, confirmed by the bytes themselves."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

import xxhash

from harvester.caches.mbtiles_schema import Schema
from harvester.database import Database

CHUNK = 400
"""Values in one query; SQLite takes 32,766, and statements of this length are still quick to compile."""

RECENT_BYTES = 8 << 20
"""Pictures remembered with their bytes: sea, paper and nothing repeat at once, the rest is looked up by index."""

ENTRY_BYTES = 256
"""What remembering takes beside a picture's bytes: more than they are where pictures are tiny."""

RECENT_LARGEST = 64 << 10
"""A picture above this size hardly repeats."""

OFTEN = 8192
"""Pictures that are looked at for those that a file already has under a name that tells nothing of their bytes."""

CANDIDATES = 100_000
"""Ids remembered as perhaps unused; when there are more, they are swept before ``finish``."""

Id = str | int
Hash = Callable[[bytes, bool], Id]
Address = tuple[int, int, int]
T = TypeVar("T")


def picture_id(body: bytes, number: bool) -> Id:
    """xxh3-128 in hex, or 63 bits of xxh3-64 where the id column is a number."""
    return xxhash.xxh3_64_intdigest(body) & 0x7FFFFFFFFFFFFFFF if number else xxhash.xxh3_128_hexdigest(body)


def md5_id(body: bytes, number: bool) -> Id:
    """MD5 in upper-case hex, as MapLibre's ``mbtiles`` writes and checks it."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest().upper()


def lower_md5_id(body: bytes, number: bool) -> Id:
    """The same in lower case, as tilelive writes it."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


async def hash_of_others(database: Database, schema: Schema) -> Hash:
    """How a file names its pictures: by their MD5 where its first one has that, else as we do."""
    sql = f"SELECT {schema.id_column}, tile_data FROM {schema.pictures} LIMIT 1"
    for name, body in () if schema.id_is_number else await database.execute(sql):
        for hashing in (md5_id, lower_md5_id):
            if isinstance(body, bytes) and hashing(body, False) == name:
                return hashing
    return picture_id


def next_id(taken: Id) -> Id:
    """The id to try where another picture has the one its hash gives."""
    if isinstance(taken, int):
        return (taken + 1) & 0x7FFFFFFFFFFFFFFF
    stem, _, number = taken.partition("-")
    return f"{stem}-{int(number or 0) + 1}"


class Pictures:
    """The table of pictures of one file. ``hashing`` gives an id for bytes (None: as the file has them so far); a
    clash costs a look, never a tile.

    ``complete``: no picture in the file is unused so far.
    """

    def __init__(self, database: Database, schema: Schema, *, complete: bool, hashing: Hash | None = None) -> None:
        self._database = database
        self._schema = schema
        self._hash = hashing
        self._recent: OrderedDict[Id, bytes] = OrderedDict()
        self._recent_bytes = 0
        self._unused: set[Id] = set()
        self._complete = complete
        self._common: dict[bytes, Id] | None = None
        """Pictures that several tiles show, of a file that names its pictures otherwise; None: not looked at yet."""

    async def put(self, rows: Mapping[Address, bytes]) -> bool:
        """Write tiles by address (zoom, column, TMS row), inside the caller's transaction.

        True when that may have left pictures that no tile uses.
        """
        ids = await self._ids(rows.values())
        # In the order of the index, of which neighbours then are written once.
        wanted = sorted((*address, name) for address, name in zip(rows, ids, strict=True))
        index, joint = self._schema.index, self._schema.id_column
        insert = f"INTO {index} (zoom_level, tile_column, tile_row, {joint}) VALUES (?, ?, ?, ?)"
        # Nearly always all of them are new. Only if not, it is worth asking what the replaced ones showed.
        if await self._database.executemany(f"INSERT OR IGNORE {insert}", wanted) < len(wanted):
            self._unused |= (await self._used_by(rows)).difference(ids)
            await self._database.executemany(
                f"INSERT {insert} ON CONFLICT (zoom_level, tile_column, tile_row)"
                f" DO UPDATE SET {joint} = excluded.{joint}",
                wanted,
            )
        return bool(self._unused)

    async def remove(self, addresses: Sequence[Address]) -> bool:
        """Take tiles out, inside the caller's transaction. True when that may have left unused pictures."""
        self._unused |= await self._used_by(addresses)
        await self._database.executemany(
            f"DELETE FROM {self._schema.index} WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?", addresses
        )
        return bool(self._unused)

    @property
    def should_sweep(self) -> bool:
        """Are there more candidates than should be remembered?"""
        return len(self._unused) > CANDIDATES

    @property
    def remembers(self) -> bool:
        """Are the pictures that became unused all known? Not when an earlier process, or a failed batch, left some."""
        return self._complete

    async def sweep(self, *, everything: bool) -> None:
        """Delete pictures that no tile uses: those remembered, or (after a crash) whichever there are."""
        index, pictures, joint = self._schema.index, self._schema.pictures, self._schema.id_column
        if everything:
            await self._database.execute(
                f"DELETE FROM {pictures} WHERE {joint} NOT IN (SELECT {joint} FROM {index} WHERE {joint} IS NOT NULL)"
            )
        else:
            await self._database.execute("CREATE TEMP TABLE IF NOT EXISTS candidate (id PRIMARY KEY)")
            await self._database.executemany(
                "INSERT OR IGNORE INTO candidate VALUES (?)", [(name,) for name in self._unused]
            )
            await self._database.execute(
                f"DELETE FROM candidate WHERE id IN (SELECT {joint} FROM {index} WHERE {joint} IN candidate)"
            )
            await self._database.execute(f"DELETE FROM {pictures} WHERE {joint} IN candidate")
            await self._database.execute("DELETE FROM candidate")
        self.forget()
        self._complete = True

    def forget(self) -> None:
        """Remember nothing: what was remembered may be gone from the file."""
        self._recent.clear()
        self._recent_bytes = 0
        self._unused.clear()
        self._complete = False
        self._common = None

    async def _ids(self, bodies: Iterable[bytes]) -> list[Id]:
        """The id of each picture, in order, after writing those that were not there."""
        if self._hash is None:
            self._hash = await hash_of_others(self._database, self._schema)
        if self._common is None:
            self._common = await self._shown_often()
        number, hashing, common = self._schema.id_is_number, self._hash, self._common
        pictures: dict[Id, bytes] = {}
        ids: list[Id] = []
        for body in bodies:
            if (there_as := common.get(body)) is not None:
                ids.append(there_as)
                continue
            name = hashing(body, number)
            while (other := pictures.get(name)) is not None and other != body:
                name = next_id(name)
            pictures[name] = body
            ids.append(name)
        moved: dict[Id, Id] = {}
        unsettled = [name for name, body in pictures.items() if self._recent.get(name) != body]
        while unsettled:
            new = [(name, pictures[name]) for name in unsettled]
            insert = f"INTO {self._schema.pictures} ({self._schema.id_column}, tile_data) VALUES (?, ?)"
            there: dict[Id, bytes] = {}
            # Nearly always all of them are new. Only if not, the bytes under their ids are looked at.
            if await self._database.executemany(f"INSERT OR IGNORE {insert}", new) < len(new):
                there = await self._there(unsettled)
            clashing: list[Id] = []
            for name, body in new:
                if there.get(name, body) != body:
                    other_name = next_id(name)
                    while other_name in pictures:
                        other_name = next_id(other_name)
                    pictures[other_name] = body
                    moved[name] = other_name
                    clashing.append(other_name)
                    continue
                self._remember(name, body)
            unsettled = clashing
        if moved:
            ids = [_followed(name, moved) for name in ids]
        return ids

    async def _shown_often(self) -> dict[bytes, Id]:
        """Pictures that more than one tile shows, the commonest first, as far as they may be remembered; none where
        the file names pictures as we do, so that each is found by its name."""
        if not self._schema.id_is_number or self._hash is not picture_id:
            return {}
        index, pictures, joint = self._schema.index, self._schema.pictures, self._schema.id_column
        for name, body in await self._database.execute(f"SELECT {joint}, tile_data FROM {pictures} LIMIT 1"):
            if isinstance(body, bytes) and picture_id(body, True) == name:
                return {}
        often = await self._database.execute(
            f"SELECT {joint} FROM {index} GROUP BY {joint} HAVING count(*) > 1 ORDER BY count(*) DESC LIMIT {OFTEN}"
        )
        found: dict[bytes, Id] = {}
        size = 0
        for part in _chunks(name for (name,) in often if name is not None):
            for name, body in (await self._there(part)).items():
                size += len(body)
                found[body] = name
            if size > RECENT_BYTES:
                break
        return found

    async def _there(self, names: Iterable[Id]) -> dict[Id, bytes]:
        """The bytes of those ids that the file has."""
        pictures, joint = self._schema.pictures, self._schema.id_column
        found: dict[Id, bytes] = {}
        for part in _chunks(names):
            marks = ",".join("?" * len(part))
            found.update(
                await self._database.execute(
                    f"SELECT {joint}, tile_data FROM {pictures} WHERE {joint} IN ({marks})", part
                )
            )
        return found

    async def _used_by(self, addresses: Iterable[Address]) -> set[Id]:
        """The ids that the tiles at these addresses have now."""
        found: set[Id] = set()
        for part in _chunks(addresses):
            values = ",".join(f"({zoom},{col},{row})" for zoom, col, row in part)
            rows = await self._database.execute(
                # CROSS JOIN: one seek for each address. Row values with IN would be a scan of the whole table.
                f"WITH wanted (z, x, y) AS (VALUES {values}) SELECT {self._schema.id_column} FROM wanted CROSS JOIN"
                f" {self._schema.index} ON zoom_level = z AND tile_column = x AND tile_row = y"
            )
            found.update(row[0] for row in rows)
        return found

    def _remember(self, name: Id, body: bytes) -> None:
        if len(body) > RECENT_LARGEST or name in self._recent:
            return
        self._recent[name] = body
        self._recent_bytes += ENTRY_BYTES + len(body)
        while self._recent_bytes > RECENT_BYTES:
            _, oldest = self._recent.popitem(last=False)
            self._recent_bytes -= ENTRY_BYTES + len(oldest)


def _followed(name: Id, moved: Mapping[Id, Id]) -> Id:
    while name in moved:
        name = moved[name]
    return name


def _chunks(values: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(values)
    while part := list(islice(iterator, CHUNK)):
        yield part
