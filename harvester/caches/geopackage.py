"""GeoPackage tiles opened for writing: whole batches, one durable transaction each, into a new file or anyone's."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harvester.caches.addresses import Address, in_order
from harvester.caches.belongings import ELSEWHERE
from harvester.caches.generation import SEEN, Generation
from harvester.caches.geopackage_adopt import adopt
from harvester.caches.geopackage_describe import Spans, about, contents, data_extent
from harvester.caches.geopackage_made import Made, allow_webp, grids_for, make_room, prepare
from harvester.caches.geopackage_reader import GeoPackageReader, open_reader, present_in
from harvester.caches.geopackage_schema import ABOUT, MANIFEST, STATE, Grid, Place, grids_of, quoted
from harvester.caches.geopackage_sql import moment, set_contents, set_metadata
from harvester.caches.geopackage_state import FileState, metadata_row
from harvester.caches.geopackage_tables import obstacle
from harvester.caches.sqlite_file import WrittenFile, remove_tiles, require_taken, saying_what_is_needed
from harvester.database import Database, read_header, sqlite_errors
from harvester.durable import Disk
from harvester.edges import Stamps, Stored, Subject, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.tiling.scheme import Box
from harvester.tiling.tile import BLOCK, BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges import Mask

__all__ = ["GeoPackageReader", "GeoPackageWriter", "open_reader", "open_writer"]

KINDS = frozenset({"png", "jpg", "webp"})
"""What GeoPackage 1.3 takes; WebP by an extension."""

OTHER_FORMATS = "Write compactv2, compact, exploded or tpkx instead."


async def open_writer(
    path: str | Path,
    subject: Subject,
    *,
    disk: Disk,
    now: Callable[[], float] = time.time,
    environment: Mapping[str, str] = os.environ,
) -> GeoPackageWriter:
    """Open ``path`` for writing; it is made by the first ``store`` or ``finish``, not before.

    Raises UnsupportedFormatError when the tiles do not fit, CacheError when what is there is no GeoPackage with tiles,
    is damaged, of another scheme, or laid out in a way that can't be extended.
    """
    if subject.info.tile_format in (TileFormat.LERC, TileFormat.PBF):
        word = subject.info.tile_format.value.upper()
        raise UnsupportedFormatError(f"GeoPackage cannot hold {word} tiles", hint=OTHER_FORMATS)
    generation = Generation(environment)
    writer = GeoPackageWriter(
        Path(path), subject, disk=disk, moment=lambda: moment(now(), environment), generation=generation
    )
    try:
        await writer.attach()
    except BaseException:
        await writer.close()
        raise
    return writer


class GeoPackageWriter:
    """One GeoPackage being written."""

    def __init__(
        self, path: Path, subject: Subject, *, disk: Disk, moment: Callable[[], str], generation: Generation
    ) -> None:
        self.path = path
        self._subject = subject
        self._file = WrittenFile(path, disk)
        self._moment = moment
        self._generation = generation
        info = subject.info
        extents = [box for box in (info.extent, subject.extent) if box is not None]
        self._use(grids_of(info.scheme, _union(extents)))
        self._made = Made(grids={}, zooms={})
        self._state = FileState(changes=0)
        self._seen_stamp = ""
        self._is_ours = False

    def _use(self, grids: Sequence[Grid]) -> None:
        self._grids = {grid.table: grid for grid in grids}
        self._places = {level: (grid.table, place) for grid in grids for level, place in grid.places.items()}

    # ------------------------------------------------------------------------------------------ opening

    async def attach(self) -> None:
        """Look at what is there already, and check it."""
        header = await self._file.begin()
        looking = self._file.looking
        if header is None or looking is None:
            return
        with sqlite_errors(self.path, "read"):
            empty = not looking.execute("SELECT name FROM sqlite_master").fetchall()
        if empty:
            return
        await self._file.check()
        with open_reader(self.path) as reader:
            self._adopt(reader, header.changes)

    def _adopt(self, reader: GeoPackageReader, changes: int) -> None:
        grids = adopt(reader, self._subject, tuple(self._grids.values()))
        looking = self._file.looking
        assert looking is not None
        with sqlite_errors(self.path, "read"):
            for table in reader.tables:
                if why := obstacle(looking, table.name):
                    raise CacheError(f"{self.path} cannot be extended: {why}", hint=ELSEWHERE, code="schema")
        self._use(grids)
        state = reader.state or FileState(tables=tuple(table.name for table in reader.tables))
        written_since = state.changes != changes
        self._seen_stamp = f"{state.stamp}{SEEN}{changes}" if written_since else state.stamp
        self._state = replace(state, changes=changes)
        self._is_ours = reader.state is not None and not written_since
        self._made = Made(
            grids={table.name: table.grid for table in reader.tables},
            zooms={table.name: frozenset(table.resolutions) for table in reader.tables},
            core=self._is_ours,
        )

    # ------------------------------------------------------------------------------------------ looking

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block of the source's are there, by index; shape (128, 128)."""
        import numpy as np

        mask = np.zeros((BLOCK, BLOCK), dtype=np.bool_)
        table, place = self._place_of(key.level)
        looking = self._file.looking
        if looking is None or table not in self._made.grids:
            return mask
        top, left = key.row + place.row_offset, key.col + place.col_offset
        with sqlite_errors(self.path, "read"):
            found = present_in(looking, table, place.zoom, top, left, trusted=self._is_ours)
        for row, col in found:
            mask[row - top, col - left] = True
        return mask

    def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """The stamp of the whole file under None; empty while there is no file."""
        return {None: self._seen_stamp}

    def _place_of(self, level: int) -> tuple[str, Place]:
        found = self._places.get(level)
        if found is None:
            name = self._subject.info.name or self._subject.info.source
            raise UnsupportedFormatError(f"{self.path} has no place for LOD {level} of {name}", hint=OTHER_FORMATS)
        return found

    # ------------------------------------------------------------------------------------------ writing

    async def store(self, batch: Sequence[Stored]) -> Stamps:
        """Write a batch in one durable transaction. Raises CacheError; then none of it is there."""
        if not batch:
            return {}
        counted = Counter([stored.kind for stored in batch])
        if other := counted.keys() - KINDS:
            word = min(other).upper()
            raise UnsupportedFormatError(f"GeoPackage cannot hold {word} tiles", hint=OTHER_FORMATS)
        rows: dict[str, dict[Address, bytes]] = {}
        webp: set[str] = set()
        at, table, zoom, row_offset, col_offset = -1, "", 0, 0, 0
        into: dict[Address, bytes] = {}
        for (level, row, col), body, kind in batch:
            # Neighbours mostly share their level (benchmarks/bench_geopackage.py).
            if level != at:
                at = level
                table, (zoom, row_offset, col_offset) = self._place_of(level)
                into = rows.setdefault(table, {})
            # The last of two bodies for one tile counts.
            into[(zoom, col + col_offset, row + row_offset)] = body
            if kind == "webp":
                webp.add(table)
        counted.update(self._state.kinds)
        with saying_what_is_needed(self.path, batch):
            return await self._change(rows, {}, dict(counted), webp)

    async def remove(self, tiles: Sequence[Tile]) -> Stamps:
        """Take tiles out in one durable transaction."""
        gone: dict[str, list[Address]] = {}
        for level, row, col in tiles:
            table, (zoom, row_offset, col_offset) = self._place_of(level)
            if table in self._made.grids:
                gone.setdefault(table, []).append((zoom, col + col_offset, row + row_offset))
        return await self._change({}, gone, self._state.kinds, set()) if gone else {}

    async def _change(
        self,
        rows: Mapping[str, Mapping[Address, bytes]],
        gone: Mapping[str, Sequence[Address]],
        kinds: Mapping[str, int],
        webp: set[str],
    ) -> Stamps:
        grids = grids_for(rows, self._grids)
        database = await self._file.connect_to_write([body for tiles in rows.values() for body in tiles.values()])
        order = [table for table in self._grids if table in {*self._state.tables, *grids}]
        changes = (self._state.changes + 1) & 0xFFFFFFFF
        stamp = self._generation.after(self._seen_stamp, rows.items(), gone.items())
        state = replace(self._state, stamp=stamp, changes=changes, kinds=kinds, tables=tuple(order))
        made, crs = self._made, self._subject.info.scheme.crs
        try:
            async with database.transaction():
                made = await prepare(database, made, crs)
                for table, grid in grids.items():
                    zooms = frozenset(address[0] for address in rows[table])
                    made = await make_room(database, made, grid, zooms, crs, self._moment)
                for table in webp - made.webp:
                    made = await allow_webp(database, made, table)
                for table, tiles in rows.items():
                    taken = await database.executemany(
                        # Not REPLACE: a row's id and what other columns say of it stay.
                        f"INSERT INTO {quoted(table)} (zoom_level, tile_column, tile_row, tile_data)"
                        " VALUES (?, ?, ?, ?) ON CONFLICT (zoom_level, tile_column, tile_row)"
                        " DO UPDATE SET tile_data = excluded.tile_data",
                        in_order(tiles, tiles.values()),
                    )
                    require_taken(self.path, taken, len(tiles))
                for table, addresses in gone.items():
                    await remove_tiles(database, quoted(table), addresses)
                await set_metadata(database, STATE, state.text(), self._moment)
        except BaseException:
            # A commit may have succeeded before it was cancelled.
            with suppress(CacheError):
                header = read_header(self.path)
                self._state = replace(self._state, changes=header.changes if header else 0)
            raise
        self._grids.update(grids)
        self._made, self._state, self._seen_stamp, self._is_ours = made, state, state.stamp, True
        return {None: state.stamp}

    # ------------------------------------------------------------------------------------------ finishing

    async def finish(self, subject: Subject) -> None:
        """Write extents, texts and where it comes from; no byte changes when nothing else did."""
        database = await self._file.connect()
        state = replace(self._state, stamp=self._seen_stamp or self._generation.after(""))
        if subject.kinds is not None:
            # What was replaced is still in our own count.
            state = replace(state, kinds=subject.kinds)
        recounted = dict(state.kinds) != dict(self._state.kinds)
        wanted = {ABOUT: about(subject, self._grids)}
        if subject.manifest is not None:
            wanted[MANIFEST] = subject.manifest.text()
        there: dict[str, str | None] = {}
        stated: dict[str, Any] = {}
        looking = self._file.looking
        if self._seen_stamp and looking is not None:
            with sqlite_errors(self.path, "read"):
                there = {standard: metadata_row(looking, standard) for standard in wanted}
                stated = contents(looking, list(self._made.grids))
        if self._is_ours and there == wanted and state.finished == state.stamp and not recounted:
            return
        extents: dict[str, Box | None] = {}
        for table in self._made.grids:
            extents[table] = data_extent(self._grids[table], await self._spans(database, table), subject.extent)
        state = replace(state, finished=state.stamp, changes=(state.changes + 1) & 0xFFFFFFFF)
        await self._file.connect_to_write()
        crs = self._subject.info.scheme.crs
        async with database.transaction():
            made = await prepare(database, self._made, crs)
            if not made.grids:
                first = next(iter(self._grids.values()))
                zoom = min(place.zoom for place in first.places.values())
                made = await make_room(database, made, first, frozenset({zoom}), crs, self._moment)
                state = replace(state, tables=(first.table,))
            for table in made.grids:
                several = len(made.grids) > 1
                await set_contents(
                    database, subject, self._grids[table], extents.get(table), stated.get(table), several, self._moment
                )
            for standard, text in wanted.items():
                await set_metadata(database, standard, text, self._moment)
            await set_metadata(database, STATE, state.text(), self._moment)
        self._made, self._state, self._seen_stamp, self._is_ours = made, state, state.stamp, True

    async def _spans(self, database: Database, table: str) -> Spans:
        sql = (
            f"SELECT zoom_level, min(tile_row), max(tile_row), min(tile_column), max(tile_column) FROM {quoted(table)}"
            " GROUP BY zoom_level ORDER BY zoom_level"
        )
        return [tuple(row) for row in await database.execute(sql)]

    async def close(self) -> None:
        """Close the file; no journal stays. May be called twice."""
        await self._file.close()


def _union(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    low = (min(box[axis] for box in boxes) for axis in (0, 1))
    return Box(*low, *(max(box[axis] for box in boxes) for axis in (2, 3)))
