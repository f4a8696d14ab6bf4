"""How an MBTiles file is laid out inside: our two schemas, and which of the world's others a file has."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from enum import Enum

APPLICATION_ID = 0x4D504258
"""``MPBX`` in the header's application_id (MBTiles 1.3, Database)."""

METADATA = (
    "CREATE TABLE metadata (name TEXT NOT NULL, value TEXT)",
    "CREATE UNIQUE INDEX metadata_name ON metadata (name)",
)

# tiles     zoom_level    web-mercator zoom, 0..30
#           tile_column   from the left
#           tile_row      from the bottom (TMS): 2^zoom - 1 - row
#           tile_data     the tile's bytes
FLAT = (
    "CREATE TABLE tiles (zoom_level INTEGER NOT NULL, tile_column INTEGER NOT NULL, tile_row INTEGER NOT NULL,"
    " tile_data BLOB NOT NULL)",
    "CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row)",
)

# tiles_shallow   where a picture lies
# tiles_data      each different picture once, under 1, 2, 3 ...: ids that are hashes go everywhere into the index, and
#                 a batch then rewrites nearly all of it. Which pictures there are is said by a table of their hashes
#                 (mbtiles_index.py)
#
# These names and integer ids are Planetiler's. Under the other names in use, map and images, the ids have to be the
# pictures' MD5: MapLibre's ``mbtiles validate`` compares them, and an MD5 takes fifty times as long as an xxh3.
DEDUP = (
    "CREATE TABLE tiles_shallow (zoom_level INTEGER NOT NULL, tile_column INTEGER NOT NULL, tile_row INTEGER NOT NULL,"
    " tile_data_id INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX tiles_shallow_index ON tiles_shallow (zoom_level, tile_column, tile_row)",
    "CREATE TABLE tiles_data (tile_data_id INTEGER PRIMARY KEY, tile_data BLOB NOT NULL)",
    "CREATE VIEW tiles AS SELECT tiles_shallow.zoom_level AS zoom_level, tiles_shallow.tile_column AS tile_column,"
    " tiles_shallow.tile_row AS tile_row, tiles_data.tile_data AS tile_data FROM tiles_shallow JOIN tiles_data"
    " ON tiles_data.tile_data_id = tiles_shallow.tile_data_id",
)

ADDRESS = ("zoom_level", "tile_column", "tile_row")


class Kind(Enum):
    """What holds the tiles."""

    FLAT = "flat"
    """A table ``tiles`` with the bytes in it."""
    SHARED = "shared"
    """A view ``tiles`` over a table of addresses and one of pictures."""
    VIEW = "view"
    """A view that we can read and would not dare to write through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The tables of one file. ``index`` is what has a row for each tile; ``pictures`` has the bytes (SHARED only)."""

    kind: Kind
    index: str = "tiles"
    pictures: str = ""
    id_column: str = ""
    id_is_number: bool = False
    row_order: str = "rowid"
    """The column in whose order the rows of ``pictures`` lie."""
    missing_indexes: tuple[str, ...] = ()
    """SQL that must run before tiles can be replaced by their address."""
    writable: str = ""
    """Why it can't be written; empty when it can."""

    @property
    def may_repeat(self) -> bool:
        """Can an address have several rows? Nothing of the file prevents it."""
        return self.kind is Kind.VIEW or bool(self.missing_indexes)


FLAT_SCHEMA = Schema(kind=Kind.FLAT)
DEDUP_SCHEMA = Schema(
    kind=Kind.SHARED, index="tiles_shallow", pictures="tiles_data", id_column="tile_data_id", id_is_number=True
)

_SHARED_TABLES = (("map", "images", "tile_id"), ("tiles_shallow", "tiles_data", "tile_data_id"))
"""Addresses, pictures, and the column that joins them, as the tools in use name them."""


def detect(connection: sqlite3.Connection) -> Schema | None:
    """The schema of an open file; None when it has no ``tiles`` with the columns of MBTiles."""
    # SQLite takes names in any letters as the same.
    sql = "SELECT type, sql FROM sqlite_master WHERE name = 'tiles' COLLATE NOCASE"
    found = dict(connection.execute(sql).fetchall())
    if not {*ADDRESS, "tile_data"} <= set(_columns(connection, "tiles")):
        return None
    if "table" in found:
        return _flat(connection)
    if "view" not in found:
        return None
    for index, pictures, joint in _SHARED_TABLES:
        if _joins(found["view"], index, pictures, joint):
            return _shared(connection, index, pictures, joint)
    return Schema(kind=Kind.VIEW, writable="its tiles are a view of a kind that is not known here")


def _flat(connection: sqlite3.Connection) -> Schema:
    extra = [
        name
        for name, (required, default, _) in _columns(connection, "tiles").items()
        if required and default is None and name not in (*ADDRESS, "tile_data")
    ]
    missing = () if _is_unique(connection, "tiles", ADDRESS) else (FLAT[1],)
    writable = f"its tiles need a column {extra[0]} that is not known here" if extra else ""
    return Schema(kind=Kind.FLAT, missing_indexes=missing, writable=writable)


def _shared(connection: sqlite3.Connection, index: str, pictures: str, joint: str) -> Schema:
    addresses, bodies = _columns(connection, index), _columns(connection, pictures)
    writable = ""
    if not {*ADDRESS, joint} <= set(addresses) or not {joint, "tile_data"} <= set(bodies):
        return Schema(kind=Kind.VIEW, writable=f"its tables {index} and {pictures} lack columns")
    for columns, known in ((addresses, {*ADDRESS, joint}), (bodies, {joint, "tile_data"})):
        for name, (required, default, _) in columns.items():
            if required and default is None and name not in known:
                writable = f"its tiles need a column {name} that is not known here"
    missing = []
    if not _is_unique(connection, index, ADDRESS):
        missing.append(f"CREATE UNIQUE INDEX {index}_address ON {index} (zoom_level, tile_column, tile_row)")
    if not _is_unique(connection, pictures, (joint,)):
        missing.append(f"CREATE UNIQUE INDEX {pictures}_{joint} ON {pictures} ({joint})")
    id_is_number = "INT" in bodies[joint][2].upper()
    row_order = "rowid" if _has_rowid(connection, pictures) else joint
    if row_order != "rowid" and not id_is_number:
        writable = f"the rows of its table {pictures} have no number"
    return Schema(
        kind=Kind.SHARED,
        index=index,
        pictures=pictures,
        id_column=joint,
        id_is_number=id_is_number,
        row_order=row_order,
        missing_indexes=tuple(missing),
        writable=writable,
    )


def _joins(view: str, index: str, pictures: str, joint: str) -> bool:
    """Is the view nothing but these two tables joined? Then what is written to them is what it shows."""
    words = re.sub(r"[\"`\[\]()]", " ", view).lower()
    sources = re.findall(r"\b(?:from|join|,)\s+(\w+)", re.sub(r"^.*?\bfrom\b", "from", words, count=1, flags=re.DOTALL))
    return (
        set(sources) == {index, pictures}
        and joint in words
        and not re.search(r"\b(where|union|limit|group|distinct|except|intersect)\b", words)
    )


def _columns(connection: sqlite3.Connection, table: str) -> dict[str, tuple[bool, object, str]]:
    """Name -> (must be given, default, type)."""
    rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
    return {row[1].lower(): (bool(row[3]), row[4], row[2]) for row in rows}


def _has_rowid(connection: sqlite3.Connection, table: str) -> bool:
    """Not a table WITHOUT ROWID, nor a view?"""
    try:
        connection.execute(f"SELECT rowid FROM {table} LIMIT 0")
    except sqlite3.OperationalError:
        return False
    return True


def _is_unique(connection: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> bool:
    rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
    if {row[1].lower() for row in rows if row[5]} == set(columns):
        return True
    for _, name, unique, _, partial in connection.execute(f"PRAGMA index_list({table})").fetchall():
        found = {row[2].lower() for row in connection.execute(f'PRAGMA index_info("{name}")') if row[2]}
        if unique and not partial and found == set(columns):
            return True
    return False
