"""What a delta knows of the two caches it was made from: their tile sets' hashes, and every tile that differs.

Two kinds of notes. ``index.json``:

    {"version": 1, "scheme": {...}, "base": {"5": "<32 hex>"}, "target": {...}, "added", "changed", "deleted": N,
     "blocks": [[level, row, col], ...]}

and for each block of ``blocks`` one of the name ``level/row/col``: zlib of records, little endian, by position:

    u16 position   row-major in the block of 128 x 128
    u64 old        hash of the tile's bytes in the base, 0 where it had none
    u64 new        the same in the target

A tile set's hash, LOD by LOD: xxh3-128 over (row u64, column u64, hash of the bytes u64) of its tiles, blocks by row
and column, then tiles by row and column. The hash of bytes is xxh3-64, 1 where that is 0.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import xxhash

from harvester.errors import CacheError
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.scheme_json import scheme_from_json, scheme_to_json
from harvester.tiling.tile import BLOCK_TILES, BlockKey, Tile

INDEX = "index.json"
VERSION = 1

RECORD = np.dtype([("position", "<u2"), ("old", "<u8"), ("new", "<u8")])

_TILE = struct.Struct("<QQQ")

MAX_BLOCK_BYTES = RECORD.itemsize * BLOCK_TILES
"""Of a block's records: a note that inflates to more is none of ours."""


class Touched(NamedTuple):
    """What is to become of one tile: the hashes of its bytes before and after, 0 for none."""

    old: int
    new: int


def hash_of(body: bytes) -> int:
    """The hash of a tile's bytes, never 0."""
    return xxhash.xxh3_64_intdigest(body) or 1


class SetHash:
    """The hash of a tile set, tile by tile in the plan's order."""

    def __init__(self) -> None:
        self._digests: dict[int, Any] = {}

    def add(self, tile: Tile, body_hash: int) -> None:
        """The next tile; LODs may come in any order."""
        digest = self._digests.get(tile.level)
        if digest is None:
            digest = self._digests[tile.level] = xxhash.xxh3_128()
        digest.update(_TILE.pack(tile.row, tile.col, body_hash))

    def result(self) -> dict[int, str]:
        """By level, those without tiles left out."""
        return {level: digest.hexdigest() for level, digest in sorted(self._digests.items())}


def pack_block(touched: Mapping[int, Touched]) -> bytes:
    """One block's note, by position."""
    rows = [(position, *touched[position]) for position in sorted(touched)]
    return zlib.compress(np.array(rows, dtype=RECORD).tobytes(), 6)


def parse_block(data: bytes, where: str) -> dict[int, Touched]:
    """What ``pack_block`` wrote. Raises CacheError on anything else."""
    try:
        inflater = zlib.decompressobj()
        plain = inflater.decompress(data, MAX_BLOCK_BYTES)
        rows = np.frombuffer(plain, dtype=RECORD)
    except (zlib.error, ValueError) as cause:
        raise broken(where) from cause
    positions = rows["position"].tolist()
    if not inflater.eof or any(position >= BLOCK_TILES for position in positions):
        raise broken(where)
    pairs = zip(rows["old"].tolist(), rows["new"].tolist(), strict=True)
    return {position: Touched(*pair) for position, pair in zip(positions, pairs, strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The delta as a whole, in the levels of ``scheme``."""

    scheme: TilingScheme
    base: Mapping[int, str]
    """Tile set hashes by level."""
    target: Mapping[int, str]
    added: int = 0
    changed: int = 0
    deleted: int = 0
    blocks: Sequence[BlockKey] = field(default_factory=tuple)

    @property
    def identity(self) -> str:
        """One short word for the base."""
        return xxhash.xxh3_128_hexdigest(json.dumps(sorted(self.base.items())).encode())

    def pack(self) -> bytes:
        """The note."""
        document = {
            "version": VERSION,
            "scheme": scheme_to_json(self.scheme),
            "base": {str(level): text for level, text in self.base.items()},
            "target": {str(level): text for level, text in self.target.items()},
            "added": self.added,
            "changed": self.changed,
            "deleted": self.deleted,
            "blocks": [list(key) for key in self.blocks],
        }
        return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def parse(cls, data: bytes, where: str) -> Index:
        """Read the note. Raises CacheError."""
        try:
            document = json.loads(data)
            version = document["version"]
            if version == VERSION:
                return cls(
                    scheme=scheme_from_json(document["scheme"]),
                    base={int(level): str(text) for level, text in document["base"].items()},
                    target={int(level): str(text) for level, text in document["target"].items()},
                    added=int(document["added"]),
                    changed=int(document["changed"]),
                    deleted=int(document["deleted"]),
                    blocks=tuple(BlockKey(*map(int, key)) for key in document["blocks"]),
                )
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as cause:
            raise broken(where) from cause
        hint = "Use the version of harvester that made it."
        raise CacheError(f"{where} is a delta of version {version!r}, not {VERSION}", hint=hint, code="version")

    def blocks_of(self, level: int) -> Iterator[BlockKey]:
        """Blocks of a level that hold a touched tile, by row, then column."""
        return (key for key in sorted(self.blocks) if key.level == level)

    def levels(self, held: Iterable[int]) -> list[int]:
        """Levels of the delta and those ``held``, coarsest first."""
        wanted = {*held, *self.base, *self.target, *(key.level for key in self.blocks)}
        return [lod.level for lod in self.scheme.lods if lod.level in wanted]


def block_name(key: BlockKey) -> str:
    """The name of a block's note."""
    return f"{key.level}/{key.row}/{key.col}"


def broken(where: str) -> CacheError:
    """The error for notes that can't be read."""
    hint = "Copy it again from where it was made, or make it anew: harvester diff."
    return CacheError(f"{where} is damaged: what it says of its base can't be read", hint=hint, code="damaged")
