"""Compact cache V1 folders: the promises of every cache, MapProxy's reading, the order of writes, torn entries."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.caches import bundle_v1, compact
from harvester.caches.bundle_v1 import DATA_START
from harvester.caches.compact_v1 import open_reader
from harvester.caches.compact_v1_writer import CompactV1Writer, open_writer
from harvester.durable import Disk
from harvester.edges import Stored, Subject
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.tiling.tile import BlockKey, Tile
from tests.caches import test_compact
from tests.caches.foreign import MAPPROXY, ask
from tests.caches.making import bodies, subject, utm
from tests.caches.test_compact import Recording

ORIGIN = BlockKey(9, 0, 0)


def write(folder: Path, about: Subject, *batches: list[Stored], disk: Disk | None = None, finish: bool = True) -> None:
    async def run() -> None:
        writer = await open_writer(folder, about, disk=disk)
        try:
            for batch in batches:
                await writer.store(batch)
            if finish:
                await writer.finish(about)
        finally:
            await writer.close()

    asyncio.run(run())


class TestContract(test_compact.TestContract):
    reader_name = "harvester.caches.compact_v1:open_reader"

    async def open_writer(self, path: Path, subject: Subject) -> CompactV1Writer:  # type: ignore[override]
        return await open_writer(path, subject)

    def damage(self, path: Path) -> None:
        for file in path.rglob("*.bundle"):
            data = bytearray(file.read_bytes())
            data[DATA_START : DATA_START + 4] = b"\xff\xff\xff\x00"
            file.write_bytes(data)


# ---------------------------------------------------------------------------------------------- other readers


def asked_of_mapproxy(tmp_path: Path, folder: Path, tiles: list[Tile]) -> list[str | None]:
    found: list[str | None] = ask(tmp_path, MAPPROXY, "1", folder / "_alllayers", json.dumps(tiles))
    return found


def test_mapproxy_reads_the_same_bytes(tmp_path: Path) -> None:
    tiles = [Tile(9, 0, 0), Tile(9, 130, 257), Tile(9, 255, 383), Tile(3, 1, 6), Tile(18, 70000, 131100)]
    first = bodies(tiles)
    write(tmp_path / "out", subject(levels=(3, 9, 18)), first[:3], bodies(tiles, seed=1)[2:])
    wanted = [body for _, body, _ in (*first[:2], *bodies(tiles, seed=1)[2:])]
    absent = [Tile(9, 0, 1), Tile(9, 1, 0), Tile(10, 0, 0)]
    seen = asked_of_mapproxy(tmp_path, tmp_path / "out", [*tiles, *absent])
    assert seen == [*(hashlib.sha256(body).hexdigest() for body in wanted), None, None, None]


def test_mapproxy_reads_a_grid_of_its_own(tmp_path: Path) -> None:
    tiles = [utm().tile_at(level, 490000, 4425000) for level in (1, 2, 4)]
    write(tmp_path / "out", subject(utm(), levels=(1, 2, 4)), bodies(tiles))
    wanted = [hashlib.sha256(body).hexdigest() for _, body, _ in bodies(tiles)]
    assert asked_of_mapproxy(tmp_path, tmp_path / "out", tiles) == wanted


@pytest.mark.shared_data
def test_the_cache_of_another_project_is_read_and_added_to(tmp_path: Path, shared_data: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(shared_data / "gwc_v1", copy)
    with open_reader(copy) as reader:
        assert list(reader.check()) == []
        assert reader.levels() == [5, 6]
        tiles = {tile: body for level in (5, 6) for key in reader.blocks(level) for tile, body in reader.tiles(key)}
        assert len(tiles) == 28 + 84
        assert hashlib.sha256(reader.read(5, 10, 4) or b"").hexdigest() == hashlib.sha256(tiles[5, 10, 4]).hexdigest()
        assert reader.read(5, 10, 3) is None
        about = subject(reader.info.scheme, levels=(5, 6), tile_format=reader.info.tile_format)
    write(copy, about, [Stored(Tile(5, 10, 3), b"\xff\xd8\xff new", "jpg")])
    with open_reader(copy) as reader:
        assert reader.read(5, 10, 3) == b"\xff\xd8\xff new"
        assert all(reader.read(*tile) == body for tile, body in tiles.items())
        assert list(reader.check()) == []
    inner = next(folder for folder in (copy, *copy.iterdir()) if (folder / "_alllayers").is_dir())
    wanted = [hashlib.sha256(body).hexdigest() for body in tiles.values()]
    assert asked_of_mapproxy(tmp_path, inner, list(tiles)) == wanted


# ---------------------------------------------------------------------------------------------- order of writes


def test_records_are_durable_before_their_entries_and_those_before_store_returns(tmp_path: Path) -> None:
    disk = Recording()
    first, second = Tile(9, 0, 0), Tile(9, 0, 128)

    async def run() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        writer = await open_writer(tmp_path / "out", subject(levels=(9,)), disk=disk)
        await writer.store(bodies([first, second]))
        disk.steps.clear()
        await writer.store(bodies([first, second], seed=1))
        steps = list(disk.steps)
        disk.steps.clear()
        await writer.close()
        return steps, disk.steps

    (one, two), (ones, twos) = ((f"R0000C0000.{kind}", f"R0000C0080.{kind}") for kind in ("bundle", "bundlx"))
    steps, closing = asyncio.run(run())
    assert [step for step in steps if step[0] in ("write", "sync")] == [
        *[("write", one), ("write", two), ("sync", one), ("sync", two)],
        *[("write", ones), ("write", one), ("write", twos), ("write", two), ("sync", ones), ("sync", twos)],
    ]
    assert sorted(step for step in closing if step[0] == "sync") == [("sync", one), ("sync", two)]


def test_an_index_is_there_before_its_bundle(tmp_path: Path) -> None:
    disk = Recording()
    write(tmp_path / "out", subject(levels=(9,)), bodies([Tile(9, 0, 0)]), disk=disk, finish=False)
    renamed = [name for step, name in disk.steps if step == "replace"]
    assert renamed[-2:] == ["R0000C0000.bundlx", "R0000C0000.bundle"]


def test_a_failing_step_stores_nothing_and_what_was_stored_stays(tmp_path: Path) -> None:
    old, new = bodies([Tile(9, 0, n) for n in (5, 127, 128)]), bodies([Tile(9, 0, n) for n in (127, 128, 130)], seed=1)
    counting, template = Recording(), tmp_path / "template"
    write(template, subject(levels=(9,)), old)
    shutil.copytree(template, tmp_path / "count")
    write(tmp_path / "count", subject(levels=(9,)), new, disk=counting, finish=False)
    for number in range(1, len(counting.steps) + 1):
        folder = tmp_path / str(number)
        shutil.copytree(template, folder)

        async def run(folder: Path = folder, number: int = number) -> None:
            with suppress(CacheError):
                writer = await open_writer(folder, subject(levels=(9,)), disk=Recording(fail=number))
                try:
                    await writer.store(new)
                finally:
                    await writer.close()

        asyncio.run(run())
        with open_reader(folder) as reader:
            assert list(reader.check()) == []
            for tile, body, _ in old:
                assert reader.read(*tile) in {body, *(other for at, other, _ in new if at == tile)}
        write(folder, subject(levels=(9,)), new)
        with open_reader(folder) as reader:
            assert all(reader.read(*tile) == body for tile, body, _ in new)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 16383), st.integers(0, 50), min_size=1, max_size=8), max_size=5))
def test_what_was_stored_last_is_read_whatever_the_order(tmp_path_factory: Any, batches: list[dict[int, int]]) -> None:
    folder = tmp_path_factory.mktemp("orders") / "out"
    stored = [[s for n, seed in batch.items() for s in bodies([ORIGIN.tile(n)], seed)] for batch in batches]
    write(folder, subject(levels=(9,)), *stored)
    wanted = {tile: body for batch in stored for tile, body, _ in batch}
    if wanted:
        with open_reader(folder) as reader:
            assert dict(reader.tiles(ORIGIN)) == wanted
            assert list(reader.check()) == []
            (file,) = folder.rglob("*.bundle")
            header = bundle_v1.parse_header(file.read_bytes())
            assert header is not None
            assert (header.tile_words, header.file_size) == (4 * len(wanted), file.stat().st_size)
    shutil.rmtree(folder, ignore_errors=True)


# ---------------------------------------------------------------------------------------------- damage and repair


def pair_of(folder: Path) -> tuple[Path, Path]:
    (file,) = folder.rglob("*.bundle")
    return file, file.with_suffix(".bundlx")


def test_a_torn_tail_is_cut_off_before_the_next_tile(tmp_path: Path) -> None:
    write(tmp_path / "out", subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    bundle, _ = pair_of(tmp_path)
    whole = bundle.read_bytes()
    bundle.write_bytes(whole + b"\x99\x00\x00\x00" + b"half a record " * 9)
    write(tmp_path / "out", subject(levels=(9,)), bodies([Tile(9, 0, 1)]))
    ((_, body, _),) = bodies([Tile(9, 0, 1)])
    data = bundle.read_bytes()
    assert data[60:] == whole[60:] + len(body).to_bytes(4, "little") + body
    with open_reader(tmp_path / "out") as reader:
        assert list(reader.check()) == []


@pytest.mark.parametrize("into", [1, 9_000])
def test_a_torn_entry_gives_no_other_bytes_and_its_tile_is_missing(tmp_path: Path, into: int) -> None:
    """A replaced tile's entry, torn between its bytes, leads into another tile that happens to hold a size there."""
    inner = (3).to_bytes(4, "little") + b"abc"
    old = [Stored(Tile(9, 0, 0), b"first", "png"), Stored(Tile(9, 0, 1), inner * 12_000, "png")]
    write(tmp_path / "out", subject(levels=(9,)), old)
    _, entries = pair_of(tmp_path)
    data, at = bytearray(entries.read_bytes()), bundle_v1.entry_position(0)
    offset = DATA_START + 4 + 5 + 4 + 7 * into
    data[at : at + 5] = offset.to_bytes(5, "little")
    entries.write_bytes(data)
    with open_reader(tmp_path / "out") as reader:
        assert [tile for tile, _ in reader.tiles(ORIGIN)] == [Tile(9, 0, 1)]
        assert [found.tile for found in reader.check()] == [Tile(9, 0, 0)]

    async def run() -> int:
        writer = await open_writer(tmp_path / "out", subject(levels=(9,)))
        await writer.store(bodies([Tile(9, 0, 2)]))
        held = int(writer.present(ORIGIN).sum())
        await writer.close()
        return held

    assert asyncio.run(run()) == 2
    assert entries.read_bytes()[at : at + 5] == (60).to_bytes(5, "little")
    with open_reader(tmp_path / "out") as reader:
        assert list(reader.check()) == []


def test_half_a_pair_is_refused_by_the_writer_and_listed_by_check(tmp_path: Path) -> None:
    write(tmp_path / "out", subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    bundle, entries = pair_of(tmp_path)
    kept = entries.read_bytes()
    entries.unlink()
    with open_reader(tmp_path / "out") as reader:
        assert reader.levels() == []
        assert reader.read(9, 0, 0) is None
        assert [found.where for found in reader.check()] == [str(bundle)]
    with pytest.raises(CacheError):
        write(tmp_path / "out", subject(levels=(9,)), bodies([Tile(9, 0, 1)]))
    entries.write_bytes(kept[:100])
    with pytest.raises(CacheError, match="no pair"):
        write(tmp_path / "out", subject(levels=(9,)), bodies([Tile(9, 0, 1)]))
    entries.write_bytes(kept)
    bundle.unlink()
    with open_reader(tmp_path / "out") as reader:
        assert [found.where for found in reader.check()] == [str(entries)]


def test_documents_state_the_storage_format_and_the_generations_are_not_mixed(tmp_path: Path) -> None:
    write(tmp_path / "out", subject(levels=(9,)), bodies([Tile(9, 0, 0)]))
    text = (tmp_path / "out/conf.xml").read_text(encoding="utf-8")
    assert "<StorageFormat>esriMapCacheStorageModeCompact</StorageFormat><PacketSize>128</PacketSize>" in text
    assert json.loads((tmp_path / "out/root.json").read_text(encoding="utf-8"))["storageInfo"] == {
        "storageFormat": "esriMapCacheStorageModeCompact",
        "packetSize": 128,
    }
    with pytest.raises(UnsupportedFormatError):
        compact.open_reader(tmp_path / "out")
    with pytest.raises(UnsupportedFormatError):
        test_compact.write(tmp_path / "out", subject(levels=(9,)), bodies([Tile(9, 0, 1)]))
