"""Any cache's writer that also counts: tiles, bytes and hash of each block for the manifest that ``finish`` writes, and
how far the tiles reach for the extent.

What is stored into a block is added to the block's sum as it passes: two microseconds a tile of 15 KB, the most of
it for the hash. At the end a sum
stands if it has as many tiles as the block holds; where it hasn't, because tiles were replaced, taken out or there
before, the block is read. With them the tiles are counted by kind: one that was replaced is of its new kind alone. Sums
outlive the writer: ``remembered`` gives them with the blocks' stamps, ``recall`` takes back those whose stamp is still
the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from harvester.caches.around import AroundWriter
from harvester.caches.description import format_word, held_format, seen_format, tile_format_of
from harvester.caches.folders import kind_of
from harvester.caches.placed import Place, place_levels
from harvester.caches.reach import Reach, extent_of
from harvester.edges import CacheReader, ServiceInfo, Stamps, Stored, Subject, TileFormat, bodies_of, groups_of
from harvester.errors import CacheError
from harvester.manifest import KEY, Manifest, TileSum, counted_from, held_lods, joined_policies, joined_sources
from harvester.tiling.grouping import Group
from harvester.tiling.scheme import Lod, TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey, Tile, block_of

_WORD = 0xFFFFFFFF


@dataclass(slots=True)
class CountedWriter(AroundWriter):
    """``look`` opens a reader of the same cache, None while there is none."""

    subject: Subject
    look: Callable[[], CacheReader | None]
    _sums: dict[tuple[int, int, int], TileSum | None] = field(default_factory=dict)
    """By block in the source's levels; None: something was taken out, so it has to be read."""
    _counts: dict[int, tuple[int, int]] = field(default_factory=dict)
    _kinds: set[str] = field(default_factory=set)
    """Of the tiles that were stored."""
    _kinds_of: dict[tuple[int, int, int], Counter[str] | None] = field(default_factory=dict)
    """Of each block that has a sum, its tiles by kind; None where nobody counted them."""
    _changed: bool = False
    """Came or went a tile?"""

    async def store(self, batch: Sequence[Stored]) -> Stamps:
        """Write a batch durably, and count it."""
        # Before it is written: what came last is still in the CPU's cache.
        kinds = {stored.kind for stored in batch}
        counted = [(group.key, self._sum(batch, group), _kinds_in(batch, group, kinds)) for group in groups_of(batch)]
        stamps = await self.inner.store(batch)
        self._kinds |= kinds
        self._changed = True
        for key, more, sorts in counted:
            total = self._sums.setdefault(key, TileSum())
            there = self._kinds_of.setdefault(key, Counter())
            if total is not None:
                total.join(more)
            if there is not None:
                there.update(sorts)
        return stamps

    def _sum(self, batch: Sequence[Stored], group: Group) -> TileSum:
        key, positions, _ = group
        rows, cols = self._counted_from(key.level)
        row = (positions // BLOCK + (key.row + rows) & _WORD).astype(np.uint64)
        col = (positions % BLOCK + (key.col + cols) & _WORD).astype(np.uint64)
        total = TileSum()
        total.add_all((row << np.uint64(32) | col).tolist(), bodies_of(batch, group))
        return total

    async def remove(self, tiles: Sequence[Tile]) -> Stamps:
        """Take tiles out again; their blocks are read at the end."""
        stamps = await self.inner.remove(tiles)
        self._changed = self._changed or bool(tiles)
        for tile in tiles:
            self._sums[block_of(tile)] = None
        return stamps

    async def finish(self, subject: Subject) -> None:
        """Describe the cache, its manifest included: of an unfinished one that says what it is of, and not
        what it holds."""
        await self.inner.finish(await asyncio.to_thread(self._counted, subject))

    # ------------------------------------------------------------------------------------------ what is there

    def _counted_from(self, level: int) -> tuple[int, int]:
        found = self._counts.get(level)
        if found is None:
            found = self._counts[level] = counted_from(self.subject.info.scheme, level)
        return found

    def _counted(self, subject: Subject) -> Subject:
        """The subject with what the cache holds: its manifest, the extent of its tiles, the levels that have any."""
        info = subject.info
        manifest = Manifest(
            source=info.source,
            attribution=info.attribution,
            policies=joined_policies([subject.policies]),
            applying=subject.applying or "",
            scheme=info.scheme,
            source_extent=info.extent,
            format=self._format(info, None),
            quality=info.compression_quality,
        ).of_all(subject.sources)
        reader = self.look()
        if reader is None:
            return replace(subject, manifest=manifest)
        with reader:
            there = manifest_of(reader)
            if there is not None:
                manifest = replace(
                    manifest,
                    policies=joined_policies((there.policies, manifest.policies)),
                    applying=there.applying if subject.applying is None else subject.applying,
                    scheme=with_more_lods(info.scheme, there.scheme),
                    format=self._format(info, there),
                    is_found=there.is_found,
                )
                if there.sources and not subject.sources:
                    manifest = manifest.of_all(joined_sources((there.sources, (manifest.source,))))
            before = manifest
            # What a source doesn't say, the tiles that came have told.
            if not manifest.format or reader.info.tile_format is TileFormat.MIXED:
                manifest = replace(manifest, format=_format(reader.info.tile_format, ""))
            if not subject.finished:
                return replace(subject, manifest=manifest)
            # A cache that can't be read to its end is described without what it holds; verify says what is wrong.
            with suppress(CacheError):
                scheme = self._described(reader)
                sums: list[tuple[Lod, TileSum]] = []
                reaches: dict[int, Reach] = {}
                kinds: Counter[str] | None = Counter()
                for level in reader.levels():
                    total, reaches[level], sorts = self._sum_of(reader, level, scheme)
                    sums.append((scheme.by_level[level], total))
                    kinds = _together(kinds, sorts)
                if kinds:
                    held, is_found = self._held(subject, there, frozenset(kinds))
                    manifest = replace(before, format=_format(held, info.format_name), is_found=is_found)
                    subject = replace(subject, kinds=dict(sorted(kinds.items())), held=held)
                manifest = replace(manifest, lods=held_lods(sums))
                return self._reaching(subject, manifest, scheme, reaches)
        return replace(subject, manifest=manifest)

    def _reaching(
        self, subject: Subject, manifest: Manifest, scheme: TilingScheme, reaches: Mapping[int, Reach]
    ) -> Subject:
        """The subject of tiles that reach so far, by the source's scheme where each level has a place in it."""
        ours = subject.info.scheme
        places = {place.level: (level, place) for level, place in place_levels(ours, scheme).items()}
        if reaches.keys() <= places.keys():
            scheme = ours
            reaches = {
                places[level][0]: reach.moved(-places[level][1].rows, -places[level][1].cols)
                for level, reach in reaches.items()
            }
        extent = extent_of(scheme, reaches, subject.info.extent)
        levels = tuple(lod.level for lod in ours.lods if lod.level in reaches) if scheme is ours else ()
        return replace(
            subject,
            manifest=replace(manifest, extent=extent),
            extent=subject.extent if extent is None else extent,
            levels=levels or subject.levels,
        )

    def _format(self, info: ServiceInfo, there: Manifest | None) -> str:
        """What the tiles are: those that were stored, and those that were there before."""
        before = TileFormat.UNKNOWN if there is None else tile_format_of(there.format)
        held = held_format(info.tile_format, seen_format(before, sorted(self._kinds)))
        return _format(held, info.format_name)

    def _held(self, subject: Subject, there: Manifest | None, kinds: frozenset[str]) -> tuple[TileFormat, bool]:
        """What the tiles are, of which all are known: MIXED also where a source says so of its own, since it may have
        others, and where the cache said so and nothing came. And whether it is MIXED for the tiles alone."""
        stated = subject.info.tile_format is TileFormat.MIXED if subject.mixed is None else subject.mixed
        kept = not self._changed and there is not None and tile_format_of(there.format) is TileFormat.MIXED
        if stated or kept:
            return TileFormat.MIXED, not stated and there is not None and there.is_found
        found = seen_format(TileFormat.UNKNOWN, sorted(kinds))
        return found, found is TileFormat.MIXED

    def _described(self, reader: CacheReader) -> TilingScheme:
        """The cache's scheme, with those of our LODs that its documents don't list before they are written again."""
        return with_more_lods(reader.info.scheme, self.subject.info.scheme)

    def _sum_of(
        self, reader: CacheReader, level: int, scheme: TilingScheme
    ) -> tuple[TileSum, Reach, Counter[str] | None]:
        """The sum of one of the cache's own levels, by blocks, how far its tiles reach, and their kinds."""
        total, reach, ours = TileSum(), Reach(), self._ours(scheme, level)
        kinds: Counter[str] | None = Counter()
        for key in reader.blocks(level):
            here = None if ours is None else (ours.level, key.row - ours.rows, key.col - ours.cols)
            known = None if here is None else self._sums.get(here)
            # The writer is asked, for it knows the blocks that it has open; a reader would look at their every record.
            there = reader.present(key) if here is None else self.inner.present(BlockKey(*here))
            reach.add(key, there)
            sorts = None if here is None else self._kinds_of.get(here)
            if known is None or here is None or known.tiles != int(there.sum()):
                known, sorts = _read_block(reader, key, scheme)
                if here is not None:
                    self._sums[here], self._kinds_of[here] = known, sorts
            total.join(known)
            kinds = _together(kinds, sorts)
        return total, reach, kinds

    def _ours(self, scheme: TilingScheme, level: int) -> Place | None:
        """Where one of the cache's levels lies in the source's scheme, None where blocks are no blocks there."""
        places = place_levels(self.subject.info.scheme, scheme)
        for number, place in places.items():
            if place.level == level and place.rows % BLOCK == 0 and place.cols % BLOCK == 0:
                return Place(number, place.rows, place.cols)
        return None

    # ------------------------------------------------------------------------------------------ between two runs

    def remembered(self) -> dict[str, Any]:
        """The sums as JSON values, each with its block's stamp (or all with the whole's)."""
        keys = [BlockKey(*place) for place, total in self._sums.items() if total is not None]
        stamps = self.inner.stamps(keys)
        blocks = []
        for key in keys:
            total = self._sums[key]
            if total is not None and (None in stamps or key in stamps):
                kinds = self._kinds_of.get(key)
                blocks.append([*key, stamps.get(key, ""), total.tiles, total.size, total.text, kinds])
        return {"whole": stamps.get(None, ""), "blocks": blocks}

    def recall(self, remembered: Any) -> None:
        """Take back what ``remembered`` gave, as far as the cache is as it was. Anything else is left alone."""
        try:
            rows = [
                (
                    BlockKey(int(level), int(row), int(col)),
                    str(stamp),
                    TileSum(int(tiles), int(size), int(text, 16)),
                    # Earlier versions counted no kinds.
                    Counter({str(kind): int(count) for kind, count in more[0].items()}) if any(more) else None,
                )
                for level, row, col, stamp, tiles, size, text, *more in remembered["blocks"]
            ]
            whole = str(remembered["whole"])
        except (TypeError, ValueError, KeyError, AttributeError):
            return
        stamps = self.inner.stamps([key for key, _, _, _ in rows])
        for key, stamp, total, kinds in rows:
            fits = stamps.get(key, "") == stamp and stamps.get(None, "") == whole and (stamp or whole)
            if fits and key not in self._sums:
                self._sums[key], self._kinds_of[key] = total, kinds


def _format(tile_format: TileFormat, stated: str) -> str:
    """ArcGIS's word; none where nothing is known."""
    return "" if tile_format is TileFormat.UNKNOWN else format_word(tile_format, stated)


def with_more_lods(scheme: TilingScheme, other: TilingScheme | None) -> TilingScheme:
    """A scheme with the LODs that only ``other`` knows, where the two are one."""
    if other is None or scheme.mismatch(other) is not None:
        return scheme
    added = [lod for lod in other.lods if lod.level not in scheme.by_level]
    return replace(scheme, lods=tuple(sorted((*scheme.lods, *added), key=lambda lod: -lod.resolution)))


def _kinds_in(batch: Sequence[Stored], group: Group, kinds: set[str]) -> Mapping[str, int]:
    """The tiles of one block of a batch that has these kinds, by kind."""
    if len(kinds) == 1:
        return dict.fromkeys(kinds, len(group.numbers))
    return Counter(batch[number].kind for number in group.numbers.tolist())


def _together(one: Counter[str] | None, other: Counter[str] | None) -> Counter[str] | None:
    """The kinds of more tiles; None where those of some aren't known."""
    return None if one is None or other is None else one + other


def _read_block(reader: CacheReader, key: BlockKey, scheme: TilingScheme) -> tuple[TileSum, Counter[str] | None]:
    """The sum of a block and its tiles by kind, by reading it; None for the kinds where one says nothing of its own."""
    total, kinds = TileSum(), Counter[str | None]()
    rows, cols = counted_from(scheme, key.level)
    plain = "pbf" if reader.info.tile_format is TileFormat.PBF else None
    for (_, row, col), body in reader.tiles(key):
        total.add(row + rows, col + cols, body)
        kinds[kind_of(body) or plain] += 1
    known = Counter({kind: count for kind, count in kinds.items() if kind is not None})
    return total, known if None not in kinds else None


def sum_of_block(reader: CacheReader, key: BlockKey, scheme: TilingScheme | None = None) -> TileSum:
    """The sum of one block of a cache, by reading it; ``scheme`` where it isn't described yet."""
    total = TileSum()
    rows, cols = counted_from(scheme or reader.info.scheme, key.level)
    for (_, row, col), body in reader.tiles(key):
        total.add(row + rows, col + cols, body)
    return total


def manifest_of(reader: CacheReader) -> Manifest | None:
    """What a cache's manifest says; None where it has none that can be read."""
    text = reader.info.details.get(KEY)
    return None if text is None else Manifest.parse(text)
