"""Damaged MBTiles, GeoPackages and ledgers: what is read is what was written, or CacheError; nothing else comes out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from harvester.audit import verify
from harvester.caches.open import open_cache, open_writer
from harvester.durable import Disk
from harvester.edges import BlockChange, State, Stored
from harvester.errors import CacheError
from harvester.ledger import open_ledger, read_ledger
from harvester.tiling.tile import BLOCK, Tile, block_of
from tests.caches.making import mercator, subject
from tests.fuzz.making import CHANGES, changed

TILES = [Tile(2, row, col) for row in range(4) for col in range(4)]


def body(tile: Tile) -> bytes:
    return f"\x89PNG {tile} ".encode("latin-1") * 40


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One whole file of each kind."""
    folder = tmp_path_factory.mktemp("sound")

    async def caches(name: str) -> None:
        about = subject(mercator(range(4)), levels=(2,))
        writer = await open_writer(name, folder / f"a.{name}", about, disk=Disk(), dedup=False, hash=False)
        await writer.store([Stored(tile, body(tile), "png") for tile in TILES])
        await writer.finish(about)
        await writer.close()

    async def ledger() -> None:
        book = await open_ledger(folder / "a.ledger", create=True, disk=Disk())
        key = block_of(TILES[0])
        planned = np.zeros((BLOCK, BLOCK), dtype=bool)
        planned[:4, :4] = True
        await book.enlist([(key, planned)])
        await book.record([BlockChange(key, State.STORED, [key.position(tile) for tile in TILES])], {})
        await book.set_meta({"identity": "x", "levels": [2]})
        await book.close()

    for name in ("mbtiles", "gpkg"):
        asyncio.run(caches(name))
    asyncio.run(ledger())
    return {name: (folder / f"a.{name}").read_bytes() for name in ("mbtiles", "gpkg", "ledger")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("name", ["mbtiles", "gpkg"])
@given(changes=CHANGES, cut=st.floats(0.05, 3.0))
@settings(max_examples=60, deadline=None)
def test_a_damaged_cache_is_read_or_refused(
    sound: dict[str, bytes], folder: Path, name: str, changes: list[tuple[float, int]], cut: float
) -> None:
    path = folder / f"bad.{name}"
    path.write_bytes(changed(sound[name], changes, cut))
    try:
        with open_cache(path) as cache:
            for level in cache.levels():
                for key in cache.blocks(level):
                    assert cache.present(key).shape == (BLOCK, BLOCK)
                    for tile, data in cache.tiles(key):
                        assert isinstance(data, bytes)
                        assert tile.level == level
            list(cache.check())
    except CacheError as error:
        assert error.message
    try:
        verify(path)
    except CacheError as error:
        assert error.message


@given(changes=CHANGES, cut=st.floats(0.05, 3.0))
@settings(max_examples=80, deadline=None)
def test_a_damaged_ledger_is_read_or_refused(
    sound: dict[str, bytes], folder: Path, changes: list[tuple[float, int]], cut: float
) -> None:
    path = folder / "bad.ledger"
    path.write_bytes(changed(sound["ledger"], changes, cut))
    try:
        reader = read_ledger(path)
        try:
            for _, states in reader.blocks():
                assert states.shape == (BLOCK, BLOCK)
            for name in ("identity", "levels", "nothing"):
                reader.meta(name)
        finally:
            reader.close()
    except CacheError as error:
        assert error.message
    assert reopened(path)


def test_a_ledger_cut_anywhere_is_opened_or_refused(sound: dict[str, bytes], folder: Path) -> None:
    """Row 40: at every sector."""
    path = folder / "cut.ledger"
    for length in range(0, len(sound["ledger"]), 512):
        path.write_bytes(sound["ledger"][:length])
        assert reopened(path)


def reopened(path: Path) -> bool:
    """A run's own way in: whatever is there, it is opened or refused."""

    async def work() -> bool:
        try:
            ledger = await open_ledger(path, create=True, disk=Disk())
        except CacheError:
            return True
        try:
            keys = await ledger.keys()
            await ledger.states(keys)
            await ledger.failures(10)
            await ledger.get_meta("identity")
        except CacheError:
            return True
        finally:
            await ledger.close()
        return True

    return asyncio.run(work())


@pytest.mark.parametrize("name", ["mbtiles", "gpkg", "ledger"])
def test_a_name_in_the_schema_that_is_no_text_any_more_is_damage(
    sound: dict[str, bytes], folder: Path, name: str
) -> None:
    """SQLite quotes the broken name in its message, which then can't be decoded."""
    data, path = sound[name], folder / f"name.{name}"
    first = data.index(b"CREATE TABLE")
    refused = 0
    for at in range(first, min(len(data), first + 1500), 5):
        path.write_bytes(changed(data, [(at / len(data), 0x80)], 1.0))
        try:
            if name == "ledger":
                read_ledger(path).close()
            else:
                open_cache(path).close()
        except CacheError:
            refused += 1
    assert refused
