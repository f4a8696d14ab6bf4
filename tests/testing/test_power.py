"""The power-loss model catches writers that are wrong, lets the right one pass, and holds for the real ones."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harvester.caches.compact import open_reader
from harvester.caches.compact_writer import open_writer
from harvester.edges import Stored, Subject
from harvester.testing import CrashState, RecordingDisk
from harvester.testing.memory import memory_info
from harvester.testing.power import materialise
from harvester.testing.power_model import FOLDER, Named
from harvester.tiling.tile import Tile

ENTRY = struct.Struct("<QI")
"""A toy bundle's index entry: offset and size; an entry never straddles a sector (12 bytes, 40 a sector)."""

PER_SECTOR = 40
TILES = 48
BATCH = 8
DATA_START = 4096


def body_of(number: int) -> bytes:
    """A tile of 300 to 2,400 bytes that proves itself."""
    middle = str(number).encode() * (100 + number * 17 % 500)
    return hashlib.sha256(middle).digest() + middle


def is_own(body: bytes, number: int) -> bool:
    return body == body_of(number)


class ToyWriter:
    """A bundle in small. ``order`` is what one batch does, of: data, sync, index, acknowledge."""

    def __init__(self, disk: RecordingDisk, path: Path, order: tuple[str, ...]) -> None:
        self.disk = disk
        self.order = order
        self.file = disk.open(path, write=True, create=True)
        disk.truncate(self.file, DATA_START)
        disk.fsync(self.file)
        disk.sync_folder(path.parent)
        self.end = DATA_START

    def batch(self, numbers: range) -> None:
        places = {}
        end = self.end
        for number in numbers:
            places[number] = end, body_of(number)
            end += len(body_of(number))
        for act in self.order:
            if act == "data":
                self.disk.pwrite(self.file, b"".join(body for _, body in places.values()), self.end)
            elif act == "index":
                for number, (offset, body) in places.items():
                    self.disk.pwrite(self.file, ENTRY.pack(offset, len(body)), position(number))
            elif act == "sync":
                self.disk.fsync(self.file)
            else:
                self.disk.acknowledge(tuple(numbers))
        self.end = end


def position(number: int) -> int:
    return number // PER_SECTOR * 512 + number % PER_SECTOR * ENTRY.size


def read(data: bytes) -> Iterator[tuple[int, bytes]]:
    for number in range(TILES):
        offset, size = ENTRY.unpack_from(data, position(number))
        if size:
            yield number, data[offset : offset + size]


def verdicts(tmp_path: Path, order: tuple[str, ...]) -> Counter[str]:
    """How many crash states of a whole run show a wrong tile, or miss an acknowledged one."""
    disk = RecordingDisk(tmp_path)
    path = tmp_path / "bundle"
    writer = ToyWriter(disk, path, order)
    for first in range(0, TILES, BATCH):
        writer.batch(range(first, first + BATCH))
    disk.close(writer.file)
    found: Counter[str] = Counter()
    for state in disk.states(seed=1):
        found["states"] += 1
        data = state.files.get(path, b"")
        tiles = dict(read(data)) if len(data) >= DATA_START else {}
        found["wrong"] += any(not is_own(body, number) for number, body in tiles.items())
        promised = {number for numbers in state.acknowledged for number in numbers}  # type: ignore[attr-defined]
        found["lost"] += not promised <= {number for number, body in tiles.items() if is_own(body, number)}
    return found


@pytest.mark.parametrize(
    ("order", "wrong", "lost"),
    [
        (("data", "sync", "index", "sync", "acknowledge"), False, False),
        (("data", "index", "acknowledge"), True, True),
        (("data", "index", "sync", "acknowledge"), True, False),
        (("index", "sync", "data", "sync", "acknowledge"), True, False),
        (("data", "sync", "index", "acknowledge", "sync"), False, True),
        (("data", "sync", "acknowledge", "index", "sync"), False, True),
    ],
)
def test_only_data_sync_index_sync_acknowledge_survives(
    tmp_path: Path, order: tuple[str, ...], wrong: bool, lost: bool
) -> None:
    found = verdicts(tmp_path, order)
    assert found["states"] > 100
    assert (found["wrong"] > 0, found["lost"] > 0) == (wrong, lost), found


def outcomes(tmp_path: Path, act: Callable[[RecordingDisk, Path], None]) -> set[tuple[tuple[str, bytes], ...]]:
    """Every set of files that a cut during ``act`` can leave, names relative, after its last event."""
    disk = RecordingDisk(tmp_path)
    act(disk, tmp_path)
    return {
        tuple((str(path.relative_to(tmp_path).as_posix()), data) for path, data in state.files.items())
        for state in disk.states(samples=60)
        if state.event == len(disk.trace)
    }


def test_an_unsynced_write_arrives_by_sectors_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a" * 1024)

    def act(disk: RecordingDisk, folder: Path) -> None:
        file = disk.open(folder / "f", write=True)
        disk.pwrite(file, b"b" * 1024, 0)
        disk.close(file)

    a, b = b"a" * 512, b"b" * 512
    assert outcomes(tmp_path, act) == {(("f", first + second),) for first in (a, b) for second in (a, b)}


def test_a_longer_file_may_have_its_length_before_its_data(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")

    def act(disk: RecordingDisk, folder: Path) -> None:
        file = disk.open(folder / "f", write=True)
        disk.pwrite(file, b"x" * 700, 0)
        disk.close(file)

    zeros, first, last = bytes(512), b"x" * 512, b"x" * 188
    assert outcomes(tmp_path, act) == {
        (("f", data),) for data in (b"", zeros + bytes(188), first, zeros + last, first + bytes(188), first + last)
    }


def test_a_new_name_needs_its_folder_synced(tmp_path: Path) -> None:
    def act(disk: RecordingDisk, folder: Path) -> None:
        file = disk.open(folder / "f", write=True, create=True)
        disk.pwrite(file, b"x", 0)
        disk.fsync(file)
        disk.close(file)

    assert outcomes(tmp_path, act) == {(), (("f", b"x"),)}


def test_names_of_one_folder_change_in_their_order(tmp_path: Path) -> None:
    def act(disk: RecordingDisk, folder: Path) -> None:
        for name in "ab":
            disk.close(disk.open(folder / name, write=True, create=True))

    assert outcomes(tmp_path, act) == {(), (("a", b""),), (("a", b""), ("b", b""))}


def test_what_lies_in_a_folder_is_gone_with_the_folders_own_name(tmp_path: Path) -> None:
    def act(disk: RecordingDisk, folder: Path) -> None:
        inner = folder / "inner"
        inner.mkdir()
        disk.trace.append(Named(folder, ((inner, FOLDER),)))
        disk.write_whole(inner / "f", b"x")

    assert outcomes(tmp_path, act) == {(), (("inner/f", b"x"),)}


def test_a_rename_before_the_data_may_show_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")

    def careless(disk: RecordingDisk, folder: Path) -> None:
        file = disk.open(folder / "f.part", write=True, create=True)
        disk.pwrite(file, b"new", 0)
        disk.close(file)
        disk.replace(folder / "f.part", folder / "f")

    left = {dict(files)["f"] for files in outcomes(tmp_path, careless)}
    assert {b"old", b"new", b""} <= left


def test_a_small_file_written_whole_is_old_or_new_at_every_moment(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    disk = RecordingDisk(tmp_path)
    disk.write_whole(tmp_path / "f", b"new" * 1000)
    disk.acknowledge("new")
    states = list(disk.states(samples=20))
    assert {state.files[tmp_path / "f"] for state in states} == {b"old", b"new" * 1000}
    assert {state.files[tmp_path / "f"] for state in states if state.acknowledged} == {b"new" * 1000}


def test_folders_take_their_files_along(tmp_path: Path) -> None:
    def act(disk: RecordingDisk, folder: Path) -> None:
        disk.make_dirs(folder / "a" / "b")
        disk.write_whole(folder / "a" / "b" / "f", b"x")
        disk.replace(folder / "a", folder / "c")
        disk.sync_folder(folder)
        disk.remove_tree(folder / "c")

    assert outcomes(tmp_path, act) == {(), (("c/b/f", b"x"),)}


def test_a_removed_file_may_be_back_until_its_folder_is_synced(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    assert outcomes(tmp_path, lambda disk, folder: disk.remove(folder / "f")) == {(), (("f", b"x"),)}


def test_the_same_seed_gives_the_same_states(tmp_path: Path) -> None:
    disk = RecordingDisk(tmp_path)
    writer = ToyWriter(disk, tmp_path / "bundle", ("data", "index", "acknowledge"))
    writer.batch(range(8))
    disk.close(writer.file)

    def states(seed: int) -> list[CrashState]:
        return list(disk.states(seed=seed))

    assert states(5) == states(5)
    assert states(5) != states(6)


def test_a_compact_cache_loses_no_promised_tile_and_shows_no_wrong_one(tmp_path: Path) -> None:
    """The real writer, two bundles, tiles stored anew: every state opens, and holds what was acknowledged."""
    cache, root = tmp_path / "out" / "cache", tmp_path / "out"
    root.mkdir()
    disk = RecordingDisk(root)
    tiles = [Tile(9, 127, col) for col in range(120, 132)]

    def body(tile: Tile, version: int) -> bytes:
        middle = f"{tile} {version} ".encode() * 60
        return b"\x89PNG\r\n\x1a\n" + middle + hashlib.sha256(middle).digest()

    async def write() -> None:
        subject = Subject(info=memory_info(), levels=(9,), extent=None)
        writer = await open_writer(cache, subject, disk=disk)
        for version, batch in ((1, tiles[:5]), (1, tiles[5:]), (2, tiles[3:8])):
            await writer.store([Stored(tile, body(tile, version), "png") for tile in batch])
            disk.acknowledge([(tile, version) for tile in batch])
        await writer.close()

    asyncio.run(write())
    count = 0
    for state in disk.states(seed=2, samples=2):
        promised: dict[Tile, int] = {}
        for batch in state.acknowledged:
            promised |= dict(batch)  # type: ignore[call-overload]
        if not promised and state.event % 5:
            continue
        count += 1
        folder = tmp_path / f"state{count}"
        materialise(state, root, folder)
        if not (folder / "cache" / "conf.xml").exists():
            assert not promised
            continue
        with open_reader(folder / "cache") as reader:
            for tile in tiles:
                got = reader.read(*tile)
                least = promised.get(tile, 0)
                assert got in [body(tile, version) for version in (1, 2) if version >= least] + [None] * (not least), (
                    tile
                )
    assert count > 50


def test_what_was_removed_in_a_folder_is_not_missed_in_a_new_one_of_its_name(tmp_path: Path) -> None:
    def act(disk: RecordingDisk, folder: Path) -> None:
        for name, content in (("a", b"x"), ("b", b"y")):
            disk.make_dirs(folder / name)
            disk.write_whole(folder / name / "f", content)
        disk.remove_tree(folder / "a")
        disk.replace(folder / "b", folder / "a")
        disk.sync_folder(folder)
        disk.sync_folder(folder / "a")

    assert outcomes(tmp_path, act) == {(("a/f", b"y"),)}
