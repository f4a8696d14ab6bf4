"""Tile packages with V1 inside: the promises of a reader, tpkutils' reading, real packages, one result for one content,
unpacking, hostile archives."""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harvester.caches import bundle_v1, compact
from harvester.caches.compact_writer import open_writer
from harvester.caches.open import open_cache, sniff
from harvester.caches.placed import place_levels
from harvester.caches.tpk import open_reader, seal, unpack
from harvester.durable import Disk
from harvester.edges import Stored, Subject, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.tiling.scheme import Box
from harvester.tiling.tile import Tile
from tests.caches import test_package
from tests.caches.foreign import TPKUTILS, ask
from tests.caches.making import bodies, mercator, subject, utm, write

EXTENT = Box(-1e7, -1e7, 1e7, 1e7)


def sealed(folder: Path, about: Subject, *batches: Sequence[Stored], name: str = "out.tpk") -> Path:
    write(folder / "work", about, *batches)
    seal(folder / "work", folder / name, about, disk=Disk())
    return folder / name


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class SealingWriter(test_package.SealingWriter):
    seal = staticmethod(seal)


class TestContract(test_package.TestContract):
    name = "cache.tpk"
    reader_name = "harvester.caches.tpk:open_reader"

    async def open_writer(self, path: Path, about: Subject) -> Any:
        if path.exists() and not self.work.exists():
            unpack(path, self.work, disk=Disk())
        return SealingWriter(await open_writer(self.work, about), path, self.work, about)

    def damage(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            entry = next(info for info in archive.infolist() if info.filename.endswith(".bundle"))
        data = bytearray(path.read_bytes())
        start = entry.header_offset + 30 + len(entry.filename) + bundle_v1.DATA_START
        data[start : start + 4] = b"\xff\xff\xff\x00"
        path.write_bytes(data)


# ---------------------------------------------------------------------------------------------- what is in it


def test_a_package_is_a_stored_zip_in_the_order_of_arcgis(tmp_path: Path) -> None:
    tiles = bodies([Tile(0, 0, 0), Tile(9, 300, 0), Tile(9, 0, 200), Tile(9, 1, 1)])
    path = sealed(tmp_path, subject(levels=(0, 9), extent=EXTENT), tiles)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        infos = archive.infolist()
    bundles = ("L00/R0000C0000", "L09/R0000C0000", "L09/R0000C0080", "L09/R0100C0000")
    assert [info.filename for info in infos] == [
        "esriinfo/item.pkinfo",
        "esriinfo/iteminfo.xml",
        "esriinfo/thumbnail/thumbnail.png",
        "servicedescriptions/mapserver/mapserver.json",
        "v101/Layers/conf.cdi",
        "v101/Layers/conf.properties",
        "v101/Layers/conf.xml",
        *(f"v101/Layers/_alllayers/{name}.{kind}" for name in bundles for kind in ("bundle", "bundlx")),
    ]
    for info in infos:
        assert info.compress_type == zipfile.ZIP_STORED
        assert (info.flag_bits, info.extra, info.create_system) == (0, b"", 0)
        assert (info.create_version, info.extract_version, info.date_time) == (20, 20, (1980, 1, 1, 0, 0, 0))


def test_the_order_of_arrival_leaves_no_trace(tmp_path: Path) -> None:
    tiles = bodies(Tile(9, row, col) for row in (0, 5, 127, 128) for col in (0, 3, 300))
    about = subject(levels=(9,), extent=EXTENT)
    first = sealed(tmp_path / "a", about, tiles).read_bytes()
    shuffled = list(tiles)
    random.Random(7).shuffle(shuffled)
    wrong = [Stored(tile, body + b"?", kind) for tile, body, kind in tiles]
    assert sealed(tmp_path / "b", about, wrong[:5], shuffled[6:], shuffled[:6]).read_bytes() == first


def test_the_documents_have_every_element_that_readers_take_for_granted(tmp_path: Path) -> None:
    about = subject(levels=(3, 5), extent=EXTENT, name="A & B \x07<c>")
    path = sealed(tmp_path, about, bodies([Tile(3, 0, 0), Tile(5, 0, 0)]))
    with zipfile.ZipFile(path) as archive:
        item, package = (
            ElementTree.fromstring(archive.read(name)) for name in ("esriinfo/iteminfo.xml", "esriinfo/item.pkinfo")
        )
        service = json.loads(archive.read("servicedescriptions/mapserver/mapserver.json"))
        conf = archive.read("v101/Layers/conf.xml").decode()
        picture = Image.open(io.BytesIO(archive.read("esriinfo/thumbnail/thumbnail.png")))
        properties = archive.read("v101/Layers/conf.properties")
    assert [child.tag for child in item] == [
        *("name", "guid", "catalogpath", "snippet", "description", "summary", "title", "tags", "type", "typekeywords"),
        *("thumbnail", "documentation", "url", "datalastmodifiedtime", "extent", "spatialreference"),
        *("accessinformation", "licenseinfo"),
    ]
    assert item.findtext("name") == item.findtext("title") == "A & B <c>"
    assert item.findtext("accessinformation") == "© Example & Söhne <gis>"
    assert item.findtext("spatialreference") == "WGS_1984_Web_Mercator_Auxiliary_Sphere"
    assert float(item.findtext("extent/xmax") or 0) == pytest.approx(89.83, abs=0.01)
    guid = item.findtext("guid") or ""
    assert re.fullmatch("[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", guid) and guid.strip("0-")
    assert package.findtext("ID") == guid
    assert set(service["resourceInfo"]["geoFullExtent"]) == {"xmin", "ymin", "xmax", "ymax"}
    assert [part["name"] for part in service["resources"]] == ["layers", "tables", "legend"]
    assert service["contents"]["copyrightText"] == "© Example & Söhne <gis>"
    assert "<StorageFormat>esriMapCacheStorageModeCompact</StorageFormat><PacketSize>128</PacketSize>" in conf
    assert (picture.size, picture.mode) == ((200, 133), "RGB")
    assert len(properties) == 476


def test_the_guid_follows_from_the_content(tmp_path: Path) -> None:
    def guid(name: str, body: bytes) -> str:
        path = sealed(tmp_path / name, subject(levels=(9,)), [Stored(Tile(9, 0, 0), body, "png")])
        with zipfile.ZipFile(path) as archive:
            return re.findall("<ID>(.*)</ID>", archive.read("esriinfo/item.pkinfo").decode())[0]

    assert guid("a", b"one") == guid("b", b"one") != guid("c", b"two")


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(st.integers(0, 40_000), st.binary(min_size=1, max_size=50), min_size=1, max_size=12))
def test_tiles_come_back_through_sealing_and_unpacking(tmp_path_factory: Any, found: dict[int, bytes]) -> None:
    folder = tmp_path_factory.mktemp("round")
    tiles = {Tile(9, n // 200, n % 200): body for n, body in found.items()}
    about = subject(levels=(9,), extent=EXTENT)
    path = sealed(folder, about, [Stored(tile, body, "png") for tile, body in tiles.items()])
    with open_reader(path) as reader:
        assert {t: body for key in reader.blocks(9) for t, body in reader.tiles(key)} == tiles
        assert list(reader.check()) == []
    unpack(path, folder / "again", disk=Disk())
    with compact.open_reader(folder / "again") as unpacked:
        assert {t: body for key in unpacked.blocks(9) for t, body in unpacked.tiles(key)} == tiles
        assert unpacked.info.attribution == "© Example & Söhne <gis>"
    seal(folder / "again", folder / "again.tpk", about, disk=Disk())
    assert (folder / "again.tpk").read_bytes() == path.read_bytes()


# ---------------------------------------------------------------------------------------------- other readers


def test_tpkutils_reads_the_same_tiles(tmp_path: Path) -> None:
    tiles = [Tile(0, 0, 0), Tile(2, 1, 3), Tile(8, 127, 128), Tile(8, 128, 127)]
    path = sealed(tmp_path, subject(levels=(0, 2, 8), extent=EXTENT), bodies(tiles))
    seen = ask(tmp_path, TPKUTILS, path)
    assert sorted(seen["tiles"]) == sorted([*tile, digest(body)] for tile, body, _ in bodies(tiles))
    assert (seen["name"], seen["format"], seen["tile_size"]) == ("Streets", "PNG32", 256)
    assert seen["credits"] == "© Example & Söhne <gis>"
    assert seen["zooms"] == list(range(9))
    assert seen["bounds"][2] == pytest.approx(89.83, abs=0.01)


@pytest.mark.shared_data
def test_a_real_package_is_read_and_its_bundles_are_sealed_again_byte_for_byte(
    tmp_path: Path, shared_data: Path
) -> None:
    sample = shared_data / "tpk/states_filled.tpk"
    with open_reader(sample) as reader:
        assert list(reader.check()) == []
        assert (reader.info.name, reader.info.attribution) == ("states_filled", "US Census Bureau")
        assert reader.info.tile_format is TileFormat.PNG
        assert reader.info.extent is not None
        assert list(reader.levels()) == [0, 1, 2, 3, 4]
        tiles = {t: body for level in range(5) for key in reader.blocks(level) for t, body in reader.tiles(key)}
        scheme = reader.info.scheme
    assert len(tiles) == 24
    unpack(sample, tmp_path / "work", disk=Disk())
    seal(tmp_path / "work", tmp_path / "out.tpk", subject(scheme, levels=range(5)), disk=Disk())
    with zipfile.ZipFile(sample) as theirs, zipfile.ZipFile(tmp_path / "out.tpk") as ours:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())
        changed = [name for name in theirs.namelist() if ours.read(name) != theirs.read(name)]
        item = ElementTree.fromstring(ours.read("esriinfo/iteminfo.xml"))
    assert changed == ["esriinfo/iteminfo.xml", "servicedescriptions/mapserver/mapserver.json"]
    assert (item.findtext("snippet"), item.findtext("tags")) == ("states", "states")
    assert item.findtext("accessinformation") == "US Census Bureau, © Example & Söhne <gis>"
    for path in (sample, tmp_path / "out.tpk"):
        seen = ask(tmp_path, TPKUTILS, path)["tiles"]
        assert {(row, col, body) for _, row, col, body in seen} == {
            (row, col, digest(body)) for (_, row, col), body in tiles.items()
        }


@pytest.mark.shared_data
def test_a_repacked_package_with_levels_of_its_own_is_read_and_what_esri_refuses_is_told(shared_data: Path) -> None:
    with open_reader(shared_data / "tpk/nonstandard_zoom_levels.tpk") as reader:
        assert list(reader.levels()) == [0, 1, 2]
        placed = place_levels(mercator(), reader.info.scheme)
        assert {ours: place.level for ours, place in placed.items()} == {2: 0, 3: 1, 4: 2}
        key = next(reader.blocks(0))
        assert all(body.startswith(b"\x89PNG") for _, body in reader.tiles(key))
        tile, body = next(reader.tiles(key))
        assert reader.read(*tile) == body
        assert {found.what.split(";")[0] for found in reader.check()} == {"it is compressed"}


@pytest.mark.shared_data
def test_the_map_may_have_a_name_with_blanks(shared_data: Path) -> None:
    path = shared_data / "tpk/alt_root_name.tpk"
    assert sniff(path) == "tpk"
    with open_cache(path) as reader:
        assert list(reader.check()) == []
        levels = list(reader.levels())
        assert levels
        assert all(body.startswith(b"\x89PNG") for key in reader.blocks(levels[-1]) for _, body in reader.tiles(key))


# ---------------------------------------------------------------------------------------------- other archives


def repacked(source: Path, target: Path, changes: dict[str, bytes | None], **options: Any) -> Path:
    """The archive with other entries; ``{root}`` stays, None leaves one out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", **options) as new:
        for name in old.namelist():
            data = changes.get(name, old.read(name))
            if data is not None:
                new.writestr(name.replace("v101/Layers", "v101/Straßen und Wege"), data)
        for name in changes.keys() - set(old.namelist()):
            new.writestr(name, changes[name] or b"")
    return target


def test_a_package_that_others_made_is_read_wherever_its_map_is_and_though_it_is_compressed(tmp_path: Path) -> None:
    tiles = bodies([Tile(4, 2, 3), Tile(9, 200, 300)])
    path = sealed(tmp_path, subject(utm(), levels=(4,)), bodies([Tile(4, 2, 3)]))
    path = sealed(tmp_path / "b", subject(levels=(4, 9), extent=EXTENT), tiles)
    other = repacked(
        path, tmp_path / "other.tpk", {"v101/.DS_Store": b"x", "v101/": b""}, compression=zipfile.ZIP_DEFLATED
    )
    with open_reader(other) as reader:
        assert [reader.read(*tile) for tile, _, _ in tiles] == [body for _, body, _ in tiles]
        assert {t: body for level in (4, 9) for key in reader.blocks(level) for t, body in reader.tiles(key)} == {
            tile: body for tile, body, _ in tiles
        }
        assert any("compressed" in found.what for found in reader.check())
    unpack(other, tmp_path / "unpacked", disk=Disk())
    with compact.open_reader(tmp_path / "unpacked") as unpacked:
        assert unpacked.read(9, 200, 300) == tiles[1].body


def test_half_a_pair_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    tiles = bodies([Tile(4, 2, 3), Tile(9, 200, 300)])
    path = sealed(tmp_path, subject(levels=(4, 9), extent=EXTENT), tiles)
    missing = "v101/Layers/_alllayers/L04/R0000C0000.bundlx"
    with zipfile.ZipFile(path) as archive:
        whole = archive.read(missing)
    for name, data in (("cut", whole[:1000]), ("gone", None), ("huge", whole + bytes(1 << 20))):
        other = repacked(path, tmp_path / f"{name}.tpk", {missing: data})
        with open_reader(other) as reader:
            assert reader.levels() == [9]
            assert reader.read(4, 2, 3) is None
            assert [".bundlx" in found.what for found in reader.check()] == [True]


def test_texts_that_cannot_be_read_leave_the_tiles_readable(tmp_path: Path) -> None:
    path = sealed(tmp_path, subject(levels=(4,), extent=EXTENT), bodies([Tile(4, 2, 3)]))
    for changes in ({"esriinfo/iteminfo.xml": b"<a"}, {"esriinfo/iteminfo.xml": None, "v101/Layers/conf.cdi": None}):
        other = repacked(path, tmp_path / "other.tpk", changes)
        with open_reader(other) as reader:
            assert reader.info.name == "other"
            assert reader.read(4, 2, 3) is not None


def test_hostile_and_foreign_archives_are_refused(tmp_path: Path) -> None:
    path = sealed(tmp_path, subject(levels=(4,), extent=EXTENT), bodies([Tile(4, 2, 3)]))
    bomb = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><CacheInfo>&b;</CacheInfo>'
    conf = "v101/Layers/conf.xml"
    with zipfile.ZipFile(path) as archive:
        v2 = archive.read(conf).replace(b"ModeCompact<", b"ModeCompactV2<")
    for number, changes in enumerate(
        [{conf: bomb}, {conf: None}, {"../../conf.xml": b""}, {conf: b" " * (1 << 24) + b" "}]
    ):
        other = repacked(path, tmp_path / f"{number}.tpk", changes)  # type: ignore[arg-type]
        with pytest.raises(CacheError):
            open_reader(other)
    with pytest.raises(UnsupportedFormatError):
        open_reader(repacked(path, tmp_path / "v2.tpk", {conf: v2}))
    with pytest.raises(CacheError):
        open_reader(tmp_path)
