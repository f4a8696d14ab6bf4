"""Which layers vector tiles have that nothing states: all tiles are looked at where they are few, else a sample.

Source of what is found: Mapbox Vector Tile 2.1, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from harvester.caches.vector_layers import zoom_of
from harvester.edges import CacheReader, TileFormat, VectorLayer
from harvester.payload.mvt import STRING, layers_of
from harvester.tiling.tile import BlockKey, Tile

WHOLE_TILES = 2048
WHOLE_BYTES = 32 << 20
"""Levels are looked at wholly, in their order, while they have no more tiles (zooms 0-5 of the world are 1,365) and
bytes in all: that takes some seconds."""

SAMPLE_BLOCKS = 8
SAMPLE_TILES = 8
"""Of each other level, tiles of so many blocks, and so many tiles of a block, are looked at: a layer that none of 64
tiles spread over a level has is rare, and a planet's tiles take days to read. A level that has no more is looked at
wholly in any case."""

LOOKED_BLOCKS = 64
"""Blocks of a level among which those are chosen: finding out which blocks hold tiles reads an index for each."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The layers of vector tiles, and the zooms of whose tiles only a sample was looked at for them."""

    layers: tuple[VectorLayer, ...]
    sampled: tuple[int, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        """For a person, where the list may lack something."""
        if not self.layers or not self.sampled:
            return ()
        return (
            f"vector_layers: nothing lists the layers, and of zoom {_in_words(self.sampled)} only a sample of the tiles"
            " was looked at for them: layers and fields that few tiles have may be missing, or be at more zooms",
        )


def layers_for(stated: Sequence[VectorLayer], reader: CacheReader) -> Listed:
    """What a writer lists for the tiles that it holds: what its source states, else what the tiles have."""
    return Listed(tuple(stated)) if stated else survey(reader)


def survey(reader: CacheReader) -> Listed:
    """The layers that a cache's tiles have, by name; the same for the same tiles."""
    if reader.info.tile_format not in (TileFormat.PBF, TileFormat.UNKNOWN):
        return Listed(())
    look = _Look(reader)
    sampled = [zoom_of(reader.info.scheme, level) for level in reader.levels() if not look.at(level)]
    return Listed(look.layers(), tuple(sorted(set(sampled))))


@dataclass(slots=True)
class _Look:
    """One look at a cache's tiles."""

    reader: CacheReader
    tiles_left: int = WHOLE_TILES
    bytes_left: int = WHOLE_BYTES
    seen: dict[str, dict[str, str]] = field(default_factory=dict)
    zooms: dict[str, list[int]] = field(default_factory=dict)

    def at(self, level: int) -> bool:
        """Look at a level; True where that was all of it."""
        keys = list(islice(self.reader.blocks(level), LOOKED_BLOCKS + 1))
        zoom = zoom_of(self.reader.info.scheme, level)
        # First the sample: wherever the rest ends, it is spread over the level.
        sample = {tile for key in _spread(keys[:LOOKED_BLOCKS], SAMPLE_BLOCKS) for tile in self._some(key)}
        for tile in sorted(sample):
            self._see(tile, zoom)
        every = self._all(keys)
        if every is None:
            return False
        self.tiles_left -= len(every)
        few = len(every) <= SAMPLE_BLOCKS * SAMPLE_TILES
        for tile in every:
            if tile not in sample:
                if self.bytes_left <= 0 and not few:
                    return False
                self._see(tile, zoom)
        return True

    def layers(self) -> tuple[VectorLayer, ...]:
        """What was seen."""
        return tuple(
            VectorLayer(name, tuple(sorted(fields.items())), min(self.zooms[name]), max(self.zooms[name]))
            for name, fields in sorted(self.seen.items())
        )

    def _some(self, key: BlockKey) -> Iterator[Tile]:
        return map(key.tile, _spread(np.flatnonzero(self.reader.present(key)).tolist(), SAMPLE_TILES))

    def _all(self, keys: Sequence[BlockKey]) -> list[Tile] | None:
        """Every tile of a level; None where they are too many."""
        most = max(self.tiles_left, SAMPLE_BLOCKS * SAMPLE_TILES)
        found: list[Tile] = []
        if len(keys) > LOOKED_BLOCKS:
            return None
        for key in keys:
            held = np.flatnonzero(self.reader.present(key)).tolist()
            if len(found) + len(held) > most:
                return None
            found += map(key.tile, held)
        return found

    def _see(self, tile: Tile, zoom: int) -> None:
        body = self.reader.read(*tile)
        if body is None:
            return
        self.bytes_left -= len(body)
        for layer in layers_of(body):
            known = self.seen.setdefault(layer.name, {})
            for name, kind in layer.fields.items():
                known[name] = kind if known.get(name, kind) == kind else STRING
            self.zooms.setdefault(layer.name, []).append(zoom)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """So many items, evenly from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[index * (len(items) - 1) // (count - 1)] for index in range(count)]


def _in_words(zooms: Sequence[int]) -> str:
    """``6-14`` where none is left out between, else every one."""
    if len(zooms) > 1 and zooms[-1] - zooms[0] == len(zooms) - 1:
        return f"{zooms[0]}-{zooms[-1]}"
    return ", ".join(map(str, zooms))
