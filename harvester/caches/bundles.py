"""The bundles of a cache, whatever gives their bytes, and the reader over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from harvester.caches import bundle_v2
from harvester.caches.bundle_v2 import DATA_START, ENTRY_SIZE, FIRST_TILE, MAX_OFFSET, OFFSET_BITS
from harvester.caches.description import unknown_level
from harvester.caches.records import Span, each_sound, mask_of, read_bodies, read_index, read_record, sound_numbers
from harvester.edges import CacheInfo, Damage
from harvester.tiling.tile import BLOCK, BlockKey, Tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harvester.caches.bundle_v2 import Index, Problem
    from harvester.edges import Mask


_NO_BUNDLE = "header and index are not whole"


class Bundles(Protocol):
    """The bundles of one cache."""

    grow: bool
    """True where tiles that come are added to these bundles; else all are made anew then, of what can be read."""

    def levels(self) -> Sequence[int]:
        """Levels that have a folder, ascending; it may be empty."""

    def keys(self, level: int) -> Sequence[BlockKey]:
        """Blocks of a level that have a bundle, by row, then column."""

    def open(self, key: BlockKey) -> Span | None:
        """A block's bundle, or None where there is none."""

    def misnamed(self) -> Iterable[Damage]:
        """Bundles under names that no reader looks for."""

    def misplaced(self) -> Iterable[Damage]:
        """Other faults of the whole."""

    def close(self) -> None:
        """Release the files. May be called twice."""


class BundleReader:
    """A CacheReader over bundles. Only open files are kept between calls, so a growing cache is read as it is now."""

    def __init__(self, info: CacheInfo, bundles: Bundles) -> None:
        self.info = info
        self.bundles = bundles

    # What differs between the generations of bundles; here V2's.

    def entry(self, span: Span, number: int) -> tuple[int, int]:
        """Offset and size of the tile at a row-major position; size 0 where there is none."""
        entry = int.from_bytes(span.read(ENTRY_SIZE, bundle_v2.entry_position(number)), "little")
        size, offset = entry >> OFFSET_BITS, entry & MAX_OFFSET
        return (offset, size) if offset >= FIRST_TILE else (0, 0)

    def index(self, span: Span) -> Index | None:
        """All entries, those that lead out of the records zeroed; None where header or index aren't whole."""
        return read_index(span)

    def sound(self, span: Span, index: Index) -> NDArray[np.int64]:
        """Numbers of the entries, in order, whose record is whole."""
        return sound_numbers(span, index)

    def is_bundle(self, span: Span) -> bool:
        """Are header and index there? The same as ``index``, told by the first bytes and the size."""
        return span.size() >= DATA_START and bundle_v2.parse_header(span.read(bundle_v2.HEADER_SIZE, 0)) is not None

    def holds(self, span: Span, index: Index) -> bool:
        """Is there any such entry?"""
        return next(each_sound(span, index), None) is not None

    def problems(self, span: Span) -> Iterator[Problem]:
        """All that is wrong in one bundle."""
        return bundle_v2.problems(span.read(DATA_START, 0), span.size(), span.read)

    # The promises of every reader.

    def read(self, level: int, row: int, col: int) -> bytes | None:
        """The tile's bytes, or None when the cache holds none."""
        if min(level, row, col) < 0:
            return None
        key = BlockKey(level, row & ~127, col & ~127)
        span = self.bundles.open(key)
        if span is None:
            return None
        number = (row - key.row) * BLOCK + (col - key.col)
        offset, size = self.entry(span, number)
        return read_record(span, offset, size) if size else None

    def levels(self) -> Sequence[int]:
        """Levels that hold at least one tile, ascending by number."""
        return [level for level in self._known() if next(self.blocks(level), None) is not None]

    def _known(self) -> list[int]:
        """Levels with bundles that the scheme has."""
        return [level for level in self.bundles.levels() if level in self.info.scheme.by_level]

    def unknown(self) -> Iterator[Damage]:
        """A bundle of each level that the scheme doesn't have."""
        for level in self.bundles.levels():
            # Where a bundle holds no tile any more, its level may have gone from the documents.
            if level not in self.info.scheme.by_level and (key := next(self.blocks(level), None)) is not None:
                span = self.bundles.open(key)
                yield Damage(f"LOD {level}" if span is None else span.where, unknown_level(level), stays=True)

    def blocks(self, level: int) -> Iterator[BlockKey]:
        """Blocks of a level that hold at least one tile, by row, then column."""
        for key in self.bundles.keys(level):
            span = self.bundles.open(key)
            index = self.index(span) if span is not None else None
            if span is not None and index is not None and self.holds(span, index):
                yield key

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there; shape (128, 128)."""
        span = self.bundles.open(key)
        index = self.index(span) if span is not None else None
        return mask_of(self.sound(span, index) if span is not None and index is not None else ())

    def tiles(self, key: BlockKey) -> Iterator[tuple[Tile, bytes]]:
        """The tiles of one block by row, then column."""
        span = self.bundles.open(key)
        index = self.index(span) if span is not None else None
        if span is None or index is None:
            return
        held = np.flatnonzero(index)
        offsets, sizes = (of(index)[held].astype(np.int64) for of in (bundle_v2.offsets, bundle_v2.sizes))
        bodies = read_bodies(span, offsets, sizes)
        for number, body in zip(held.tolist(), bodies, strict=True):
            if body is not None:
                yield key.tile(number), body

    def unmendable(self) -> Iterator[Damage]:
        """Of what is left out that which no tile mends: bundles under a name that is none, levels that the scheme
        doesn't have, and, where bundles are added to, those without a whole header and index."""
        yield from self._nowhere()
        for level in self._known() if self.bundles.grow else ():
            for key in self.bundles.keys(level):
                span = self.bundles.open(key)
                if span is not None and not self.is_bundle(span):
                    yield Damage(span.where, _NO_BUNDLE, stays=True)

    def _nowhere(self) -> Iterator[Damage]:
        yield from self.bundles.misnamed()
        yield from self.unknown()

    def lost(self) -> Iterator[Damage]:
        """What is left out: bundles without a whole header and index or under a name that is none, tiles without a
        whole record, and levels that the scheme doesn't have."""
        yield from self._nowhere()
        for level in self._known():
            for key in self.bundles.keys(level):
                span = self.bundles.open(key)
                if span is not None:
                    for what, number in self.lost_of(span):
                        yield Damage(span.where, what, None if number is None else key.tile(number))

    def lost_of(self, span: Span) -> Iterator[tuple[str, int | None]]:
        """The same of one bundle: what is wrong, and the tile's row-major position where it is one tile's."""
        index = self.index(span)
        if index is None:
            yield _NO_BUNDLE, None
            return
        stated = np.flatnonzero(
            bundle_v2.sizes(bundle_v2.parse_index(span.read(DATA_START, 0)[bundle_v2.HEADER_SIZE :]))
        )
        for number in np.setdiff1d(stated, self.sound(span, index), assume_unique=True).tolist():
            yield "its record is not there, or not whole", number

    def check(self) -> Iterator[Damage]:
        """Structural damage, the whole cache over, without decoding tiles."""
        yield from self.bundles.misnamed()
        yield from self.bundles.misplaced()
        yield from self.unknown()
        for level in self._known():
            for key in self.bundles.keys(level):
                span = self.bundles.open(key)
                if span is None:
                    continue
                for problem in self.problems(span):
                    if not problem.warning:
                        tile = None if problem.number is None else key.tile(problem.number)
                        yield Damage(span.where, problem.what, tile)

    def close(self) -> None:
        """Release the files. May be called twice."""
        self.bundles.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
