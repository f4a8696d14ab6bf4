"""Writers that are wrong on purpose, each in one way: the same judge that passes the real ones finds every one."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from harvester.database import Database
from harvester.durable import Disk
from harvester.edges import BlockChange, State
from harvester.ledger import open_ledger
from harvester.testing import RecordingDisk
from harvester.testing.power_model import Synced
from harvester.testing.power_sqlite import recording_sqlite
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.testing.sqlite_files import can_watch
from harvester.tiling.tile import Tile, block_of
from tests.crash.power_runs import body_of, judged, recorded

pytestmark = pytest.mark.skipif(not can_watch(), reason="this Python hides the functions of its SQLite")

ALL = 10_000
"""More moments than any of these has."""

BATCHES = 4
LEVEL = 4
TILES = [Tile(LEVEL, row, col) for row in range(4) for col in range(4)]


async def write(out: Path, disk: RecordingDisk, *, careless: str = "", ledger_first: bool = False) -> None:
    """MBTiles in small, through the project's own database and ledger. ``careless``: a pragma that makes it unsafe."""
    ledger = await open_ledger(out.with_name("out.ledger"), create=True, disk=disk)
    database = await Database.open(out, disk=disk)
    mask = np.zeros((128, 128), dtype=np.bool_)
    mask[:4, :4] = True
    await ledger.enlist([(block_of(TILES[0]), mask)])
    if careless:
        await database.execute(careless)
    async with database.transaction():
        await database.execute("CREATE TABLE metadata (name text, value text)")
        await database.execute(
            "CREATE TABLE tiles (zoom_level integer, tile_column integer, tile_row integer, tile_data blob)"
        )
        await database.execute("CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row)")
        await database.execute("INSERT INTO metadata VALUES ('format', 'png')")
    size = len(TILES) // BATCHES
    for first in range(0, len(TILES), size):
        batch = TILES[first : first + size]
        key = block_of(batch[0])
        change = BlockChange(key, State.STORED, [key.position(tile) for tile in batch])
        if ledger_first:
            await ledger.record([change], {})
        async with database.transaction():
            rows = [(tile.level, tile.col, 2**LEVEL - 1 - tile.row, body_of(tile, 0)) for tile in batch]
            await database.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", rows)
        if not ledger_first:
            await ledger.record([change], {})
        disk.acknowledge(frozenset(TILES[: first + size]))
    await database.close()
    await ledger.close()


def judge_sqlite(tmp_path: Path, **wrong: object) -> Counter[str]:
    root = tmp_path / "run"
    root.mkdir()
    disk = RecordingDisk(root)
    with recording_sqlite(disk):
        asyncio.run(write(root / "out", disk, **wrong))  # type: ignore[arg-type]
    return judged(disk, root / "out", cuts=ALL)


def kinds(found: Counter[str]) -> set[str]:
    """The first words of what was found."""
    return {text.split(" of ")[0].split(" (")[0] for text in found} - {"states", "different"}


def test_a_database_of_whole_transactions_before_the_ledgers_has_no_fault(tmp_path: Path) -> None:
    found = judge_sqlite(tmp_path)
    assert found["different"] > 100
    assert kinds(found) == set(), found


@pytest.mark.parametrize(
    ("wrong", "least"),
    [
        ({"ledger_first": True}, {"lost"}),
        ({"careless": "PRAGMA journal_mode=OFF"}, {"integrity"}),
        ({"careless": "PRAGMA journal_mode=MEMORY"}, {"integrity"}),
        ({"careless": "PRAGMA synchronous=OFF"}, {"lost", "broken promise"}),
    ],
)
def test_a_database_written_carelessly_is_found_out(tmp_path: Path, wrong: dict[str, object], least: set[str]) -> None:
    found = judge_sqlite(tmp_path, **wrong)
    assert least <= kinds(found), found


class NoSync(RecordingDisk):
    """Says that files are durable, and leaves that to chance."""

    def fsync(self, descriptor: int) -> None:
        Disk.fsync(self, descriptor)

    def synced(self, path: Path) -> None:
        """Neither are SQLite's."""


class NoFolderSync(RecordingDisk):
    """Forgets that a name is a thing of its own."""

    def sync_folder(self, path: Path) -> None:
        Disk.sync_folder(self, path)


class RenamesFirst(RecordingDisk):
    """Gives a file its final name, then makes it durable."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._late: list[Synced] = []

    def fsync(self, descriptor: int) -> None:
        super().fsync(descriptor)
        if self._paths[descriptor].name.endswith(".part"):
            event = self.trace.pop()
            assert isinstance(event, Synced)
            self._late.append(event)

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self.trace.extend(self._late)
        self._late.clear()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("disk", "format", "cuts", "least"),
    [
        (NoSync, "mbtiles", 60, "integrity"),
        (NoSync, "compactv2", 60, "integrity"),
        (NoFolderSync, "compactv2", 100, "broken promise"),
        (RenamesFirst, "tpkx", ALL, "unreadable"),
    ],
)
def test_a_disk_that_leaves_out_a_sync_is_found_out(
    tmp_path: Path, disk: type[RecordingDisk], format: str, cuts: int, least: str
) -> None:
    root = tmp_path / "run"
    root.mkdir()
    with FaultyService(ArcGisSite()) as service:
        recording = disk(root)
        recorded(service, root / "out", format, recording, levels=1 if cuts == ALL else 2)
    found = judged(recording, root / "out", cuts=cuts)
    assert least in kinds(found), found
