"""SQLite is watched at its files: every write and sync is told, a step that raises fails, and nothing stays behind."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from harvester.testing import CrashingDisk, CrashPoint
from harvester.testing.crash import SqliteSteps
from harvester.testing.sqlite_files import SqliteWatch, can_watch, watching_sqlite

pytestmark = pytest.mark.skipif(not can_watch(), reason="this Python hides the functions of its SQLite")


class Copy(SqliteWatch):
    """Builds the files anew from what it is told."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.told: Counter[str] = Counter()
        self.order: list[str] = []

    def step(self, name: str, path: Path) -> None:
        self.order.append(f"{name} {path.suffix}")

    def created(self, path: Path) -> None:
        self.files[path.name] = bytearray()

    def written(self, path: Path, offset: int, data: bytes) -> None:
        content = self.files[path.name]
        content.extend(bytes(max(0, offset + len(data) - len(content))))
        content[offset : offset + len(data)] = data

    def truncated(self, path: Path, size: int) -> None:
        del self.files[path.name][size:]

    def synced(self, path: Path) -> None:
        self.told["synced"] += 1

    def folder_synced(self, path: Path) -> None:
        self.told["folder synced"] += 1

    def removed(self, path: Path) -> None:
        del self.files[path.name]


def fill(path: Path, rows: int = 3, committed: list[int] | None = None) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=TRUNCATE")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
        for row in range(rows):
            connection.execute("INSERT INTO t VALUES (randomblob(9000))")
            if committed is not None:
                committed.append(row)
    finally:
        connection.close()


def test_the_files_can_be_built_anew_from_what_is_told(tmp_path: Path) -> None:
    watch = Copy()
    with watching_sqlite(watch):
        fill(tmp_path / "a.db")
    there = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name: bytes(content) for name, content in watch.files.items()} == there
    assert watch.told["folder synced"] == 1
    assert watch.told["synced"] >= 4 * 3


def test_the_journal_is_synced_before_the_database_is_written(tmp_path: Path) -> None:
    watch = Copy()
    with watching_sqlite(watch):
        fill(tmp_path / "a.db", rows=1)
    first = watch.order.index("sqlite_write .db")
    assert "sqlite_sync .db-journal" in watch.order[:first]


def test_afterwards_nothing_is_told_and_connections_from_within_go_on(tmp_path: Path) -> None:
    watch = Copy()
    with watching_sqlite(watch):
        fill(tmp_path / "a.db")
        connection = sqlite3.connect(tmp_path / "a.db")
    told = len(watch.order)
    with connection:
        connection.execute("INSERT INTO t VALUES (1)")
    connection.close()
    fill(tmp_path / "b.db")
    assert len(watch.order) == told
    assert sqlite3.connect(tmp_path / "a.db").execute("SELECT count(*) FROM t").fetchone() == (4,)


def test_two_watches_at_once_are_refused() -> None:
    with watching_sqlite(Copy()), pytest.raises(RuntimeError), watching_sqlite(Copy()):
        pass


class Gone(Exception):
    """Stands for the end of the process."""


def test_a_process_that_dies_at_any_step_of_sqlites_leaves_the_rows_that_were_committed(tmp_path: Path) -> None:
    whole = CrashingDisk(CrashPoint(0))
    with watching_sqlite(SqliteSteps(whole)):
        fill(tmp_path / "whole.db")
    assert whole.names["sqlite_sync"] > 8
    for number in range(1, whole.steps + 1):
        path, committed = tmp_path / f"{number}.db", list[int]()

        def die() -> None:
            raise Gone

        # Each later step raises as well: from here on nothing reaches the disk.
        disk = _Dead(number, die)
        with watching_sqlite(SqliteSteps(disk)), pytest.raises(sqlite3.Error):
            fill(path, committed=committed)
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        rows = connection.execute("SELECT count(*) FROM t").fetchone()[0] if tables else 0
        connection.close()
        # The one whose commit failed may have been durable already.
        assert len(committed) <= rows <= len(committed) + 1


class _Dead(CrashingDisk):
    def step(self, name: str, path: Path) -> None:
        super().step(name, path)
        if self.steps > self._point.number:
            self._kill()

    def __init__(self, number: int, kill: object) -> None:
        super().__init__(CrashPoint(number), kill=kill)  # type: ignore[arg-type]
