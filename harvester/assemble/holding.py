"""What says, before the first tile is asked, which tiles a run's cache holds; a bundle that can't be added to is told
here, and not when its first tiles have come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harvester.caches.bundles import BundleReader
from harvester.caches.counted import CountedWriter
from harvester.caches.open import open_cache
from harvester.caches.placed import PlacedReader
from harvester.edges import ServiceInfo, Stamps
from harvester.errors import CacheError
from harvester.output import file_stamp
from harvester.tiling.tile import BlockKey

if TYPE_CHECKING:
    from harvester.edges import Mask


class PackageHolding:
    """What a finished package holds, by the source's levels; its stamp is its size and time."""

    def __init__(self, path: Path, info: ServiceInfo) -> None:
        self._path = path
        self._placed = PlacedReader(open_cache(path), info.scheme)

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there."""
        return self._placed.present(key)

    def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """Short texts that change whenever these blocks may have changed."""
        return {None: file_stamp(self._path)}

    def close(self) -> None:
        """Release the files. May be called twice."""
        self._placed.reader.close()


class WrittenHolding:
    """What a cache holds that is open for writing. A block is looked at only where ledger and cache disagree, so one
    look more at a bundle that seems empty costs a sound cache nothing, however large it is."""

    def __init__(self, writer: CountedWriter, path: Path) -> None:
        self._writer = writer
        self._path = path

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there. Raises CacheError where its bundle is cut inside of header or index."""
        mask = self._writer.present(key)
        if not mask.any() and key in self._writer.stamps([key]):
            self._require_index(key)
        return mask

    def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """Short texts that change whenever these blocks may have changed."""
        return self._writer.stamps(keys)

    def _require_index(self, key: BlockKey) -> None:
        with open_cache(self._path) as reader:
            if not isinstance(reader, BundleReader):
                return
            span = reader.bundles.open(key)
            if span is not None and reader.index(span) is None:
                raise CacheError(
                    f"{span.where} is damaged: it has no whole header and index",
                    hint="Move it away, or write the cache anew with --mode overwrite.",
                    code="damaged",
                )
