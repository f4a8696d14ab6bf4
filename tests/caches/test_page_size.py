"""The page size of a new database suits the tiles that it begins with."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from harvester.caches import geopackage, mbtiles
from harvester.database import page_size_for, read_header
from harvester.durable import Disk
from harvester.edges import ServiceInfo, Stored, Subject, TileFormat
from harvester.tiling.google import google_scheme
from harvester.tiling.tile import Tile

SUBJECT = Subject(
    info=ServiceInfo(
        source="https://a.example/s",
        identity="https://a.example/s",
        kind="arcgis-map",
        name="s",
        scheme=google_scheme(),
        extent=None,
        tile_format=TileFormat.PNG,
    ),
    levels=(12,),
    extent=None,
)

KINDS = ("flat", "dedup", "geopackage")


def tiles(size: int, row: int, count: int) -> list[Stored]:
    return [Stored(Tile(12, row, 1000 + n), n.to_bytes(4) * (size // 4), "png") for n in range(count)]


def fill(path: Path, kind: str, *batches: list[Stored]) -> Path:
    async def run() -> None:
        opened = (
            geopackage.open_writer(path, SUBJECT, disk=Disk())
            if kind == "geopackage"
            else mbtiles.open_writer(path, SUBJECT, dedup=kind == "dedup", disk=Disk())
        )
        writer = await opened
        for batch in batches:
            await writer.store(batch)
        await writer.finish(SUBJECT)
        await writer.close()

    asyncio.run(run())
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "pages"), [(400, 16384), (9_000, 65536), (15_000, 65536), (30_000, 16384)])
def test_tiles_of_two_to_eighteen_kilobytes_get_large_pages(tmp_path: Path, kind: str, size: int, pages: int) -> None:
    path = fill(tmp_path / f"x.{kind}", kind, tiles(size, 800, 20))
    header = read_header(path)
    assert header is not None and header.page_size == pages
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_keeps_the_pages_it_was_made_with(tmp_path: Path, kind: str) -> None:
    path = fill(tmp_path / f"x.{kind}", kind, tiles(400, 800, 20))
    fill(path, kind, tiles(9_000, 801, 50), tiles(9_000, 802, 50))
    header = read_header(path)
    assert header is not None and header.page_size == 16384
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_of_small_pictures_takes_little_more_than_their_bytes(tmp_path: Path, kind: str) -> None:
    """Nine kilobytes on a page of sixteen left two fifths of the file empty: 1.8 times their bytes."""
    path = fill(tmp_path / f"x.{kind}", kind, tiles(9_000, 800, 700))
    assert path.stat().st_size < 1.25 * 700 * 9_000


def test_what_has_no_tiles_yet_has_the_usual_pages() -> None:
    assert page_size_for([]) == page_size_for([b""]) == 16384
