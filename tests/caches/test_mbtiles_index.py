"""Pictures are stored once whatever a file's history: random ones, against a model."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harvester.caches.mbtiles import MBTilesWriter, open_reader, open_writer
from harvester.caches.mbtiles_index import NEW, OUTLIVED, SORTED
from harvester.caches.mbtiles_pictures import Pictures
from harvester.caches.mbtiles_reader import STAMP
from harvester.caches.mbtiles_schema import DEDUP, DEDUP_SCHEMA
from harvester.caches.mbtiles_state import FileState
from harvester.database import Database, read_header
from harvester.delta.summary import dedup_saved
from harvester.durable import Disk
from harvester.edges import Stored
from harvester.errors import CacheError
from harvester.tiling.tile import Tile, tms_row
from tests.caches.test_mbtiles import execute, fill, query, same, subject, writing

Model = dict[Tile, bytes]
LEVEL = 5
META = ("CREATE TABLE metadata (name TEXT, value TEXT)", "INSERT INTO metadata VALUES ('name', 'x'), ('format', 'png')")
PLANETILER = (
    "CREATE TABLE tiles_shallow (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data_id INTEGER,"
    " PRIMARY KEY (zoom_level, tile_column, tile_row)) WITHOUT ROWID",
    "CREATE TABLE tiles_data (tile_data_id INTEGER PRIMARY KEY, tile_data BLOB)",
    DEDUP[-1],
)
NO_ROWIDS = (PLANETILER[0], PLANETILER[1] + " WITHOUT ROWID", DEDUP[-1])
TEXT = (
    "CREATE TABLE map (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_id TEXT)",
    "CREATE TABLE images (tile_data BLOB, tile_id TEXT)",
    "CREATE VIEW tiles AS SELECT map.zoom_level AS zoom_level, map.tile_column AS tile_column,"
    " map.tile_row AS tile_row, images.tile_data AS tile_data FROM map JOIN images ON images.tile_id = map.tile_id",
)
ORIGINS: dict[str, tuple[Sequence[str], Callable[[int, bytes], Any]]] = {
    "none": ((), lambda number, body: number),
    "numbers": (PLANETILER, lambda number, body: number),
    "numbers without rows": (NO_ROWIDS, lambda number, body: 7 * number),
    "hashes for numbers": (DEDUP, lambda number, body: (1 << 63) - 1 - (number << 20)),
    "md5": (TEXT, lambda number, body: hashlib.md5(body).hexdigest()),
    "words": (TEXT, lambda number, body: f"picture {number}"),
}


class Failing(Disk):
    """A disk whose next commit fails."""

    fails = False

    def step(self, name: str, path: Path) -> None:
        if self.fails and name == "sqlite_commit":
            raise OSError(28, "No space left on device")


def begin(path: Path, origin: str, bodies: Sequence[bytes]) -> Model:
    """A file of another program's with some tiles."""
    tables, name = ORIGINS[origin]
    if not tables:
        return {}
    execute(path, *META, *tables)
    index, pictures, joint = ("map", "images", "tile_id") if "map" in tables[0] else (
        "tiles_shallow", "tiles_data", "tile_data_id"
    )  # fmt: skip
    model = {Tile(LEVEL, 0, col): bodies[col % 5] for col in range(12)}
    ids = {body: name(number + 1, body) for number, body in enumerate(dict.fromkeys(model.values()))}
    execute(
        path,
        *((f"INSERT INTO {pictures} ({joint}, tile_data) VALUES (?, ?)", (ids[body], body)) for body in ids),
        *(
            (f"INSERT INTO {index} VALUES (?, ?, ?, ?)", (LEVEL, tile.col, tms_row(LEVEL, tile.row), ids[body]))
            for tile, body in model.items()
        ),
    )
    return model


def stored_pictures(path: Path) -> list[bytes]:
    tables = {name for (name,) in query(path, "SELECT name FROM sqlite_master")}
    table = "tiles_data" if "tiles_data" in tables else "images"
    return [body for (body,) in query(path, f"SELECT tile_data FROM {table}")]


def saved(path: Path) -> int | None:
    """What the file says that it saves; None where it says nothing, or another program wrote to it since."""
    state = FileState.read(dict(query(path, "SELECT name, value FROM metadata")).get(STAMP, ""))
    header = read_header(path)
    assert header is not None
    return state.saved if state.changes == header.changes else None


def truly_saved(path: Path) -> int:
    shown = query(path, "SELECT sum(length(tile_data)) FROM tiles")[0][0] or 0
    return int(shown) - sum(map(len, stored_pictures(path)))


async def session(path: Path, draw: random.Random, model: Model, bodies: Sequence[bytes]) -> None:
    """Batches as a run writes them: new tiles, replaced ones, some taken out, one that fails; perhaps no end."""
    disk = Failing()
    writer = await open_writer(path, subject(levels=[LEVEL]), dedup=True, disk=disk)
    for _ in range(draw.randint(1, 4)):
        tiles = [Tile(LEVEL, draw.randrange(12), draw.randrange(12)) for _ in range(draw.randint(1, 40))]
        batch = {tile: draw.choice(bodies) for tile in tiles}
        disk.fails = draw.random() < 0.2
        try:
            if draw.random() < 0.2:
                await writer.remove(tiles)
                for tile in tiles:
                    model.pop(tile, None)
            else:
                await writer.store([Stored(tile, body, "png") for tile, body in batch.items()])
                model.update(batch)
        except CacheError:
            disk.fails = False
            if draw.random() < 0.5:
                break
        disk.fails = False
    else:
        if draw.random() < 0.7:
            await writer.finish(subject(levels=[LEVEL]))
    await writer.close()


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_file_went_through_each_picture_is_stored_once(tmp_path: Path, origin: str, seed: int) -> None:
    draw = random.Random(f"{origin} {seed}")
    bodies = [b"\x89PNG" + draw.randbytes(draw.choice((3, 300))) for _ in range(40)]
    path = tmp_path / "a.mbtiles"
    model = begin(path, origin, bodies)
    for _ in range(8):
        asyncio.run(session(path, draw, model, bodies))
        if not path.exists() or not query(path, "SELECT 1 FROM sqlite_master"):
            continue
        if draw.random() < 0.3:
            execute(path, "UPDATE metadata SET value = 'theirs' WHERE name = 'name'")
        if draw.random() < 0.3:
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("VACUUM")
            connection.close()
        pictures = stored_pictures(path)
        assert len(pictures) == len(set(pictures))
        assert saved(path) in (None, truly_saved(path))
    fill(path, same([Tile(LEVEL, 31, 31)], bodies[0]), dedup=True)
    model[Tile(LEVEL, 31, 31)] = bodies[0]
    with open_reader(path) as reader:
        held = {tile: body for key in reader.blocks(LEVEL) for tile, body in reader.tiles(key)}
        assert list(reader.check()) == []
    assert held == model
    assert dedup_saved(path) == truly_saved(path)
    pictures = stored_pictures(path)
    assert len(pictures) == len(set(pictures))
    # Another program's pictures that no tile shows, and none but those, may be left.
    assert set(pictures) == set(model.values()) or origin != "none"


async def grow(path: Path, rows: dict[tuple[int, int, int], bytes], hashes: int | None, most: int) -> int | None:
    database = await Database.open(path, disk=Disk())
    if hashes is None:
        for sql in DEDUP:
            await database.execute(sql)
    pictures = Pictures(database, DEDUP_SCHEMA, complete=True, hashes=hashes, most=most)
    async with database.transaction():
        await pictures.put(rows)
    await database.close()
    return pictures.hashes


def test_hashes_that_have_no_place_in_memory_are_found_in_the_file(tmp_path: Path) -> None:
    path, hashes = tmp_path / "a.mbtiles", None
    for number in range(30):
        rows = {(9, col, number): b"%d" % (col * (number % 7 + 1)) for col in range(40)}
        hashes = asyncio.run(grow(path, rows, hashes, most=60))
    bodies = [body for (body,) in query(path, "SELECT tile_data FROM tiles_data")]
    assert len(bodies) == len(set(bodies)) == hashes
    entries = sum(len(row) // 16 for (row,) in query(path, f"SELECT entries FROM {NEW}"))
    assert entries < 60
    assert query(path, f"SELECT count(*) FROM {SORTED}") == [(len(bodies) - entries,)]


def test_a_file_of_which_others_wrote_pictures_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.mbtiles"
    fill(path, same([Tile(9, 0, 0)], b"sea"), dedup=True)
    execute(path, "INSERT INTO tiles_data VALUES (77, x'01')", "INSERT INTO tiles_shallow VALUES (9, 5, 5, 77)")
    fill(path, [*same([Tile(9, 0, 1)], b"\x01"), *same([Tile(9, 0, 2)], b"land")], dedup=True)
    assert query(path, "SELECT tile_data_id FROM tiles_data") == [(1,), (77,), (78,)]


def test_a_finish_alone_does_not_make_hashes_trusted_that_another_program_outdated(tmp_path: Path) -> None:
    path = tmp_path / "a.mbtiles"
    fill(path, same([Tile(9, 0, 0)], b"sea"), dedup=True)
    execute(path, "INSERT INTO tiles_data VALUES (77, x'01')", "INSERT INTO tiles_shallow VALUES (9, 5, 5, 77)")

    async def finish(writer: MBTilesWriter) -> None:
        await writer.finish(subject(attribution="others"))

    execute(path, "INSERT INTO tiles_shallow VALUES (9, 6, 6, 1)")
    assert dedup_saved(path) == truly_saved(path) == 3
    writing(path, finish, dedup=True)
    assert dedup_saved(path) == 3
    fill(path, same([Tile(9, 0, 1)], b"\x01"), dedup=True)
    assert dedup_saved(path) == truly_saved(path) == saved(path) == 4
    assert query(path, "SELECT count(*) FROM tiles_data") == [(2,)]


def test_entries_of_pictures_that_are_gone_do_not_pile_up(tmp_path: Path) -> None:
    path, count = tmp_path / "a.mbtiles", OUTLIVED // 2
    tiles = [Tile(9, number // 512, number % 512) for number in range(count)]
    for version in range(3):
        batch = [Stored(tile, b"%d %d" % (version, number), "png") for number, tile in enumerate(tiles)]
        fill(path, batch, dedup=True)
    fill(path, same(tiles, b"sea"), dedup=True)
    assert query(path, "SELECT name FROM sqlite_master WHERE name LIKE 'harvester%'") == []
    fill(path, [*same([Tile(9, 0, 0)], b"land"), *same([Tile(9, 0, 1)], b"sea")], dedup=True)
    assert sorted(query(path, "SELECT tile_data FROM tiles_data")) == [(b"land",), (b"sea",)]


def test_pictures_without_row_numbers_whose_names_are_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mbtiles"
    images = "CREATE TABLE images (tile_id TEXT PRIMARY KEY, tile_data BLOB) WITHOUT ROWID"
    execute(path, *META, TEXT[0], images, TEXT[2])
    with pytest.raises(CacheError) as caught:
        fill(path, same([Tile(9, 0, 0)], b"sea"))
    assert caught.value.code == "schema"


def test_what_is_saved_is_counted_as_tiles_come_and_go(tmp_path: Path) -> None:
    """Not asked of the file, of which every page would be read."""
    path = tmp_path / "a.mbtiles"
    fill(path, same([Tile(9, 0, col) for col in range(9)], b"sea"), dedup=True)
    assert saved(path) == 24
    fill(path, [*same([Tile(9, 1, col) for col in range(3)], b"sea"), *same([Tile(9, 0, 0)], b"land")], dedup=True)
    assert saved(path) == truly_saved(path) == 30
    fill(path, same([Tile(9, 0, col) for col in range(9)] + [Tile(9, 1, col) for col in range(3)], b"land"), dedup=True)
    assert stored_pictures(path) == [b"land"]
    assert saved(path) in (None, truly_saved(path))
    assert dedup_saved(path) == truly_saved(path) == 44

    async def remove(writer: MBTilesWriter) -> None:
        await writer.remove([Tile(9, 1, 1), Tile(9, 1, 1), Tile(9, 30, 30)])
        await writer.finish(subject())

    fill(path, same([Tile(9, 2, 2)], b"x"), dedup=True)
    writing(path, remove, dedup=True)
    assert dedup_saved(path) == truly_saved(path) == 40


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE {NEW} SET entries = x'0102'",
        f"UPDATE {NEW} SET entries = 'text'",
        f"UPDATE {NEW} SET entries = 7",
        f"DROP TABLE {NEW}",
        f"CREATE TABLE {SORTED} (hash, picture)",
    ],
)
def test_hashes_that_are_none_are_made_anew(tmp_path: Path, change: str) -> None:
    """Also where the file claims that nobody changed them."""
    path = tmp_path / "a.mbtiles"
    fill(path, same([Tile(9, 0, col) for col in range(4)], b"sea"), dedup=True)
    execute(path, change)
    state, header = FileState.read(dict(query(path, "SELECT name, value FROM metadata"))[STAMP]), read_header(path)
    assert header is not None and state.hashes == 1
    claimed = replace(state, changes=header.changes + 1).text()
    execute(path, ("UPDATE metadata SET value = ? WHERE name = ?", (claimed, STAMP)))
    assert saved(path) == 9
    fill(path, [*same([Tile(9, 1, 0)], b"sea"), *same([Tile(9, 1, 1)], b"land")], dedup=True)
    assert sorted(stored_pictures(path)) == [b"land", b"sea"]
