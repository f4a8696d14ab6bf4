"""The hash of all tiles of an MBTiles file, as MapLibre's ``mbtiles`` computes it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harvester.database import open_beside_writer, sqlite_errors

HASH = "agg_tiles_hash"
"""Metadata row: MD5 over zoom, column, row (decimal digits) and bytes of every tile, in that order, upper-case hex."""

IN_ORDER = "SELECT zoom_level, tile_column, tile_row, CAST(tile_data AS BLOB) FROM tiles ORDER BY 1, 2, 3"

OF_NOTHING = "D41D8CD98F00B204E9800998ECF8427E"
"""The hash of a file without tiles: MD5 of no bytes (RFC 1321, A.5)."""


def hash_of(path: Path) -> str:
    """The hash of the tiles that are committed. Blocks for as long as reading all takes; raises CacheError."""
    digest = hashlib.md5(usedforsecurity=False)
    with sqlite_errors(path, "read"):
        connection = open_beside_writer(path)
        try:
            for zoom, col, row, body in connection.execute(IN_ORDER):
                digest.update(f"{zoom}{col}{row}".encode())
                digest.update(body)
        finally:
            connection.close()
    return digest.hexdigest().upper()
