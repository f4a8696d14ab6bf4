"""``apply``: a cache brought from the base of a delta to its target, from wherever between the two it stands.

Every tile that the delta touches is known by its hash before and after. So a cache that an earlier, killed ``apply``
left half way is told from one that was never the base: with the touched tiles counted as they were, it has the base's
hash. What is still as it was is changed; what is new already stays.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from harvester.caches.belongings import not_itself, require_one_name, require_way_free
from harvester.caches.counted import manifest_of
from harvester.caches.folders import kind_of
from harvester.caches.open import is_empty_or_missing, open_cache
from harvester.caches.recognising import sniff_here
from harvester.delta.apart import require_apart
from harvester.delta.notes import Notes
from harvester.delta.record import INDEX, Index, SetHash, Touched, block_name, broken, hash_of, parse_block
from harvester.delta.schemes import joined
from harvester.delta.settlement import settlement
from harvester.delta.soundness import require_whole
from harvester.delta.statements import listed, says_mixed, service_info, sources_of
from harvester.delta.summary import kind_or_trouble
from harvester.delta.target import Target, locked, open_target
from harvester.delta.walk import Walk
from harvester.durable import Disk
from harvester.edges import CacheReader, ServiceInfo, Stamps, VectorLayer
from harvester.errors import CacheError, UsageError
from harvester.output import OutputPaths, file_stamp
from harvester.tiling.tile import BlockKey

FEW = 1024
"""Touched tiles of a block that are looked at singly: one by one they take ten times as long as all together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What ``apply`` did."""

    delta: str
    output: str
    stored: int
    deleted: int
    already: int
    """Touched tiles that were as they should be before."""
    notices: tuple[str, ...] = ()

    @property
    def was_there(self) -> bool:
        """True when nothing was left to do."""
        return not self.stored and not self.deleted

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``apply``."""
        return {
            "delta": self.delta,
            "output": self.output,
            "applied": not self.was_there,
            "stored": self.stored,
            "deleted": self.deleted,
            "already": self.already,
            "notices": list(self.notices),
        }


async def apply(delta: Path, out: Path, *, disk: Disk | None = None) -> Applied:
    """Bring ``out`` to what ``delta`` leads to: every tile stored or deleted that differs, exactly those.

    Raises CacheError, before anything is changed, where ``delta`` is none or damaged, or ``out`` is not its base.
    """
    disk = disk or Disk()
    if delta.absolute() == out.absolute():
        raise UsageError(f"{out} is both the delta and the cache", hint="Name the cache that is to be changed.")
    require_apart([delta], out)
    with ExitStack() as stack:
        notes = stack.enter_context(Notes(delta))
        data = notes.read(INDEX)
        if data is None:
            why = "is no delta" if delta.exists() else "is not there"
            raise CacheError(f"{delta} {why}", hint="harvester diff OLD NEW -o DELTA makes one.", code="not_a_delta")
        index = Index.parse(data, str(delta))
        format = _format_of(out)
        async with locked(out, format, disk=disk) as paths:
            reader = stack.enter_context(open_cache(out))
            require_whole(reader, str(out))
            walk = Walk(reader, index.scheme)
            changes = _Changes(delta, index, notes, stack)
            await changes.hold_against(walk, str(out))
            said = manifest_of(reader)
            resumed = said is not None and bool(said.applying)
            if changes.pending or resumed:
                require_one_name(out, format)
            changes.hear(reader)
            info = service_info(out, reader)
            info = replace(
                info,
                scheme=index.scheme,
                tile_format=changes.tile_format(info),
                vector_layers=changes.vector_layers(info),
            )
            levels = [level for level in index.levels(()) if level in index.target]
            reader.close()
            bring = _bring_package if paths.sealed else _bring_in_place
            notices = await bring(changes, paths, format, info, levels, resumed=resumed, disk=disk)
            return changes.result(str(out), notices)


async def _bring_in_place(
    changes: _Changes, paths: OutputPaths, format: str, info: ServiceInfo, levels: list[int], *, resumed: bool,
    disk: Disk,
) -> tuple[str, ...]:  # fmt: skip
    """Change a cache under its name. From before the first tile until after the last one it says so itself."""
    async with (
        open_target(
            paths, format, info, levels, keep=True, sources=changes.sources, mixed=changes.mixed, disk=disk
        ) as target,
        settlement(
            paths.final_ledger, paths.out, target.writer.stamps, target.subject.info.scheme, disk=disk
        ) as ledger,
    ):
        if ledger is not None and not resumed:
            await ledger.agree()
        target.subject = replace(target.subject, applying="")
        if changes.pending:
            await target.mark(Path(changes.delta).name)
        await changes.carry_out(target, info)
        if ledger is not None:
            await ledger.settle(changes.index.scheme, changes.index.blocks, changes.touched)
        # Also with nothing left to do: a kill may have come between the last tile and the metadata.
        await target.finish()
        return tuple(target.notices)


async def _bring_package(
    changes: _Changes, paths: OutputPaths, format: str, info: ServiceInfo, levels: list[int], *, resumed: bool,
    disk: Disk,
) -> tuple[str, ...]:  # fmt: skip
    """Make a package anew beside itself; until it takes the name, the old one is whole."""
    notices: tuple[str, ...] = ()

    def stamps_of(keys: Sequence[BlockKey]) -> Stamps:
        return {None: file_stamp(paths.out)}

    async with settlement(paths.final_ledger, paths.out, stamps_of, info.scheme, disk=disk) as ledger:
        if ledger is not None:
            await ledger.agree()
        if changes.pending:
            async with open_target(
                paths, format, info, levels, keep=True, sources=changes.sources, mixed=changes.mixed, disk=disk
            ) as target:
                await changes.carry_out(target, info)
                await target.finish()
                notices = tuple(target.notices)
        if ledger is not None:
            await ledger.settle(changes.index.scheme, changes.index.blocks, changes.touched)
    return notices


def half_applied(out: Path) -> bool:
    """Does a cache say that a delta is half applied to it?"""
    with suppress(CacheError), open_cache(out) as reader:
        said = manifest_of(reader)
        return said is not None and bool(said.applying)
    return False


def _format_of(out: Path) -> str:
    found = None if is_empty_or_missing(out) else sniff_here(out)
    if found is None:
        if not is_empty_or_missing(out):
            raise not_itself(out)
        raise CacheError(
            f"{out} is not there", hint="Name a cache that is what the delta was made from.", code="missing"
        )
    require_way_free(out)
    return found


def _kind(body: bytes, info: ServiceInfo) -> str:
    """A tile's kind; ``diff`` has made sure that it is whole."""
    return kind_or_trouble(body, info)[0] or kind_of(body) or info.tile_format.value


class _Changes:
    """What a delta does to one cache."""

    def __init__(self, delta: Path, index: Index, notes: Notes, stack: ExitStack) -> None:
        self.pending = 0
        self.sources: tuple[str, ...] = ()
        self.mixed = False
        self._stored = self._deleted = self._already = 0
        self.delta = str(delta)
        self.index = index
        self._notes = notes
        self._keys = frozenset(index.blocks)
        # A delta that only deletes holds no tile, and need not be readable as a cache.
        self._walk: Walk | None = None
        if index.added or index.changed:
            self._walk = Walk(stack.enter_context(open_cache(delta)), index.scheme)

    def hear(self, there: CacheReader) -> None:
        """Where the tiles are from when all is done, as the cache and the delta say, and whether they are of several
        kinds: the delta has the word of what it leads to."""
        delta = [self._walk.reader] if self._walk is not None else []
        self.sources = sources_of([there, *delta])
        self.mixed = says_mixed(delta or [there])

    def tile_format(self, info: ServiceInfo) -> Any:
        """The delta's own, where the cache doesn't state any."""
        stated = info.tile_format.value
        return self._walk.reader.info.tile_format if self._walk and stated == "unknown" else info.tile_format

    def vector_layers(self, info: ServiceInfo) -> tuple[VectorLayer, ...]:
        """Those of the cache and those that come with the delta."""
        if self._walk is None:
            return info.vector_layers
        return listed((info.vector_layers, self._walk.reader.info.vector_layers))

    def touched(self, key: BlockKey) -> dict[int, Touched]:
        """What is to become of a block's tiles, by position."""
        if key not in self._keys:
            return {}
        data = self._notes.read(block_name(key))
        if data is None:
            raise broken(self.delta)
        return parse_block(data, self.delta)

    async def hold_against(self, walk: Walk, out: str) -> None:
        """Count what is left to do. Raises CacheError where the cache is not the base, or the delta is damaged."""
        base = SetHash()
        if isinstance(why := joined(self.index.scheme, walk.reader.info.scheme, walk.reader.levels()), str):
            raise self._wrong_base(out, why)
        if walk.lost:
            raise self._wrong_base(out, f"it has tiles of LOD {walk.lost[0]}")
        for level in self.index.levels(walk.levels):
            for key, _ in groupby(heapq.merge(walk.blocks(level), self.index.blocks_of(level))):
                touched = self.touched(key)
                self._require_bodies(key, touched)
                there = {key.position(tile): hash_of(body) for tile, body in walk.tiles(key)}
                for position in sorted({*there, *touched}):
                    found = there.get(position, 0)
                    before = found
                    if position in touched:
                        before, after = touched[position]
                        if found not in (before, after):
                            raise self._wrong_base(out, f"tile {key.tile(position)} is neither as it was nor as it is")
                        self.pending += found != after
                        self._already += found == after
                    if before:
                        base.add(key.tile(position), before)
                await asyncio.sleep(0)
        found_base = base.result()
        for level in sorted({*found_base, *self.index.base}):
            if found_base.get(level) != self.index.base.get(level):
                raise self._wrong_base(out, f"its tiles of LOD {level} are others")

    def _require_bodies(self, key: BlockKey, touched: dict[int, Touched]) -> None:
        """The delta's own tiles are those that it names."""
        wanted = {position: change.new for position, change in touched.items() if change.new}
        if not wanted:
            return
        tiles: Iterator[Any] = self._walk.tiles(key) if self._walk is not None else iter(())
        held = {key.position(tile): hash_of(body) for tile, body in tiles}
        if held != wanted:
            hint = "Copy it again from where it was made, or make it anew: harvester diff."
            raise CacheError(
                f"{self.delta} is damaged: its tiles are not those that it names", hint=hint, code="damaged"
            )

    def _wrong_base(self, out: str, why: str) -> CacheError:
        hint = "Apply a delta to the cache that it was made from (OLD of harvester diff), untouched since."
        return CacheError(f"{out} is not what {self.delta} was made from: {why}", hint=hint, code="wrong_base")

    async def carry_out(self, target: Target, info: ServiceInfo) -> None:
        """Store and delete what is left, block by block."""
        if not self.pending:
            return
        with open_cache(target.out) as reader:
            walk = Walk(reader, self.index.scheme)
            for key in sorted(self._keys):
                touched = self.touched(key)
                there = self._there(walk, key, touched)
                left = {
                    position: change.new for position, change in touched.items() if there.get(position, 0) != change.new
                }
                for tile, body in self._walk.tiles(key) if self._walk is not None else ():
                    if key.position(tile) in left:
                        await target.put(tile, body, _kind(body, info))
                        self._stored += 1
                for position, new in left.items():
                    if not new:
                        await target.drop(key.tile(position))
                        self._deleted += 1
                await target.flush()

    def _there(self, walk: Walk, key: BlockKey, touched: dict[int, Touched]) -> dict[int, int]:
        """The hashes of a block's touched tiles, where there are any; of few, those alone are read."""
        if len(touched) > FEW:
            return {key.position(tile): hash_of(body) for tile, body in walk.tiles(key)}
        bodies = {position: walk.read(key.tile(position)) for position in touched}
        return {position: hash_of(body) for position, body in bodies.items() if body is not None}

    def result(self, out: str, notices: tuple[str, ...]) -> Applied:
        return Applied(
            delta=self.delta, output=out, stored=self._stored, deleted=self._deleted, already=self._already,
            notices=notices,
        )  # fmt: skip
