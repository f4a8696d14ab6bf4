"""Every kind of tile that a format holds, read back by programs of others; docs/read-by-others.md lists them."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import sqlite3
import struct
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mercantile
import numpy as np
import pytest
import rasterio
from PIL import Image
from pmtiles.reader import MmapSource, Reader
from rasterio.windows import from_bounds

from harvester.caches.open import FORMATS, open_writer, seal
from harvester.durable import Disk
from harvester.edges import Stored, TileFormat
from harvester.tiling.tile import Tile, tms_row
from tests.caches.foreign import MAPPROXY, MAPPROXY_FILES, TPKUTILS, ask
from tests.caches.making import mercator, subject

TILES = [Tile(4, 5, 6), Tile(4, 5, 7), Tile(4, 9, 8)]

COLOURS = [(200, 30, 60), (20, 180, 90), (90, 60, 210)]
"""Of the tiles, one each; JPEG and WebP bring them back within LOSSY."""

LOSSY = 6

FORMAT_OF = {
    "png": TileFormat.PNG, "jpg": TileFormat.JPEG, "mixed": TileFormat.MIXED, "webp": TileFormat.WEBP,
    "lerc": TileFormat.LERC, "pbf": TileFormat.PBF,
}  # fmt: skip

EXTENSIONS = (".png", ".jpg", ".webp", ".pbf", ".mvt")

PICTURES = ("png", "jpg", "mixed", "webp")


def encoded(colour: tuple[int, int, int], kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (256, 256), colour).save(stream, {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[kind])
    return stream.getvalue()


def bodies(kind: str) -> list[tuple[bytes, str]]:
    """The bytes of TILES and the kind of each; ``mixed``: JPEG between PNG."""
    if kind == "pbf":
        layer = b"\x1a\x0a\x0a\x05roads\x78\x02"
        return [(gzip.compress(layer + b"\x22\x00" * n, mtime=0), kind) for n in range(3)]
    if kind == "lerc":
        return [(b"Lerc2 " + struct.pack("<iI", 4, n) + zlib.compress(bytes(99)), kind) for n in range(3)]
    kinds = ("png", "jpg", "png") if kind == "mixed" else (kind,) * 3
    return [(encoded(colour, each), each) for colour, each in zip(COLOURS, kinds, strict=True)]


def written(tmp_path: Path, format: str, kind: str, **options: Any) -> Path:
    """A cache of TILES."""
    about = subject(mercator(), levels=(4,), tile_format=FORMAT_OF[kind])
    path = tmp_path / f"out{FORMATS[format].suffix}"
    sealed = FORMATS[format].sealed

    async def fill() -> None:
        target = tmp_path / "work" if sealed else path
        writer = await open_writer("compactv2" if sealed else format, target, about, disk=Disk(), **options)
        try:
            await writer.store([Stored(tile, *each) for tile, each in zip(TILES, bodies(kind), strict=True)])
            await writer.finish(about)
        finally:
            await writer.close()

    asyncio.run(fill())
    if sealed:
        seal(format, tmp_path / "work", path, about, disk=Disk())
    return path


def digests(kind: str) -> list[str]:
    return [hashlib.sha256(body).hexdigest() for body, _ in bodies(kind)]


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("format", ["mbtiles", "gpkg", "compactv2", "tpkx"])
def test_gdal_decodes_every_kind_of_picture_in_its_place(tmp_path: Path, format: str, kind: str) -> None:
    path = written(tmp_path, format, kind)
    options = {"EXTENT_SOURCE": "TILING_SCHEME"} if format in ("compactv2", "tpkx") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path / "conf.xml" if format == "compactv2" else path, **options) as data:
            for tile, colour in zip(TILES, COLOURS, strict=True):
                box = mercantile.xy_bounds(tile.col, tile.row, tile.level)
                window = from_bounds(*box, transform=data.transform).round_offsets().round_lengths()
                seen = data.read([1, 2, 3], window=window).astype(int)
                assert seen.size, (tile, window)
                assert np.abs(seen - np.array(colour)[:, None, None]).max() <= LOSSY, tile


@pytest.mark.parametrize("kind", [*PICTURES, "lerc", "pbf"])
@pytest.mark.parametrize(("format", "generation"), [("compact", "1"), ("compactv2", "2")])
def test_mapproxy_reads_the_bytes_of_every_kind(tmp_path: Path, format: str, generation: str, kind: str) -> None:
    path = written(tmp_path, format, kind)
    assert ask(tmp_path, MAPPROXY, generation, path / "_alllayers", json.dumps(TILES)) == digests(kind)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "pbf"])
@pytest.mark.parametrize(("format", "layout", "below"), [("exploded", "arcgis", "_alllayers"), ("xyz", "tms", ".")])
def test_mapproxy_reads_folders_of_files(tmp_path: Path, format: str, layout: str, below: str, kind: str) -> None:
    path = written(tmp_path, format, kind)
    found = {file.suffix[1:] for file in path.rglob("*") if file.is_file() and file.suffix in EXTENSIONS}
    assert len(found) == 1
    assert ask(tmp_path, MAPPROXY_FILES, layout, path / below, *found, json.dumps(TILES)) == digests(kind)


@pytest.mark.parametrize("kind", ["png", "jpg", "mixed"])
def test_tpkutils_reads_the_bytes_of_every_kind(tmp_path: Path, kind: str) -> None:
    seen = ask(tmp_path, TPKUTILS, written(tmp_path, "tpk", kind))
    assert sorted(seen["tiles"]) == sorted([*tile, digest] for tile, digest in zip(TILES, digests(kind), strict=True))


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "pbf"])
def test_the_reader_of_pmtiles_gives_the_bytes_of_every_kind(tmp_path: Path, kind: str) -> None:
    with written(tmp_path, "pmtiles", kind).open("rb") as file:
        reader = Reader(MmapSource(file))
        assert reader.header()["tile_type"].name == {"jpg": "JPEG", "pbf": "MVT"}.get(kind, kind.upper())
        found = [reader.get(tile.level, tile.col, tile.row) for tile in TILES]
    assert found == [body for body, _ in bodies(kind)]


@pytest.mark.parametrize("kind", [*PICTURES, "pbf"])
@pytest.mark.parametrize("dedup", [False, True])
def test_plain_sql_finds_the_bytes_of_every_kind_in_mbtiles(tmp_path: Path, kind: str, dedup: bool) -> None:
    path = written(tmp_path, "mbtiles", kind, dedup=dedup)
    sql = "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?"
    connection = sqlite3.connect(path)
    found = [connection.execute(sql, (z, x, tms_row(z, y))).fetchall() for z, y, x in TILES]
    stated: Mapping[str, str] = dict(connection.execute("SELECT name, value FROM metadata"))
    connection.close()
    assert found == [[(body,)] for body, _ in bodies(kind)]
    assert stated["format"] == {"mixed": "png"}.get(kind, kind)


@pytest.mark.parametrize("kind", PICTURES)
def test_plain_sql_finds_the_bytes_of_every_kind_in_a_geopackage(tmp_path: Path, kind: str) -> None:
    connection = sqlite3.connect(written(tmp_path, "gpkg", kind))
    ((table,),) = connection.execute("SELECT table_name FROM gpkg_contents WHERE data_type = 'tiles'").fetchall()
    found = {
        (zoom, row, col): body
        for zoom, col, row, body in connection.execute(
            f'SELECT zoom_level, tile_column, tile_row, tile_data FROM "{table}"'
        )
    }
    webp = connection.execute("SELECT count(*) FROM gpkg_extensions WHERE extension_name = 'gpkg_webp'").fetchall()
    connection.close()
    assert found == {tuple(tile): body for tile, (body, _) in zip(TILES, bodies(kind), strict=True)}
    assert webp == [(1 if kind == "webp" else 0,)]
