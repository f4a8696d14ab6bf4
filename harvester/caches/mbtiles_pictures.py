"""Pictures stored once: which id a tile's bytes have in a shared MBTiles schema, confirmed by the bytes themselves."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

import xxhash

from harvester.caches.addresses import Address, in_order
from harvester.caches.mbtiles_index import MOST, PictureIndex
from harvester.caches.mbtiles_naming import Id, Naming, chunks
from harvester.caches.mbtiles_schema import Schema
from harvester.caches.sqlite_file import remove_tiles, require_taken
from harvester.database import Database

RECENT_BYTES = 8 << 20
"""Pictures remembered with their bytes: sea, paper and nothing repeat at once, the rest is looked up by index."""

ENTRY_BYTES = 256
"""What remembering takes beside a picture's bytes: more than they are where pictures are tiny."""

RECENT_LARGEST = 64 << 10
"""A picture above this size hardly repeats."""

CANDIDATES = 100_000
"""Ids remembered as perhaps unused; when there are more, they are swept before ``finish``."""

SWEPT = 1 << 19
"""Ids that are looked at by one query of a sweep of everything: 20 MB of SQLite's memory."""


class Pictures:
    """The table of pictures of one file. ``hashing`` gives 64 bits for bytes; a clash costs a look, never a tile.

    ``complete``: no picture in the file is unused so far. ``hashes``: entries of the file's tables of hashes, None
    where they are to be made. ``saved``: what storing pictures once saves so far.
    """

    def __init__(
        self,
        database: Database,
        schema: Schema,
        *,
        complete: bool,
        hashes: int | None,
        saved: int | None = None,
        hashing: Callable[[bytes], int] = xxhash.xxh3_64_intdigest,
        most: int = MOST,
    ) -> None:
        self._database = database
        self._schema = schema
        self._hashing = hashing
        self._index = PictureIndex(database, schema, hashes, most=most)
        self._naming = Naming(database, schema)
        self._recent: OrderedDict[int, tuple[bytes, Id]] = OrderedDict()
        """Of those that came again: one that came once is hardly worth it."""
        self._recent_bytes = 0
        self._unused: set[Id] = set()
        self._complete = complete
        self._has_counted = False
        self.saved = saved
        """Bytes of tiles that are stored as another tile's, as far as somebody counted."""

    async def put(self, rows: Mapping[Address, bytes]) -> bool:
        """Write tiles by address (zoom, column, TMS row), inside the caller's transaction.

        True when that may have left pictures that no tile uses.
        """
        ids = await self._ids(list(rows.values()))
        wanted = in_order(rows, ids)
        index, joint = self._schema.index, self._schema.id_column
        insert = f"INTO {index} (zoom_level, tile_column, tile_row, {joint}) VALUES (?, ?, ?, ?)"
        # Nearly always all of them are new. Only if not, it is worth asking what the replaced ones showed.
        added = await self._database.executemany(f"INSERT OR IGNORE {insert}", wanted)
        if added == len(wanted):
            self._count(sum(map(len, rows.values())))
        else:
            there = await self._used_by(rows)
            require_taken(self._database.path, len(there), len(rows))
            replaced = [at for at, name in zip(rows, ids, strict=True) if there[at][0] != name]
            self._count(_growth(rows, replaced, there, added))
            self._unused |= {there[at][0] for at in replaced}.difference(ids)
            taken = await self._database.executemany(
                f"INSERT {insert} ON CONFLICT (zoom_level, tile_column, tile_row)"
                f" DO UPDATE SET {joint} = excluded.{joint}",
                wanted,
            )
            require_taken(self._database.path, taken, len(rows))
        return bool(self._unused)

    async def remove(self, addresses: Sequence[Address]) -> bool:
        """Take tiles out, inside the caller's transaction. True when that may have left unused pictures."""
        there = await self._used_by(dict.fromkeys(addresses))
        self._unused |= {name for name, _ in there.values()}
        self._count(-sum(size for _, size in there.values()))
        await remove_tiles(self._database, self._schema.index, addresses)
        return bool(self._unused)

    @property
    def hashes(self) -> int | None:
        """Entries of the file's tables of hashes; None where they don't say of every picture where it is."""
        return self._index.entries

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
            await self._sweep_everything()
            self.saved = None
        else:
            await self._database.execute("CREATE TEMP TABLE IF NOT EXISTS candidate (id PRIMARY KEY)")
            await self._database.executemany(
                "INSERT OR IGNORE INTO candidate VALUES (?)", [(name,) for name in self._unused]
            )
            await self._database.execute(
                f"DELETE FROM candidate WHERE id IN (SELECT {joint} FROM {index} WHERE {joint} IN candidate)"
            )
            sql = f"SELECT coalesce(sum(length(tile_data)), 0) FROM {pictures} WHERE {joint} IN candidate"
            self._count((await self._database.execute(sql))[0][0])
            await self._database.execute(f"DELETE FROM {pictures} WHERE {joint} IN candidate")
            await self._database.execute("DELETE FROM candidate")
        await self._index.drop_if_outlived()
        self._recent.clear()
        self._recent_bytes = 0
        self._unused.clear()
        self._naming = Naming(self._database, self._schema)
        self._complete = True

    async def _sweep_everything(self) -> None:
        """Some hundred thousand ids at a time: all that are used may not fit into memory."""
        index, pictures, joint = self._schema.index, self._schema.pictures, self._schema.id_column
        low: list[object] = []
        while True:
            above = f"{joint} > ?" if low else "1"
            sql = f"SELECT {joint} FROM {pictures} WHERE {above} ORDER BY {joint} LIMIT 1 OFFSET {SWEPT}"
            end = await self._database.execute(sql, low)
            part = f"{above} AND {joint} <= ?" if end else above
            values = [*low, *(end[0] if end else ())]
            await self._database.execute(
                f"DELETE FROM {pictures} WHERE {part} AND {joint} NOT IN"
                f" (SELECT {joint} FROM {index} WHERE {part} AND {joint} IS NOT NULL)",
                [*values, *values],
            )
            if not end:
                return
            low = [end[0][0]]

    async def _ids(self, bodies: Sequence[bytes]) -> list[Id]:
        """The id of each picture, in order, after writing those that were not there."""
        hashing = self._hashing
        names = [hashing(body) for body in bodies]
        pictures = dict(zip(names, bodies, strict=True))
        clashing: dict[int, list[bytes]] = {}
        if len(pictures) < len(bodies):
            for name, body in zip(names, bodies, strict=True):
                if pictures[name] != body:
                    others = clashing.setdefault(name, [])
                    if body not in others:
                        others.append(body)
        recent, ids = self._recent, dict[int, Id]()
        for name in recent.keys() & pictures.keys():
            held, picture = recent[name]
            if held == pictures[name]:
                ids[name] = picture
                recent.move_to_end(name)
        unsettled = [name for name in pictures if name not in ids] if ids else list(pictures)
        known = await self._known(list({*unsettled, *clashing}))
        for name in known.keys() & pictures.keys():
            for held, picture in known[name]:
                if name not in ids and held == pictures[name]:
                    ids[name] = picture
                    self._remember(name, held, picture)
        new = [(name, pictures[name]) for name in unsettled if name not in ids] if ids else list(pictures.items())
        ids.update(zip([name for name, _ in new], await self._insert(new), strict=True))
        if len(pictures) < len(bodies):
            # What comes twice in a batch will come again.
            for name, count in Counter(names).items():
                if count > 1:
                    self._remember(name, pictures[name], ids[name])
        if not clashing:
            return [ids[name] for name in names]
        others_ids = await self._clashing_ids(clashing, known)
        return [
            ids[name] if pictures[name] == body else others_ids[name, body]
            for name, body in zip(names, bodies, strict=True)
        ]

    async def _clashing_ids(
        self, clashing: Mapping[int, Sequence[bytes]], known: Mapping[int, Sequence[tuple[bytes, Id]]]
    ) -> dict[tuple[int, bytes], Id]:
        """The ids of pictures with whose hash another one came in the same batch."""
        ids = {(name, held): picture for name in clashing for held, picture in known.get(name, ())}
        new = [(name, body) for name, bodies in clashing.items() for body in bodies if (name, body) not in ids]
        return {**ids, **dict(zip(new, await self._insert(new), strict=True))}

    async def _known(self, names: Sequence[int]) -> dict[int, list[tuple[bytes, Id]]]:
        """The pictures in the file that have these hashes."""
        places = await self._index.find(names)
        if self._index.has_read and not self._has_counted:
            self._has_counted = True
            sql = "SELECT coalesce(sum(length(tile_data)), 0) FROM"
            ((shown,),) = await self._database.execute(f"{sql} tiles")
            ((held,),) = await self._database.execute(f"{sql} {self._schema.pictures}")
            self.saved = shown - held
        there = await self._there({place for some in places.values() for place in some})
        return {name: [there[place] for place in some if place in there] for name, some in places.items()}

    async def _insert(self, new: Sequence[tuple[int, bytes]]) -> list[Id]:
        ids, places = await self._naming.names([body for _, body in new]) if new else ([], [])
        await self._database.executemany(
            f"INSERT INTO {self._schema.pictures} ({self._schema.id_column}, tile_data) VALUES (?, ?)",
            [(name, body) for name, (_, body) in zip(ids, new, strict=True)],
        )
        await self._index.add([name for name, _ in new], places)
        self._count(-sum(len(body) for _, body in new))
        return ids

    async def _there(self, places: Iterable[int]) -> dict[int, tuple[bytes, Id]]:
        """Bytes and id of the pictures at those places where there is one."""
        joint = self._schema.id_column
        place = joint if self._schema.id_is_number else "rowid"
        found: dict[int, tuple[bytes, Id]] = {}
        for part in chunks(sorted(places)):
            sql = f"SELECT {place}, tile_data, {joint} FROM {self._schema.pictures} WHERE {place} IN"
            for at, body, name in await self._database.execute(f"{sql} ({','.join('?' * len(part))})", part):
                if isinstance(body, bytes) and name is not None:
                    found[at] = body, name
        return found

    async def _used_by(self, addresses: Iterable[Address]) -> dict[Address, tuple[Id, int]]:
        """The ids that the tiles at these addresses have now, and the bytes of their pictures."""
        found: dict[Address, tuple[Id, int]] = {}
        index, pictures, joint = self._schema.index, self._schema.pictures, self._schema.id_column
        for part in chunks(addresses):
            values = ",".join(f"({zoom},{col},{row})" for zoom, col, row in part)
            rows = await self._database.execute(
                # CROSS JOIN: one seek for each address. Row values with IN would be a scan of the whole table.
                f"WITH wanted (z, x, y) AS (VALUES {values}) SELECT z, x, y, {index}.{joint},"
                f" coalesce(length(tile_data), 0) FROM wanted CROSS JOIN {index} ON zoom_level = z AND tile_column = x"
                f" AND tile_row = y LEFT JOIN {pictures} ON {pictures}.{joint} = {index}.{joint}"
            )
            found.update(((zoom, col, row), (name, size)) for zoom, col, row, name, size in rows)
        return found

    def _count(self, more: int | None) -> None:
        """So many bytes of tiles more, or of pictures less, than before; None: nobody knows."""
        self.saved = None if self.saved is None or more is None else self.saved + more

    def _remember(self, name: int, body: bytes, picture: Id) -> None:
        if len(body) > RECENT_LARGEST:
            return
        before = self._recent.pop(name, None)
        if before is not None:
            self._recent_bytes -= ENTRY_BYTES + len(before[0])
        self._recent[name] = body, picture
        self._recent_bytes += ENTRY_BYTES + len(body)
        while self._recent_bytes > RECENT_BYTES:
            _, (oldest, _) = self._recent.popitem(last=False)
            self._recent_bytes -= ENTRY_BYTES + len(oldest)


def _growth(
    rows: Mapping[Address, bytes],
    replaced: Sequence[Address],
    there: Mapping[Address, tuple[Id, int]],
    added: int,
) -> int | None:
    """By how many bytes the tiles grow of which ``added`` were not there and ``replaced`` showed another picture. What
    is left showed its picture before; which these are can't be told where some were added, too."""
    lost = sum(there[at][1] for at in replaced)
    if added + len(replaced) == len(rows):
        return sum(map(len, rows.values())) - lost
    return None if added else sum(len(rows[at]) for at in replaced) - lost
