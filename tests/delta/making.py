"""Small caches of every format, and what they hold, for the tests of the verbs that make caches of caches."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from harvester.caches.open import FORMATS, open_cache, open_writer, seal
from harvester.durable import Disk
from harvester.edges import Stored, Subject
from harvester.tiling.tile import Tile
from tests.caches.making import mercator, subject

SUFFIX = {name: each.suffix for name, each in FORMATS.items()}

Tiles = Mapping[Tile, bytes]


@cache
def picture(number: int, size: int = 256, kind: str = "PNG") -> bytes:
    """A whole small picture that only this number has."""
    stream = io.BytesIO()
    Image.new("RGB", (size, size), (number % 256, number // 256 % 256, 77)).save(stream, kind)
    return stream.getvalue()


def about(tiles: Tiles, **facts: Any) -> Subject:
    """What a cache of these tiles is about."""
    scheme = facts.pop("scheme", None) or mercator()
    levels = [lod.level for lod in scheme.lods if any(tile.level == lod.level for tile in tiles)]
    return subject(scheme, levels=levels, **facts)


def make(path: Path, tiles: Tiles, *, format: str, dedup: bool = False, **facts: Any) -> Path:
    """Write a cache; gives its path."""
    told = about(tiles, **facts)

    async def fill(name: str, target: Path) -> None:
        writer = await open_writer(name, target, told, disk=Disk(), dedup=dedup)
        try:
            await writer.store([Stored(tile, body, _kind(body)) for tile, body in tiles.items()])
            await writer.finish(told)
        finally:
            await writer.close()

    if not FORMATS[format].sealed:
        asyncio.run(fill(format, path))
        return path
    work = path.with_name(path.name + ".making")
    asyncio.run(fill("compactv2", work))
    seal(format, work, path, told, disk=Disk())
    Disk().remove_tree(work)
    return path


def _kind(body: bytes) -> str:
    return {b"\x89PNG": "png", b"\xff\xd8\xff\xe0": "jpg"}.get(body[:4], "pbf" if body[:2] == b"\x1f\x8b" else "png")


def held(path: Path) -> dict[Tile, bytes]:
    """Every tile of a cache, in its own levels."""
    with open_cache(path) as reader:
        return {
            tile: body for level in reader.levels() for key in reader.blocks(level) for tile, body in reader.tiles(key)
        }


def files(path: Path) -> dict[str, bytes]:
    """Every file of a cache with its bytes."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def some(*addresses: str, first: int = 0) -> dict[Tile, bytes]:
    """Tiles by ``level/row/col``, each with a picture of its own."""
    return {Tile(*map(int, text.split("/"))): picture(first + n) for n, text in enumerate(addresses)}
