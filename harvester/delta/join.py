"""``convert`` and ``merge``: the tiles of one or several caches, byte for byte, in a cache of any format."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from harvester.caches.belongings import require_cache_or_nothing
from harvester.caches.open import format_for, is_empty_or_missing, open_cache
from harvester.caches.vtpk import carry_resources
from harvester.delta.apart import require_apart
from harvester.delta.part import Part, part_of
from harvester.delta.schemes import shared_scheme
from harvester.delta.soundness import gone_from, half_applied, lost_in, require_whole, unfinished
from harvester.delta.statements import (
    joined_format,
    joined_format_name,
    joined_texts,
    listed,
    policies_of,
    says_mixed,
    service_info,
    sources_of,
    union,
)
from harvester.delta.summary import DEDUPLICATED, Summary, dedup_saved, kind_or_trouble
from harvester.delta.target import Target, locked, open_target
from harvester.delta.walk import Walk, blocks_of, levels_of, together
from harvester.durable import Disk
from harvester.edges import CacheReader, ServiceInfo, TileFormat
from harvester.errors import UsageError
from harvester.payload.pbf import GZIP, in_gzip
from harvester.policy import Policy
from harvester.tiling.tile import Tile

Tell = Callable[[str], None]
"""Hears a notice when it is known; the summary has all of them."""


Step = Callable[[int], None]
"""Hears from time to time how many tiles were gone through."""


def unheard(text: str) -> None:
    """Nobody waits for it."""


def uncounted(tiles: int) -> None:
    """Nobody counts."""


IN_GZIP = frozenset({"mbtiles", "vtpk"})
"""Formats that say of their vector tiles that they are in gzip; PMTiles packs its own."""


async def convert(
    source: Path,
    out: Path | str,
    *,
    format: str | None = None,
    overwrite: bool = False,
    dedup: bool = False,
    disk: Disk | None = None,
    part: Policy | None = None,
    tell: Tell = unheard,
    step: Step = uncounted,
) -> Summary:
    """Write every tile of a cache into another, exact bytes; tiles that ``out`` has already stay unless ``overwrite``.

    ``part``: only those that it means, as a run would plan them. Plain vector tiles are put in gzip where ``out`` is to
    have them so (IN_GZIP). ``tell`` hears, before the first tile, what ``out`` cannot hold as it is, ``step`` after
    each block how many tiles were gone through. Raises CacheError where ``source`` can't be read or ``out`` can't be
    written or can't hold it, UsageError where both are one, or where ``source`` has nothing of the part.
    """
    require_apart([source], Path(out))
    return await _join(
        [source], out, format, overwrite=overwrite, ours_win=False, dedup=dedup, disk=disk or Disk(), part=part,
        tell=tell, step=step,
    )  # fmt: skip


async def merge(
    sources: Sequence[Path],
    out: Path | str,
    *,
    format: str | None = None,
    overwrite: bool = False,
    dedup: bool = False,
    disk: Disk | None = None,
    tell: Tell = unheard,
    step: Step = uncounted,
) -> Summary:
    """Join caches of one tiling scheme; where several have a tile, the last one's counts, and ``out``'s own least.

    Raises CacheError as ``convert`` does, and where the schemes differ: then it names the field.
    """
    if not sources:
        raise UsageError("there is no cache to merge", hint="Name the caches before -o.")
    require_apart(sources, Path(out), may_be_one=not overwrite)
    return await _join(
        list(sources), out, format, overwrite=overwrite, ours_win=True, dedup=dedup, disk=disk or Disk(), tell=tell,
        step=step,
    )  # fmt: skip


async def _join(
    sources: list[Path],
    output: Path | str,
    format: str | None,
    *,
    overwrite: bool,
    ours_win: bool,
    dedup: bool,
    disk: Disk,
    part: Policy | None = None,
    tell: Tell,
    step: Step,
) -> Summary:
    name, out = format_for(output, format), Path(output)
    require_cache_or_nothing(out, name, replaced=overwrite)
    with ExitStack() as stack:
        readers = [(str(path), stack.enter_context(open_cache(path))) for path in sources]
        info = _info_of(sources, readers)
        walks = [Walk(reader, info.scheme) for _, reader in readers]
        levels = levels_of(walks, info.scheme)
        wanted = None if part is None else part_of(str(sources[0]), info, levels, part)
        if wanted is not None:
            if wanted.is_empty_in(walks[0]):
                raise UsageError(f"{sources[0]} holds no tile of this selection", hint="Check the area and its CRS.")
            levels = list(wanted.levels)
        summary = Summary(sources=[str(path) for path in sources], output=str(out), format=name)
        async with locked(out, name, disk=disk) as paths:
            kept = not overwrite and not is_empty_or_missing(out)
            there = stack.enter_context(open_cache(out)) if kept else None
            if there is not None:
                require_whole(there, str(out))
            for path, reader in readers:
                lost: Counter[int] = Counter()
                for damage in lost_in(reader, path):
                    assert damage.tile is not None
                    summary.add_damage(path, damage.tile, damage.what)
                    lost[damage.tile.level] += 1
                for gone in gone_from(reader, path, lost):
                    summary.add_gone(path, gone.tiles, str(gone))
                if left := unfinished(path):
                    summary.notices.append(f"{path} is not complete: {left}; what is there comes along")
            policies = policies_of(reader for _, reader in readers)
            if wanted is not None:
                summary.notices += wanted.notices
                policies = (*policies, wanted.words)
            joined = [*([there] if there is not None else ()), *(reader for _, reader in readers)]
            origins = sources_of(joined)
            async with open_target(
                paths,
                name,
                info,
                levels,
                keep=not overwrite,
                dedup=dedup,
                policies=policies,
                sources=origins,
                mixed=says_mixed(joined),
                disk=disk,
            ) as target:
                target.notices += [told for path, reader in readers if (told := half_applied(reader, path))]
                if len(origins) > 1:
                    target.notices.append(f"tiles of different sources are joined: {'; '.join(origins)}")
                target.notices[:0] = summary.notices
                summary.notices = target.notices
                for text in summary.notices:
                    tell(text)
                summary.told = len(summary.notices)
                own = Walk(there, info.scheme) if there is not None else None
                copy = _Copy(walks, own, target, summary, info, ours_win, wanted, step)
                await copy.run(levels)
                if name == "vtpk":
                    carried = await asyncio.to_thread(carry_resources, [r for _, r in readers], paths.new, disk=disk)
                    target.changed = target.changed or carried > 0
                await target.finish(release=stack.close)
            if name in DEDUPLICATED:
                summary.dedup_saved = await asyncio.to_thread(dedup_saved, out)
    return summary


def _info_of(sources: Sequence[Path], readers: Sequence[tuple[str, CacheReader]]) -> ServiceInfo:
    """What the caches say of themselves, as one."""
    infos = [service_info(path, reader) for path, (_, reader) in zip(sources, readers, strict=True)]
    info = replace(infos[0], scheme=shared_scheme(readers))
    first = readers[0][0]
    for (name, reader), other in zip(readers[1:], infos[1:], strict=True):
        one, two = info.tile_format, other.tile_format
        if one is not two and joined_format(one, two, name) is TileFormat.MIXED and TileFormat.MIXED not in (one, two):
            # Neither is: where a format can't hold both, nobody should look for the cause in one of them.
            info = replace(info, source=f"{first} ({one.value.upper()}) with {name} ({two.value.upper()})")
        info = replace(
            info,
            tile_format=joined_format(info.tile_format, other.tile_format, name),
            format_name=joined_format_name(info.format_name, other.format_name),
            extent=union(info.extent, other.extent) if reader.levels() else info.extent,
        )
    attribution = ", ".join(joined_texts([each.attribution for each in infos]))
    return replace(
        info,
        attribution=attribution,
        vector_layers=listed([each.vector_layers for each in infos]),
        beside=tuple(dict.fromkeys(name for each in infos for name in each.beside)),
    )


@dataclass
class _Copy:
    """One copy under way."""

    walks: list[Walk]
    there: Walk | None
    """What the output has already."""
    target: Target
    summary: Summary
    info: ServiceInfo
    ours_win: bool
    """Where the output has a tile: True, the sources' counts; False, its own."""
    part: Part | None
    """None: every tile."""
    step: Step
    _infos: list[ServiceInfo] = field(init=False)

    def __post_init__(self) -> None:
        # Each cache's tiles are held against its own statements.
        self._infos = [
            replace(self.info, tile_format=walk.reader.info.tile_format, scheme=walk.reader.info.scheme)
            for walk in self.walks
        ]

    async def run(self, levels: Sequence[int]) -> None:
        everything = [*self.walks, self.there] if self.there is not None else self.walks
        for level in levels:
            for key in blocks_of(self.walks, level):
                wanted = None if self.part is None else self.part.test_of(key)
                if self.part is not None and wanted is None:
                    continue
                for tile, found in together(everything, key):
                    if wanted is not None and not wanted(tile):
                        continue
                    # No coroutine a tile: it would take as long as looking at the tile.
                    if self._take(tile, found):
                        await self.target.flush()
                self.step(self.summary.tiles + self.summary.kept)
                # A block of tiles that are all there waits for nothing: whoever wants to stop this gets a word in.
                await asyncio.sleep(0)

    def _take(self, tile: Tile, found: dict[int, bytes]) -> bool:
        """Put the tile that counts, if any. True where the target must be flushed before the next one."""
        summary, held = self.summary, None
        if self.there is not None or len(found) > 1:
            held = found.pop(len(self.walks), None)
            if not found:
                return False
            bodies = [*found.values(), *([held] if held is not None else ())]
            if len(bodies) > 1:
                summary.collisions += 1
                summary.identical += all(body == bodies[0] for body in bodies[1:])
            if held is not None and not self.ours_win:
                summary.kept += 1
                return False
        for number in sorted(found, reverse=True):
            body = found[number]
            if body == held:
                summary.kept += 1
                return False
            kind, trouble = kind_or_trouble(body, self._infos[number])
            if not trouble:
                if kind == "pbf" and body[:2] != GZIP and summary.format in IN_GZIP:
                    body = in_gzip(body)
                summary.add(tile, body)
                return self.target.add(tile, body, kind)
            summary.add_damage(summary.sources[number], tile, trouble)
        return False
