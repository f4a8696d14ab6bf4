"""A power cut at any moment of writing a cache of many files: what is read is whole, what was promised is there."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harvester.caches import compact_v1, compact_v1_writer, exploded
from harvester.caches.compact import EXPLODED
from harvester.caches.compact_documents import Documents
from harvester.caches.folders_writer import FolderWriter
from harvester.edges import CacheReader, CacheWriter, Stored
from harvester.errors import CacheError
from harvester.testing import RecordingDisk
from harvester.testing.power import materialise
from harvester.tiling.tile import BlockKey, Tile
from tests.caches.making import subject
from tests.contracts.cache_contract import PNG

ABOUT = subject(levels=(9,))

TILES = [Tile(9, row, col) for col, row in ((0, 99), (1, 73), (3, 22), (0, 98), (0, 100), (1, 72), (3, 23), (90, 9))]
"""The first three have entries that lie across the end of a 512-byte sector of a .bundlx."""


GONE = 9
"""Stands for the version in which a tile is taken out."""


def body_of(tile: Tile, version: int) -> bytes:
    """A body in which many an offset reads as a size that fits: an entry torn into two others leads there."""
    seed = (tile.row * 131 + tile.col * 7 + version * 1009).to_bytes(3, "little")
    return PNG + seed + b"\x07\0\0\0" * (180 + 37 * version + tile.row % 11) + seed


async def compact_writer(folder: Path, disk: RecordingDisk) -> CacheWriter:
    return await compact_v1_writer.open_writer(folder, ABOUT, disk=disk)


async def exploded_writer(folder: Path, disk: RecordingDisk) -> CacheWriter:
    """One thread, since the recording is of one."""
    documents = exploded.ExplodedDocuments(Documents.open(folder, ABOUT, disk, EXPLODED), disk)
    return FolderWriter(documents, disk, sync_threads=1)


@pytest.mark.parametrize(
    ("open_writer", "open_reader", "versions", "samples"),
    [(compact_writer, compact_v1.open_reader, 4, 5), (exploded_writer, exploded.open_reader, 2, 1)],
    ids=["compact", "exploded"],
)
def test_after_a_power_cut_what_is_read_is_whole_and_what_was_promised_is_there(
    tmp_path: Path,
    open_writer: Callable[[Path, RecordingDisk], Awaitable[CacheWriter]],
    open_reader: Callable[[Path], CacheReader],
    versions: int,
    samples: int,
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    disk = RecordingDisk(root)

    async def run() -> None:
        writer = await open_writer(root / "out", disk)
        for version in range(versions):
            tiles = TILES[: 5 + version] if version % 2 else TILES
            await writer.store([Stored(tile, body_of(tile, version), "png") for tile in tiles])
            disk.acknowledge((version, tiles))
        await writer.remove(TILES[:2])
        disk.acknowledge((GONE, TILES[:2]))
        await writer.close()

    asyncio.run(run())
    cuts = 0
    for state in disk.states(seed=3, samples=samples):
        cuts += 1
        least: dict[Tile, int] = {}
        for version, tiles in state.acknowledged:  # type: ignore[misc]
            least |= dict.fromkeys(tiles, version)
        folder = tmp_path / "cut"
        materialise(state, root, folder)
        if least or (folder / "out/conf.xml").exists():
            assert_whole(folder / "out", open_reader, least)
        shutil.rmtree(folder, ignore_errors=True)
    assert cuts > 150


def assert_whole(out: Path, open_reader: Callable[[Path], Any], least: dict[Tile, int]) -> None:
    """``least``: the version that each tile has at least."""
    try:
        reader = open_reader(out)
    except CacheError:
        assert not least
        return
    with reader:
        seen = dict(reader.tiles(BlockKey(9, 0, 0)))
        assert {tile: reader.read(*tile) for tile in TILES} == {tile: seen.get(tile) for tile in TILES}
    assert set(seen) <= set(TILES)
    for tile in TILES:
        if tile in seen:
            assert seen[tile] in [body_of(tile, version) for version in range(least.get(tile, 0), GONE)], tile
        elif tile in least:
            # Of a tile that is being replaced as the power goes, the entry may be torn: then it is missing.
            assert least[tile] == GONE or tile in TILES[:3], tile
