"""Levels that a cache's documents don't name: damage in every verb, and nothing that a killed run leaves."""

from __future__ import annotations

import asyncio
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from harvester.audit import verify
from harvester.caches.open import open_cache, open_writer, unpack
from harvester.delta.difference import diff
from harvester.delta.join import convert, merge
from harvester.durable import Disk
from harvester.edges import Stored, TileFormat
from harvester.errors import CacheError
from harvester.loop import run_loop
from harvester.tiling.tile import Tile
from tests.caches.making import mercator, subject
from tests.delta.making import SUFFIX, about, files, held, make, picture, some

FOLDERS = ("compact", "compactv2", "exploded")
HELD = some("2/1/1", "2/3/3")


def with_strays(path: Path, format: str) -> Path:
    """A cache to which somebody copied a level."""
    make(path, HELD, format=format)
    if format in FOLDERS:
        shutil.copytree(path / "_alllayers" / "L02", path / "_alllayers" / "L30")
        return path
    with zipfile.ZipFile(path, "a") as archive:
        for name in [name for name in archive.namelist() if "/L02/" in name]:
            archive.writestr(name.replace("/L02/", "/L30/"), archive.read(name))
    return path


@pytest.mark.parametrize("format", [*FOLDERS, "tpk", "tpkx"])
def test_tiles_at_a_level_that_the_scheme_lacks_are_damage_in_every_verb(tmp_path: Path, format: str) -> None:
    path = with_strays(tmp_path / f"in{SUFFIX[format]}", format)
    old = make(tmp_path / "old.mbtiles", some("2/1/1"), format="mbtiles")
    before = files(path) if path.is_dir() else path.read_bytes()
    with open_cache(path) as reader:
        assert [("L30" in damage.where, "no LOD 30" in damage.what) for damage in reader.check()] == [(True, True)]
        assert list(reader.levels()) == [2]
    assert verify(path).exit_code == 4
    for verb in (
        lambda: convert(path, tmp_path / "out.mbtiles"),
        lambda: merge([path, old], tmp_path / "out.mbtiles"),
        lambda: merge([old], path, format=format),
        lambda: diff(old, path, tmp_path / "delta"),
    ):
        with pytest.raises(CacheError, match="no LOD 30"):
            run_loop(verb())
    assert (files(path) if path.is_dir() else path.read_bytes()) == before
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([path.name, "old.mbtiles"])


@pytest.mark.parametrize("format", ["tpk", "tpkx"])
def test_a_package_with_such_tiles_is_not_taken_apart(tmp_path: Path, format: str) -> None:
    path = with_strays(tmp_path / f"in{SUFFIX[format]}", format)
    with pytest.raises(CacheError, match="no LOD 30"):
        unpack(format, path, tmp_path / "work", disk=Disk(), scheme=mercator())
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("format", FOLDERS)
def test_an_empty_level_folder_is_nobodys_concern(tmp_path: Path, format: str) -> None:
    path = make(tmp_path / "in", HELD, format=format)
    (path / "_alllayers" / "L30").mkdir()
    with open_cache(path) as reader:
        assert not list(reader.check())
    assert run_loop(convert(path, tmp_path / "out.mbtiles")).exit_code == 0


def store(path: Path, format: str, tiles: Sequence[Stored], levels: Sequence[int], *, finish: bool) -> None:
    """Write to a cache as a run does that is killed behind its first batch, or isn't."""
    told = subject(levels=levels, tile_format=TileFormat.MIXED)

    async def run() -> None:
        writer = await open_writer(format, path, told, disk=Disk())
        try:
            await writer.store(tiles)
            if finish:
                await writer.finish(told)
        finally:
            await writer.close()

    asyncio.run(run())


@pytest.mark.parametrize("format", FOLDERS)
def test_a_killed_run_leaves_no_tile_at_a_level_that_no_document_names(tmp_path: Path, format: str) -> None:
    path = make(tmp_path / "in", some("5/9/9"), format=format)
    deeper = Stored(Tile(7, 1, 1), picture(7), "png")
    store(path, format, [deeper], [0, 7], finish=False)
    coarser = Stored(Tile(0, 0, 0), picture(8, kind="JPEG"), "jpg")
    store(path, format, [coarser], [0], finish=False)
    wanted = {**some("5/9/9"), deeper.tile: deeper.body, coarser.tile: coarser.body}
    with open_cache(path) as reader:
        assert not list(reader.check())
    assert held(path) == wanted
    store(path, format, [Stored(Tile(1, 0, 0), picture(9), "png")], [0, 1], finish=True)
    assert held(path) == {**wanted, Tile(1, 0, 0): picture(9)}
    with open_cache(path) as reader:
        assert not list(reader.check())
        assert [lod.level for lod in reader.info.scheme.lods] == list(range(8))


@pytest.mark.parametrize("format", FOLDERS)
def test_a_level_that_lost_its_tiles_and_gets_others_is_named_again_first(tmp_path: Path, format: str) -> None:
    """As `apply` does it, which describes the cache before it changes any tile."""
    path = make(tmp_path / "in", {**some("2/1/1"), **some("7/1/1", first=5)}, format=format)
    told = subject(levels=[2, 7])

    async def run() -> None:
        writer = await open_writer(format, path, told, disk=Disk())
        try:
            await writer.remove([Tile(7, 1, 1)])
            await writer.finish(told)
            with open_cache(path) as reader:
                assert not list(reader.check()) and max(reader.info.scheme.by_level) == 2
            await writer.store([Stored(Tile(7, 2, 2), picture(7), "png")])
        finally:
            await writer.close()

    asyncio.run(run())
    with open_cache(path) as reader:
        assert not list(reader.check())
    assert held(path) == {**some("2/1/1"), Tile(7, 2, 2): picture(7)}


@pytest.mark.parametrize("format", FOLDERS)
def test_what_a_run_left_that_did_not_name_its_levels_first_is_taken_over(tmp_path: Path, format: str) -> None:
    path = make(tmp_path / "in", some("2/1/1"), format=format)
    documents = {name: (path / name).read_bytes() for name in ("conf.xml", "root.json")}
    store(path, format, [Stored(Tile(5, 1, 1), picture(7), "png")], [2, 5], finish=False)
    for name, data in documents.items():
        (path / name).write_bytes(data)
    with open_cache(path) as reader:
        assert [damage.what for damage in reader.check()]
    told = about(some("2/1/1", "5/1/1"))

    async def again() -> None:
        writer = await open_writer(format, path, told, disk=Disk())
        try:
            await writer.finish(told)
        finally:
            await writer.close()

    asyncio.run(again())
    assert held(path) == {**some("2/1/1"), Tile(5, 1, 1): picture(7)}
    with open_cache(path) as reader:
        assert not list(reader.check())


@pytest.mark.parametrize("format", ["compact", "compactv2", "tpk", "tpkx"])
def test_a_bundle_whose_name_is_no_blocks_is_damage_in_every_verb(tmp_path: Path, format: str) -> None:
    path = make(tmp_path / f"in{SUFFIX[format]}", HELD, format=format)
    old = make(tmp_path / "old.mbtiles", some("2/1/1"), format="mbtiles")
    if format in FOLDERS:
        for bundle in list((path / "_alllayers" / "L02").iterdir()):
            shutil.copy(bundle, bundle.with_name(bundle.name.replace("R0000", "R0001")))
    else:
        with zipfile.ZipFile(path, "a") as archive:
            for name in [name for name in archive.namelist() if "/L02/" in name]:
                archive.writestr(name.replace("R0000", "R0001"), archive.read(name))
    assert held(path) == HELD
    assert verify(path).exit_code == 4
    for verb in (
        lambda: convert(path, tmp_path / "out.mbtiles"),
        lambda: merge([path, old], tmp_path / "out.mbtiles"),
        lambda: diff(old, path, tmp_path / "delta"),
    ):
        with pytest.raises(CacheError, match="the name is not that of a block"):
            run_loop(verb())
    assert not (tmp_path / "out.mbtiles").exists()
