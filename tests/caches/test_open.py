"""Which format a path means, what each can hold, and recognising caches by content."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from harvester.caches.description import COMPACT_V1, COMPACT_V2, EXPLODED
from harvester.caches.open import (
    FORMATS,
    NAMES,
    format_for,
    is_empty_or_missing,
    open_cache,
    open_writer,
    require_can_hold,
    seal,
    sniff,
)
from harvester.durable import Disk
from harvester.edges import Stored, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError, UsageError
from harvester.tiling.scheme import Lod
from harvester.tiling.tile import Tile
from tests.caches.making import Watching, bodies, mercator, pictures, rio, subject, utm, write


@pytest.mark.parametrize(
    "output, name",
    [
        ("a.mbtiles", "mbtiles"),
        ("a.TPKX", "tpkx"),
        ("x.y/a.tpkx", "tpkx"),
        ("folder", "compactv2"),
        ("folder.v2/", "compactv2"),
        ("x.y/folder", "compactv2"),
        (".hidden", "compactv2"),
    ],
)
def test_the_suffix_decides_and_a_folder_is_compact(output: str, name: str) -> None:
    assert format_for(output) == name
    assert format_for(Path("whatever"), "MBTiles") == "mbtiles"
    assert format_for(Path("whatever.txt"), name) == name


def test_a_folder_that_exists_is_compact_whatever_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "data.v2").mkdir()
    assert format_for(tmp_path / "data.v2") == "compactv2"
    with pytest.raises(UsageError):
        format_for(tmp_path / "other.v2")


@pytest.mark.parametrize(
    "output, explicit, words",
    [
        ("a.zip", None, "no format has the suffix .zip"),
        ("a", "geotiff", "'geotiff' is no format"),
    ],
)
def test_a_format_that_does_not_work_is_told_with_those_that_do(output: str, explicit: str | None, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        format_for(Path(output), explicit)
    assert caught.value.exit_code == 2
    assert words in caught.value.message
    assert "mbtiles" in caught.value.hint and "tpkx" in caught.value.hint


def test_every_format_that_works_has_a_name_and_a_module() -> None:
    assert set(FORMATS) == set(NAMES)
    for name, each in FORMATS.items():
        assert each.name == name
        assert each.folder is not bool(each.suffix)
        assert format_for(Path(f"x{each.suffix}")) == ("compactv2" if each.folder else name)
        assert format_for("x", name) == name
    assert {name for name, each in FORMATS.items() if each.sealed} <= {"pmtiles", "tpk", "tpkx", "vtpk"}


# ---------------------------------------------------------------------------------------------- what each can hold


def test_a_foreign_grid_is_refused_with_its_lod_and_the_formats_that_can() -> None:
    scheme = mercator()
    odd = replace(scheme, lods=(*scheme.lods[:3], Lod(level=3, resolution=20000, scale=75590550)))
    info = subject(odd).info
    assert require_can_hold("mbtiles", info, [0, 1, 2]) == ()
    with pytest.raises(UnsupportedFormatError) as caught:
        require_can_hold("mbtiles", info, [2, 3])
    assert "LOD 3 (1:75,590,550)" in caught.value.message
    assert caught.value.exit_code == 4
    assert caught.value.hint.startswith("Formats that can: ")
    assert {"compactv2", "compact", "exploded", "tpk", "tpkx"} <= set(re.findall("[a-z0-9]+", caught.value.hint))
    assert require_can_hold("compactv2", info, [2, 3]) == ()


def test_another_crs_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedFormatError, match="EPSG:26918"):
        require_can_hold("mbtiles", subject(utm()).info, [0])
    assert require_can_hold("tpkx", subject(utm()).info, [0, 1, 2]) == ()


def test_many_lods_off_the_grid_are_counted() -> None:
    shifted = replace(mercator(), origin_x=-20037700, origin_y=30241100)
    with pytest.raises(UnsupportedFormatError, match=r"LOD 0 .* and 17 more .* are off"):
        require_can_hold("mbtiles", subject(shifted).info, range(20))


@pytest.mark.parametrize(
    "name, tile_format, held, words",
    [
        ("mbtiles", TileFormat.MIXED, True, "commonest"),
        ("mbtiles", TileFormat.PBF, True, ""),
        ("mbtiles", TileFormat.LERC, False, "LERC"),
        ("tpkx", TileFormat.LERC, True, ""),
        ("tpkx", TileFormat.PBF, False, "PBF"),
        ("tpkx", TileFormat.MIXED, True, ""),
        ("compactv2", TileFormat.WEBP, True, "webp"),
        ("compactv2", TileFormat.LERC, True, ""),
    ],
)
def test_tiles_that_a_format_cannot_hold_are_refused(
    name: str, tile_format: TileFormat, held: bool, words: str
) -> None:
    info = subject(tile_format=tile_format).info
    if held:
        notices = require_can_hold(name, info, [0])
        assert (words in " ".join(notices)) if words else notices == ()
    else:
        with pytest.raises(UnsupportedFormatError, match=words):
            require_can_hold(name, info, [0])


def test_what_gdal_would_not_show_is_told() -> None:
    def notices(name: str, scheme: object, levels: list[int]) -> str:
        return " ".join(require_can_hold(name, subject(scheme).info, levels))  # type: ignore[arg-type]

    assert "symmetric" in notices("compactv2", rio(), [0, 1])
    assert "symmetric" in notices("tpkx", rio(), [0, 1])
    assert "not square" in notices("compactv2", replace(mercator(), tile_height=128), [0])
    assert "LOD 23 is wider" in notices("compactv2", mercator(range(24)), [23])
    assert notices("compactv2", mercator(range(24)), [22]) == ""
    assert "by position" in notices("compactv2", mercator(range(5, 20)), [7])
    assert notices("tpkx", mercator(range(5, 20)), [7, 8]) == ""
    assert "by position" in notices("tpkx", mercator([5, 7, 8]), [5, 7])
    assert require_can_hold("compactv2", subject().info, []) == ()


# ---------------------------------------------------------------------------------------------- recognising


def sqlite_file(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def test_caches_are_recognised_by_content(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    about = subject(levels=(9,))
    write(folder, about, bodies([Tile(9, 0, 0)]))
    seal("tpkx", folder, tmp_path / "no suffix", about, disk=Disk())
    tables = ("CREATE TABLE tiles (x)", "CREATE TABLE metadata (x)")
    found = {
        folder: "compactv2",
        folder / "conf.xml": "compactv2",
        tmp_path: "compactv2",
        tmp_path / "no suffix": "tpkx",
        sqlite_file(tmp_path / "plain.db", *tables): "mbtiles",
        sqlite_file(tmp_path / "marked.db", "PRAGMA application_id=0x4d504258", "CREATE TABLE x (x)"): "mbtiles",
        sqlite_file(tmp_path / "geo.db", "PRAGMA application_id=0x47504b47", *tables): "gpkg",
        sqlite_file(tmp_path / "other.db", "CREATE TABLE x (x)"): None,
        folder / "root.json": "compactv2",
        folder / "conf.cdi": None,
        tmp_path / "nowhere": None,
    }
    for name, entry, kind in (
        ("v.zip", "p12/root.json", "vtpk"),
        ("t.zip", "v101/Layers/conf.xml", "tpk"),
        ("z.zip", "readme.txt", None),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(entry, b"x")
        found[tmp_path / name] = kind
    (tmp_path / "p").write_bytes(b"PMTiles\x03" + bytes(119))
    found[tmp_path / "p"] = "pmtiles"
    assert {path: sniff(path) for path in found} == found


@pytest.mark.parametrize("storage, packet, name", [(COMPACT_V1, 128, "compact"), (EXPLODED, 0, "exploded")])
def test_cache_folders_are_told_apart_by_what_conf_xml_states(
    tmp_path: Path, storage: str, packet: int, name: str
) -> None:
    write(tmp_path, subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    assert sniff(tmp_path) == "compactv2"
    text = (tmp_path / "conf.xml").read_text(encoding="utf-8").replace(COMPACT_V2, storage)
    (tmp_path / "conf.xml").write_text(text.replace(">128<", f">{packet}<"), encoding="utf-8")
    assert sniff(tmp_path) == name
    with open_cache(tmp_path) as reader:
        assert reader.info.format == name
        assert list(reader.levels()) == []


def test_a_damaged_cache_still_is_one_and_opening_it_says_so(tmp_path: Path) -> None:
    write(tmp_path / "c", subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    (tmp_path / "c" / "conf.xml").write_bytes(b"<CacheInfo>")
    assert sniff(tmp_path / "c") == "compactv2"
    with pytest.raises(CacheError, match=r"conf\.xml"):
        open_cache(tmp_path / "c")
    (tmp_path / "half.tpkx").write_bytes(b"PK\x03\x04 and then nothing")
    assert sniff(tmp_path / "half.tpkx") == "tpkx"
    with pytest.raises(CacheError, match="zip"):
        open_cache(tmp_path / "half.tpkx")


def test_what_is_neither_empty_nor_a_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("hello")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"x")
    for name, empty, words in (
        ("empty", True, "is empty"),
        ("folder", True, "is empty"),
        ("text", False, "is no cache"),
        ("photos", False, "is no cache"),
        ("nowhere", True, "is not there"),
    ):
        assert is_empty_or_missing(tmp_path / name) is empty
        assert sniff(tmp_path / name) is None
        with pytest.raises(CacheError, match=words) as caught:
            open_cache(tmp_path / name)
        assert caught.value.exit_code == 4


@pytest.mark.parametrize("name", list(FORMATS))
def test_what_is_written_in_a_format_is_opened_as_it(tmp_path: Path, name: str) -> None:
    about = subject(levels=(2,))
    path = tmp_path / f"out{FORMATS[name].suffix}"
    work = tmp_path / "work" if FORMATS[name].sealed else path

    async def run() -> None:
        writer = await open_writer(name, work, about, disk=Disk(), dedup=False, hash=False)
        try:
            await writer.store(pictures([Tile(2, 1, 1)]))
            await writer.finish(about)
        finally:
            await writer.close()

    asyncio.run(run())
    if FORMATS[name].sealed:
        seal(name, work, path, about, disk=Disk())
    assert sniff(path) == name
    with open_cache(path) as reader:
        assert reader.info.format == name
        assert reader.levels() == [2]
        assert reader.read(2, 1, 1) == pictures([Tile(2, 1, 1)])[0].body


@pytest.mark.parametrize("name", [each.name for each in FORMATS.values() if each.sealed])
def test_what_a_package_is_made_of_stays_in_the_page_cache_since_it_is_read_again(name: str, tmp_path: Path) -> None:
    levels = (5,)
    about = subject(levels=levels)
    tiles = [Tile(5, row, col) for row in range(8) for col in range(8)]
    body = pictures(tiles)[0].body
    disk = Watching()

    async def run() -> None:
        writer = await open_writer(name, tmp_path / "work", about, disk=disk)
        await writer.store([Stored(tile, body.ljust(5000, b"x"), "png") for tile in tiles])
        await writer.close()

    asyncio.run(run())
    assert sum(disk.plain) > 64 * 5000 and disk.direct == []
