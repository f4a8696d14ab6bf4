"""MBTiles 1.3 opened for writing: whole batches, one durable transaction each, into a new file or into anyone's."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harvester.caches.addresses import Address, in_order
from harvester.caches.generation import SEEN, Generation
from harvester.caches.layer_survey import Listed, layers_for
from harvester.caches.mbtiles_adopt import prepare, refuse_other_tiles, require_extendable, set_metadata
from harvester.caches.mbtiles_hash import HASH, OF_NOTHING, hash_of
from harvester.caches.mbtiles_metadata import Span, commonest, describe
from harvester.caches.mbtiles_pictures import Pictures
from harvester.caches.mbtiles_places import OTHER_FORMATS, Places
from harvester.caches.mbtiles_reader import FORMATS, STAMP, MBTilesReader, open_reader, present_in, read_metadata
from harvester.caches.mbtiles_schema import (
    DEDUP_SCHEMA,
    FLAT_SCHEMA,
    Kind,
    Schema,
    detect,
)
from harvester.caches.mbtiles_state import FileState
from harvester.caches.sqlite_file import WrittenFile, remove_tiles, require_taken, saying_what_is_needed
from harvester.caches.vector_layers import parse_text
from harvester.database import Database, read_header, sqlite_errors
from harvester.durable import Disk
from harvester.edges import Stamps, Stored, Subject, TileFormat, VectorLayer
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.tiling.tile import BLOCK, BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges import Mask

__all__ = ["MBTilesReader", "MBTilesWriter", "open_reader", "open_writer"]


async def open_writer(path: Path, subject: Subject, *, dedup: bool, disk: Disk, hash: bool = False) -> MBTilesWriter:
    """Open ``path`` for writing; it is made by the first ``store`` or ``finish``, not before.

    Raises UnsupportedFormatError when the scheme or the tiles do not fit, CacheError when what is there is not MBTiles,
    is damaged, of another kind of tiles, or laid out in a way that can't be extended.
    """
    writer = MBTilesWriter(path, subject, Places(subject), dedup=dedup, disk=disk, hash=hash)
    try:
        await writer.attach()
    except BaseException:
        await writer.close()
        raise
    return writer


class MBTilesWriter:
    """One MBTiles file being written. ``notices`` are for a person to read; ``finish`` may add to them."""

    def __init__(self, path: Path, subject: Subject, places: Places, *, dedup: bool, disk: Disk, hash: bool) -> None:
        self.path = path
        self.notices: list[str] = []
        self._subject = subject
        self._places = places
        self._dedup = dedup
        self._file = WrittenFile(path, disk)
        self._hash = hash
        self._schema = DEDUP_SCHEMA if dedup else FLAT_SCHEMA
        self._state = FileState(stamp="", changes=0)
        self._generation = Generation(os.environ)
        self._seen_stamp = ""
        self._is_ours = False
        self._prepared = False
        self._pictures: Pictures | None = None
        self._is_complete = True
        """Did every transaction end, so that it is known which pictures no tile uses any more?"""

    # ------------------------------------------------------------------------------------------ opening

    async def attach(self) -> None:
        """Look at what is there already, and check it."""
        header = await self._file.begin()
        looking = self._file.looking
        if header is None or looking is None:
            return
        with sqlite_errors(self.path, "read"):
            names = looking.execute("SELECT name FROM sqlite_master").fetchall()
            schema = detect(looking)
            metadata = read_metadata(looking)
        if not names:
            return
        if schema is None:
            hint = "Choose another output, or move the file away."
            raise CacheError(f"{self.path} is no MBTiles file: it has no tiles", hint=hint, code="not_a_cache")
        await self._file.check()
        with sqlite_errors(self.path, "read"):
            require_extendable(looking, self.path, schema)
        self._adopt(schema, metadata, header.changes)
        kind = FORMATS.get(metadata.get("format", "").lower().rpartition("/")[2])
        if not self._state.kinds and kind is not None:
            database = await self._file.connect()
            tiles = (await database.execute(f"SELECT count(*) FROM {schema.index}"))[0][0]
            self._state = replace(self._state, kinds={kind.value: tiles})

    def _adopt(self, schema: Schema, metadata: Mapping[str, str], changes: int) -> None:
        refuse_other_tiles(self.path, self._subject.info)
        if self._dedup and schema.kind is Kind.FLAT:
            self.notices.append(f"{self.path} holds every tile by itself already and goes on so, without --dedup")
        if not self._dedup and schema.kind is Kind.SHARED:
            self.notices.append(f"{self.path} holds identical tiles once already and goes on so, as with --dedup")
        self._schema = schema
        self._is_ours = STAMP in metadata
        self._state = FileState.read(metadata.get(STAMP, ""))
        written_since = self._state.changes != changes
        self._seen_stamp = f"{self._state.stamp}{SEEN}{changes}" if written_since else self._state.stamp
        self._state = replace(self._state, changes=changes)
        if written_since:
            self._state = replace(self._state, hashes=None, saved=None)
        self._prepared = self._is_ours and not schema.missing_indexes and not written_since

    # ------------------------------------------------------------------------------------------ looking

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block of the source's are there, by index; shape (128, 128)."""
        import numpy as np

        looking = self._file.looking
        if looking is None or not (self._is_ours or self._seen_stamp):
            return np.zeros((BLOCK, BLOCK), dtype=np.bool_)
        place = self._places.of(key.level)
        top, left = key.row + place.row_offset, key.col + place.col_offset
        with sqlite_errors(self.path, "read"):
            return present_in(looking, self._schema, place.zoom, top, left, trusted=self._prepared)

    def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """The stamp of the whole file under None; empty while there is no file."""
        return {None: self._seen_stamp}

    # ------------------------------------------------------------------------------------------ writing

    async def store(self, batch: Sequence[Stored]) -> Stamps:
        """Write a batch in one durable transaction. Raises CacheError; then none of it is there."""
        if not batch:
            return {}
        kinds = Counter(self._state.kinds)
        kinds.update([stored.kind for stored in batch])
        if "lerc" in kinds:
            raise UnsupportedFormatError("MBTiles cannot hold LERC tiles", hint=OTHER_FORMATS)
        addresses = self._places.addresses([stored.tile for stored in batch])
        # The last of two bodies for one tile counts.
        rows = dict(zip(addresses, [stored.body for stored in batch], strict=True))
        with saying_what_is_needed(self.path, batch):
            return await self._change(rows, (), dict(kinds))

    async def remove(self, tiles: Sequence[Tile]) -> Stamps:
        """Take tiles out in one durable transaction."""
        if not tiles:
            return {}
        return await self._change({}, self._places.addresses(tiles), self._state.kinds)

    async def _change(self, rows: Mapping[Address, bytes], gone: Sequence[Address], kinds: Mapping[str, int]) -> Stamps:
        database = await self._file.connect_to_write(rows.values())
        stamp = self._generation.after(self._seen_stamp, [("", rows)], [("", gone)])
        state = replace(self._state, stamp=stamp, changes=(self._state.changes + 1) & 0xFFFFFFFF, kinds=kinds)
        schema = self._schema.index
        try:
            async with database.transaction():
                if not self._prepared:
                    await prepare(database, self.path, self._schema, self._subject.info)
                if self._schema.kind is Kind.SHARED:
                    pictures = self._pictures_of(database)
                    unused = await (pictures.put(rows) if rows else pictures.remove(gone))
                    if pictures.should_sweep:
                        await pictures.sweep(everything=False)
                        unused = False
                    state = replace(
                        state, unused=unused or self._state.unused, hashes=pictures.hashes, saved=pictures.saved
                    )
                elif rows:
                    taken = await database.executemany(
                        # Not REPLACE: what another program's columns say of a tile stays, and so does its row.
                        f"INSERT INTO {schema} (zoom_level, tile_column, tile_row, tile_data) VALUES (?, ?, ?, ?)"
                        " ON CONFLICT (zoom_level, tile_column, tile_row) DO UPDATE SET tile_data = excluded.tile_data",
                        in_order(rows, rows.values()),
                    )
                    require_taken(self.path, taken, len(rows))
                else:
                    await remove_tiles(database, schema, gone)
                await set_metadata(database, {STAMP: state.text()})
        except BaseException:
            # The pictures remembered may not be in the file, and a commit may have succeeded before it was cancelled.
            self._pictures, self._is_complete = None, False
            with suppress(CacheError):
                header = read_header(self.path)
                self._state = replace(self._state, changes=header.changes if header else 0)
            raise
        self._state, self._seen_stamp, self._is_ours, self._prepared = state, state.stamp, True, True
        return {None: state.stamp}

    def _pictures_of(self, database: Database) -> Pictures:
        if self._pictures is None:
            complete = self._is_complete and not self._state.unused
            self._pictures = Pictures(
                database, self._schema, complete=complete, hashes=self._state.hashes, saved=self._state.saved
            )
        return self._pictures

    # ------------------------------------------------------------------------------------------ finishing

    async def finish(self, subject: Subject) -> None:
        """Write the metadata, and ``agg_tiles_hash`` where asked for; no byte changes when nothing else did."""
        database = await self._file.connect()
        existing = {}
        if self._seen_stamp:
            with sqlite_errors(self.path, "read"):
                existing = read_metadata(self._connected)
        state = replace(self._state, stamp=self._seen_stamp or self._generation.after(""), unused=False)
        if subject.kinds is not None:
            # What was replaced is still in our own count.
            state = replace(state, kinds=subject.kinds)
        recounted = dict(state.kinds) != dict(self._state.kinds)
        spans = None
        if not self._seen_stamp or state.finished != state.stamp or "bounds" not in existing:
            spans = await self._spans(database) if self._seen_stamp else []
        listed = Listed(subject.info.vector_layers)
        changed = spans is not None or not parse_text(existing.get("json", ""))
        if self._seen_stamp and changed and commonest(state.kinds, TileFormat.UNKNOWN) == "pbf":
            listed = await asyncio.to_thread(self._layers, listed.layers)
        rows = describe(subject, spans, state.kinds, existing, listed.layers)
        if not subject.applying:
            self.notices += listed.notices
        self._note_types(state.kinds, rows["format"])
        # Of tiles that are about to change nobody needs the hash: a stale one only goes.
        if self._hash and not subject.applying and (HASH not in existing or state.hashed != state.stamp):
            rows[HASH] = await asyncio.to_thread(hash_of, self.path) if self._seen_stamp else OF_NOTHING
            state = replace(state, hashed=state.stamp)
        stale = HASH in existing and HASH not in rows and state.hashed != state.stamp
        rows = {name: value for name, value in rows.items() if existing.get(name) != value}
        idle = not self._state.unused and not stale and not recounted
        if not rows.keys() - {"generator"} and "generator" in existing and idle:
            return
        state = replace(state, finished=state.stamp, changes=(state.changes + 1) & 0xFFFFFFFF)
        await self._file.connect_to_write()
        async with database.transaction():
            if not self._prepared:
                await prepare(database, self.path, self._schema, self._subject.info)
            if self._state.unused:
                # After a crash nobody remembers which: then all are looked at.
                pictures = self._pictures_of(database)
                await pictures.sweep(everything=not pictures.remembers)
                state = replace(state, hashes=pictures.hashes, saved=pictures.saved)
            if stale:
                await database.execute("DELETE FROM metadata WHERE name = ?", (HASH,))
            await set_metadata(database, {**rows, STAMP: state.text()})
        self._state, self._seen_stamp, self._is_ours, self._prepared = state, state.stamp, True, True

    def _layers(self, stated: Sequence[VectorLayer]) -> Listed:
        """What the source says of its vector tiles, else what they have."""
        with open_reader(self.path) as reader:
            return layers_for(stated, reader)

    def _note_types(self, counted: Mapping[str, int], chosen: str) -> None:
        kinds = {kind: count for kind, count in counted.items() if count}
        if len(kinds) > 1:
            parts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
            self.notices.append(f"{self.path} holds tiles of several types ({parts}); its format says {chosen}")

    @property
    def _connected(self) -> sqlite3.Connection:
        if self._file.looking is None:
            raise CacheError(f"{self.path} is closed already", hint="Open it again.")
        return self._file.looking

    async def _spans(self, database: Database) -> list[Span]:
        table = self._schema.index
        sql = f"SELECT zoom_level, min(tile_column), max(tile_column), min(tile_row), max(tile_row) FROM {table}"
        return [Span(*row) for row in await database.execute(f"{sql} GROUP BY zoom_level ORDER BY zoom_level")]

    async def close(self) -> None:
        """Close the file; no journal stays. May be called twice."""
        await self._file.close()
