"""MBTiles opened for reading: zooms of the Google grid with row 0 on top, however the file is laid out inside."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harvester.caches.mbtiles_schema import Kind, Schema, detect
from harvester.caches.mbtiles_state import FileState
from harvester.caches.sqlite_strips import BODY, NO_BODY, NOT_THE_SAME, TWICE, UNLIKE, Strips, mask_of, repeated
from harvester.caches.tile_look import Look, look_at
from harvester.caches.vector_layers import parse_text
from harvester.database import OpenedDatabase, is_written_here, open_read_only, read_header, sqlite_errors
from harvester.edges import CacheInfo, Damage, TileFormat
from harvester.errors import CacheError
from harvester.tiling.google import google_scheme, mercator_box
from harvester.tiling.scheme import MAX_GOOGLE_ZOOM, Box
from harvester.tiling.tile import BLOCK, BlockKey, Tile, tms_row

if TYPE_CHECKING:
    from harvester.edges import Mask

STAMP = "harvester_stamp"
"""Metadata row of files that we wrote; there, every row of the index has a whole tile."""

TILE_SIZE = "tile_size"
"""Metadata row for tiles that are not 256 pixels wide; MBTiles 1.3 has no word for it."""

VECTOR_TILE_SIZE = 512
"""Vector tiles have no pixels of their own; their styles count in 512."""

FORMATS = {
    "png": TileFormat.PNG,
    "jpg": TileFormat.JPEG,
    "jpeg": TileFormat.JPEG,
    "webp": TileFormat.WEBP,
    "pbf": TileFormat.PBF,
    "mvt": TileFormat.PBF,
    "x-protobuf": TileFormat.PBF,
    "vnd.mapbox-vector-tile": TileFormat.PBF,
}
"""``format`` in the metadata: a word or the end of a media type."""


def open_reader(path: Path) -> MBTilesReader:
    """Open an MBTiles file for reading. Raises CacheError when it is none, or damaged."""
    connection = open_read_only(path)
    try:
        with sqlite_errors(path, "read"):
            schema = detect(connection)
            if schema is None:
                hint = "Choose another output, or move the file away."
                raise CacheError(f"{path} is no MBTiles file: it has no tiles", hint=hint, code="not_a_cache")
            return MBTilesReader(path, connection, schema)
    except BaseException:
        connection.close()
        raise


def read_metadata(connection: sqlite3.Connection) -> dict[str, str]:
    """The metadata rows of an open file; empty where there is no such table."""
    try:
        rows = connection.execute("SELECT name, value FROM metadata").fetchall()
    except sqlite3.OperationalError as error:
        if "no such" in str(error):
            return {}
        raise
    return {str(name): str(value) for name, value in rows if name is not None and value is not None}


def present_in(connection: sqlite3.Connection, schema: Schema, zoom: int, row: int, col: int, *, trusted: bool) -> Mask:
    """Which tiles of the window of 128 x 128 at ``row``, ``col`` (top-down) are there; by index alone if trusted. Not
    those that are there twice and not as the same."""
    top, left = max(row, 0), max(col, 0)
    bottom, right = min(row + BLOCK, 1 << zoom) - 1, min(col + BLOCK, 1 << zoom) - 1
    where = "0"
    if zoom <= MAX_GOOGLE_ZOOM and bottom >= top and right >= left:
        # The index is by column, then row: one seek for each column, however many rows lie above and below the window.
        columns = ",".join(map(str, range(left, right + 1)))
        where = f"zoom_level = {zoom} AND tile_column IN ({columns})"
        where += f" AND tile_row BETWEEN {tms_row(zoom, bottom)} AND {tms_row(zoom, top)}"
    position = f"({tms_row(zoom, 0)} - tile_row - {row}) * {BLOCK} + tile_column - {col}"
    sql = f"SELECT {position} FROM {_table(schema, trusted)} WHERE {where}{_whole(trusted)}"
    mask = mask_of(connection.execute(sql))
    if schema.may_repeat:
        mask &= ~mask_of(connection.execute(repeated("tiles", NOT_THE_SAME, give=position, where=where)))
    return mask


def _table(schema: Schema, trusted: bool) -> str:
    return schema.index if trusted else "tiles"


def _whole(trusted: bool) -> str:
    return "" if trusted else " AND length(tile_data) > 0"


class MBTilesReader(OpenedDatabase):
    """MBTiles 1.3 and what others made of it: tables or views, NULL tiles, missing metadata."""

    def __init__(self, path: Path, connection: sqlite3.Connection, schema: Schema) -> None:
        super().__init__(path, connection)
        self.schema = schema
        self.metadata = read_metadata(connection)
        self._trusted = STAMP in self.metadata and not schema.may_repeat
        self._strips = Strips(path)
        self.info = self._describe()

    def _describe(self) -> CacheInfo:
        levels = self.levels()
        body = self._query(f"SELECT {BODY} FROM tiles WHERE length(tile_data) > 0 LIMIT 1") if levels else []
        kind, width, _ = look_at(bytes(body[0][0])) if body else Look(TileFormat.UNKNOWN)
        stated = FORMATS.get(self.metadata.get("format", "").lower().rpartition("/")[2], TileFormat.UNKNOWN)
        if stated is TileFormat.UNKNOWN:
            stated = kind
        if width is None:
            noted = self.metadata.get(TILE_SIZE, "")
            width = int(noted) if noted.isdecimal() and int(noted) else 256
            if stated is TileFormat.PBF and not noted:
                width = VECTOR_TILE_SIZE
        return CacheInfo(
            format="mbtiles",
            scheme=google_scheme(width, max(levels, default=0)),
            tile_format=stated,
            name=self.metadata.get("name", ""),
            attribution=self.metadata.get("attribution", ""),
            extent=_extent(self.metadata),
            details=self.metadata,
            vector_layers=parse_text(self.metadata.get("json", "")) if stated is TileFormat.PBF else (),
        )

    def read(self, level: int, row: int, col: int) -> bytes | None:
        """The tile's bytes; None where there is none, or only NULL or nothing, or there are two."""
        if not (0 <= level <= MAX_GOOGLE_ZOOM and 0 <= row < 1 << level and 0 <= col < 1 << level):
            return None
        sql = f"SELECT {BODY} FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?"
        rows = self._query(sql, (level, col, tms_row(level, row)))
        body = rows[0][0] if rows and all(row == rows[0] for row in rows) else None
        return bytes(body) if body else None

    def levels(self) -> Sequence[int]:
        """Zooms that hold at least one tile."""
        found: list[int] = []
        zoom = -1
        while True:
            sql = f"SELECT min(zoom_level) FROM {self.schema.index} WHERE zoom_level > ?"
            zoom = self._query(sql, (zoom,))[0][0]
            if zoom is None or not isinstance(zoom, int) or zoom > MAX_GOOGLE_ZOOM:
                return found
            table, whole = _table(self.schema, self._trusted), _whole(self._trusted)
            if self._query(f"SELECT 1 FROM {table} WHERE zoom_level = ?{whole} LIMIT 1", (zoom,)):
                found.append(zoom)

    def blocks(self, level: int) -> Iterator[BlockKey]:
        """Blocks that hold a tile, by row, then column."""
        if not 0 <= level <= MAX_GOOGLE_ZOOM:
            return
        sql = (
            f"SELECT DISTINCT (? - tile_row) >> 7, tile_column >> 7 FROM {_table(self.schema, self._trusted)}"
            f" WHERE zoom_level = ? AND tile_row BETWEEN 0 AND ? AND tile_column BETWEEN 0 AND ?{_whole(self._trusted)}"
        )
        last = (1 << level) - 1
        for row, col in sorted(self._query(sql, (last, level, last, last))):
            yield BlockKey(level, row * BLOCK, col * BLOCK)

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there; shape (128, 128)."""
        connection = self._open
        with sqlite_errors(self.path, "read"):
            return present_in(connection, self.schema, key.level, key.row, key.col, trusted=self._trusted)

    def tiles(self, key: BlockKey) -> Iterator[tuple[Tile, bytes]]:
        """The tiles of one block by row, then column; a few megabytes of them are in memory at a time."""
        level, top, left = key
        if not 0 <= level <= MAX_GOOGLE_ZOOM or max(top, left) >= 1 << level or min(top, left) <= -BLOCK:
            return
        last = (1 << level) - 1
        columns = ",".join(map(str, range(max(left, 0), min(left + BLOCK, last + 1))))
        sql = (
            f"SELECT ({last - top} - tile_row) * {BLOCK} + tile_column - {left}, {BODY} FROM tiles"
            f" WHERE zoom_level = {level} AND tile_column IN ({columns}) AND tile_row BETWEEN ? AND ?"
        )

        def rows(first: int, end: int) -> sqlite3.Cursor:
            lowest, highest = max(top + first, 0), min(top + end - 1, last)
            return self._open.execute(sql, (last - highest, last - lowest))

        for position, body in self._strips.read(rows):
            yield key.tile(position), body

    def check(self) -> Iterator[Damage]:
        """SQLite's own integrity check, then tiles off the grid, without bytes, without their picture, there twice."""
        for (text,) in self._query("PRAGMA integrity_check(100)"):
            if text != "ok":
                yield Damage(str(self.path), str(text))
        yield from self._all_of(_checks(self.schema))

    def lost(self) -> Iterator[Damage]:
        """What ``tiles`` leaves out: tiles off the grid, without bytes or a picture, and there twice."""
        yield from self._all_of(islice(_checks(self.schema), 1 if self._is_as_we_left_it() else None))

    def unmendable(self) -> Iterator[Damage]:
        """Of that what a tile that comes can't mend: tiles off the grid, and there twice, since none can be replaced by
        its address then."""
        return self._all_of(check for check in _checks(self.schema) if check.stays)

    def fault(self, level: int, row: int, col: int) -> str | None:
        """Why a tile is not given that has a row; None where it has none."""
        sql = f"SELECT {BODY} FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?"
        bodies = {body or b"" for (body,) in self._query(sql, (level, col, tms_row(level, row)))}
        return TWICE if len(bodies - {b""}) > 1 else "has no bytes" if b"" in bodies else None

    def _is_as_we_left_it(self) -> bool:
        """Then every row has a whole tile, and nobody has to look at all of them."""
        if not self._trusted or is_written_here(self.path):
            return self._trusted
        header = read_header(self.path)
        return header is not None and FileState.read(self.metadata[STAMP]).changes == header.changes

    def _all_of(self, checks: Iterable[_Check]) -> Iterator[Damage]:
        """What the checks find; of a tile that is there twice, that alone."""
        twice: set[str] = set()
        for check in checks:
            for zoom, col, row in self._query(check.sql):
                where, tile = f"{self.schema.index} {zoom}/{col}/{row}", None
                if where in twice:
                    continue
                if check.what == TWICE:
                    twice.add(where)
                if all(isinstance(value, int) for value in (zoom, col, row)) and 0 <= zoom <= MAX_GOOGLE_ZOOM:
                    tile = Tile(zoom, tms_row(zoom, row), col)
                yield Damage(where, check.what, tile, stays=check.stays)


class _Check(NamedTuple):
    what: str
    sql: str
    """The query for such rows (zoom, column, TMS row)."""
    stays: bool = False


def _checks(schema: Schema) -> Iterator[_Check]:
    """What can be wrong with a row."""
    address = "zoom_level, tile_column, tile_row"
    table = schema.index
    yield _Check(
        "lies off the grid",
        f"SELECT {address} FROM {table} WHERE typeof(zoom_level) <> 'integer' OR typeof(tile_column) <> 'integer'"
        f" OR typeof(tile_row) <> 'integer' OR zoom_level NOT BETWEEN 0 AND {MAX_GOOGLE_ZOOM}"
        " OR tile_column NOT BETWEEN 0 AND (1 << zoom_level) - 1 OR tile_row NOT BETWEEN 0 AND (1 << zoom_level) - 1",
        stays=True,
    )
    if schema.may_repeat:
        yield _Check(TWICE, repeated("tiles", UNLIKE), stays=True)
    yield _Check(
        "has no bytes",
        f"SELECT {address} FROM tiles WHERE {NO_BODY}{f' GROUP BY {address}' if schema.may_repeat else ''}",
    )
    if schema.kind is Kind.SHARED:
        joint, pictures = schema.id_column, schema.pictures
        yield _Check(
            "has no picture",
            f"SELECT {address} FROM {table} WHERE NOT EXISTS"
            f" (SELECT 1 FROM {pictures} WHERE {pictures}.{joint} = {table}.{joint})",
        )


def _extent(metadata: Mapping[str, str]) -> Box | None:
    try:
        west, south, east, north = (float(part) for part in metadata.get("bounds", "").split(","))
    except ValueError:
        return None
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        return None
    return mercator_box(west, south, east, north)
