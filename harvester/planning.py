"""Policies to Plan: the exact tiles of each LOD as row runs, their totals, a fingerprint, and one order by bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harvester.aoi import Area
from harvester.edges import ServiceInfo
from harvester.errors import UsageError
from harvester.selection import select_levels
from harvester.tiling import order
from harvester.tiling.banded import MAX_HELD, joined, union
from harvester.tiling.coverage import EXTENT_SLACK, MAX_INDEX, Runs, cover, extent_window, grid_window, world
from harvester.tiling.scheme import Box, TilingScheme
from harvester.tiling.tile import BlockKey, Tile
from harvester.tiling.tile_rows import TileRows
from harvester.wording import share_words

if TYPE_CHECKING:
    from harvester.edges import Mask

__all__ = ["Plan", "PlannedLod", "make_plan", "select_levels"]


class PlannedLod(NamedTuple):
    """How many tiles of a LOD are planned; ``scale`` is its denominator."""

    level: int
    scale: float
    planned: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """The exact set of tiles that a job names. Made by ``make_plan``; never a list of tiles, never dependent on the
    network.

    Its order is LOD (coarsest first), bundle row, bundle column, row, column.
    """

    scheme: TilingScheme
    runs: Mapping[int, TileRows]
    """By level, coarsest first; every selected level, also when it has no tile."""
    policies: Sequence[Mapping[int, TileRows]] = ()
    """What each policy planned by itself."""
    bound: Box | None = None
    """The service's extent, where it bounds the plan."""
    notices: tuple[str, ...] = ()
    """What a person should know of it: what was repaired, cut or left out on the way to it."""

    @cached_property
    def lods(self) -> tuple[PlannedLod, ...]:
        """Planned tiles by LOD, coarsest first."""
        scales = self.scheme.by_level
        return tuple(PlannedLod(level, scales[level].scale, runs.count) for level, runs in self.runs.items())

    @cached_property
    def total(self) -> int:
        """All planned tiles."""
        return sum(lod.planned for lod in self.lods)

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits: the same for the same tiles of the same tiling scheme, whatever policies named them."""
        scheme = self.scheme
        crs = 3857 if scheme.crs.is_web_mercator else scheme.crs.latest_wkid or scheme.crs.wkid or scheme.crs.wkt
        text = f"{crs}|{scheme.origin_x!r}|{scheme.origin_y!r}|{scheme.tile_width}|{scheme.tile_height}"
        digest = hashlib.blake2b(text.encode(), digest_size=16)
        for level, runs in self.runs.items():
            if runs:
                digest.update(f"|{level}|{scheme.by_level[level].resolution!r}|".encode())
                _digest_runs(runs, digest)
        return digest.hexdigest()

    @cached_property
    def extent(self) -> Box | None:
        """The box that the plan is about, in the scheme's CRS; None without tiles.

        Of each policy the tiles of its finest level, which follow its area most closely (a tile of level 0 is the
        world), all policies together, within the extent that bounds the plan.
        """
        finest = [
            next(
                ((level, runs.bounds) for level, runs in reversed(tuple(one.items())) if runs.bounds is not None), None
            )
            for one in (self.policies or (self.runs,))
        ]
        boxes = [
            (self.scheme.box(Tile(level, top, left)), self.scheme.box(Tile(level, bottom, right)))
            for level, (top, bottom, left, right) in filter(None, finest)
        ]
        if not boxes:
            return None
        box = Box(
            min(first.xmin for first, _ in boxes),
            min(last.ymin for _, last in boxes),
            max(last.xmax for _, last in boxes),
            max(first.ymax for first, _ in boxes),
        )
        return box if self.bound is None else _common(box, self.bound) or box

    def blocks(self) -> Iterator[tuple[BlockKey, Mask]]:
        """Every block with planned tiles and which tiles those are, in plan order. Masks are read-only and made as
        asked for."""
        for level, runs in self.runs.items():
            yield from order.blocks(level, runs)

    def places(self) -> Iterator[tuple[int, int, int]]:
        """Every planned tile as a plain (level, row, col), in plan order and flat memory; three times as fast as
        ``tiles``."""
        return chain.from_iterable(order.places(level, runs) for level, runs in self.runs.items())

    def tiles(self) -> Iterator[Tile]:
        """Every planned tile in plan order, in flat memory."""
        # half the time of Tile(...): this is the one loop that runs for every tile of a plan
        return map(tuple.__new__, repeat(Tile), self.places())

    def tile_at(self, k: int) -> Tile:
        """The k-th tile of the plan's order, from 0, found by arithmetic. Raises IndexError."""
        for level, runs in self.runs.items():
            if k < runs.count:
                return Tile(level, *order.kth(runs, k))
            k -= runs.count
        raise IndexError("no such tile in the plan")

    def shard(self, i: int, n: int) -> Plan:
        """The i-th of n parts (i from 1): a contiguous range of the plan's order, sizes differing by at most one."""
        if not 1 <= i <= n:
            raise UsageError(f"there is no shard {i}/{n}", hint="Write I/N with I from 1 to N, as in --shard 1/4.")
        low, high = self.total * (i - 1) // n, self.total * i // n
        before = accumulate((lod.planned for lod in self.lods), initial=0)
        parts = {
            level: order.cut(runs, low - done, high - done)
            for (level, runs), done in zip(self.runs.items(), before, strict=False)
        }
        return Plan(scheme=self.scheme, runs=parts, policies=self.policies, bound=self.bound, notices=self.notices)

    def contains(self, tile: Tile) -> bool:
        """Whether a tile is planned."""
        runs = self.runs.get(tile.level)
        return runs is not None and runs.contains(tile.row, tile.col)

    def count_between(self, level: int, row_min: int, row_max: int, col_min: int, col_max: int) -> int:
        """Planned tiles of a level within a rectangle, bounds inclusive."""
        runs = self.runs.get(level)
        return 0 if runs is None else runs.clip(row_min, row_max, col_min, col_max).count

    def policies_of(self, tile: Tile) -> tuple[int, ...]:
        """Which policies planned a tile, as positions in the job (from 0); empty when none, or not in this shard."""
        if not self.contains(tile):
            return ()
        return tuple(
            i
            for i, runs in enumerate(self.policies)
            if tile.level in runs and runs[tile.level].contains(tile.row, tile.col)
        )


def _digest_runs(runs: TileRows, digest: Any) -> None:
    """Number and fields of the canonical runs, one field after the other; where they are too many to hold, digests of
    the fields, which can be made side by side."""
    count = 0
    held: list[Runs] = []
    fields = [hashlib.blake2b(digest_size=16) for _ in range(4)]
    for part in runs.parts():
        count += part.run_count
        if count <= MAX_HELD:
            held.append(part)
            continue
        for late in (*held, part):
            for one, field in zip(fields, late.fields, strict=True):
                one.update(np.ascontiguousarray(field, dtype="<i8").data)
        held.clear()
    digest.update(f"{count}|".encode())
    if count > MAX_HELD:
        for one in fields:
            digest.update(one.digest())
        return
    for field in joined(part.fields for part in held).fields:
        digest.update(np.ascontiguousarray(field, dtype="<i8").data)


def make_plan(
    info: ServiceInfo, choices: Sequence[tuple[tuple[int, ...], Area | None]], *, use_extent: bool = True
) -> Plan:
    """The plan of policies given as (levels, area); no area means the service's full extent.

    ``info.extent`` bounds every policy unless ``use_extent`` is False; rows and columns are never negative nor outside
    the Google grid. Counted by arithmetic before any tile is enumerated. Raises UsageError when an area lies outside
    the extent, when neither area nor extent says where, or when nothing at all is planned.
    """
    bound = info.extent if use_extent else None
    notices: list[str] = []
    policies: list[dict[int, TileRows]] = []
    for number, (levels, area) in enumerate(choices, 1):
        name = f"policy {number}: " if len(choices) > 1 else ""
        if area is None:
            policies.append({level: Runs.box(*_window(info, level, bound, name)) for level in levels})
        else:
            _check_inside(info.scheme, levels, area, bound, name, notices)
            policies.append(_covered(info.scheme, levels, area, bound))
    runs = {
        lod.level: union(*(policy[lod.level] for policy in policies if lod.level in policy))
        for lod in info.scheme.lods
        if any(lod.level in policy for policy in policies)
    }
    for level, planned in runs.items():
        if planned.bounds is not None and max(planned.bounds) >= MAX_INDEX:
            raise UsageError(
                f"LOD {level} would have rows or columns beyond {MAX_INDEX:,}: more than any tile service has",
                hint="Choose coarser LODs, or give a smaller area.",
            )
    plan = Plan(scheme=info.scheme, runs=runs, policies=policies, bound=bound, notices=tuple(notices))
    if not plan.total:
        raise UsageError(
            "the selection holds no tile",
            hint="Its areas lie outside the service's grid, have no interior, or have a level property of other LODs; "
            "check them and their CRS.",
        )
    return plan


def _window(info: ServiceInfo, level: int, bound: Box | None, name: str) -> tuple[int, int, int, int]:
    """Rows and columns of a policy without an area."""
    box = bound or world(info.scheme, level)
    if box is None:
        raise UsageError(
            f"{name}LOD {level} has no area: the service's extent is not used or not stated, and its grid has no end",
            hint="Give an area with --aoi or --bbox, or leave --no-extent out.",
        )
    return extent_window(info.scheme, level, box)


def _covered(scheme: TilingScheme, levels: Sequence[int], area: Area, bound: Box | None) -> dict[int, TileRows]:
    from harvester.tiling.outline import Outline

    outline = None if area.geometry is None else Outline(area.geometry)
    covered = {}
    for level in levels:
        window = grid_window(scheme, level) if bound is None else extent_window(scheme, level, bound)
        parts = [] if outline is None else [cover(outline, scheme, level, window)]
        if level in area.by_level:
            parts.append(cover(area.by_level[level], scheme, level, window))
        covered[level] = union(*parts)
    return covered


def _check_inside(
    scheme: TilingScheme, levels: Sequence[int], area: Area, bound: Box | None, name: str, notices: list[str]
) -> None:
    """Refuse an area that lies wholly outside the extent; tell how much is cut, there or at the world's end."""
    unused = sorted(area.by_level.keys() - set(levels))
    if unused:
        listed = ", ".join(map(str, unused))
        notices.append(f"{name}features of LODs that are not selected are left out: {listed}")
    geometries = [geometry for geometry in (area.geometry, *area.by_level.values()) if geometry is not None]
    edge = bound or (world(scheme, levels[0]) if levels else None)
    if edge is None or not geometries or not levels:
        return
    limits = "the service's extent" if bound is not None else "the web-mercator world"
    import shapely  # which a plan without an area does without: 9 ms

    slack = min(max(scheme.span(level)) for level in levels) * EXTENT_SLACK
    xmin, ymin, xmax, ymax = shapely.total_bounds(geometries).tolist()
    if (
        xmin >= edge.xmin - slack
        and ymin >= edge.ymin - slack
        and xmax <= edge.xmax + slack
        and ymax <= edge.ymax + slack
    ):
        return
    share = _share_outside(geometries, edge)
    if share >= 1.0 and bound is None:
        return  # it holds no tile, and whoever counts says so
    if share >= 1.0:
        raise UsageError(
            f"{name}the area lies outside the service's extent: "
            f"{_box_in_words(Box(xmin, ymin, xmax, ymax))} against {_box_in_words(edge)} (in the service's CRS)",
            hint="Check the area's CRS; --no-extent drops the extent's bound.",
        )
    if share > 0:
        notices.append(f"{name}{share_words(share)} of the area lies outside {limits} and is left out")


def _share_outside(geometries: Sequence[Any], bound: Box) -> float:
    """Share of the area outside a box: exactly 1.0 when nothing of it is inside."""
    import shapely

    try:
        whole = shapely.union_all(geometries)
        inside = shapely.intersection(whole, shapely.box(*bound))
    except shapely.errors.GEOSException as error:
        raise UsageError(
            f"the area can't be cut at the service's extent: {error}", hint="Repair its geometry."
        ) from error
    return 1.0 if not inside.area > 0 else max(0.0, 1.0 - float(inside.area / whole.area))


def _box_in_words(box: Box) -> str:
    return f"x {box.xmin:.10g}..{box.xmax:.10g}, y {box.ymin:.10g}..{box.ymax:.10g}"


def _common(box: Box, bound: Box) -> Box | None:
    xmin, ymin = max(box.xmin, bound.xmin), max(box.ymin, bound.ymin)
    xmax, ymax = min(box.xmax, bound.xmax), min(box.ymax, bound.ymax)
    return Box(xmin, ymin, xmax, ymax) if xmin < xmax and ymin < ymax else None
