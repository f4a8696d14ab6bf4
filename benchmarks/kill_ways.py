"""The ways in which runs are killed: formats and what was there before, and what each must hold in the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from harvester.caches.open import FORMATS
from harvester.job import Job, Limits, Policy
from harvester.testing.service import ArcGisSite
from harvester.tiling.tile import Tile

NAMES = (
    "mbtiles",
    "mbtiles+dedup",
    "gpkg",
    "pmtiles",
    "tpk",
    "tpkx",
    "compact",
    "compactv2",
    "exploded",
    "xyz",
    "vtpk",
)
"""``+dedup``: identical tiles once."""

KINDS = ("map", "vector")
"""The services: pictures, and vector tiles for the one format that holds nothing else."""

MODES = ("new", "add", "replace")
"""Onto nothing; onto a cache that holds the upper levels; in place of a cache that holds everything."""

DEEPEST = 3
"""85 tiles less those that the service doesn't have: a run of a fifth of a second that opens several blocks."""

HELD_BEFORE = 1

OLD, NEW = 0, 1
"""Contents of the service: when the existing caches were made, and since."""


class Way(NamedTuple):
    """One way to be killed: a format and what was there before."""

    name: str
    mode: str

    def __str__(self) -> str:
        return f"{self.name} {self.mode}"


WAYS = tuple(Way(name, mode) for mode in MODES for name in NAMES)


def is_absent(tile: Tile) -> bool:
    """What the service doesn't have."""
    return tile.level == DEEPEST and tile.col == 5


def kind_of(way: Way) -> str:
    """Which of the two services a way harvests."""
    return "vector" if way.name == "vtpk" else "map"


@cache
def bodies_of(kind: str) -> Callable[[Tile], tuple[bytes, bytes]]:
    """What a service has sent for a tile, before and since."""

    @cache
    def bodies(tile: Tile) -> tuple[bytes, bytes]:
        old, new = (ArcGisSite(kind=kind, variant=variant).body(tile) for variant in (OLD, NEW))
        return old, new

    return bodies


def expected(way: Way) -> dict[Tile, bytes]:
    """What the cache holds in the end."""
    tiles = [
        Tile(level, row, col) for level in range(DEEPEST + 1) for row in range(2**level) for col in range(2**level)
    ]
    kept = HELD_BEFORE if way.mode == "add" else -1
    bodies = bodies_of(kind_of(way))
    return {tile: bodies(tile)[OLD if tile.level <= kept else NEW] for tile in tiles if not is_absent(tile)}


def out_of(folder: Path, way: Way) -> Path:
    """The cache's path."""
    return folder / ("out" + FORMATS[way.name.partition("+")[0]].suffix)


def job_of(url: str, out: Path, way: Way, levels: int) -> Job:
    """The command that is killed and given again."""
    format, _, dedup = way.name.partition("+")
    return Job(
        source=url,
        output=out,
        format=format,
        dedup=bool(dedup),
        mode="overwrite" if way.mode == "replace" else "merge",
        policies=(Policy(lods=((0, levels),)),),
        limits=Limits(retries=0),
    )
