"""What the Ledger promises to remember of every planned tile, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from harvester.edges.cache import Stamps
from harvester.edges.states import State
from harvester.tiling.tile import BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges.states import Mask, States


SEPARATOR = ": "
"""Between a failed tile's reason, which is a word, and what came."""


class BlockChange(NamedTuple):
    """Tiles of one block that reached one state. ``indexes`` are row-major positions in the block
    (``BlockKey.position``)."""

    key: BlockKey
    state: State
    indexes: Sequence[int]
    reasons: Mapping[int, str] = {}
    """Of failed tiles, by index: the stable word, and perhaps what came (``told``)."""


class LedgerFailure(NamedTuple):
    """A failed tile and why."""

    tile: Tile
    reason: str
    """A stable word."""
    detail: str = ""
    """What came, for a person."""

    @classmethod
    def of(cls, tile: Tile, text: str) -> Self:
        """What ``told`` made one text of."""
        reason, _, detail = text.partition(SEPARATOR)
        return cls(tile, reason, detail)


def told(reason: str, detail: str) -> str:
    """Reason and detail as the ledger keeps them, one text."""
    return f"{reason}{SEPARATOR}{detail}" if detail else reason


class Ledger(Protocol):
    """The durable state of every planned tile, one row a block.

    Promises: what ``record`` was given is durable when it returns; states only come from ``enlist`` (PENDING),
    ``record`` and ``reconcile``; a ledger that was killed at any moment opens again with every returned ``record`` in
    it.
    """

    async def enlist(self, blocks: Sequence[tuple[BlockKey, Mask]]) -> None:
        """Add tiles to the plan: those not planned before become PENDING, the others keep their state."""

    async def keys(self) -> list[BlockKey]:
        """Every block that the ledger has, of this job and of others before it; 16,384 tiles each, so never many."""

    async def states(self, keys: Sequence[BlockKey]) -> list[States]:
        """States of these blocks, all UNPLANNED where the ledger has no row."""

    async def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """Stamps as last recorded, of these blocks and, under None, of the whole cache."""

    async def reconcile(self, blocks: Sequence[tuple[BlockKey, Mask]], stamps: Stamps) -> None:
        """The cache's own index decides: tiles there become STORED, STORED and UNCHANGED tiles that aren't become
        PENDING, ABSENT tiles become PENDING (asked again); planned tiles only."""

    async def record(self, changes: Sequence[BlockChange], stamps: Stamps) -> None:
        """Tiles that reached a state, with the stamps of the cache commit that holds them; durable on return."""

    async def failures(self, limit: int) -> list[LedgerFailure]:
        """Failed tiles with their reasons, in plan order."""

    async def set_meta(self, values: Mapping[str, Any]) -> None:
        """Facts about cache and job (JSON values), durable on return."""

    async def get_meta(self, name: str) -> Any:
        """One fact, None when unknown."""

    async def close(self) -> None:
        """Leave no journal behind. May be called twice."""
