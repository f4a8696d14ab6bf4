"""The durable state of every planned tile: one row for each block of 128 x 128, sparse rows for failures, in SQLite."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from harvester.database import Database, read_header
from harvester.durable import Disk
from harvester.edges import BlockChange, LedgerFailure, Stamps, State
from harvester.errors import CacheError
from harvester.events import Counts
from harvester.ledger_changes import Reasons, enlisted, reconciled, recorded
from harvester.ledger_reader import (
    APPLICATION_ID,
    DAMAGED,
    RUNS,
    TABLES,
    VERSION,
    LedgerReader,
    Run,
    check_version,
    counts_of,
    damaged_ledger,
    decode,
    encode,
    ledger_errors,
    read_ledger,
    runs_of,
)
from harvester.tiling.tile import BLOCK, BlockKey

if TYPE_CHECKING:
    from harvester.edges import Mask, States

__all__ = ["DAMAGED", "LedgerReader", "Run", "SqliteLedger", "open_ledger", "read_ledger"]

LEDGER_PAGE_SIZE = 4096
"""A commit rewrites the rows of one to three blocks, a few hundred bytes each: small pages make it small."""

KEPT_BLOCKS = 64
"""Blocks kept decoded, 1 MB: the plan's order stays in a block until it is done, a tilemap looks a few ahead."""

CHUNK = 256
"""Blocks in one query or one write."""

_EMPTY = encode(np.zeros((BLOCK, BLOCK), dtype=np.uint8))

_PUT_STATES = (
    "INSERT INTO block (level, row, col, states) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (level, row, col) DO UPDATE SET states = excluded.states"
)
_PUT_STAMP = (
    "INSERT INTO block (level, row, col, states, stamp) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (level, row, col) DO UPDATE SET stamp = excluded.stamp"
)
_PUT_FAILURE = "INSERT OR REPLACE INTO failure (level, row, col, position, reason) VALUES (?, ?, ?, ?, ?)"
_DROP_FAILURE = "DELETE FROM failure WHERE level = ? AND row = ? AND col = ? AND position = ?"

T = TypeVar("T")


async def open_ledger(
    path: Path, *, create: bool, disk: Disk | None = None, clock: Callable[[], float] = time.time
) -> SqliteLedger:
    """Open a ledger for writing, or make it. ``clock`` gives seconds since 1970, for the list of runs.

    Raises CacheError: ``missing`` (without ``create``), ``ledger_damaged`` (the caller removes the file and rebuilds it
    from the cache), ``ledger_version``, ``not_a_ledger`` (another SQLite database, which nobody may remove).
    """
    with ledger_errors(path):
        if read_header(path) is None and not create:
            raise CacheError(f"{path} does not exist", hint="Check the path.", code="missing")
        disk = disk or Disk()
        database = await Database.open(path, disk=disk, page_size=LEDGER_PAGE_SIZE)
        try:
            await _make_or_check(database, path)
        except BaseException:
            await database.close()
            raise
    return SqliteLedger(path, database, clock)


async def _make_or_check(database: Database, path: Path) -> None:
    names = {row[0] for row in await database.execute("SELECT name FROM sqlite_master")}
    if not names:
        async with database.transaction():
            await database.execute(f"PRAGMA application_id={APPLICATION_ID}")
            for sql in TABLES:
                await database.execute(sql)
            await database.execute("INSERT INTO meta VALUES ('schema', ?)", (str(VERSION),))
        return
    found = await database.execute("SELECT value FROM meta WHERE name = 'schema'") if "meta" in names else []
    check_version(names, found[0][0] if found else None, path)
    checked = [row[0] for row in await database.execute("PRAGMA quick_check(1)")]
    if checked != ["ok"]:
        raise damaged_ledger(path, str(checked[0]))


class SqliteLedger:
    """A ledger opened for writing, by the one run that holds the lock. Tiles that are not planned never get a state."""

    def __init__(self, path: Path, database: Database, clock: Callable[[], float]) -> None:
        self.path = path
        self._database = database
        self._clock = clock
        self._kept: OrderedDict[BlockKey, States] = OrderedDict()
        self._changing = asyncio.Lock()
        """Held from reading states to writing them: two changes of one block must not overwrite each other."""

    # ------------------------------------------------------------------------------------------ reading

    async def keys(self) -> list[BlockKey]:
        """Every block that has a row, by level, row, column."""
        rows = await self._execute("SELECT level, row, col FROM block ORDER BY level, row, col")
        return [BlockKey(*row) for row in rows]

    async def states(self, keys: Sequence[BlockKey]) -> list[States]:
        """States of these blocks, shape (128, 128) each, read-only; all UNPLANNED where there is no row."""
        found = {key: states for key in keys if (states := self._kept.get(key)) is not None}
        for part in _chunks(key for key in keys if key not in found):
            for *key, row in await self._rows(part, "states"):
                found[BlockKey(*key)] = decode(row, self.path)
        empty = decode(_EMPTY, self.path)
        return [found.get(key, empty) for key in keys]

    async def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """Stamps as last recorded; keys that have none are left out."""
        stamps: dict[BlockKey | None, str] = {}
        for (stamp,) in await self._execute("SELECT stamp FROM stamp"):
            stamps[None] = stamp
        for part in _chunks(keys):
            for *key, stamp in await self._rows(part, "stamp"):
                if stamp is not None:
                    stamps[BlockKey(*key)] = stamp
        return stamps

    async def counts(self, level: int | None = None) -> Counts:
        """Tiles by state, of one level or of all."""
        tallies = np.zeros(len(State), dtype=np.int64)
        last: Sequence[int] = (-1 if level is None else level, -1, -1)
        while True:
            rows = await self._execute(
                "SELECT level, row, col, states FROM block WHERE (level, row, col) > (?, ?, ?)"
                f" AND (? IS NULL OR level = ?) ORDER BY level, row, col LIMIT {CHUNK}",
                (*last, level, level),
            )
            for row in rows:
                tallies += np.bincount(decode(row[3], self.path).ravel(), minlength=len(State))
            if len(rows) < CHUNK:
                return counts_of([int(count) for count in tallies])
            last = rows[-1][:3]

    async def failures(self, limit: int) -> list[LedgerFailure]:
        """Failed tiles with their reasons, in plan order."""
        sql = "SELECT level, row, col, position, reason FROM failure ORDER BY level, row, col, position LIMIT ?"
        rows = await self._execute(sql, (limit,))
        return [LedgerFailure.of(BlockKey(*key).tile(position), reason) for *key, position, reason in rows]

    async def get_meta(self, name: str) -> Any:
        """One fact, None when unknown."""
        rows = await self._execute("SELECT value FROM meta WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    async def runs(self) -> list[Run]:
        """All runs, the first one first."""
        return runs_of(await self._execute(RUNS))

    # ------------------------------------------------------------------------------------------ writing

    async def enlist(self, blocks: Sequence[tuple[BlockKey, Mask]]) -> None:
        """Add tiles to the plan; nothing is written when all of them are in it already."""
        async with self._changing:
            await self._enlist(blocks)

    async def _enlist(self, blocks: Sequence[tuple[BlockKey, Mask]]) -> None:
        changed: dict[BlockKey, bytes] = {}
        for part in _chunks(blocks):
            there = {BlockKey(*key): row for *key, row in await self._rows([key for key, _ in part], "states")}
            for key, mask in part:
                row = enlisted(changed.get(key) or there.get(key), mask, self.path)
                if row is not None:
                    changed[key] = row
        if not changed:
            return
        async with self._transaction():
            for items in _chunks(changed.items()):
                await self._database.executemany(_PUT_STATES, [(*key, row) for key, row in items])
        for key in changed:
            self._kept.pop(key, None)

    async def record(self, changes: Sequence[BlockChange], stamps: Stamps) -> None:
        """Tiles that reached a state, with the stamps of the cache commit that holds them; durable on return."""
        async with self._changing:
            await self._record(changes, stamps)

    async def _record(self, changes: Sequence[BlockChange], stamps: Stamps) -> None:
        if not changes and not stamps:
            return
        keys = list(dict.fromkeys(change.key for change in changes))
        after = {key: states.copy() for key, states in zip(keys, await self.states(keys), strict=True)}
        await self._write(after, stamps, recorded(changes, after))

    async def reconcile(self, blocks: Sequence[tuple[BlockKey, Mask]], stamps: Stamps) -> None:
        """The cache's own index decides: planned tiles there are STORED, ended ones that aren't PENDING."""
        async with self._changing:
            await self._reconcile(blocks, stamps)

    async def _reconcile(self, blocks: Sequence[tuple[BlockKey, Mask]], stamps: Stamps) -> None:
        after: dict[BlockKey, States] = {}
        mended: Reasons = {}
        for part in _chunks(blocks):
            for (key, there), before in zip(part, await self.states([key for key, _ in part]), strict=True):
                change = reconciled(key, before, there)
                if change is not None:
                    after[key] = change[0]
                    mended.update(change[1])
        if after or stamps:
            await self._write(after, stamps, mended)

    async def _write(
        self,
        after: Mapping[BlockKey, States],
        stamps: Stamps,
        reasons: Reasons,
    ) -> None:
        """One transaction; ``reasons`` by block key and position, None for tiles that are failed no more."""
        database = self._database
        failed = [(*place, reason) for place, reason in reasons.items() if reason is not None]
        mended = [place for place, reason in reasons.items() if reason is None]
        async with self._transaction():
            if after:
                await database.executemany(_PUT_STATES, [(*key, encode(states)) for key, states in after.items()])
            if mended:
                await database.executemany(_DROP_FAILURE, mended)
            if failed:
                await database.executemany(_PUT_FAILURE, failed)
            of_blocks = [(*key, _EMPTY, stamp) for key, stamp in stamps.items() if key is not None]
            if of_blocks:
                await database.executemany(_PUT_STAMP, of_blocks)
            if None in stamps:
                await database.execute("INSERT OR REPLACE INTO stamp (id, stamp) VALUES (0, ?)", (stamps[None],))
        for key, states in after.items():
            states.flags.writeable = False
            self._kept[key] = states
            self._kept.move_to_end(key)
        while len(self._kept) > KEPT_BLOCKS:
            self._kept.popitem(last=False)

    async def set_meta(self, values: Mapping[str, Any]) -> None:
        """Facts about cache and job, durable on return; nothing is written when they are there already."""
        rows = {name: json.dumps(value, sort_keys=True) for name, value in values.items()}
        marks = ", ".join("?" * len(rows))
        there = dict(await self._execute(f"SELECT name, value FROM meta WHERE name IN ({marks})", tuple(rows)))
        new = [(name, value) for name, value in rows.items() if there.get(name) != value]
        if new:
            async with self._transaction():
                await self._database.executemany("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", new)

    async def add_run(self, output: str) -> int:
        """Remember that a run began; gives its number."""
        async with self._transaction():
            rows = await self._execute(
                "INSERT INTO run (output, started) VALUES (?, ?) RETURNING id", (output, self._clock())
            )
        return int(rows[0][0])

    async def finish_run(self, number: int, report: Mapping[str, Any]) -> None:
        """Remember how a run ended."""
        async with self._transaction():
            await self._execute(
                "UPDATE run SET ended = ?, report = ? WHERE id = ?", (self._clock(), json.dumps(report), number)
            )

    async def close(self) -> None:
        """Leave no journal behind. May be called twice."""
        self._kept.clear()
        await self._database.close()

    # ------------------------------------------------------------------------------------------ inside

    async def _execute(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        with ledger_errors(self.path):
            return await self._database.execute(sql, values)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        with ledger_errors(self.path):
            try:
                async with self._database.transaction():
                    yield
            except BaseException:
                # A commit may have succeeded before it was cancelled: what is kept may be older than the file.
                self._kept.clear()
                raise

    async def _rows(self, keys: Sequence[BlockKey], column: str) -> list[Any]:
        values = ",".join(f"({level},{row},{col})" for level, row, col in keys)
        # CROSS JOIN: one seek for each key. Row values with IN would be a scan of the whole table.
        sql = (
            f"WITH wanted (l, r, c) AS (VALUES {values}) SELECT level, row, col, {column}"
            " FROM wanted CROSS JOIN block ON level = l AND row = r AND col = c"
        )
        return await self._execute(sql) if keys else []


def _chunks(values: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(values)
    while part := list(islice(iterator, CHUNK)):
        yield part
