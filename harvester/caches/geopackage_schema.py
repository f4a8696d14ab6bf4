"""The tables of a GeoPackage that hold tiles, and which grids a tiling scheme becomes there: pure, nothing is opened.

Source: OGC 12-128r17, GeoPackage 1.3, clause 2.2 (tiles) and annexes F.8 (metadata), F.11 (WebP).

A tile matrix set has one extent, and every zoom in it must fill that extent with whole tiles: matrix_width *
tile_width * pixel_x_size is its width. Services share only the top left corner between LODs, so
    * LODs that halve from one to the next lie in one table, whose extent is whole tiles of the coarsest one;
    * a step that does not halve begins another table (``tiles``, then ``tiles_lod8`` where it starts with LOD 8);
    * on the Google grid there is one table, its extent the world, its zooms Google's.
Rows and columns (and, off the Google grid, zoom_level) are the source's own: row 0 on top, column 0 at the origin. An
extent that turns out too small grows to the right and below, where no tile changes its address.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from harvester.crs import Crs
from harvester.errors import CacheError
from harvester.tiling.scheme import GOOGLE_ORIGIN, GOOGLE_WIDTH, Box, Lod, TilingScheme

APPLICATION_ID = 0x47504B47
"""``GPKG`` in the header's application_id (requirement 2)."""

USER_VERSION = 10300
"""1.3.0 in the header's user_version."""

HALVING_TOLERANCE = 1e-9
"""Relative error of a resolution that still is half of the one before: a pixel in 10^9, which is more than a level has.
Services print resolutions with 12 to 17 digits."""

CORE = (
    "CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT NOT NULL, srs_id INTEGER NOT NULL PRIMARY KEY,"
    " organization TEXT NOT NULL, organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL,"
    " description TEXT)",
    "CREATE TABLE gpkg_contents (table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,"
    " description TEXT DEFAULT '', last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),"
    " min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER, CONSTRAINT fk_gc_r_srs_id"
    " FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id))",
)
"""What every GeoPackage has (clause 1.1)."""

TILES = (
    "CREATE TABLE IF NOT EXISTS gpkg_tile_matrix_set (table_name TEXT NOT NULL PRIMARY KEY, srs_id INTEGER NOT NULL,"
    " min_x DOUBLE NOT NULL, min_y DOUBLE NOT NULL, max_x DOUBLE NOT NULL, max_y DOUBLE NOT NULL,"
    " CONSTRAINT fk_gtms_table_name FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),"
    " CONSTRAINT fk_gtms_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id))",
    "CREATE TABLE IF NOT EXISTS gpkg_tile_matrix (table_name TEXT NOT NULL, zoom_level INTEGER NOT NULL,"
    " matrix_width INTEGER NOT NULL, matrix_height INTEGER NOT NULL, tile_width INTEGER NOT NULL,"
    " tile_height INTEGER NOT NULL, pixel_x_size DOUBLE NOT NULL, pixel_y_size DOUBLE NOT NULL,"
    " CONSTRAINT pk_ttm PRIMARY KEY (table_name, zoom_level), CONSTRAINT fk_tmm_table_name FOREIGN KEY (table_name)"
    " REFERENCES gpkg_contents(table_name))",
)
"""What every GeoPackage with tiles has (clause 2.2)."""

METADATA = (
    "CREATE TABLE IF NOT EXISTS gpkg_extensions (table_name TEXT, column_name TEXT, extension_name TEXT NOT NULL,"
    " definition TEXT NOT NULL, scope TEXT NOT NULL, CONSTRAINT ge_tce UNIQUE (table_name, column_name,"
    " extension_name))",
    "CREATE TABLE IF NOT EXISTS gpkg_metadata (id INTEGER CONSTRAINT m_pk PRIMARY KEY ASC NOT NULL, md_scope TEXT"
    " NOT NULL DEFAULT 'dataset', md_standard_uri TEXT NOT NULL, mime_type TEXT NOT NULL DEFAULT 'text/xml',"
    " metadata TEXT NOT NULL DEFAULT '')",
    "CREATE TABLE IF NOT EXISTS gpkg_metadata_reference (reference_scope TEXT NOT NULL, table_name TEXT,"
    " column_name TEXT, row_id_value INTEGER, timestamp DATETIME NOT NULL DEFAULT"
    " (strftime('%Y-%m-%dT%H:%M:%fZ','now')), md_file_id INTEGER NOT NULL, md_parent_id INTEGER, CONSTRAINT"
    " crmr_mfi_fk FOREIGN KEY (md_file_id) REFERENCES gpkg_metadata(id), CONSTRAINT crmr_mpi_fk FOREIGN KEY"
    " (md_parent_id) REFERENCES gpkg_metadata(id))",
)
"""Where a source, an attribution and our own state have their place (annexes F.8 and 2.3.2)."""

METADATA_EXTENSION = "http://www.geopackage.org/spec120/#extension_metadata"
WEBP_EXTENSION = "http://www.geopackage.org/spec120/#extension_tiles_webp"

SOURCE = "Source: "
"""How the last line of a description begins that is made of what a source says of itself."""

ABOUT = "urn:harvester:cache"
"""md_standard_uri of the row with what a person may want to know: a JSON object."""

MANIFEST = "urn:harvester:manifest"
"""md_standard_uri of the row with the manifest."""

STATE = "urn:harvester:state"
"""md_standard_uri of the row with our own state: a JSON object, its tables among it."""


def tile_table(name: str) -> str:
    """SQL that makes a tile pyramid user data table (clause 2.2.8).

    id, zoom_level, tile_column (from the left), tile_row (from the top), tile_data (the tile's bytes).
    """
    return (
        f"CREATE TABLE {quoted(name)} (id INTEGER PRIMARY KEY AUTOINCREMENT, zoom_level INTEGER NOT NULL, tile_column"
        " INTEGER NOT NULL, tile_row INTEGER NOT NULL, tile_data BLOB NOT NULL, UNIQUE (zoom_level, tile_column,"
        " tile_row))"
    )


def quoted(name: str) -> str:
    """A table's name in SQL, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


# ---------------------------------------------------------------------------------------------- reference systems


class Srs(NamedTuple):
    """A row of gpkg_spatial_ref_sys."""

    name: str
    id: int
    organization: str
    number: int
    definition: str
    description: str = ""


CUSTOM_SRS = 100_000
"""The first srs_id of a reference system that has no number: behind EPSG's, and not among Esri's."""

LARGEST_EPSG = 32767

UNDEFINED = (
    Srs("Undefined cartesian SRS", -1, "NONE", -1, "undefined", "undefined cartesian coordinate reference system"),
    Srs("Undefined geographic SRS", 0, "NONE", 0, "undefined", "undefined geographic coordinate reference system"),
)
"""The two that requirement 11 asks for, beside 4326."""


def srs_of(crs: Crs) -> Srs:
    """The row of a CRS; one with WKT alone gets ``CUSTOM_SRS``, which the caller moves where it is taken."""
    number = crs.best_number
    if number is None:
        return Srs(crs.name, CUSTOM_SRS, "NONE", CUSTOM_SRS, crs.gdal_wkt())
    organization = "EPSG" if number <= LARGEST_EPSG else "ESRI"
    named = Crs(wkid=number) if crs.is_web_mercator else crs
    return Srs(named.name, number, organization, number, named.gdal_wkt())


# ---------------------------------------------------------------------------------------------- grids


class Place(NamedTuple):
    """Where a source's level lies: its zoom there, and what to add to its rows and columns."""

    zoom: int
    row_offset: int = 0
    col_offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One tile table: its top left corner, its coarsest zoom and how many tiles of it make its extent, and which of the
    source's levels lie in it."""

    table: str
    origin_x: float
    origin_y: float
    zoom: int
    span_x: float
    """Width of a tile of ``zoom`` in map units."""
    span_y: float
    tile_width: int
    tile_height: int
    cols: int = 1
    rows: int = 1
    places: Mapping[int, Place] = field(default_factory=dict)
    sizes: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Of a table that another program made: columns and rows by zoom. Empty: ours, by ``cols`` and ``rows``."""
    is_world: bool = False

    @property
    def box(self) -> Box:
        """The extent of the tile matrix set."""
        right, bottom = self.origin_x + self.cols * self.span_x, self.origin_y - self.rows * self.span_y
        return Box(self.origin_x, bottom, right, self.origin_y)

    def size(self, zoom: int) -> tuple[int, int]:
        """Columns and rows of a zoom."""
        if self.sizes:
            return self.sizes.get(zoom, (0, 0))
        return self.cols << (zoom - self.zoom), self.rows << (zoom - self.zoom)

    def pixel(self, zoom: int) -> tuple[float, float]:
        """Width and height of a pixel of a zoom in map units: the extent's, divided, so that it is filled exactly."""
        box, (cols, rows) = self.box, self.size(zoom)
        return (box.xmax - box.xmin) / (cols * self.tile_width), (box.ymax - box.ymin) / (rows * self.tile_height)

    def _named(self, zoom: int, row: int, col: int) -> str:
        """A tile as its source calls it."""
        for level, place in self.places.items():
            if place.zoom == zoom:
                return f"{level}/{row - place.row_offset}/{col - place.col_offset}"
        return f"{zoom}/{row}/{col}"

    def grown(self, zoom: int, row: int, col: int) -> Grid:
        """The grid with a tile's row and column in it. Raises CacheError where it cannot grow."""
        cols, rows = self.size(zoom)
        if 0 <= row < rows and 0 <= col < cols:
            return self
        if self.is_world or self.sizes or row < 0 or col < 0:
            where, hint = f"the tile matrix set of {self.table}", "Write to another output."
            if self.is_world:
                where, hint = "the web-mercator world", "Write compactv2, compact, exploded or tpkx instead."
            raise CacheError(
                f"tile {self._named(zoom, row, col)} lies outside of {where}",
                hint=hint,
                code="schema",
            )
        shift = zoom - self.zoom
        return replace(self, cols=max(self.cols, (col >> shift) + 1), rows=max(self.rows, (row >> shift) + 1))


def grids_of(scheme: TilingScheme, extent: Box | None) -> tuple[Grid, ...]:
    """The tables that a scheme's tiles lie in, coarsest first; ``extent`` (of the service or the plan) is covered."""
    places = {lod.level: scheme.google(lod.level) for lod in scheme.lods}
    found = [place for place in places.values() if place is not None]
    if len(found) == len(places) and len({place.zoom for place in found}) == len(found):
        return (_world(scheme, {level: Place(*place) for level, place in places.items() if place is not None}),)
    grids = []
    for run in _runs(scheme.lods):
        first = run[0]
        span_x, span_y = scheme.span(first.level)
        grid = Grid(
            table="tiles" if first is scheme.lods[0] else f"tiles_lod{first.level}",
            origin_x=scheme.origin_x,
            origin_y=scheme.origin_y,
            zoom=first.level,
            span_x=span_x,
            span_y=span_y,
            tile_width=scheme.tile_width,
            tile_height=scheme.tile_height,
            places={lod.level: Place(lod.level) for lod in run},
        )
        if extent is not None:
            cols = max(1, math.ceil((extent.xmax - grid.origin_x) / span_x - 1e-3))
            rows = max(1, math.ceil((grid.origin_y - extent.ymin) / span_y - 1e-3))
            grid = replace(grid, cols=cols, rows=rows)
        grids.append(grid)
    return tuple(grids)


def _world(scheme: TilingScheme, places: Mapping[int, Place]) -> Grid:
    return Grid(
        table="tiles",
        origin_x=-GOOGLE_ORIGIN,
        origin_y=GOOGLE_ORIGIN,
        zoom=0,
        span_x=GOOGLE_WIDTH,
        span_y=GOOGLE_WIDTH,
        tile_width=scheme.tile_width,
        tile_height=scheme.tile_height,
        places=places,
        is_world=True,
    )


def _runs(lods: tuple[Lod, ...]) -> list[list[Lod]]:
    """LODs by where a step does not halve: within a run, the resolution is the first one's over 2^(level - first)."""
    runs: list[list[Lod]] = []
    for lod in lods:
        if runs:
            first, steps = runs[-1][0], lod.level - runs[-1][0].level
            if steps > 0 and abs(lod.resolution * 2.0**steps / first.resolution - 1) <= HALVING_TOLERANCE:
                runs[-1].append(lod)
                continue
        runs.append([lod])
    return runs
