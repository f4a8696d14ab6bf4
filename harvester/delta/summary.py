"""What a verb did to a cache, counted while it is done: tiles and bytes per LOD, damaged tiles, what dedup saved."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harvester.caches.folders import kind_of
from harvester.caches.open import open_cache
from harvester.edges import CacheReader, Outcome, ServiceInfo
from harvester.payload import judge
from harvester.tiling.tile import Tile

DEDUPLICATED = frozenset({"mbtiles", "pmtiles"})
"""Formats that can store identical tiles once."""

DAMAGES_KEPT = 1000
"""Damaged tiles that are listed one by one; all are counted."""


@dataclass(slots=True, kw_only=True)
class Summary:
    """What a copy did. ``tiles`` were written, ``kept`` were there already."""

    sources: list[str]
    output: str
    format: str
    tiles: int = 0
    size: int = 0
    """Bytes of the tiles written."""
    kept: int = 0
    collisions: int = 0
    """Tiles that several caches hold."""
    identical: int = 0
    """Of these, those with the same bytes everywhere."""
    damaged: int = 0
    dedup_saved: int | None = None
    """Bytes of tiles that are stored as another tile's; None where each tile has its own."""
    lods: dict[int, list[int]] = field(default_factory=dict)
    """Tiles and bytes written by level, coarsest first."""
    damages: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    told: int = 0
    """How many of the notices were told before the first tile."""

    @property
    def complete(self) -> bool:
        """True when every tile came along."""
        return self.damaged == 0

    @property
    def exit_code(self) -> int:
        """0 complete, 1 without some damaged tiles."""
        return 0 if self.complete else 1

    def add(self, tile: Tile, body: bytes) -> None:
        """Count a tile that is written."""
        self.tiles += 1
        self.size += len(body)
        lod = self.lods.setdefault(tile.level, [0, 0])
        lod[0] += 1
        lod[1] += len(body)

    def add_damage(self, source: str, tile: Tile, reason: str) -> None:
        """Count a tile that does not come along, and keep it as long as the list is short."""
        self.damaged += 1
        if len(self.damages) < DAMAGES_KEPT:
            self.damages.append({"source": source, **tile._asdict(), "reason": reason})

    def add_gone(self, source: str, tiles: int, what: str) -> None:
        """Count tiles that do not come along and of which it isn't known where they were."""
        self.damaged += tiles
        self.notices.append(f"{source}: {what}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``convert`` and ``merge``."""
        return {
            "sources": self.sources,
            "output": self.output,
            "format": self.format,
            "complete": self.complete,
            "tiles": self.tiles,
            "bytes": self.size,
            "kept": self.kept,
            "collisions": self.collisions,
            "identical": self.identical,
            "damaged": self.damaged,
            "dedup_saved": self.dedup_saved,
            "lods": [{"level": level, "tiles": n, "bytes": size} for level, (n, size) in self.lods.items()],
            "damages": self.damages,
            "notices": self.notices,
        }


def kind_or_trouble(body: bytes, info: ServiceInfo) -> tuple[str, str]:
    """A tile's kind, or nothing and why it is no whole tile. A picture of another size than stated is a whole one:
    caches hold them, and their bytes are kept."""
    scheme = info.scheme
    verdict = judge(body, stated=info.tile_format, width=scheme.tile_width, height=scheme.tile_height)
    if verdict.outcome is Outcome.WHOLE:
        return verdict.kind, ""
    if verdict.reason == "wrong_size" and (kind := kind_of(body)):
        return kind, ""
    return "", verdict.reason


def dedup_saved(out: Path) -> int | None:
    """Bytes that a finished cache saves by storing identical tiles once; None where its format or schema doesn't."""
    from harvester.caches.mbtiles_reader import STAMP, MBTilesReader
    from harvester.caches.mbtiles_schema import Kind
    from harvester.caches.mbtiles_state import FileState
    from harvester.database import open_read_only, read_header, sqlite_errors

    with open_cache(out) as reader:
        if not isinstance(reader, MBTilesReader):
            return _saved_in_archive(reader)
        if reader.schema.kind is not Kind.SHARED:
            return None
        pictures = reader.schema.pictures
        state, header = FileState.read(reader.metadata.get(STAMP, "")), read_header(out)
    if state.saved is not None and header is not None and state.changes == header.changes:
        return state.saved
    connection = open_read_only(out)
    try:
        with sqlite_errors(out, "read"):
            # The length of a BLOB is in its row's header: no picture is read.
            (total,) = connection.execute("SELECT coalesce(sum(length(tile_data)), 0) FROM tiles").fetchone()
            (held,) = connection.execute(f"SELECT coalesce(sum(length(tile_data)), 0) FROM {pictures}").fetchone()
    finally:
        connection.close()
    return int(total) - int(held)


def _saved_in_archive(reader: CacheReader) -> int | None:
    from harvester.caches.pmtiles import PMTilesReader

    if not isinstance(reader, PMTilesReader):
        return None
    # Lengths are in the directories: no tile is read.
    total = sum(int(reader.spans(key)[1].sum()) for level in reader.levels() for key in reader.blocks(level))
    return total - reader.header.data_length
