"""PMTiles: ids and directories as others compute them, archives that others read, hostile input, sealing, unpacking."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pmtiles.reader import MmapSource, Reader, all_tiles
from pmtiles.tile import Entry, deserialize_directory, serialize_directory, tileid_to_zxy, zxy_to_tileid

from harvester.caches import pmtiles_layout as layout
from harvester.caches.compact import open_reader as open_folder
from harvester.caches.compact_writer import open_writer
from harvester.caches.pmtiles import PMTilesReader, open_reader, seal, unpack
from harvester.caches.pmtiles_archive import Limits
from harvester.caches.pmtiles_layout import Directory, Header
from harvester.caches.pmtiles_writer import NORMAL
from harvester.durable import Disk
from harvester.edges import Stored, Subject, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.testing import schemes
from harvester.tiling.google import google_scheme
from harvester.tiling.scheme import Box, Lod, TilingScheme
from harvester.tiling.tile import BlockKey, Tile, block_of
from tests.caches.making import bodies, mercator, pictures, png, subject, write
from tests.contracts.cache_contract import CacheContract, body_of, stored

EXTENT = Box(-1e7, -1e7, 1e7, 1e7)


def sealed(
    folder: Path, about: Subject, *batches: Sequence[Stored], name: str = "out.pmtiles", limits: Limits = NORMAL
) -> Path:
    """An archive of these batches."""
    write(folder / "work", about, *batches)
    seal(folder / "work", folder / name, about, disk=Disk(), limits=limits)
    return folder / name


def others_tiles(path: Path) -> dict[Tile, bytes]:
    """Every tile as the format's own reader finds it."""
    with path.open("rb") as file:
        return {Tile(z, y, x): body for (z, x, y), body in all_tiles(MmapSource(file))}


def our_tiles(path: Path) -> dict[Tile, bytes]:
    with open_reader(path) as reader:
        return {
            tile: body for level in reader.levels() for key in reader.blocks(level) for tile, body in reader.tiles(key)
        }


def png_bodies(tiles: Sequence[Tile], seed: int = 0) -> list[Stored]:
    """Small bodies with the signature of a PNG."""
    return [one._replace(body=b"\x89PNG" + one.body) for one in bodies(tiles, seed)]


class SealingWriter:
    """Writes a work folder and seals it at every ``close``: what a run does at its end."""

    def __init__(self, writer: Any, path: Path, work: Path, about: Subject) -> None:
        self._writer, self._path, self._work, self._about = writer, path, work, about

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    async def close(self) -> None:
        await self._writer.close()
        if self._work.is_dir() and any(self._work.rglob("*.bundle")):
            part = self._work.with_suffix(".part")
            seal(self._work, part, self._about, disk=Disk())
            if self._path.exists() and part.read_bytes() == self._path.read_bytes():
                part.unlink()
            else:
                part.replace(self._path)


class TestContract(CacheContract):
    """The reader's promises, on archives sealed after every writing; those about a growing file don't apply."""

    name = "cache.pmtiles"
    reader_name = "harvester.caches.pmtiles:open_reader"

    @pytest.fixture(autouse=True)
    def _works(self, tmp_path: Path) -> None:
        self.work = tmp_path / "work"

    def subject(self) -> Subject:
        return subject(levels=(8, 9), extent=EXTENT)

    async def open_writer(self, path: Path, about: Subject) -> Any:
        if path.exists() and not self.work.exists():
            unpack(path, self.work, disk=Disk(), scheme=about.info.scheme)
        return SealingWriter(await open_writer(self.work, about), path, self.work, about)

    def damage(self, path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[layout.HEADER_SIZE + 20] ^= 0xFF
        path.write_bytes(data)

    ruins = False

    def ruin(self, path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[72] ^= 1  # the number of tiles (spec v3, 3.2)
        path.write_bytes(data)

    def test_what_store_returned_is_there_for_another_reader_at_once(self, path: Path) -> None:
        """An archive is there when the run has ended, and not before."""

        async def act(writer: Any) -> None:
            await writer.store(stored(self.tiles))
            assert not path.exists()

        self.writing(path, act)
        assert path.exists()

    def test_another_process_sees_whole_tiles_only(self, path: Path) -> None:
        """A reader that has the old archive open goes on reading it while the new one takes its name."""
        self.fill(path, [stored(self.tiles)])
        with self.open_reader(path) as reader:
            self.fill(path, [stored(self.tiles, version=2)])
            assert {reader.read(*tile) for tile in self.tiles} == {body_of(tile) for tile in self.tiles}
        assert self.everything(path) == {tile: body_of(tile, 2) for tile in self.tiles}

    def test_stamps_change_with_every_batch_and_last_over_reopening(self, path: Path) -> None:
        """An archive's stamp is its file's own; here: sealing the same content again changes nothing."""
        self.fill(path, [stored(self.tiles)])
        before = path.read_bytes()
        self.fill(path, [])
        assert path.read_bytes() == before

    def test_a_cache_that_was_put_back_has_other_stamps(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles[:4])])
        before = path.stat()
        self.fill(path, [stored(self.tiles[:6])])
        assert path.stat().st_size != before.st_size


# ---------------------------------------------------------------------------------------------- ids and directories


@given(place=st.integers(0, 30).flatmap(lambda z: st.tuples(st.just(z), *[st.integers(0, 2**z - 1)] * 2)))
@settings(max_examples=200, deadline=None)
def test_tile_ids_are_those_that_others_compute(place: tuple[int, int, int]) -> None:
    zoom, row, col = place
    wanted = zxy_to_tileid(zoom, col, row)
    at = layout.hilbert(zoom, np.array([row]), np.array([col]))
    assert layout.tile_id(zoom, row, col) == wanted == layout.first_id(zoom) + int(at[0])
    assert layout.zoom_of(wanted) == zoom
    assert [int(each[0]) for each in layout.unhilbert(zoom, at)] == [row, col]


def test_tile_ids_of_the_specification() -> None:
    assert [layout.tile_id(*at) for at in ((0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1), (2, 0, 0))] == [
        *range(6)
    ]
    assert layout.tile_id(12, 1763, 3423) == 19078479


@pytest.mark.parametrize("key", [BlockKey(0, 0, 0), BlockKey(5, 0, 0), BlockKey(7, 0, 0), BlockKey(12, 1152, 896)])
def test_a_block_is_one_stretch_of_ids(key: BlockKey) -> None:
    low, count = layout.block_range(key)
    positions = layout.block_positions(key)
    assert len(positions) == len(set(positions.tolist())) == count
    for at in {0, 1 % count, count // 2, count - 1}:
        zoom, col, row = tileid_to_zxy(low + at)
        assert key.tile(int(positions[at])) == Tile(zoom, row, col)


COLUMNS = st.lists(
    st.tuples(st.integers(1, 2**40), st.integers(0, 300), st.integers(1, 2**24), st.integers(0, 2**50)), max_size=40
)


@given(rows=COLUMNS, follow=st.lists(st.booleans(), min_size=40, max_size=40))
@settings(max_examples=60, deadline=None)
def test_directories_are_those_that_others_write_and_read(rows: list[tuple[int, ...]], follow: list[bool]) -> None:
    entries: list[Entry] = []
    for (step, run, length, offset), follows in zip(rows, follow, strict=False):
        last = entries[-1] if entries else None
        place = last.offset + last.length if last and follows else offset
        entries.append(Entry((last.tile_id + max(last.run_length, 1) if last else 0) + step, place, length, run))
    columns = [[e.tile_id, e.run_length, e.length, e.offset] for e in entries]
    directory = Directory(*np.array(columns, np.int64).reshape(-1, 4).T)
    theirs = gzip.decompress(serialize_directory(entries))
    assert layout.pack_directory(directory) == theirs
    back = layout.parse_directory(theirs)
    assert [list(map(int, row)) for row in zip(*back, strict=True)] == columns
    read = deserialize_directory(layout.compress(theirs))
    assert [[e.tile_id, e.run_length, e.length, e.offset] for e in read] == columns


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ends within a number"),
        (b"\x80", "ends within a number"),
        (b"\xff" * 9 + b"\x01", "more than 63 bits"),
        (b"\x02\x01\x01\x01\x01", "4 numbers for 2 entries"),
        (b"\x01\x01\x01\x00\x01", "no bytes"),
        (b"\x01\x01\x01\x01\x00", "no offset"),
        (b"\x02\x01\x00\x01\x01\x01\x01\x01\x01", "overlap"),
        (b"\x02\x01\x01\x05\x01\x01\x01\x01\x01", "overlap"),
        (b"\x01\x01\xff\xff\xff\xff\xff\x01\x01\x01", "overlap"),
        (b"\x01" + b"\xff" * 8 + b"\x7f\x01\x01\x01", "beyond 64 bits"),
        (b"\x01\x01\x01\x01" + b"\xff" * 8 + b"\x7f", "beyond 64 bits"),
    ],
)
def test_a_directory_that_makes_no_sense_is_told(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layout.parse_directory(data)


# ---------------------------------------------------------------------------------------------- what others read


def test_the_format_s_own_reader_finds_every_tile(tmp_path: Path) -> None:
    tiles = [Tile(9, r, c) for r in range(100, 140) for c in range(120, 140)] + [Tile(0, 0, 0), Tile(12, 4095, 4095)]
    path = sealed(tmp_path, subject(levels=(0, 9, 12), extent=EXTENT), png_bodies(tiles))
    assert others_tiles(path) == {one.tile: one.body for one in png_bodies(tiles)} == our_tiles(path)
    with path.open("rb") as file:
        reader = Reader(MmapSource(file))
        header, metadata = reader.header(), reader.metadata()
        assert reader.get(9, 125, 101) == png_bodies([Tile(9, 101, 125)])[0].body
    assert (header["tile_type"].name, header["tile_compression"].name, header["clustered"]) == ("PNG", "NONE", True)
    assert (header["min_zoom"], header["max_zoom"]) == (0, 12)
    assert header["addressed_tiles_count"] == len(tiles) == header["tile_contents_count"]
    assert metadata["attribution"] == "© Example & Söhne <gis>"
    assert (metadata["name"], metadata["type"], metadata["format"]) == ("Streets", "overlay", "png")
    assert [(each["zoom"], each["tiles"]) for each in metadata["levels"]] == [(0, 1), (9, 800), (12, 1)]


def test_header_and_root_lie_in_the_first_16_kilobytes_and_nothing_is_between_the_rest(tmp_path: Path) -> None:
    path = sealed(tmp_path, subject(levels=(4,)), png_bodies([Tile(4, 1, 1), Tile(4, 1, 2)]))
    header = layout.parse_header(path.read_bytes())
    assert header.root_offset + header.root_length <= 16384 == header.data_offset
    assert header.metadata_offset == 16384 + header.data_length
    assert path.stat().st_size == 16384 + header.data_length + header.metadata_length + header.leaves_length


def test_bounds_and_centre_are_those_of_the_data(tmp_path: Path) -> None:
    quarter = 10018754.171394622
    about = subject(levels=(3, 6), extent=Box(0, 0, quarter, quarter))
    path = sealed(tmp_path, about, png_bodies([Tile(3, r, c) for r in (2, 3) for c in (4, 5)] + [Tile(6, 31, 32)]))
    header = layout.parse_header(path.read_bytes())
    assert (header.west, header.south, header.east, header.north) == (0, 0, 900000000, 665132604)
    assert (header.center_lon, header.center_zoom, header.min_zoom, header.max_zoom) == (450000000, 4, 3, 6)
    with open_reader(path) as reader:
        assert reader.info.extent == pytest.approx((0, 0, quarter, quarter), abs=0.02)


def test_identical_tiles_are_stored_once_and_neighbours_are_one_entry(tmp_path: Path) -> None:
    sea, other = png(Tile(1, 1, 1)), png(Tile(2, 2, 2))
    tiles = [Tile(7, row, col) for row in range(128) for col in range(128)]
    batch = [Stored(tile, other if tile == Tile(7, 64, 3) else sea, "png") for tile in tiles]
    path = sealed(tmp_path, subject(levels=(7,)), batch)
    header = layout.parse_header(path.read_bytes())
    assert (header.addressed, header.entries, header.contents) == (16384, 3, 2)
    assert header.data_length == len(sea) + len(other)
    assert our_tiles(path) == {one.tile: one.body for one in batch}
    assert others_tiles(path) == our_tiles(path)


def test_contents_whose_hashes_are_equal_are_both_kept(tmp_path: Path) -> None:
    batch = [Stored(Tile(3, 0, col), b"\x89PNG" + bytes([col % 3] * 9), "png") for col in range(8)]
    path = sealed(tmp_path, subject(levels=(3,)), batch, limits=Limits(hashing=lambda body: 7))
    assert our_tiles(path) == {one.tile: one.body for one in batch}


def test_each_content_is_stored_once_however_many_lie_between_two_tiles_of_it(tmp_path: Path) -> None:
    """What has no place in memory waits in scratch files, of which nothing is left."""
    tiles = [Tile(8, row, col) for row in range(128) for col in range(128)]
    random.Random(1).shuffle(tiles)
    batch = [Stored(tile, b"\x89PNG%d" % (number % 5000), "png") for number, tile in enumerate(tiles)]
    path = sealed(tmp_path, subject(levels=(8,)), batch, limits=Limits(in_memory=300))
    assert our_tiles(path) == {one.tile: one.body for one in batch} == others_tiles(path)
    header = layout.parse_header(path.read_bytes())
    assert header.contents == 5000
    assert header.data_length == sum(map(len, {one.body for one in batch}))


def test_many_entries_make_leaf_directories_that_others_follow(tmp_path: Path) -> None:
    tiles = [Tile(8, row, col) for row in range(128) for col in range(0, 256, 2)]
    tiles += [Tile(10, row, col) for row in range(600, 660) for col in range(500, 620, 2)]
    batch = png_bodies(tiles)
    random.Random(1).shuffle(batch)
    path = sealed(tmp_path, subject(levels=(8, 10)), batch)
    header = layout.parse_header(path.read_bytes())
    assert header.leaves_length
    assert header.root_length <= layout.MAX_ROOT
    assert our_tiles(path) == {one.tile: one.body for one in batch} == others_tiles(path)
    with open_reader(path) as reader:
        assert list(reader.check()) == []


def test_leaves_grow_until_the_root_holds_them(tmp_path: Path) -> None:
    tiles = [Tile(8, row, col) for row in range(0, 60, 2) for col in range(0, 60, 2)]
    limits = Limits(root_only=10, leaf_entries=4, root_bytes=60)
    path = sealed(tmp_path, subject(levels=(8,)), png_bodies(tiles), limits=limits)
    header = layout.parse_header(path.read_bytes())
    assert 0 < header.root_length <= 60
    assert header.leaves_length
    assert path.stat().st_size == 16384 + header.data_length + header.metadata_length + header.leaves_length
    assert set(our_tiles(path)) == set(tiles)


def test_the_order_of_arrival_leaves_no_trace(tmp_path: Path) -> None:
    batch = png_bodies([Tile(8, row, col) for row in range(120, 140) for col in range(120, 140)])
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        random.Random(name).shuffle(batch)
        paths.append(sealed(tmp_path / name, subject(levels=(8,)), batch[:200], batch[200:], batch[:10]))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_shifted_grid_lands_on_the_google_grid(tmp_path: Path) -> None:
    """Level 3 of this source is zoom 5 from row 8, column 20 on: its blocks are not the archive's."""
    world = google_scheme()
    span = world.span(5)[0]
    scheme = TilingScheme(
        crs=world.crs, origin_x=world.origin_x + 20 * span, origin_y=world.origin_y - 8 * span,
        tile_width=256, tile_height=256,
        lods=tuple(Lod(level=n, resolution=world.by_level[n + 2].resolution, scale=world.by_level[n + 2].scale)
                   for n in range(3, 12)),
    )  # fmt: skip
    tiles = [Tile(3, 1, 2), *(Tile(9, row, col) for row in range(100, 140, 3) for col in range(0, 300, 7))]
    path = sealed(tmp_path, subject(scheme, levels=(3, 9)), png_bodies(tiles))
    found = others_tiles(path)
    assert Tile(5, 9, 22) in found
    assert found == {
        Tile(5 if t.level == 3 else 11, t.row + 8 * 2 ** (t.level - 3), t.col + 20 * 2 ** (t.level - 3)): one.body
        for t, one in zip(tiles, png_bodies(tiles), strict=True)
    }
    unpack(path, tmp_path / "again", disk=Disk(), scheme=scheme)
    with open_folder(tmp_path / "again") as folder:
        assert {tile: folder.read(*tile) for tile in tiles} == {one.tile: one.body for one in png_bodies(tiles)}
        assert list(folder.check()) == []
    seal(tmp_path / "again", tmp_path / "b", subject(scheme, levels=(3, 9)), disk=Disk())
    assert (tmp_path / "b").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("kind", "body", "name", "compression"),
    [
        ("jpg", b"\xff\xd8\xff\xe0 more", "JPEG", "NONE"),
        ("webp", b"RIFF\x0c\x00\x00\x00WEBPVP8 ", "WEBP", "NONE"),
        ("pbf", gzip.compress(b"\x1a\x00", mtime=0), "MVT", "GZIP"),
    ],
)
def test_each_tile_type_has_its_number(tmp_path: Path, kind: str, body: bytes, name: str, compression: str) -> None:
    about = subject(levels=(2,), tile_format={"jpg": TileFormat.JPEG}.get(kind, TileFormat(kind)))
    path = sealed(tmp_path, about, [Stored(Tile(2, 1, 1), body, kind)])
    with path.open("rb") as file:
        reader = Reader(MmapSource(file))
        header, metadata = reader.header(), reader.metadata()
    assert (header["tile_type"].name, header["tile_compression"].name) == (name, compression)
    assert ("vector_layers" in metadata) is (kind == "pbf")
    assert our_tiles(path) == {Tile(2, 1, 1): body}
    with open_reader(path) as reader:
        assert reader.info.tile_format is about.info.tile_format


def test_a_vector_tile_that_came_plain_is_compressed_like_the_others(tmp_path: Path) -> None:
    about = subject(levels=(2,), tile_format=TileFormat.PBF)
    batch = [Stored(Tile(2, 1, 0), gzip.compress(b"\x1a\x00"), "pbf"), Stored(Tile(2, 1, 1), b"\x1a\x01\x00", "pbf")]
    path = sealed(tmp_path, about, batch)
    assert {tile: gzip.decompress(body) for tile, body in our_tiles(path).items()} == {
        Tile(2, 1, 0): b"\x1a\x00",
        Tile(2, 1, 1): b"\x1a\x01\x00",
    }


def test_tiles_of_two_types_are_refused_and_the_work_folder_stays(tmp_path: Path) -> None:
    batch = [*pictures([Tile(2, 1, 1)]), Stored(Tile(2, 1, 2), b"\xff\xd8\xff\xe0", "jpg")]
    with pytest.raises(UnsupportedFormatError, match="PMTiles holds one type") as caught:
        sealed(tmp_path, subject(levels=(2,)), batch)
    assert "work" in caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work"]
    with open_folder(tmp_path / "work") as reader:
        assert reader.read(2, 1, 2) == b"\xff\xd8\xff\xe0"


def test_levels_off_the_google_grid_and_two_of_one_zoom_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "off", subject(schemes.ARCMAP_DEFAULT.scheme, levels=(1,)), png_bodies([Tile(1, 1, 1)]))
    with pytest.raises(UnsupportedFormatError, match="LOD 1 is off the Google grid"):
        seal(tmp_path / "off", tmp_path / "x", subject(), disk=Disk())
    scheme = mercator(range(3))
    twice = replace(scheme, lods=(*scheme.lods, replace(scheme.lods[-1], level=3)))
    write(tmp_path / "twice", subject(twice, levels=(2, 3)), png_bodies([Tile(2, 1, 1), Tile(3, 1, 1)]))
    with pytest.raises(UnsupportedFormatError, match="LODs 2 and 3 are both zoom 2"):
        seal(tmp_path / "twice", tmp_path / "x", subject(twice), disk=Disk())
    assert not (tmp_path / "x").exists()


def test_an_empty_work_folder_makes_an_archive_without_tiles(tmp_path: Path) -> None:
    path = sealed(tmp_path, subject(levels=(2,)), [])
    assert our_tiles(path) == {}
    assert others_tiles(path) == {}
    with open_reader(path) as reader:
        assert list(reader.check()) == []


def test_a_tile_that_is_torn_in_the_work_folder_does_not_get_in(tmp_path: Path) -> None:
    about = subject(levels=(2,))
    write(tmp_path / "work", about, png_bodies([Tile(2, 1, 1), Tile(2, 1, 2)]))
    bundle = next((tmp_path / "work").rglob("*.bundle"))
    data = bytearray(bundle.read_bytes())
    data[131136:131140] = b"\xff\xff\xff\x00"
    bundle.write_bytes(data)
    seal(tmp_path / "work", tmp_path / "out", about, disk=Disk())
    assert set(our_tiles(tmp_path / "out")) == {Tile(2, 1, 2)}


# ---------------------------------------------------------------------------------------------- failures


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path) -> None:
    class Small(Disk):
        def free_bytes(self, path: Path) -> int:
            return 1000

    write(tmp_path / "work", subject(levels=(2,)), png_bodies([Tile(2, 1, 1)]))
    with pytest.raises(CacheError, match="the disk is full"):
        seal(tmp_path / "work", tmp_path / "out", subject(levels=(2,)), disk=Small())
    assert not (tmp_path / "out").exists()


def test_room_for_all_that_is_unpacked_is_looked_for_before_anything_is_written(tmp_path: Path) -> None:
    """Tiles that share their bytes in the archive have their own in the folder."""
    tiles = [Tile(8, row, col) for row in (1, 200) for col in (1, 200)]
    path = sealed(tmp_path, subject(levels=(8,)), [Stored(tile, b"\x89PNG" + bytes(90_000), "png") for tile in tiles])
    unpack(path, tmp_path / "big", disk=Disk(), scheme=mercator())
    needed = sum(file.stat().st_size for file in (tmp_path / "big").rglob("*.bundle"))
    assert needed > 4 * 90_000 > path.stat().st_size
    needed += path.stat().st_size  # of which an archive is made again
    written: list[str] = []

    class Nearly(Disk):
        def free_bytes(self, path: Path) -> int:
            return needed - 1

        def step(self, name: str, path: Path) -> None:
            if name in ("write", "make_dirs"):
                written.append(name)

    with pytest.raises(CacheError, match="the disk is full") as caught:
        unpack(path, tmp_path / "again", disk=Nearly(), scheme=mercator())
    assert f"{needed:,} bytes were refused" in caught.value.message
    assert written == []
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("step", ["write", "sync", "open"])
def test_a_failing_step_leaves_no_part(tmp_path: Path, step: str) -> None:
    class Failing(Disk):
        def step(self, name: str, path: Path) -> None:
            if name == step and path.name == "out":
                raise OSError(5, "Input/output error")

    write(tmp_path / "work", subject(levels=(2,)), png_bodies([Tile(2, 1, 1)]))
    with pytest.raises(CacheError, match="Input/output error"):
        seal(tmp_path / "work", tmp_path / "out", subject(levels=(2,)), disk=Failing())
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    assert not [path.name for path in (tmp_path / "work").iterdir() if path.name.startswith(".entries")]


def test_an_interrupted_unpacking_leaves_no_work_folder_and_is_done_again(tmp_path: Path) -> None:
    about = subject(levels=(2, 9))
    path = sealed(tmp_path, about, png_bodies([Tile(2, 1, 1), Tile(9, 200, 200)]))

    class Failing(Disk):
        def step(self, name: str, path: Path) -> None:
            if name == "replace" and path.name == "again":
                raise OSError(5, "Input/output error")

    with pytest.raises(CacheError):
        unpack(path, tmp_path / "again", disk=Failing(), scheme=about.info.scheme)
    assert not (tmp_path / "again").exists()
    unpack(path, tmp_path / "again", disk=Disk(), scheme=about.info.scheme)
    seal(tmp_path / "again", tmp_path / "b", about, disk=Disk())
    assert (tmp_path / "b").read_bytes() == path.read_bytes()
    with pytest.raises(CacheError, match="is there already"):
        unpack(path, tmp_path / "again", disk=Disk(), scheme=about.info.scheme)


def test_a_zoom_that_the_source_lacks_is_not_lost_by_adding_to_an_archive(tmp_path: Path) -> None:
    path = sealed(tmp_path, subject(levels=(2, 9)), png_bodies([Tile(2, 1, 1), Tile(9, 200, 200)]))
    with pytest.raises(UnsupportedFormatError, match="zoom 9 is no LOD of the source"):
        unpack(path, tmp_path / "again", disk=Disk(), scheme=mercator(range(5)))
    assert not (tmp_path / "again").exists()


# ---------------------------------------------------------------------------------------------- archives of others


def archive(
    path: Path, entries: Sequence[Entry], data: bytes, *, leaf: bytes = b"", metadata: bytes = b"{}", **fields: int
) -> Path:
    """An archive as the specification orders it, from entries that may be anything."""
    root = serialize_directory(entries)
    packed = gzip.compress(metadata, mtime=0)
    at = layout.HEADER_SIZE + len(root)
    header = Header(
        root_length=len(root), metadata_offset=at, metadata_length=len(packed), leaves_offset=at + len(packed),
        leaves_length=len(leaf), data_offset=at + len(packed) + len(leaf), data_length=len(data), tile_type=layout.PNG,
        clustered=0,
    )._replace(**fields)  # fmt: skip
    path.write_bytes(header.pack() + root + packed + leaf + data)
    return path


def test_an_archive_in_any_order_is_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "a", [Entry(0, 7, 5, 1), Entry(1, 0, 7, 3), Entry(6, 7, 5, 1)], b"\x89PNGone\x89PNG2")
    with open_reader(path) as reader:
        assert reader.info.format == "pmtiles"
        assert reader.levels() == [0, 1, 2]
        assert reader.read(0, 0, 0) == b"\x89PNG2"
        assert reader.read(1, 1, 1) == b"\x89PNGone"
        assert reader.read(1, 0, 1) is None
        assert reader.info.details["clustered"] == "no"
    assert others_tiles(path) == our_tiles(path)


def test_pictures_that_are_compressed_once_more_are_read_as_pictures(tmp_path: Path) -> None:
    body = gzip.compress(b"\x89PNG...")
    path = archive(tmp_path / "a", [Entry(0, 0, len(body), 1)], body, tile_compression=layout.GZIP)
    assert our_tiles(path) == {Tile(0, 0, 0): b"\x89PNG..."}
    with pytest.raises(UnsupportedFormatError, match="compressed once more"):
        unpack(path, tmp_path / "work", disk=Disk(), scheme=mercator())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"internal_compression": 3}, "directories are compressed with brotli"),
        ({"tile_compression": 4}, "tiles are compressed with zstd"),
        ({"root_length": 1 << 40}, "root directory"),
        ({"root_offset": 0}, "root directory"),
        ({"data_offset": 1 << 62}, "tile data"),
        ({"leaves_offset": 3, "leaves_length": 4}, "leaf directories"),
        ({"metadata_length": 3}, "metadata can't be read"),
    ],
)
def test_headers_that_lead_astray_are_refused(tmp_path: Path, fields: dict[str, int], words: str) -> None:
    path = archive(tmp_path / "a", [Entry(0, 0, 4, 1)], b"\x89PNG", **fields)
    with pytest.raises(CacheError, match=words):
        open_reader(path)


def test_another_version_is_told(tmp_path: Path) -> None:
    path = archive(tmp_path / "a", [Entry(0, 0, 4, 1)], b"\x89PNG")
    path.write_bytes(b"PMTiles\x02" + path.read_bytes()[8:])
    with pytest.raises(UnsupportedFormatError, match="version 2"):
        open_reader(path)


def test_a_leaf_that_leads_to_itself_ends(tmp_path: Path) -> None:
    leaf = serialize_directory([Entry(0, 0, 40, 0)])
    leaf = serialize_directory([Entry(0, 0, len(leaf), 0)])
    path = archive(tmp_path / "a", [Entry(0, 0, len(leaf), 0)], b"\x89PNG", leaf=leaf)
    with pytest.raises(CacheError, match="deep"):
        open_reader(path)


def test_a_leaf_that_holds_tiles_of_another_is_refused(tmp_path: Path) -> None:
    leaf = serialize_directory([Entry(3, 0, 4, 1), Entry(9, 0, 4, 1)])
    path = archive(tmp_path / "a", [Entry(3, 0, len(leaf), 0), Entry(5, 0, 4, 1)], b"\x89PNG", leaf=leaf)
    with pytest.raises(CacheError, match="holds tiles of another"):
        open_reader(path)


def test_a_directory_bomb_is_not_inflated(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(layout.MAX_DIRECTORY_BYTES + 1))
    path = archive(tmp_path / "a", [Entry(0, 0, len(bomb), 0)], b"\x89PNG", leaf=bomb)
    with pytest.raises(CacheError, match="inflates to more than"):
        open_reader(path)


def test_a_run_that_claims_the_planet_lists_no_blocks_without_end(tmp_path: Path) -> None:
    entries = [Entry(layout.first_id(28) + n * 2**33, 0, 4, 2**32 - 1) for n in range(64)]
    path = archive(tmp_path / "a", entries, b"\x89PNG")
    with open_reader(path) as reader:
        assert reader.read(28, 0, 0) == b"\x89PNG"
        with pytest.raises(CacheError, match="more than 4,194,304 blocks"):
            list(reader.blocks(28))


def test_entries_beyond_the_tile_data_are_no_tiles_and_are_told(tmp_path: Path) -> None:
    path = archive(tmp_path / "a", [Entry(0, 0, 4, 1), Entry(1, 2, 9, 2), Entry(4, 0, 4, 1)], b"\x89PNG", addressed=9)
    with open_reader(path) as reader:
        assert reader.read(1, 0, 0) is None
        assert int(reader.present(BlockKey(1, 0, 0)).sum()) == 1
        told = [(damage.tile, damage.what) for damage in reader.check()]
    assert (Tile(1, 0, 0), "its entry (9 bytes at 2) leads out of the tile data") in told
    assert any("counts 9 tiles, its directories have 4" in what for _, what in told)
    assert any("says zooms 0 to 0, its tiles have 0 to 1" in what for _, what in told)


def test_a_false_word_about_the_order_is_told(tmp_path: Path) -> None:
    entries = [Entry(0, 4, 4, 1), Entry(1, 0, 4, 1)]
    path = archive(tmp_path / "a", entries, b"\x89PNG" * 2, clustered=1, max_zoom=1)
    with open_reader(path) as reader:
        assert [damage.what for damage in reader.check()] == [
            "its header says that tiles lie in the order of their ids, and they do not"
        ]


@given(at=st.integers(0, 400), flip=st.integers(1, 255), cut=st.booleans())
@settings(max_examples=80, deadline=None)
def test_no_damage_makes_anything_but_a_cache_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, flip: int, cut: bool
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    entries = [Entry(0, 0, 4, 1), Entry(1, 4, 6, 2), Entry(30, 0, 4, 1)]
    data = bytearray(archive(folder / "a", entries, b"\x89PNG\x89PNG12").read_bytes())
    at %= len(data)
    data[at] ^= flip
    (folder / "a").write_bytes(data[:at] if cut else data)
    try:
        with open_reader(folder / "a") as reader:
            list(reader.check())
            for level in reader.levels():
                for key in list(reader.blocks(level))[:2]:
                    list(reader.tiles(key))
    except CacheError as error:
        assert error.message


# ---------------------------------------------------------------------------------------------- real archives


@pytest.mark.shared_data
def test_real_archives_are_read_as_others_read_them(shared_data: Path) -> None:
    paths = sorted((shared_data / "pmtiles").glob("*.pmtiles"))
    assert len(paths) == 3
    for path in paths:
        assert our_tiles(path) == others_tiles(path) != {}
        with open_reader(path) as reader:
            assert list(reader.check()) == []
            assert all(reader.read(*tile) == body for tile, body in our_tiles(path).items())


@pytest.mark.shared_data
def test_a_real_raster_archive_decodes_and_is_made_again(shared_data: Path, tmp_path: Path) -> None:
    path = next((shared_data / "pmtiles").glob("stamen_toner*"))
    tiles = our_tiles(path)
    assert len(tiles) == 85
    for body in tiles.values():
        with Image.open(io.BytesIO(body)) as image:
            image.load()
            assert image.size in ((256, 256), (512, 512))
    with open_reader(path) as reader:
        assert reader.info.tile_format is TileFormat.PNG
        scheme = reader.info.scheme
    unpack(path, tmp_path / "work", disk=Disk(), scheme=scheme)
    seal(tmp_path / "work", tmp_path / "b", subject(scheme, levels=(0, 1, 2, 3)), disk=Disk())
    assert our_tiles(tmp_path / "b") == tiles
    theirs, ours = (layout.parse_header(each.read_bytes()) for each in (path, tmp_path / "b"))
    assert (ours.addressed, ours.contents) == (theirs.addressed, theirs.contents)


# ---------------------------------------------------------------------------------------------- properties

TILES = st.lists(
    st.sampled_from([0, 3, 8, 9, 15]).flatmap(
        lambda z: st.tuples(
            st.builds(Tile, st.just(z), st.integers(0, 2**z - 1), st.integers(0, 2**z - 1)), st.integers(0, 3)
        )
    ),
    max_size=20,
    unique_by=lambda pair: pair[0],
)


@given(tiles=TILES)
@settings(max_examples=8, deadline=None)
def test_whatever_is_sealed_reads_back_here_and_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, tiles: list[tuple[Tile, int]]
) -> None:
    folder = tmp_path_factory.mktemp("sealed")
    batch = [Stored(tile, b"\x89PNG" + bytes([kind]) * (5 + kind), "png") for tile, kind in tiles]
    path = sealed(folder, subject(levels=(0, 3, 8, 9, 15)), batch)
    wanted = {one.tile: one.body for one in batch}
    assert our_tiles(path) == others_tiles(path) == wanted
    header = layout.parse_header(path.read_bytes())
    assert header.addressed == len(wanted)
    assert header.contents == len(set(wanted.values()))
    with open_reader(path) as reader:
        assert isinstance(reader, PMTilesReader)
        assert list(reader.check()) == []
        for tile in wanted:
            mask = reader.present(block_of(tile))
            assert mask.flat[block_of(tile).position(tile)]
        levels = json.loads(reader.info.details["levels"])
        assert sum(each["tiles"] for each in levels) == len(wanted)
