"""A writer around another, which does all of its work: what it adds or refuses is for those made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harvester.edges import CacheWriter, Stamps, Stored, Subject
from harvester.tiling.tile import BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges import Mask


@dataclass(slots=True)
class AroundWriter:
    """A CacheWriter that passes everything on to ``inner``."""

    inner: CacheWriter

    @property
    def notices(self) -> list[str]:
        """What the cache's writer has for a person to read."""
        found: list[str] = getattr(self.inner, "notices", [])
        return found

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block (source's levels) are there."""
        return self.inner.present(key)

    def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """The stamps now."""
        return self.inner.stamps(keys)

    async def store(self, batch: Sequence[Stored]) -> Stamps:
        """Write a batch durably."""
        return await self.inner.store(batch)

    async def remove(self, tiles: Sequence[Tile]) -> Stamps:
        """Take tiles out again, durably."""
        return await self.inner.remove(tiles)

    async def finish(self, subject: Subject) -> None:
        """Write what describes the cache."""
        await self.inner.finish(subject)

    async def close(self) -> None:
        """Release the files. May be called twice."""
        await self.inner.close()
