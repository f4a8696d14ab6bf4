"""GeoPackage tiles opened for reading: one or several tile tables as one cache, row 0 on top, in its own zooms."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harvester.caches.geopackage_schema import ABOUT, MANIFEST, SOURCE, quoted
from harvester.caches.geopackage_state import FileState, metadata_row, read_state
from harvester.caches.geopackage_tables import Table, choose, inexact, list_tables, obstacle, read_table, scheme_of
from harvester.caches.sqlite_strips import BODY, NO_BODY, NOT_THE_SAME, TWICE, UNLIKE, Strips, repeated
from harvester.caches.tile_look import type_of
from harvester.database import OpenedDatabase, is_written_here, open_read_only, read_header, sqlite_errors
from harvester.edges import CacheInfo, Damage, TileFormat
from harvester.manifest import KEY
from harvester.tiling.scheme import Box
from harvester.tiling.tile import BLOCK, BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges import Mask

FORMAT = "gpkg"

_KINDS = {"png": TileFormat.PNG, "jpg": TileFormat.JPEG, "webp": TileFormat.WEBP}

MOST = 100
"""Damaged tiles that ``check`` names one by one, of each table and kind."""

_PLACE = "zoom_level, tile_row, tile_column"

MAX_INDEX = 1 << 40
"""Rows and columns beyond are no tiles: SQLite takes 63 bits, and a block's row must not leave them."""


def open_reader(path: str | Path, table: str | None = None) -> GeoPackageReader:
    """Open a GeoPackage for reading: its only tile table, those of one cache of ours, or ``table`` (or ``FILE:TABLE``).

    Raises CacheError where it holds no tiles, several tables of others (which it lists), or is damaged.
    """
    path = Path(path)
    if table is None and not path.exists():
        before, colon, after = str(path).rpartition(":")
        if colon and Path(before).is_file():
            path, table = Path(before), after
    connection = open_read_only(path)
    try:
        with sqlite_errors(path, "read"):
            state = read_state(connection)
            names = choose(path, list_tables(connection), state, table)
            tables = [read_table(connection, path, name) for name in names]
            return GeoPackageReader(path, connection, tables, state)
    except BaseException:
        connection.close()
        raise


def present_in(
    connection: sqlite3.Connection, table: str, zoom: int, row: int, col: int, *, trusted: bool
) -> list[tuple[int, int]]:
    """(row, col) of the tiles in the window of 128 x 128 at ``row``, ``col``; by index alone if trusted."""
    if row <= -BLOCK or col <= -BLOCK or max(row, col) > MAX_INDEX:
        return []
    # The index is by column, then row: one seek for each column, however many rows lie above and below the window.
    columns = ",".join(map(str, range(max(col, 0), col + BLOCK)))
    sql = (
        f"SELECT tile_row, tile_column FROM {quoted(table)} WHERE zoom_level = ? AND tile_column IN ({columns})"
        f" AND tile_row BETWEEN ? AND ?{_whole(trusted)}"
    )
    return connection.execute(sql, (zoom, max(row, 0), row + BLOCK - 1)).fetchall()


def _whole(trusted: bool) -> str:
    return "" if trusted else " AND length(tile_data) > 0"


class GeoPackageReader(OpenedDatabase):
    """Tile tables of one tiling scheme, ours or another program's."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, tables: Sequence[Table], state: FileState | None
    ) -> None:
        super().__init__(path, connection)
        self.tables = tuple(tables)
        self.state = state if state is not None and {each.name for each in tables} <= set(state.tables) else None
        self._trusted = self.state is not None
        self._strips = Strips(path)
        self._may_repeat = {table.name for table in tables if obstacle(connection, table.name)}
        """Where an address may have several rows, perhaps."""
        self._by_zoom = {zoom: table for table in tables for zoom in table.resolutions}
        self.info = self._describe()

    def _describe(self) -> CacheInfo:
        text = metadata_row(self._open, ABOUT) if self._trusted else None
        about = _object(text or "")
        first = self.tables[0]
        boxes = [table.extent for table in self.tables if table.extent is not None]
        details = {name: value for name, value in about.items() if isinstance(value, str)}
        if manifest := metadata_row(self._open, MANIFEST):
            details[KEY] = manifest
        details["tables"] = ", ".join(
            f"{table.name} (zoom {min(table.resolutions)} to {max(table.resolutions)})" for table in self.tables
        )
        return CacheInfo(
            format=FORMAT,
            scheme=scheme_of(self.path, self.tables),
            tile_format=self._tile_format(),
            name=details.get("name") or first.identifier or first.name,
            attribution=details.get("attribution", ""),
            extent=_union(boxes),
            details={"description": _words(first.description) if about else first.description, **details},
        )

    def _tile_format(self) -> TileFormat:
        kinds = set(self.state.kinds) if self.state is not None else set()
        found = {_KINDS.get(kind, TileFormat.UNKNOWN) for kind in kinds}
        if not found:
            for zoom, table in self._by_zoom.items():
                sql = f"SELECT {BODY} FROM {quoted(table.name)} WHERE zoom_level = ? AND length(tile_data) > 0 LIMIT 1"
                found |= {type_of(bytes(row[0])) for row in self._query(sql, (zoom,))}
        return TileFormat.MIXED if len(found) > 1 else next(iter(found), TileFormat.UNKNOWN)

    def _within(self, level: int) -> tuple[Table, int, int] | None:
        table = self._by_zoom.get(level)
        return None if table is None else (table, *table.grid.size(level))

    def read(self, level: int, row: int, col: int) -> bytes | None:
        """The tile's bytes; None where there is none, or nothing in it."""
        found = self._within(level)
        if found is None or not (0 <= row < min(found[2], MAX_INDEX) and 0 <= col < min(found[1], MAX_INDEX)):
            return None
        sql = f"SELECT {BODY} FROM {quoted(found[0].name)} WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?"
        rows = self._query(sql, (level, col, row))
        return bytes(rows[0][0] or b"") or None if rows and all(row == rows[0] for row in rows) else None

    def levels(self) -> Sequence[int]:
        """Zooms that hold at least one tile, ascending by number."""
        return [
            zoom
            for zoom, table in sorted(self._by_zoom.items())
            if self._query(
                f"SELECT 1 FROM {quoted(table.name)} WHERE zoom_level = ?{_whole(self._trusted)} LIMIT 1", (zoom,)
            )
        ]

    def blocks(self, level: int) -> Iterator[BlockKey]:
        """Blocks that hold a tile, by row, then column."""
        found = self._within(level)
        if found is None:
            return
        table, cols, rows = found
        sql = (
            f"SELECT DISTINCT tile_row >> 7, tile_column >> 7 FROM {quoted(table.name)} WHERE zoom_level = ?"
            f" AND tile_row BETWEEN 0 AND ? AND tile_column BETWEEN 0 AND ?{_whole(self._trusted)}"
        )
        limits = min(rows, MAX_INDEX) - 1, min(cols, MAX_INDEX) - 1
        for row, col in sorted(self._query(sql, (level, *limits))):
            yield BlockKey(level, row * BLOCK, col * BLOCK)

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there; shape (128, 128)."""
        import numpy as np

        mask = np.zeros((BLOCK, BLOCK), dtype=np.bool_)
        for row, col in self._present(key):
            mask[row - key.row, col - key.col] = True
        return mask

    def _present(self, key: BlockKey) -> list[tuple[int, int]]:
        connection = self._open
        found = self._within(key.level)
        if found is None:
            return []
        table, cols, rows = found
        with sqlite_errors(self.path, "read"):
            there = present_in(connection, table.name, key.level, key.row, key.col, trusted=self._trusted)
            if table.name in self._may_repeat:
                sql = repeated(quoted(table.name), NOT_THE_SAME, give="tile_row, tile_column", where="zoom_level = ?")
                there = list(set(there) - set(connection.execute(sql, (key.level,))))
        return [(row, col) for row, col in there if row < rows and col < cols]

    def tiles(self, key: BlockKey) -> Iterator[tuple[Tile, bytes]]:
        """The tiles of one block by row, then column; a few megabytes of them are in memory at a time."""
        found = self._within(key.level)
        if found is None:
            return
        table, width, height = found
        level, top, left = key
        width, height = min(width, MAX_INDEX), min(height, MAX_INDEX)
        if top >= height or left >= width or min(top, left) <= -BLOCK:
            return
        columns = ",".join(map(str, range(max(left, 0), min(left + BLOCK, width))))
        sql = (
            f"SELECT (tile_row - {top}) * {BLOCK} + tile_column - {left}, {BODY} FROM {quoted(table.name)}"
            f" WHERE zoom_level = {level} AND tile_column IN ({columns}) AND tile_row BETWEEN ? AND ?"
        )

        def rows(first: int, end: int) -> sqlite3.Cursor:
            return self._open.execute(sql, (max(top + first, 0), min(top + end, height) - 1))

        for position, body in self._strips.read(rows):
            yield key.tile(position), body

    def check(self) -> Iterator[Damage]:
        """SQLite's own integrity check, then matrices that are inexact, tiles outside of them, without bytes."""
        for (text,) in self._query("PRAGMA integrity_check(100)"):
            if text != "ok":
                yield Damage(str(self.path), str(text))
        for table in self.tables:
            zoom = inexact(table)
            if zoom is not None:
                yield Damage(table.name, f"tiles of zoom {zoom} do not fill the extent of the tile matrix set")
            yield from islice(self._stays_in(table), MOST)
            yield from islice(self._found(table, "has no bytes", NO_BODY), MOST)

    def lost(self) -> Iterator[Damage]:
        """What ``tiles`` leaves out: tiles outside of their matrix, there twice, and those without bytes."""
        as_we_left_it = self._is_as_we_left_it()
        for table in self.tables:
            yield from self._stays_in(table)
            if not as_we_left_it:
                yield from self._found(table, "has no bytes", NO_BODY)

    def unmendable(self) -> Iterator[Damage]:
        """Of that what no tile that comes could mend: tiles outside of their matrix, and there twice."""
        for table in self.tables:
            yield from self._stays_in(table)

    def _is_as_we_left_it(self) -> bool:
        """Then every row has a whole tile, and nobody has to look at all of them."""
        if self.state is None or is_written_here(self.path):
            return self._trusted
        header = read_header(self.path)
        return header is not None and self.state.changes == header.changes

    def _outside(self, table: Table) -> Iterator[Damage]:
        inside = " OR ".join(
            f"(zoom_level = {zoom} AND tile_column BETWEEN 0 AND {cols - 1} AND tile_row BETWEEN 0 AND {rows - 1})"
            for zoom, (cols, rows) in table.grid.sizes.items()
        )
        return self._found(table, "lies outside of the tile matrix", f"({inside}) IS NOT TRUE", stays=True)

    def _stays_in(self, table: Table) -> Iterator[Damage]:
        yield from self._outside(table)
        if table.name in self._may_repeat:
            sql = repeated(quoted(table.name), UNLIKE, give=_PLACE)
            yield from self._told(table, TWICE, sql, stays=True)

    def _found(self, table: Table, what: str, condition: str, *, stays: bool = False) -> Iterator[Damage]:
        return self._told(table, what, f"SELECT {_PLACE} FROM {quoted(table.name)} WHERE {condition}", stays=stays)

    def _told(self, table: Table, what: str, sql: str, *, stays: bool) -> Iterator[Damage]:
        for place in self._query(sql):
            numbers = all(isinstance(value, int) and 0 <= value < MAX_INDEX for value in place)
            tile = Tile(*place) if numbers else None
            yield Damage(f"{table.name} {'/'.join(map(str, place))}", what, tile, stays=stays)


def _words(description: str) -> str:
    """A person's description of a table of ours; what is written there for want of one names the source."""
    return "" if description.rpartition("\n")[2].startswith(SOURCE) else description


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _union(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    low, high = [[box[axis] for box in boxes] for axis in (0, 1)], [[box[axis] for box in boxes] for axis in (2, 3)]
    return Box(*map(min, low), *map(max, high))
