"""``diff``: the tiles in which two caches differ, as a cache of their own that says what it was made from."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from harvester.caches.belongings import MOVE, require_cache_or_nothing
from harvester.caches.open import format_for, is_empty_or_missing, open_cache
from harvester.delta.apart import require_apart
from harvester.delta.notes import Notes, require_carrier, write_notes
from harvester.delta.record import INDEX, Index, SetHash, Touched, block_name, hash_of, pack_block
from harvester.delta.schemes import shared_scheme
from harvester.delta.soundness import require_finished, require_whole
from harvester.delta.statements import policies_of, says_mixed, service_info, sources_of
from harvester.delta.summary import kind_or_trouble
from harvester.delta.target import Target, locked, open_target
from harvester.delta.walk import Walk, blocks_of, levels_of, together
from harvester.durable import Disk, disk_error
from harvester.edges import ServiceInfo
from harvester.errors import CacheError
from harvester.tiling.tile import BlockKey, Tile


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs between two caches."""

    old: str
    new: str
    output: str
    format: str
    added: int
    changed: int
    deleted: int
    same: int
    size: int
    """Bytes of the tiles added and changed."""
    base: str
    notices: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``diff``."""
        return {
            "old": self.old,
            "new": self.new,
            "output": self.output,
            "format": self.format,
            "differ": bool(self.added or self.changed or self.deleted),
            "added": self.added,
            "changed": self.changed,
            "deleted": self.deleted,
            "same": self.same,
            "bytes": self.size,
            "base": self.base,
            "notices": list(self.notices),
        }


async def diff(
    old: Path, new: Path, out: Path | str, *, format: str | None = None, disk: Disk | None = None
) -> Difference:
    """Write the tiles of ``new`` that ``old`` has not or has otherwise, and which are gone, as the delta ``out``.

    An earlier delta of the same ``old`` is replaced. Raises CacheError where the schemes differ, a tile to be written
    is damaged, or ``out`` is a cache that is no delta, or one of another base; UnsupportedFormatError where its format
    can't carry a delta.
    """
    disk = disk or Disk()
    name, path = format_for(out, format), Path(out)
    require_carrier(name)
    require_apart([old, new], path)
    require_cache_or_nothing(path, name, replaced=True, remedy=MOVE)
    _require_delta(path)
    with ExitStack() as stack:
        readers = [(str(each), stack.enter_context(open_cache(each))) for each in (old, new)]
        require_finished(str(new))
        for each, reader in readers:
            require_whole(reader, each)
        # A delta is of tiles alone, whatever its format.
        info = replace(service_info(new, readers[1][1]), scheme=shared_scheme(readers), beside=())
        walks = [Walk(reader, info.scheme) for _, reader in readers]
        # What the format must be able to hold is what is new; deleted tiles are only named.
        levels = walks[1].levels
        async with locked(path, name, disk=disk) as paths:
            spool = stack.enter_context(_spool(paths.out.absolute().parent))
            async with open_target(
                paths,
                name,
                info,
                levels,
                keep=False,
                policies=policies_of([readers[1][1]]),
                sources=sources_of([readers[1][1]]),
                mixed=says_mixed([readers[1][1]]),
                disk=disk,
            ) as target:
                work = _Comparison(walks, target, info, str(new), spool)
                await work.run()
                index = work.index()
                replaced = _replaced(path, index)
                if replaced:
                    target.notices.append(replaced)

                def carry(ready: Path, disk: Disk) -> None:
                    write_notes(ready, name, work.notes(index), disk=disk)

                def release() -> None:
                    for _, reader in readers:
                        reader.close()

                await target.finish(release=release, carry=carry)
    return Difference(
        old=str(old), new=str(new), output=str(out), format=name, added=index.added, changed=index.changed,
        deleted=index.deleted, same=work.same, size=work.size, base=index.identity, notices=tuple(target.notices),
    )  # fmt: skip


def _require_delta(out: Path) -> None:
    if is_empty_or_missing(out):
        return
    with Notes(out) as notes:
        if notes.read(INDEX) is None:
            hint = "Choose another output, or remove it."
            raise CacheError(f"{out} exists and is no delta", hint=hint, code="not_a_delta")


def _replaced(out: Path, index: Index) -> str:
    """What a person hears of the delta that is there; "" where there is none, or the same. Raises CacheError where that
    one leads from elsewhere: nothing that is no longer wanted tells itself from what is."""
    if is_empty_or_missing(out):
        return ""
    with Notes(out) as notes:
        there = Index.parse(notes.read(INDEX) or b"", str(out))
    if dict(there.base) != dict(index.base):
        hint = "Choose another output, or remove it."
        raise CacheError(f"{out} is a delta of another base", hint=hint, code="other_base")
    return "" if dict(there.target) == dict(index.target) else f"{out} led to another cache: it is replaced"


def _spool(folder: Path) -> IO[bytes]:
    """A nameless file for the blocks' notes: they go into the cache when all its tiles are there."""
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError as cause:
        raise disk_error("write", folder, cause) from cause


class _Comparison:
    """Two caches gone through together, once."""

    def __init__(self, walks: list[Walk], target: Target, info: ServiceInfo, new: str, spool: IO[bytes]) -> None:
        self.added = self.changed = self.deleted = self.same = self.size = 0
        self._walks = walks
        self._target = target
        self._info = info
        self._new = new
        self._spool = spool
        self._blocks: dict[BlockKey, int] = {}
        self._base, self._result = SetHash(), SetHash()

    async def run(self) -> None:
        for level in levels_of(self._walks, self._info.scheme):
            for key in blocks_of(self._walks, level):
                touched: dict[int, Touched] = {}
                for tile, found in together(self._walks, key):
                    change = self._compared(tile, found.get(0), found.get(1))
                    if change is not None:
                        touched[key.position(tile)] = change
                        if change.new:
                            await self._put(tile, found[1], added=not change.old)
                if touched:
                    data = pack_block(touched)
                    self._spool.write(data)
                    self._blocks[key] = len(data)
                # Where nothing differs nothing is awaited: whoever wants to stop this gets a word in.
                await asyncio.sleep(0)

    def _compared(self, tile: Tile, old: bytes | None, new: bytes | None) -> Touched | None:
        """Count a tile in both hashes; gives what becomes of it where it is touched."""
        before = 0 if old is None else hash_of(old)
        after = before if new == old else 0 if new is None else hash_of(new)
        if before:
            self._base.add(tile, before)
        if after:
            self._result.add(tile, after)
        if new == old:
            self.same += 1
            return None
        if new is None:
            self.deleted += 1
        return Touched(before, after)

    async def _put(self, tile: Tile, new: bytes, *, added: bool) -> None:
        kind, trouble = kind_or_trouble(new, self._info)
        if trouble:
            hint = "Bring it in order first: harvester verify --deep, harvester run."
            raise CacheError(f"{self._new}: tile {tile} is damaged ({trouble})", hint=hint, code="damaged")
        if added:
            self.added += 1
        else:
            self.changed += 1
        self.size += len(new)
        await self._target.put(tile, new, kind)

    def index(self) -> Index:
        return Index(
            scheme=self._info.scheme, base=self._base.result(), target=self._result.result(), added=self.added,
            changed=self.changed, deleted=self.deleted, blocks=tuple(self._blocks),
        )  # fmt: skip

    def notes(self, index: Index) -> Iterator[tuple[str, bytes]]:
        """All notes, the index last."""
        self._spool.seek(0)
        for key, size in self._blocks.items():
            yield block_name(key), self._spool.read(size)
        yield INDEX, index.pack()
