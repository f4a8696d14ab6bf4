"""A part of a cache, chosen as a run's tiles are: some of its LODs, inside an area."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from harvester.errors import UsageError
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey, Tile

if TYPE_CHECKING:
    from harvester.delta.walk import Walk
    from harvester.edges import ServiceInfo
    from harvester.planning import Plan
    from harvester.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What is to be copied of a cache."""

    levels: tuple[int, ...]
    """Coarsest first."""
    plan: Plan | None
    """None: all tiles of the levels."""
    words: str
    """For the manifest: what was cut out."""
    notices: tuple[str, ...] = ()

    def test_of(self, key: BlockKey) -> Callable[[Tile], bool] | None:
        """Which tiles of a block are meant; None where none is."""
        if self.plan is None:
            return _every
        there = self.plan.count_between(key.level, key.row, key.row + BLOCK - 1, key.col, key.col + BLOCK - 1)
        if not there:
            return None
        return _every if there == BLOCK_TILES else self.plan.contains

    def is_empty_in(self, walk: Walk) -> bool:
        """Does the cache hold no tile of it?"""
        return next(self._held(walk), None) is None

    def _held(self, walk: Walk) -> Iterator[Tile]:
        for level in self.levels:
            for key in walk.blocks(level):
                test = self.test_of(key)
                numbers = np.flatnonzero(walk.present(key)).tolist() if test is not None else []
                yield from (tile for tile in map(key.tile, numbers) if test is not None and test(tile))


def _every(tile: Tile) -> bool:
    return True


def part_of(name: str, info: ServiceInfo, held: Sequence[int], policy: Policy) -> Part:
    """The part of a cache that a policy means; ``held``: its levels, by the numbers of ``info``.

    ``name`` is the cache's, for messages. Raises UsageError where the policy names what the cache hasn't, or an area
    that can't be read or is outside of the grid.
    """
    from harvester.aoi import load_area
    from harvester.plan_record import policy_words
    from harvester.planning import make_plan
    from harvester.selection import select_levels

    lods = tuple(lod for lod in info.scheme.lods if lod.level in held)
    if not lods:
        raise UsageError(f"{name} holds no tile", hint="Name a cache with tiles.")
    stored = replace(info, source=name, scheme=replace(info.scheme, lods=lods))
    try:
        levels, notices = select_levels(stored, policy)
    except UsageError as error:
        told = error.message.replace("the service", name)
        raise UsageError(told, hint=error.hint, code=error.code) from error
    notices = tuple(text.replace("the service", name) for text in notices)
    words = "of this, " + policy_words(policy).replace("the service's full extent", "all of it")
    area = load_area(policy, info.scheme.crs, min(info.scheme.by_level[level].resolution for level in levels))
    if area is None:
        return Part(levels=levels, plan=None, words=words, notices=notices)
    plan = make_plan(stored, [(levels, area)], use_extent=False)
    return Part(levels=levels, plan=plan, words=words, notices=(*notices, *area.notices, *plan.notices))
