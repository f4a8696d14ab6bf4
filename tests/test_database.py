"""SQLite as the project uses it: whole transactions, nothing left beside the file, errors with a remedy."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harvester.database import Database, is_written_here, open_read_only, read_header
from harvester.durable import Disk
from harvester.errors import CacheError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a #1 100%?.db"


def using(path: Path, act: Callable[[Database], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        database = await Database.open(path, disk=Disk(), **options)
        try:
            return await act(database)
        finally:
            await database.close()

    return asyncio.run(run())


async def make(database: Database) -> None:
    async with database.transaction():
        await database.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
        assert await database.executemany("INSERT INTO t VALUES (?, ?)", [(n, b"x" * 100) for n in range(50)]) == 50


def count(path: Path) -> int:
    connection = open_read_only(path)
    try:
        return int(connection.execute("SELECT count(*) FROM t").fetchone()[0])
    finally:
        connection.close()


def test_a_transaction_is_there_for_others_when_it_returns_and_no_journal_stays(path: Path) -> None:
    async def act(database: Database) -> None:
        await make(database)
        assert count(path) == 50
        assert is_written_here(path)

    using(path, act)
    assert not is_written_here(path)
    assert list(path.parent.iterdir()) == [path]


def test_a_transaction_that_failed_or_was_cancelled_left_nothing(path: Path) -> None:
    async def act(database: Database) -> None:
        await make(database)
        for error in (ValueError("no"), asyncio.CancelledError()):
            with pytest.raises(type(error)):
                async with database.transaction():
                    await database.execute("DELETE FROM t")
                    raise error
        async with database.transaction():
            await database.execute("DELETE FROM t WHERE a = 0")

    using(path, act)
    assert count(path) == 49


def test_transactions_of_two_tasks_come_one_after_the_other(path: Path) -> None:
    async def act(database: Database) -> None:
        await make(database)

        async def add(number: int) -> None:
            async with database.transaction():
                await database.execute("INSERT INTO t VALUES (?, x'')", (number,))
                await asyncio.sleep(0)

        await asyncio.gather(*(add(100 + number) for number in range(10)))

    using(path, act)
    assert count(path) == 60


def test_a_full_disk_is_rolled_back_and_said_so(path: Path) -> None:
    async def act(database: Database) -> None:
        await make(database)
        await database.execute("PRAGMA max_page_count=4")
        with pytest.raises(CacheError) as caught:
            async with database.transaction():
                await database.executemany("INSERT INTO t VALUES (?, ?)", [(n, bytes(9000)) for n in range(100, 200)])
        assert caught.value.code == "disk_full"
        assert "Free some space" in caught.value.hint
        async with database.transaction():
            await database.execute("INSERT INTO t VALUES (99, x'')")

    using(path, act)
    assert count(path) == 51


def test_a_file_that_another_program_holds_is_in_use(path: Path) -> None:
    using(path, make)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    async def act(database: Database) -> None:
        with pytest.raises(CacheError) as caught:
            async with database.transaction():
                await database.execute("DELETE FROM t")
        assert caught.value.code == "in_use"
        assert "Close the program" in caught.value.hint

    try:
        using(path, act, busy_seconds=0.01)
    finally:
        holder.close()
    assert count(path) == 50


def test_the_change_counter_grows_by_one_with_each_transaction(path: Path) -> None:
    def changes() -> int:
        header = read_header(path)
        assert header is not None
        return header.changes

    using(path, make)
    before = changes()

    async def act(database: Database) -> None:
        for number in range(3):
            async with database.transaction():
                await database.execute("UPDATE t SET b = ? WHERE a = 1", (bytes([number]),))

    using(path, act)
    assert changes() == before + 3


def test_what_is_no_database_is_told_apart_from_what_is_missing_empty_or_cut(path: Path) -> None:
    def code(opening: Callable[[Path], object]) -> str:
        with pytest.raises(CacheError) as caught:
            opening(path)
        assert caught.value.hint
        return caught.value.code

    assert read_header(path) is None
    assert code(open_read_only) == "missing"
    path.touch()
    assert read_header(path) is None
    assert code(open_read_only) == "missing"
    path.write_bytes(b"GIF89a" * 100)
    assert code(read_header) == code(open_read_only) == "not_a_cache"
    path.unlink()
    using(path, make)
    path.write_bytes(path.read_bytes()[:-5000])
    assert code(read_header) == code(open_read_only) == "damaged"
    path.unlink()
    path.mkdir()
    assert code(read_header) == code(open_read_only) == "not_a_cache"


def test_closing_twice_is_harmless_and_using_it_afterwards_an_error(path: Path) -> None:
    async def run() -> None:
        database = await Database.open(path, disk=Disk())
        await make(database)
        await database.close()
        await database.close()
        with pytest.raises(CacheError):
            await database.execute("SELECT 1")

    asyncio.run(run())
