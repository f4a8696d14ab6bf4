"""A block's tiles out of an SQLite table, some rows of tiles at a time: as many as a few megabytes hold.

The index is by column, then row, so a query seeks each of the 128 columns once. A row of tiles at a time is a seek for
every tile; a whole block at a time is one for a hundred of them, but of large tiles it would be 250 MB.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from harvester.database import sqlite_errors
from harvester.tiling.tile import BLOCK

if TYPE_CHECKING:
    from harvester.edges import Mask

STRIP_BYTES = 4 << 20
"""Of tiles in one answer: a block of the smallest ones, two rows of the usual 15 KB."""

FETCHED = 256
"""Tiles that are fetched before their bytes are counted: an answer that is too large is left after so many more."""

BODY = "CAST(tile_data AS BLOB)"
"""A tile's bytes whatever its column holds, for none refuses a text or a number: those are then judged like any other,
and come to no whole tile. NULL stays NULL."""

NO_BODY = "tile_data IS NULL OR length(tile_data) = 0"

TWICE = "is there more than once, and not as the same: which of them counts is not known"

UNLIKE = "min(CASE WHEN length(tile_data) > 0 THEN tile_data END) <> max(tile_data)"
"""Of the rows of one address: some that have bytes have different ones."""

NOT_THE_SAME = f"count(NULLIF(length(tile_data), 0)) < count(*) OR {UNLIKE}"
"""The same, and a row without bytes beside one with bytes is another."""

_ADDRESS = "zoom_level, tile_column, tile_row"

POSITIONS_AT_ONCE = 1024
"""Rows of an answer in memory: those of a whole block would take two megabytes, and with the next one's four."""

Query = Callable[[int, int], sqlite3.Cursor]
"""Rows (position row-major in the block, bytes), in any order, of the block's rows of tiles ``first .. last - 1``."""


def mask_of(cursor: sqlite3.Cursor) -> Mask:
    """The tiles at these positions of a block (row-major, one a row of the answer); shape (128, 128)."""
    import numpy as np

    mask = np.zeros(BLOCK * BLOCK, dtype=np.bool_)
    while rows := cursor.fetchmany(POSITIONS_AT_ONCE):
        mask[np.fromiter(chain.from_iterable(rows), np.int64, len(rows))] = True
    return mask.reshape(BLOCK, BLOCK)


def repeated(table: str, having: str, *, give: str = _ADDRESS, where: str = "1") -> str:
    """The query for addresses of which a table without a unique index has several rows, of these such as ``having``
    says. Only the bytes of these are looked at, those of all others are not sorted."""
    several = f"SELECT {_ADDRESS} FROM {table} WHERE {where} GROUP BY {_ADDRESS} HAVING count(*) > 1"
    return f"SELECT {give} FROM {table} JOIN ({several}) USING ({_ADDRESS}) GROUP BY {_ADDRESS} HAVING {having}"


class Strips:
    """Reads blocks; remembers how many rows of tiles an answer held, since neighbours are alike."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = BLOCK

    def read(self, query: Query) -> Iterator[tuple[int, bytes]]:
        """The tiles of one block, by position. No statement is open while one is looked at: it would keep a writer in
        another process from committing."""
        first = 0
        while first < BLOCK:
            rows = min(self._rows, BLOCK - first)
            with sqlite_errors(self._path, "read"):
                answer = _fetched(query(first, first + rows), may_be_large=rows == 1)
            if answer is None:
                self._rows = rows // 2
                continue
            first += rows
            found, size = answer
            if size < STRIP_BYTES // 4:
                self._rows = min(self._rows * 2, BLOCK)
            yield from found


def _fetched(cursor: sqlite3.Cursor, *, may_be_large: bool) -> tuple[list[tuple[int, bytes]], int] | None:
    """All rows of an answer in order, each position once, and their bytes; None where they are too many. Left out are
    positions with two different contents (nothing is one, too): which of them counts nobody knows."""
    found: list[tuple[int, bytes]] = []
    size = 0
    try:
        while part := cursor.fetchmany(FETCHED):
            rows = [(int(position), bytes(body or b"")) for position, body in part]
            found += rows
            size += sum(len(body) for _, body in rows)
            if size > STRIP_BYTES and not may_be_large:
                return None
    finally:
        cursor.close()
    found.sort(key=itemgetter(0))
    one = dict(found)
    if len(one) < len(found):
        unclear = {position for position, body in found if body != one[position]}
        one = {position: body for position, body in one.items() if position not in unclear}
    return [(position, body) for position, body in one.items() if body], size
