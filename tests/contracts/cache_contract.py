"""What every cache promises (CacheWriter and CacheReader in ``harvester.edges``), as one suite that each format passes.

A format's test class subclasses ``CacheContract``, giving ``subject``, ``open_writer``, ``reader_name``, ``damage`` and
``ruin``.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harvester.edges import CacheReader, CacheWriter, Stored, Subject
from harvester.errors import CacheError
from harvester.tiling.tile import BLOCK, BlockKey, Tile, block_of

PNG = b"\x89PNG\r\n\x1a\n"


def body_of(tile: Tile, version: int = 1) -> bytes:
    """Bytes that only this tile in this version has, behind a PNG signature, closed by their own digest."""
    seed = f"{tile} v{version} ".encode()
    middle = seed * (3 + (tile.row * 7 + tile.col * 13 + version) % 40)
    return PNG + middle + hashlib.sha256(middle).digest()


def is_whole(body: bytes) -> bool:
    """Was this made by ``body_of``, and is all of it there?"""
    return body.startswith(PNG) and hashlib.sha256(body[8:-32]).digest() == body[-32:]


def stored(tiles: Iterable[Tile], version: int = 1) -> list[Stored]:
    return [Stored(tile, body_of(tile, version), "png") for tile in tiles]


def files_of(path: Path) -> dict[str, bytes]:
    """Every file in the cache's folder with its bytes (a journal left behind shows)."""
    found = path.parent.rglob("*")
    return {str(file.relative_to(path.parent)): file.read_bytes() for file in found if file.is_file()}


def times_of(path: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in (path, *path.parent.rglob("*"))}


class CacheContract(ABC):
    """The promises. ``tiles`` spans two levels and several blocks, a block border and a block's last row and column."""

    name = "cache"
    """Of the file or folder to write, with its suffix."""

    reader_name = "package.module:function"
    """``function(path) -> CacheReader``; another process imports it, too."""

    level = 9
    """A level with at least 512 rows and columns; ``level - 1`` must be there, too."""

    @abstractmethod
    def subject(self) -> Subject:
        """Of a source that has ``level`` and the one above it, and stores PNG."""

    @abstractmethod
    async def open_writer(self, path: Path, subject: Subject) -> CacheWriter:
        """A writer on a new or an existing cache."""

    @abstractmethod
    def damage(self, path: Path) -> None:
        """Make a cache unsound, in a way that ``open`` or ``check`` of its reader must find."""

    @abstractmethod
    def ruin(self, path: Path) -> None:
        """Make a cache unsound in a way that no tile which comes could mend, where there is any (``ruins``)."""

    ruins = True
    """False for a format that is made anew, of all that can be read, with whatever comes."""

    def own(self, tile: Tile) -> Tile:
        """The tile's address in the cache's own scheme."""
        return tile

    def open_reader(self, path: Path) -> CacheReader:
        module, function = self.reader_name.split(":")
        reader: CacheReader = getattr(importlib.import_module(module), function)(path)
        return reader

    @property
    def tiles(self) -> list[Tile]:
        level = self.level
        near = [Tile(level, row, col) for row in range(126, 131) for col in range(254, 259)]
        return [*near, Tile(level, 0, 0), Tile(level, 255, 383), Tile(level - 1, 77, 128), Tile(level - 1, 78, 127)]

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        folder = tmp_path / "out"
        folder.mkdir()
        return folder / self.name

    def writing(self, path: Path, act: Callable[[CacheWriter], Awaitable[Any]]) -> Any:
        """Open, ``act``, close; gives what ``act`` gave."""

        async def run() -> Any:
            writer = await self.open_writer(path, self.subject())
            try:
                return await act(writer)
            finally:
                await writer.close()

        return asyncio.run(run())

    def fill(self, path: Path, batches: Sequence[Sequence[Stored]], *, finish: bool = True) -> None:
        async def act(writer: CacheWriter) -> None:
            for batch in batches:
                await writer.store(batch)
            if finish:
                await writer.finish(self.subject())

        self.writing(path, act)

    def everything(self, path: Path) -> dict[Tile, bytes]:
        """All tiles of a cache, walked by levels, blocks and ``tiles``, in the cache's own scheme."""
        with self.open_reader(path) as reader:
            return {
                tile: body
                for level in reader.levels()
                for key in reader.blocks(level)
                for tile, body in reader.tiles(key)
            }

    def expected(self, versions: Mapping[Tile, int]) -> dict[Tile, bytes]:
        return {self.own(tile): body_of(tile, version) for tile, version in versions.items()}

    # ------------------------------------------------------------------------------------------ reading back

    def test_stored_tiles_read_back_byte_for_byte(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles)])
        with self.open_reader(path) as reader:
            for tile in self.tiles:
                assert reader.read(*self.own(tile)) == body_of(tile), tile
        assert self.everything(path) == self.expected(dict.fromkeys(self.tiles, 1))

    def test_what_was_never_stored_is_none(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles)])
        with self.open_reader(path) as reader:
            for tile in (Tile(self.level, 126, 253), Tile(self.level, 1, 0), Tile(self.level - 1, 77, 127)):
                assert reader.read(*self.own(tile)) is None, tile
            assert reader.read(self.own(self.tiles[0]).level + 9, 0, 0) is None
            assert reader.read(self.own(self.tiles[0]).level, -1, 0) is None
            assert reader.read(self.own(self.tiles[0]).level, 0, 1 << 40) is None

    def test_levels_and_blocks_come_in_order(self, path: Path) -> None:
        self.fill(path, [stored(reversed(self.tiles))])
        own = [self.own(tile) for tile in self.tiles]
        with self.open_reader(path) as reader:
            assert list(reader.levels()) == sorted({tile.level for tile in own})
            for level in reader.levels():
                blocks = list(reader.blocks(level))
                assert blocks == sorted({block_of(tile) for tile in own if tile.level == level})
                for key in blocks:
                    listed = [tile for tile, _ in reader.tiles(key)]
                    assert listed == sorted(tile for tile in own if block_of(tile) == key)
            assert list(reader.blocks(self.level + 9)) == []

    def test_both_sides_tell_the_same_tiles_present(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles)])

        async def masks(writer: CacheWriter) -> dict[BlockKey, Any]:
            return {key: writer.present(key) for key in sorted({block_of(tile) for tile in self.tiles})}

        for key, mask in self.writing(path, masks).items():
            assert mask.shape == (BLOCK, BLOCK)
            assert mask.dtype == np.bool_
            found = {key.tile(int(index)) for index in np.flatnonzero(mask)}
            assert found == {tile for tile in self.tiles if block_of(tile) == key}
        with self.open_reader(path) as reader:
            for tile in map(self.own, self.tiles):
                mask = reader.present(block_of(tile))
                assert mask.shape == (BLOCK, BLOCK)
                assert mask.flat[block_of(tile).position(tile)]
                assert int(mask.sum()) == sum(block_of(other) == block_of(tile) for other in map(self.own, self.tiles))
            assert not reader.present(BlockKey(self.level + 9, 0, 0)).any()

    def test_presence_is_known_before_finish_and_after_reopening(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles[:3])], finish=False)

        async def act(writer: CacheWriter) -> int:
            await writer.store(stored(self.tiles[3:5]))
            return int(writer.present(block_of(self.tiles[0])).sum())

        assert self.writing(path, act) == sum(block_of(t) == block_of(self.tiles[0]) for t in self.tiles[:5])

    # ------------------------------------------------------------------------------------------ changing

    def test_storing_again_replaces(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles), stored(self.tiles[:4], version=2)])
        self.fill(path, [stored(self.tiles[2:6], version=3)])
        versions = dict.fromkeys(self.tiles, 1) | dict.fromkeys(self.tiles[:4], 2) | dict.fromkeys(self.tiles[2:6], 3)
        assert self.everything(path) == self.expected(versions)

    def test_the_last_of_two_in_one_batch_counts(self, path: Path) -> None:
        self.fill(path, [[*stored(self.tiles[:2]), *stored(self.tiles[:1], version=2)]])
        assert self.everything(path) == self.expected({self.tiles[0]: 2, self.tiles[1]: 1})

    def test_removed_tiles_are_gone_and_the_others_stay(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles)])

        async def act(writer: CacheWriter) -> Any:
            await writer.remove([*self.tiles[:7], Tile(self.level, 300, 300)])
            return writer.present(block_of(self.tiles[0]))

        mask = self.writing(path, act)
        key = block_of(self.tiles[0])
        assert int(mask.sum()) == sum(block_of(tile) == key for tile in self.tiles[7:])
        assert self.everything(path) == self.expected(dict.fromkeys(self.tiles[7:], 1))

    def test_an_empty_batch_is_nothing(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles)])

        async def act(writer: CacheWriter) -> None:
            await writer.store([])
            await writer.remove([])

        before = files_of(path)
        self.writing(path, act)
        assert files_of(path) == before

    # ------------------------------------------------------------------------------------------ stamps

    def stamps(self, writer: CacheWriter) -> dict[BlockKey | None, str]:
        return dict(writer.stamps(sorted({block_of(tile) for tile in self.tiles})))

    def test_stamps_change_with_every_batch_and_last_over_reopening(self, path: Path) -> None:
        async def act(writer: CacheWriter) -> list[dict[BlockKey | None, str]]:
            seen = [self.stamps(writer)]
            first, second = stored(self.tiles[:4]), stored(self.tiles[:4], version=2)
            for batch in (first, second, second):
                given = dict(await writer.store(batch))
                seen.append(self.stamps(writer))
                assert given, "store says what it touched"
                assert given.items() <= seen[-1].items()
            given = dict(await writer.remove(self.tiles[:1]))
            seen.append(self.stamps(writer))
            assert given.items() <= seen[-1].items()
            return seen

        seen = self.writing(path, act)
        assert len({tuple(sorted(stamps.items(), key=str)) for stamps in seen[1:]}) == len(seen) - 1

        async def again(writer: CacheWriter) -> dict[BlockKey | None, str]:
            return self.stamps(writer)

        assert self.writing(path, again) == seen[-1]
        assert self.writing(path, again) == seen[-1]

    def test_a_cache_that_was_put_back_has_other_stamps(self, path: Path) -> None:
        async def add(writer: CacheWriter, tiles: Sequence[Tile], version: int) -> dict[BlockKey | None, str]:
            await writer.store(stored(tiles, version))
            return self.stamps(writer)

        older = self.writing(path, lambda writer: add(writer, self.tiles[:4], 1))
        kept = files_of(path)
        newer = self.writing(path, lambda writer: add(writer, self.tiles[:6], 2))
        for name, data in kept.items():
            (path.parent / name).write_bytes(data)

        async def now(writer: CacheWriter) -> dict[BlockKey | None, str]:
            return self.stamps(writer)

        assert older != newer
        assert self.writing(path, now) != newer

    # ------------------------------------------------------------------------------------------ files

    def test_finishing_again_changes_no_byte_and_no_time(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles)])
        before, times = files_of(path), times_of(path)
        self.fill(path, [])
        assert files_of(path) == before
        assert times_of(path) == times

    def test_opening_and_closing_changes_nothing(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles)])
        before, times = files_of(path), times_of(path)

        async def nothing(writer: CacheWriter) -> None:
            writer.present(block_of(self.tiles[0]))

        self.writing(path, nothing)
        self.everything(path)
        assert files_of(path) == before
        assert times_of(path) == times

    def test_only_the_cache_lies_there_after_closing(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles)])
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    def test_both_sides_may_be_closed_twice(self, path: Path) -> None:
        async def act(writer: CacheWriter) -> None:
            await writer.store(stored(self.tiles))
            await writer.close()
            await writer.close()

        self.writing(path, act)
        reader = self.open_reader(path)
        reader.close()
        reader.close()

    # ------------------------------------------------------------------------------------------ others looking in

    def test_what_store_returned_is_there_for_another_reader_at_once(self, path: Path) -> None:
        async def act(writer: CacheWriter) -> None:
            for number in range(1, 4):
                await writer.store(stored(self.tiles[: 3 * number], version=number))
                with self.open_reader(path) as reader:
                    for tile in self.tiles[: 3 * number]:
                        assert reader.read(*self.own(tile)) == body_of(tile, number)

        self.writing(path, act)

    def test_another_process_sees_whole_tiles_only(self, path: Path) -> None:
        tiles = [Tile(self.level, 128 + n // 16, 256 + n % 16) for n in range(128)]

        async def act(writer: CacheWriter) -> tuple[int, str]:
            await writer.store(stored(tiles))
            command = [sys.executable, __file__, self.reader_name, str(path), *map(str, self.own(tiles[0]))]
            watcher = await asyncio.create_subprocess_exec(
                *command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            assert watcher.stdout and watcher.stdin
            assert (await watcher.stdout.readline()).strip() == b"watching"
            for version in range(2, 22):
                await writer.store(stored(tiles, version))
            watcher.stdin.close()
            out, err = await watcher.communicate()
            assert watcher.returncode == 0, err.decode()
            return int(out.split()[-1]), err.decode()

        looks, complaints = self.writing(path, act)
        assert complaints == ""
        assert looks > 0

    # ------------------------------------------------------------------------------------------ damage

    def test_a_sound_cache_has_no_damage(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles), stored(self.tiles[:5], version=2)])
        with self.open_reader(path) as reader:
            assert list(reader.check()) == []
            assert list(reader.lost()) == []
            assert list(reader.unmendable()) == []

    def test_what_no_tile_mends_is_told_apart(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles)])
        self.ruin(path)
        with self.open_reader(path) as reader:
            ruined = {damage.where for damage in reader.unmendable()}
            assert bool(ruined) == self.ruins
            assert ruined <= {damage.where for damage in reader.lost()}
            assert ruined <= {damage.where for damage in reader.check()}

    def test_damage_is_found(self, path: Path) -> None:
        self.fill(path, [stored(self.tiles)])
        self.damage(path)
        try:
            with self.open_reader(path) as reader:
                assert list(reader.check()), "opened, and check found nothing"
        except CacheError as error:
            assert error.message and error.hint

    def test_something_else_under_the_name_is_refused_and_kept(self, path: Path) -> None:
        path.write_bytes(b"holiday pictures, no cache at all\n" * 100)
        with pytest.raises(CacheError):
            self.open_reader(path).close()
        with pytest.raises(CacheError):
            self.fill(path, [stored(self.tiles)])
        assert path.read_bytes().startswith(b"holiday")

    def test_a_missing_cache_is_refused_by_the_reader(self, path: Path) -> None:
        with pytest.raises(CacheError):
            self.open_reader(path).close()
        assert list(path.parent.iterdir()) == []


def watch(reader_name: str, path: str, level: str, row: str, col: str) -> None:
    """Read a block of a growing cache over and over until stdin ends; complain about every tile that is not whole."""
    import threading

    module, function = reader_name.split(":")
    open_reader = getattr(importlib.import_module(module), function)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    key = block_of(Tile(int(level), int(row), int(col)))
    looks = 0
    sys.stdout.write("watching\n")
    sys.stdout.flush()
    while not ended.is_set() or not looks:
        with open_reader(Path(path)) as reader:
            seen = list(reader.tiles(key))
        if len(seen) != 128:
            sys.stderr.write(f"{len(seen)} tiles instead of 128\n")
        for tile, body in seen:
            if not is_whole(body):
                sys.stderr.write(f"{tile} is not whole\n")
        looks += 1
    sys.stdout.write(f"{looks}\n")


if __name__ == "__main__":
    watch(*sys.argv[1:])
