"""GeoPackage tiles: exact matrices on every grid, GDAL's reading pixel by pixel, files of others, what is refused."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from harvester.audit import verify
from harvester.caches.geopackage import open_reader, open_writer
from harvester.caches.geopackage_schema import STATE, grids_of
from harvester.caches.open import open_cache, sniff
from harvester.caches.placed import PlacedReader
from harvester.crs import Crs
from harvester.durable import Disk
from harvester.edges import Stored, Subject, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.testing import schemes
from harvester.tiling.scheme import Box, Lod, TilingScheme
from harvester.tiling.tile import Tile, block_of
from tests.caches.geopackage_schemes import odd_steps
from tests.caches.making import bodies, mercator, picture, pictures, png, rio, subject, utm, with_levels


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.gpkg"


def write(path: Path, about: Subject, *batches: Sequence[Stored], finish: bool = True) -> None:
    async def run() -> None:
        writer = await open_writer(path, about, disk=Disk(), now=lambda: 1_700_000_000.0, environment={})
        try:
            for batch in batches:
                await writer.store(batch)
            if finish:
                await writer.finish(about)
        finally:
            await writer.close()

    asyncio.run(run())


def query(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for sql in statements:
            connection.execute(sql)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"stamp": "a", "changes": Infinity, "kinds": {}, "tables": []}'])
def test_a_file_whose_state_is_nonsense_is_taken_for_one_that_another_program_wrote(path: Path, text: str) -> None:
    write(path, subject(levels=(2,)), pictures([Tile(2, 1, 1)]))
    execute(path, f"UPDATE gpkg_metadata SET metadata = '{text}' WHERE md_standard_uri = '{STATE}'")
    write(path, subject(levels=(2,)), pictures([Tile(2, 1, 2)]))
    assert query(path, "SELECT count(*) FROM tiles") == [(2,)]


# ---------------------------------------------------------------------------------------------- the layout


def test_the_file_says_what_it_is(path: Path) -> None:
    write(path, subject(levels=(2,)), pictures([Tile(2, 1, 1)]))
    assert path.read_bytes()[68:72] == b"GPKG"
    assert query(path, "PRAGMA user_version") == [(10300,)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert query(path, "PRAGMA foreign_key_check") == []
    assert {row[0] for row in query(path, "SELECT srs_id FROM gpkg_spatial_ref_sys")} == {-1, 0, 4326, 3857}
    columns = [row[1:3] for row in query(path, "PRAGMA table_info(tiles)")]
    assert columns == [
        ("id", "INTEGER"),
        ("zoom_level", "INTEGER"),
        ("tile_column", "INTEGER"),
        ("tile_row", "INTEGER"),
        ("tile_data", "BLOB"),
    ]
    assert "AUTOINCREMENT" in query(path, "SELECT sql FROM sqlite_master WHERE name = 'tiles'")[0][0]


def test_rows_are_counted_from_the_top_and_zooms_are_google_s(path: Path) -> None:
    write(path, subject(levels=(3,)), pictures([Tile(3, 1, 6)]))
    assert query(path, "SELECT zoom_level, tile_column, tile_row FROM tiles") == [(3, 6, 1)]
    world = query(path, "SELECT min_x, min_y, max_x, max_y FROM gpkg_tile_matrix_set")[0]
    assert world == (-20037508.342789244, -20037508.342789244, 20037508.342789244, 20037508.342789244)
    assert query(path, "SELECT zoom_level, matrix_width, matrix_height FROM gpkg_tile_matrix") == [(3, 8, 8)]


def test_a_512_pixel_level_lies_at_the_zoom_of_its_span(path: Path) -> None:
    """Level n of this source spans what zoom n - 1 does, with pixels as fine as zoom n's."""
    scheme = replace(mercator(range(1, 8)), tile_width=512, tile_height=512)
    write(path, subject(scheme, levels=(3,)), pictures([Tile(3, 2, 1)], 512))
    assert query(path, "SELECT zoom_level, tile_column, tile_row FROM tiles") == [(2, 1, 2)]
    with open_reader(path) as reader:
        assert reader.info.scheme.tile_width == 512
        assert PlacedReader(reader, scheme).read(Tile(3, 2, 1)) == png(Tile(3, 2, 1), 512)


GRIDS = (*schemes.GRIDS.values(),)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.name)
def test_whole_tiles_of_every_zoom_fill_the_extent_exactly(grid: schemes.Grid) -> None:
    tables = grids_of(grid.scheme, grid.extent)
    assert sorted(level for table in tables for level in table.places) == [lod.level for lod in grid.scheme.lods]
    for table in tables:
        box = table.box
        for level, place in table.places.items():
            (cols, rows), (x, y) = table.size(place.zoom), table.pixel(place.zoom)
            assert cols * table.tile_width * x == pytest.approx(box.xmax - box.xmin, rel=1e-15)
            assert rows * table.tile_height * y == pytest.approx(box.ymax - box.ymin, rel=1e-15)
            assert x == pytest.approx(grid.scheme.by_level[level].resolution, rel=2e-9)
            # No tile of the service's extent lies outside.
            last = grid.scheme.tile_at(level, grid.extent.xmax - 1e-6 * x, grid.extent.ymin + 1e-6 * y)
            assert last.row + place.row_offset < rows and last.col + place.col_offset < cols


def test_a_table_begins_where_a_step_does_not_halve() -> None:
    tables = {grid.table: sorted(grid.places) for grid in grids_of(schemes.RIO.scheme, None)}
    assert tables == {"tiles": [*range(8)], "tiles_lod8": [8, 9, 10]}
    tables = {grid.table: sorted(grid.places) for grid in grids_of(schemes.UTM_PHILADELPHIA.scheme, None)}
    assert tables == {"tiles": [0, 1], "tiles_lod2": [2, 3, 4]}
    assert len(grids_of(schemes.NZTM.scheme, None)) == 8
    assert len(grids_of(schemes.GEOGRAPHIC.scheme, None)) == 1


def test_only_tables_with_tiles_are_made(path: Path) -> None:
    about = subject(schemes.RIO.scheme, levels=(8,))
    write(path, about, pictures([Tile(8, 200, 300)]))
    assert query(path, "SELECT table_name FROM gpkg_contents") == [("tiles_lod8",)]
    write(path, with_levels(about, 2, 8), pictures([Tile(2, 1, 1)]))
    assert query(path, "SELECT table_name, identifier FROM gpkg_contents ORDER BY 1") == [
        ("tiles", "Streets LOD 0-7"),
        ("tiles_lod8", "Streets LOD 8-10"),
    ]
    with open_reader(path) as reader:
        assert reader.levels() == [2, 8]
        assert reader.read(2, 1, 1) == png(Tile(2, 1, 1))
        assert reader.read(8, 200, 300) == png(Tile(8, 200, 300))
        assert list(reader.check()) == []


def test_an_extent_that_turns_out_too_small_grows_to_the_right_and_below(path: Path) -> None:
    about = subject(utm(), levels=(1,))
    write(path, about, pictures([Tile(1, 3, 4)]))
    assert query(path, "SELECT matrix_width, matrix_height FROM gpkg_tile_matrix") == [(6, 4)]
    write(path, with_levels(about, 0, 1), pictures([Tile(0, 9, 1)]))
    rows = "SELECT zoom_level, matrix_width, matrix_height FROM gpkg_tile_matrix ORDER BY 1"
    assert query(path, rows) == [(0, 3, 10), (1, 6, 20)]
    assert query(path, "SELECT min_x, max_y FROM gpkg_tile_matrix_set") == [(-5120900, 9998100)]
    with open_reader(path) as reader:
        assert reader.read(1, 3, 4) == png(Tile(1, 3, 4))
        assert list(reader.check()) == []


def test_what_has_grown_stays_large_for_the_batches_after_it(path: Path) -> None:
    write(path, subject(utm(), levels=(0, 1)), pictures([Tile(0, 9, 9)]), pictures([Tile(1, 0, 0)]))
    rows = "SELECT zoom_level, matrix_width, matrix_height FROM gpkg_tile_matrix ORDER BY 1"
    assert query(path, rows) == [(0, 10, 10), (1, 20, 20)]
    with open_reader(path) as reader:
        assert reader.read(0, 9, 9) == png(Tile(0, 9, 9))


# ---------------------------------------------------------------------------------------------- GDAL


def tiles_in(grid: schemes.Grid, level: int) -> list[Tile]:
    """Four tiles around the middle of a service, two by two."""
    extent = grid.extent
    x, y = (extent.xmin + extent.xmax) / 2, (extent.ymin + extent.ymax) / 2
    at = grid.scheme.tile_at(level, x, y)
    return [Tile(level, at.row + row, at.col + col) for row in (0, 1) for col in (0, 1)]


@pytest.mark.parametrize(
    ("grid", "levels"),
    [
        (schemes.WEB_MERCATOR, (3, 5, 12)),
        (schemes.WEB_MERCATOR_512, (2, 4)),
        (schemes.ARCMAP_DEFAULT, (0, 2, 4)),
        (schemes.UTM_PHILADELPHIA, (0, 1, 2, 3, 4)),
        (schemes.RIO, (0, 7, 8, 10)),
        (schemes.NZTM, (0, 1, 4, 5, 9, 12)),
        (schemes.US_FEET, (2, 3)),
        (schemes.GEOGRAPHIC, (1, 3)),
    ],
    ids=lambda value: value.name if isinstance(value, schemes.Grid) else "",
)
def test_gdal_sees_each_tile_where_it_belongs_pixel_by_pixel(path: Path, grid: schemes.Grid, levels: Any) -> None:
    size = grid.scheme.tile_width
    tiles = [tile for level in levels for tile in tiles_in(grid, level)]
    write(path, subject(grid.scheme, levels=levels, extent=grid.extent), pictures(tiles, size))
    seen = 0
    for table in grids_of(grid.scheme, None):
        held = sorted({place.zoom for level, place in table.places.items() if level in levels}, reverse=True)
        for zoom in held:
            level = next(level for level, place in table.places.items() if place.zoom == zoom)
            with rasterio.open(f"GPKG:{path}:{table.table}", ZOOM_LEVEL=zoom) as raster:
                assert Crs.from_user(raster.crs.to_wkt()).same_as(grid.scheme.crs)
                resolution = grid.scheme.by_level[level].resolution
                assert raster.res == pytest.approx((resolution, resolution), rel=1e-9)
                for tile in (tile for tile in tiles if tile.level == level):
                    box = grid.scheme.box(tile)
                    inverse = ~raster.transform
                    col, row = inverse.a * box.xmin + inverse.c, inverse.e * box.ymax + inverse.f
                    assert (col, row) == pytest.approx((round(col), round(row)), abs=2e-3)
                    window = Window(round(col), round(row), size, size)
                    inside = raster.window(*raster.bounds).intersection(window)
                    pixels = raster.read([1, 2, 3], window=inside)
                    left, top = round(inside.col_off - window.col_off), round(inside.row_off - window.row_off)
                    wanted = picture(tile, size)[top:, left:][: pixels.shape[1], : pixels.shape[2], :3]
                    assert pixels.size
                    assert np.array_equal(np.moveaxis(pixels, 0, 2), wanted), tile
                    seen += 1
    assert seen == len(tiles)


def test_gdal_opens_a_file_of_one_table_by_its_name_alone_with_its_overviews(path: Path) -> None:
    tiles = [Tile(level, row, col) for level in (0, 1, 2) for row in range(2**level) for col in range(2**level)]
    write(path, subject(levels=(0, 1, 2)), pictures(tiles))
    with rasterio.open(path) as raster:
        assert (raster.width, raster.height) == (1024, 1024)
        assert raster.overviews(1) == [2, 4]
        assert raster.bounds == pytest.approx((-20037508.342789244,) * 2 + (20037508.342789244,) * 2)
        pixels = np.moveaxis(raster.read([1, 2, 3], window=Window(512, 256, 256, 256)), 0, 2)
        assert np.array_equal(pixels, picture(Tile(2, 1, 2))[..., :3])


def test_the_contents_reach_as_far_as_the_tiles_and_no_further_than_the_extent(path: Path) -> None:
    grid = schemes.UTM_PHILADELPHIA
    tiles = [Tile(4, row, col) for row in range(5130, 5134) for col in range(5170, 5174)]
    box = grid.scheme.box(tiles[0])
    extent = Box(box.xmin + 300, box.ymin - 2200, box.xmin + 4000, box.ymax - 500)
    write(path, subject(grid.scheme, levels=(4,), extent=extent), pictures(tiles))
    stated = Box(*query(path, "SELECT min_x, min_y, max_x, max_y FROM gpkg_contents")[0])
    pixel = grid.scheme.by_level[4].resolution
    assert extent.xmin - pixel < stated.xmin <= extent.xmin
    assert extent.ymax <= stated.ymax < extent.ymax + pixel
    last = grid.scheme.box(tiles[-1])
    assert stated.xmax == pytest.approx(extent.xmax, abs=pixel) or stated.xmax == pytest.approx(last.xmax)
    with open_reader(path) as reader:
        assert reader.info.extent == stated


# ---------------------------------------------------------------------------------------------- what it says


def test_attribution_and_source_travel_with_the_file(path: Path) -> None:
    write(path, subject(levels=(1,)), pictures([Tile(1, 0, 0)]))
    description = query(path, "SELECT description FROM gpkg_contents")[0][0]
    assert "© Example & Söhne <gis>" in description
    assert "https://gis.example.org/arcgis/rest/services/Streets/MapServer" in description
    about = json.loads(query(path, "SELECT metadata FROM gpkg_metadata WHERE md_standard_uri LIKE '%:cache'")[0][0])
    assert about["attribution"] == "© Example & Söhne <gis>"
    assert about["lods"] == [{"level": 1, "table": "tiles", "zoom_level": 1}]
    extensions = query(path, "SELECT table_name, extension_name FROM gpkg_extensions ORDER BY 1")
    assert extensions == [("gpkg_metadata", "gpkg_metadata"), ("gpkg_metadata_reference", "gpkg_metadata")]
    assert query(path, "SELECT reference_scope FROM gpkg_metadata_reference") == [("geopackage",), ("geopackage",)]
    with open_reader(path) as reader:
        assert (reader.info.name, reader.info.attribution) == ("Streets", "© Example & Söhne <gis>")


def test_times_are_those_of_source_date_epoch_where_it_is_set(path: Path) -> None:
    async def run() -> None:
        about = subject(levels=(1,))
        writer = await open_writer(path, about, disk=Disk(), environment={"SOURCE_DATE_EPOCH": "86400"})
        await writer.store(pictures([Tile(1, 0, 0)]))
        await writer.finish(about)
        await writer.close()

    asyncio.run(run())
    assert query(path, "SELECT last_change FROM gpkg_contents") == [("1970-01-02T00:00:00.000Z",)]


def test_webp_has_its_extension_row_once(path: Path) -> None:
    about = subject(levels=(1,), tile_format=TileFormat.WEBP)
    for col in (0, 1):
        write(path, about, [Stored(Tile(1, 0, col), b"RIFF\x04\x00\x00\x00WEBPVP8 ", "webp")])
    sql = "SELECT table_name, column_name, scope FROM gpkg_extensions WHERE extension_name = 'gpkg_webp'"
    assert query(path, sql) == [("tiles", "tile_data", "read-write")]
    with open_reader(path) as reader:
        assert reader.info.tile_format is TileFormat.WEBP


def test_png_and_jpeg_together_are_mixed(path: Path) -> None:
    about = subject(levels=(1,), tile_format=TileFormat.MIXED)
    write(path, about, [*pictures([Tile(1, 0, 0)]), Stored(Tile(1, 0, 1), b"\xff\xd8\xff\xe0", "jpg")])
    with open_reader(path) as reader:
        assert reader.info.tile_format is TileFormat.MIXED


@pytest.mark.parametrize("tile_format", [TileFormat.LERC, TileFormat.PBF])
def test_tiles_that_are_no_pictures_are_refused_before_a_file_is_made(path: Path, tile_format: TileFormat) -> None:
    with pytest.raises(UnsupportedFormatError, match="GeoPackage cannot hold"):
        write(path, subject(levels=(1,), tile_format=tile_format))
    assert not path.exists()
    with pytest.raises(UnsupportedFormatError, match="GIF"):
        write(path, subject(levels=(1,), tile_format=TileFormat.UNKNOWN), [Stored(Tile(1, 0, 0), b"GIF89a", "gif")])
    assert not path.exists()


def test_a_tile_outside_the_world_is_refused(path: Path) -> None:
    with pytest.raises(CacheError, match="outside of the web-mercator world"):
        write(path, subject(levels=(1,)), pictures([Tile(1, 0, 2)]))


# ---------------------------------------------------------------------------------------------- reference systems

ALBERS = (
    'PROJCS["My_Albers",GEOGCS["GCS_North_American_1983",DATUM["D_North_American_1983",SPHEROID["GRS_1980",6378137.0,'
    '298.257222101]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Albers"],'
    'PARAMETER["False_Easting",1234.5],PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",-97.25],'
    'PARAMETER["Standard_Parallel_1",29.5],PARAMETER["Standard_Parallel_2",45.5],PARAMETER["Latitude_Of_Origin",23.0],'
    'UNIT["Meter",1.0]]'
)


@pytest.mark.parametrize(
    ("crs", "row"),
    [
        (Crs(wkid=102100, latest_wkid=3857), (3857, "EPSG", 3857)),
        (Crs(wkid=29193), (29193, "EPSG", 29193)),
        (Crs(wkid=102039), (102039, "ESRI", 102039)),
        (Crs(wkt=ALBERS), (100000, "NONE", 100000)),
    ],
)
def test_every_reference_system_comes_back_as_it_was(path: Path, crs: Crs, row: tuple[int, str, int]) -> None:
    scheme = replace(utm(), crs=crs)
    write(path, subject(scheme, levels=(0,)), pictures([Tile(0, 1, 1)]))
    sql = "SELECT srs_id, organization, organization_coordsys_id FROM gpkg_spatial_ref_sys WHERE srs_id > 4326 OR "
    rows = query(path, sql + "srs_id BETWEEN 1 AND 4325")
    assert rows == [row]
    with open_reader(path) as reader:
        assert reader.info.scheme.crs.same_as(crs)
        assert reader.info.scheme.mismatch(scheme) is None
    with rasterio.open(f"GPKG:{path}:tiles") as raster:
        assert Crs.from_user(raster.crs.to_wkt()).same_as(crs)


def test_a_reference_system_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    write(path, subject(replace(utm(), crs=Crs(wkt=ALBERS)), levels=(0,)), pictures([Tile(0, 1, 1)]))
    execute(path, "UPDATE gpkg_spatial_ref_sys SET definition = 'LOCAL_CS[\"x\"]' WHERE srs_id = 100000")
    with pytest.raises(UnsupportedFormatError, match="100000"):
        open_reader(path).close()


# ---------------------------------------------------------------------------------------------- files of others


def made_by_gdal(path: Path, *, table: str = "map", append: bool = False, scheme: str = "GoogleMapsCompatible") -> None:
    """Two by two tiles of zoom 3, written by GDAL."""
    size = 40075016.685578488 / 8
    pixels = np.concatenate(
        [np.concatenate([picture(Tile(3, row, col))[..., :3] for col in (4, 5)], axis=1) for row in (2, 3)], axis=0
    )
    transform = rasterio.Affine(size / 256, 0, 0, 0, -size / 256, 20037508.342789244 - 2 * size)
    options: dict[str, Any] = {"APPEND_SUBDATASET": "YES"} if append else {}
    with rasterio.open(
        path, "w", driver="GPKG", width=512, height=512, count=3, dtype="uint8", crs="EPSG:3857", transform=transform,
        RASTER_TABLE=table, TILING_SCHEME=scheme, TILE_FORMAT="PNG", **options,
    ) as raster:  # fmt: skip
        raster.write(np.moveaxis(pixels, 2, 0))


@pytest.mark.parametrize("scheme", ["GoogleMapsCompatible", "CUSTOM"])
def test_what_gdal_wrote_is_read(path: Path, scheme: str) -> None:
    from PIL import Image

    made_by_gdal(path, scheme=scheme)
    with open_reader(path) as reader:
        assert reader.info.tile_format is TileFormat.PNG
        assert reader.info.scheme.crs.is_web_mercator
        placed = PlacedReader(reader, mercator())
        for tile in (Tile(3, 2, 4), Tile(3, 3, 5)):
            body = placed.read(tile)
            assert body is not None
            import io

            assert np.array_equal(np.asarray(Image.open(io.BytesIO(body)).convert("RGB")), picture(tile)[..., :3])
        level = reader.levels()[-1]
        assert sum(int(reader.present(key).sum()) for key in reader.blocks(level)) == 4
        assert list(reader.check()) == []


def test_several_tables_of_others_are_listed_and_one_can_be_named(path: Path) -> None:
    made_by_gdal(path)
    made_by_gdal(path, table="other", append=True)
    with pytest.raises(CacheError, match="several tile tables: map, other") as caught:
        open_reader(path)
    assert f"{path}:map" in caught.value.hint
    for reader in (open_reader(path, "other"), open_reader(f"{path}:other")):
        with reader:
            assert reader.info.name == "other"
            assert reader.levels() == [3]
    with pytest.raises(CacheError, match="no tile table 'third'"):
        open_reader(path, "third")
    assert (sniff(Path(f"{path}:other")), sniff(Path(f"{path}x:other"))) == ("gpkg", None)
    with open_cache(f"{path}:other") as cache:
        assert cache.info.name == "other"
    finding = verify(Path(f"{path}:map"))
    assert (finding.planned, finding.exit_code) == (4, 0)


def test_a_table_of_gdal_s_is_extended_where_its_matrix_has_the_zoom(path: Path) -> None:
    made_by_gdal(path)
    about = subject(levels=(3,))
    write(path, about, pictures([Tile(3, 7, 7)]))
    assert query(path, "SELECT count(*) FROM map") == [(5,)]
    assert query(path, "SELECT table_name FROM gpkg_contents") == [("map",)]
    with open_reader(path) as reader:
        assert reader.read(3, 7, 7) == png(Tile(3, 7, 7))
        assert reader.read(3, 2, 4) is not None
        assert list(reader.check()) == []
    before = path.read_bytes()
    write(path, about)
    assert path.read_bytes() == before


def test_rows_of_others_without_bytes_are_no_tiles(path: Path) -> None:
    made_by_gdal(path)
    execute(path, "INSERT INTO map (zoom_level, tile_column, tile_row, tile_data) VALUES (3, 0, 0, x'')")
    empty = Tile(3, 0, 0)
    for _ in range(2):
        with open_reader(path) as reader:
            assert int(reader.present(block_of(empty)).sum()) in (4, 5)
            assert not reader.present(block_of(empty))[0, 0]
            assert reader.read(*empty) is None
        write(path, subject(levels=(3,)), pictures([Tile(3, 7, 7)]))


def test_a_table_whose_matrix_lacks_a_level_is_refused_and_left_alone(path: Path) -> None:
    made_by_gdal(path, scheme="CUSTOM")
    before = path.read_bytes()
    with pytest.raises(CacheError, match="has no LOD 9"):
        write(path, subject(levels=(3, 9)))
    size = 40075016.685578488 / 8
    with pytest.raises(CacheError, match="reaches out of the tile matrix set"):
        write(path, subject(levels=(3,), extent=Box(-size, -size, size, size)))
    with pytest.raises(CacheError, match="outside of the tile matrix set"):
        write(path, subject(levels=(3,)), pictures([Tile(3, 0, 0)]))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        (utm(), "CRS EPSG:3857 is not EPSG:26918"),
        (replace(mercator(), tile_width=512, tile_height=512), "tile size 256 x 256 is not 512 x 512"),
        (replace(mercator(), origin_x=-20037700.0, origin_y=30241100.0), "no LOD 2"),
    ],
)
def test_another_scheme_is_refused_by_the_field_that_differs(path: Path, scheme: TilingScheme, words: str) -> None:
    write(path, subject(levels=(2,)), pictures([Tile(2, 1, 1)]))
    before = path.read_bytes()
    with pytest.raises(CacheError) as caught:
        write(path, subject(scheme, levels=(2,)))
    assert words in caught.value.message
    assert path.read_bytes() == before


def test_a_scheme_whose_steps_changed_is_refused(path: Path) -> None:
    write(path, subject(rio(), levels=(0, 4)), pictures([Tile(0, 1, 1), Tile(4, 20, 20)]))
    scheme = rio()
    other = replace(scheme, lods=(*scheme.lods[:4], Lod(level=4, resolution=7.0, scale=7 * 96 * 39.37)))
    with pytest.raises(CacheError, match="another tiling scheme: resolution of LOD 4"):
        write(path, subject(other, levels=(4,)))


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (("ALTER TABLE map RENAME TO m2", "CREATE VIEW map AS SELECT * FROM m2"), "map is a view"),
        (("ALTER TABLE map ADD COLUMN who TEXT NOT NULL DEFAULT 'x'",), ""),
        (
            (
                "ALTER TABLE map RENAME TO m2",
                "CREATE TABLE map (id INTEGER PRIMARY KEY, zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER,"
                " tile_data BLOB)",
                "INSERT INTO map SELECT id, zoom_level, tile_column, tile_row, tile_data FROM m2",
            ),
            "no unique index",
        ),
        (
            (
                "ALTER TABLE map RENAME TO m2",
                "CREATE TABLE map (id INTEGER PRIMARY KEY, zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER,"
                " tile_data BLOB, who TEXT NOT NULL, UNIQUE (zoom_level, tile_column, tile_row))",
            ),
            "needs a column who",
        ),
    ],
)
def test_a_layout_that_cannot_be_extended_is_refused(path: Path, statements: Sequence[str], words: str) -> None:
    made_by_gdal(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        # GDAL's own triggers and rules of renaming would follow the table.
        connection.execute("PRAGMA legacy_alter_table = ON")
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        for sql in statements:
            connection.execute(sql)
    if not words:
        write(path, subject(levels=(3,)), pictures([Tile(3, 7, 7)]))
        return
    before = path.read_bytes()
    with pytest.raises(CacheError, match=words):
        write(path, subject(levels=(3,)))
    assert path.read_bytes() == before


def test_a_geopackage_without_tiles_is_refused_and_left_alone(path: Path) -> None:
    made_by_gdal(path)
    execute(path, "DELETE FROM gpkg_contents")
    before = path.read_bytes()
    for act in (lambda: open_reader(path), lambda: write(path, subject(levels=(3,)))):
        with pytest.raises(CacheError, match="holds no tiles"):
            act()
    assert path.read_bytes() == before


def test_tiles_that_another_program_changed_change_the_stamp(path: Path) -> None:
    about = subject(levels=(2,))
    write(path, about, pictures([Tile(2, 1, 1), Tile(2, 1, 2)]))

    async def stamp() -> Any:
        writer = await open_writer(path, about, disk=Disk())
        try:
            return writer.stamps([]), int(writer.present(block_of(Tile(2, 1, 1))).sum())
        finally:
            await writer.close()

    before = asyncio.run(stamp())
    execute(path, "UPDATE tiles SET tile_data = x'' WHERE tile_column = 2")
    after = asyncio.run(stamp())
    assert before[0] != after[0]
    assert (before[1], after[1]) == (2, 1)


# ---------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE gpkg_tile_matrix SET pixel_x_size = 'wide'", "no box of numbers"),
        ("UPDATE gpkg_tile_matrix SET pixel_x_size = pixel_x_size * 2", "not square"),
        ("UPDATE gpkg_tile_matrix SET matrix_width = -1", "is damaged"),
        ("UPDATE gpkg_tile_matrix SET tile_width = 0", "0 x 256 pixels"),
        ("UPDATE gpkg_tile_matrix SET zoom_level = 1000000", "is damaged"),
        ("DELETE FROM gpkg_tile_matrix", "has no tile matrix"),
        ("DELETE FROM gpkg_spatial_ref_sys WHERE srs_id = 3857", "is not there"),
        ("UPDATE gpkg_tile_matrix_set SET min_x = 9e999", "no box of numbers"),
        ("DROP TABLE tiles", "no such table"),
    ],
)
def test_tables_that_say_nothing_useful_are_refused(path: Path, sql: str, words: str) -> None:
    write(path, subject(levels=(2,)), pictures([Tile(2, 1, 1)]))
    execute(path, sql)
    with pytest.raises(CacheError, match=words), open_reader(path) as reader:
        reader.levels()


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE gpkg_tile_matrix SET matrix_width = 5 WHERE zoom_level = 2", "do not fill the extent"),
        ("UPDATE tiles SET tile_column = 4 WHERE zoom_level = 2", "outside of the tile matrix"),
        ("UPDATE tiles SET tile_row = NULL WHERE zoom_level = 2", "outside of the tile matrix"),
        ("UPDATE tiles SET zoom_level = 7 WHERE zoom_level = 2", "outside of the tile matrix"),
        ("UPDATE tiles SET tile_data = x'' WHERE zoom_level = 2", "has no bytes"),
    ],
)
def test_check_finds_what_is_unsound(path: Path, sql: str, words: str) -> None:
    write(path, subject(levels=(1, 2)), pictures([Tile(1, 0, 1), Tile(2, 1, 1)]))
    if "NULL" in sql:
        execute(path, "PRAGMA writable_schema = ON", "UPDATE sqlite_master SET sql = replace(sql, 'tile_row INTEGER NOT"
                " NULL', 'tile_row INTEGER') WHERE name = 'tiles'")  # fmt: skip
    execute(path, sql)
    with open_reader(path) as reader:
        assert any(words in damage.what for damage in reader.check())


def test_a_failed_batch_leaves_the_file_as_it_was(path: Path) -> None:
    class Full(Disk):
        def step(self, name: str, path: Path) -> None:
            if name == "sqlite_commit" and armed:
                raise OSError(28, "No space left on device")

    armed: list[bool] = []

    async def run() -> None:
        about = subject(odd_steps(), levels=(8, 9))
        writer = await open_writer(path, about, disk=Full())
        await writer.store(bodies([Tile(8, 1, 1)]))
        armed.append(True)
        with pytest.raises(CacheError, match=r"disk is full.*bytes were refused"):
            await writer.store(bodies([Tile(9, 2, 2), Tile(8, 500, 500)]))
        armed.clear()
        assert not writer.present(block_of(Tile(9, 2, 2))).any()
        await writer.store(bodies([Tile(9, 2, 2), Tile(8, 500, 500)]))
        await writer.finish(about)
        await writer.close()

    asyncio.run(run())
    with open_reader(path) as reader:
        assert reader.levels() == [8, 9]
        assert list(reader.check()) == []


# ---------------------------------------------------------------------------------------------- properties

TILES = st.lists(
    st.sampled_from([0, 1, 2, 4]).flatmap(
        lambda level: st.builds(Tile, st.just(level), st.integers(0, 400 << level), st.integers(0, 400 << level))
    ),
    min_size=1,
    max_size=12,
    unique=True,
)


@given(tiles=TILES, cut=st.integers(0, 12))
@settings(max_examples=25, deadline=None)
def test_whatever_is_stored_in_whatever_order_reads_back(
    tmp_path_factory: pytest.TempPathFactory, tiles: list[Tile], cut: int
) -> None:
    path = tmp_path_factory.mktemp("gpkg") / "out.gpkg"
    about = subject(schemes.UTM_PHILADELPHIA.scheme, levels=(0, 1, 2, 4))
    write(path, about, bodies(tiles[:cut]), finish=False)
    write(path, about, bodies(tiles[cut:]))
    with open_reader(path) as reader:
        found = {
            tile: body for level in reader.levels() for key in reader.blocks(level) for tile, body in reader.tiles(key)
        }
        assert found == {stored.tile: stored.body for stored in bodies(tiles)}
        assert list(reader.check()) == []
        assert reader.info.extent is not None
