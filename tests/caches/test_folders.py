"""Exploded caches and z/x/y folders: the promises of every cache, names, the order of writes, files of two formats."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.caches import exploded, xyz_writer
from harvester.caches import xyz as xyz_reader
from harvester.caches.folders import MAX_LISTED, TileFolder
from harvester.caches.open import is_empty_or_missing, open_cache, require_can_hold, sniff
from harvester.durable import Disk
from harvester.edges import Stored, Subject, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.tiling.scheme import Box
from harvester.tiling.tile import BlockKey, Tile
from tests.caches import test_compact
from tests.caches.making import bodies, mercator, subject, utm
from tests.caches.test_compact import Recording
from tests.contracts.cache_contract import PNG

KINDS = {"png": PNG, "jpg": b"\xff\xd8\xff", "webp": b"RIFF\0\0\0\0WEBPVP8 ", "gif": b"GIF89a", "lerc": b"Lerc2 "}
xyz = SimpleNamespace(open_reader=xyz_reader.open_reader, open_writer=xyz_writer.open_writer)

BOTH = pytest.mark.parametrize("module", [exploded, xyz], ids=["exploded", "xyz"])


def tile_of(tile: Tile, kind: str = "png", seed: int = 0) -> Stored:
    ((_, body, _),) = bodies([tile], seed)
    return Stored(tile, KINDS[kind] + body, kind)


def write(
    module: Any,
    folder: Path,
    about: Subject,
    *batches: list[Stored],
    disk: Disk | None = None,
    finish: bool = True,
) -> None:
    async def run() -> None:
        writer = await module.open_writer(folder, about, disk=disk)
        try:
            for batch in batches:
                await writer.store(batch)
            if finish:
                await writer.finish(about)
        finally:
            await writer.close()

    asyncio.run(run())


def names(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)).replace(os.sep, "/") for file in folder.rglob("*") if file.is_file())


class TestExploded(test_compact.TestContract):
    reader_name = "harvester.caches.exploded:open_reader"
    module: Any = exploded

    async def open_writer(self, path: Path, subject: Subject) -> Any:
        return await self.module.open_writer(path, subject)

    def damage(self, path: Path) -> None:
        file = next(file for file in sorted(path.rglob("*.png")))
        file.write_bytes(b"")

    def ruin(self, path: Path) -> None:
        row = min(path.rglob("*.png")).parent
        row.rename(row.with_name("R1"))


class TestXyz(TestExploded):
    reader_name = "harvester.caches.xyz:open_reader"
    module = xyz

    def ruin(self, path: Path) -> None:
        file = min(path.rglob("*.png"))
        file.rename(file.with_name(f"0{file.name}"))


# ---------------------------------------------------------------------------------------------- names


def test_rows_and_columns_are_eight_digits_of_lower_case_hex_and_the_extension_is_what_the_tile_is(
    tmp_path: Path,
) -> None:
    about = subject(levels=(2, 18), tile_format=TileFormat.MIXED, extent=Box(0, 0, 1, 1))
    stored = [
        *(tile_of(Tile(2, 1, col), kind) for col, kind in enumerate(("png", "jpg", "webp"))),
        tile_of(Tile(18, 70000, 131100)),
        Stored(Tile(2, 0, 3), KINDS["jpg"] + b"x", "png"),
    ]
    write(exploded, tmp_path / "out", about, stored)
    assert names(tmp_path / "out") == [
        "_alllayers/L02/R00000000/C00000003.jpg",
        "_alllayers/L02/R00000001/C00000000.png",
        "_alllayers/L02/R00000001/C00000001.jpg",
        "_alllayers/L02/R00000001/C00000002.webp",
        "_alllayers/L18/R00011170/C0002001c.png",
        "conf.cdi",
        "conf.xml",
        "root.json",
    ]
    text = (tmp_path / "out/conf.xml").read_text(encoding="utf-8")
    assert "<StorageFormat>esriMapCacheStorageModeExploded</StorageFormat><PacketSize>0</PacketSize>" in text
    with open_cache(tmp_path / "out") as reader:
        assert (reader.info.format, reader.info.tile_format) == ("exploded", TileFormat.MIXED)
        assert reader.read(18, 70000, 131100) == stored[3].body
        assert list(reader.check()) == []


def test_a_cache_of_the_nineties_has_no_storage_element_and_is_read(tmp_path: Path) -> None:
    write(exploded, tmp_path, subject(levels=(2,)), [tile_of(Tile(2, 0x1B % 4, 0))])
    conf = tmp_path / "conf.xml"
    text = conf.read_text(encoding="utf-8")
    start, end = text.index("<CacheStorageInfo"), text.index("</CacheStorageInfo>") + len("</CacheStorageInfo>")
    conf.write_text(text[:start] + text[end:], encoding="utf-8")
    assert sniff(tmp_path) == "exploded"
    with open_cache(tmp_path) as reader:
        assert reader.levels() == [2]


@pytest.mark.parametrize("name", ["R1", "r00000001", "R0000000A", "R0000000g", "C00000001", "R000000001", ""])
def test_other_names_are_no_rows(name: str) -> None:
    assert exploded.ExplodedNaming().parse_outer(name) is None
    assert exploded.ExplodedNaming().parse_outer("R00075f6b") == 483179
    assert exploded.ExplodedNaming().parse_outer("R123456789") == 0x123456789


@pytest.mark.parametrize("name", ["01", "-1", "1.5", "a", "", "٣", "1 "])
def test_other_names_are_no_columns(name: str) -> None:
    assert xyz_reader.XyzNaming().parse_outer(name) is None


def test_a_folder_of_another_name_is_told_and_other_files_are_left_alone(tmp_path: Path) -> None:
    write(exploded, tmp_path, subject(levels=(2,)), [tile_of(Tile(2, 1, 1))])
    level = tmp_path / "_alllayers/L02"
    for name in ("R1", "notes"):
        (level / name).mkdir()
    (level / "R1/C00000001.png").write_bytes(b"x")
    (level / "R00000001/thumbs.db").write_bytes(b"x")
    (level / "R00000001/C00000002.png").write_bytes(b"<html>")
    with exploded.open_reader(tmp_path) as reader:
        assert [Path(found.where).name for found in reader.check()] == ["R1", "C00000002.png"]
        assert list(reader.blocks(2)) == [BlockKey(2, 0, 0)]


# ---------------------------------------------------------------------------------------------- z/x/y


def test_columns_come_before_rows_and_the_tilejson_says_what_viewers_ask(tmp_path: Path) -> None:
    about = subject(levels=(2, 3), extent=Box(-2e7, 0, 0, 2e7))
    write(xyz, tmp_path / "out", about, [tile_of(Tile(2, 1, 0)), tile_of(Tile(3, 2, 3))])
    assert names(tmp_path / "out") == ["2/0/1.png", "3/3/2.png", "tiles.json"]
    document = json.loads((tmp_path / "out/tiles.json").read_text(encoding="utf-8"))
    assert document["tilejson"] == "3.0.0"
    assert document["tiles"] == ["{z}/{x}/{y}.png"]
    assert (document["minzoom"], document["maxzoom"], document["scheme"]) == (2, 3, "xyz")
    assert document["bounds"] == pytest.approx([-179.663, 0, 0, 66.5132], abs=1e-3)
    assert document["attribution"] == "© Example & Söhne <gis>"
    with open_cache(tmp_path / "out/tiles.json") as reader:
        assert (reader.info.format, reader.info.name, reader.levels()) == ("xyz", "Streets", [2, 3])
        assert reader.info.scheme.tile_width == 256


def test_levels_of_large_tiles_are_the_zoom_before(tmp_path: Path) -> None:
    scheme = mercator(range(1, 10), size=512)
    about = subject(scheme, levels=(3,))
    write(xyz, tmp_path / "out", about, [tile_of(Tile(3, 1, 0))])
    place = scheme.google(3)
    assert place is not None
    with open_cache(tmp_path / "out") as reader:
        assert reader.info.scheme.tile_width == 512
        assert reader.read(place.zoom, 1, 0) == tile_of(Tile(3, 1, 0)).body
    with pytest.raises(CacheError, match="512 pixels"):
        write(xyz, tmp_path / "out", subject(levels=(3,)), [tile_of(Tile(3, 1, 1))])


def test_a_shifted_grid_is_written_at_its_place_and_known_by_its_own_blocks(tmp_path: Path) -> None:
    world = mercator()
    span = world.span(9)[0]
    shifted = replace(world, origin_x=world.origin_x + 100 * span, lods=world.lods[9:10])
    tiles = [Tile(9, 3, col) for col in (0, 27, 28, 127, 128)]

    async def run() -> tuple[int, int, dict[Any, str]]:
        writer = await xyz.open_writer(tmp_path / "out", subject(shifted, levels=(9,)))
        stamps = await writer.store([tile_of(tile) for tile in tiles])
        masks = [writer.present(BlockKey(9, 0, col)) for col in (0, 128)]
        assert [int(number) for number in masks[0][3].nonzero()[0]] == [0, 27, 28, 127]
        await writer.close()
        return int(masks[0].sum()), int(masks[1].sum()), dict(stamps)

    first, second, stamps = asyncio.run(run())
    assert (first, second) == (4, 1)
    assert set(stamps) == {BlockKey(9, 0, 0), BlockKey(9, 0, 128)}
    assert names(tmp_path / "out/9") == ["100/3.png", "127/3.png", "128/3.png", "227/3.png", "228/3.png"]


def test_what_z_x_y_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for about in (subject(utm(), levels=(1,)), subject(levels=(1,), tile_format=TileFormat.LERC)):
        with pytest.raises(UnsupportedFormatError):
            write(xyz, tmp_path / "out", about, [tile_of(Tile(1, 0, 0))])
        with pytest.raises(UnsupportedFormatError, match="xyz cannot hold this"):
            require_can_hold("xyz", about.info, [1])
    assert not (tmp_path / "out").exists()
    assert "one extension" in require_can_hold("xyz", subject(tile_format=TileFormat.MIXED).info, [1])[0]


def test_mixed_tiles_have_one_extension_and_vector_tiles_are_told(tmp_path: Path) -> None:
    mixed = subject(levels=(2,), tile_format=TileFormat.MIXED)
    write(xyz, tmp_path / "m", mixed, [tile_of(Tile(2, 1, 0)), tile_of(Tile(2, 1, 1), "jpg")])
    assert names(tmp_path / "m") == ["2/0/1.png", "2/1/1.png", "tiles.json"]
    with open_cache(tmp_path / "m") as reader:
        assert reader.info.tile_format is TileFormat.MIXED
        assert list(reader.check()) == []
    stated = subject(levels=(2,), tile_format=TileFormat.PNG)
    write(xyz, tmp_path / "s", stated, [tile_of(Tile(2, 1, 0)), tile_of(Tile(2, 1, 1), "jpg")])
    with open_cache(tmp_path / "s") as reader:
        assert reader.info.tile_format is TileFormat.MIXED
    vector = subject(levels=(2,), tile_format=TileFormat.PBF)
    write(xyz, tmp_path / "v", vector, [Stored(Tile(2, 1, 0), b"\x1f\x8bx", "pbf")])
    assert json.loads((tmp_path / "v/tiles.json").read_text(encoding="utf-8"))["vector_layers"] == []
    with pytest.raises(CacheError, match="pbf tiles"):
        write(xyz, tmp_path / "v", mixed, [tile_of(Tile(2, 1, 0))])
    unknown = subject(levels=(2,), tile_format=TileFormat.UNKNOWN)
    write(xyz, tmp_path / "u", unknown, [tile_of(Tile(2, 1, 0), "webp")])
    write(xyz, tmp_path / "u", unknown, [tile_of(Tile(2, 1, 1), "jpg")])
    assert names(tmp_path / "u") == ["2/0/1.webp", "2/1/1.webp", "tiles.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"tiles": 3}', '{"tiles": ["{z}/{x}/{y}.png"], "scheme": "tms"}', "{" * 100_000]
)
def test_a_tilejson_that_is_none_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / "tiles.json").write_text(text, encoding="utf-8")
    assert sniff(tmp_path) == "xyz"
    with pytest.raises(CacheError):
        open_cache(tmp_path)
    with pytest.raises(CacheError):
        write(xyz, tmp_path, subject(levels=(2,)), [tile_of(Tile(2, 1, 0))])
    assert (tmp_path / "tiles.json").read_text(encoding="utf-8") == text


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["tileSize", "format", "name", "bounds", "attribution"]),
        st.none() | st.text(max_size=5) | st.floats() | st.lists(st.integers() | st.booleans(), max_size=5),
    )
)
def test_whatever_a_tilejson_states_the_tiles_are_read(tmp_path_factory: Any, document: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "tiles.json").write_text(json.dumps(document | {"tiles": ["{z}/{x}/{y}.png?key=1"]}), encoding="utf-8")
    (folder / "2/0").mkdir(parents=True)
    (folder / "2/0/1.png").write_bytes(PNG)
    with open_cache(folder) as reader:
        assert reader.read(2, 1, 0) == PNG
        assert reader.levels() == [2]
    shutil.rmtree(folder)


# ---------------------------------------------------------------------------------------------- order of writes


@BOTH
def test_files_are_durable_before_they_have_their_name_and_names_before_store_returns(
    module: Any, tmp_path: Path
) -> None:
    disk = Recording()

    async def run() -> list[tuple[str, str]]:
        writer = await module.open_writer(tmp_path / "out", subject(levels=(9,)), disk=disk)
        await writer.store([tile_of(Tile(9, 4, n)) for n in range(6)])
        disk.steps.clear()
        await writer.store([tile_of(Tile(9, 4, n), seed=1) for n in range(6)])
        steps = list(disk.steps)
        await writer.close()
        return steps

    steps = [name for name, _ in asyncio.run(run())]
    assert steps.count("sync") == steps.count("replace") == 6
    last_sync = max(n for n, name in enumerate(steps) if name == "sync")
    first_name, last_name = steps.index("replace"), len(steps) - 1 - steps[::-1].index("replace")
    assert last_sync < first_name
    assert last_name < max(n for n, name in enumerate(steps) if name == "sync_folder")
    assert names(tmp_path / "out") == [*(n for n in names(tmp_path / "out") if "incoming" not in n)]


@BOTH
def test_a_failing_step_leaves_whole_tiles_only_and_the_next_run_goes_on(module: Any, tmp_path: Path) -> None:
    old, new = [tile_of(Tile(9, 0, n)) for n in (5, 127)], [tile_of(Tile(9, 0, n), seed=1) for n in (127, 128)]
    template, counting = tmp_path / "template", Recording()
    write(module, template, subject(levels=(9,)), old)
    shutil.copytree(template, tmp_path / "count")
    write(module, tmp_path / "count", subject(levels=(9,)), new, disk=counting, finish=False)
    for number in range(1, len(counting.steps) + 1):
        folder = tmp_path / str(number)
        shutil.copytree(template, folder)

        async def run(folder: Path = folder, number: int = number) -> None:
            with suppress(CacheError):
                writer = await module.open_writer(folder, subject(levels=(9,)), disk=Recording(fail=number))
                try:
                    with suppress(CacheError):
                        await writer.store(new)
                finally:
                    await writer.close()

        asyncio.run(run())
        with module.open_reader(folder) as reader:
            assert list(reader.check()) == []
            for tile, body, _ in old:
                assert reader.read(*tile) in {body, *(other for at, other, _ in new if at == tile)}
        write(module, folder, subject(levels=(9,)), new)
        assert not [name for name in names(folder) if "incoming" in name]
        with module.open_reader(folder) as reader:
            assert all(reader.read(*tile) == body for tile, body, _ in new)


@BOTH
def test_what_a_kill_left_is_cleared_and_no_tile(module: Any, tmp_path: Path) -> None:
    write(module, tmp_path / "out", subject(levels=(9,)), [tile_of(Tile(9, 0, 0))])
    left = tmp_path / "out/.incoming"
    left.mkdir()
    (left / "3.part").write_bytes(PNG)
    with module.open_reader(tmp_path / "out") as reader:
        assert list(reader.check()) == []
        assert len(list(reader.tiles(BlockKey(9, 0, 0)))) == 1
    write(module, tmp_path / "out", subject(levels=(9,)))
    assert not left.exists()


def test_a_kill_before_the_first_document_leaves_nothing_of_anybodys(tmp_path: Path) -> None:
    (tmp_path / "tiles.json.part").write_bytes(b"{")
    assert is_empty_or_missing(tmp_path)
    write(xyz, tmp_path, subject(levels=(2,)), [tile_of(Tile(2, 0, 0))])
    assert names(tmp_path) == ["2/0/0.png", "tiles.json"]


# ---------------------------------------------------------------------------------------------- two formats


def test_a_tile_that_comes_in_another_format_takes_the_place_of_the_old(tmp_path: Path) -> None:
    about = subject(levels=(2,), tile_format=TileFormat.MIXED)
    first, second = tile_of(Tile(2, 1, 0)), tile_of(Tile(2, 1, 0), "jpg")
    write(exploded, tmp_path, about, [first], [second])
    level = tmp_path / "_alllayers/L02/R00000001"
    assert [file.name for file in level.iterdir()] == ["C00000000.jpg"]
    # As a kill between writing the new and removing the old leaves it: the later file counts, until it is stored again.
    (level / "C00000000.png").write_bytes(first.body)
    os.utime(level / "C00000000.png", ns=(0, 1))
    with exploded.open_reader(tmp_path) as reader:
        assert reader.read(2, 1, 0) == second.body
        assert int(reader.present(BlockKey(2, 0, 0)).sum()) == 1
        assert [body for _, body in reader.tiles(BlockKey(2, 0, 0))] == [second.body]
    write(exploded, tmp_path, about, [second])
    assert [file.name for file in level.iterdir()] == ["C00000000.jpg"]


@BOTH
def test_a_later_file_has_a_later_time_though_the_clock_stands_still_or_goes_back(module: Any, tmp_path: Path) -> None:
    write(module, tmp_path, subject(levels=(2,)), [tile_of(Tile(2, 1, 0))])
    file = next(tmp_path.rglob("*.png"))
    ahead = file.stat().st_mtime_ns + 3600 * 10**9
    os.utime(file, ns=(ahead, ahead))
    write(module, tmp_path, subject(levels=(2,)), [tile_of(Tile(2, 1, 0), seed=1)])
    assert file.read_bytes() == tile_of(Tile(2, 1, 0), seed=1).body
    assert file.stat().st_mtime_ns > ahead


def test_two_levels_of_one_zoom_are_refused(tmp_path: Path) -> None:
    scheme = mercator()
    twice = replace(scheme, lods=(*scheme.lods[:3], replace(scheme.lods[2], level=3)))
    with pytest.raises(UnsupportedFormatError, match="LODs 2 and 3 are both zoom 2"):
        write(xyz, tmp_path / "out", subject(twice, levels=(2, 3)), [tile_of(Tile(2, 1, 0))])


def test_removing_a_tile_takes_all_its_files(tmp_path: Path) -> None:
    about = subject(levels=(2,), tile_format=TileFormat.MIXED)
    write(exploded, tmp_path, about, [tile_of(Tile(2, 1, 0))])
    level = tmp_path / "_alllayers/L02/R00000001"
    (level / "C00000000.jpg").write_bytes(KINDS["jpg"])

    async def run() -> None:
        writer = await exploded.open_writer(tmp_path, about)
        await writer.remove([Tile(2, 1, 0)])
        assert not writer.present(BlockKey(2, 0, 0)).any()
        await writer.close()

    asyncio.run(run())
    assert list(level.iterdir()) == []


# ---------------------------------------------------------------------------------------------- large folders


@pytest.mark.parametrize("naming", [exploded.ExplodedNaming(), xyz_reader.XyzNaming()])
def test_a_block_is_found_in_a_folder_of_any_size(naming: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = TileFolder(tmp_path, naming)
    tiles = [Tile(12, 5, col) for col in range(0, 1400, 3)] + [Tile(12, row, 5) for row in range(0, 1400, 3)]
    for tile in tiles:
        path = files.path(tile, "png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    keys = files.keys(12)
    assert keys == sorted({BlockKey(12, t.row & ~127, t.col & ~127) for t in tiles})
    listed = [files.look(key) for key in keys]
    impatient = TileFolder(tmp_path, naming, max_listed=10)
    assert [impatient.look(key) for key in keys] == listed
    assert sum(map(len, listed)) == len(set(tiles))
    assert MAX_LISTED > 128 * 6


@BOTH
@settings(max_examples=10, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 300), st.integers(0, 9), min_size=1, max_size=6), max_size=3))
def test_what_was_stored_last_is_read(module: Any, tmp_path_factory: Any, batches: list[dict[int, int]]) -> None:
    folder = tmp_path_factory.mktemp("orders") / "out"
    stored = [[tile_of(Tile(9, n // 20, n % 20 * 9), seed=seed) for n, seed in batch.items()] for batch in batches]
    write(module, folder, subject(levels=(9,)), *stored)
    wanted = {tile: body for batch in stored for tile, body, _ in batch}
    if wanted:
        with module.open_reader(folder) as reader:
            assert {t: body for key in reader.blocks(9) for t, body in reader.tiles(key)} == wanted
    shutil.rmtree(folder, ignore_errors=True)
