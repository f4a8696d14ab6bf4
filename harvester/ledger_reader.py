"""How a ledger lies in its SQLite file, and reading one, also while a run writes it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harvester.database import OpenedDatabase, is_unborn, open_read_only, sqlite_errors
from harvester.database.header import HEADER_BYTES, MAGIC
from harvester.durable import FILE, disk_error, kind_of
from harvester.edges import LedgerFailure, State
from harvester.errors import CacheError
from harvester.events import Counts
from harvester.tiling.tile import BLOCK, BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges import States

VERSION = 1
"""Of the layout below; a ledger of a later version is refused."""

APPLICATION_ID = 0x48524C31
"""``HRL1`` in the header's application_id."""

LISTING, LISTED = "listing", "listed"
"""Facts: the fingerprint of a plan whose tiles are being listed, and of the last one of which all are."""

UNPROVEN = "tilemap_unproven"
"""Fact: fingerprints of plans of which tiles may be absent by a tilemap that was not held against any tile yet."""

DENIED = "tilemap_denied"
"""Fact: by job, the last run in which its tilemap denied tiles that are pending since that could not be told: ``run``,
of the tiles then ``asked`` how many ``answered``, the ``trouble`` of one, and ``absences`` as they were by its word."""

TRIED = "tried"
"""Fact: pending tiles that a run asked before it ended: ``tiles``, lists of run, what came (``edges.told``) and tiles
(level, row, col); ``more``: whether others are not listed."""

DAMAGED = "ledger_damaged"
"""``code`` of the CacheError for a ledger that can't be trusted; the cache knows its tiles still."""

# block     level, row, col   the block's key (row and col of its first tile)
#           states            16,384 bytes, one State a tile, row-major, zlib
#           stamp             the block's stamp as last recorded, NULL where the format has none of blocks
# failure   level, row, col   the block's key
#           position          row-major position in the block
#           reason
# stamp     the whole cache's stamp, at most one row
# meta      name, value       facts about cache and job, as JSON; ``schema`` is the version
# run       id, output, started and ended (seconds since 1970), report (JSON, NULL while it runs or when it was killed)
TABLES = (
    "CREATE TABLE block (level INTEGER NOT NULL, row INTEGER NOT NULL, col INTEGER NOT NULL, states BLOB NOT NULL,"
    " stamp TEXT, PRIMARY KEY (level, row, col)) WITHOUT ROWID",
    "CREATE TABLE failure (level INTEGER NOT NULL, row INTEGER NOT NULL, col INTEGER NOT NULL,"
    " position INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (level, row, col, position)) WITHOUT ROWID",
    "CREATE TABLE stamp (id INTEGER PRIMARY KEY CHECK (id = 0), stamp TEXT NOT NULL)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE run (id INTEGER PRIMARY KEY, output TEXT NOT NULL, started REAL NOT NULL, ended REAL, report TEXT)",
)

BLOCKS_AT_ONCE = 256
"""Rows of one read: 4 MB of states, and no statement stays open to keep the run from committing."""

COMPRESSION = 1
"""States compress to tens of bytes at any level; 1 takes the least time."""

_LARGEST_STATE = max(State)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run as the ledger remembers it: times in seconds since 1970; no end and no report when it was killed."""

    id: int
    output: str
    started: float
    ended: float | None
    report: Mapping[str, Any] | None


def is_ledger(path: Path) -> bool:
    """Does a file say, in its header, that it is a ledger, whole or damaged? Where less is there, by what is; an empty
    file says nothing. Not while this process has it open. Raises CacheError where it can't be read."""
    if kind_of(path) != FILE:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
    except OSError as cause:
        raise disk_error("read", path, cause) from cause
    begin, number = MAGIC[: len(head)], APPLICATION_ID.to_bytes(4, "big")
    return bool(head) and (is_unborn(path) or (head[:16] == begin and head[68:72] == number[: max(0, len(head) - 68)]))


def damaged_ledger(path: Path, what: str) -> CacheError:
    """The CacheError for a ledger that can't be trusted."""
    hint = "Move it away and run the same command again: it is rebuilt from the cache."
    return CacheError(f"the ledger {path} is damaged: {what}", hint=hint, code=DAMAGED)


@contextmanager
def ledger_errors(path: Path) -> Iterator[None]:
    """Give damage the ledger's own code."""
    try:
        yield
    except CacheError as error:
        if error.code not in ("damaged", "not_a_cache"):
            raise
        raise damaged_ledger(path, error.message.removeprefix(f"{path} is damaged: ")) from error


def encode(states: States) -> bytes:
    """States to the bytes of a row."""
    return zlib.compress(states.tobytes(), COMPRESSION)


def decode(row: bytes, path: Path) -> States:
    """The bytes of a row to states, shape (128, 128), read-only. Raises CacheError ``ledger_damaged``."""
    try:
        return _decoded(row)
    except (zlib.error, TypeError, ValueError) as cause:
        raise damaged_ledger(path, f"the states of a block can't be read ({cause})") from cause


@lru_cache(maxsize=64)
def _decoded(row: bytes) -> States:
    # Most blocks of a plan are all pending or all stored: the same few rows over and over.
    states = np.frombuffer(zlib.decompress(row), dtype=np.uint8).reshape(BLOCK, BLOCK)
    if int(states.max()) > _LARGEST_STATE:
        raise ValueError("there is no such state")
    return states


def counts_of(tallies: Sequence[int]) -> Counts:
    """Counts from tiles by State value."""
    return Counts(
        planned=sum(tallies[1:]),
        stored=tallies[State.STORED],
        unchanged=tallies[State.UNCHANGED],
        absent=tallies[State.ABSENT],
        failed=tallies[State.FAILED],
        pending=tallies[State.PENDING],
    )


def check_version(names: set[str], found: object, path: Path) -> None:
    """Refuse what is no ledger, and ledgers of a later version. ``found`` is the JSON of ``schema``."""
    if not {"block", "failure", "stamp", "meta", "run"} <= names:
        raise CacheError(f"{path} is not a ledger", hint="Move it away.", code="not_a_ledger")
    version = json.loads(found) if isinstance(found, str) and found.isdecimal() else None
    if version is None:
        raise damaged_ledger(path, "it does not say its version")
    if version > VERSION:
        hint = "Use the harvester that wrote it, or a later one."
        raise CacheError(
            f"{path} is of a later version ({version}, known: {VERSION})", hint=hint, code="ledger_version"
        )


def read_ledger(path: Path) -> LedgerReader:
    """Open a ledger for reading. Raises CacheError (``missing``, ``ledger_damaged``, ``ledger_version``)."""
    with ledger_errors(path):
        connection = open_read_only(path)
        try:
            with sqlite_errors(path, "read"):
                names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
                found = connection.execute("SELECT value FROM meta WHERE name = 'schema'") if "meta" in names else None
                check_version(names, (found.fetchone() or (None,))[0] if found else None, path)
        except BaseException:
            connection.close()
            raise
    return LedgerReader(path, connection)


class LedgerReader(OpenedDatabase):
    """A ledger opened for reading; each query sees what was committed when it began."""

    def _query(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        with ledger_errors(self.path):
            return super()._query(sql, values)

    def blocks(self, level: int | None = None) -> Iterator[tuple[BlockKey, States]]:
        """Blocks with planned tiles, in plan order, with their states, shape (128, 128), read-only."""
        last: tuple[int, int, int] = (-1 if level is None else level, -1, -1)
        only = "" if level is None else " AND level = ?"
        sql = f"SELECT level, row, col, states FROM block WHERE (level, row, col) > (?, ?, ?){only}"
        while True:
            values = last if level is None else (*last, level)
            rows = self._query(f"{sql} ORDER BY level, row, col LIMIT {BLOCKS_AT_ONCE}", values)
            for *key, row in rows:
                states = decode(row, self.path)
                if states.any():
                    yield BlockKey(*key), states
            if len(rows) < BLOCKS_AT_ONCE:
                return
            last = rows[-1][:3]

    def states(self, key: BlockKey) -> States:
        """The states of one block, all UNPLANNED where the ledger has no row."""
        rows = self._query("SELECT states FROM block WHERE level = ? AND row = ? AND col = ?", key)
        return decode(rows[0][0], self.path) if rows else np.zeros((BLOCK, BLOCK), dtype=np.uint8)

    def levels(self) -> list[int]:
        """Levels with planned tiles, ascending."""
        return sorted(self.counts())

    def counts(self) -> dict[int, Counts]:
        """Tiles by state, for each level with planned tiles."""
        tallies: dict[int, Any] = {}
        for key, states in self.blocks():
            found = np.bincount(states.ravel(), minlength=len(State))
            tallies[key.level] = tallies.get(key.level, 0) + found
        return {level: counts_of([int(count) for count in found]) for level, found in tallies.items()}

    def failures(self, limit: int | None = None) -> list[LedgerFailure]:
        """Failed tiles with their reasons, in plan order."""
        sql = "SELECT level, row, col, position, reason FROM failure ORDER BY level, row, col, position LIMIT ?"
        rows = self._query(sql, (-1 if limit is None else limit,))
        return [LedgerFailure.of(BlockKey(*key).tile(position), reason) for *key, position, reason in rows]

    def failure(self, tile: Tile, key: BlockKey) -> LedgerFailure | None:
        """Why a tile failed; None when it didn't."""
        sql = "SELECT reason FROM failure WHERE level = ? AND row = ? AND col = ? AND position = ?"
        rows = self._query(sql, (*key, key.position(tile)))
        return LedgerFailure.of(tile, rows[0][0]) if rows else None

    def meta(self, name: str) -> Any:
        """One fact, None when unknown."""
        rows = self._query("SELECT value FROM meta WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    @property
    def is_listed(self) -> bool:
        """False where the run that came last ended before all tiles of its plan were listed, or begins just now."""
        # Ledgers of earlier versions don't say it; but they know of a run only once its plan is listed.
        return self.meta(LISTING) is None and (self.meta(LISTED) is not None or bool(self.runs()))

    @property
    def unproven(self) -> int:
        """Absent tiles, some of which a tilemap denied that was not held against any tile yet; 0 where none is."""
        return sum(counts.absent for counts in self.counts().values()) if self.meta(UNPROVEN) else 0

    def stamp(self) -> str | None:
        """The whole cache's stamp as last recorded."""
        rows = self._query("SELECT stamp FROM stamp")
        return rows[0][0] if rows else None

    def runs(self) -> list[Run]:
        """All runs, the first one first."""
        return runs_of(self._query(RUNS))


RUNS = "SELECT id, output, started, ended, report FROM run ORDER BY id"


def runs_of(rows: Sequence[Any]) -> list[Run]:
    """Rows of RUNS as records."""
    return [
        Run(id=number, output=output, started=started, ended=ended, report=json.loads(report) if report else None)
        for number, output, started, ended, report in rows
    ]
