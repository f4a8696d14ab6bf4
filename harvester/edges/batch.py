"""Tiles on their way into a cache, and how they lie in its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from harvester.tiling.tile import Tile

if TYPE_CHECKING:
    from harvester.tiling.grouping import Group


class Stored(NamedTuple):
    """A whole tile on its way to the cache, in the source's own levels."""

    tile: Tile
    body: bytes
    kind: str


class StoredBatch(list[Stored]):
    """A batch whose blocks several ask for, one after the other: they are worked out once, when nothing more comes."""

    @cached_property
    def groups(self) -> list[Group]:
        """Its blocks, by level, row and column."""
        return _grouped(self)


def groups_of(batch: Sequence[Stored]) -> list[Group]:
    """The blocks of any batch, by level, row and column."""
    return batch.groups if isinstance(batch, StoredBatch) else _grouped(batch)


def bodies_of(batch: Sequence[Stored], group: Group) -> list[bytes]:
    """The bodies of a block's tiles, in the order in which they came."""
    if len(batch) == len(group.numbers):
        return [stored.body for stored in batch]
    return [batch[number].body for number in group.numbers.tolist()]


def _grouped(batch: Sequence[Stored]) -> list[Group]:
    from harvester.tiling.grouping import by_block  # numpy, which whoever only asks a service does not need

    return by_block([stored.tile for stored in batch])
