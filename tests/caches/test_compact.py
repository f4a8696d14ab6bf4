"""Compact cache folders: the promises of every cache, GDAL's reading, the order of writes, damage and merging."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from harvester.caches import bundle_v2, compact
from harvester.caches.bundle_folder import MAX_OPEN_BUNDLES, FolderBundles
from harvester.caches.bundle_v2 import DATA_START, HEADER_SIZE, Header
from harvester.caches.compact import open_reader
from harvester.caches.compact_block import OpenBlock, next_stamp, stamp_of
from harvester.caches.compact_writer import MAX_OPEN_BLOCKS, CompactWriter, open_writer
from harvester.caches.description import COMPACT_V1, COMPACT_V2, EXPLODED
from harvester.durable import Disk
from harvester.edges import Stored, Subject, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.tiling.scheme import Box, TilingScheme
from harvester.tiling.tile import BlockKey, Tile, block_of
from tests.caches.making import bodies, mercator, picture, pictures, rio, subject, utm, write
from tests.contracts.cache_contract import CacheContract, stored


class TestContract(CacheContract):
    name = "cache"
    reader_name = "harvester.caches.compact:open_reader"

    def subject(self) -> Subject:
        return subject(levels=(8, 9))

    async def open_writer(self, path: Path, subject: Subject) -> CompactWriter:
        return await open_writer(path, subject)

    def damage(self, path: Path) -> None:
        for file in path.rglob("*.bundle"):
            data = bytearray(file.read_bytes())
            data[DATA_START : DATA_START + 4] = b"\xff\xff\xff\x00"
            file.write_bytes(data)

    def ruin(self, path: Path) -> None:
        bundle = sorted(path.rglob("*.bundle"))[-1]
        bundle.write_bytes(bytes(4) + bundle.read_bytes()[4:])

    def test_stamps_change_with_every_batch_and_last_over_reopening(self, path: Path) -> None:
        """As every cache, but for one thing: a batch of the bytes that are there writes nothing, so its stamps stay."""

        async def act(writer: CompactWriter) -> list[dict[Any, str]]:
            seen = [self.stamps(writer)]
            for version in (1, 2, 2, 3):
                given = dict(await writer.store(stored(self.tiles[:4], version)))
                seen.append(self.stamps(writer))
                assert given
                assert given.items() <= seen[-1].items()
            for tile in self.tiles[:3]:
                given = dict(await writer.remove([tile]))
                seen.append(self.stamps(writer))
                assert given.items() <= seen[-1].items()
            return seen

        seen = self.writing(path, act)
        assert seen[2] == seen[3]
        different = [*seen[:3], *seen[4:]]
        assert len({tuple(sorted(stamps.items())) for stamps in different}) == len(different)

        async def again(writer: CompactWriter) -> dict[Any, str]:
            return self.stamps(writer)

        assert self.writing(path, again) == seen[-1]


# ---------------------------------------------------------------------------------------------- GDAL


def covered(scheme: TilingScheme, tiles: list[Tile]) -> Box:
    boxes = [scheme.box(tile) for tile in tiles]
    return Box(
        min(b.xmin for b in boxes), min(b.ymin for b in boxes), max(b.xmax for b in boxes), max(b.ymax for b in boxes)
    )


def pixels(path: Path, scheme: TilingScheme, tile: Tile, levels: int) -> np.ndarray:
    """One tile as GDAL reads it: level k of n LODs is overview n-1-k."""
    position = [lod.level for lod in scheme.lods].index(tile.level)
    options = {} if position == levels - 1 else {"OVERVIEW_LEVEL": levels - 2 - position}
    size = scheme.tile_width
    with rasterio.open(path, **options) as data:
        return data.read(window=Window(tile.col * size, tile.row * size, size, size))


def assert_gdal_reads(path: Path, scheme: TilingScheme, tiles: list[Tile], levels: int) -> None:
    for tile in tiles:
        seen = pixels(path, scheme, tile, levels)
        assert seen.any(), f"{tile} is blank"
        assert np.array_equal(seen, np.moveaxis(picture(tile, scheme.tile_width), -1, 0)), tile


@pytest.mark.parametrize("size", [256, 512])
def test_gdal_reads_the_same_pixels_in_web_mercator(tmp_path: Path, size: int) -> None:
    tiles = [Tile(0, 0, 0), Tile(1, 1, 0), Tile(2, 1, 3), Tile(8, 127, 128), Tile(8, 128, 127)]
    scheme = mercator(size=size)
    write(tmp_path / "out", subject(scheme, levels=(0, 1, 2, 8)), pictures(tiles, size))
    assert_gdal_reads(tmp_path / "out" / "conf.xml", scheme, tiles, levels=9)


def test_gdal_reads_rows_and_columns_beyond_four_hex_digits(tmp_path: Path) -> None:
    tile = Tile(18, 70000, 131100)
    write(tmp_path / "out", subject(levels=(18,)), pictures([tile]))
    assert (tmp_path / "out/_alllayers/L18/R11100C20000.bundle").is_file()
    assert_gdal_reads(tmp_path / "out" / "conf.xml", mercator(), [tile], levels=19)


def test_gdal_reads_the_same_pixels_in_utm(tmp_path: Path) -> None:
    scheme = utm()
    tiles = [scheme.tile_at(level, 490000, 4425000) for level in (1, 2, 4)]
    assert tiles[-1].row == 5142 or scheme.lods[4].scale != 15000
    write(tmp_path / "out", subject(scheme, levels=(1, 2, 4), extent=covered(scheme, tiles)), pictures(tiles))
    assert_gdal_reads(tmp_path / "out" / "conf.xml", scheme, tiles, levels=5)
    with rasterio.open(tmp_path / "out" / "conf.xml") as data:
        assert data.crs.to_epsg() == 26918
        assert (data.transform.c, data.transform.f) == (-5120900, 9998100)


def test_gdal_reads_a_positive_origin_in_a_copy_that_states_where_the_grid_ends(tmp_path: Path) -> None:
    scheme = rio()
    tiles = [scheme.tile_at(level, 660000, 7470000) for level in (0, 3, 4)]
    folder = tmp_path / "out"
    write(folder, subject(scheme, levels=(0, 3, 4), extent=covered(scheme, tiles)), pictures(tiles))
    with pytest.raises(RasterioIOError):
        rasterio.open(folder / "conf.xml").close()
    text = (folder / "conf.xml").read_text(encoding="utf-8")
    end = "</TileOrigin><TileEnd xsi:type='typens:PointN'><X>740000</X><Y>7400000</Y></TileEnd>"
    (folder / "conf.xml").write_text(text.replace("</TileOrigin>", end), encoding="utf-8")
    assert_gdal_reads(folder / "conf.xml", scheme, tiles, levels=5)


def test_gdal_reads_the_folder_by_its_root_json_too(tmp_path: Path) -> None:
    tiles = [Tile(0, 0, 0), Tile(2, 1, 3)]
    write(tmp_path / "out", subject(levels=(0, 2), extent=Box(-2e7, -2e7, 2e7, 2e7)), pictures(tiles))
    with rasterio.open(tmp_path / "out" / "root.json", EXTENT_SOURCE="TILING_SCHEME") as data:
        seen = data.read(window=Window(3 * 256, 256, 256, 256))
    assert np.array_equal(seen, np.moveaxis(picture(tiles[1]), -1, 0))


@pytest.mark.shared_data
def test_gdal_reads_esri_sample_bundles_the_same_after_our_writer(tmp_path: Path, shared_data: Path) -> None:
    sample = shared_data / "esri_cc2/sample_cache"
    with open_reader(sample) as reader:
        tiles = [pair for level in reader.levels() for key in reader.blocks(level) for pair in reader.tiles(key)]
        scheme = reader.info.scheme
        assert len(tiles) == 21
        assert list(reader.check()) == []
    about = subject(scheme, levels=(0, 1, 2), tile_format=TileFormat.JPEG)
    write(tmp_path / "out", about, [Stored(tile, body, "jpg") for tile, body in tiles])
    for tile, _ in tiles:
        theirs = pixels(sample / "conf.xml", scheme, tile, levels=len(scheme.lods))
        assert theirs.any()
        assert np.array_equal(pixels(tmp_path / "out/conf.xml", scheme, tile, levels=3), theirs)


# ---------------------------------------------------------------------------------------------- order of writes


class Recording(Disk):
    """Records every step; fails the one whose number is ``fail``."""

    def __init__(self, fail: int | None = None) -> None:
        super().__init__()
        self.steps: list[tuple[str, str]] = []
        self._fail = fail

    def step(self, name: str, path: Path) -> None:
        self.steps.append((name, path.name))
        if self._fail == len(self.steps):
            raise OSError(5, "Input/output error")


def test_records_are_durable_before_their_entries_and_those_before_store_returns(tmp_path: Path) -> None:
    disk = Recording()
    first, second = Tile(9, 0, 0), Tile(9, 0, 128)

    async def run() -> list[tuple[str, str]]:
        writer = await open_writer(tmp_path / "out", subject(levels=(9,)), disk=disk)
        await writer.store(bodies([first, second]))
        disk.steps.clear()
        await writer.store(bodies([first, second], seed=1))
        steps = list(disk.steps)
        await writer.close()
        return steps

    one, two = "R0000C0000.bundle", "R0000C0080.bundle"
    assert [step for step in asyncio.run(run()) if step[0] in ("write", "sync")] == [
        *[("write", one), ("write", two), ("sync", one), ("sync", two)],
        *[("write", one), ("write", one), ("write", two), ("write", two), ("sync", one), ("sync", two)],
    ]


def test_documents_are_there_before_the_first_bundle_and_a_bundle_before_its_entries(tmp_path: Path) -> None:
    disk = Recording()
    about = subject(levels=(9,), extent=Box(0, 0, 1, 1))
    write(tmp_path / "out", about, bodies([Tile(9, 0, 0)]), disk=disk, finish=False)
    renamed = [name for step, name in disk.steps if step == "replace"]
    assert renamed == ["conf.cdi", "root.json", "conf.xml", "R0000C0000.bundle"]
    made = disk.steps.index(("replace", "R0000C0000.bundle"))
    assert disk.steps[made - 3 : made] == [
        ("write", "R0000C0000.bundle.part"),
        ("sync", "R0000C0000.bundle.part"),
        ("close", "R0000C0000.bundle.part"),
    ]
    assert disk.steps[made + 1] == ("sync_folder", "L09")


def test_a_failing_step_stores_nothing_and_what_was_stored_stays(tmp_path: Path) -> None:
    old, new = bodies([Tile(9, 0, n) for n in (5, 127, 128)]), bodies([Tile(9, 0, n) for n in (127, 128, 130)], seed=1)
    counting = Recording()
    template = tmp_path / "template"
    write(template, subject(levels=(9,)), old)
    shutil.copytree(template, tmp_path / "count")
    write(tmp_path / "count", subject(levels=(9,)), new, disk=counting, finish=False)
    failed = 0
    for number in range(1, len(counting.steps) + 1):
        folder = tmp_path / str(number)
        shutil.copytree(template, folder)

        async def run(folder: Path = folder, number: int = number) -> bool:
            disk = Recording(fail=number)
            try:
                writer = await open_writer(folder, subject(levels=(9,)), disk=disk)
            except CacheError:
                return True
            raised = False
            try:
                await writer.store(new)
            except CacheError as error:
                raised = True
                assert error.hint
                with pytest.raises(CacheError):
                    await writer.store(new)
            finally:
                with suppress(CacheError):
                    await writer.close()
            return raised

        failed += asyncio.run(run())
        with open_reader(folder) as reader:
            assert list(reader.check()) == []
            for tile, body, _ in old:
                assert reader.read(*tile) in {body, *(other for at, other, _ in new if at == tile)}
    assert failed >= len(counting.steps) - 4  # the last steps close files that are durable by then


# ---------------------------------------------------------------------------------------------- what is written


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    tiles = bodies(Tile(9, 0, n) for n in range(40))
    write(tmp_path / "out", subject(levels=(9,)), tiles)
    bundle = tmp_path / "out/_alllayers/L09/R0000C0000.bundle"
    before, disk = bundle.read_bytes(), Recording()
    write(tmp_path / "out", subject(levels=(9,)), tiles, disk=disk)
    assert bundle.read_bytes() == before
    assert not {"write", "sync", "replace"} & {step for step, _ in disk.steps}


def test_the_header_states_file_size_and_largest_tile(tmp_path: Path) -> None:
    tiles = bodies(Tile(9, 0, n) for n in range(40))
    write(tmp_path / "out", subject(levels=(9,)), tiles[:10], tiles[10:])
    data = (tmp_path / "out/_alllayers/L09/R0000C0000.bundle").read_bytes()
    largest = max(len(body) for _, body, _ in tiles)
    assert bundle_v2.parse_header(data) == Header(largest=largest, file_size=len(data))


def test_more_blocks_than_may_be_open_are_written_in_one_batch(tmp_path: Path) -> None:
    tiles = bodies(Tile(15, 128 * n, 128 * m) for n in range(9) for m in range(9))
    write(tmp_path / "out", subject(levels=(15,)), tiles, bodies((tile for tile, _, _ in tiles), seed=1))
    with open_reader(tmp_path / "out") as reader:
        assert len(list(reader.blocks(15))) == 81
        assert all(reader.read(*tile) == body for tile, body, _ in bodies((t for t, _, _ in tiles), seed=1))


def test_the_tiles_of_blocks_that_were_closed_again_are_known_and_looked_up_anew_once_the_file_changed(
    tmp_path: Path,
) -> None:
    tiles = [Tile(14, 5, 128 * number + number) for number in range(3 * MAX_OPEN_BLOCKS)]

    async def run() -> None:
        writer = await open_writer(tmp_path / "out", subject(levels=(14,)))
        for tile in tiles:
            await writer.store(stored([tile]))
        for tile in tiles:
            assert np.argwhere(writer.present(block_of(tile))).tolist() == [[5, tile.col % 128]]
        first = block_of(tiles[0])
        path = next(path for path in tmp_path.rglob(bundle_v2.bundle_name(first)))
        with path.open("r+b") as file:  # another program takes the tile out
            file.seek(bundle_v2.entry_position(first.position(tiles[0])))
            file.write(bytes(8))
        os.utime(path, ns=(0, 0))
        assert not writer.present(first).any()
        await writer.store(stored([tiles[0]]))
        assert writer.present(first).sum() == 1
        await writer.close()

    asyncio.run(run())


def test_a_tile_too_large_for_an_entry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="16,777,216 bytes"):
        write(tmp_path / "out", subject(levels=(9,)), [Stored(Tile(9, 1, 2), bytes(1 << 24), "png")])


def test_nothing_lies_there_before_the_first_tile(tmp_path: Path) -> None:
    write(tmp_path / "out", subject(), finish=False)
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------------------- damage and repair


def bundle_of(folder: Path) -> Path:
    (file,) = folder.rglob("*.bundle")
    return file


def test_a_torn_tail_is_ignored_and_the_next_tile_goes_behind_it(tmp_path: Path) -> None:
    write(tmp_path / "out", subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    with bundle_of(tmp_path).open("ab") as file:
        file.write(b"\x99\x00\x00\x00half a rec")
    write(tmp_path / "out", subject(levels=(9,)), bodies([Tile(9, 0, 1)]))
    with open_reader(tmp_path / "out") as reader:
        assert list(reader.check()) == []
        assert [body for _, body in reader.tiles(BlockKey(9, 0, 0))] == [
            body for _, body, _ in bodies([Tile(9, 0, 0), Tile(9, 0, 1)])
        ]


@pytest.mark.parametrize("what", ["cut", "size word", "in the index"])
def test_a_bad_entry_is_no_tile_and_is_zeroed_when_the_bundle_is_written(tmp_path: Path, what: str) -> None:
    tiles = bodies(Tile(9, 0, n) for n in (3, 4, 5))
    write(tmp_path / "out", subject(levels=(9,)), tiles)
    file = bundle_of(tmp_path)
    data = bytearray(file.read_bytes())
    at = bundle_v2.entry_position(5)
    if what == "cut":
        del data[-1]
    elif what == "size word":
        offset = int.from_bytes(data[at : at + 5], "little")
        data[offset - 4] ^= 1
    else:
        data[at : at + 5] = (1000).to_bytes(5, "little")
    file.write_bytes(data)

    def sound() -> list[Tile]:
        with open_reader(tmp_path / "out") as reader:
            assert reader.read(9, 0, 5) is None
            assert int(reader.present(BlockKey(9, 0, 0)).sum()) == len(list(reader.tiles(BlockKey(9, 0, 0))))
            return [tile for tile, _ in reader.tiles(BlockKey(9, 0, 0))]

    assert sound() == [tiles[0].tile, tiles[1].tile]
    with open_reader(tmp_path / "out") as reader:
        assert [found.tile for found in reader.check()] == [Tile(9, 0, 5)]

    async def run() -> None:
        writer = await open_writer(tmp_path / "out", subject(levels=(9,)))
        assert int(writer.present(BlockKey(9, 0, 0)).sum()) == 2
        await writer.store(bodies([Tile(9, 0, 9)]))
        assert int(writer.present(BlockKey(9, 0, 0)).sum()) == 3
        await writer.close()

    asyncio.run(run())
    assert file.read_bytes()[at : at + 8] == bytes(8)
    with open_reader(tmp_path / "out") as reader:
        assert list(reader.check()) == []


def test_a_bundle_without_header_is_refused_by_the_writer_and_listed_by_check(tmp_path: Path) -> None:
    write(tmp_path / "out", subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    file = bundle_of(tmp_path)
    file.write_bytes(b"\0" * HEADER_SIZE + file.read_bytes()[HEADER_SIZE:])
    with open_reader(tmp_path / "out") as reader:
        assert reader.levels() == []
        assert [found.where for found in reader.check()] == [str(file)]
    before = file.read_bytes()
    with pytest.raises(CacheError, match="damaged"):
        write(tmp_path / "out", subject(levels=(9,)), bodies([Tile(9, 0, 1)]))
    assert file.read_bytes() == before


def test_a_misnamed_bundle_is_listed(tmp_path: Path) -> None:
    write(tmp_path / "out", subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    file = bundle_of(tmp_path)
    file.rename(file.with_name("R0001C0000.bundle"))
    with open_reader(tmp_path / "out") as reader:
        assert ["name" in found.what for found in reader.check()] == [True]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 18), st.binary(min_size=1, max_size=64))
def test_no_damage_makes_a_reader_raise_or_give_other_bytes(tmp_path_factory: Any, at: int, noise: bytes) -> None:
    folder = tmp_path_factory.mktemp("damage")
    tiles = bodies(Tile(9, 0, n) for n in range(8))
    write(folder, subject(levels=(9,)), tiles)
    file = bundle_of(folder)
    data = bytearray(file.read_bytes())
    at %= min(len(data), DATA_START) if at % 2 else len(data)
    data[at : at + len(noise)] = noise
    file.write_bytes(data)
    with open_reader(folder) as reader:
        for tile, body, _ in tiles:
            seen = reader.read(*tile)
            assert seen is None or len(seen) == len(body) or at < DATA_START
        list(reader.check())
        reader.present(BlockKey(9, 0, 0))
    shutil.rmtree(folder)


# ---------------------------------------------------------------------------------------------- finding and merging


def test_a_server_layout_is_found_one_folder_down_and_names_in_either_case(tmp_path: Path) -> None:
    inner = tmp_path / "Streets" / "Layers"
    write(inner, subject(levels=(12,)), bodies([Tile(12, 0xA80, 0x700)]))
    (inner / "conf.xml").rename(inner / "Conf.xml")
    level = inner / "_alllayers" / "L12"
    (level / "R0a80C0700.bundle").rename(level / "R0A80C0700.bundle")
    for path in (tmp_path / "Streets", inner, inner / "Conf.xml"):
        with open_reader(path) as reader:
            assert reader.read(12, 0xA80, 0x700) is not None
            assert list(reader.blocks(12)) == [BlockKey(12, 0xA80, 0x700)]
    with pytest.raises(CacheError, match="neither empty nor"):  # what is written to is named itself
        write(tmp_path / "Streets", subject(levels=(12,)), bodies([Tile(12, 0xA81, 0x700)]))
    write(inner, subject(levels=(12,)), bodies([Tile(12, 0xA81, 0x700)]))
    assert sorted(os.listdir(inner)) == ["Conf.xml", "_alllayers", "conf.cdi", "root.json"]
    assert len(list(inner.rglob("*.bundle"))) == 1


def test_two_caches_one_folder_down_are_ambiguous(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    with pytest.raises(CacheError, match="a, b"):
        open_reader(tmp_path)


def test_an_unpacked_package_is_read_by_its_root_json_alone_and_not_written(tmp_path: Path) -> None:
    write(tmp_path, subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    (tmp_path / "_alllayers").rename(tmp_path / "tile")
    root = (tmp_path / "root.json").read_text(encoding="utf-8")
    (tmp_path / "root.json").write_text(root.replace("./_alllayers", "./tile"), encoding="utf-8")
    (tmp_path / "conf.xml").unlink()
    with open_reader(tmp_path) as reader:
        assert reader.levels() == [9]
        assert reader.info.attribution == "© Example & Söhne <gis>"
    with pytest.raises(UnsupportedFormatError, match="unpacked"):
        write(tmp_path, subject(levels=(9,)), bodies([Tile(9, 0, 1)]))


@pytest.mark.parametrize("storage", [COMPACT_V1, EXPLODED])
def test_other_storage_formats_are_refused_by_name(tmp_path: Path, storage: str) -> None:
    write(tmp_path, subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    text = (tmp_path / "conf.xml").read_text(encoding="utf-8").replace(COMPACT_V2, storage)
    (tmp_path / "conf.xml").write_text(text, encoding="utf-8")
    with pytest.raises(UnsupportedFormatError, match=storage):
        open_reader(tmp_path)


def test_a_cache_of_another_scheme_is_kept_and_the_field_named(tmp_path: Path) -> None:
    write(tmp_path, subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    with pytest.raises(CacheError, match="tile size 256 x 256 is not 512 x 512"):
        write(tmp_path, subject(mercator(size=512), levels=(9,)), bodies([Tile(9, 0, 1)]))
    with pytest.raises(CacheError, match="PNG32 tiles"):
        write(tmp_path, subject(levels=(9,), tile_format=TileFormat.LERC), bodies([Tile(9, 0, 1)]))


def test_a_folder_with_something_else_is_refused_and_an_empty_one_taken(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    write(folder, subject(), finish=False)
    (folder / "conf.xml.part").write_bytes(b"<Cac")
    (folder / "_alllayers").mkdir()
    write(folder, subject(), finish=False)
    (folder / "me.jpg").write_bytes(b"x")
    with pytest.raises(CacheError, match="neither empty nor a compact cache"):
        write(folder, subject(), bodies([Tile(0, 0, 0)]))
    with pytest.raises(CacheError):
        open_reader(folder)


def test_lods_are_listed_from_the_coarsest_to_the_finest_stored(tmp_path: Path) -> None:
    about = subject(levels=(3, 9, 12), extent=Box(0, 0, 100, 100))
    write(tmp_path, about, bodies([Tile(3, 0, 0)]), finish=False)
    with open_reader(tmp_path) as reader:
        assert [lod.level for lod in reader.info.scheme.lods] == list(range(13))
    write(tmp_path, about, bodies([Tile(9, 0, 0)]))
    with open_reader(tmp_path) as reader:
        assert [lod.level for lod in reader.info.scheme.lods] == list(range(10))
        assert reader.info.extent == Box(0, 0, 100, 100)
    write(tmp_path, subject(levels=(4,), extent=Box(50, -50, 60, 10)), bodies([Tile(4, 0, 0)]))
    with open_reader(tmp_path) as reader:
        assert [lod.level for lod in reader.info.scheme.lods] == list(range(10))
        assert reader.info.extent == Box(0, -50, 100, 100)
        assert reader.levels() == [3, 4, 9]


def test_a_cache_that_got_other_kinds_of_tiles_says_mixed_at_once_and_for_good(tmp_path: Path) -> None:
    def word() -> str:
        with open_reader(tmp_path) as reader:
            return reader.info.details["tileFormat"]

    write(tmp_path, subject(levels=(9,)), bodies([Tile(9, 0, 0)]), finish=False)
    assert word() == "PNG32"
    write(tmp_path, subject(levels=(9,)), [Stored(Tile(9, 0, 1), b"\xff\xd8\xff", "jpg")], finish=False)
    assert word() == "MIXED"
    write(tmp_path, subject(levels=(9,)), bodies([Tile(9, 0, 2)]))
    assert word() == "MIXED"


def test_the_spare_gdal_word_of_arcgis_bundles_is_mended_when_they_are_written(tmp_path: Path) -> None:
    write(tmp_path, subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    file = bundle_of(tmp_path)
    arcgis = Header(records=0, largest=131092, legacy_size=0, file_size=file.stat().st_size)
    file.write_bytes(arcgis.pack() + file.read_bytes()[HEADER_SIZE:])
    with open_reader(tmp_path) as reader:
        assert reader.read(9, 0, 0) is not None
        assert list(reader.check()) == []
    write(tmp_path, subject(levels=(9,)), bodies([Tile(9, 0, 1)]))
    header = bundle_v2.parse_header(file.read_bytes())
    assert header is not None and header.records == 16384


def test_two_threads_read_more_bundles_than_may_be_open(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    tiles = bodies(Tile(15, 128 * n, 128 * m) for n in range(9) for m in range(9))
    write(tmp_path, subject(levels=(15,)), tiles)
    with open_reader(tmp_path) as reader, ThreadPoolExecutor(4) as threads:
        results = threads.map(lambda item: reader.read(*item.tile) == item.body, tiles * 4)
        assert all(results)
    reader.close()


def test_locate_gives_none_where_there_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    assert compact.locate(tmp_path) is None
    assert compact.locate(tmp_path / "x.txt") is None
    assert compact.locate(tmp_path / "nowhere") is None


def test_a_reader_keeps_a_bounded_number_of_files_open(tmp_path: Path) -> None:
    write(tmp_path, subject(levels=(15,)), bodies(Tile(15, 128 * n, 128 * m) for n in range(9) for m in range(9)))
    disk = Recording()
    bundles = FolderBundles(tmp_path / "_alllayers", disk)
    spans = [bundles.open(key) for key in bundles.keys(15)]
    for span in [*spans, spans[0]]:
        assert span is not None
        assert span.read(4, 0) == b"\x03\0\0\0"
    names = [name for name, _ in disk.steps]
    assert names.count("open") - names.count("close") == MAX_OPEN_BUNDLES < 81
    bundles.close()
    assert names.count("open") == [name for name, _ in disk.steps].count("close")


def test_an_entry_that_leads_into_the_index_is_no_tile_even_where_a_size_word_stands_there(tmp_path: Path) -> None:
    write(tmp_path, subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    file = bundle_of(tmp_path)
    data = bytearray(file.read_bytes())
    at, other = bundle_v2.entry_position(5), bundle_v2.entry_position(9)
    data[other : other + 8] = (3).to_bytes(8, "little")
    data[at : at + 8] = bundle_v2.entry(other + 4, 3).to_bytes(8, "little")
    file.write_bytes(data)
    with open_reader(tmp_path) as reader:
        assert reader.read(9, 0, 5) is None
        assert [tile for tile, _ in reader.tiles(BlockKey(9, 0, 0))] == [Tile(9, 0, 0)]


def test_two_commits_have_two_stamps_even_while_the_clock_stands_still(tmp_path: Path) -> None:
    file = tmp_path / "x.bundle"
    file.write_bytes(b"x")
    descriptor = os.open(file, os.O_RDWR)
    try:
        stamp = stamp_of(os.fstat(descriptor))
        index = bundle_v2.empty_index()
        block = OpenBlock(BlockKey(0, 0, 0), file, descriptor, index=index, end=1, largest=0, stamp=stamp)
        assert next_stamp(block, lambda path: stamp_of(path.stat())) == stamp_of(file.stat()) != stamp
    finally:
        os.close(descriptor)
