"""The SQLite ledger keeps the promises of a ledger, is readable while it is written, and notices damage."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harvester.durable import Disk
from harvester.edges import BlockChange, State
from harvester.errors import CacheError
from harvester.events import Counts
from harvester.ledger import DAMAGED, SqliteLedger, open_ledger, read_ledger
from harvester.tiling.tile import BLOCK, BlockKey
from tests.contracts.ledger_contract import BLOCKS, LedgerContract, mask_of


class TestSqliteLedger(LedgerContract):
    async def open_ledger(self, path: Path) -> SqliteLedger:
        return await open_ledger(path, create=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.mbtiles.ledger"


def using(path: Path, act: Callable[[SqliteLedger], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        ledger = await open_ledger(path, create=True, **options)
        try:
            return await act(ledger)
        finally:
            await ledger.close()

    return asyncio.run(run())


async def fill(ledger: SqliteLedger) -> None:
    await ledger.enlist([(BLOCKS[0], mask_of([0, 1, 2])), (BLOCKS[1], mask_of(range(300)))])
    await ledger.record(
        [
            BlockChange(BLOCKS[0], State.STORED, [0]),
            BlockChange(BLOCKS[1], State.ABSENT, list(range(200))),
            BlockChange(BLOCKS[1], State.FAILED, [250, 251], {250: "http_500", 251: "truncated"}),
        ],
        {None: "stamp", BLOCKS[0]: "10:20"},
    )


def test_the_reader_tells_blocks_counts_failures_facts_and_runs(path: Path) -> None:
    times = iter([100.0, 160.0, 200.0])

    async def act(ledger: SqliteLedger) -> None:
        await fill(ledger)
        first = await ledger.add_run("out.mbtiles")
        await ledger.finish_run(first, {"complete": False, "stored": 1})
        await ledger.add_run("out.mbtiles")
        await ledger.set_meta({"source": "https://gis.example.org"})
        assert await ledger.counts() == Counts(planned=303, stored=1, absent=200, failed=2, pending=100)
        assert await ledger.counts(3) == Counts(planned=3, stored=1, pending=2)
        assert [run.ended for run in await ledger.runs()] == [160.0, None]

    using(path, act, clock=lambda: next(times))
    with read_ledger(path) as reader:
        blocks = dict(reader.blocks())
        assert list(blocks) == list(BLOCKS[:2])
        assert blocks[BLOCKS[0]].flat[0] == State.STORED
        assert [key for key, _ in reader.blocks(9)] == [BLOCKS[1]]
        assert reader.counts() == {
            3: Counts(planned=3, stored=1, pending=2),
            9: Counts(planned=300, absent=200, failed=2, pending=98),
        }
        assert reader.levels() == [3, 9]
        assert [(failure.tile, failure.reason) for failure in reader.failures()] == [
            (BLOCKS[1].tile(250), "http_500"),
            (BLOCKS[1].tile(251), "truncated"),
        ]
        assert len(reader.failures(1)) == 1
        failure = reader.failure(BLOCKS[1].tile(251), BLOCKS[1])
        assert failure is not None and failure.reason == "truncated"
        assert reader.failure(BLOCKS[1].tile(252), BLOCKS[1]) is None
        assert reader.states(BLOCKS[2]).sum() == 0
        assert reader.meta("source") == "https://gis.example.org"
        assert reader.meta("nothing") is None
        assert reader.stamp() == "stamp"
        first, second = reader.runs()
        assert (first.started, first.ended, first.report) == (100.0, 160.0, {"complete": False, "stored": 1})
        assert (second.started, second.ended, second.report) == (200.0, None, None)
        assert first.output == "out.mbtiles"


def test_the_reader_walks_more_blocks_than_one_read_holds(path: Path) -> None:
    keys = [BlockKey(level, 128 * row, 0) for level in (8, 9) for row in range(300)]

    async def act(ledger: SqliteLedger) -> None:
        await ledger.enlist([(key, mask_of([7])) for key in reversed(keys)])

    using(path, act)
    with read_ledger(path) as reader:
        assert [key for key, _ in reader.blocks()] == keys
        assert [key for key, _ in reader.blocks(9)] == keys[300:]


def test_it_is_read_while_a_run_writes(path: Path) -> None:
    async def act(ledger: SqliteLedger) -> None:
        await ledger.enlist([(BLOCKS[0], np.ones((BLOCK, BLOCK), dtype=np.bool_))])
        with read_ledger(path) as reader:
            blocks = reader.blocks()
            assert next(blocks)[0] == BLOCKS[0]
            for index in range(5):
                await ledger.record([BlockChange(BLOCKS[0], State.STORED, [index])], {})
                assert reader.counts()[3].stored == index + 1

    using(path, act)


def test_the_reader_changes_nothing(path: Path) -> None:
    using(path, fill)
    before, changed = path.read_bytes(), path.stat().st_mtime_ns
    with read_ledger(path) as reader:
        reader.counts()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == changed


def test_a_tile_that_was_not_planned_gets_no_state(path: Path) -> None:
    async def act(ledger: SqliteLedger) -> None:
        await ledger.enlist([(BLOCKS[0], mask_of([1]))])
        await ledger.record([BlockChange(BLOCKS[0], State.STORED, [0, 1, 2])], {})
        await ledger.reconcile([(BLOCKS[0], mask_of([1, 5]))], {})
        assert await ledger.counts() == Counts(planned=1, stored=1)

    using(path, act)


def test_blocks_beyond_those_kept_in_memory_keep_their_states(path: Path) -> None:
    keys = [BlockKey(12, 0, 128 * number) for number in range(150)]

    async def act(ledger: SqliteLedger) -> None:
        await ledger.enlist([(key, mask_of([1, 2])) for key in keys])
        for state, index in ((State.STORED, 1), (State.ABSENT, 2)):
            for first in range(0, len(keys), 50):
                await ledger.record([BlockChange(key, state, [index]) for key in keys[first : first + 50]], {})
        assert await ledger.counts() == Counts(planned=300, stored=150, absent=150)

    using(path, act)


class FullDisk(Disk):
    full = False

    def step(self, name: str, path: Path) -> None:
        if self.full and name == "sqlite_commit":
            raise OSError(28, "No space left on device")


def test_a_record_that_failed_left_nothing_and_the_next_one_works(path: Path) -> None:
    disk = FullDisk()

    async def act(ledger: SqliteLedger) -> None:
        await fill(ledger)
        disk.full = True
        with pytest.raises(CacheError) as caught:
            await ledger.record([BlockChange(BLOCKS[0], State.STORED, [1, 2])], {None: "later"})
        assert caught.value.code == "disk_full"
        assert "run the same command again" in caught.value.hint
        disk.full = False
        assert (await ledger.states([BLOCKS[0]]))[0].flat[1] == State.PENDING
        assert (await ledger.stamps([]))[None] == "stamp"
        await ledger.record([BlockChange(BLOCKS[0], State.STORED, [1])], {})
        assert (await ledger.counts(3)).stored == 2

    using(path, act, disk=disk)


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_ledger_is_damaged(path: Path, kept: float) -> None:
    using(path, fill)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    for opening in (lambda: read_ledger(path).counts(), lambda: using(path, fill)):
        with pytest.raises(CacheError) as caught:
            opening()
        assert caught.value.code == DAMAGED
        assert caught.value.hint


def test_an_overwritten_page_is_damage(path: Path) -> None:
    using(path, fill)
    data = bytearray(path.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(CacheError) as caught:
        using(path, fill)
    assert caught.value.code == DAMAGED


@pytest.mark.parametrize("row", [b"", b"x", b"\x78\x9c", None])
def test_states_that_cannot_be_read_are_damage(path: Path, row: bytes | None) -> None:
    import zlib

    using(path, fill)
    broken = zlib.compress(b"\x09" * BLOCK * BLOCK) if row is None else row
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE block SET states = ?", (broken,))
    connection.close()

    async def read(ledger: SqliteLedger) -> None:
        await ledger.states(BLOCKS)

    for opening in (lambda: read_ledger(path).counts(), lambda: using(path, read)):
        with pytest.raises(CacheError) as caught:
            opening()
        assert caught.value.code == DAMAGED


def test_garbage_under_its_name_is_damage(path: Path) -> None:
    path.write_bytes(b"\x00garbage" * 4096)
    with pytest.raises(CacheError) as caught:
        using(path, fill)
    assert caught.value.code == DAMAGED


def test_another_database_under_its_name_is_refused_and_not_called_damaged(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE addresses (name)")
    connection.commit()
    connection.close()
    for opening in (lambda: read_ledger(path), lambda: using(path, fill)):
        with pytest.raises(CacheError) as caught:
            opening()
        assert caught.value.code == "not_a_ledger"


def test_a_later_version_is_refused(path: Path) -> None:
    using(path, fill)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '2' WHERE name = 'schema'")
    connection.close()
    for opening in (lambda: read_ledger(path), lambda: using(path, fill)):
        with pytest.raises(CacheError) as caught:
            opening()
        assert caught.value.code == "ledger_version"


def test_a_missing_ledger_is_not_made_unless_asked(path: Path) -> None:
    for opening in (lambda: read_ledger(path), lambda: asyncio.run(open_ledger(path, create=False))):
        with pytest.raises(CacheError) as caught:
            opening()
        assert caught.value.code == "missing"
    assert list(path.parent.iterdir()) == []


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from harvester.durable import Disk
from harvester.edges import BlockChange, State
from harvester.ledger import open_ledger
from harvester.tiling.tile import BlockKey
import numpy as np

class Killing(Disk):
    commits = 0
    def step(self, name, path):
        if name == sys.argv[2]:
            self.commits += 1
            if self.commits == int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)

async def main():
    ledger = await open_ledger(Path(sys.argv[1]), create=True, disk=Killing())
    key = BlockKey(9, 0, 0)
    await ledger.enlist([(key, np.ones((128, 128), dtype=bool))])
    for index in range(20):
        await ledger.record([BlockChange(key, State.STORED, [index])], {None: str(index)})
        print(index, flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("step", ["sqlite_begin", "sqlite_commit", "sqlite_committed"])
def test_a_killed_run_leaves_every_record_that_returned(path: Path, step: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", KILLED, str(path), step, "9"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode < 0, done.stderr
    returned = len(done.stdout.split())
    with read_ledger(path) as reader:
        assert returned <= reader.counts()[9].stored <= returned + 1

    async def act(ledger: SqliteLedger) -> None:
        assert returned <= (await ledger.counts()).stored <= returned + 1

    using(path, act)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
