"""Subjects, schemes and real tile pictures that the tests of compact caches and packages share."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harvester.caches.compact_writer import open_writer
from harvester.crs import Crs
from harvester.durable import Buffer, Disk
from harvester.edges import ServiceInfo, Stored, Subject, TileFormat
from harvester.errors import CacheError
from harvester.tiling.scheme import Box, Lod, TilingScheme
from harvester.tiling.tile import Tile

WORLD = 20037508.342787001


def mercator(levels: Sequence[int] = range(20), size: int = 256) -> TilingScheme:
    """ArcGIS Online's own scheme; with tiles of another size, each spans the same ground."""
    share = 256 / size
    return TilingScheme(
        crs=Crs(wkid=102100, latest_wkid=3857),
        origin_x=-WORLD,
        origin_y=WORLD,
        tile_width=size,
        tile_height=size,
        lods=tuple(
            Lod(level=n, resolution=share * 156543.03392800014 / 2**n, scale=share * 591657527.591555 / 2**n)
            for n in levels
        ),
    )


def utm() -> TilingScheme:
    """UTM 18N as a city publishes it: foreign origin, one step that does not halve."""
    scales = (250000, 125000, 64000, 32000, 16000)
    return TilingScheme(
        crs=Crs(wkid=26918, latest_wkid=26918),
        origin_x=-5120900,
        origin_y=9998100,
        tile_width=256,
        tile_height=256,
        lods=tuple(Lod(level=n, resolution=s / (96 * 39.37), scale=s) for n, s in enumerate(scales)),
    )


def rio() -> TilingScheme:
    """A positive origin, and a step of 2.2545."""
    resolutions = (132.2919312505292, 66.1459656252646, 33.0729828126323, 16.933367200067735, 7.51085602)
    return TilingScheme(
        crs=Crs(wkid=29193, latest_wkid=29193),
        origin_x=620000,
        origin_y=7500000,
        tile_width=256,
        tile_height=256,
        lods=tuple(Lod(level=n, resolution=r, scale=r * 96 * 39.37) for n, r in enumerate(resolutions)),
    )


def subject(
    scheme: TilingScheme | None = None,
    *,
    levels: Sequence[int] = (0, 1, 2),
    extent: Box | None = None,
    tile_format: TileFormat = TileFormat.PNG,
    policies: Sequence[str] = (),
    **info: Any,
) -> Subject:
    """What a cache is about, of a made-up service."""
    scheme = scheme or mercator()
    facts: dict[str, Any] = {
        "source": "https://gis.example.org/arcgis/rest/services/Streets/MapServer",
        "identity": "https://gis.example.org/arcgis/rest/services/streets/mapserver",
        "kind": "arcgis-map",
        "name": "Streets",
        "scheme": scheme,
        "extent": None,
        "tile_format": tile_format,
        "format_name": {TileFormat.PNG: "PNG32", TileFormat.JPEG: "JPEG"}.get(tile_format, ""),
        "attribution": "© Example & Söhne <gis>",
        "description": 'Streets of "Example"',
    }
    return Subject(info=ServiceInfo(**(facts | info)), levels=tuple(levels), extent=extent, policies=tuple(policies))


def with_levels(about: Subject, *levels: int) -> Subject:
    return replace(about, levels=levels)


def picture(tile: Tile, size: int = 256) -> np.ndarray:
    """RGBA pixels that only this tile has; none of them black or transparent. Shape (size, size, 4)."""
    random = np.random.default_rng((tile.level, tile.row, tile.col))
    coarse = random.integers(40, 255, (size // 8, size // 8, 3), dtype=np.uint8)
    pixels = np.full((size, size, 4), 255, dtype=np.uint8)
    pixels[..., :3] = coarse.repeat(8, axis=0).repeat(8, axis=1)
    return pixels


def png(tile: Tile, size: int = 256) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(tile, size)).save(stream, "PNG")
    return stream.getvalue()


def pictures(tiles: Iterable[Tile], size: int = 256) -> list[Stored]:
    return [Stored(tile, png(tile, size), "png") for tile in tiles]


def bodies(tiles: Iterable[Tile], seed: int = 0) -> list[Stored]:
    """Bytes of many lengths, no pictures."""
    return [Stored(tile, f"{tile} {seed} ".encode() * (1 + (tile.row * 5 + tile.col) % 23), "png") for tile in tiles]


def write(
    folder: Path, about: Subject, *batches: Sequence[Stored], disk: Disk | None = None, finish: bool = True
) -> None:
    """Write a compact cache folder."""

    async def run() -> None:
        writer = await open_writer(folder, about, disk=disk)
        try:
            for batch in batches:
                await writer.store(batch)
            if finish:
                await writer.finish(about)
        finally:
            await writer.close()

    asyncio.run(run())


class Watching(Disk):
    """Knows which writes went past the page cache, and can refuse those."""

    def __init__(self, *, refuses: bool = False, error: int = errno.EINVAL) -> None:
        super().__init__()
        self.direct: list[int] = []
        self.plain: list[int] = []
        self._refuses, self._error = refuses, error

    def pwritev(self, descriptor: int, buffers: Sequence[Buffer], offset: int) -> None:
        """As Disk, noted."""
        size = sum(map(len, buffers))
        if _is_direct(descriptor):
            self.direct.append(size)
            if self._refuses:
                cause = OSError(self._error, os.strerror(self._error))
                raise CacheError("cannot write", hint="", code="disk") from cause
        else:
            self.plain.append(size)
        super().pwritev(descriptor, buffers, offset)


def _is_direct(descriptor: int) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def move_off_the_grid(path: Path) -> None:
    """Give a tile of a database a column that no level has."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{trigger}"')
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            if any(row[1] == "tile_column" for row in connection.execute(f'PRAGMA table_info("{table}")')):
                connection.execute(f'UPDATE "{table}" SET tile_column = 1 << 20 WHERE tile_column = 0')
