"""What a GeoPackage remembers of the last transaction that was ours, so that it is known when another wrote."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from harvester.caches.geopackage_schema import STATE


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """What the file remembers of our last transaction, as JSON in one row of gpkg_metadata."""

    stamp: str = ""
    """New with every transaction that touches tiles (harvester/caches/generation.py)."""
    changes: int = -1
    """The file's change counter after that transaction: another value there means that someone else wrote since."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Tiles written, by kind."""
    tables: tuple[str, ...] = ()
    """The tables that together are one cache, coarsest first."""
    finished: str = ""
    """The stamp that the extents were computed at."""

    @classmethod
    def read(cls, text: str) -> FileState:
        """What a row holds; a new state where it is not ours to read."""
        try:
            row = json.loads(text)
            return cls(
                stamp=str(row["stamp"]),
                changes=int(row["changes"]),
                kinds={str(name): int(count) for name, count in row["kinds"].items()},
                tables=tuple(str(name) for name in row["tables"]),
                finished=str(row["finished"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return cls()

    def text(self) -> str:
        """The row."""
        row = {
            "stamp": self.stamp,
            "changes": self.changes,
            "kinds": dict(self.kinds),
            "tables": list(self.tables),
            "finished": self.finished,
        }
        return json.dumps(row, sort_keys=True)


def names_of(connection: sqlite3.Connection) -> set[str]:
    """Names of tables and views, in lower case."""
    return {str(row[0]).lower() for row in connection.execute("SELECT name FROM sqlite_master")}


def metadata_row(connection: sqlite3.Connection, standard: str) -> str | None:
    """The text of the row of gpkg_metadata under one of our URIs."""
    if "gpkg_metadata" not in names_of(connection):
        return None
    sql = "SELECT metadata FROM gpkg_metadata WHERE md_standard_uri = ? ORDER BY id LIMIT 1"
    rows = connection.execute(sql, (standard,)).fetchall()
    return str(rows[0][0]) if rows else None


def read_state(connection: sqlite3.Connection) -> FileState | None:
    """Our own state; None in a file that we did not write."""
    text = metadata_row(connection, STATE)
    return None if text is None else FileState.read(text)
