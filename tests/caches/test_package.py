"""Tile packages: the promises of a reader, GDAL's reading, one result for one content, hostile archives, unpacking."""

from __future__ import annotations

import io
import json
import random
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.windows import Window

from harvester.caches import bundle_v2, compact, stored_zip
from harvester.caches.bundles import BundleReader
from harvester.caches.compact_writer import open_writer
from harvester.caches.package import open_reader, seal, unpack
from harvester.caches.zip_names import Names
from harvester.durable import Disk
from harvester.edges import Stored, Subject, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError, UsageError
from harvester.tiling.scheme import Box
from harvester.tiling.tile import BlockKey, Tile, block_of
from tests.caches.making import bodies, mercator, picture, pictures, rio, subject, utm, write
from tests.caches.test_compact import Recording, covered
from tests.contracts.cache_contract import CacheContract, body_of, stored

EXTENT = Box(-1e7, -1e7, 1e7, 1e7)


def sealed(folder: Path, about: Subject, *batches: Sequence[Stored], name: str = "out.tpkx") -> Path:
    """A package of these batches."""
    write(folder / "work", about, *batches)
    seal(folder / "work", folder / name, about, disk=Disk())
    return folder / name


class SealingWriter:
    """Writes a work folder and seals it at every ``finish`` and ``close``: what a run does at its end."""

    seal = staticmethod(seal)

    def __init__(self, writer: Any, path: Path, work: Path, about: Subject) -> None:
        self._writer, self._path, self._work, self._about = writer, path, work, about

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    async def close(self) -> None:
        await self._writer.close()
        if self._work.is_dir() and any(self._work.rglob("*.bundle")):
            part = self._work.with_suffix(".part")
            self.seal(self._work, part, self._about, disk=Disk())
            before = self._path.read_bytes() if self._path.exists() else b""
            if part.read_bytes() == before:
                part.unlink()
            else:
                part.replace(self._path)


class TestContract(CacheContract):
    """The reader's promises, on packages sealed after every writing; those about a growing file don't apply."""

    name = "cache.tpkx"
    reader_name = "harvester.caches.package:open_reader"

    @pytest.fixture(autouse=True)
    def _works(self, tmp_path: Path) -> None:
        self.work = tmp_path / "work"

    def subject(self) -> Subject:
        return subject(levels=(8, 9), extent=EXTENT)

    async def open_writer(self, path: Path, about: Subject) -> Any:
        if path.exists() and not self.work.exists():
            unpack(path, self.work, disk=Disk())
        return SealingWriter(await open_writer(self.work, about), path, self.work, about)

    def damage(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            entry = next(info for info in archive.infolist() if info.filename.endswith(".bundle"))
        data = bytearray(path.read_bytes())
        start = entry.header_offset + 30 + len(entry.filename) + bundle_v2.DATA_START
        data[start : start + 4] = b"\xff\xff\xff\x00"
        path.write_bytes(data)

    def ruin(self, path: Path) -> None:
        data = path.read_bytes()
        assert b"R0000C0000.bundle" in data
        path.write_bytes(data.replace(b"R0000C0000.bundle", b"R0001C0000.bundle"))

    def test_what_store_returned_is_there_for_another_reader_at_once(self, path: Path) -> None:
        """A package is there when the run has ended, and not before."""

        async def act(writer: Any) -> None:
            await writer.store(stored(self.tiles))
            assert not path.exists()

        self.writing(path, act)
        assert path.exists()

    def test_another_process_sees_whole_tiles_only(self, path: Path) -> None:
        """A reader that has the old package open goes on reading it while the new one takes its name."""
        self.fill(path, [stored(self.tiles)])
        with self.open_reader(path) as reader:
            self.fill(path, [stored(self.tiles, version=2)])
            assert {reader.read(*tile) for tile in self.tiles} == {body_of(tile) for tile in self.tiles}
        assert self.everything(path) == {tile: body_of(tile, 2) for tile in self.tiles}

    def test_stamps_change_with_every_batch_and_last_over_reopening(self, path: Path) -> None:
        """A package's stamp is its file's own; here: sealing the same content again changes nothing."""
        self.fill(path, [stored(self.tiles)])
        before = path.read_bytes()
        self.fill(path, [])
        assert path.read_bytes() == before

    def test_a_cache_that_was_put_back_has_other_stamps(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles[:4])])
        before = path.stat()
        self.fill(path, [stored(self.tiles[:6])])
        assert path.stat().st_size != before.st_size


# ---------------------------------------------------------------------------------------------- what is in it


def test_a_package_is_a_stored_zip_in_a_fixed_order(tmp_path: Path) -> None:
    tiles = bodies([Tile(0, 0, 0), Tile(9, 300, 0), Tile(9, 0, 200), Tile(9, 1, 1)])
    path = sealed(tmp_path, subject(levels=(0, 9), extent=EXTENT), tiles)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        infos = archive.infolist()
    assert [info.filename for info in infos] == [
        "iteminfo.json",
        "root.json",
        "thumbnail.png",
        "tile/L00/R0000C0000.bundle",
        "tile/L09/R0000C0000.bundle",
        "tile/L09/R0000C0080.bundle",
        "tile/L09/R0100C0000.bundle",
    ]
    for info in infos:
        assert info.compress_type == zipfile.ZIP_STORED
        assert (info.flag_bits, info.extra, info.create_system, info.date_time) == (0, b"", 0, (1980, 1, 1, 0, 0, 0))


def test_the_order_of_arrival_leaves_no_trace(tmp_path: Path) -> None:
    tiles = bodies(Tile(9, row, col) for row in (0, 5, 127, 128) for col in (0, 3, 300))
    about = subject(levels=(9,), extent=EXTENT)
    first = sealed(tmp_path / "a", about, tiles).read_bytes()
    shuffled = list(tiles)
    random.Random(7).shuffle(shuffled)
    wrong = [Stored(tile, body + b"?", kind) for tile, body, kind in tiles]
    second = sealed(tmp_path / "b", about, wrong[:5], shuffled[6:], shuffled[:6])
    assert second.read_bytes() == first
    with open_reader(second) as reader:
        for key in reader.blocks(9):
            span = reader.bundles.open(key)
            assert span is not None
            held = sum(len(body) + 4 for _, body in reader.tiles(key))
            assert span.size() == bundle_v2.DATA_START + held


def test_entries_take_the_time_of_source_date_epoch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    path = sealed(tmp_path, subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    with zipfile.ZipFile(path) as archive:
        assert {info.date_time for info in archive.infolist()} == {(2023, 11, 14, 22, 13, 20)}
    assert stored_zip.entry_time({"SOURCE_DATE_EPOCH": "0"}) == stored_zip.entry_time({})
    assert stored_zip.entry_time({"SOURCE_DATE_EPOCH": "99999999999"})[1] >> 9 == 127
    with pytest.raises(UsageError):
        stored_zip.entry_time({"SOURCE_DATE_EPOCH": "yesterday"})


def test_the_documents_say_what_readers_ask_for(tmp_path: Path) -> None:
    about = subject(levels=(3, 5), extent=EXTENT, description="x" * 20_000)
    path = sealed(tmp_path, about, bodies([Tile(3, 0, 0), Tile(5, 0, 0)]))
    with zipfile.ZipFile(path) as archive:
        text = archive.read("root.json")
        root, item = json.loads(text), json.loads(archive.read("iteminfo.json"))
        picture = Image.open(io.BytesIO(archive.read("thumbnail.png")))
    assert b'"tileBundlesPath":"./tile"' in text[:8192]
    assert (root["minLOD"], root["maxLOD"]) == (3, 5)
    assert [lod["level"] for lod in root["tileInfo"]["lods"]] == list(range(6))
    assert root["storageInfo"] == {"storageFormat": "esriMapCacheStorageModeCompactV2", "packetSize": 128}
    assert root["tileInfo"]["origin"] == {"x": -20037508.342787, "y": 20037508.342787}
    assert root["spatialReference"].items() >= {"wkid": 102100, "latestWkid": 3857}.items()
    assert root["copyrightText"] == "© Example & Söhne <gis>"
    assert root["fullExtent"]["xmax"] == 1e7
    assert item["name"] == root["name"] == "Streets"
    assert item["guid"] == item["guid"].upper() and len(item["guid"]) == 36
    assert item["guid"].strip("0-")
    assert item["extent"]["xmax"] == pytest.approx(89.83, abs=0.01)
    assert item["extent"]["spatialReference"]["wkid"] == 4326
    assert item["typeKeywords"] == ["Compact Tile Package", "Tile Package", "tpkx"]
    assert (picture.size, picture.mode, picture.format) == ((200, 133), "RGB", "PNG")


def test_the_guid_follows_from_the_content(tmp_path: Path) -> None:
    def guid(name: str, body: bytes) -> str:
        path = sealed(tmp_path / name, subject(levels=(9,)), [Stored(Tile(9, 0, 0), body, "png")])
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("iteminfo.json"))["guid"])

    assert guid("a", b"one") == guid("b", b"one") != guid("c", b"two")


class Sparse(io.RawIOBase):
    """A file of some pieces and zeros between them, of any size."""

    def __init__(self, pieces: dict[int, bytes]) -> None:
        self.pieces, self.at = pieces, 0
        self.length = max(offset + len(piece) for offset, piece in pieces.items())

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.length)[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, size: int = -1) -> bytes:
        end = self.length if size < 0 else min(self.length, self.at + size)
        found = bytearray(end - self.at)
        for offset, piece in self.pieces.items():
            low, high = max(offset, self.at), min(offset + len(piece), end)
            if low < high:
                found[low - self.at : high - self.at] = piece[low - offset : high - offset]
        self.at = end
        return bytes(found)


def test_an_archive_beyond_four_gigabytes_has_zip64_fields_that_others_read() -> None:
    time, size, body = (0, 33), 5 << 30, b"behind five gigabytes"
    pieces, directory, at = {}, b"", 0
    for name, length, data in ((b"large", size, b""), (b"far", len(body), body)):
        crc = zlib.crc32(data)
        pieces[at] = stored_zip.local_header(name, length, crc, time)
        directory += stored_zip.central_entry(name, length, at, crc, time)
        start = at + len(pieces[at])
        pieces[start], at = data, start + length
    pieces[at] = directory + stored_zip.end_records(2, len(directory), at)
    with zipfile.ZipFile(Sparse(pieces)) as archive:
        assert [(info.filename, info.file_size) for info in archive.infolist()] == [("large", size), ("far", len(body))]
        assert archive.read("far") == body


def test_more_entries_than_sixteen_bits_count_are_read_by_others(tmp_path: Path) -> None:
    path, disk = tmp_path / "x.zip", Disk()
    descriptor = disk.open(path, write=True, create=True)
    headers = [stored_zip.local_header(f"{n}".encode(), 0, 0, (0, 33)) for n in range(65536)]
    offsets = [0, *accumulate(map(len, headers))]
    directory = b"".join(
        stored_zip.central_entry(f"{n}".encode(), 0, offset, 0, (0, 33)) for n, offset in enumerate(offsets[:-1])
    )
    disk.pwrite(descriptor, b"".join(headers) + directory, 0)
    disk.pwrite(descriptor, stored_zip.end_records(65536, len(directory), offsets[-1]), offsets[-1] + len(directory))
    disk.close(descriptor)
    assert len(stored_zip.read_directory(path).files) == 65536


def test_an_entry_of_another_length_than_it_began_with_is_refused(tmp_path: Path) -> None:
    disk = Disk()
    descriptor = disk.open(tmp_path / "x.zip", write=True, create=True)
    archive = stored_zip.StoredZip(disk, descriptor, time=(0, 33))
    archive.begin("x", 3)
    archive.write(b"ab")
    with pytest.raises(CacheError, match="2 bytes instead of 3"):
        archive.end()
    disk.close(descriptor)


# ---------------------------------------------------------------------------------------------- other readers


@pytest.mark.parametrize("scheme, levels", [(mercator(), (0, 1, 2)), (mercator(size=512), (1, 2)), (utm(), (2, 3, 4))])
def test_gdal_reads_the_same_pixels(tmp_path: Path, scheme: Any, levels: tuple[int, ...]) -> None:
    if scheme.crs.is_web_mercator:
        tiles = [Tile(level, 2**level - 1, 0) for level in levels]
    else:
        tiles = [scheme.tile_at(level, 490000, 4425000) for level in levels]
    size = scheme.tile_width
    about = subject(scheme, levels=levels, extent=covered(scheme, tiles))
    path = sealed(tmp_path, about, pictures(tiles, size))
    for position, tile in enumerate(tiles):
        options = {} if position == len(tiles) - 1 else {"OVERVIEW_LEVEL": len(tiles) - 2 - position}
        with rasterio.open(path, EXTENT_SOURCE="TILING_SCHEME", **options) as data:
            seen = data.read(window=Window(tile.col * size, tile.row * size, size, size))
        assert np.array_equal(seen, np.moveaxis(picture(tile, size), -1, 0)), tile
    with rasterio.open(path) as data:
        assert data.read().any()


@pytest.mark.shared_data
def test_esri_sample_package_is_read_and_sealed_again(tmp_path: Path, shared_data: Path) -> None:
    sample = shared_data / "esri_tpkx/Usa.tpkx"
    with open_reader(sample) as reader:
        assert list(reader.check()) == []
        assert (reader.info.name, reader.info.tile_format) == ("Usa", TileFormat.PNG)
        assert reader.levels() == [0, 1, 2, 3, 4, 5]
        assert sum(int(reader.present(key).sum()) for key in reader.blocks(5)) == 99
        theirs = {tile: body for key in reader.blocks(5) for tile, body in reader.tiles(key)}
        scheme = reader.info.scheme
    assert len(set(theirs.values())) == 41
    unpack(sample, tmp_path / "work", disk=Disk())
    seal(tmp_path / "work", tmp_path / "usa.tpkx", subject(scheme, levels=range(6)), disk=Disk())
    with open_reader(tmp_path / "usa.tpkx") as reader:
        assert {tile: body for key in reader.blocks(5) for tile, body in reader.tiles(key)} == theirs
    # In the original, the pictures of LOD 0 and 1 lack their first bytes, so the finest level is compared.
    tile = max(theirs, key=lambda tile: len(theirs[tile]))
    window = Window(tile.col * 256, tile.row * 256, 256, 256)
    pixels = []
    for path in (sample, tmp_path / "usa.tpkx"):
        with rasterio.open(path, EXTENT_SOURCE="TILING_SCHEME") as data:
            pixels.append(data.read(window=window))
    assert pixels[0].any()
    assert np.array_equal(*pixels)


# ---------------------------------------------------------------------------------------------- thumbnails


def thumbnail_of(path: Path) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        return np.asarray(Image.open(io.BytesIO(archive.read("thumbnail.png"))))


def one_colour(tile: Tile, colour: str) -> Stored:
    stream = io.BytesIO()
    Image.new("RGB", (256, 256), colour).save(stream, "PNG")
    return Stored(tile, stream.getvalue(), "png")


def test_the_thumbnail_shows_the_map(tmp_path: Path) -> None:
    quarters = {(0, 0): "red", (0, 1): "lime", (1, 0): "blue", (1, 1): "yellow"}
    tiles = [one_colour(Tile(1, row, col), colour) for (row, col), colour in quarters.items()]
    world = covered(mercator(), [Tile(0, 0, 0)])
    seen = thumbnail_of(sealed(tmp_path, subject(levels=(1,), extent=world), tiles))
    assert [tuple(seen[y, x]) for y, x in ((10, 10), (10, 190), (120, 10), (120, 190))] == [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 0),
    ]


def test_the_thumbnail_shows_only_the_extent(tmp_path: Path) -> None:
    scheme = mercator()
    tiles = [
        one_colour(Tile(6, row, col), "red" if (row, col) == (20, 30) else "blue")
        for row in (20, 21)
        for col in (30, 31)
    ]
    about = subject(levels=(6,), extent=scheme.box(Tile(6, 20, 30)))
    assert (thumbnail_of(sealed(tmp_path, about, tiles)) == (255, 0, 0)).all()


@pytest.mark.parametrize("body", [b"Lerc2 no picture", b"\x89PNG\r\n\x1a\n torn", b""])
def test_a_neutral_picture_stands_where_tiles_are_no_pictures(tmp_path: Path, body: bytes) -> None:
    tiles = [Stored(Tile(1, 0, 0), body or b"x", "lerc")]
    seen = thumbnail_of(sealed(tmp_path, subject(levels=(1,), extent=EXTENT), tiles))
    assert seen.shape == (133, 200, 3)
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) == 2


def test_a_tile_that_claims_a_huge_picture_is_not_decoded(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("1", (9000, 9000)).save(stream, "PNG")
    tiles = [Stored(Tile(1, 0, 0), stream.getvalue(), "png")]
    seen = thumbnail_of(sealed(tmp_path, subject(levels=(1,), extent=EXTENT), tiles))
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) == 2


# ---------------------------------------------------------------------------------------------- failing


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path) -> None:
    class Full(Disk):
        def free_bytes(self, path: Path) -> int:
            return 100_000

    about = subject(levels=(9,))
    write(tmp_path / "work", about, bodies([Tile(9, 0, 0)]))
    with pytest.raises(CacheError, match="disk is full"):
        seal(tmp_path / "work", tmp_path / "out.part", about, disk=Full())
    assert not (tmp_path / "out.part").exists()


def test_a_failing_step_leaves_no_part(tmp_path: Path) -> None:
    about, counting = subject(levels=(9,)), Recording()
    write(tmp_path / "work", about, bodies(Tile(9, 0, n) for n in range(3)))
    seal(tmp_path / "work", tmp_path / "whole.part", about, disk=counting)
    whole = (tmp_path / "whole.part").read_bytes()
    assert counting.steps[-2:] == [("sync", "whole.part"), ("close", "whole.part")]
    for number in range(1, len(counting.steps) + 1):
        part = tmp_path / f"{number}.part"
        with pytest.raises(CacheError):
            seal(tmp_path / "work", part, about, disk=Recording(fail=number))
        assert not part.exists() or part.read_bytes() == whole


def test_progress_grows_to_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write(tmp_path / "work", subject(levels=(9,)), bodies(Tile(9, 0, 128 * n) for n in range(4)))
    seal(tmp_path / "work", tmp_path / "x", subject(), disk=Disk(), progress=lambda *step: seen.append(step))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 4 * bundle_v2.DATA_START


def test_a_tile_that_is_torn_in_the_work_folder_does_not_get_into_the_package(tmp_path: Path) -> None:
    write(tmp_path / "work", subject(levels=(9,)), bodies(Tile(9, 0, n) for n in range(3)))
    (file,) = (tmp_path / "work").rglob("*.bundle")
    file.write_bytes(file.read_bytes()[:-1])
    seal(tmp_path / "work", tmp_path / "x.tpkx", subject(levels=(9,)), disk=Disk())
    with open_reader(tmp_path / "x.tpkx") as reader:
        assert [tile for tile, _ in reader.tiles(BlockKey(9, 0, 0))] == [Tile(9, 0, 0), Tile(9, 0, 1)]


# ---------------------------------------------------------------------------------------------- unpacking


def test_unpacking_and_sealing_makes_the_same_package(tmp_path: Path) -> None:
    tiles = bodies(Tile(9, row, col) for row in (0, 5, 127, 128) for col in (0, 3, 300))
    about = subject(levels=(9,), extent=EXTENT)
    path = sealed(tmp_path, about, tiles)
    unpack(path, tmp_path / "again", disk=Disk())
    write(tmp_path / "again", about)
    seal(tmp_path / "again", tmp_path / "again.tpkx", about, disk=Disk())
    assert (tmp_path / "again.tpkx").read_bytes() == path.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_an_interrupted_unpacking_leaves_no_work_folder_and_is_done_again(tmp_path: Path) -> None:
    path, counting = sealed(tmp_path, subject(levels=(9,)), bodies([Tile(9, 0, 0), Tile(9, 0, 128)])), Recording()
    unpack(path, tmp_path / "count", disk=counting)
    renamed = counting.steps.index(("replace", "count"))
    for number in range(1, renamed + 2):
        work = tmp_path / f"w{number}"
        with pytest.raises(CacheError):
            unpack(path, work, disk=Recording(fail=number))
        assert not work.exists()
        unpack(path, work, disk=Disk())
        with compact.open_reader(work) as reader:
            assert reader.read(9, 0, 128) is not None
    with pytest.raises(CacheError, match="there already"):
        unpack(path, tmp_path / "count", disk=Disk())


# ---------------------------------------------------------------------------------------------- odd, hostile archives


def entries_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rezipped(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    out = path.with_name("rezipped.tpkx")
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, body in entries.items():
            archive.writestr(name, body)
    return out


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return sealed(tmp_path, subject(levels=(9,), extent=EXTENT), bodies([Tile(9, 0, 0), Tile(9, 1, 1)]))


def test_folders_and_other_entries_are_tolerated(small: Path) -> None:
    entries = {"tile/": b"", "tile/L09/": b"", **entries_of(small), "tile/L09/readme.txt": b"x", "__MACOSX/x": b""}
    with open_reader(rezipped(small, entries)) as reader:
        assert reader.read(9, 1, 1) is not None
        assert list(reader.check()) == []


def test_the_words_of_the_specification_are_understood(small: Path) -> None:
    entries = entries_of(small)
    root = json.loads(entries["root.json"])
    root["tileInfo"]["row"], root["tileInfo"]["col"] = root["tileInfo"].pop("rows"), root["tileInfo"].pop("cols")
    root["storageInfo"] = {"storageformat": root["storageInfo"]["storageFormat"], "packetsize": 128}
    root["tileImageInfo"] = {"format": "JPEG", "compression": 80}
    root["tileInfo"]["spatialReference"] = {"wkid": 102100, "LatestWkid": 3857}
    with open_reader(rezipped(small, entries | {"root.json": json.dumps(root).encode()})) as reader:
        assert reader.info.tile_format is TileFormat.JPEG
        assert reader.info.details["compressionQuality"] == "80"
        assert reader.read(9, 1, 1) is not None


def test_bundles_are_where_tile_bundles_path_says(small: Path) -> None:
    entries = {name.replace("tile/", "data/deep/"): body for name, body in entries_of(small).items()}
    entries["root.json"] = entries["root.json"].replace(b"./tile", b"./data/deep")
    with open_reader(rezipped(small, entries)) as reader:
        assert reader.read(9, 1, 1) is not None


def test_a_compressed_package_is_read_and_told(small: Path) -> None:
    path = rezipped(small, entries_of(small), zipfile.ZIP_DEFLATED)
    with open_reader(path) as reader, open_reader(small) as plain:
        assert reader.read(9, 1, 1) == plain.read(9, 1, 1) is not None
        assert [found.what.split(";")[0] for found in reader.check()] == ["it is compressed"] * 4
        assert all("harvester convert" in found.what for found in reader.check()), "which mends it"


def test_more_compressed_bundles_than_are_kept_inflated(tmp_path: Path) -> None:
    tiles = bodies(Tile(9, 0, 128 * n) for n in range(4)) + bodies(Tile(9, 128, 128 * n) for n in range(4))
    path = sealed(tmp_path, subject(levels=(9,)), tiles)
    with open_reader(rezipped(path, entries_of(path), zipfile.ZIP_DEFLATED)) as reader:
        for tile, body, _ in tiles * 2:
            assert reader.read(*tile) == body


def test_a_compressed_entry_of_another_size_than_it_states_is_refused(small: Path) -> None:
    path = rezipped(small, entries_of(small), zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("tile/L09/R0000C0000.bundle")
    data = path.read_bytes()
    size = info.file_size.to_bytes(4, "little")
    path.write_bytes(data.replace(size, (info.file_size - 1000).to_bytes(4, "little")))
    with open_reader(path) as reader, pytest.raises(CacheError, match="not of the size"):
        reader.read(9, 1, 1)


@pytest.mark.parametrize(
    "name", ["../evil.bundle", "/etc/passwd", "tile/../../x", "C:/x", "c:x", "..\\x", "\\\\host\\x", "tile\\..\\..\\x"]
)
def test_names_that_lead_out_of_a_folder_are_refused(small: Path, name: str) -> None:
    with pytest.raises(CacheError, match="leads out"):
        open_reader(rezipped(small, entries_of(small) | {name: b"x"}))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a//b.txt", "'a//b.txt' has an empty part in its name"),
        ("tile/./x", "'tile/./x' has a part '.' in its name"),
        ("12:30", "'12:30' has a colon in its name"),
        ("README.txt", "'Readme.TXT' and 'README.txt' differ by upper and lower case only"),
    ],
)
def test_what_is_wrong_with_a_name_is_said_as_it_is_with_the_remedy(small: Path, name: str, what: str) -> None:
    path = rezipped(small, entries_of(small) | {"Readme.TXT": b"1", name: b"2"})
    with pytest.raises(CacheError) as told:
        open_reader(path)
    assert what in told.value.message
    assert "another name in the package, or take it out" in told.value.hint


def test_a_backslash_in_a_name_is_told_as_such(tmp_path: Path) -> None:
    # Python's own zipfile makes a slash of it on Windows, before anybody can see it.
    with pytest.raises(CacheError, match="has a backslash in its name"):
        Names(tmp_path / "some.tpkx").add("notes\\x")


def test_links_and_encrypted_and_twice_named_entries_are_refused(small: Path) -> None:
    path = rezipped(small, entries_of(small))
    link = zipfile.ZipInfo("tile/L09/R0080C0000.bundle")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    shutil.copy(path, linked := path.with_name("linked.tpkx"))
    with zipfile.ZipFile(linked, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(CacheError, match="is a link"):
        open_reader(linked)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (locked := path.with_name("locked.tpkx")).write_bytes(data)
    with pytest.raises(CacheError, match="encrypted"):
        open_reader(locked)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("root.json", b"{}")
    with pytest.raises(CacheError, match="two entries"):
        open_reader(path)
    other = rezipped(small, entries_of(small) | {"tile/L09/R00000C00000.bundle": b"x"})
    with pytest.raises(CacheError, match="two entries"):
        open_reader(other)


def test_other_compressions_are_refused(small: Path) -> None:
    with pytest.raises(CacheError, match="method 14"):
        open_reader(rezipped(small, entries_of(small), zipfile.ZIP_LZMA))


def test_entries_that_overlap_are_refused(small: Path) -> None:
    data = bytearray(small.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    size = int.from_bytes(data[at + 24 : at + 28], "little") + 50
    data[at + 20 : at + 28] = size.to_bytes(4, "little") * 2
    small.write_bytes(data)
    with pytest.raises(CacheError, match="overlaps"):
        open_reader(small)


def test_an_entry_whose_own_header_differs_is_refused_when_it_is_read(small: Path) -> None:
    data = small.read_bytes()
    at = data.index(b"tile/L09")
    small.write_bytes(data[:at] + b"tile/L08" + data[at + 8 :])
    with open_reader(small) as reader, pytest.raises(CacheError, match="header of the entry"):
        reader.read(9, 1, 1)


@pytest.mark.parametrize(
    "root",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"tileInfo": {"lods": []}}',
        b'{"tileInfo": {"lods": [{"level": 1e400}]}}',
    ],
)
def test_a_root_json_that_says_nothing_useful_is_refused(small: Path, root: bytes) -> None:
    with pytest.raises(CacheError) as caught:
        open_reader(rezipped(small, entries_of(small) | {"root.json": root}))
    assert "root.json" in caught.value.message


def test_another_storage_format_and_a_path_out_of_the_package_are_refused(small: Path) -> None:
    entries = entries_of(small)
    other = entries["root.json"].replace(b"ModeCompactV2", b"ModeExploded")
    with pytest.raises(UnsupportedFormatError):
        open_reader(rezipped(small, entries | {"root.json": other}))
    out = entries["root.json"].replace(b"./tile", b"../tile")
    with pytest.raises(CacheError, match="leads out of the cache"):
        open_reader(rezipped(small, entries | {"root.json": out}))


def test_what_is_no_package_is_refused(small: Path, tmp_path: Path) -> None:
    entries = entries_of(small)
    del entries["root.json"]
    with pytest.raises(CacheError, match="it has no root"):
        open_reader(rezipped(small, entries))
    with pytest.raises(CacheError, match="no whole zip"):
        half = tmp_path / "half.tpkx"
        half.write_bytes(small.read_bytes()[:-30])
        open_reader(half)
    with pytest.raises(CacheError, match="not there"):
        open_reader(tmp_path / "nowhere.tpkx")
    with pytest.raises(CacheError, match="folder"):
        open_reader(tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.binary(min_size=1, max_size=16), st.booleans())
def test_no_damage_makes_anything_but_a_cache_error(
    tmp_path_factory: pytest.TempPathFactory, where: float, noise: bytes, directory: bool
) -> None:
    folder = tmp_path_factory.mktemp("noise")
    path = folder / "x.tpkx"
    data = bytearray(_package())
    start = data.index(b"PK\x01\x02") if directory else 0
    at = start + int(where * (len(data) - start - 1))
    data[at : at + len(noise)] = noise
    path.write_bytes(data)
    try:
        with open_reader(path) as reader:
            list(reader.check())
            for level in reader.levels():
                for key in reader.blocks(level):
                    list(reader.tiles(key))
    except CacheError:
        pass
    shutil.rmtree(folder)


_MADE: list[bytes] = []


def _package() -> bytes:
    import tempfile

    if not _MADE:
        with tempfile.TemporaryDirectory() as folder:
            path = sealed(Path(folder), subject(levels=(9,), extent=EXTENT), bodies([Tile(9, 0, 0), Tile(9, 1, 1)]))
            _MADE.append(path.read_bytes())
    return _MADE[0]


def test_a_scheme_with_positive_origin_is_kept_exactly(tmp_path: Path) -> None:
    scheme = rio()
    tile = scheme.tile_at(4, 660000, 7470000)
    about = subject(scheme, levels=(4,), extent=scheme.box(tile))
    with open_reader(sealed(tmp_path, about, bodies([tile]))) as reader:
        assert reader.info.scheme.mismatch(scheme) is None
        assert reader.info.scheme.lods == scheme.lods
        assert reader.read(*tile) is not None
        assert list(reader.blocks(4)) == [block_of(tile)]


def test_an_empty_cache_makes_a_package_without_bundles(tmp_path: Path) -> None:
    path = sealed(tmp_path, subject(levels=(3,), extent=EXTENT))
    with open_reader(path) as reader:
        assert reader.levels() == []
        assert list(reader.check()) == []
    assert isinstance(reader, BundleReader)


def test_a_package_without_extent_in_its_subject_takes_that_of_its_tiles(tmp_path: Path) -> None:
    about = replace(subject(levels=(9,)), extent=None)
    with open_reader(sealed(tmp_path, about, bodies([Tile(9, 10, 20), Tile(9, 140, 150)]))) as reader:
        scheme = reader.info.scheme
        first, last = scheme.box(Tile(9, 10, 20)), scheme.box(Tile(9, 140, 150))
        assert reader.info.extent == pytest.approx((first.xmin, last.ymin, last.xmax, first.ymax))


def test_a_flipped_byte_in_any_entry_is_found_by_the_check(tmp_path: Path) -> None:
    path = sealed(tmp_path, subject(mercator(), levels=(0, 1)), pictures([Tile(0, 0, 0), Tile(1, 0, 1)]))
    with open_reader(path) as reader:
        assert list(reader.check()) == []
    whole = path.read_bytes()
    entries = stored_zip.read_directory(path).files
    assert len(entries) >= 5
    for entry in entries:
        name_end = entry.header + 30 + len(entry.name.encode())
        place = name_end + entry.size - 1  # the last byte: of a bundle, its last tile's
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            with open_reader(path) as reader:
                found = [damage.where for damage in reader.check()]
        except CacheError:
            assert entry.name == "root.json"
            continue
        assert f"{path}: {entry.name}" in found
